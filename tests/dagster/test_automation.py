"""What starts by itself: from tiles to footprints without a hand, never twice, never what must fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor

from assets.conditions import AUTOMATED, around
from assets.partitions import add_partitions, key_of, partition_of
from groundplan.core.manifest import Made, Manifest, failure_key, manifest_key
from groundplan.core.partition import Partition
from groundplan.operations.prerequisites import Why, disturbed, own_inputs, register_years, waits_for
from groundplan.pipeline import ASSETS as NAMES
from groundplan.project import Project, open_project
from groundplan.training import models
from orchestration.definitions import build_definitions
from resources.project import ProjectResource

pytestmark = pytest.mark.slow  # Dagster's own evaluation of a whole country

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")
MOST_ROUNDS = 12


class Clock:
    """A daemon in slow motion: evaluate, run what was asked for, until nothing is asked for any more."""

    def __init__(self, project: Project) -> None:
        self.project, self.instance = project, dg.DagsterInstance.ephemeral()
        self.defs = build_definitions({"project": ProjectResource(home=str(project.home))})
        self.cursor: AssetDaemonCursor | None = None
        self.failed: list[tuple[tuple[str, ...], Partition]] = []
        add_partitions(self.instance, [NORTH, SOUTH])
        self.asked()  # switched on before anything arrives

    def asked(self) -> set[tuple[tuple[str, ...], Partition]]:
        """One evaluation: names that share a run, and their partition."""
        result = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        found: dict[Partition, list[str]] = {}
        for name in NAMES:
            for key in result.get_requested_partitions(dg.AssetKey(name)):
                found.setdefault(partition_of(key or ""), []).append(name)
        return {(tuple(names), partition) for partition, names in found.items()}

    def run(self, names: Iterable[str], partition: Partition) -> None:
        job = self.defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in names],
            partition_key=key_of(partition),
            raise_on_error=False,
        )
        if not result.success:
            self.failed.append((tuple(names), partition))

    def until_quiet(self) -> list[tuple[tuple[str, ...], Partition]]:
        history: list[tuple[tuple[str, ...], Partition]] = []
        for _ in range(MOST_ROUNDS):
            asked = self.asked()
            if not asked:
                return history
            for names, partition in sorted(asked):
                self.run(names, partition)
            history += sorted(asked)
        raise AssertionError(f"it does not come to rest: {history[-6:]}")


def emptied(home: Path, folder: Path, *keep: str) -> Project:
    """A copy of a made home in which only deliveries are left, and what is named."""
    shutil.copytree(home, folder)
    project = open_project(folder)
    kept = ("landing/", "registers/", *keep)
    project.store.delete([item.key for item in project.store.list() if not item.key.startswith(kept)])
    return project


@pytest.fixture
def clock(built_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The model's object stays, so that the run which trains finds it: learning is not what is tested."""
    project = emptied(built_home, tmp_path / "home", "trained_model/")
    monkeypatch.setenv("GROUNDPLAN_HOME", str(project.home))
    return Clock(project)


def commit_model(project: Project) -> None:
    """The model whose object lies in the store, as if it had been trained elsewhere."""
    found = project.store.list("trained_model")[0]
    given = Made(
        name="model",
        key=found.key,
        fingerprint="given",
        bytes=found.size,
        seconds=0.0,
        cpu_seconds=0.0,
        inputs=(),
        facts=models.describe(project.store.get(found.key)),
    )
    manifest = Manifest(
        dataset="trained_model",
        partition=Partition(2024),
        version=models.VERSION,
        fingerprint="given",
        objects={"model": given},
    )
    project.store.put(manifest_key("trained_model", Partition(2024)), manifest.to_json())


def made(project: Project, name: str, partition: Partition) -> bool:
    return project.store.exists(manifest_key(name, partition))


def test_tiles_end_as_footprints_and_then_nothing_is_asked(clock: Clock) -> None:
    for names in (["sheets"], ["aerial_tiles"]):  # in this order the model's inputs, and so its name, are the same
        for partition in (NORTH, SOUTH):
            clock.run(names, partition)
    history = clock.until_quiet()
    assert not clock.failed
    for partition in (NORTH, SOUTH):
        assert made(clock.project, "building_footprints", partition)
    assert made(clock.project, "trained_model", Partition(2024))
    asked = [(name, partition) for names, partition in history for name in names]
    assert len(asked) == len(set(asked)) == 4 * 2 + 2, f"something was asked for twice: {history}"
    order = [names for names, _ in history]
    assert order.index(("building_footprints",)) > max(i for i, names in enumerate(order) if names == ("predictions",))
    assert clock.asked() == set(), "a second round asks for nothing"
    # a late sheet remakes what follows, but not the model
    clock.run(["sheets", "aerial_tiles"], NORTH)
    late = {(name, partition) for names, partition in clock.until_quiet() for name in names}
    again = ("register_buildings", "labels", "predictions", "building_footprints")
    assert late == {(name, NORTH) for name in again} | {("training_windows", Partition(2024))}


