"""Aerial tiles: what is shown, what is masked, which sheet lies on top, and that a block is a sound COG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from conftest import ORIGIN, MakeProject
from laid_sheets import HERE, LOSSLESS, STORES, cataloged, ground, lay, mosaic, place, tiled
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import MemoryFile
from rasterio.warp import reproject
from scipy.ndimage import binary_erosion, zoom

from groundplan.capacity import costs
from groundplan.core import range_reader
from groundplan.core.grid import Block, Grid
from groundplan.core.manifest import need_manifest
from groundplan.errors import GroundplanError, MissingInput, StoreFailed
from groundplan.imagery import tiles
from groundplan.ingest.add_imagery import deliver
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.quality import checks
from groundplan.raster import cog
from groundplan.raster.halo import DIRECTIONS, edge_digests, open_with_halo, read_with_halo

RGBA = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]


def hole(width: int = 200, height: int = 200) -> np.ndarray:
    """bool: a place without imagery in the middle and along one side."""
    known = np.ones((height, width), bool)
    known[60:90, 40:120] = False
    known[:, :15] = False
    return known


# -------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("store", STORES, ids=["folder", "memory"])
@pytest.mark.parametrize("said", ["nodata", "alpha", "internal mask", "external mask", "grey and alpha"])
@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "warped"])
def test_ground_without_imagery_is_masked_however_a_sheet_says_it(
    said: str, store: str, aligned: bool, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", store, imagery={**LOSSLESS, "resampling": "nearest"})
    image, known = ground(200, 200, 1 if said == "grey and alpha" else 3), hole()
    # nearest neighbour from pixels a fourth off: the same pixels, by the other way
    where = place(10, 20) if aligned else place(10.25, 20)
    alpha = np.where(known, 255, 0).astype(np.uint8)[None]
    file = tmp_path / "a.tif"
    if said == "nodata":
        lay(file, np.where(known, image, 0), where, nodata=0)
    elif said == "alpha":
        lay(file, np.concatenate([image, alpha]), where, colors=RGBA)
    elif said == "grey and alpha":
        lay(file, np.concatenate([image, alpha]), where, colors=[ColorInterp.gray, ColorInterp.alpha])
    else:
        lay(file, image, where, mask=known, external=said == "external mask")
    files = sorted(path for path in tmp_path.iterdir() if path.is_file())
    assert len(files) == (2 if said == "external mask" else 1)
    pixels, mask = mosaic(project, tiled(project, files), 256, 256)
    np.testing.assert_array_equal(mask[20:220, 10:210], known)
    assert mask.sum() == known.sum()
    expected = np.broadcast_to(image, (3, 200, 200))
    np.testing.assert_array_equal(pixels[:, 20:220, 10:210][:, known], expected[:, known])


def test_a_block_on_which_its_sheets_show_nothing_is_masked_as_a_whole(
    tmp_path: Path, make_project: MakeProject
) -> None:
    """The collar of a flight often covers whole blocks: nodata there is no fault of the sheet."""
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    image = ground(512, 256)
    image[:, :, 200:] = 0
    manifest = tiled(project, [lay(tmp_path / "a.tif", image, place(0, 0), nodata=0)])
    assert {name: made.facts["covered"] for name, made in manifest.objects.items()} == {
        "x00y00": 0.78125,
        "x01y00": 0.0,
    }
    assert checks.tiles_complete(project, HERE).passed


# ----------------------------------------------------------------------------------------------- bands and bits


def test_sixteen_bits_become_eight_as_stated(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "uint16_range": [200, 3200]})
    deep = np.random.default_rng(3).integers(0, 4000, (3, 100, 100), dtype=np.uint16)
    deep[0, 0, :3] = 200, 3200, 1700
    eight = ground(100, 100)
    files = [lay(tmp_path / "deep.tif", deep, place(0, 0)), lay(tmp_path / "eight.tif", eight, place(100, 0))]
    pixels, _ = mosaic(project, tiled(project, files), 200, 100)
    exact = np.clip((deep.astype(float) - 200) / 3000 * 255, 0, 255)
    assert np.abs(pixels[:, :, :100] - exact).max() <= 0.51
    assert pixels[0, 0, :3].tolist() == [0, 255, 128]
    np.testing.assert_array_equal(pixels[:, :, 100:], eight, "eight bits are taken as they are")


@pytest.mark.parametrize(
    ("bands", "wanted", "shown"),
    [
        (1, [1, 2, 3], [0, 0, 0]),
        (3, [3, 2, 1], [2, 1, 0]),
        (4, [4, 1, 2], [3, 0, 1]),
        (4, [1, 2, 3, 4], [0, 1, 2, 3]),
        (4, [1], [0]),
    ],
)
def test_the_wanted_bands_are_shown_in_the_wanted_order(
    bands: int, wanted: list[int], shown: list[int], tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "bands": wanted})
    image = ground(60, 60, bands)
    colors = [*RGBA[:3], ColorInterp.undefined] if bands == 4 else None  # the fourth is near infrared
    pixels, mask = mosaic(project, tiled(project, [lay(tmp_path / "a.tif", image, place(0, 0), colors=colors)]), 60, 60)
    np.testing.assert_array_equal(pixels, image[shown])
    assert mask.all()


# -------------------------------------------------------------------------------------------------------- order


def test_the_newest_sheet_lies_on_top_and_of_two_of_a_day_the_later_name(
    tmp_path: Path, make_project: MakeProject
) -> None:
    def dated(name: str, day: str, value: int, col: int) -> Path:
        tags = {"TIFFTAG_DATETIME": f"{day} 10:00:00"} if day else {}
        return lay(tmp_path / name, np.full((3, 40, 100), value, np.uint8), place(col, 0), tags=tags)

    files = [
        dated("z.tif", "2024:03:01", 30, 0),
        dated("a.tif", "2024:09:01", 90, 50),
        dated("m.tif", "", 10, 25),
        dated("n.tif", "2024:09:01", 99, 140),
        dated("b.tif", "2024:09:01", 91, 120),
    ]
    seen = []
    for turn, order in enumerate((files, files[::-1])):
        project = make_project(tmp_path / f"home{turn}", imagery=LOSSLESS)
        manifest = tiled(project, order)
        pixels, _ = mosaic(project, manifest, 240, 40)
        seen.append({name: project.store.get(made.key) for name, made in manifest.objects.items()})
    assert seen[0] == seen[1], "the order of delivery must not matter"
    row = pixels[0, 5]
    assert (row[:50] == 30).all(), "a sheet without a date counts as the year's first day"
    assert (row[50:120] == 90).all()
    assert (row[120:140] == 91).all(), "b after a"
    assert (row[140:240] == 99).all(), "n after b"


def test_a_hole_in_the_upper_sheet_shows_the_lower_one(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    below, above, known = ground(200, 200, seed=1), ground(200, 200, seed=2), hole()
    files = [lay(tmp_path / "a.tif", below, place(0, 0)), lay(tmp_path / "b.tif", above, place(0, 0), mask=known)]
    pixels, mask = mosaic(project, tiled(project, files), 200, 200)
    np.testing.assert_array_equal(pixels, np.where(known, above, below))
    assert mask.all()


# ------------------------------------------------------------------------------------------------------ warping


def _elsewhere(crs: str, size: float, turn: float = 0.0) -> Affine:
    """A sheet in another CRS whose upper left corner is near pixel (60, 40) of the grid."""
    to = pyproj.Transformer.from_crs("EPSG:28992", crs, always_xy=True)
    x, y = to.transform(ORIGIN[0] + 60 * 0.3, ORIGIN[1] - 40 * 0.3)
    return Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(size, -size)


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:28992", place(60.5, 40.5)),
        ("EPSG:28992", place(60, 40, 0.25)),
        ("EPSG:28992", _elsewhere("EPSG:28992", 0.3, 17)),
        ("EPSG:4326", _elsewhere("EPSG:4326", 3.5e-6)),
        ("EPSG:32631", _elsewhere("EPSG:32631", 0.32)),
        ("EPSG:32632", _elsewhere("EPSG:32632", 0.3, -40)),
        ("EPSG:28992", Affine(0.3, 0, ORIGIN[0] + 20, 0, 0.3, ORIGIN[1] - 80)),
    ],
    ids=["half a pixel off", "finer", "rotated", "degrees", "utm 31", "utm 32 rotated", "south up"],
)
def test_any_other_sheet_is_warped_as_gdal_does(
    crs: str, transform: Affine, kernel: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "resampling": kernel})
    image = ground(240, 240)
    pixels, mask = mosaic(project, tiled(project, [lay(tmp_path / "a.tif", image, transform, crs)]), 512, 512)
    assert mask.any()
    # the oracle: arrays, all at once, exact transformation of every pixel
    expected, known = np.zeros((3, 512, 512), np.uint8), np.zeros((512, 512), np.uint8)
    told: dict[str, Any] = {
        "src_transform": transform,
        "src_crs": crs,
        "dst_transform": place(0, 0),
        "dst_crs": "EPSG:28992",
        "tolerance": 0.0,
    }
    reproject(image, expected, resampling=Resampling[kernel], **told)
    reproject(np.full((240, 240), 255, np.uint8), known, resampling=Resampling.nearest, **told)
    assert (mask != (known > 0)).sum() <= 4 * 240 * 1.5, "the border may differ by a pixel"
    inside = binary_erosion(known > 0, iterations=3)
    assert inside.sum() > 20_000
    difference = np.abs(pixels.astype(int) - expected)[:, inside]
    if kernel == "nearest":  # where the approximate transformation falls to the other side of a pixel
        assert (difference > 0).any(axis=0).mean() < 0.02
    else:
        assert difference.max() <= 12, "GDAL transforms to an eighth of a pixel; half a pixel would give 7 on average"
        assert difference.mean() < 0.6


def test_strips_and_blocks_of_a_warped_sheet_join_without_a_seam(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = ground(500, 500)
    file = lay(tmp_path / "a.tif", image, _elsewhere("EPSG:32632", 0.3, 8), "EPSG:32632")
    made = []
    for turn, (strip, size) in enumerate(((2048, 1024), (64, 1024), (2048, 256))):
        monkeypatch.setattr(tiles, "STRIP", strip)
        project = make_project(tmp_path / f"home{turn}", imagery=LOSSLESS, grid={"block_size": size})
        made.append(mosaic(project, tiled(project, [file]), 700, 700))
    for pixels, mask in made[1:]:
        assert np.abs(pixels.astype(int) - made[0][0])[:, mask & made[0][1]].max() <= 10
        assert (mask != made[0][1]).sum() < 40


# ------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("compress", ["jpeg", "deflate", "zstd"])
def test_a_block_is_a_cog_that_others_can_read(compress: str, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery={"compress": compress}, grid={"block_size": 1024})
    image = ground(2048, 900)
    below = lay(tmp_path / "b.tif", ground(1024, 124), place(0, 900))
    manifest = tiled(project, [lay(tmp_path / "a.tif", image, place(0, 0)), below])
    whole, part = (project.store.get(manifest.objects[name].key) for name in ("x00y00", "x01y00"))
    for data, partly in ((whole, False), (part, True)):
        assert cog.validate(data) == []
        with MemoryFile(data) as memory, memory.open() as source:
            assert source.block_shapes == [(512, 512)] * 3
            assert source.overviews(1) == [2]
            assert source.crs.to_epsg() == 28992
            assert source.colorinterp[:3] == tuple(RGBA[:3])
            assert source.compression.name.lower().startswith(compress[:4]) or compress == "jpeg"
            flags = source.mask_flag_enums[0]
            assert (MaskFlags.per_dataset in flags) == partly, "a mask only where imagery is missing"
            if compress == "jpeg":
                assert source.photometric.name == "ycbcr"
    with MemoryFile(part) as memory, memory.open() as source:
        assert source.transform == project.grid.transform(Block(1, 0))
        error = np.abs(source.read()[:, :900].astype(int) - image[:, :, 1024:]).mean()
        assert error < 6 if compress == "jpeg" else error == 0
        assert source.dataset_mask()[:900].all()
        assert not source.dataset_mask()[900:].any()
        small = source.read(out_shape=(3, 512, 512))[:, :440]
        assert np.abs(small - image[:, :880, 1024:].reshape(3, 440, 2, 512, 2).mean(axis=(2, 4))).mean() < 10


def test_the_same_sheets_give_the_same_bytes_wherever_they_lie(tmp_path: Path, make_project: MakeProject) -> None:
    files = [
        lay(tmp_path / "a.tif", ground(300, 300), place(0, 0), mask=np.tri(300, dtype=bool)),
        lay(tmp_path / "b.tif", ground(300, 300), _elsewhere("EPSG:32631", 0.3), "EPSG:32631"),
    ]
    runs = []
    for turn, store in enumerate(("", "", "memory://x")):
        project = make_project(tmp_path / f"home{turn}", store, run={"workers": 1 + turn})
        manifest = tiled(project, files)
        runs.append({made.key: project.store.get(made.key) for made in manifest.objects.values()})
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 4


# --------------------------------------------------------------------------------- what shows only when decoding


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A sheet whose corners and middle can be decoded, but not one tile between."""
    path = lay(
        tmp_path / "spoiled.tif",
        ground(640, 128),
        place(0, 0),
        tiled=True,
        blockxsize=128,
        blockysize=128,
        compress="deflate",
    )
    with rasterio.open(path) as source:
        start, length = (int(source.get_tag_item(f"BLOCK_{what}_3_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    data = bytearray(path.read_bytes())
    data[start : start + length] = bytes(length)
    path.write_bytes(data)
    return path


@pytest.mark.bad_input
@pytest.mark.parametrize("store", STORES, ids=["folder", "memory"])
def test_a_sheet_with_a_spoiled_tile_is_named_and_the_other_sheets_go_on(
    store: str, spoiled: Path, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", store, imagery=LOSSLESS)
    good = lay(tmp_path / "good.tif", ground(640, 128, seed=4), place(0, 128))
    manifest = tiled(project, [spoiled, good])
    lacking = sorted(name for name, made in manifest.objects.items() if "unreadable" in made.facts)
    assert lacking == ["x01y00"], "the tile lies on columns 384 to 511"
    pixels, mask = mosaic(project, manifest, 640, 256)
    np.testing.assert_array_equal(pixels[:, 128:], ground(640, 128, seed=4))
    np.testing.assert_array_equal(pixels[:, :128, :256], ground(640, 128)[:, :, :256])
    assert not mask[:128, 384:512].any()
    verdict = checks.tiles_complete(project, HERE)
    assert not verdict.passed
    assert not verdict.serious, "the rest goes on"
    assert "spoiled.tif" in verdict.message
    assert "Deliver them again" in verdict.message

    mended = lay(spoiled, ground(640, 128), place(0, 0))
    after = tiled(project, [mended])
    assert checks.tiles_complete(project, HERE).passed
    _, mask = mosaic(project, after, 640, 256)
    assert mask.all()


@pytest.mark.bad_input
@pytest.mark.parametrize("store", STORES, ids=["folder", "memory"])
def test_a_damaged_block_is_found_and_named(store: str, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", store, imagery=LOSSLESS)
    manifest = tiled(project, [lay(tmp_path / "a.tif", ground(256, 256), place(0, 0))])
    key = manifest.objects["x00y00"].key
    data = project.store.get(key)
    project.store.put(key, data[: len(data) // 2])
    verdict = checks.tiles_complete(project, HERE)
    assert not verdict.passed
    assert "x00y00" in verdict.message
    with pytest.raises(MissingInput, match=r"damaged .*Remove it and build again"):
        cog.read_object(project.store, key)
    project.store.delete([key])
    assert run_step(project, "aerial_tiles", HERE).made == ("x00y00",)
    assert project.store.get(key) == data


def test_a_region_on_which_no_sheet_lies_says_so(tmp_path: Path, make_project: MakeProject) -> None:
    import geopandas
    import shapely

    from groundplan.imagery.regions import add_regions

    project = make_project(tmp_path / "home")
    x, y = ORIGIN
    # the sheet touches the polygon, but no block of it
    shape = shapely.union_all([shapely.box(x, y - 30, x + 20, y), shapely.box(x + 20, y - 1, x + 600, y)])
    geopandas.GeoDataFrame({"name": ["delft"]}, geometry=[shape], crs="EPSG:28992").to_file(tmp_path / "regions.gpkg")
    add_regions(project, tmp_path / "regions.gpkg")
    manifest = tiled(project, [lay(tmp_path / "a.tif", ground(64, 64), place(0, 0))])
    assert sorted(manifest.objects) == ["x00y00"]
    other = make_project(tmp_path / "other")
    deliver(other, [lay(tmp_path / "b.tif", ground(64, 64), place(0, 0))], HERE.region, HERE.year)
    with pytest.raises(MissingInput, match="--select sheets"):
        run_step(other, "aerial_tiles", HERE)


def test_a_halo_is_what_the_neighbours_show(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    image = ground(700, 700)
    manifest = tiled(project, [lay(tmp_path / "a.tif", image, place(0, 0))])
    keys = {Block.parse(name): made.key for name, made in manifest.objects.items()}
    for halo in (0, 1, 32, 256):
        pixels, mask = read_with_halo(project.store, project.grid, Block(1, 1), halo, keys)
        part = np.s_[256 - halo : 512 + halo, 256 - halo : 512 + halo]
        expected = np.pad(image, ((0, 0), (0, 68), (0, 68)))[(slice(None), *part)]
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(mask, np.pad(np.ones((700, 700), bool), (0, 68))[part])
    edges = edge_digests(project.store.get(keys[Block(1, 1)]))
    far = edge_digests(project.store.get(keys[Block(0, 0)]))
    assert edges.keys() == far.keys() == set(DIRECTIONS)
    assert edges["n"] != far["n"]


def test_only_neighbours_that_see_a_change_are_told(tmp_path: Path) -> None:
    """A halo's identity is what can be seen of a neighbour: at most EDGE pixels of it."""
    n = 1024
    image = ground(n, n)
    plain = edge_digests(cog.write(image, None, place(0, 0), "EPSG:28992", cog.Encoding()))
    image[:, 512, 512] ^= 255
    middle = edge_digests(cog.write(image, None, place(0, 0), "EPSG:28992", cog.Encoding()))
    assert middle == plain
    image[:, 512, n - 3] ^= 255
    side = edge_digests(cog.write(image, None, place(0, 0), "EPSG:28992", cog.Encoding()))
    assert {direction for direction in side if side[direction] != plain[direction]} == {"e"}
    image[:, 2, 2] ^= 255
    corner = edge_digests(cog.write(image, None, place(0, 0), "EPSG:28992", cog.Encoding()))
    assert {direction for direction in corner if corner[direction] != side[direction]} == {"w", "nw", "n"}


def test_nothing_is_committed_when_no_sheet_is_usable(tmp_path: Path, make_project: MakeProject) -> None:
    project: Project = make_project(tmp_path / "home")
    file = tmp_path / "a.tif"
    file.write_text("no image")
    with pytest.raises(GroundplanError, match="no delivered file can be used"):
        cataloged(project, [file])
    assert project.store.list("manifests") == []
    with pytest.raises(MissingInput):
        need_manifest(project.store, "sheets", HERE)


def test_rows_of_a_surrounded_block_are_rows_of_the_whole(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    manifest = tiled(project, [lay(tmp_path / "a.tif", ground(700, 700), place(0, 0))])
    keys = {Block.parse(name): made.key for name, made in manifest.objects.items()}
    for block in (Block(0, 0), Block(1, 1), Block(2, 2)):
        pixels, mask = read_with_halo(project.store, project.grid, block, 40, keys)
        with open_with_halo(project.store, project.grid, block, 40, keys) as around:
            assert (around.side, around.bands) == (336, 3)
            for top, bottom in ((0, 1), (0, 40), (30, 50), (39, 297), (200, 336), (295, 296), (296, 336)):
                found, seen = around.rows(top, bottom)
                np.testing.assert_array_equal(found, pixels[:, top:bottom])
                np.testing.assert_array_equal(seen, mask[top:bottom])


@pytest.mark.parametrize("cuts", [(700,), (512, 188), (1, 300, 399)])
def test_a_block_written_in_rows_is_the_block(cuts: tuple[int, ...]) -> None:
    image = ground(700, 700)[:2]
    ends = np.cumsum(cuts)
    pieces = [image[:, end - high : end] for end, high in zip(ends, cuts, strict=True)]
    told = (["one", "two"], {"GROUNDPLAN_FINGERPRINT": "f"})
    data = cog.write_rows(pieces, image.shape, place(0, 0), "EPSG:28992", cog.Encoding(), *told)
    assert cog.validate(data) == []
    np.testing.assert_array_equal(cog.read(data)[0], image)
    np.testing.assert_array_equal(np.concatenate(list(cog.in_rows(data)), axis=1), image)
    assert data == cog.write_rows([image], image.shape, place(0, 0), "EPSG:28992", cog.Encoding(), *told)
    with MemoryFile(data) as memory, memory.open() as source:
        assert source.descriptions == ("one", "two")
        assert source.tags()["GROUNDPLAN_FINGERPRINT"] == "f"
        assert source.overviews(1)
    with pytest.raises(ValueError, match="rows came"):
        cog.write_rows(pieces[:-1], image.shape, place(0, 0), "EPSG:28992", cog.Encoding())


# ------------------------------------------------------------------------------------- blocks that lie in a bucket


def test_a_window_of_a_block_in_a_bucket_moves_little_and_is_what_rasterio_reads(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 2048
    grid = Grid(crs="EPSG:28992", resolution=0.25, block_size=n, origin=(0.0, 0.0))
    rng = np.random.default_rng(3)
    pixels = np.stack([zoom(rng.integers(0, 255, (n // 8, n // 8)), 8, order=1) for _ in range(3)]).astype(np.uint8)
    mask = np.ones((n, n), bool)
    mask[100:900, 1200:] = False
    data = cog.write(pixels, mask, grid.transform(Block(0, 0)), grid.crs, cog.Encoding("jpeg", 90))
    store = make_project(tmp_path / "home", "memory://blocks").store
    keys = {Block(col, row): f"x{col}y{row}.tif" for col in range(3) for row in range(3)}
    for key in keys.values():
        store.put(key, data)
    moved: list[int] = []
    for name in ("get", "part", "begin"):
        true = getattr(type(store), name)

        def counted(self: Any, *words: Any, true: Any = true) -> Any:
            answer = true(self, *words)
            moved.append(len(answer[1] if isinstance(answer, tuple) else answer))
            return answer

        monkeypatch.setattr(type(store), name, counted)
    got, known = read_with_halo(store, grid, Block(1, 1), 128, keys)
    with MemoryFile(data) as memory, memory.open() as source:
        whole, there = source.read(), source.dataset_mask() > 0
    np.testing.assert_array_equal(got[:, 128:-128, 128:-128], whole)
    np.testing.assert_array_equal(got[:, :128, 128:-128], whole[:, -128:])
    np.testing.assert_array_equal(got[:, 128:-128, -128:], whole[:, :, :128])
    np.testing.assert_array_equal(known[128:-128, :128], there[:, -128:])
    np.testing.assert_array_equal(known[-128:, -128:], there[:128, :128])
    share, requests = costs.edge_reads(n)
    assert len(moved) <= 1 + requests, "more requests than the plan for a country counts with"
    assert sum(moved) < len(data) * (1 + share) * 1.1 + 8 * 2 * range_reader.WINDOW, "and more bytes"
    moved.clear()
    assert cog.read_overview(store, keys[Block(0, 0)], 64)[0].shape == (3, 64, 64)
    assert sum(moved) < len(data) / 8


@pytest.mark.fault
def test_a_store_that_fails_in_the_middle_of_a_window_is_not_taken_for_damage(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_project(tmp_path / "home", "memory://faults").store
    grid = Grid(crs="EPSG:28992", resolution=0.25, block_size=1024, origin=(0.0, 0.0))
    pixels = np.random.default_rng(4).integers(0, 255, (3, 1024, 1024), np.uint8)
    store.put("a.tif", cog.write(pixels, None, grid.transform(Block(0, 0)), grid.crs, cog.Encoding("jpeg", 90)))
    true = type(store).part

    def fails(self: Any, key: str, start: int, length: int) -> bytes:
        if start:
            raise StoreFailed(key, "it could not be read", "Run again when the store answers")
        return true(self, key, start, length)

    monkeypatch.setattr(type(store), "part", fails)
    with pytest.raises(StoreFailed, match="could not be read"):
        cog.read_object(store, "a.tif", (900, 900, 100, 100))
