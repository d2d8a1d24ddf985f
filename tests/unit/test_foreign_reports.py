"""Nobody is told over the network that this program is used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("assets", "benchmarks", "groundplan", "orchestration", "resources", "serving")
PEERS = {ROOT / "benchmarks" / "serving_peer.py"}  # runs in an environment of its own, without this project
BROUGHT_IN = """
import os
from groundplan.foreign_reports import silent_openvino
silent_openvino().Core()
print(len(os.listdir("/proc/self/task")), os.path.exists(os.path.expanduser("~/intel")))
"""


def test_openvino_is_brought_in_and_writes_and_sends_nothing(tmp_path: Path) -> None:
    """Where it may report it keeps an identity of this person in the home folder, and a thread that sends."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", BROUGHT_IN], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["1", "False"]


def test_nobody_brings_it_in_past_that() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path not in PEERS and "openvino" in (text := path.read_text("utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        and any(name.name == "openvino" for name in node.names)
        and not _of_types(text, node)
    ]
    assert len(found) == 1
    assert found[0].startswith("groundplan/foreign_reports.py")


def _of_types(text: str, node: ast.Import) -> bool:
    """Whether an import is for the type checker alone: it stands below `if TYPE_CHECKING`."""
    return any(
        isinstance(parent, ast.If)
        and isinstance(parent.test, ast.Name)
        and parent.test.id == "TYPE_CHECKING"
        and any(one.lineno == node.lineno for one in parent.body)
        for parent in ast.walk(ast.parse(text))
    )
