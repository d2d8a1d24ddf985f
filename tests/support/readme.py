"""The README's own commands, by the heading under which they stand.

Here: reading them. Not here: running them (cloned.py). A test that copied them would go on passing when
the README no longer says them.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def section(heading: str, text: str | None = None) -> str:
    """What stands under a second-level heading. Raises KeyError with the headings there are."""
    text = text if text is not None else (ROOT / "README.md").read_text("utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    if heading not in found:
        raise KeyError(f"README has no heading {heading!r}, but {sorted(found)}")
    return found[heading]


def commands(heading: str) -> list[list[str]]:
    """Indented blocks under a heading, each as its lines: what a person copies at once. Comments stay."""
    blocks = re.findall(r"(?:^ {4}\S.*\n)+", section(heading), flags=re.MULTILINE)
    return [[line.strip() for line in block.splitlines()] for block in blocks]


def command(heading: str, begin: str) -> str:
    """The one line under a heading that begins with these words, as it is typed."""
    (line,) = [line for block in commands(heading) for line in block if line.startswith(begin)]
    return line


def fenced(heading: str, language: str) -> str:
    """The one fenced block of a language under a heading."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", section(heading), flags=re.MULTILINE | re.DOTALL)
    return found
