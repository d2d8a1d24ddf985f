"""Many small regions in one launched run: the cut, what is asked for, what a failure and a kill leave, who is told."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import stretch_run
import yaml
from conftest import MakeProject, digests
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import PartitionBackfill
from hypothesis import given
from hypothesis import strategies as st
from laid_sheets import LOSSLESS, ground, lay, place
from stretch_run import run_stretch

from assets.partitions import add_partitions, key_of
from assets.stretches import (
    ASSET,
    PARTS_FAILED,
    STRETCH_FIRST,
    STRETCH_RUN,
    Stretch,
    stretch_of,
    stretches,
    targets_of_key,
)
from groundplan.capacity.stretches import LaunchCost, cut
from groundplan.core.manifest import manifest_key
from groundplan.core.partition import Partition
from groundplan.ingest.add_imagery import deliver
from groundplan.operations.region_work import Pod, expected_seconds, reason_for
from groundplan.pipeline import run_asset
from groundplan.project import Project, open_project
from orchestration.backfills import in_progress, targets_of
from orchestration.cli.in_process import dagster_home
from orchestration.definitions import build_definitions
from orchestration.launch.coordinator import WRITER, profiles_of, tags_of
from orchestration.launch.profiles import read_table
from orchestration.schedules import ask, failures_in_a_row
from orchestration.sensors.alerts import WILL_RETRY, failures
from orchestration.stretches import Wanted, divided, request

YEAR = 2024
NAMES = ("assen", "borger", "coevorden", "drouwen")
HERE = [Partition(YEAR, name) for name in NAMES]
MADE = ("sheets", "aerial_tiles")
KEY = f"{YEAR}/sheets+aerial_tiles/assen/drouwen"
EVENING = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
LAUNCH = 10.0  # seconds that a launch costs, in the table of these tests
PATIENCE = 120.0


def table(launch: float = LAUNCH, **assets: str) -> str:
    """A table of launch profiles, as the chart writes it."""
    profiles = {
        "io": {"cpu": "2", "memory": "4Gi", "nodes": "spot", "launch_seconds": launch},
        "cpu": {"cpu": "4", "memory": "12Gi", "nodes": "spot", "launch_seconds": launch},
    }
    nodes: dict[str, Any] = {"spot": {"selector": {}}}
    return yaml.safe_dump(
        {"images": {"groundplan": "here/groundplan:1"}, "nodes": nodes, "profiles": profiles, "assets": assets}
    )


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory, make_project: MakeProject) -> Path:
    """A home with a sheet of each region; copy it to change it."""
    folder = tmp_path_factory.mktemp("stretch")
    project = make_project(folder / "home", serving={"dagster_url": "http://ui"})
    for number, name in enumerate(NAMES):
        sheet = lay(folder / f"{name}.tif", ground(300, 300, seed=number), place(number * 1024, 0), **LOSSLESS)
        deliver(project, [sheet], name, YEAR)
    return project.home


@pytest.fixture
def project(delivered: Path, tmp_path: Path) -> Project:
    shutil.copytree(delivered, tmp_path / "home")
    (tmp_path / "home" / "profiles.yaml").write_text(table())
    return open_project(tmp_path / "home")


@pytest.fixture
def instance(project: Project) -> Iterator[dg.DagsterInstance]:
    """That of the home's own folder, which a process may open too."""
    dagster_home(project.home)
    with dg.DagsterInstance.from_config(str(project.home / "dagster")) as found:
        add_partitions(found, HERE)
        found.add_dynamic_partitions(stretches.name or "", [KEY])
        yield found


@pytest.fixture(scope="module")
def graph() -> dg.AssetGraph:
    return build_definitions().resolve_asset_graph()


# --- the cut ----------------------------------------------------------------------------------------------------------

SECONDS = st.none() | st.floats(0, 40)


