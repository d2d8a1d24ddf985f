"""JPEG 2000 sheets that several blocks show: each of their tiles is decoded once, to the same bytes."""

from __future__ import annotations

import errno
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import MakeProject
from laid_sheets import HERE, cataloged, ground, lay, place
from rasterio import warp
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError

from groundplan.core.manifest import need_manifest
from groundplan.errors import BlocksFailed
from groundplan.imagery import bands, collar, decoded_once, placement, tiles
from groundplan.imagery.collar import Remembered
from groundplan.pipeline import run_step
from groundplan.project import Project

JP2: dict[str, Any] = {
    "driver": "JP2OpenJPEG",
    "quality": 100,
    "reversible": "yes",
    "blockxsize": 128,
    "blockysize": 96,
}
TURNED = "EPSG:25831"
ONCE, AGAIN = "JPEG 2000 tiles decoded once", "JPEG 2000 tiles decoded again (no room in run.scratch)"


def turned(col: float, row: float) -> tuple[Any, str]:
    x, y = place(col, row) @ (0, 0)
    (x,), (y,) = warp.transform("EPSG:28992", TURNED, [x], [y])
    return Affine(0.30, 0, x, 0, -0.30, y), TURNED


def plain(path: Path) -> list[Path]:
    return [lay(path / "a.jp2", ground(600, 500, seed=1), place(10, 20), **JP2)]


def with_alpha(path: Path) -> list[Path]:
    pixels = np.concatenate([ground(500, 500, seed=2), np.full((1, 500, 500), 255, np.uint8)])
    pixels[3, 200:240, 100:400] = 0
    colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    return [lay(path / "a.jp2", pixels, place(10, 20), colors=colors, **JP2)]


def with_collar(path: Path) -> list[Path]:
    pixels = ground(500, 500, seed=3)
    pixels[:, :120], pixels[:, :, :90] = 0, 0
    return [lay(path / "a.jp2", pixels, place(10, 20), **JP2)]


def off_the_grid(path: Path) -> list[Path]:
    return [lay(path / "a.jp2", ground(600, 500, seed=4), *turned(10, 20), **JP2)]


def two_on_top(path: Path) -> list[Path]:
    return [*plain(path), lay(path / "b.jp2", ground(400, 300, seed=5), place(150.5, 90), **JP2)]


SHEETS: dict[str, Callable[[Path], list[Path]]] = {
    "plain": plain,
    "alpha": with_alpha,
    "collar": with_collar,
    "turned": off_the_grid,
    "two": two_on_top,
}


def made_with(project: Project, scratch: float) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Blocks by name, made anew with so much scratch, and what the run's page says."""
    gone = [item.key for item in project.store.list() if tiles.DATASET in item.key]
    project.store.delete(gone)
    told = run_step(_with_scratch(project, scratch), tiles.DATASET, HERE).told
    made = need_manifest(project.store, tiles.DATASET, HERE).objects
    return {name: project.store.get(one.key) for name, one in made.items()}, dict(told)


def _with_scratch(project: Project, gib: float) -> Project:
    run = project.settings.run.model_copy(update={"scratch": gib})
    return replace(project, settings=project.settings.model_copy(update={"run": run}))


def watched(patch: pytest.MonkeyPatch) -> Counter[tuple[Any, ...]]:
    """How often each window of a sheet was decoded for the scratch; nothing else may read a JPEG 2000 file's pixels."""
    seen: Counter[tuple[Any, ...]] = Counter()
    real, reading = decoded_once.decoded, bands.read_window

    def counted(source: Any, window: Any, masks: int) -> np.ndarray:
        seen[source.name, window.row_off, window.col_off, window.height, window.width] += 1
        return real(source, window, masks)

    def through(source: Any, *rest: Any) -> Any:
        assert getattr(source, "driver", "") != "JP2OpenJPEG", "read past the scratch"
        return reading(source, *rest)

    patch.setattr(decoded_once, "decoded", counted)
    for module in (placement, collar):
        patch.setattr(module, "read_window", through)
    return seen


