"""Collections as Dagster sees them: keys, stretches of classes in one run, metadata, the sensor, and what is remade."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from collection_shards import CLASSES, deliver, draw
from conftest import new_project
from hypothesis import given
from hypothesis import strategies as st

from assets.collection_partitions import collections, image_classes, key_of, partition_of, ranges
from groundplan.collections import catalog, pipeline
from groundplan.collections.classification import classifier
from groundplan.collections.descriptors import features, reduced
from groundplan.core.manifest import Planned, need_manifest, read_manifest
from groundplan.core.partition import ClassPartition
from groundplan.errors import BadConfig, StoreFailed
from groundplan.project import Project, open_project
from orchestration.cli import build_collection
from orchestration.cli.in_process import open_instance
from orchestration.cli.known import check_collection
from orchestration.cli.recall import recall
from orchestration.definitions import build_definitions
from orchestration.sensors.image_classes import new_classes, new_image_classes
from resources.project import ProjectResource

QUICK = {"features": "orb", "words": 16, "size": 64}  # features that need no weights
WHOLE = ClassPartition("fruits")
KEY = key_of(ClassPartition("fruits", CLASSES[2]))
FORBIDDEN = ("|", ",", "[", "]", "...", "\n", "\t", "\0", "/")


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Images of three classes, of which nothing is made, and a Dagster instance that knows nothing. Only to copy."""
    project = new_project(tmp_path_factory.mktemp("empty") / "home", collections=QUICK)
    deliver(project, draw(project.home.parent / "folder", count=8), "fruits")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        open_instance(project).dispose()
    return project


