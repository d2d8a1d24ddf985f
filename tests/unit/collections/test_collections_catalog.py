"""Catalogue, splits, shards and transfer: what is known of a collection before anything is computed from it."""

from __future__ import annotations

import hashlib
import math
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import faulty_s3
import numpy as np
import obstore
import pytest
from faulty_s3 import BUCKET, Fault, FaultyS3
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_images import cataloged, folder_of, jpeg, picture

from groundplan.collections import catalog
from groundplan.collections.descriptors.shards import from_parquet, shards, to_parquet
from groundplan.collections.files import check_collection_name, delivered, partition_of
from groundplan.collections.images.near_duplicates import GUARD, SAME_BITS, ImageHashes, near_duplicates, split_images
from groundplan.collections.pipeline import run_step
from groundplan.core import bulk
from groundplan.core.manifest import Manifest, need_manifest
from groundplan.core.partition import ClassPartition
from groundplan.core.store import open_store
from groundplan.errors import BadConfig, MissingInput
from groundplan.project import Project, open_project

FRUITS = Path(__file__).parents[4] / "shared/data/fruits"


@pytest.fixture
def project(tmp_path: Path, make_project) -> Project:  # type: ignore[no-untyped-def]
    return make_project(tmp_path / "home")


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with faulty_s3.serve_as_aws() as server:
        yield server


# ------------------------------------------------------------------------------------------------ partitions


@given(st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=20))
@example(["Lemon", "lemon", "LEMON", "Lemon ", "Zitrone é", "Zitrone e\u0301"])
@settings(deadline=None)
def test_slugs_are_safe_and_unique_whatever_the_case(labels: list[str]) -> None:
    labels = [label for label in labels if label.isprintable()]
    slugs = [ClassPartition("c", label).slug for label in labels]
    assert len({slug.lower() for slug in slugs}) == len(labels)
    for slug in slugs:
        assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert 8 <= len(slug) <= 49


def test_a_manifest_finds_its_class_again() -> None:
    manifest = Manifest(
        dataset="image_catalog",
        partition=ClassPartition("fruits", "Crème brûlée"),
        version="1",
        fingerprint="x",
        objects={},
    )
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert isinstance(again.partition, ClassPartition)


def test_what_is_missing_names_the_command(project: Project) -> None:
    with pytest.raises(MissingInput, match=r"--collection fruits --select image_catalog"):
        need_manifest(project.store, catalog.DATASET, ClassPartition("fruits", "Lemon"))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["", "Fruits", "a/b", "..", "a b", "é", "x" * 41])
def test_a_collection_name_that_is_no_path_is_refused(name: str) -> None:
    with pytest.raises(BadConfig, match="collection name"):
        check_collection_name(name)


# ------------------------------------------------------------------------------------------------------ shards


@given(st.sets(st.text("abcdef0123456789/", min_size=1, max_size=12), max_size=300), st.integers(1, 50), st.randoms())
@settings(deadline=None, max_examples=60)
def test_shards_follow_from_the_set_of_keys_and_one_more_key_moves_one(keys: set[str], limit: int, random) -> None:  # type: ignore[no-untyped-def]
    order = sorted(keys)
    random.shuffle(order)
    found = shards(order, limit)
    assert sorted(key for part in found.values() for key in part) == sorted(keys)
    assert all(len(part) <= limit for part in found.values())
    more = shards([*keys, "one more"], limit)
    changed = [name for name, part in found.items() if more.get(name) != part]
    assert len(changed) <= 1


def test_a_shard_comes_back_as_it_was() -> None:
    features = np.random.default_rng(1).normal(size=(3, 7)).astype(np.float32)
    rows = [{"key": f"k{n}", "label": "é", "digest": "d", "split": "train", "group": "g"} for n in range(3)]
    data = to_parquet(rows, features)
    assert data == to_parquet(rows, features)
    frame, again = from_parquet(data)
    assert frame.to_dict("records") == rows
    assert again.dtype == np.float32
    assert np.array_equal(again, features)


# ------------------------------------------------------------------------------------------------------ splits


def frames(count: int) -> tuple[list[str], ImageHashes]:
    """Names and looks of one turn of a turntable."""
    colors = np.zeros((count, 192), np.float32)
    for number in range(count):
        angle = 2 * math.pi * number / count
        colors[number, ::2], colors[number, 1::2] = 128 + 100 * math.cos(angle), 128 + 100 * math.sin(angle)
    return [f"r_{number}_100" for number in range(count)], ImageHashes(np.zeros(count, np.uint64), colors)


def scattered(count: int, seed: int = 0) -> ImageHashes:
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**63, count, np.uint64)
    return ImageHashes(bits, rng.uniform(0, 255, (count, 192)).astype(np.float32))


