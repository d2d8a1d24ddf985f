"""Sheets off the grid's pixels, resampled on a mesh: near what GDAL's warper makes, each chunk decoded once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import MakeProject
from cut_twice import by_both
from hypothesis import given, settings
from hypothesis import strategies as st
from laid_sheets import HERE, STORES, cataloged, ground, lay, place, tiled
from rasterio import warp
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from scipy.ndimage import binary_dilation, binary_erosion

from groundplan.core.materialize import Cancellation
from groundplan.core.store import Store
from groundplan.imagery import tiles, warping
from groundplan.project import Project
from groundplan.raster import chunk_windows, tiff_chunks
from groundplan.raster.chunk_windows import ChunkWindows
from groundplan.raster.mesh import LEAST, TOLERANCE, Bent, Mesh, mesh_of, resampled
from groundplan.raster.tiff_chunks import chunks_of
from groundplan.raster.tiff_layout import directories

TURNED = "EPSG:25831"  # by two degrees against the tests' grid
JPEG: dict[str, Any] = {"compress": "jpeg", "photometric": "rgb", "tiled": True, "blockxsize": 64, "blockysize": 64}
PLAIN: dict[str, Any] = {"tiled": True, "blockxsize": 64, "blockysize": 64}
SIDE = 256
PAIRS = {  # a sheet's CRS and a grid's, and where: hardly turned against each other, or turned
    ("EPSG:28992", "EPSG:28992"): (5.5, 52.1),
    ("EPSG:31467", "EPSG:25832"): (9.0, 50.0),
    ("EPSG:3857", "EPSG:32645"): (87.0, 27.0),
    (TURNED, "EPSG:28992"): (5.5, 52.1),
    ("EPSG:4326", "EPSG:32633"): (15.0, 55.0),  # a pixel is not square on the ground
    ("EPSG:2154", "EPSG:25832"): (7.5, 48.5),
}
MEAN = {"bilinear": 1.5, "cubic": 1.5, "lanczos": 1.4}  # of 255; more, the finer and the more turned a sheet is
MOST = {"bilinear": 20, "cubic": 20, "lanczos": 15}


def foreign(col: float, row: float, size: float = 0.30, crs: str = TURNED) -> Affine:
    """A sheet in another CRS whose upper left corner is about that pixel of the tests' grid."""
    x, y = place(col, row) @ (0, 0)
    (x,), (y,) = warp.transform("EPSG:28992", crs, [x], [y])
    return Affine(size, 0, x, 0, -size, y)


# ------------------------------------------------------------------------------------------------ beside GDAL


