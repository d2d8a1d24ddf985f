"""Pages from templates: what comes in is text, never markup, and nothing is left out in silence."""

from __future__ import annotations

import json

import pytest
from jinja2 import UndefinedError

from groundplan.core.templates import templates

PAGES = templates("groundplan.collections.report")
NASTY = """<script>alert("1" & '2')</script>{{ 7 * 7 }}"""
ESCAPED = "&lt;script&gt;alert(&quot;1&quot; &amp; &#x27;2&#x27;)&lt;/script&gt;{{ 7 * 7 }}"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "template",
    [
        "{{ name }}",
        "{{ [name] | join }}",
        "{{ name | format }}",
        "{% macro cell(text) %}{{ text }}{% endmacro %}{{ cell(name) }}",
        "{% for each in [name] %}{{ each }}{% endfor %}",
    ],
)
def test_nobody_has_to_ask_for_escaping(template: str) -> None:
    assert PAGES.from_string(template).render(name=NASTY) == ESCAPED


@pytest.mark.bad_input
def test_json_in_a_page_ends_no_script() -> None:
    found = PAGES.from_string("<script>{{ facts | tojson }}</script>").render(facts={"name": NASTY})
    assert found.count("</script>") == 1
    assert json.loads(found.removeprefix("<script>").removesuffix("</script>")) == {"name": NASTY}


@pytest.mark.parametrize("template", ["{{ missing }}", "{{ name.missing }}", "{% if missing %}{% endif %}"])
def test_what_is_not_given_is_an_error(template: str) -> None:
    with pytest.raises(UndefinedError, match="missing"):
        PAGES.from_string(template).render(name={})