@pytest.mark.parametrize("label", "abcdefg")
def test_frames_of_one_turn_are_apart_where_splits_meet(label: str) -> None:
    names, looks = frames(328)
    done = split_images(label, names, looks)
    assert set(done.split) == {"train", "validation", "test", "aside"}
    place = np.arange(328)
    for judged, others in (("test", {"train", "validation"}), ("validation", {"train"})):
        mine = place[[word == judged for word in done.split]]
        theirs = place[[word in others for word in done.split]]
        gap = np.abs(mine[:, None] - theirs[None, :])
        assert gap.min() > GUARD
        assert (328 - gap).min() > 3  # the turn ends where it began: there looks decide
    of_group: dict[str, set[str]] = {}
    for group, word in zip(done.group, done.split, strict=True):
        of_group.setdefault(group, set()).add(word)
    assert all(len(words - {"aside"}) <= 1 for words in of_group.values())


def test_numbered_photographs_of_different_things_are_no_series() -> None:
    names = [f"IMG_{number:04}" for number in range(200)]
    done = split_images("c", names, scattered(200))
    assert len(set(done.group)) == 200
    assert "aside" not in done.split
    assert 0.5 < Counter(done.split)["train"] / 200 < 0.9


def test_a_new_image_moves_no_other() -> None:
    names = [f"photo {number}" for number in range(300)]
    looks = scattered(300)
    before = split_images("c", names[:-1], ImageHashes(looks.bits[:-1], looks.colors[:-1]))
    after = split_images("c", names, looks)
    assert after.split[:-1] == before.split
    assert after.group[:-1] == before.group


def test_images_that_look_the_same_are_one_group_in_one_split() -> None:
    looks = scattered(60)
    for number in range(0, 60, 3):  # each in three versions: as it is, a bit brighter, one bit of the hash changed
        looks.colors[number + 1 : number + 3] = looks.colors[number]
        looks.colors[number + 1] = np.minimum(255, looks.colors[number] + 3)
        looks.bits[number + 1 : number + 3] = looks.bits[number]
        looks.bits[number + 2] ^= np.uint64(1)
    done = split_images("c", [f"{chr(97 + n % 26)}{n}{'x' * (n % 5)}" for n in range(60)], looks)
    for number in range(0, 60, 3):
        assert len(set(done.group[number : number + 3])) == 1
        assert len(set(done.split[number : number + 3])) == 1
    assert len(set(done.group)) == 20


@given(st.lists(st.integers(0, 2**12 - 1), max_size=40))
@settings(deadline=None, max_examples=50)
def test_chains_of_same_looks_are_those_of_a_plain_search(hashes: list[int]) -> None:
    looks = ImageHashes(np.array(hashes, np.uint64), np.zeros((len(hashes), 192), np.float32))
    left, chains = set(range(len(hashes))), []
    while left:
        chain, new = set(), {left.pop()}
        while new:
            chain |= new
            new = {b for a in new for b in left if (hashes[a] ^ hashes[b]).bit_count() <= SAME_BITS}
            left -= new
        chains.append(sorted(chain))
    assert sorted(map(sorted, near_duplicates(looks, range(len(hashes))))) == sorted(c for c in chains if len(c) > 1)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_a_small_class_can_be_learned_from_and_tested(count: int) -> None:
    for seed in range(10):
        done = split_images(f"c{seed}", [f"n{i}" for i in range(count)], scattered(count, seed))
        assert {"train", "test"} <= set(done.split)
        assert not done.notes


# --------------------------------------------------------------------------------------------- ingest and catalogue


def test_a_folder_is_catalogued_and_a_second_time_nothing_is_copied(project: Project, tmp_path: Path) -> None:
    given_ = folder_of(tmp_path / "in", Lemon=9, Plum=5)
    (given_ / "README.md").write_text("about")
    (given_ / "Plum" / "twin.jpg").write_bytes((given_ / "Plum" / "Plum-a0.jpg").read_bytes())
    done = catalog.ingest(project, given_, "fruits")
    assert (done.copied, done.present, done.ignored) == (15, 0, ["README.md"])
    assert catalog.collections(project) == ["fruits"]
    assert [part.label for part in catalog.classes(project, "fruits")] == ["Lemon", "Plum"]
    cataloged(project, "fruits")
    plums = catalog.load(project, ClassPartition("fruits", "Plum")).set_index("key")
    assert list(plums["state"]) == ["ok"] * 5 + ["duplicate"]
    key = "collections/fruits/Plum/Plum-b1.jpg"
    assert plums.loc[key, "digest"] == hashlib.sha256(project.store.get(key)).hexdigest()
    assert tuple(plums.loc[key, ["width", "height", "mode", "format"]]) == (40, 40, "RGB", "JPEG")
    again = catalog.ingest(project, given_, "fruits")
    assert (again.copied, again.present) == (0, 15)
    assert all(not report.made for report in cataloged(project, "fruits").values())


def test_a_new_image_remakes_its_class_alone(project: Project, tmp_path: Path) -> None:
    given_ = folder_of(tmp_path / "in", Lemon=4, Plum=4)
    catalog.ingest(project, given_, "fruits")
    cataloged(project, "fruits")
    (given_ / "Plum" / "new.jpg").write_bytes(jpeg(picture(99)))
    catalog.ingest(project, given_, "fruits")
    made = {label: report.made for label, report in cataloged(project, "fruits").items()}
    assert made == {"Lemon": (), "Plum": ("catalog",)}