@given(
    st.lists(st.tuples(SECONDS, st.booleans()), max_size=30),
    st.sampled_from([0.0, 5.0, 20.0]),
    st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0]),
)
def test_every_region_is_in_one_run_and_no_run_has_more_than_it_may(
    regions: list[tuple[float | None, bool]], launch: float, launches: float
) -> None:
    order = list(range(len(regions)))
    expected = {key: regions[key][0] for key in order if regions[key][1]}
    cost = LaunchCost(launch, launches)
    groups = cut(order, expected, cost)
    assert [key for group in groups for key in group] == [key for key in order if key in expected], (
        "each once, in order"
    )
    for group in groups:
        assert list(group) == list(range(group[0], group[-1] + 1)), "unbroken: nothing between that is not wanted"
        if len(group) > 1:
            seconds = [expected[key] for key in group]
            assert all(one is not None and one < launch for one in seconds), "only what takes less than a launch"
            assert sum(one for one in seconds if one is not None) <= cost.most + 1e-9
    if not cost.most:
        assert all(len(group) == 1 for group in groups)
    for left, right in pairwise(groups):
        first, here = expected[right[0]], [expected[key] for key in left]
        small = [one for one in (*here, first) if one is not None and one < launch]
        if cost.most and right[0] == left[-1] + 1 and len(small) == len(here) + 1:
            assert sum(small) > cost.most - 1e-9, "what would have had room is together"


@given(st.integers(1900, 2099), st.lists(st.sampled_from(NAMES), min_size=2, max_size=2), st.permutations(NAMES))
def test_a_key_says_what_it_stands_for(year: int, ends: list[str], known: list[str]) -> None:
    first, last = sorted(ends, key=known.index)
    stretch = Stretch(year, MADE, first, last)
    assert stretch_of(stretch.key) == stretch
    regions = known[known.index(first) : known.index(last) + 1]
    assert targets_of_key(known, stretch.key) == [(name, Partition(year, one)) for name in MADE for one in regions]
    assert targets_of_key([], stretch.key) == [], "its regions are no more"


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_a_region_takes_longer_the_more_blocks_it_has_and_nobody_knows_of_what_is_not_there(project: Project) -> None:
    nothing = Partition(YEAR, "emmen")
    found = expected_seconds(project, ["sheets"], [*HERE, nothing], Pod(2))
    assert found[nothing] is None
    assert all(value and 0 < value < LAUNCH for key, value in found.items() if key != nothing)
    slow = expected_seconds(project, MADE, HERE, Pod(1))
    assert all((slow[key] or 0) > (found[key] or 0) for key in HERE)
    assert expected_seconds(project, ["building_changes"], HERE, Pod(2)) == dict.fromkeys(HERE), "no rate is known"