def test_another_years_model_is_enough(built_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year without a register: no labels, no windows, no model of its own, and nothing that must fail."""
    project = emptied(built_home, tmp_path / "home", "trained_model/", manifest_key("trained_model", Partition(2024)))
    for item in project.store.list("landing"):
        project.store.put(item.key.replace("/2024/", "/2023/"), project.store.get(item.key))
    project.store.delete([item.key for item in project.store.list("registers") if item.key.startswith("registers/")])
    monkeypatch.setenv("GROUNDPLAN_HOME", str(project.home))
    monkeypatch.setenv("GROUNDPLAN_PREDICT__MODEL_YEAR", "2024")
    there = Clock(open_project(project.home))
    before = Partition(2023, NORTH.region)
    add_partitions(there.instance, [before])
    there.run(["sheets", "aerial_tiles"], before)
    history = there.until_quiet()
    assert not there.failed
    assert {(name, partition) for names, partition in history for name in names} == {
        (name, before) for name in ("register_buildings", "predictions", "building_footprints")
    }
    assert made(there.project, "building_footprints", before)


def test_without_a_model_predictions_wait_and_start_when_it_comes(clock: Clock) -> None:
    store = clock.project.store
    store.delete([item.key for item in store.list("registers")])
    clock.run(["sheets", "aerial_tiles"], NORTH)
    assert {names for names, _ in clock.until_quiet()} == {("register_buildings",)}
    commit_model(clock.project)
    assert clock.asked() == {(("predictions",), NORTH)}


@pytest.mark.fault
def test_what_failed_is_left_to_the_nightly_schedule(clock: Clock) -> None:
    clock.run(["sheets", "aerial_tiles"], NORTH)
    clock.run(["register_buildings"], NORTH)
    clock.asked()
    labels = clock.project.store.list("aerial_tiles")
    clock.project.store.put(labels[0].key, b"no picture")
    clock.run(["labels"], NORTH)
    assert clock.failed == [(("labels",), NORTH)]
    assert clock.project.store.exists(failure_key("labels", NORTH))
    assert "labels" not in {name for names, _ in clock.until_quiet() for name in names}


def test_neighbours_are_waited_for(clock: Clock) -> None:
    """Predictions read across borders: while the neighbour's tiles are in the making they would be made twice."""
    for partition in (NORTH, SOUTH):
        clock.run(["sheets"], partition)
    clock.run(["aerial_tiles"], NORTH)
    graph = clock.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey("aerial_tiles")})
    tags = {"dagster/partition": key_of(SOUTH)}
    tags |= {"dagster/partition/region": SOUTH.region, "dagster/partition/year": "2024"}
    run = clock.instance.create_run_for_job(
        graph, tags=tags, asset_selection=frozenset({dg.AssetKey("aerial_tiles")}), status=dg.DagsterRunStatus.STARTED
    )
    commit_model(clock.project)
    assert "predictions" not in {name for names, _ in clock.asked() for name in names}
    clock.instance.report_run_failed(run)
    assert (("predictions",), NORTH) in clock.asked()


def test_only_neighbours_disturb(built_home: Path, tmp_path: Path) -> None:
    """Without polygons any region of the year may be one; with them those that touch."""
    import geopandas as gpd
    import shapely

    from groundplan.imagery.regions import add_regions

    shutil.copytree(built_home, tmp_path / "home")
    project = open_project(tmp_path / "home")
    assert disturbed(project, NORTH, [SOUTH])
    assert not disturbed(project, NORTH, [NORTH])
    assert not disturbed(project, NORTH, [Partition(2023, SOUTH.region)])
    assert disturbed(project, Partition(2024), [SOUTH])
    x, y = project.grid.origin
    squares = [shapely.box(x + left, y - 200, x + left + 200, y) for left in (0, 200, 5000)]
    names = [NORTH.region, SOUTH.region, "verweg"]
    gpd.GeoDataFrame({"name": names}, geometry=squares, crs=project.grid.crs).to_file(tmp_path / "regions.gpkg")
    add_regions(project, tmp_path / "regions.gpkg")
    assert disturbed(project, NORTH, [SOUTH])
    assert not disturbed(project, NORTH, [Partition(2024, "verweg")])


def test_what_a_step_needs_is_what_its_asset_depends_on() -> None:
    specs = {spec.key.to_user_string(): spec for spec in build_definitions().resolve_all_asset_specs()}
    for name in NAMES:
        deps = {dep.asset_key.to_user_string() for dep in specs[name].deps} - {
            "trained_model",
            "labels",
            "hard_negatives",
        }
        assert deps <= set(own_inputs(name)), name
    assert set(AUTOMATED) == {name for name in NAMES if specs[name].automation_condition}
    assert set(AUTOMATED) == {*NAMES} - {"sheets", "aerial_tiles", "hard_negatives", "mining_trial"}


def test_what_must_not_be_in_the_making_around_a_partition() -> None:
    assert around("training_windows") == around("trained_model")
    assert around("trained_model") == ("sheets", "aerial_tiles", "register_buildings", "labels")
    assert around("predictions") == ("aerial_tiles",)
    assert around("building_footprints") == ("aerial_tiles", "predictions")
    assert around("labels") == around("register_buildings") == ()


def test_why_something_waits() -> None:
    everything = lambda name, partition: True  # noqa: E731
    nothing = lambda name, partition: False  # noqa: E731
    assert waits_for("labels", NORTH, everything, {2023}, None).text == "no register of 2024"
    assert waits_for("labels", NORTH, everything, {2024}, 2023).why is Why.NOTHING
    assert waits_for("training_windows", Partition(2024), everything, {2024}, 2023)
    untrained = lambda name, partition: name != "trained_model"  # noqa: E731
    assert waits_for("predictions", NORTH, untrained, {2024}, 2022).text == "no model of 2022"
    assert waits_for("sheets", NORTH, nothing, (), None).why is Why.NOTHING
    assert waits_for("aerial_tiles", NORTH, nothing, (), None).text == "sheets of noorderveld 2024 is not made"


def test_years_with_a_register_are_found(built_home: Path) -> None:
    assert register_years(open_project(built_home)) == {2024}


def test_it_is_off_until_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration.sensors.automation import sensor

    monkeypatch.delenv("SENSORS_ON", raising=False)
    assert sensor().default_status == dg.DefaultSensorStatus.STOPPED
    monkeypatch.setenv("SENSORS_ON", "1")
    assert sensor().default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor().run_tags == {"groundplan/cause": "automation"}