def test_the_same_images_in_a_bucket_have_the_same_catalogue(
    s3: FaultyS3,
    tmp_path: Path,
    make_project,  # type: ignore[no-untyped-def]
) -> None:
    given_ = folder_of(tmp_path / "in", Lemon=12)
    (given_ / "leer").mkdir()
    part = ClassPartition("fruits", "Lemon")
    told = []
    for number, store in enumerate(("", f"s3://{BUCKET}/same")):
        project = make_project(tmp_path / f"home{number}", store)
        catalog.ingest(project, given_, "fruits")
        assert [p.label for p in catalog.classes(project, "fruits")] == ["Lemon", "leer"]
        made = run_step(project, catalog.DATASET, part).manifest.objects["catalog"]
        told.append((made.key, project.store.get(made.key)))
    assert told[0] == told[1]


@pytest.mark.skipif(not FRUITS.is_dir(), reason="needs the shared fruit images")
def test_fruits_on_turntables_are_split_with_a_gap(tmp_path: Path, project: Project) -> None:
    shutil.copytree(FRUITS / "Lemon", tmp_path / "in" / "Lemon")
    catalog.ingest(project, tmp_path / "in", "fruits")
    cataloged(project, "fruits")
    frame = catalog.load(project, ClassPartition("fruits", "Lemon"))
    assert set(frame["state"]) == {"ok"}
    assert set(frame["split"]) == {"train", "validation", "test", "aside"}
    names = frame["key"].str.extract(r"/(r_)?(\d+)_100\.jpg$")
    frame["series"], frame["number"] = names[0].fillna(""), names[1].astype(int)
    for _, series in frame.groupby("series"):
        test = series[series["split"] == "test"]["number"].to_numpy()
        rest = series[series["split"].isin(["train", "validation"])]["number"].to_numpy()
        assert len(test)
        assert np.abs(test[:, None] - rest[None, :]).min() > GUARD


# --------------------------------------------------------------------------------------------------- transfer


def test_objects_come_in_order_with_many_requests_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store("memory://")
    keys = [f"k/{number:03}" for number in range(200)]
    bulk.send(store, [(key, key.encode()) for key in keys], 50)
    flying, most, lock = [0], [0], threading.Lock()
    inner = obstore.get_async

    async def counted(client, key):  # type: ignore[no-untyped-def]
        import asyncio

        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
        await asyncio.sleep(0.005)
        try:
            return await inner(client, key)
        finally:
            flying[0] -= 1

    monkeypatch.setattr(obstore, "get_async", counted)
    got = list(bulk.fetch(store, [(key, 5) for key in keys], 20))
    assert got == [(key, key.encode()) for key in keys]
    assert most[0] == 20


def test_no_more_than_two_batches_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH_BYTES", 100)
    store = open_store("memory://")
    keys = [f"{number:03}" for number in range(40)]
    bulk.send(store, [(key, bytes(30)) for key in keys], 8)
    asked: list[str] = []
    inner = bulk._get

    async def noted(store, key):  # type: ignore[no-untyped-def]
        asked.append(key)
        return await inner(store, key)

    monkeypatch.setattr(bulk, "_get", noted)
    for number, _ in enumerate(bulk.fetch(store, [(key, 30) for key in keys], 8)):
        assert len(asked) <= (number // 3 + 2) * 3


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["500", "503", "reset", "truncated"])
def test_a_store_that_stumbles_gives_every_image_all_the_same(s3: FaultyS3, kind: str) -> None:
    store = open_store(f"s3://{BUCKET}/{kind}", retries=3, retry_seconds=20)
    items = [(f"k{number}", bytes([number]) * 50) for number in range(30)]
    bulk.send(store, items, 16)
    s3.faults.append(Fault(kind=kind, method="GET", text=f"/{kind}/", times=6, every=3))
    assert list(bulk.fetch(store, [(key, 50) for key, _ in items], 16)) == items
    assert s3.faults[0].injected == 6
    s3.heal()


def test_an_object_that_has_gone_is_told_apart() -> None:
    store = open_store("memory://")
    store.put("a", b"1")
    (key, data), (gone, error) = bulk.fetch(store, [("a", 1), ("b", 1)], 4)
    assert (key, data, gone) == ("a", b"1", "b")
    assert isinstance(error, MissingInput)


def test_keys_lead_back_to_their_class() -> None:
    assert partition_of("collections/f/Grüne Äpfel/a/b.jpg") == ClassPartition("f", "Grüne Äpfel")
    with pytest.raises(ValueError, match="no image"):
        partition_of("landing/x/2024/a.jpg")


def test_hidden_files_and_the_marker_of_an_empty_class_are_no_images(project: Project, tmp_path: Path) -> None:
    (tmp_path / "in" / "leer").mkdir(parents=True)
    (tmp_path / "in" / "leer" / ".DS_Store").write_bytes(b"x")
    catalog.ingest(project, tmp_path / "in", "fruits")
    (part,) = catalog.classes(open_project(project.home), "fruits")
    assert delivered(project, part) == []
