"""docs/bad-input.md: made from its table, whose tests exist and whose words are the program's own."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from bad_input_table import PAGE, ROOT, ROWS, Row, page

PLACES = ("groundplan", "assets", "orchestration", "resources", "serving")


def test_the_page_is_made_from_the_table_and_has_enough_kinds() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python tests/support/bad_input_table.py`"
    assert len({(row.section, row.kind) for row in ROWS}) == len(ROWS) >= 60


@cache
def source(path: Path) -> str:
    """Text of a file, with strings that are written in pieces put together."""
    return re.sub(r"[\"']\s+f?[\"']", "", path.read_text("utf-8")).replace('\\"', '"')


@cache
def program() -> str:
    found = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py"))
    return "\n".join(source(path) for path in found).lower()


def phrases(said: str) -> list[list[str]]:
    """The parts of what is said between numbers, names and quotes, each as all its runs of three words."""
    parts = (part.split() for part in re.split(r"[^A-Za-z ,'-]+", said.lower()))
    return [[" ".join(words[at : at + 3]) for at in range(len(words) - 2)] for words in parts if len(words) > 2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind[:50])
def test_a_row_is_shown_by_its_tests_and_says_what_the_program_says(row: Row) -> None:
    assert row.tests
    shown = ""
    for test in row.tests:
        name, _, function = test.partition("::")
        function, _, case = function.removesuffix("]").partition("[")
        assert (ROOT / name).is_file(), name
        text = source(ROOT / name)
        assert f"def {function}(" in text, test
        assert not case or case in text or case.split("-")[0] in text, test
        shown += text.lower()
    told = phrases(row.said)
    missing = [runs for runs in told if not any(run in program() or run in shown for run in runs)]
    assert len(missing) * 2 <= len(told), missing
