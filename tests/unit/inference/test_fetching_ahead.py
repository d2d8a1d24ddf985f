"""Blocks of a bucket: the next one comes while one is predicted, no more than that; and a block by a few ranges."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import new_project
from laid_sheets import HERE, ground, lay, place, tiled
from tiny_models import bright_file

from groundplan.core.manifest import need_manifest
from groundplan.core.store import Store, open_store
from groundplan.errors import BlocksFailed, StoreFailed
from groundplan.footprints import predictions
from groundplan.footprints.on_device import StoredInput
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.raster import cog, rows_ahead
from groundplan.raster.jpeg_cog import JpegCog
from groundplan.raster.jpeg_tiles import JpegBlock, Tiled, parse, read_into
from groundplan.training.model_files import commit_model


class Bright:
    """A network that sees brightness; it says when it sees a window, and waits for `until` first."""

    bands, step = 3, 8

    def __init__(self, until: Callable[[], None] = lambda: None) -> None:
        self.until = until

    def predict(self, window: np.ndarray, margin: int = 0) -> np.ndarray:
        self.until()
        return np.repeat(window.mean(axis=0, keepdims=True).astype(np.uint8), 2, axis=0)


@pytest.fixture(scope="module")
def in_folder(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three blocks in a row, and a model."""
    path = tmp_path_factory.mktemp("ahead")
    project = new_project(path / "home", predict={"runtime": "openvino", "precision": "f32"})
    tiled(project, [lay(path / "a.tif", ground(768, 256, seed=5), place(0, 0))])
    commit_model(project, bright_file(0.30), HERE.year)
    return project


@pytest.fixture
def in_bucket(in_folder: Project) -> Project:
    """The same where nothing can be opened in place."""
    store = open_store("memory://ahead")
    for item in in_folder.store.list():
        if predictions.DATASET not in item.key:
            store.put(item.key, in_folder.store.get(item.key))
    return replace(in_folder, store=store)


def with_runtime(monkeypatch: pytest.MonkeyPatch, runtime: Bright) -> None:
    monkeypatch.setattr(predictions, "runtime_of", lambda *_: runtime)


def tiles_of(project: Project) -> dict[str, str]:
    return {made.key: name for name, made in need_manifest(project.store, "aerial_tiles", HERE).objects.items()}


