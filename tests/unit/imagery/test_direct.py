"""Blocks cut without GDAL: the same pixels as by GDAL, each chunk decoded once, and everything unusual left to GDAL."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
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
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from groundplan.core.materialize import Cancellation
from groundplan.errors import MissingInput
from groundplan.imagery import tiles
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.raster import cog, tiff_chunks
from groundplan.raster.coded_cog import placed
from groundplan.raster.jpeg_cog import JpegCog
from groundplan.raster.tiff_chunks import ChunkReader, chunks_of
from groundplan.raster.tiff_layout import directories

TILED: dict[str, Any] = {"tiled": True, "blockxsize": 128, "blockysize": 64}
KINDS: dict[str, dict[str, Any]] = {
    "RGB JPEG in tiles": {"compress": "jpeg", "photometric": "rgb", **TILED},
    "RGB JPEG in strips": {"compress": "jpeg", "photometric": "rgb", "blockysize": 16},
    "plain tiles": {**TILED},
    "plain strips of one row": {"blockysize": 1},
    "deflate with differences": {"compress": "deflate", "predictor": 2, **TILED},
    "BigTIFF": {"compress": "deflate", "BIGTIFF": "YES", "blockysize": 32},
    "big-endian": {"ENDIANNESS": "BIG", **TILED},
}


def described(project: Project, name: str = "x00y00") -> Any:
    """What the manifest says of a block after a build."""
    return run_step(project, "aerial_tiles", HERE).manifest.objects[name].facts


# ------------------------------------------------------------------------------------------------ the same pixels


@pytest.mark.parametrize("kind", KINDS)
def test_aligned_sheets_give_the_pixels_that_gdal_gives(
    kind: str, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: one sheet reaches beyond the block, one lies across another, some ground has none."""
    project = make_project(tmp_path / "home", imagery={"quality": 90})
    files = [
        lay(tmp_path / "a.tif", ground(300, 200, seed=1), place(-45, -33), **KINDS[kind]),
        lay(tmp_path / "b.tif", ground(130, 90, seed=2), place(101, 57), **KINDS[kind]),
    ]
    manifest = tiled(project, files)
    ours, theirs = by_both(project, monkeypatch)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert 0.5 < ours[1].mean() < 1
    assert manifest.objects["x00y00"].facts["read"] == {"direct": 2, "gdal": 0}


