"""The copy in the database, by Dagster's asset and by the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
from made_footprints import commit_houses, houses
from typer.testing import CliRunner

from assets.operations.footprints_in_database import footprints_in_database
from assets.partitions import add_partitions, key_of
from groundplan.core.partition import Partition
from groundplan.database import connect, load
from resources.database import DatabaseResource
from resources.project import ProjectResource

NORTH = Partition(2024, "north")
BOX = (182361.0, 447600.0, 182600.0, 447771.0)


def test_the_asset_copies_a_region_once(tmp_path: Path, make_project: Any) -> None:
    project = make_project(tmp_path / "home")
    commit_houses(project, NORTH, houses(20, BOX))
    resources = {"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()}
    with dg.DagsterInstance.ephemeral() as instance:
        add_partitions(instance, [NORTH])
        told = []
        for _ in range(2):
            done = dg.materialize(
                [footprints_in_database], partition_key=key_of(NORTH), instance=instance, resources=resources
            )
            (event,) = done.asset_materializations_for_node("footprints_in_database")
            told.append((event.metadata["dagster/row_count"].value, event.metadata["written"].value))
    assert told == [(20, True), (20, False)]
    assert load.state(connect.open_database(project), project).current == (NORTH,)


def test_the_commands_fill_compare_and_empty_it(tmp_path: Path, make_project: Any) -> None:
    from orchestration.cli.database import database

    project = make_project(tmp_path / "home")
    commit_houses(project, NORTH, houses(20, BOX))

    def said(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(database, [*words, "--home", str(project.home)])
        return result.exit_code, result.output

    assert said("check")[0] == 1, "nothing was copied yet"
    assert said("sync")[0] == 0
    code, text = said("check", "--json")
    found = json.loads(text)
    assert (code, found.pop("current"), any(found.values())) == (0, ["2024/north"], False)
    assert "1 regions and years would be removed" in said("drop")[1]
    assert "20 rows" in said("drop", "--yes")[1]
    assert said("check")[0] == 1
    assert said("migrate") == (0, f"tables of version {connect.newest()}\n")
