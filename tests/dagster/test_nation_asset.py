"""One country by Dagster: from regions to the year, with its picture, its tables and both checks."""

from __future__ import annotations

import io
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from conftest import MakeProject
from dagster._core.definitions.partitions.context import partition_loading_context
from made_footprints import commit_houses, houses

from assets.buildings.checks import checks
from assets.buildings.national_footprints import national_footprints
from assets.partitions import add_partitions, key_of
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.operations import country_map
from groundplan.project import Project
from orchestration.definitions import build_definitions
from resources.project import ProjectResource
from serving.maps import pages

YEAR = Partition(2024)
BOXES = {"north": (182300.0, 447800.0, 182500.0, 448000.0), "south": (182300.0, 447500.0, 182500.0, 447700.0)}
MINE = [check for check in checks if {spec.name for spec in check.check_specs} & {"national_whole", "national_apart"}]


def materialized(project: Project) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        add_partitions(instance, [Partition(2024, region) for region in BOXES])
        return dg.materialize(
            [national_footprints, *MINE],
            partition_key=key_of(YEAR),
            instance=instance,
            resources={"project": ProjectResource(home=str(project.home))},
            raise_on_error=False,
        )


def test_a_run_shows_the_country_and_judges_it(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    for seed, (region, box) in enumerate(BOXES.items()):
        commit_houses(project, Partition(2024, region), houses(50, box, seed=seed))
    project.store.put("landing/east/2024/sheet.tif", b"delivered, and not made")
    done = materialized(project)
    assert done.success
    (event,) = done.asset_materializations_for_node("national_footprints")
    told = {name: value.value for name, value in event.metadata.items()}
    assert (told["buildings"], told["dagster/row_count"], told["regions"]) == (100, 100, 2)
    assert told["not in it"] == "delivered and not made: east"
    assert str(told["picture"]).startswith("![buildings of the country](data:image/png")
    assert "| north | 50 |" in str(told["by region"])
    assert len(str(told["parts"]).splitlines()) > 3
    made = next(iter(need_manifest(project.store, "national_footprints", YEAR).objects.values()))
    stored = pq.read_schema(io.BytesIO(project.store.get(made.key))).names
    schema = national_footprints.metadata_by_key[national_footprints.key]["dagster/column_schema"]
    assert [column.name for column in schema.columns] == stored
    found = {one.check_name: one for one in done.get_asset_check_evaluations()}
    assert found["national_apart"].passed
    assert not found["national_whole"].passed
    assert found["national_whole"].severity is dg.AssetCheckSeverity.WARN
    assert {one.partition for one in found.values()} <= {"2024", None}
    assert country_map.page_data(project)["merged"] == [2024], "the map of the country leads to it"
    page = pages.partition(project, need_manifest(project.store, "national_footprints", YEAR))
    assert 'src="previews/national_footprints/2024.png"' in page
    assert "delivered and not made: east" in page
    assert '<a href="map/">map</a>' in page


@pytest.mark.bad_input
def test_an_empty_country_is_no_green_run(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    commit_houses(project, Partition(2024, "north"), houses(0, BOXES["north"]))
    done = materialized(project)
    assert not done.success
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "none of the year's 1 regions has a building" in str(failure.event_specific_data)
    assert not done.asset_materializations_for_node("national_footprints")


def test_a_year_comes_from_all_its_regions_and_no_other_year() -> None:
    graph, instance = build_definitions().resolve_asset_graph(), dg.DagsterInstance.ephemeral()
    add_partitions(instance, [Partition(year, region) for year in (2023, 2024) for region in BOXES])
    with partition_loading_context(dynamic_partitions_store=instance):
        found = graph.get_parents_partitions(dg.AssetKey("national_footprints"), "2024").parent_partitions
    assert {str(one.partition_key) for one in found} == {"north|2024", "south|2024"}