@pytest.mark.parametrize(
    ("kind", "reader"), [*((kind, "auto") for kind in SHEETS), ("plain", "gdal"), ("alpha", "gdal"), ("collar", "gdal")]
)
def test_each_tile_is_decoded_once_for_all_blocks_to_the_same_bytes(
    kind: str, reader: str, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagery = {"reader": reader, **({"nodata": [0]} if kind == "collar" else {})}
    project = make_project(tmp_path / "home", imagery=imagery)
    cataloged(project, SHEETS[kind](tmp_path))
    want, said = made_with(project, 0.0)
    assert said == {}
    monkeypatch.setattr(placement, "_collars", Remembered())  # as in a process that never saw the sheet
    seen = watched(monkeypatch)
    found, said = made_with(project, 1.0)
    assert len(want) >= 4
    assert found == want
    assert set(seen.values()) == {1}
    assert said == {ONCE: len(seen)}


@pytest.mark.parametrize("how", ["little room", "a full disk"])
def test_what_finds_no_room_is_decoded_again_and_the_page_says_so(
    how: str, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "home")
    cataloged(project, plain(tmp_path))
    want, _ = made_with(project, 0.0)
    whole = -(-600 // 128) * -(-500 // 96)
    written = 0

    def full(file: int, data: Any, at: int) -> int:
        nonlocal written
        written += 1
        if written > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data, at)

    real = os.pwrite
    if how == "a full disk":
        monkeypatch.setattr(os, "pwrite", full)
    found, said = made_with(project, 1.0 if how == "a full disk" else 3.5 * 128 * 96 * 3 / 2**30)
    assert found == want
    assert 0 < said[ONCE] < whole, "small tiles at the sheet's edge may still fit"
    assert 0 < said[AGAIN] <= whole


def test_room_is_given_up_when_no_block_wants_a_sheet_any_more(tmp_path: Path, make_project: MakeProject) -> None:
    """Two sheets far apart, and room for one of them."""
    project = make_project(tmp_path / "home", run={"workers": 1})
    east = lay(tmp_path / "b.jp2", ground(600, 500, seed=6), place(10 + 5 * 256, 20), **JP2)
    cataloged(project, [*plain(tmp_path), east])
    _, said = made_with(project, 1.1 * 600 * 500 * 3 / 2**30)
    assert set(said) == {ONCE}


def test_nothing_is_seen_of_it_on_the_disk(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while it is used, nor when a run fails: a killed one cannot clear up."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    project = make_project(tmp_path / "home")
    cataloged(project, plain(tmp_path))
    files, real = list[Any](), decoded_once.Scratch.keep

    def keep(self: decoded_once.Scratch, *rest: Any) -> None:
        real(self, *rest)
        files.append(self._file)
        assert os.listdir(folder) == []

    monkeypatch.setattr(decoded_once.Scratch, "keep", keep)
    monkeypatch.setattr(tiles.direct.JpegCog, "finish", lambda *_: 1 / 0)
    with pytest.raises(BlocksFailed):
        run_step(project, tiles.DATASET, HERE)
    assert files
    assert all(file.closed for file in files)


def test_a_sheet_of_one_block_is_read_as_before(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", grid={"block_size": 1024})
    cataloged(project, plain(tmp_path))
    assert made_with(project, 1.0)[1] == {}


def test_a_tile_that_cannot_be_decoded_is_each_blocks_own(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalogue does not decode all of a sheet. Blocks on a broken tile name the sheet, others show it."""
    project = make_project(tmp_path / "home")
    cataloged(project, plain(tmp_path))
    real = decoded_once.decoded

    def broken(source: Any, window: Any, masks: int) -> np.ndarray:
        if window.row_off < 200 and window.col_off < 200:
            raise RasterioIOError("a.jp2: it cannot be decoded")
        return real(source, window, masks)

    monkeypatch.setattr(decoded_once, "decoded", broken)
    made_with(project, 1.0)
    made = need_manifest(project.store, tiles.DATASET, HERE).objects
    lost = [name for name, one in made.items() if one.facts.get("unreadable") == ["a.jp2"]]
    assert lost == ["x00y00", "x00y01", "x01y00", "x01y01"], "broken tiles end at column 266, row 308 of the grid"
    assert all(one.facts["covered"] > 0 for name, one in made.items() if name not in lost)
