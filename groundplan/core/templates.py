"""Pages from templates: what a page prints is escaped, and nobody has to ask for it.

Here: Jinja2 as every page here uses it. Not here: any page; its template lies in the folder `templates` of its package.
"""

from __future__ import annotations

from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def templates(package: str) -> Environment:
    """The templates of a package. A name that a template knows and its caller does not give is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_spelled,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _spelled(value: Any) -> Any:
    """Escaped as the standard library spells it: &quot; and &#x27;, as in the pages that are stored already."""
    from jinja2.filters import do_mark_safe

    return value if hasattr(value, "__html__") else do_mark_safe(escape(str(value)))