def laid(pair: tuple[str, str], finer: float, shift: tuple[float, float]) -> tuple[Affine, Affine, int]:
    """Where a grid's SIDE x SIDE pixels lie, where a sheet does that covers them, and that sheet's side in pixels."""
    whence, whither = pair
    (x,), (y,) = warp.transform("EPSG:4326", whither, [PAIRS[pair][0]], [PAIRS[pair][1]])
    grid = Affine(0.25, 0, round(x), 0, -0.25, round(y))
    corners = [grid @ (col, row) for col in (0, SIDE) for row in (0, SIDE)]
    xs, ys = warp.transform(whither, whence, *map(list, zip(*corners, strict=True)))
    unit = np.hypot(xs[2] - xs[0], ys[2] - ys[0]) / SIDE / finer
    more = 12 * finer * unit
    sheet = Affine(unit, 0, min(xs) - more + shift[0] * unit, 0, -unit, max(ys) + more + shift[1] * unit)
    return grid, sheet, int(max(np.ptp(xs), np.ptp(ys)) / unit + 24 * finer) + 3


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(PAIRS)),
    st.sampled_from(["nearest", "bilinear", "cubic", "lanczos"]),
    st.floats(0.4, 3.5),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_pixels_are_near_those_of_gdals_warper(
    pair: tuple[str, str], kernel: str, finer: float, shift: tuple[float, float]
) -> None:
    """Whatever the pair of CRSs, the shift and the sheet's pixels. GDAL smooths a turned sheet a little more: it takes
    the height and width of the window for the sheet's scale."""
    grid, sheet, side = laid(pair, finer, shift)
    image = ground(side, side, seed=side)
    told = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": side, "height": side}
    warped = {"crs": pair[1], "transform": grid, "width": SIDE, "height": SIDE, "tolerance": 1e-4, "add_alpha": True}
    with MemoryFile() as memory:
        with memory.open(**told, crs=pair[0], transform=sheet) as target:
            target.write(image)
        with memory.open() as source, WarpedVRT(source, resampling=Resampling[kernel], **warped) as one:
            theirs = one.read()
    assert theirs[3].all(), "the sheet covers all"

    def exact(cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = warp.transform(pair[1], pair[0], *map(np.ndarray.tolist, grid @ (cols, rows)))
        found = ~sheet @ (np.array(x), np.array(y))
        return found[0], found[1]

    mesh = mesh_of(exact, (0, 0, SIDE, SIDE))
    x, y = mesh.coordinates((0, 0, SIDE, SIDE), (0, 0))
    ours, known = resampled(np.ascontiguousarray(image.transpose(1, 2, 0)), None, x, y, kernel, mesh.finer)
    gap = np.abs(ours.transpose(2, 0, 1).astype(int) - theirs[:3])
    assert known is None
    cols, rows = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    true = [one.reshape(SIDE, SIDE) for one in exact(cols.ravel(), rows.ravel())]
    assert np.abs(x + 0.5 - true[0]).max() < TOLERANCE
    assert np.abs(y + 0.5 - true[1]).max() < TOLERANCE
    if kernel == "nearest":  # where two are as near, who can say
        sure = np.all([np.abs(one - np.rint(one)) > 1e-3 for one in true], axis=0)
        assert not gap[:, sure].any()
    else:
        assert gap.mean() < MEAN[kernel]
        assert gap.max() <= MOST[kernel]


@pytest.mark.parametrize("shift", [(0.5, 0.5), (0.25, -0.5), (3, 2)])
def test_the_nearest_pixel_is_gdals_where_two_are_as_near(shift: tuple[float, float]) -> None:
    pixels = ground(40, 30).transpose(1, 2, 0)
    cols, rows = np.meshgrid(np.arange(20) + shift[0], np.arange(20) + shift[1] + 1)
    ours, _ = resampled(np.ascontiguousarray(pixels), None, *np.float32([cols, rows]), "nearest")
    np.testing.assert_array_equal(ours, pixels[np.floor(rows + 0.5).astype(int), np.floor(cols + 0.5).astype(int)])


def test_a_mesh_is_as_fine_as_the_way_bends() -> None:
    def wave(length: float) -> Mesh:
        return mesh_of(lambda cols, rows: (cols + 2 * np.sin(rows / length), rows), (0, 512, 1024, 1024))

    meshes = [wave(length) for length in (100_000, 500, 120)]
    assert [mesh.spacing for mesh in meshes] == sorted([mesh.spacing for mesh in meshes], reverse=True)
    assert meshes[-1].spacing < meshes[0].spacing == 256
    for mesh, length in zip(meshes, (100_000, 500, 120), strict=True):
        x, y = mesh.coordinates((512, 512, 812, 600), (100, 0))
        rows, cols = np.mgrid[512:600, 512:812] + 0.5
        assert np.abs(x + 100.5 - cols - 2 * np.sin(rows / length)).max() < TOLERANCE
        assert np.abs(y + 0.5 - rows).max() < TOLERANCE
    for way in (lambda cols, rows: (cols + 9 * np.sin(rows), rows), lambda cols, rows: (cols / (cols > 40), rows)):
        with pytest.raises(Bent), np.errstate(divide="ignore", invalid="ignore"):
            mesh_of(way, (0, 0, 64, 64))
    assert LEAST < SIDE


# ------------------------------------------------------------------------------------------------------- blocks


def masked(path: Path, **form: Any) -> Path:
    known = np.ones((220, 220), bool)
    known[60:120, 40:130] = False
    return lay(path, ground(220, 220) * known, foreign(20, 15), TURNED, mask=known, **form)


def with_alpha(path: Path) -> Path:
    alpha = np.full((1, 220, 220), 255, np.uint8)
    alpha[:, 60:120, 40:130] = 0
    kinds = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    return lay(path, np.concatenate([ground(220, 220), alpha]), foreign(20, 15), TURNED, colors=kinds)


OFF: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "half a pixel off": ("mesh", lambda path: lay(path, ground(220, 220), place(3.5, 5), **JPEG)),
    "coarser": ("mesh", lambda path: lay(path, ground(120, 120), place(3, 5, 0.5), **JPEG)),
    "finer": ("mesh", lambda path: lay(path, ground(400, 400), place(3, 5, 0.17), **PLAIN)),
    "another CRS": ("mesh", lambda path: lay(path, ground(220, 220), foreign(20, 15), TURNED, **PLAIN)),
    "strips": ("mesh", lambda path: lay(path, ground(220, 220), foreign(20, 15), TURNED, blockysize=3)),
    "BigTIFF": ("mesh", lambda path: lay(path, ground(220, 220), foreign(20, 15), TURNED, BIGTIFF="YES", **PLAIN)),
    "LZW": ("gdal_mesh", lambda path: lay(path, ground(220, 220), foreign(20, 15), TURNED, compress="lzw")),
    "nodata": ("gdal_mesh", lambda path: lay(path, ground(220, 220), foreign(20, 15), TURNED, nodata=0)),
    "mask inside": ("gdal_mesh", lambda path: masked(path, **PLAIN)),
    "mask beside": ("gdal_mesh", lambda path: masked(path, external=True, **PLAIN)),
    "alpha": ("gdal_mesh", with_alpha),
    "grey": ("gdal_mesh", lambda path: lay(path, ground(220, 220, 1), foreign(20, 15), TURNED)),
    "much finer": ("gdal", lambda path: lay(path, ground(1300, 1300), place(3, 5, 0.06), **PLAIN)),
}


