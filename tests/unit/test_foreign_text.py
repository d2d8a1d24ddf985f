"""Text of a delivery where it becomes Markdown, a chat's message or an e-mail: it is shown, and does nothing (S10)."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import markdown
import pytest
import rasterio
from conftest import MakeProject
from hypothesis import given, settings
from hypothesis import strategies as st
from laid_sheets import HERE, cataloged, ground, lay, place
from markdown_it import MarkdownIt

from assets.buildings.checks import with_picture
from assets.report import rows, shown
from groundplan.foreign_text import MOST_CRS, crs_in_words, in_chat, in_line, in_markdown, out_of_markdown
from groundplan.imagery import tiles
from groundplan.operations.notifications import Notice

BAD = [
    "![p](http://host/beacon.png) [Log in again](http://evil.example/)",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<http://evil.example>",
    "http://evil.example/a",
    "HTTPS://evil.example",
    "www.evil.example",
    "help@evil.example",
    "[a]: http://evil.example\n[a]",
    "\\[Log in](http://evil.example)",
    "&lt;b&gt; &#60;b&#62; &amp;lt;",
    "`a` **b** _c_ ~~d~~ | e | f",
    "a\n\n# heading\n\n| x |\n|---|\n",
    "javascript:alert(1)",
    "<!channel> <@U123> <http://evil.example|here>",
    "@everyone",
    "\u202etxt.exe",
    "a\u2028[b](http://c)",
]
WORDS = st.sampled_from([*BAD, "](", "![", "<a ", "://", "\\", "`", "``", "|", "&lt", ";", "\r\n", "*", "http", "www."])
ANY = st.lists(st.one_of(st.text(max_size=12), WORDS), max_size=8).map("".join)
ACTIVE = {"a", "img", "script", "iframe", "input", "svg", "em", "strong", "code", "h1", "del", "s", "blockquote"}
AUTOMATIC = re.compile(r"(https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+\.[-\w]+|mailto:\S", re.IGNORECASE)
"""What GitHub's flavour, in Dagster's pages, makes a link of in the text that is left when all else is read."""


class Page(HTMLParser):
    """Tags and text of what a renderer made."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[Any] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += [pair for pair in attrs if pair[0] != "style"]
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def rendered(text: str) -> list[Page]:
    """By two renderers, each with tables and with tags allowed: CommonMark and the older dialect."""
    common = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return [Page(common.render(text)), Page(markdown.markdown(text, extensions=["tables"]))]


def plain(text: str) -> str:
    return " ".join(text.replace("\u200b", "").split())


@settings(max_examples=200, deadline=None)
@given(ANY)
def test_a_cell_shows_its_text_and_does_nothing(text: str) -> None:
    table = rows(("file", "reason"), [("a.tif", text), (text, "end")])
    for page in rendered(str(table.value)):
        assert not ACTIVE & set(page.tags), page.tags
        assert not page.attributes
        assert len(page.cells) == 4, "no text begins or ends a cell"
        assert page.cells[3].strip() == "end"
        assert not AUTOMATIC.search(page.cells[1])
    common = rendered(str(table.value))[0]
    assert plain(common.cells[1]) == plain(in_line(text))
    assert out_of_markdown(in_markdown(text)) == plain(in_line(text))


@settings(max_examples=100, deadline=None)
@given(ANY)
def test_the_words_of_a_check_do_nothing(text: str) -> None:
    for page in rendered(with_picture(None, f"3 of 4: {text}", {})):  # type: ignore[arg-type]
        assert set(page.tags) <= {"p"}
        assert not page.attributes


@pytest.mark.parametrize("text", BAD)
def test_what_was_tried_is_no_link_picture_or_tag(text: str) -> None:
    value = str(rows(("reason",), [(text,)]).value)
    assert not re.search(r"<|\]\(|(?<!\\)[\[`*]|https?://|www\.|\n.*\n.*\n", value)