@pytest.mark.parametrize("store", STORES, ids=["folder", "memory"])
def test_ycbcr_sheets_are_decoded_by_libjpeg_turbo(
    store: str, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Pillow's libjpeg-turbo decodes them, to the bit; GDAL's library widens colours otherwise."""
    project = make_project(tmp_path / "home", store)
    profile = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 64, "blockysize": 64}
    image = (0.8 * ground(256, 256, 1) + 0.2 * ground(256, 256)).astype(np.uint8)  # colours as soft as of ground
    file = lay(tmp_path / "a.tif", image, place(0, 0), **profile, jpeg_quality=85)
    tiled(project, [file])
    ours, theirs = by_both(project, monkeypatch)
    gap = np.abs(ours[0].astype(int) - theirs[0])
    assert gap.mean() < 0.8
    assert gap.max() <= 40
    data = file.read_bytes()
    chunks = chunks_of(lambda at, size: data[at : at + size])
    assert chunks is not None
    for number, (start, count) in enumerate(zip(chunks.offsets, chunks.counts, strict=True)):
        stream = tiff_chunks.jpeg_stream(data[start : start + count], chunks)
        tile = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))
        part = np.s_[:, number // 4 * 64 : number // 4 * 64 + 64, number % 4 * 64 : number % 4 * 64 + 64]
        np.testing.assert_array_equal(ours[0][part], tile.transpose(2, 0, 1))


def test_no_tile_is_decoded_twice_nor_below_another_sheet(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "home", grid={"block_size": 2048})
    profile = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 128, "blockysize": 128}
    below = lay(tmp_path / "a.tif", np.full((3, 1024, 512), 90, np.uint8), place(0, 0), **profile)
    above = lay(tmp_path / "b.tif", ground(700, 1160), place(-60, -60), **profile)
    cataloged(project, [below, above])
    calls = []

    def counted(data: Any, chunks: Any) -> np.ndarray:
        calls.append(bytes(data[-40:]))
        return decoded(data, chunks)

    decoded = tiff_chunks.decoded
    monkeypatch.setattr(tiff_chunks, "decoded", counted)
    planned = next(one for one in tiles.plan(project, HERE) if one.name == "x00y00")
    tiles.make(project, planned, Cancellation())
    assert len(set(calls)) == len(calls) == 6 * 10, "the tiles of the upper sheet, and none of the one that it hides"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([{"blockysize": 1}, {"blockysize": 7}, {"tiled": True, "blockxsize": 16, "blockysize": 32}]),
    st.integers(0, 89),
    st.integers(1, 90),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(0, 60),
)
def test_a_window_is_what_the_file_holds_however_it_is_cut_into_rows(
    width: int, height: int, form: dict[str, Any], left: int, wide: int, steps: list[int], top: int
) -> None:
    image = np.random.default_rng(width * 100 + height).integers(0, 256, (3, height, width), np.uint8)
    told = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": width, "height": height}
    with MemoryFile() as memory:
        with memory.open(**told, transform=Affine.scale(1, -1), **form) as target:
            target.write(image)
        data = bytes(memory.getbuffer())
    chunks = chunks_of(lambda at, size: data[at : at + size])
    assert chunks is not None
    columns = range(left := min(left, width - 1), min(left + wide, width))
    top, asked = min(top, height - 1), list[tuple[int, int]]()

    def part(at: int, size: int) -> bytes:
        asked.append((at, size))
        return data[at : at + size]

    reader = ChunkReader(chunks, part, columns, range(height))
    for step in steps:
        bottom = min(top + step, height)
        reader.advance(top, bottom)
        canvas = np.zeros((bottom - top, len(columns), 3), np.uint8)
        for start in range(0, len(columns), 13):  # in pieces, from left to right
            piece = canvas[:, start : start + 13]
            reader.paint(piece, columns.start + start, top)
        np.testing.assert_array_equal(
            canvas[..., ::-1].transpose(2, 0, 1), image[:, top:bottom, columns.start : columns.stop]
        )
        top = bottom
        if top == height:
            break
    assert len(asked) == len(set(asked))
    assert len(asked) == 1 or len(columns) < width, "what lies together and is small comes in one request"


# ------------------------------------------------------------------------------------------- what is left to GDAL

UNDEFINED = ColorInterp.undefined
RGBA = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
JPEG: dict[str, Any] = {"compress": "jpeg", "photometric": "ycbcr", **TILED}


def _alpha(path: Path) -> Path:
    alpha = np.full((1, 200, 200), 255, np.uint8)
    alpha[:, :, :20] = 0
    return lay(path, np.concatenate([ground(200, 200), alpha]), place(3, 5), colors=RGBA)


def _masked(path: Path) -> Path:
    known = np.ones((200, 200), bool)
    known[50:90, 20:60] = False
    return lay(path, ground(200, 200), place(3, 5), mask=known, **JPEG)


def _masked_beside(path: Path) -> Path:
    known = np.ones((200, 200), bool)
    known[50:90, 20:60] = False
    return lay(path, ground(200, 200), place(3, 5), mask=known, external=True, **JPEG)


def _pond() -> np.ndarray:
    """Near infrared 0 where the colours are sound."""
    image = ground(200, 200, 4)
    image[3, 50:90, 50:90] = 0
    return image


def _black_corner(path: Path) -> Path:
    image = ground(200, 200)
    image[:, np.add.outer(np.arange(200), np.arange(200)) < 120] = 0
    return lay(path, image, place(3, 5))


def _sparse(path: Path) -> Path:
    """A tile that nobody wrote."""
    image = ground(256, 256)
    image[:, :64, :128] = 0
    return lay(path, image, place(0, 0), **TILED, SPARSE_OK=True)


UNUSUAL: dict[str, Callable[[Path], Path]] = {
    "nodata": lambda path: lay(path, ground(200, 200), place(3, 5), nodata=0, **TILED),
    "alpha": _alpha,
    "mask inside": _masked,
    "mask beside": _masked_beside,
    "four bands": lambda path: lay(path, ground(200, 200, 4), place(3, 5), colors=[*RGBA[:3], UNDEFINED]),
    "four bands and nodata": lambda path: lay(path, _pond(), place(3, 5), nodata=0, colors=[*RGBA[:3], UNDEFINED]),
    "grey": lambda path: lay(path, ground(200, 200, 1), place(3, 5)),
    "blue first": lambda path: lay(path, ground(200, 200), place(3, 5), colors=RGBA[2::-1], photometric="minisblack"),
    "LZW": lambda path: lay(path, ground(200, 200), place(3, 5), compress="lzw"),
    "bands apart": lambda path: lay(path, ground(200, 200), place(3, 5), interleave="band"),
    "black corner": _black_corner,
    "a tile left out": _sparse,
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_is_unusual_is_read_by_gdal(
    kind: str, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a sheet that is read directly, and in the same order; the same pixels and the same mask."""
    project = make_project(tmp_path / "home")
    UNUSUAL[kind](tmp_path / "b.tif")
    lay(tmp_path / "a.tif", ground(140, 256, seed=4), place(0, 0), **TILED)
    lay(tmp_path / "c.tif", ground(60, 50, seed=5), place(100, 100), **TILED)
    manifest = tiled(project, sorted(path for path in tmp_path.iterdir() if path.is_file()))
    assert manifest.objects["x00y00"].facts["read"] == {"direct": 2, "gdal": 1}
    ours, theirs = by_both(project, monkeypatch)
    np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_array_equal(ours[0] * ours[1], theirs[0] * theirs[1])


@pytest.mark.parametrize("imagery", [{"nodata": [0]}, {"uint16_range": [0, 255]}, {"bands": [3, 2, 1]}])
def test_settings_that_change_what_a_sheet_shows_leave_it_to_gdal(
    imagery: dict[str, Any], tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "home", imagery=imagery)
    image = ground(200, 200)
    image[:, :40, :40] = 0
    deep = "uint16_range" in imagery
    file = lay(tmp_path / "a.tif", image.astype(np.uint16) if deep else image, place(0, 0), **({} if deep else TILED))
    assert tiled(project, [file]).objects["x00y00"].facts["read"] == {"direct": 0, "gdal": 1}
    ours, theirs = by_both(project, monkeypatch)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("store", STORES, ids=["folder", "memory"])
@pytest.mark.parametrize("compress", ["jpeg", "deflate", "none"])
def test_a_sheet_that_ends_early_is_judged_by_gdal(
    compress: str, store: str, tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header is sound, so it is catalogued and begun directly; then it is left out as before, others not."""
    project = make_project(tmp_path / "home", store)
    image = ground(256, 256)
    lay(tmp_path / "whole.tif", image, place(0, 0), **TILED)
    profile = {} if compress == "none" else {"compress": compress}
    broken = lay(tmp_path / "z.tif", image, place(0, 100), **profile, **TILED)
    data = broken.read_bytes()
    first = next(directories(lambda at, size: data[at : at + size]))
    start, size = first[324][3], first[325][3]  # in the middle
    broken.write_bytes(data[: start + size // 2] + bytes(size - size // 2) + data[start + size :])
    tiled(project, [tmp_path / "whole.tif", broken])
    ours, theirs = by_both(project, monkeypatch)
    np.testing.assert_array_equal(ours[1], theirs[1])
    if compress != "jpeg":
        np.testing.assert_array_equal(ours[0], theirs[0])
    facts = described(project)
    assert facts["read"]["gdal"] == (0 if compress == "none" else 1)
    assert facts == tiles.describe(project.store.get(tiles.plan(project, HERE)[0].key))


# ---------------------------------------------------------------------------------------------- tiles taken over

OWN: dict[str, Any] = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 512, "blockysize": 512}


@pytest.mark.parametrize("copy", [True, False])
def test_a_sheets_own_tiles_are_taken_over_where_they_are_the_blocks(
    copy: bool, tmp_path: Path, make_project: MakeProject
) -> None:
    """Without a loss: all that lie whole in the block, on its tiles, under no other sheet. Others are coded anew."""
    project = make_project(tmp_path / "home", grid={"block_size": 1536}, imagery={"copy_tiles": copy})
    whole = lay(tmp_path / "a.tif", ground(2048, 1400), place(-512, 0), **OWN, jpeg_quality=90)
    above = lay(tmp_path / "b.tif", ground(60, 50, seed=3), place(700, 40), **TILED)
    facts = tiled(project, [whole, above]).objects["x00y00"].facts
    assert facts.get("copied", 0) == (5 if copy else 0), "2 rows of 3, without the one below the other sheet"
    data = project.store.get({one.name: one.key for one in tiles.plan(project, HERE)}["x00y00"])
    assert facts == tiles.describe(data)
    with rasterio.open(whole) as source, MemoryFile(data) as memory, memory.open() as block:
        for left, top in [(0, 0), (1024, 0), (0, 512), (512, 512), (1024, 512)]:
            theirs = source.read(window=Window(left + 512, top, 512, 512))
            assert (block.read(window=Window(left, top, 512, 512)) == theirs).all() == copy
    valid, errors, _ = cog_validate(_kept(tmp_path / "block.tif", data), strict=True, quiet=True)
    assert valid, errors


@pytest.mark.parametrize(
    "other",
    [
        {"jpeg_quality": 85},
        {"photometric": "rgb"},
        {"blockxsize": 256},
        {"compress": "deflate", "photometric": "rgb"},
    ],
)
def test_tiles_that_are_coded_otherwise_are_coded_anew(
    other: dict[str, Any], tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", grid={"block_size": 512}, imagery={"copy_tiles": True})
    profile = {**OWN, "jpeg_quality": 90, **other}
    if profile["compress"] != "jpeg":
        del profile["jpeg_quality"]
    facts = tiled(project, [lay(tmp_path / "a.tif", ground(512, 512), place(0, 0), **profile)]).objects["x00y00"].facts
    assert facts["read"] == {"direct": 1, "gdal": 0}
    assert "copied" not in facts


def test_a_neighbour_sees_that_an_edge_was_taken_over() -> None:
    """Decoded, it is another than one that was coded from the same pixels."""
    tile, edges = np.zeros((512, 512, 3), np.uint8), list[dict[str, str]]()
    for coded in (None, b"stream"):
        made = JpegCog(512, 90)
        made.add(tile, None, coded)
        edges.append(made.edges)
    assert not set(edges[0].values()) & set(edges[1].values())


def _kept(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


# ---------------------------------------------------------------------------------------------------- the file


WHERE = Affine(0.3, 0, 100_000, 0, -0.3, 400_000)


def written(pixels: np.ndarray, mask: np.ndarray | None = None, quality: int = 90) -> tuple[bytes, JpegCog]:
    """A COG of pixels (3, n, n) as its tiles come; what is masked is 0."""
    n = pixels.shape[1]
    writer, turned = JpegCog(n, quality), np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0))
    for top in range(0, n, 512):
        for left in range(0, n, 512):
            part = np.s_[top : top + 512, left : left + 512]
            writer.add(turned[part], None if mask is None or mask[part].all() else mask[part])
    return writer.finish(placed(WHERE, "EPSG:28992", ("", "", ""), {"A": "b"})), writer


@pytest.mark.parametrize("side", [256, 512, 768, 1280, 2560])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_the_file_is_what_gdal_would_write(side: int, masked: bool) -> None:
    """A valid COG with the same levels, masks and place; pixels of all levels as near to the truth as GDAL's."""
    image = (0.8 * ground(side, side, 1) + 0.2 * ground(side, side)).astype(np.uint8)
    mask = np.ones((side, side), bool)
    if masked:
        mask[: side // 3, side // 5 :] = mask[side - 3 :] = False
        mask[np.random.default_rng(1).random(mask.shape) < 0.01] = False
        image *= mask
    ours = written(image, mask)[0]
    theirs = cog.write(image, mask, WHERE, "EPSG:28992", cog.Encoding("jpeg", 90), tags={"A": "b"})
    assert cog.validate(ours) == cog.validate(theirs) == []
    with MemoryFile(ours) as one, MemoryFile(theirs) as other, one.open() as a, other.open() as b:
        assert (a.profile, a.tags(), a.overviews(1)) == (b.profile, b.tags(), b.overviews(1))
        assert (a.colorinterp, a.mask_flag_enums) == (b.colorinterp, b.mask_flag_enums)
        levels = [None, *range(len(a.overviews(1)))]
    truth, known = image.astype(float), mask
    for level in levels:
        if level is not None:
            high = truth.shape[1] // 2
            count = known.reshape(high, 2, high, 2).sum((1, 3))
            total = (truth * known).reshape(3, high, 2, high, 2).sum((2, 4))
            truth, known = np.floor((total + count // 2) / np.maximum(count, 1)), count > 0
        told = {} if level is None else {"overview_level": level}
        with MemoryFile(ours) as one, MemoryFile(theirs) as other, one.open(**told) as a, other.open(**told) as b:
            np.testing.assert_array_equal(a.dataset_mask() > 0, known)
            np.testing.assert_array_equal(b.dataset_mask() > 0, known)
            mine, his = (np.abs(each.read() - truth)[:, known].mean() for each in (a, b))
        assert mine <= 1.02 * his + 0.02


def test_the_same_tiles_give_the_same_bytes_and_masks_that_are_whole_are_none() -> None:
    image = ground(768, 768)
    whole = np.ones((768, 768), bool)
    assert written(image)[0] == written(image)[0] == written(image, whole)[0]
    assert len(list(directories(lambda at, size: written(image)[0][at : at + size]))) == 2


def test_only_neighbours_that_see_a_change_are_told() -> None:
    n = 1536
    image, mask = ground(n, n), np.ones((n, n), bool)
    plain = written(image)[1]
    assert plain.covered == 1
    image[:, 768, 768] ^= 255
    image[:, 768, 300] ^= 255
    middle = written(image)[1].edges
    assert middle == plain.edges
    assert written(image, quality=80)[1].edges != middle
    image[:, 700, n - 3] ^= 255
    side = written(image)[1].edges
    assert {direction for direction in side if side[direction] != plain.edges[direction]} == {"e"}
    image[:, 2, 2] ^= 255
    corner = written(image)[1].edges
    assert {direction for direction in corner if corner[direction] != side[direction]} == {"w", "nw", "n"}
    mask[n - 1, 900] = False
    image[:, n - 1, 900] = 0
    black, hole = written(image)[1].edges, written(image, mask)[1]
    assert {direction for direction in black if black[direction] != hole.edges[direction]} == {"s"}
    assert hole.covered == 1 - 1 / n**2


def test_facts_can_be_read_from_a_block_and_a_torn_one_has_none(tmp_path: Path, make_project: MakeProject) -> None:
    """A run that was killed before it wrote them down finds them in the block."""
    project = make_project(tmp_path / "home")
    manifest = tiled(project, [lay(tmp_path / "a.tif", ground(300, 200), place(-10, 7), **TILED)])
    assert len(manifest.objects) == 3
    for made in manifest.objects.values():
        data = project.store.get(made.key)
        assert tiles.describe(data) == made.facts
        valid = cog.read(data)[1]
        assert made.facts["covered"] == round(float(valid.mean()), 6)
        with pytest.raises(MissingInput, match="it ends before its last tile"):
            tiles.describe(data[:-1])


def test_the_reader_is_part_of_a_fingerprint_only_where_other_bytes_come_of_it(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home")
    cataloged(project, [lay(tmp_path / "a.tif", ground(200, 200), place(0, 0), **TILED)])

    def fingerprints(**imagery: Any) -> list[str]:
        chosen = project.settings.imagery.model_copy(update=imagery)
        changed = replace(project, settings=project.settings.model_copy(update={"imagery": chosen}))
        return [one.fingerprint for one in tiles.plan(changed, HERE)]

    assert fingerprints(reader="gdal") != fingerprints()
    for same in ({"compress": "deflate"}, {"bands": (1,)}):
        assert fingerprints(reader="gdal", **same) == fingerprints(**same)