@pytest.mark.parametrize("kind", OFF)
def test_a_block_is_near_the_one_that_gdal_warps(
    kind: str, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between an aligned sheet below it and one above it: the same order, nearly the same mask, near pixels."""
    project = make_project(tmp_path / "home")
    how, make = OFF[kind]
    make(tmp_path / "b.tif")
    lay(tmp_path / "a.tif", ground(140, 150, seed=4), place(0, 0), **PLAIN)
    lay(tmp_path / "c.tif", ground(60, 50, seed=5), place(100, 100), **PLAIN)
    manifest = tiled(project, sorted(path for path in tmp_path.iterdir() if path.is_file()))
    assert manifest.objects["x00y00"].facts["read"] == {"direct": 2, "gdal": 0, how: 1}
    ours, theirs = by_both(project, monkeypatch)
    assert (ours[1] != theirs[1]).mean() < 0.001
    both = ours[1] & theirs[1]
    assert both.mean() > 0.5
    gap = np.abs(ours[0].astype(int) - theirs[0])[:, both]
    assert gap.mean() < 1
    sure = _away_from_edges(theirs[1])
    assert np.abs(ours[0].astype(int) - theirs[0])[:, sure].max() <= 90, "what GDAL sees of the sheet below, too"
    assert np.percentile(gap, 99) <= 6


def _away_from_edges(mask: np.ndarray) -> np.ndarray:
    return np.asarray(binary_erosion(mask, iterations=4, border_value=1))


def test_a_hole_in_a_sheet_keeps_its_colours_out(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is masked is white, and leaks into nothing around it."""
    project = make_project(tmp_path / "home")
    known = np.ones((220, 220), bool)
    known[60:120, 40:130] = False
    image = np.where(known, 100, 255).astype(np.uint8) * np.ones((3, 1, 1), np.uint8)
    tiled(project, [lay(tmp_path / "a.tif", image, foreign(20, 15), TURNED, mask=known, **PLAIN)])
    (pixels, mask), theirs = by_both(project, monkeypatch)
    assert set(np.unique(pixels[:, mask])) == {100}
    assert not (mask ^ theirs[1])[~binary_dilation(~theirs[1], iterations=2)].any()
    assert 5000 < (~mask[40:160, 40:170]).sum() < 6500


@pytest.mark.parametrize("store", STORES, ids=["folder", "memory"])
def test_each_tile_of_a_turned_sheet_is_decoded_once_and_read_in_few_requests(
    store: str, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "home", store, grid={"block_size": 2048})
    file = lay(tmp_path / "a.tif", ground(1900, 1900), foreign(60, 10), TURNED, **JPEG)
    below = lay(tmp_path / "0.tif", ground(100, 100), foreign(900, 900), TURNED, **JPEG)
    cataloged(project, [file, below])
    decoded, asked = list[bytes](), list[int]()

    def counted(data: Any, number: int, chunks: Any) -> np.ndarray:
        decoded.append(bytes(data))
        return whole_chunk(data, number, chunks)

    def requested(part: Any, *rest: Any) -> Any:
        return read_chunks(lambda at, size: (asked.append(size), part(at, size))[1], *rest)

    whole_chunk, read_chunks = tiff_chunks.whole_chunk, chunk_windows.read_chunks
    monkeypatch.setattr(chunk_windows, "whole_chunk", counted)
    monkeypatch.setattr(chunk_windows, "read_chunks", requested)
    made = tiles.make(project, {one.name: one for one in tiles.plan(project, HERE)}["x00y00"], Cancellation())
    assert made.facts["read"]["mesh"] == 2
    assert len(set(decoded)) == len(decoded)
    assert 800 < len(decoded) <= 30 * 30 + 4
    size = file.stat().st_size + below.stat().st_size
    assert len(asked) <= 2 + size / tiff_chunks.AT_ONCE * 2
    assert sum(asked) <= size


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 79), st.integers(0, 59), st.integers(1, 50), st.integers(1, 50)), min_size=1),
    st.sampled_from([{"blockysize": 1}, {"blockysize": 7}, {"tiled": True, "blockxsize": 16, "blockysize": 32}]),
    st.data(),
)
def test_windows_in_any_place_are_what_the_file_holds(
    boxes: list[tuple[int, int, int, int]], form: dict[str, Any], data: st.DataObject
) -> None:
    """Also where some are passed over, and where little is read ahead."""
    image = np.random.default_rng(len(boxes)).integers(0, 256, (3, 60, 80), np.uint8)
    with MemoryFile() as memory:
        told = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": 80, "height": 60}
        with memory.open(**told, transform=Affine.scale(2, -2), **form) as target:
            target.write(image)
        stored = bytes(memory.getbuffer())
    chunks = chunks_of(lambda at, size: stored[at : at + size])
    assert chunks is not None
    windows = {
        3 * n: (left, top, min(80, left + wide), min(60, top + high)) for n, (left, top, wide, high) in enumerate(boxes)
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chunk_windows, "AT_ONCE", data.draw(st.sampled_from([1, 3000, 1 << 22])))
        reader = ChunkWindows(chunks, lambda at, size: stored[at : at + size], windows)
        for number, (left, top, right, bottom) in windows.items():
            if data.draw(st.booleans()):
                shown = reader.pixels(number)[..., ::-1].transpose(2, 0, 1)
                np.testing.assert_array_equal(shown, image[:, top:bottom, left:right])


