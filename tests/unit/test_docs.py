"""What the documents promise exists, and nothing in the project names a machine or an index."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from groundplan import config

ROOT = Path(__file__).parents[2]


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += keys(inner, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def test_every_setting_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(keys(config.Settings))


@pytest.mark.parametrize(
    "document",
    ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))],
)
def test_every_link_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith(("http", "../../actions/")):  # a page of the host, beside the repository's files
            assert (ROOT / document).parent.joinpath(target).exists(), target


def test_every_test_that_bad_input_names_exists() -> None:
    text = (ROOT / "docs/bad-input.md").read_text()
    named = set(re.findall(r"`(test_[a-z0-9_]+)", text)) - {"test_bad_input"}
    code = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named, "the table names no test"
    assert not {name for name in named if f"def {name}" not in code and not [*(ROOT / "tests").rglob(f"{name}.py")]}


def test_nothing_names_an_index_or_a_machine() -> None:
    parts = ["py" + "pi.org", "python" + "hosted", "deb.deb" + "ian.org", "registry.np" + "mjs", "proxy.go" + "lang"]
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        path = ROOT / name
        if path.suffix not in (".png", ".jpg"):
            text = path.read_text("utf-8", errors="ignore")
            assert not [part for part in parts if part in text], name
