"""A backfill is asked for once, and the nightly schedule finishes what was left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import instance_for_test

from assets.partitions import key_of, regions
from groundplan.core.manifest import failure_key, manifest_key
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.project import Project, open_project
from orchestration.backfills import backfill_id, in_progress, request_backfill, targets_of
from orchestration.definitions import build_definitions
from orchestration.schedules import ask, nightly_backfill
from resources.database import DatabaseResource
from resources.project import ProjectResource

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")
EVENING = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
TAGS = {"groundplan/cause": "test"}


@pytest.fixture(scope="module")
def graph() -> dg.AssetGraph:
    return build_definitions().resolve_asset_graph()


@pytest.fixture
def project(built_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_home, tmp_path / "home")
    return open_project(tmp_path / "home")


def test_asking_twice_asks_once(graph: dg.AssetGraph) -> None:
    with instance_for_test() as instance:
        first = request_backfill(instance, graph, ["sheets"], [NORTH, SOUTH], "two regions", TAGS, "k")
        again = request_backfill(instance, graph, ["labels"], [NORTH], "another", {}, "k")
        assert first == again == backfill_id("k")
        assert len(first) >= 10
        found = instance.get_backfills()
        assert [backfill.title for backfill in found] == ["two regions"]
        assert found[0].tags == {**TAGS, "dagster/priority": "-5"}, "what a person drops goes first"
        assert found[0].is_asset_backfill
        assert targets_of(found[0]) == {("sheets", NORTH), ("sheets", SOUTH)}
        assert set(instance.get_dynamic_partitions(regions.name or "")) == {NORTH.region, SOUTH.region}


def test_assets_cut_by_year_get_the_years(graph: dg.AssetGraph) -> None:
    instance = dg.DagsterInstance.ephemeral()
    places = [NORTH, SOUTH, Partition(2023, NORTH.region)]
    found = request_backfill(instance, graph, ["labels", "training_windows"], places, "t", {}, "k")
    backfill = instance.get_backfill(found)
    assert backfill
    years = {("training_windows", Partition(year)) for year in (2023, 2024)}
    assert targets_of(backfill) == {("labels", place) for place in places} | years


@pytest.mark.fault
def test_two_that_ask_at_once_ask_once(graph: dg.AssetGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second does not see the first's yet, and finds it when it writes its own."""
    with instance_for_test() as instance:
        request_backfill(instance, graph, ["sheets"], [NORTH], "first", {}, "k")
        real, calls = instance.get_backfill, []

        def blind(key: str) -> PartitionBackfill | None:
            calls.append(key)
            return None if len(calls) == 1 else real(key)

        monkeypatch.setattr(instance, "get_backfill", blind)
        assert request_backfill(instance, graph, ["sheets"], [NORTH], "second", {}, "k") == backfill_id("k")
        assert len(instance.get_backfills()) == 1


@pytest.mark.parametrize(
    ("names", "places"),
    [
        ([], [NORTH]),
        (["sheets"], []),
        (["nothing"], [NORTH]),
        (["country_status"], [NORTH]),
        (["sheets"], [Partition(2024)]),
    ],
)
@pytest.mark.bad_input
def test_what_cannot_be_asked_for_is_refused(graph: dg.AssetGraph, names: list[str], places: list[Partition]) -> None:
    instance = dg.DagsterInstance.ephemeral()
    with pytest.raises(BadConfig):
        request_backfill(instance, graph, names, places, "t", {}, "k")
    assert not instance.get_backfills()