@pytest.fixture(scope="module")
def built(empty: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, tuple[str, int, int]]]:
    """The same, built by Dagster, and what that did. Only to look at, or to copy."""
    project = copied(empty, tmp_path_factory.mktemp("built"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        return project, outcomes(project)


def copied(project: Project, folder: Path) -> Project:
    shutil.copytree(project.home, folder / "home")
    return open_project(folder / "home")


@pytest.fixture
def fruits(built: tuple[Project, object], tmp_path: Path) -> Project:
    """A built collection to change."""
    return copied(built[0], tmp_path)


def outcomes(project: Project) -> dict[str, tuple[str, int, int]]:
    """Build: outcome, objects made, partitions, by asset. One line for each asset, or it is not what it should be."""
    done = list(build_collection.build(project, "fruits"))
    assert len({item.asset for item in done}) == len(done), done
    assert not [item.message for item in done if item.outcome == "failed"]
    return {item.asset: (item.outcome, item.made, len(item.partitions)) for item in done}


# --- keys -------------------------------------------------------------------------------------------------------------


@given(label=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_a_class_of_any_name_has_a_key_that_dagster_takes_and_comes_back(label: str) -> None:
    key = key_of(ClassPartition("fruits", label))
    assert partition_of(key) == ClassPartition("fruits", label)
    assert not [part for part in FORBIDDEN if part in key.removeprefix("fruits/")]
    assert key == key.strip()


def test_ordinary_names_stay_readable() -> None:
    for label in ("Apple Braeburn", "Äpfel (rot) 1.5", "日本 梨"):
        assert key_of(ClassPartition("fruits", label)) == f"fruits/{label}"
    assert key_of(ClassPartition("fruits", "a|b, [c]...")) == "fruits/a%7Cb%2C %5Bc%5D%2E%2E."
    assert partition_of("fruits") == WHOLE


@pytest.mark.bad_input
@pytest.mark.parametrize("key", ["", "/lemon", "fruits/a|b", "fruits/%7c"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        partition_of(key)


@given(known=st.lists(st.integers(0, 30).map(str), unique=True), data=st.data())
def test_stretches_hold_what_was_asked_for_and_nothing_else(known: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.sets(st.sampled_from(known))) if known else set()
    found = ranges(known, wanted)
    covered = [key for first, last in found for key in known[known.index(first) : known.index(last) + 1]]
    assert covered == [key for key in known if key in wanted]
    assert len(found) <= 1 + sum(key not in wanted for key in known)


# --- definitions ------------------------------------------------------------------------------------------------------


def test_assets_depend_on_what_their_steps_read() -> None:
    found = {spec.key.to_user_string(): spec for spec in build_definitions().resolve_all_asset_specs()}
    parents = {name: {dep.asset_key.to_user_string() for dep in found[name].deps} for name in pipeline.ASSETS}
    assert parents == {
        "image_catalog": set(),
        "image_features": {"image_catalog"},
        "reduced_features": {"image_features"},
        "image_classifier": {"reduced_features"},
        "collection_report": {"image_classifier"},
    }
    for name in pipeline.ASSETS:
        spec = found[name]
        assert spec.group_name == "collections"
        assert spec.partitions_def == (image_classes if not pipeline.STEPS[name].scope.wide else collections)
        assert len(spec.description or "") > 60
        assert spec.kinds
        assert spec.owners
        assert spec.code_version
        assert spec.tags.get("groundplan/profile") in ("io", "cpu")


def test_what_a_step_reads_is_below_its_asset() -> None:
    """Inputs of every object of a built collection come from the asset itself or from one above it."""
    order = {name: number for number, name in enumerate(pipeline.ASSETS)}
    with_asset = {
        features.DATASET: 1,
        reduced.SUMS: 1,
        reduced.AXES: 2,
        "visual_words": 1,
        "collections": -1,
        "tuned_classifier": 3,
    }
    for name, number in with_asset.items():
        order.setdefault(name, number)
    assert set(pipeline.STEPS) <= order.keys()


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_run_makes_a_stretch_of_classes_and_each_has_its_figures(built: tuple[Project, Any]) -> None:
    fruits, did = built
    assert did == {
        "image_catalog": ("made", 3, 3),
        "image_features": ("made", 6, 3),
        "reduced_features": ("made", 3, 3),
        "image_classifier": ("made", 1, 1),
        "collection_report": ("made", 1, 1),
    }
    instance = open_instance(fruits)
    keys = {key_of(ClassPartition("fruits", label)) for label in CLASSES}
    assert set(instance.get_dynamic_partitions("image_classes")) == keys
    assert instance.get_runs_count() == len(pipeline.ASSETS)
    for name in pipeline.ASSETS:
        records = instance.fetch_materializations(dg.AssetKey(name), limit=10).records
        facts = {str(each.partition_key): each.asset_materialization.metadata for each in records}  # type: ignore[union-attr]
        assert set(facts) == (keys if not pipeline.STEPS[name].scope.wide else {"fruits"}), name
        for key, metadata in facts.items():
            partition = partition_of(key)
            assert metadata["dagster/uri"].value == fruits.store.uri(f"manifests/{name}/{partition.path}.json")
            assert len(str({k: v.value for k, v in metadata.items()})) < 250_000, "too much for Dagster's database"
        assert ("picture" in next(iter(facts.values()))) is (pipeline.STEPS[name].scope.wide), name
    assert set(outcomes(fruits).values()) == {("current", 0, 3), ("current", 0, 1)}
    assert instance.get_runs_count() == len(pipeline.ASSETS), "nothing to do needs no run"


@pytest.mark.slow
def test_one_class_materialized_from_the_ui_has_its_picture(fruits: Project) -> None:
    resources = {"project": ProjectResource(home=str(fruits.home))}
    job = build_definitions(resources).resolve_implicit_global_asset_job_def()
    key = key_of(ClassPartition("fruits", CLASSES[0]))
    result = job.execute_in_process(
        instance=open_instance(fruits), asset_selection=[dg.AssetKey("reduced_features")], partition_key=key
    )
    metadata = result.asset_materializations_for_node("reduced_features")[0].metadata
    assert {"picture", "components", "variance", "dagster/row_count"} <= metadata.keys()
    assert int(metadata["blocks made"].value) == 0  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_class_more_touches_its_own_shards_and_the_merge(fruits: Project, tmp_path: Path) -> None:
    before = {item.key for item in fruits.store.list()}
    deliver(fruits, draw(tmp_path / "more", ("Orangen",), count=8), "fruits")
    list(build_collection.build(fruits, "fruits"))
    new = [item.key for item in fruits.store.list() if item.key not in before]
    orange = ClassPartition("fruits", "Orangen").path
    for name in ("image_catalog", "image_features", reduced.SUMS):
        mine = [key for key in new if key.startswith(f"{name}/")]
        assert mine, name
        assert all(key.startswith(f"{name}/{orange}/") for key in mine), mine
    assert len([key for key in new if key.startswith(f"{reduced.AXES}/")]) == 1
    assert "Orangen" in classifier.load(fruits, "fruits").labels


@pytest.mark.slow
def test_a_class_that_fails_does_not_stop_the_others(
    empty: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fruits = copied(empty, tmp_path)
    spoiled, real = ClassPartition("fruits", CLASSES[0]), catalog.make
    steps = dict(pipeline.STEPS)

    def make(project: Project, planned: Planned, check: object) -> object:
        if planned.args[0] == spoiled:
            raise StoreFailed("a disk", "it is broken", "Mend it")
        return real(project, planned, check)  # type: ignore[arg-type]

    monkeypatch.setitem(pipeline.STEPS, "image_catalog", replace(steps["image_catalog"], make=make))  # type: ignore[arg-type]
    done = {(item.asset, item.outcome): item for item in build_collection.build(fruits, "fruits")}
    assert "a disk: it is broken" in done["image_catalog", "failed"].message
    partitions = [ClassPartition("fruits", label) for label in CLASSES]
    made = [read_manifest(fruits.store, "image_catalog", partition) is not None for partition in partitions]
    assert made == [False, True, True]
    for name in pipeline.ASSETS[1:]:  # visual words come from all classes, and so does all that follows
        assert ("made" if (name, "made") in done else done[name, "waiting"].outcome) == "waiting"
    monkeypatch.undo()
    again = {item.asset: item for item in build_collection.build(fruits, "fruits") if item.outcome == "made"}
    assert again["image_catalog"].made == 1, "what was made stays"
    assert len(classifier.load(fruits, "fruits").labels) == 3


@pytest.mark.slow
def test_what_is_current_is_known_without_dagster(built: tuple[Project, object]) -> None:
    fruits = built[0]
    code = (
        "import sys; from groundplan.project import open_project; from orchestration.cli import build_collection;"
        f"done = list(build_collection.build(open_project({str(fruits.home)!r}), 'fruits'));"
        "assert {item.outcome for item in done} == {'current'}, done; assert 'dagster' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.bad_input
def test_a_collection_that_was_never_delivered_is_refused(fruits: Project) -> None:
    with pytest.raises(BadConfig, match=r"collection 'berries': there is none of that name\. Choose from: fruits"):
        check_collection(fruits, "berries")


# --- the sensor -------------------------------------------------------------------------------------------------------


def look(project: Project, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance, resources={"project": ProjectResource(home=str(project.home))})
    found = new_image_classes(context)
    assert isinstance(found, (dg.SensorResult, dg.SkipReason))
    if isinstance(found, dg.SensorResult):
        for request in found.dynamic_partitions_requests or ():
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return found


def test_a_new_folder_is_a_new_partition_once(fruits: Project, tmp_path: Path) -> None:
    instance = dg.DagsterInstance.ephemeral()
    first = look(fruits, instance)
    assert isinstance(first, dg.SensorResult)
    keys = {key_of(ClassPartition("fruits", label)) for label in CLASSES}
    assert {request.partition_key for request in first.run_requests or ()} == keys
    assert set(instance.get_dynamic_partitions("image_classes")) == keys
    assert instance.get_dynamic_partitions("collections") == ["fruits"]
    assert isinstance(look(fruits, instance), dg.SkipReason)
    deliver(fruits, draw(tmp_path / "more", ("Orangen",), count=1), "fruits")
    second = look(fruits, instance)
    assert isinstance(second, dg.SensorResult)
    assert [request.partition_key for request in second.run_requests or ()] == ["fruits/Orangen"]


@pytest.mark.fault
def test_a_listing_that_fails_is_no_empty_store(fruits: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[str]:
        raise StoreFailed("the store", "it does not answer", "Wait")

    monkeypatch.setattr(catalog, "collections", broken)
    with pytest.raises(StoreFailed):
        look(fruits, dg.DagsterInstance.ephemeral())


def test_a_class_that_is_gone_stays_a_partition() -> None:
    assert new_classes([ClassPartition("fruits", "a")], ["fruits/a", "fruits/gone"]) == []


def test_the_sensor_is_off_until_asked_for() -> None:
    assert new_image_classes.default_status == dg.DefaultSensorStatus.STOPPED


@pytest.mark.slow
def test_dagsters_storage_is_lost_and_the_store_brings_a_collection_back(fruits: Project) -> None:
    """`groundplan sync --made`: the same keys of the same assets, and nothing is made again."""

    def known(instance: dg.DagsterInstance) -> dict[str, set[str]]:
        return {name: set(instance.get_materialized_partitions(dg.AssetKey(name))) for name in pipeline.ASSETS}

    with open_instance(fruits) as instance:
        before = known(instance)
        names = [one.name or "" for one in (collections, image_classes)]
        named = {name: set(instance.get_dynamic_partitions(name)) for name in names}
    assert all(before.values())
    assert all(named.values())
    stood = list(build_collection.states_of(fruits, "fruits", None))
    shutil.rmtree(fruits.home / "dagster")
    with open_instance(fruits) as instance:
        count, _ = recall(fruits, instance)
        assert known(instance) == before
        assert {name: set(instance.get_dynamic_partitions(name)) for name in names} == named
        assert count == sum(map(len, before.values()))
        assert recall(fruits, instance) == (0, 0), "what Dagster knows is not told again"
        record = instance.get_latest_data_version_record(dg.AssetKey(reduced.DATASET), partition_key=KEY)
        assert record
        assert record.asset_materialization
        made = need_manifest(fruits.store, reduced.DATASET, partition_of(KEY)).identity()
        assert (record.asset_materialization.tags or {})["dagster/data_version"] == made
    assert list(build_collection.states_of(fruits, "fruits", None)) == stood


@pytest.mark.slow
def test_manifests_name_their_class(built: tuple[Project, object]) -> None:
    partition = ClassPartition("fruits", CLASSES[2])
    assert need_manifest(built[0].store, reduced.DATASET, partition).partition == partition
