"""What a first `make dev` finds that a command made: nothing to do, pages to look at; and what it does with a drop.

Looked at with the real sensors and the real automation, on the home and the Dagster instance that the command left. Not
here: single decisions of the sensors (test_sensors.py), real daemons (tests/processes/test_daemon.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from messages import tiff
from walkthrough import EAST, TOWN, YEAR, Walk

from assets.partitions import key_of
from groundplan.core.manifest import manifest_key
from groundplan.core.partition import Partition
from groundplan.pipeline import ASSETS as DATASETS
from groundplan.project import Project, open_project
from orchestration.cli.build import make_country_pages
from orchestration.definitions import build_definitions
from orchestration.jobs import COUNTRY_ASSETS
from orchestration.sensors import sources
from resources.database import DatabaseResource
from resources.project import ProjectResource

FAR = Partition(YEAR, "far")
ALL_THE_WAY = ["sheets", "aerial_tiles", "register_buildings", "labels", "predictions", "building_footprints"]


class First:
    """The first minutes after `make dev`: all sensors on, none has looked before."""

    def __init__(self, project: Project) -> None:
        self.project, self.now = project, 1_900_000_000.0
        self.instance = dg.DagsterInstance.from_config(str(project.home / "dagster"))
        self.defs = build_definitions({"project": ProjectResource(home=str(project.home))})
        self.cursors: dict[str, str | None] = {}
        self.automation: AssetDaemonCursor | None = None

    def look(self) -> list[dg.RunRequest]:
        """What each sensor asks for now, a delivery's quiet time later than the last look."""
        self.now += 61
        found: list[dg.RunRequest] = []
        for sensor in sources.SENSORS:
            context = dg.build_sensor_context(
                instance=self.instance,
                cursor=self.cursors.get(sensor.name),
                repository_def=self.defs.get_repository_def(),
                resources={"project": ProjectResource(home=str(self.project.home)), "database": DatabaseResource()},
            )
            context.caching_dynamic_partitions_loader = self.instance  # type: ignore[assignment]
            data = sensor.evaluate_tick(context)
            for request in data.dynamic_partitions_requests or ():
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
            self.cursors[sensor.name] = data.cursor
            found += data.run_requests or []
        return found

    def follows(self) -> set[tuple[str, str | None]]:
        """What the automation asks for now."""
        result = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.automation)
        self.automation = result.cursor
        return {(name, key) for name in DATASETS for key in result.get_requested_partitions(dg.AssetKey(name))}

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.defs.resolve_job_def(str(request.job_name)).execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            asset_selection=list(request.asset_selection or ()),
            tags=dict(request.tags),
        )


@pytest.fixture(scope="module")
def first(walked: Walk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    """The tests below go on from one another, as the minutes do."""
    home = tmp_path_factory.mktemp("first") / "gp"
    shutil.copytree(walked.home, home)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GROUNDPLAN_HOME", str(home))
        here = First(open_project(home))
        patched.setattr(sources, "time", lambda: here.now)
        yield here


def test_what_a_command_made_is_not_made_again(first: First) -> None:
    for _ in range(4):
        assert first.look() == []
        assert first.follows() == set()


def test_runs_of_a_command_have_names(first: First) -> None:
    names = {run.job_name for run in first.instance.get_runs()}
    assert names == {"imagery", "register_labels", "training", "predict"}


def test_pages_of_the_country_are_there_to_look_at(first: First) -> None:
    assert make_country_pages(first.project) == ""
    for name in COUNTRY_ASSETS:
        assert first.instance.get_latest_materialization_event(dg.AssetKey(name)), name
    assert first.follows() == set()


def test_where_nothing_is_compared_nothing_is_passed(first: First, walked: Walk) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("building_footprints"), "footprints_quality")
    history = first.instance.event_log_storage.get_asset_check_execution_history(key, limit=20)
    events = [record.event.dagster_event for record in history if record.event]
    found = [event.asset_check_evaluation_data for event in events if event]
    bare = [one for one in found if one.partition == key_of(Partition(YEAR, EAST))]
    assert bare
    for one in bare:
        assert (one.passed, one.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert (one.description or "").startswith("nothing to compare: ")
    compared = [str(one.description) for one in found if one.partition == key_of(Partition(YEAR, TOWN))]
    assert compared
    assert all("IoU" in words for words in compared)
    assert "nothing to compare" not in walked.said["build"].stdout, "nobody can mend that"


def test_a_drop_is_one_run_to_the_footprints_before_all_others(first: First) -> None:
    first.project.store.put(f"landing/{FAR.region}/{FAR.year}/a.tif", tiff(5000.0, 7))
    assert first.look() == [], "the delivery may go on"
    (request,) = first.look()
    assert [key.to_user_string() for key in request.asset_selection or ()] == ALL_THE_WAY
    assert request.job_name == "imagery_to_footprints"
    assert request.tags["dagster/priority"] == "10"
    assert first.run(request).success
    assert first.project.store.exists(manifest_key("building_footprints", FAR))
    assert {name for name, key in first.follows() if key == key_of(FAR)} == set(), "made already"
    assert first.look() == []
