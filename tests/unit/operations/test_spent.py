"""What was spent: sums of manifests by region and year, a year against its budget, and what cannot be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from groundplan.operations.spent import by_year, spent
from groundplan.project import open_project
from orchestration.cli.main import app


@pytest.fixture
def home(built_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built_home, tmp_path / "home"))


def measured(home: Path) -> dict[str, float]:
    """Processor seconds in the manifests' own text, by path of the partition."""
    found: dict[str, float] = {}
    for path in (home / "store/manifests").rglob("*.json"):
        where = path.relative_to(home / "store/manifests").with_suffix("").as_posix().partition("/")[2]
        objects = json.loads(path.read_text())["objects"].values()
        found[where] = found.get(where, 0.0) + sum(each["cpu_seconds"] for each in objects)
    return found


def test_rows_are_the_manifests_seconds_and_years_their_sum(home: Path) -> None:
    project, expected = open_project(home), measured(home)
    rows = spent(project)
    assert {row.partition.path: row.hours * 3600 for row in rows} == pytest.approx(expected)
    (year,) = by_year(project, rows)
    assert year.hours * 3600 == pytest.approx(sum(expected.values()))
    assert year.cost == pytest.approx(year.hours * project.settings.nightly.price_per_cpu_hour)
    assert (year.budget, year.over) == (None, False), "no budget is no limit of nothing"
    name = rows[-1].partition.region
    assert [row.partition.region for row in spent(project, region=name)] == [name]
    assert spent(project, year=1999) == []


def test_a_year_over_its_budget_fails_the_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = sum(measured(home).values()) / 3600 * 0.015
    for share, code in ((1.01, 0), (0.99, 1)):
        monkeypatch.setenv("GROUNDPLAN_NIGHTLY__YEAR_BUDGET", f"{total * share:.12f}")
        done = CliRunner().invoke(app, ["costs", "--home", str(home), "--json"])
        assert done.exit_code == code, done.output
        (year,) = json.loads(done.stdout)["years"]
        assert year["over"] is bool(code)
    said = CliRunner().invoke(app, ["costs", "--home", str(home)]).stdout
    assert "over budget 2024" in said


def test_a_manifest_that_cannot_be_read_is_counted_and_not_guessed(home: Path) -> None:
    path = next((home / "store/manifests/predictions").rglob("*.json"))
    path.write_text("{")
    rows = spent(open_project(home))
    (broken,) = [row for row in rows if row.unread]
    assert (broken.unread, broken.partition.region) == (1, path.stem)
    assert "predictions" not in broken.seconds
    said = CliRunner().invoke(app, ["costs", "--home", str(home)]).stdout
    assert "1 manifests could not be read" in said