def test_neighbors_go_together_where_a_launch_costs_more_and_where_that_is_known(
    project: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, alone = divided(project, instance, MADE, HERE)
    assert ([stretch.key for stretch in together], alone) == ([KEY], [])
    reason = reason_for(project, KEY)
    assert list(reason.expected) == list(NAMES)
    assert (reason.launch_seconds, reason.most_seconds) == (LAUNCH, 10 * LAUNCH)
    assert "each of 4 regions should take less than a launch (10 s)" in str(reason)
    # a neighbor that is not asked for ends a stretch
    together, alone = divided(project, instance, MADE, [HERE[0], HERE[1], HERE[3]])
    assert ([(one.first, one.last) for one in together], alone) == ([(NAMES[0], NAMES[1])], [HERE[3]])
    # a large region has a run of its own, and so has every region where nothing is known or wanted
    large = {HERE[1]: 3 * LAUNCH, HERE[2]: None}
    monkeypatch.setattr("orchestration.stretches.expected_seconds", lambda *_: {**dict.fromkeys(HERE, 1.0), **large})
    assert divided(project, instance, MADE, HERE) == ([], HERE)
    monkeypatch.undo()
    assert divided(project, instance, ["training_windows"], [Partition(YEAR)]) == ([], [Partition(YEAR)])
    (project.home / "profiles.yaml").write_text(table(0.0))
    assert divided(project, instance, MADE, HERE) == ([], HERE), "the table says no cost"
    (project.home / "profiles.yaml").unlink()
    assert divided(project, instance, MADE, HERE) == ([], HERE), "there is no table"
    (project.home / "profiles.yaml").write_text(table())
    monkeypatch.setenv("GROUNDPLAN_RUN__STRETCH_LAUNCHES", "0")
    assert divided(open_project(project.home), instance, MADE, HERE) == ([], HERE), "switched off"


def test_a_night_asks_for_stretches_once_and_counts_each_region_once(
    project: Project, graph: dg.AssetGraph, instance: dg.DagsterInstance
) -> None:
    choice = ask(project, instance, graph, EVENING)
    assert choice
    (backfill,) = instance.get_backfills()
    assert backfill.title == "nightly 2026-11-20: 2024, 4 partitions of sheets (1 of 1): 4 small regions in 1 runs"
    assert backfill.tags["groundplan/partitions"] == "4"
    targets = {("sheets", partition) for partition in HERE}
    assert targets_of(backfill, NAMES) == in_progress(instance) == targets
    again = ask(project, instance, graph, EVENING)
    assert again
    assert again.partitions == 0
    assert len(instance.get_backfills()) == 1


def test_of_a_stretch_that_failed_only_the_regions_that_did_are_counted(
    project: Project, graph: dg.AssetGraph, instance: dg.DagsterInstance
) -> None:
    wanted = Wanted(assets=("sheets",), partitions=tuple(HERE), title="t", key="k")
    request(project, instance, graph, wanted, {"groundplan/night": "2026-11-20"})
    (backfill,) = instance.get_backfills()
    data = backfill.asset_backfill_data
    assert data
    assert isinstance(data.target_subset, AssetGraphSubset)
    failed = data._replace(failed_and_downstream_subset=data.target_subset)
    ended = backfill.with_asset_backfill_data(failed, dynamic_partitions_store=instance, asset_graph=graph)
    counts = failures_in_a_row([ended], {}, NAMES, {("sheets", HERE[2])})
    assert {target: count for target, count in counts.items() if count} == {("sheets", HERE[2]): 1}


def test_large_and_small_are_two_backfills_and_asking_again_asks_for_nothing(
    project: Project, graph: dg.AssetGraph, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "orchestration.stretches.expected_seconds", lambda *_: {**dict.fromkeys(HERE, 1.0), HERE[3]: 99.0}
    )
    wanted = Wanted(assets=MADE, partitions=tuple(HERE), title="all", key="k")
    first = request(project, instance, graph, wanted, {}, {"groundplan/cost": "1"})
    assert request(project, instance, graph, wanted, {}, {"groundplan/cost": "1"}) == first
    found = {backfill.backfill_id: backfill for backfill in instance.get_backfills()}
    small, large = (found[one] for one in first)
    assert keys(small) == {f"{YEAR}/sheets+aerial_tiles/assen/coevorden"}
    assert targets_of(large) == {(name, HERE[3]) for name in MADE}
    assert [one.tags.get("groundplan/cost") for one in (small, large)] == ["1", None], "it is summed over backfills"


def keys(backfill: PartitionBackfill) -> set[str]:
    assert backfill.asset_backfill_data
    pairs = list(backfill.asset_backfill_data.target_subset.iterate_asset_partitions())
    assert {asset.to_user_string() for asset, _ in pairs} == {ASSET}
    return {str(key) for _, key in pairs}


def test_a_stretch_gets_the_pod_of_what_it_makes_and_is_its_writer(project: Project, graph: dg.AssetGraph) -> None:
    run = dg.DagsterRun(
        job_name="__ASSET_JOB", tags={"dagster/partition": KEY}, asset_selection=frozenset({dg.AssetKey(ASSET)})
    )
    context: Any = SimpleNamespace(workspace=SimpleNamespace(asset_graph=graph), dagster_run=run)
    profiles = profiles_of(context)
    assert profiles == {"sheets": "io", "aerial_tiles": "cpu"}
    tags = tags_of(read_table(project.home / "profiles.yaml"), run, profiles)
    assert tags["groundplan/profile"] == "cpu"
    assert {name: tags[WRITER + name] for name in MADE} == dict.fromkeys(MADE, KEY)


# --- runs -------------------------------------------------------------------------------------------------------------


def parts(instance: dg.DagsterInstance) -> dict[str, list[dg.DagsterRun]]:
    """Runs of regions, oldest first, by region."""
    found: dict[str, list[dg.DagsterRun]] = {}
    for run in reversed(instance.get_runs()):
        if STRETCH_RUN in run.tags:
            found.setdefault(run.tags["groundplan/region"], []).append(run)
    return found


def materialized(instance: dg.DagsterInstance, name: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(name)))