def test_a_title_of_a_picture_is_text(make_project: MakeProject, tmp_path: Path) -> None:
    png = b"\x89PNG not looked at"
    value = shown(make_project(tmp_path / "home"), "x", "a](http://evil.example) ![b", png).value  # type: ignore[attr-defined]
    (common, _) = rendered(value)
    assert common.tags.count("a") == 0
    assert value.count("](") == 1


NAME = "![p](http://host/beacon.png) [Log in again](http://evil.example/) <img src=x onerror=alert(1)> `x`"


@pytest.mark.bad_input
def test_the_name_of_a_crs_is_cut_to_what_names_are_made_of(tmp_path: Path, make_project: MakeProject) -> None:
    """As markdown-in-crs.tif of the audit: a projection far away, whose name is Markdown."""
    import pyproj

    wkt = pyproj.CRS("EPSG:32645").to_wkt("WKT1_GDAL").replace("WGS 84 / UTM zone 45N", NAME.replace('"', ""), 1)
    wkt = re.sub(r',AUTHORITY\["EPSG","32645"\]', "", wkt).replace('"false_easting",500000', '"false_easting",500007')
    path = lay(tmp_path / "bad.tif", ground(96, 96), place(0, 0), wkt)
    with rasterio.open(path) as source:
        assert "evil.example" in source.crs.to_wkt()
    project = make_project(tmp_path / "home")
    cataloged(project, [path, lay(tmp_path / "good.tif", ground(96, 96), place(0, 0))])
    (aside,) = tiles.catalog_of(project, HERE).quarantined
    name = re.search(r"\(its CRS is (.*)\)$", aside.reason)
    assert name
    assert len(name[1]) <= MOST_CRS
    assert re.fullmatch(r"[\w :/+.-]*", name[1])
    assert "//" not in name[1]


@given(st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_name_of_a_crs_is_short_and_plain(text: str) -> None:
    for name in (text, f'PROJCS["{text}",GEOGCS["x"]]'):
        told = crs_in_words(name)
        assert 0 < len(told) <= MOST_CRS
        assert not AUTOMATIC.search(told)
    assert crs_in_words("EPSG:28992") == "EPSG:28992"
    assert crs_in_words('PROJCS["Amersfoort / RD New",GEOGCS["x"]]') == "Amersfoort / RD New"


@settings(max_examples=100, deadline=None)
@given(ANY)
def test_a_chat_makes_nothing_of_it(text: str) -> None:
    notice = Notice(cause=text, what=text, where=text, why=text, remedy=f"do {text}", link="http://ui/runs/1")
    told = notice.as_json()
    assert told.pop("link") == "http://ui/runs/1"
    lines = told["text"].split("\n")
    assert len(lines) == 5, "no text begins a line of its own"
    assert lines[-1] == "http://ui/runs/1"
    for value in (*lines[:-1], told["why"], told["cause"]):
        assert not re.search(r"[<>]|\]\(|@\w|http://|https://|www\.", value, re.IGNORECASE)
        assert plain(html.unescape(value)).endswith(plain(in_line(text)))


@settings(max_examples=100, deadline=None)
@given(ANY)
def test_an_email_and_the_log_hold_no_address_but_the_notices(text: str) -> None:
    told = Notice(cause=text, what="What", where=text, why=text, remedy=f"do {text}", link="http://ui/runs/1")
    *lines, link = told.text().split("\n")
    assert link == "http://ui/runs/1"
    assert len(lines) == 4
    assert not re.search(r"https?://|www\.|mailto:\S", "\n".join(lines), re.IGNORECASE)
    assert "\n" not in told.title
    assert told.title.isprintable() or "\u200b" in told.title


@pytest.mark.parametrize("text", BAD)
def test_text_is_kept_so_that_a_person_reads_what_was_there(text: str) -> None:
    for made in (in_line(text), out_of_markdown(in_markdown(text)), html.unescape(in_chat(text))):
        assert plain(made) == plain(in_line(text))
