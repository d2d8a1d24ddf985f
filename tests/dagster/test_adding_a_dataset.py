"""docs/adding-a-dataset.md, carried out: what the page touches is enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = """
import sys
import dagster as dg
from assets.conditions import around
from groundplan.core.partition import Partition
from groundplan.operations import backlog, status
from groundplan.operations.prerequisites import waits_for
from groundplan.operations.store_audit import garbage
from groundplan.pipeline import ASSETS, STEPS, asset_state, run_asset
from groundplan.project import open_project
from orchestration.definitions import build_definitions

name, here = "building_changes", Partition(2024, "noorderveld")
project = open_project(sys.argv[1])
assert ASSETS[-1] == name
assert (name, here, "missing") in [(one.dataset, one.partition, one.state) for one in status.take(project)]
assert asset_state(project, name, here).state == "missing"
assert not waits_for(name, here, lambda *_: True, {2024}, None)
assert waits_for(name, here, lambda *_: False, {2024}, None).text == f"building_footprints of {here} is not made"
assert backlog.STAGES[-1][-2:] == ("building_footprints", name)
assert around(name) == ()
spec = {spec.key.to_user_string(): spec for spec in build_definitions().resolve_all_asset_specs()}[name]
assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["building_footprints"]
assert spec.automation_condition.get_label() == "new footprints"
assert [column.name for column in spec.metadata["dagster/column_schema"].columns][:2] == ["id", "change"]
(report,) = run_asset(project, name, here)
facts = report.manifest.objects["changes"].facts
assert facts["new"] > 0 and facts["gone"] == facts["same"] == 0, "no year before: all are new"
assert asset_state(project, name, here).state == "current"
assert run_asset(project, name, here)[0].made == ()
assert not garbage(project, 0.0)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's packages, with what the page says added to them."""
    for room in ("groundplan", "assets", "resources", "orchestration", "serving"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    page = (ROOT / "docs/adding-a-dataset.md").read_text("utf-8")
    (line,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    for path, text in re.findall(r"`((?:groundplan|assets)/\S+changes\.py)`\n\n```python\n(.*?)```", page, re.DOTALL):
        (tmp_path / path).write_text(text, "utf-8")
    table = tmp_path / "groundplan/pipeline.py"
    text = table.read_text("utf-8")
    text = text.replace("        footprints.STEP,\n", f"        footprints.STEP,\n        {line.strip()}\n", 1)
    table.write_text(text.replace("import footprints,", "import building_changes, footprints,", 1), "utf-8")
    return tmp_path


@pytest.mark.slow
def test_the_page_on_adding_a_dataset_adds_one(copy: Path, built_home: Path) -> None:
    home = copy / "home"
    shutil.copytree(built_home, home)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(home)],
        cwd=copy,
        env={**clean, "PYTHONPATH": str(copy), "GROUNDPLAN_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