def test_the_next_block_is_fetched_while_one_is_predicted_and_no_other(
    in_bucket: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, names, turn = list[str](), tiles_of(in_bucket), threading.Condition()
    done, real = list[int](), Store.get

    def counted(self: Store, key: str) -> bytes:
        data = real(self, key)
        if key in names:
            with turn:
                fetched.append(names[key])
                turn.notify_all()
        return data

    def until() -> None:
        with turn:
            wanted = min(3, len(done) + 2)
            assert turn.wait_for(lambda: len(fetched) >= wanted, timeout=20), "the next block never came"
            assert len(fetched) == wanted, "more than one block ahead"
            done.append(len(fetched))

    monkeypatch.setattr(Store, "get", counted)
    with_runtime(monkeypatch, Bright(until))
    report = run_step(in_bucket, predictions.DATASET, HERE)
    assert len(report.made) == 3
    assert done == [2, 3, 3]


def test_a_bucket_gives_the_bytes_of_a_folder(
    in_folder: Project, in_bucket: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_runtime(monkeypatch, Bright())
    assert [predictions.STEP.in_hand(project) for project in (in_folder, in_bucket)] == [1, 2]
    for project in (in_folder, in_bucket):
        assert len(run_step(project, predictions.DATASET, HERE).made) == 3
    made = need_manifest(in_bucket.store, predictions.DATASET, HERE).objects.values()
    assert [one.key for one in made] == [
        one.key for one in need_manifest(in_folder.store, predictions.DATASET, HERE).objects.values()
    ]
    assert all(in_bucket.store.get(one.key) == in_folder.store.get(one.key) for one in made)


def test_a_block_that_cannot_be_fetched_is_named_and_the_others_stay(
    in_bucket: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fetch fails while the first one is predicted: that one is no worse for it."""
    names, real, failed = tiles_of(in_bucket), Store.get, threading.Event()

    def broken(self: Store, key: str) -> bytes:
        if names.get(key) == "x01y00":
            failed.set()
            raise StoreFailed(key, "it could not be read", "Run again")
        return real(self, key)

    monkeypatch.setattr(Store, "get", broken)
    with_runtime(monkeypatch, Bright(lambda: [failed.wait(20), None][1]))
    with pytest.raises(BlocksFailed, match=r"1 of 3 blocks failed: x01y00: .*it could not be read"):
        run_step(in_bucket, predictions.DATASET, HERE)
    monkeypatch.setattr(Store, "get", real)
    report = run_step(in_bucket, predictions.DATASET, HERE)
    assert (report.made, report.skipped) == (("x01y00",), 2)


# --------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_a_block_comes_whole_by_a_few_requests(
    masked: bool, in_bucket: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges as small as may be asked for: as many rows of tiles as a block of 8192 pixels has."""
    side = 1536
    data = block(side, masked)
    store, asked = in_bucket.store, list[tuple[int, int]]()
    store.put("read/block.tif", data)
    real = Store.part

    def counted(self: Store, key: str, start: int, length: int) -> bytes:
        asked.append((start, length))
        return real(self, key, start, length)

    monkeypatch.setattr(Store, "part", counted)
    monkeypatch.setattr(rows_ahead, "LEAST_BYTES", 1)
    out = np.zeros((side, side, 3), np.uint8)
    with ThreadPoolExecutor(2) as pool:
        valid = StoredInput(store, {"": "read/block.tif"}).own(out, pool, lambda: None)
    assert 2 <= len(asked) <= 3, "a row of tiles by one request, with its masks"
    want, mask = np.zeros_like(out), cog.read(data)[1]
    with ThreadPoolExecutor(2) as pool:
        read_into(known(parse(data)), lambda at, n: data[at : at + n], (0, 0, side, side), want, pool)
    assert np.array_equal(out, want)
    assert (valid is None) != masked
    assert np.array_equal(mask, np.ones_like(mask) if valid is None else valid)
    assert sum(length for _, length in asked) < 0.85 * len(data), "overviews are not read"


def known(found: JpegBlock | None) -> JpegBlock:
    assert found is not None
    return found


def block(side: int, masked: bool) -> bytes:
    from affine import Affine

    from groundplan.raster.coded_cog import placed

    picture = np.ascontiguousarray(ground(side, side, seed=7).transpose(1, 2, 0))
    coded = JpegCog(side, 90)
    for top in range(0, side, 512):
        for left in range(0, side, 512):
            tile, valid = picture[top : top + 512, left : left + 512].copy(), None
            if masked and left == 512:
                valid = np.ones((512, 512), bool)
                valid[:, 100:200] = False
                tile[~valid] = 0
            coded.add(tile, valid)
    return coded.finish(placed(Affine(0.3, 0, 0, 0, -0.3, 0), "EPSG:28992", ("", "", ""), {}))


def laid_out(offsets: list[int], counts: list[int]) -> JpegBlock:
    return JpegBlock(
        pixels=Tiled(width=1024, height=1024, tile=512, offsets=(*offsets,), counts=(*counts,), tables=b""), mask=None
    )


def test_a_file_whose_tiles_lie_otherwise_is_read_as_before() -> None:
    size = 1 << 21
    assert rows_ahead.ranges(laid_out([0, size, 2 * size, 3 * size], [size] * 4)) == [
        (0, 2 * size),
        (2 * size, 4 * size),
    ]
    assert rows_ahead.ranges(laid_out([0, 2 * size, size, 3 * size], [size] * 4)) == [], "rows among each other"
    assert rows_ahead.ranges(laid_out([0, 9 * size, 10 * size, 11 * size], [size] * 4)) == [], "far apart"
    assert rows_ahead.ranges(laid_out([0] * 4, [0] * 4)) == [], "nothing is stored"


def test_ranges_are_few_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, each = 64, 1 << 18
    counts = [each] * rows * 2
    many = JpegBlock(
        pixels=Tiled(
            width=1024,
            height=rows * 512,
            tile=512,
            offsets=tuple(each * at for at in range(2 * rows)),
            counts=tuple(counts),
            tables=b"",
        ),
        mask=None,
    )
    found = rows_ahead.ranges(many)
    assert len(found) <= rows_ahead.MOST_REQUESTS
    assert (found[0][0], found[-1][1]) == (0, each * 2 * rows)
    assert all(before[1] == after[0] for before, after in pairwise(found))


def test_a_store_that_fails_below_says_so(in_bucket: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    data = block(1024, False)
    in_bucket.store.put("read/block.tif", data)
    monkeypatch.setattr(rows_ahead, "LEAST_BYTES", 1)

    def broken(self: Store, key: str, start: int, length: int) -> bytes:
        raise StoreFailed(key, "it could not be read", "Run again")

    monkeypatch.setattr(Store, "part", broken)
    with ThreadPoolExecutor(2) as pool, pytest.raises(StoreFailed, match="could not be read"):
        StoredInput(in_bucket.store, {"": "read/block.tif"}).own(
            np.zeros((1024, 1024, 3), np.uint8), pool, lambda: None
        )