@pytest.mark.slow
def test_a_region_that_fails_takes_no_other_with_it(project: Project, instance: dg.DagsterInstance) -> None:
    for sheet in project.store.list(f"landing/{NAMES[1]}"):
        project.store.delete([sheet.key])
    start = time.time()
    result = run_stretch(project.home, instance, KEY)
    assert not result.success, "a failed region is never green"
    good = {key_of(partition) for partition in HERE if partition != HERE[1]}
    for name in MADE:
        assert materialized(instance, name) == good
        red = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
            dg.AssetKey(name)
        )
        assert set(red) == {key_of(HERE[1])}, "the others are not red"
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("sheets"), "sheets_usable"), limit=10
    )
    judged = {record.partition for record in checks if record.status.value == "SUCCEEDED"}
    assert judged == good, "each region has results of its own"
    assert materialized(instance, ASSET) == set()
    # the run's page says what became of each, and why they are in one run
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    failure = event.step_failure_data.user_failure_data
    assert failure
    assert "1 of 4 regions failed, such as borger 2024: imagery of borger 2024: nothing lies in" in str(failure)
    table_ = str(failure.metadata["each region"].value)
    assert [line.split(" | ")[1] for line in table_.splitlines()[2:]] == ["made", "failed", "made", "made"]
    # one notice, and it is the region's
    (run,) = [one for one in instance.get_runs() if one.run_id == result.run_id]
    assert run.tags[PARTS_FAILED] == "1"
    told, _ = failures(project, instance, (start, []), time.time() + 60)
    assert [notice.where for notice in told] == ["aerial_tiles, sheets of borger|2024"]


@pytest.mark.slow
@pytest.mark.kill
def test_a_killed_run_once_retried_makes_only_what_is_missing(
    project: Project, instance: dg.DagsterInstance, delivered: Path, tmp_path: Path
) -> None:
    start = time.time()
    process = launched(project)
    wait_until(lambda: project.store.exists(manifest_key("sheets", HERE[2])))
    process.send_signal(signal.SIGKILL)
    process.wait()
    (killed,) = [run for run in instance.get_runs() if STRETCH_RUN not in run.tags]
    assert {region: runs[0].status.value for region, runs in parts(instance).items()} == {
        NAMES[0]: "SUCCESS",
        NAMES[1]: "SUCCESS",
        NAMES[2]: "STARTED",
    }
    instance.report_run_failed(killed, "run monitoring: its worker is gone")
    made_before = digests(project, *MADE)
    assert run_stretch(project.home, instance, KEY, killed.run_id).success
    found = parts(instance)
    assert [len(found[name]) for name in NAMES] == [1, 1, 2, 1], "only what was missing has another run"
    assert found[NAMES[2]][0].status.value == "FAILURE", "what died with the pod is at work no more"
    assert {run.tags[STRETCH_FIRST] for runs in found.values() for run in runs} == {killed.run_id}
    for name in MADE:
        assert materialized(instance, name) == {key_of(partition) for partition in HERE}
    assert materialized(instance, ASSET) == {KEY}
    undisturbed = open_project(copied(delivered, tmp_path / "undisturbed"))
    for name in MADE:
        for partition in HERE:
            run_asset(undisturbed, name, partition)
    after = digests(project, *MADE)
    assert after == digests(undisturbed, *MADE), "byte for byte"
    assert made_before.items() <= after.items()
    instance.add_run_tags(killed.run_id, {WILL_RETRY: "false"})  # as where it was not tried again
    told, _ = failures(project, instance, (start, []), time.time() + 60)
    assert [notice.where for notice in told] == [f"{ASSET} of {KEY}"], "of the region's run that died nobody is told"


@pytest.mark.slow
@pytest.mark.kill
def test_a_run_that_is_told_to_stop_ends_between_regions_and_will_be_retried(
    project: Project, instance: dg.DagsterInstance
) -> None:
    process = launched(project)
    wait_until(lambda: project.store.exists(manifest_key("sheets", HERE[0])))
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 1
    (run,) = [one for one in instance.get_runs() if STRETCH_RUN not in one.tags]
    assert run.status.value == "FAILURE"
    assert run.tags["dagster/failure_reason"] == "UNEXPECTED_TERMINATION", "as of a pod whose node is taken away"
    assert len(parts(instance)) <= 2, "no region was begun after it"
    assert all(one.is_finished for runs in parts(instance).values() for one in runs)


def launched(project: Project) -> subprocess.Popen[bytes]:
    command = [sys.executable, stretch_run.__file__, str(project.home), KEY]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def copied(home: Path, where: Path) -> Path:
    shutil.copytree(home, where)
    return where
