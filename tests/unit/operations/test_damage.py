"""What is stored is what was made: what is gone, cut or changed is said, and made again by the next build.

Right values: the bytes of an undisturbed home, by SHA-256.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import digests, new_project
from hypothesis import given
from hypothesis import strategies as st
from made_images import folder_of

from groundplan.collections import catalog
from groundplan.collections import pipeline as collections
from groundplan.collections.descriptors import reduced, visual_words
from groundplan.collections.ingest import ingest
from groundplan.config import NightlySettings
from groundplan.core.manifest import MARK, Made, Manifest, failure_key, load_object, manifest_key, need_manifest
from groundplan.core.partition import AnyPartition, ClassPartition, Partition
from groundplan.errors import Damaged, NewerFormat
from groundplan.footprints import footprints
from groundplan.imagery.landing import digests_key
from groundplan.imagery.tiles import catalog_of
from groundplan.labels import registers
from groundplan.operations import status
from groundplan.operations import store_audit as audit
from groundplan.operations.backlog import Night, choose
from groundplan.pipeline import ALWAYS, ASSETS, asset_state, partitions_of, run_asset
from groundplan.project import Project, open_project
from groundplan.step import State
from groundplan.training import models

pytestmark = pytest.mark.slow  # together: each damages a copy of a home

NORTH, SOUTH, ALL = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout"), Partition(2024)
WHERE = {"training_windows": ALL, "trained_model": ALL}
DATASETS = [*ALWAYS, "building_outlines"]


@pytest.fixture
def project(built_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_home, tmp_path / "home", ignore=shutil.ignore_patterns("checkpoints"))
    return open_project(tmp_path / "home")


def made_of(project: Project, dataset: str, partition: AnyPartition) -> Made[Any]:
    return next(iter(need_manifest(project.store, dataset, partition).objects.values()))


def gone(project: Project, key: str) -> None:
    project.store.delete([key])


def cut(project: Project, key: str) -> None:
    project.store.put(key, project.store.get(key)[:-7])


def emptied(project: Project, key: str) -> None:
    project.store.put(key, b"")


def longer(project: Project, key: str) -> None:
    project.store.put(key, project.store.get(key) + b"\0")


def flipped(project: Project, key: str) -> None:
    """One bit in the middle, as a disk may lose it."""
    data = bytearray(project.store.get(key))
    data[len(data) // 2] ^= 4
    project.store.put(key, bytes(data))


SEEN = [gone, cut, emptied, longer]
Damage = Callable[[Project, str], None]


def state(project: Project, dataset: str) -> State[Partition]:
    asset = "building_footprints" if dataset == "building_outlines" else dataset
    return asset_state(project, asset, WHERE.get(dataset, NORTH))


def mend(project: Project, dataset: str) -> list[str]:
    asset = "building_footprints" if dataset == "building_outlines" else dataset
    return [name for report in run_asset(project, asset, WHERE.get(dataset, NORTH)) for name in report.made]


# --- gone, or of another size -----------------------------------------------------------------------------------------


@pytest.mark.fault
@pytest.mark.parametrize("dataset", DATASETS)
def test_an_object_that_is_gone_is_said_and_made_again_and_no_other(project: Project, dataset: str) -> None:
    before = digests(project)
    lost = made_of(project, dataset, WHERE.get(dataset, NORTH))
    count = len(need_manifest(project.store, dataset, WHERE.get(dataset, NORTH)).objects)
    gone(project, lost.key)
    told = state(project, dataset)
    assert told.state == "damaged"
    assert f"damaged: 1 of {count}; {lost.key}: the manifest names it and the store does not hold it" in told.note
    assert mend(project, dataset) == [lost.name]
    assert digests(project) == before
    assert state(project, dataset).state == "current"


@pytest.mark.fault
@pytest.mark.parametrize("dataset", ["aerial_tiles", "building_footprints"])
@pytest.mark.parametrize("damage", SEEN[1:])
def test_an_object_of_another_size_is_said_and_made_again(project: Project, dataset: str, damage: Damage) -> None:
    before = digests(project)
    hurt = made_of(project, dataset, NORTH)
    damage(project, hurt.key)
    told = state(project, dataset)
    assert told.state == "damaged"
    assert f"bytes and the manifest says {hurt.bytes}" in told.note
    assert mend(project, dataset) == [hurt.name]
    assert digests(project) == before
    assert state(project, dataset).state == "current"


@pytest.mark.fault
def test_a_partition_that_is_stale_too_is_made_from_what_is_whole(project: Project) -> None:
    """A journal, a manifest and a size that disagree: what counts is what was written down last."""
    hurt = made_of(project, "aerial_tiles", NORTH)
    cut(project, hurt.key)
    manifest = need_manifest(project.store, "aerial_tiles", NORTH)
    project.store.put(manifest_key("aerial_tiles", NORTH), replace(manifest, fingerprint="another").to_json())
    assert state(project, "aerial_tiles").state == "stale"
    assert mend(project, "aerial_tiles") == [hurt.name]


# --- of another content -----------------------------------------------------------------------------------------------


@pytest.mark.fault
@pytest.mark.parametrize("dataset", [name for name in DATASETS if name != "trained_model"])  # it would learn again
def test_one_flipped_bit_is_found_said_and_made_again(project: Project, dataset: str) -> None:
    before = digests(project)
    hurt = made_of(project, dataset, WHERE.get(dataset, NORTH))
    flipped(project, hurt.key)
    assert audit.check(project).wrong == 0, "sizes tell nothing of it"
    found = audit.check(project, lambda key: True)
    assert [finding.key for finding in found.findings] == [hurt.key]
    assert "its content is not what was made" in found.findings[0].reason
    assert "groundplan build" in found.findings[0].remedy
    assert audit.check(project).wrong == 1, "what was found stays found"
    told = state(project, dataset)
    assert told.state == "damaged"
    assert hurt.key in told.note
    assert not [item for item in audit.garbage(project, 0) if item.key.endswith(MARK)]
    assert mend(project, dataset) == [hurt.name]
    assert digests(project) == before, "the mark went too"
    assert state(project, dataset).state == "current"
    assert audit.check(project, lambda key: True).wrong == 0


@pytest.mark.fault
@pytest.mark.parametrize(
    ("dataset", "read"),
    [
        ("building_footprints", lambda project: footprints.load(project, NORTH)),
        ("trained_model", lambda project: models.load(project, 2024)),
        ("register_buildings", lambda project: registers.load(project, NORTH)),
        ("sheets", lambda project: catalog_of(project, NORTH)),
    ],
)
def test_who_reads_a_whole_object_checks_it(project: Project, dataset: str, read: Any) -> None:
    hurt = made_of(project, dataset, WHERE.get(dataset, NORTH))
    read(project)
    flipped(project, hurt.key)
    with pytest.raises(Damaged, match=r"its content is not what was made .*Remove it and build again"):
        read(project)


@pytest.mark.fault
def test_what_an_older_version_made_is_read_and_named_when_it_is_no_such_file(project: Project) -> None:
    made = replace(made_of(project, "building_footprints", NORTH), sha256="")
    project.store.put(made.key, b"\0" * made.bytes)
    with pytest.raises(Damaged, match=r"it is damaged \(.*Remove it and build again"):
        load_object(project.store, made, footprints.read)


@pytest.mark.fault
def test_who_puts_back_what_was_made_has_mended_it(project: Project) -> None:
    hurt = made_of(project, "labels", NORTH)
    whole = project.store.get(hurt.key)
    flipped(project, hurt.key)
    audit.check(project, lambda key: True)
    project.store.put(hurt.key, whole)
    assert audit.check(project, lambda key: False).wrong == 0
    assert state(project, "labels").state == "current"
    assert project.store.list("damaged") == [], "the night would go on making it"


def test_a_digest_is_of_the_bytes(project: Project) -> None:
    sums = digests(project)
    found = [need_manifest(project.store, name, part) for name in ASSETS for part in partitions_of(project, name)]
    assert {made.sha256 == sums[made.key] for manifest in found for made in manifest.objects.values()} == {True}


# --- a share each week ------------------------------------------------------------------------------------------------


@given(st.text(min_size=1), st.integers(0, 10_000))
def test_every_object_has_its_turn_once_in_any_52_weeks(key: str, week: int) -> None:
    assert sum(audit.turn_of(each)(key) for each in range(week, week + audit.WEEKS)) == 1


def test_a_weeks_share_is_a_fifty_second_part() -> None:
    keys = [f"aerial_tiles/2024/a/x{number}.tif" for number in range(52_000)]
    assert 800 < sum(map(audit.turn_of(3), keys)) < 1200
    weeks = {audit.week_of(datetime(2026, 11, day, 12, tzinfo=UTC)) for day in range(2, 23)}
    assert len(weeks) in (3, 4), "the week is the calendar's, whenever the care is run"


@pytest.mark.fault
@pytest.mark.parametrize("damage", [flipped, cut, gone])
@pytest.mark.parametrize("dataset", ["labels", "building_outlines"])
def test_what_was_found_damaged_is_a_nights_work_until_it_is_made_again(
    project: Project, dataset: str, damage: Damage
) -> None:
    asset = "building_footprints" if dataset == "building_outlines" else dataset
    damage(project, made_of(project, dataset, NORTH).key)
    audit.check(project, lambda key: True)
    entries = status.take(project)
    assert [(one.dataset, one.partition, one.state) for one in entries if one.state != status.MADE] == [
        (asset, NORTH, "damaged")
    ]
    night = Night(date=date(2026, 11, 20), entries=entries, busy=(), registers=(2024,))
    assert [(part.assets, part.partitions) for part in choose(night, NightlySettings()).slices] == [
        ((asset,), (NORTH,))
    ]
    mend(project, dataset)
    assert {one.state for one in status.take(project)} == {"made"}


@pytest.mark.fault
def test_the_turn_of_a_damaged_object_finds_it(project: Project) -> None:
    hurt = made_of(project, "predictions", NORTH)
    flipped(project, hurt.key)
    weeks = [week for week in range(52) if audit.check(project, audit.turn_of(week)).wrong]
    assert weeks, "some week reads it"
    assert audit.turn_of(weeks[0])(hurt.key)


# --- objects of older versions ----------------------------------------------------------------------------------------


def without_digests(project: Project) -> int:
    count = 0
    for item in project.store.list("manifests"):
        raw = json.loads(project.store.get(item.key))
        del raw["format"]
        for made in raw["objects"].values():
            del made["sha256"]
            count += 1
        project.store.put(item.key, json.dumps(raw).encode())
    return count


def test_objects_without_digests_are_current_and_get_them_when_asked(project: Project) -> None:
    count = without_digests(project)
    assert state(project, "aerial_tiles").state == "current"
    found = audit.check(project, lambda key: True)
    parts = 2 * sum(item.key.endswith(".json") for item in project.store.list("registers"))  # those have theirs
    assert (found.wrong, found.unknown, found.read) == (0, count, parts)
    adopted = audit.check(project, lambda key: True, adopt=True)
    assert (adopted.wrong, adopted.unknown, adopted.read) == (0, 0, count + parts)
    flipped(project, made_of(project, "labels", NORTH).key)
    assert audit.check(project, lambda key: True).wrong == 1


# --- small JSON that is broken ----------------------------------------------------------------------------------------

ODD = {
    "empty": b"",
    "cut": b'{"dataset": "lab',
    "a list": b"[]",
    "nothing in it": b"{}",
    "a number": b"17",
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "objects are a list": b'{"dataset":"labels","partition":{"year":2024},"version":"1","fingerprint":"","objects":[]}',
    "an object is a number": b'{"dataset":"labels","partition":{"year":2024},"version":"1","fingerprint":"a",'
    b'"objects":{"x":1}}',
    "its format is none": b'{"format": {"a": 1}}',
}
odd = pytest.mark.parametrize("text", ODD.values(), ids=ODD)


@pytest.mark.fault
@odd
def test_a_broken_manifest_is_named_stops_no_other_and_is_written_anew(project: Project, text: bytes) -> None:
    before, key = digests(project), manifest_key("labels", NORTH)
    old = need_manifest(project.store, "labels", NORTH)
    project.store.put(key, text)
    told = state(project, "labels")
    assert told.state == "damaged"
    assert key in told.note
    assert "it cannot be read (" in told.note
    assert "Build again: it is written anew from what is there" in told.note
    others = [asset_state(project, name, part) for name in ASSETS for part in partitions_of(project, name)]
    assert {other.state for other in others if other.partition == SOUTH} == {"current"}
    assert key in next(other.note for other in others if other.dataset == "training_windows")
    assert [finding.key for finding in audit.check(project).findings] == [key]
    assert not [item for item in audit.garbage(project, 0) if item.key.startswith("labels/")]
    assert mend(project, "labels") == [], "its objects are there"
    new = need_manifest(project.store, "labels", NORTH)
    assert {name: (made.key, made.facts) for name, made in new.objects.items()} == {
        name: (made.key, made.facts) for name, made in old.objects.items()
    }
    assert {name: made.sha256 for name, made in new.objects.items()} == {
        name: made.sha256 for name, made in old.objects.items()
    }
    assert digests(project) == before


@pytest.mark.fault
def test_a_manifest_of_another_partition_is_not_taken_for_it(project: Project) -> None:
    project.store.put(manifest_key("labels", NORTH), project.store.get(manifest_key("labels", SOUTH)))
    told = state(project, "labels")
    assert told.state == "damaged"
    assert "it is the manifest of labels of zuiderhout 2024" in told.note
    assert audit.check(project).wrong == 1
    mend(project, "labels")
    assert state(project, "labels").state == "current"


@pytest.mark.fault
def test_a_broken_manifest_of_the_model_costs_no_training(project: Project) -> None:
    project.store.put(manifest_key("trained_model", ALL), b"{")
    assert mend(project, "trained_model") == []
    assert state(project, "predictions").state == "current"


@pytest.mark.fault
@odd
def test_a_broken_failure_says_so_and_goes_with_the_next_build(project: Project, text: bytes) -> None:
    key = failure_key("labels", NORTH)
    project.store.put(key, text)
    told = state(project, "labels")
    assert told.state == "failed"
    assert key in told.note
    mend(project, "labels")
    assert state(project, "labels").state == "current"


@pytest.mark.fault
@pytest.mark.parametrize("text", [*ODD.values(), b"[{}]", b'[{"name": 1, "inputs": []}]', b"[[1]]"])
def test_a_broken_journal_and_broken_digests_are_as_if_they_were_not_there(project: Project, text: bytes) -> None:
    before = digests(project)
    project.store.put(f"journal/labels/{NORTH.path}/run-1.json", text)
    project.store.put(digests_key(NORTH), text)
    gone(project, made_of(project, "labels", NORTH).key)
    assert len(mend(project, "labels")) == 1
    assert mend(project, "sheets") == []
    assert digests(project) == before
    assert not project.store.list("journal")
    rows = json.loads(project.store.get(digests_key(NORTH)))
    assert rows
    assert all(len(row[2]) == 64 for row in rows.values())


@pytest.mark.fault
@pytest.mark.parametrize("row", [[], [1], "x", None, {"a": 1}, [1, 2, 3, 4], ["1", "t", "x"]])
def test_one_odd_line_of_remembered_digests_costs_one_look(project: Project, row: Any) -> None:
    mend(project, "sheets")  # a copied home's files are other files, and were hashed again
    rows = json.loads(project.store.get(digests_key(NORTH)))
    project.store.put(digests_key(NORTH), json.dumps(rows | {next(iter(rows)): row}).encode())
    run_asset(project, "sheets", NORTH)
    assert json.loads(project.store.get(digests_key(NORTH))) == rows


@pytest.mark.fault
@odd
def test_a_broken_record_of_a_register_is_named_and_no_label_is_made_without_it(project: Project, text: bytes) -> None:
    key = next(item.key for item in project.store.list("registers/2024") if item.key.endswith(".json"))
    project.store.put(key, text)
    told = state(project, "register_buildings")
    assert told.state == "waiting"
    assert key in told.note
    assert "Add that register again" in told.note
    assert state(project, "aerial_tiles").state == "current"


# --- across versions --------------------------------------------------------------------------------------------------


def of_a_newer_version(project: Project, form: str) -> None:
    """All manifests as a later version may write them: more keys everywhere, and a higher format."""
    for item in project.store.list("manifests"):
        raw = json.loads(project.store.get(item.key))
        raw |= {"format": form, "signed": {"by": "a later version"}, "partition": raw["partition"] | {"zone": 31}}
        raw["objects"] = {name: made | {"blake3": "0" * 64, "tier": 2} for name, made in raw["objects"].items()}
        project.store.put(item.key, json.dumps(raw).encode())


def test_a_roll_back_reads_what_the_newer_version_wrote(project: Project) -> None:
    mend(project, "sheets")
    run_asset(project, "sheets", SOUTH)  # a copied home's files are hashed again
    of_a_newer_version(project, "1.99")
    before = digests(project, "")
    states = [asset_state(project, name, part) for name in ASSETS for part in partitions_of(project, name)]
    assert {each.state for each in states} == {"current"}
    assert audit.check(project, lambda key: True).wrong == 0
    assert not [made for name in ASSETS for part in partitions_of(project, name) for made in mend(project, name)]
    assert digests(project, "") == before, "what the newer version wrote stays as it is"


def test_a_format_of_a_higher_major_is_refused_by_name_and_left_alone(project: Project) -> None:
    of_a_newer_version(project, "2.0")
    before, key = digests(project, ""), manifest_key("labels", NORTH)
    told = state(project, "labels")
    assert told.state == "waiting"
    assert key in told.note
    assert "a newer Groundplan wrote it, in format 2.0; this one reads 1. Use the newer version" in told.note
    with pytest.raises(NewerFormat, match=r"in format 2\.0"):
        run_asset(project, "labels", NORTH)
    assert digests(project, "") == before
    assert not [item for item in audit.garbage(project, 0) if item.key.startswith("labels/")]


def test_a_manifest_says_its_format(project: Project) -> None:
    assert json.loads(project.store.get(manifest_key("labels", NORTH)))["format"] == "1.1"


# --- collections ------------------------------------------------------------------------------------------------------

WHOLE = ClassPartition("fruits")


@pytest.fixture(scope="module")
def fruit_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fruits")
    project = new_project(folder / "home", collections={"features": "orb", "words": 16, "size": 64, "shard": 6})
    ingest(project, folder_of(folder / "folder", round=14, flat=14), "fruits")
    for name in ("image_catalog", "image_features", "reduced_features", "image_classifier"):
        for part in collections.partitions_of(project, name, "fruits"):
            collections.run_asset(project, name, part)
    return project.home


@pytest.fixture
def fruits(fruit_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(fruit_home, tmp_path / "home")
    return open_project(tmp_path / "home")


def fruit_digests(project: Project) -> dict[str, str]:
    return digests(project, *collections.STEPS)


OF_FRUITS = {
    "image_catalog": "image_catalog",
    "visual_words": "image_features",
    "image_features": "image_features",
    "feature_sums": "image_features",
    "feature_axes": "reduced_features",
    "reduced_features": "reduced_features",
    "image_classifier": "image_classifier",
}


def fruit(project: Project, dataset: str) -> tuple[ClassPartition, ClassPartition, Made[Any]]:
    """The partition of the asset, that of the dataset, and an object of it."""
    part = collections.partitions_of(project, OF_FRUITS[dataset], "fruits")[0]
    own = collections.STEPS[dataset].widened(part)
    return part, own, made_of(project, dataset, own)


@pytest.mark.fault
@pytest.mark.parametrize("dataset", OF_FRUITS)
@pytest.mark.parametrize("damage", [gone, cut, flipped])
def test_what_is_damaged_of_a_collection_is_said_and_made_again(fruits: Project, dataset: str, damage: Damage) -> None:
    before = fruit_digests(fruits)
    asset = OF_FRUITS[dataset]
    part, _, hurt = fruit(fruits, dataset)
    damage(fruits, hurt.key)
    found = audit.check(fruits, lambda key: True)
    assert [finding.key for finding in found.findings] == [hurt.key]
    assert "groundplan build --collection fruits" in found.findings[0].remedy
    told = collections.asset_state(fruits, asset, part)
    assert told.state == "damaged"
    assert hurt.key in told.note
    assert [name for report in collections.run_asset(fruits, asset, part) for name in report.made] == [hurt.name]
    assert fruit_digests(fruits) == before
    assert collections.asset_state(fruits, asset, part).state == "current"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("dataset", "read"),
    [
        ("image_catalog", lambda project, part: catalog.load(project, part)),
        ("visual_words", lambda project, part: visual_words.vocabulary(project, part)),
        ("feature_axes", lambda project, part: reduced.load_axes(project, WHOLE)),
        ("reduced_features", lambda project, part: reduced.load(project, part)),
    ],
)
def test_who_reads_a_whole_object_of_a_collection_checks_it(fruits: Project, dataset: str, read: Any) -> None:
    part, _, hurt = fruit(fruits, dataset)
    read(fruits, part)
    flipped(fruits, hurt.key)
    with pytest.raises(Damaged, match="its content is not what was made"):
        read(fruits, part)


@pytest.mark.fault
@pytest.mark.parametrize("text", [b"", b"[]", b'{"objects": 1}'])
def test_a_broken_manifest_of_a_class_stops_no_other_class(fruits: Project, text: bytes) -> None:
    before = fruit_digests(fruits)
    parts = collections.partitions_of(fruits, "image_features", "fruits")
    key = manifest_key("image_features", parts[0])
    fruits.store.put(key, text)
    states = collections.asset_states(fruits, "image_features", parts)
    assert [each.state for each in states] == ["damaged", *["current"] * (len(parts) - 1)]
    assert key in states[0].note
    collections.run_asset(fruits, "image_features", parts[0])
    assert fruit_digests(fruits) == before
    assert Manifest.from_json(fruits.store.get(key)).partition == parts[0]


@pytest.mark.fault
@odd
def test_broken_memories_of_a_class_are_as_if_they_were_not_there(fruits: Project, text: bytes) -> None:
    from groundplan.collections.files import memory_key, read_memory, read_refused, refused_key

    part = collections.partitions_of(fruits, "image_catalog", "fruits")[0]
    fruits.store.put(memory_key(part), text)
    fruits.store.put(refused_key(part), text if text != b"[]" else b"[17]")
    assert read_memory(fruits, part) == {}
    (named,) = read_refused(fruits, part)
    assert named.name == refused_key(part)
    assert "Remove it" in named.remedy
    collections.run_asset(fruits, "image_catalog", part)
    assert read_memory(fruits, part)


@pytest.mark.fault
@odd
def test_a_broken_list_of_what_was_forgotten_lets_nothing_back_in(fruits: Project, tmp_path: Path, text: bytes) -> None:
    fruits.store.put("forgotten/2026.json", text)
    with pytest.raises(Damaged, match=r"forgotten/2026\.json.*must not come back"):
        ingest(fruits, folder_of(tmp_path / "again", round=1), "fruits")
    assert collections.asset_state(fruits, "image_catalog", ClassPartition("fruits", "round")).state != "failed"