@pytest.mark.parametrize("compress", ["jpeg", "deflate"])
def test_a_turned_sheet_with_a_damaged_tile_is_judged_by_gdal(
    compress: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home")
    broken = lay(tmp_path / "z.tif", ground(256, 256), foreign(0, 30), TURNED, **{**PLAIN, "compress": compress})
    data = broken.read_bytes()
    first = next(directories(lambda at, size: data[at : at + size]))
    start, size = first[324][5], first[325][5]
    broken.write_bytes(data[:start] + b"\xff" * size + data[start + size :])
    whole = lay(tmp_path / "whole.tif", ground(256, 256), place(0, 0), **PLAIN)
    facts = tiled(project, [whole, broken]).objects["x00y00"].facts
    assert facts["read"] == {"direct": 1, "gdal": 0, "gdal_mesh": 1}
    assert facts["covered"] == 1
    assert facts["unreadable"] == ["z.tif"]


def test_a_way_that_bends_too_much_is_gdals(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bent(*_: Any) -> Mesh:
        raise Bent("here")

    project = make_project(tmp_path / "home")
    cataloged(project, [lay(tmp_path / "a.tif", ground(220, 220), foreign(20, 15), TURNED, **PLAIN)])
    monkeypatch.setattr(warping, "mesh_of", bent)
    ours, theirs = by_both(project, monkeypatch)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("turned", [False, True], ids=["aligned", "turned"])
def test_sheets_in_a_bucket_are_read_in_few_requests(
    turned: bool, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of each lies on the block: what lies between the rows of wanted tiles is read too, for that costs less."""
    project = make_project(tmp_path / "home", "memory://bucket", grid={"block_size": 1024})
    wheres = [(foreign(-512, at), TURNED) if turned else (place(-512, at), "EPSG:28992") for at in (0, 500)]
    files = [lay(tmp_path / f"{n}.tif", ground(1000, 500, seed=n), *where, **PLAIN) for n, where in enumerate(wheres)]
    cataloged(project, files)
    asked, part = list[int](), Store.part

    def counted(self: Store, key: str, start: int, length: int) -> bytes:
        asked.append(length)
        return part(self, key, start, length)

    planned = {one.name: one for one in tiles.plan(project, HERE)}["x00y00"]
    monkeypatch.setattr(Store, "part", counted)
    made = tiles.make(project, planned, Cancellation())
    assert made.facts["read"].get("mesh" if turned else "direct") == 2
    assert len(asked) <= 5 * len(files)


# -------------------------------------------------------------------------------------------------- GDAL's files


@pytest.mark.parametrize("kind", ["JP2", "LZW"])
@pytest.mark.parametrize("turned", [False, True], ids=["aligned", "turned"])
def test_what_gdal_decodes_is_opened_once_a_block(
    kind: str, turned: bool, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so each of its tiles is decoded once while GDAL's cache holds them."""
    project = make_project(tmp_path / "home", grid={"block_size": 2048})
    forms = {
        "JP2": {"driver": "JP2OpenJPEG", "quality": 100, "reversible": "yes"},
        "LZW": {"compress": "lzw", **PLAIN},
    }
    where = (foreign(60, 10), TURNED) if turned else (place(60, 10), "EPSG:28992")
    file = lay(tmp_path / ("a.jp2" if kind == "JP2" else "a.tif"), ground(1200, 1600), *where, **forms[kind])
    cataloged(project, [file])
    opened = list[str]()

    def counted(path: Any, *rest: Any, **more: Any) -> Any:
        opened.append(str(path))
        return real(path, *rest, **more)

    real = rasterio.open
    monkeypatch.setattr(rasterio, "open", counted)
    made = tiles.make(project, {one.name: one for one in tiles.plan(project, HERE)}["x00y00"], Cancellation())
    assert made.facts["read"]["gdal_mesh" if turned else "gdal"] == 1
    assert len(opened) <= 2, "by who judges it, and by who reads it"


def fingerprint_of(project: Project) -> str:
    return {one.name: one for one in tiles.plan(project, HERE)}["x00y00"].fingerprint


def test_only_blocks_of_resampled_sheets_are_made_anew(tmp_path: Path, make_project: MakeProject) -> None:
    """Fingerprints of before there was a mesh, of the same sheets."""
    found = {}
    for name, where in {"aligned": place(3, 5), "shifted": place(3.5, 5)}.items():
        project = make_project(tmp_path / name)
        image = np.arange(3 * 64 * 64, dtype=np.uint32).reshape(3, 64, 64).astype(np.uint8)
        cataloged(project, [lay(tmp_path / f"{name}.tif", image, where)])
        found[name] = fingerprint_of(project)
    assert found["aligned"] == "e81db558a3c20707"
    assert found["shifted"] != "c03a96e395ae4e0c"


def test_blocks_made_side_by_side_have_the_bytes_of_one_made_alone(tmp_path: Path, make_project: MakeProject) -> None:
    """Sheets of all kinds: by their own chunks and by GDAL, on the grid's pixels and off them."""
    project = make_project(tmp_path / "home")
    files = [
        lay(tmp_path / "a.tif", ground(200, 200, seed=1), place(-60, -60), **PLAIN),
        lay(tmp_path / "b.tif", ground(200, 200, seed=2), foreign(90, -40), TURNED, **JPEG),
        lay(tmp_path / "c.tif", ground(200, 200, seed=3), foreign(-40, 90), TURNED, compress="lzw"),
        lay(tmp_path / "d.tif", ground(90, 90, seed=4), place(150, 150), compress="lzw"),
    ]
    cataloged(project, files)
    planned = {one.name: one for one in tiles.plan(project, HERE)}["x00y00"]
    alone = tiles.make(project, planned, Cancellation())
    assert alone.facts["read"] == {"direct": 1, "gdal": 1, "mesh": 1, "gdal_mesh": 1}
    with ThreadPoolExecutor(3) as pool:
        many = list(pool.map(lambda _: tiles.make(project, planned, Cancellation()), range(6)))
    assert {one.data for one in many} == {alone.data}
