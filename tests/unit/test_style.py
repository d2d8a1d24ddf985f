"""What no linter holds: records with many fields are filled by keyword, and a class's name has one meaning."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("groundplan", "assets", "resources", "orchestration", "serving", "benchmarks", "tests")
MOST_FIELDS = 4  # of a record that may be filled by position: more, and two swapped ones go unnoticed


def records() -> Iterator[tuple[str, ast.ClassDef, ast.expr]]:
    """Every dataclass of the project: its file, its definition and its decorator."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    for decorator in node.decorator_list:
                        call = decorator.func if isinstance(decorator, ast.Call) else decorator
                        if ast.unparse(call) in ("dataclass", "dataclasses.dataclass"):
                            yield path.relative_to(ROOT).as_posix(), node, decorator


def fields(record: ast.ClassDef) -> list[str]:
    annotated = [item for item in record.body if isinstance(item, ast.AnnAssign)]
    return [ast.unparse(item.target) for item in annotated if "ClassVar" not in ast.unparse(item.annotation)]


def keyword_only(decorator: ast.expr) -> bool:
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    return any(word.arg == "kw_only" and ast.unparse(word.value) == "True" for word in keywords)


def test_a_name_of_a_class_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for room in ("groundplan", "assets", "resources", "orchestration", "serving"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    places.pop("Facts")  # each dataset's own: what its manifests say
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_a_record_of_more_than_four_fields_is_keyword_only() -> None:
    found = list(records())
    wide = {f"{file}: {record.name}": mark for file, record, mark in found if len(fields(record)) > MOST_FIELDS}
    assert len(found) > 100
    assert len(wide) > 40
    positional = [name for name, decorator in wide.items() if not keyword_only(decorator)]
    assert positional == []