def test_what_is_in_progress_is_known(graph: dg.AssetGraph) -> None:
    instance = dg.DagsterInstance.ephemeral()
    found = request_backfill(instance, graph, ["sheets"], [NORTH, SOUTH], "t", {}, "k")
    assert in_progress(instance) == {("sheets", NORTH), ("sheets", SOUTH)}
    backfill = instance.get_backfill(found)
    assert backfill
    instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
    assert in_progress(instance) == set()
    job = build_definitions({"project": ProjectResource(home="nowhere")}).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(
        job.get_subset(asset_selection={dg.AssetKey("labels")}),
        asset_selection=frozenset({dg.AssetKey("labels")}),
        tags={"dagster/partition": key_of(NORTH)},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert in_progress(instance) == {("labels", NORTH)}
    instance.report_run_failed(run)
    assert in_progress(instance) == set()


# --- the nightly schedule ---------------------------------------------------------------------------------------------


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """On disk: an ephemeral one cannot be opened by reference, and knows no tags of backfills before they have runs."""
    with instance_for_test() as found:
        yield found


def tick(project: Project, instance: dg.DagsterInstance, when: datetime) -> dg.RunRequest | dg.SkipReason:
    resources = {"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()}
    repository = build_definitions(resources).get_repository_def()
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=when, resources=resources, repository_def=repository
    ) as context:
        found = nightly_backfill().evaluate_tick(context)
    if found.skip_message:
        return dg.SkipReason(found.skip_message)
    assert found.run_requests
    return found.run_requests[0]


def test_a_night_asks_for_what_is_missing_once(project: Project, instance: dg.DagsterInstance) -> None:
    project.store.delete([manifest_key("predictions", NORTH)])
    project.store.put(failure_key("predictions", SOUTH), json.dumps({"failed": {"x": "bad"}}).encode())
    day = tick(project, instance, EVENING - timedelta(hours=4))
    assert isinstance(day, dg.SkipReason)
    assert "it is day" in (day.skip_message or "")
    request = tick(project, instance, EVENING)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["groundplan/cause"] == "nightly"
    backfills = instance.get_backfills()
    assert [backfill.title for backfill in backfills] == [
        "nightly 2026-11-20: 2024, 2 partitions of predictions (1 of 1)"
    ]
    assert targets_of(backfills[0]) == {("predictions", NORTH), ("predictions", SOUTH)}
    assert backfills[0].tags["groundplan/cause"] == "nightly"
    assert float(backfills[0].tags["groundplan/cost"]) >= 0
    # the same tick again, and the hours after it: it runs, and it was asked for
    assert isinstance(tick(project, instance, EVENING), dg.SkipReason)
    instance.update_backfill(backfills[0].with_status(BulkActionStatus.COMPLETED_FAILED))
    assert isinstance(tick(project, instance, EVENING + timedelta(hours=1)), dg.SkipReason)
    assert len(instance.get_backfills()) == 1
    assert isinstance(tick(project, instance, EVENING + timedelta(days=1)), dg.RunRequest)
    assert len(instance.get_backfills()) == 2


@pytest.mark.kill
def test_a_daemon_killed_between_slices_doubles_nothing(
    project: Project, graph: dg.AssetGraph, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDPLAN_NIGHTLY__SLICE", "1")
    project = open_project(project.home)
    project.store.delete([manifest_key("predictions", NORTH), manifest_key("predictions", SOUTH)])
    real = dg.DagsterInstance.add_backfill
    calls: list[PartitionBackfill] = []

    def dies(self: dg.DagsterInstance, backfill: PartitionBackfill) -> None:
        if calls:
            raise KeyboardInterrupt
        calls.append(backfill)
        real(self, backfill)

    with monkeypatch.context() as patch:
        patch.setattr(dg.DagsterInstance, "add_backfill", dies)
        with pytest.raises(KeyboardInterrupt):
            ask(project, instance, graph, EVENING)
    assert len(instance.get_backfills()) == 1
    ask(project, instance, graph, EVENING)
    found = [target for backfill in instance.get_backfills() for target in targets_of(backfill)]
    assert sorted(found) == [("predictions", NORTH), ("predictions", SOUTH)]


def fail(instance: dg.DagsterInstance, graph: dg.AssetGraph) -> None:
    """The last backfill ends with all that it was asked for failed."""
    backfill = instance.get_backfills()[0]
    data = backfill.asset_backfill_data
    assert data
    assert isinstance(data.target_subset, AssetGraphSubset)
    failed = data._replace(failed_and_downstream_subset=data.target_subset)
    ended = backfill.with_asset_backfill_data(failed, dynamic_partitions_store=instance, asset_graph=graph)
    instance.update_backfill(ended.with_status(BulkActionStatus.COMPLETED_FAILED))


def test_what_fails_night_after_night_is_left_until_something_changes(
    project: Project, graph: dg.AssetGraph, instance: dg.DagsterInstance
) -> None:
    project.store.delete([manifest_key("predictions", NORTH)])
    old = EVENING.timestamp() - 90 * 86400
    for item in project.store.list("manifests"):
        os.utime(project.home / "store" / item.key, (old, old))
    now = datetime.now(UTC).replace(hour=23, minute=0)  # backfills are stamped with the real time
    for day in range(3):
        choice = ask(project, instance, graph, now + timedelta(days=day))
        assert choice
        assert choice.partitions == 1, day
        fail(instance, graph)
    left = ask(project, instance, graph, now + timedelta(days=3))
    assert left
    assert (left.partitions, left.given_up) == (0, (("predictions", NORTH),))
    later = datetime.now(UTC).timestamp() + 5
    os.utime(project.home / "store" / manifest_key("aerial_tiles", NORTH), (later, later))
    again = ask(project, instance, graph, now + timedelta(days=3))
    assert again
    assert again.partitions == 1


def test_schedules_are_off_until_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORS_ON", raising=False)
    schedules = build_definitions().get_repository_def().schedule_defs
    assert {schedule.name for schedule in schedules} == {"nightly_backfill", "yearly_changes", "weekly_maintenance"}
    assert {schedule.default_status for schedule in schedules} == {dg.DefaultScheduleStatus.STOPPED}
    monkeypatch.setenv("SENSORS_ON", "1")
    assert nightly_backfill().default_status == dg.DefaultScheduleStatus.RUNNING
