"""Pixels: what a sheet says of its values is honoured or set aside, its mask is never guessed, flat ground loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from conftest import ORIGIN, MakeProject
from laid_sheets import HERE, LOSSLESS, cataloged, ground, lay, mosaic, place, tiled
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import reproject
from scipy.ndimage import binary_erosion

from groundplan.core.manifest import fingerprint
from groundplan.imagery import collar, tiles
from groundplan.imagery.sheet import Sheet
from groundplan.pipeline import run_step
from groundplan.quality import checks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]  # together: many sheets

RED, GREEN, BLUE, ALPHA = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
RGB = [RED, GREEN, BLUE]
NONE = ColorInterp.undefined
SIDE = 128


def utm() -> Affine:
    to = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:32631", always_xy=True)
    x, y = to.transform(ORIGIN[0] + 12, ORIGIN[1] - 12)
    return Affine(0.3, 0, x, 0, -0.3, y)


PLACES = {
    "on the grid": (place(40, 40), "EPSG:28992"),
    "off": (place(40.5, 40.5), "EPSG:28992"),
    "utm": (utm(), "EPSG:32631"),
}


def oracle(
    image: np.ndarray, known: np.ndarray, where: tuple[Affine, str], size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Three bands and a mask warped by arrays with exact transformation: pixels, and where they are known."""
    told: dict[str, Any] = {
        "src_transform": where[0],
        "src_crs": where[1],
        "dst_transform": place(0, 0),
        "dst_crs": "EPSG:28992",
        "tolerance": 0.0,
    }
    pixels, mask = np.zeros((3, size, size), np.uint8), np.zeros((size, size), np.uint8)
    reproject(image, pixels, resampling=Resampling.cubic, **told)
    reproject(known.astype(np.uint8) * 255, mask, resampling=Resampling.nearest, **told)
    return pixels, mask > 0


def collared(bands: int, dtype: str = "uint8") -> tuple[np.ndarray, np.ndarray]:
    """Colours and more bands (bands, SIDE, SIDE), and what of it was photographed: a turned square."""
    image = ground(SIDE, SIDE, bands)
    rows, cols = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    known = np.abs(rows * 0.97 - cols * 0.24) + np.abs(cols * 0.97 + rows * 0.24) < SIDE * 0.62
    return image.astype(dtype) * (257 if dtype == "uint16" else 1), known


# -------------------------------------------------------------------------------------------------------- masks

SAID = {
    # bands, the mask's band, nodata
    "3, nodata": (3, None, 0),
    "4, all valid": (4, None, None),
    "4, nodata": (4, None, 0),
    "4, alpha": (4, 4, None),
    "4, alpha first": (4, 1, None),
    "5, alpha": (5, 5, None),
    "5, alpha inside": (5, 4, None),
    "8, nodata": (8, None, 0),
    "8, all valid": (8, None, None),
    "2, alpha first": (2, 1, None),
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("said", SAID)
def test_the_mask_is_what_the_sheet_says_for_any_number_of_bands(
    said: str, dtype: str, where: str, tmp_path: Path, make_project: MakeProject
) -> None:
    count, mask_band, nodata = SAID[said]
    image, known = collared(count, dtype)
    colors = [NONE] * count
    others = [index for index in range(count) if index + 1 != mask_band]
    colors[others[0]] = ColorInterp.gray
    if len(others) > 2:
        for index, kind in zip(others, RGB, strict=False):
            colors[index] = kind
    if mask_band:
        colors[mask_band - 1] = ALPHA
        image[mask_band - 1] = known * np.iinfo(dtype).max
    elif nodata is None:
        known[:] = True
    shown = [0, 0, 0] if len(others) < 3 else [0, 1, 2]
    if nodata is not None:
        image[np.ix_(others[:3], range(SIDE), range(SIDE))] *= known.astype(dtype)
        image[others[3:]] = 90  # infrared of a collar is not always nothing: only the wanted bands count
        image[others[3:], 50:60, 50:60] = 0
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "uint16_range": [0, 65535]})
    told = {"nodata": nodata} if nodata is not None else {}
    file = lay(tmp_path / "a.tif", image, *PLACES[where], colors=colors, photometric="MINISBLACK", **told)
    under = lay(tmp_path / "0.tif", ground(256, 256, seed=8), place(0, 0))
    pixels, _ = mosaic(project, tiled(project, [under, file]), 256, 256)
    eight = (image[others] // (257 if dtype == "uint16" else 1)).astype(np.uint8)[shown]
    expected, mask = oracle(eight, known, PLACES[where])
    below = (pixels == ground(256, 256, seed=8)).all(axis=0)
    assert (below & mask).sum() < 20, "ground that the sheet shows"
    assert (~below & ~mask).sum() <= (0 if where == "on the grid" else 4 * SIDE), "ground beyond its mask"
    inside = binary_erosion(mask, iterations=4)
    assert np.abs(pixels.astype(int) - expected)[:, inside].max() <= 14
    assert np.abs(pixels.astype(int) - expected)[:, inside].mean() < 0.8


@pytest.mark.parametrize("where", PLACES)
def test_neighbours_of_four_bands_are_not_painted_black(where: str, tmp_path: Path, make_project: MakeProject) -> None:
    """rasterio #1178: the last sheet's missing mask covered the rest of the block."""
    project = make_project(tmp_path / "home", imagery=LOSSLESS, grid={"block_size": 512})
    transform, crs = PLACES[where]
    files = [
        lay(
            tmp_path / f"{n}.tif",
            ground(64, 64, 4, seed=n),
            transform @ Affine.translation(64 * n, 0),
            crs,
            colors=[*RGB, NONE],
        )
        for n in range(2)
    ]
    pixels, mask = mosaic(project, tiled(project, files), 512, 512)
    _, known = oracle(np.zeros((3, 64, 128), np.uint8), np.ones((64, 128), bool), PLACES[where], 512)
    assert (mask != known).sum() <= (0 if where == "on the grid" else 200)
    assert (pixels[:, binary_erosion(known, iterations=3)] > 0).any(axis=0).all()


@pytest.mark.parametrize(("nodata", "infrared"), [(0, 0), (255, 255), (255, 0), (0, 255)])
@pytest.mark.parametrize("where", PLACES)
def test_infrared_that_equals_nodata_hides_no_ground(
    where: str, nodata: int, infrared: int, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    image = np.clip(ground(SIDE, SIDE, 4), 1, 254)
    image[3, 40:80, 40:80] = infrared
    image[:, :20] = nodata
    file = lay(tmp_path / "a.tif", image, *PLACES[where], nodata=nodata, colors=[*RGB, NONE])
    with rasterio.open(file) as source:
        known = np.logical_or.reduce([source.read_masks(band) > 0 for band in (1, 2, 3)])
    _, mask = mosaic(project, tiled(project, [file]), 256, 256)
    _, expected = oracle(image[:3], known, PLACES[where])
    assert (mask != expected).sum() <= (0 if where == "on the grid" else 4 * SIDE)
    assert mask[binary_erosion(expected, iterations=3)].all()


@pytest.mark.parametrize("where", ["on the grid", "off"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_half_transparent_ground_is_shown_from_half_opaque(
    where: str, dtype: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "resampling": "nearest", "uint16_range": [0, 65535]})
    top = np.iinfo(dtype).max
    image = ground(160, 40).astype(dtype) * (257 if dtype == "uint16" else 1)
    steps = (0, 1, top // 4, top // 2, top // 2 + 1, top - 1, top, top)
    alpha = np.repeat(np.array(steps, dtype), 20)[None, None].repeat(40, axis=1)
    transform = place(10, 10) if where == "on the grid" else place(10.25, 10)
    file = lay(tmp_path / "a.tif", np.concatenate([image, alpha]), transform, colors=[*RGB, ALPHA])
    _, mask = mosaic(project, tiled(project, [file]), 256, 64)
    assert mask[10:50, 10:170].mean(axis=0).round().astype(int).tolist() == [0] * 80 + [1] * 80
    assert mask.sum() == 80 * 40


# ------------------------------------------------------------------------------------------------ order of bands


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    "names", ["blue green red", "green red blue", "nir red green blue", "blue green red nir", "alpha blue green red"]
)
def test_bands_are_what_the_file_calls_them(names: str, where: str, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    kinds = [ColorInterp[name] for name in names.split()]
    image = ground(SIDE, SIDE, len(kinds))
    if ALPHA in kinds:
        image[kinds.index(ALPHA)] = 255
    file = lay(tmp_path / "a.tif", image, *PLACES[where], colors=kinds)
    pixels, mask = mosaic(project, tiled(project, [file]), 256, 256)
    expected, known = oracle(image[[kinds.index(kind) for kind in RGB]], np.ones((SIDE, SIDE), bool), PLACES[where])
    inside = binary_erosion(known & mask, iterations=3)
    assert inside.sum() > 10_000
    assert np.abs(pixels.astype(int) - expected)[:, inside].max() <= 14


def test_bands_are_what_their_descriptions_say_where_nothing_else_does(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    image = ground(64, 64, 4)
    file = lay(tmp_path / "a.tif", image, place(0, 0), photometric="MINISBLACK")
    with rasterio.open(file, "r+") as target:
        target.descriptions = ("Blue", "Green", "Red", "NIR")
        target.colorinterp = [NONE] * 4
    pixels, _ = mosaic(project, tiled(project, [file]), 64, 64)
    np.testing.assert_array_equal(pixels, image[[2, 1, 0]])


def test_a_set_order_of_bands_is_kept_and_sheets_that_differ_are_named(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "bands": [3, 2, 1]})
    image = ground(64, 64)
    files = [
        lay(tmp_path / "bgr.tif", image, place(0, 0), colors=RGB[::-1]),
        lay(tmp_path / "rgb.tif", image, place(64, 0), colors=RGB),
    ]
    pixels, _ = mosaic(project, tiled(project, files), 128, 64)
    np.testing.assert_array_equal(pixels[:, :, :64], image[::-1])
    np.testing.assert_array_equal(pixels[:, :, 64:], image[::-1])
    verdict = checks.sheets_plausible(project, HERE)
    assert not verdict.passed
    assert (
        "not the same colours in all sheets (rgb.tif: blue, green, red; bgr.tif: red, green, blue)" in verdict.message
    )


# ---------------------------------------------------------------------------------------------- what values mean


def test_white_is_zero_where_the_file_says_so(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    image = ground(64, 64, 1)
    pixels, _ = mosaic(
        project, tiled(project, [lay(tmp_path / "a.tif", image, place(0, 0), photometric="MINISWHITE")]), 64, 64
    )
    np.testing.assert_array_equal(pixels, np.broadcast_to(255 - image, pixels.shape))


@pytest.mark.parametrize("where", ["on the grid", "off"])
def test_fewer_bits_than_a_byte_reach_white(where: str, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "resampling": "nearest"})
    image = ground(SIDE, SIDE) // 16
    transform = place(40, 40) if where == "on the grid" else place(40.25, 40)
    pixels, _ = mosaic(project, tiled(project, [lay(tmp_path / "a.tif", image, transform, nbits=4)]), 168, 168)
    np.testing.assert_array_equal(pixels[:, 40:, 40:], image * 17)


@pytest.mark.parametrize("space", ["CMYK", "YCbCr"])
def test_other_colours_are_read_as_the_library_turns_them_into_rgb(
    space: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    packed = {"compress": "jpeg", "tiled": True, "blockxsize": 64, "blockysize": 64} if space == "YCbCr" else {}
    image = ground(64, 64, 4 if space == "CMYK" else 3)
    file = lay(tmp_path / "a.tif", image, place(0, 0), photometric=space, **packed)
    with rasterio.open(file) as source:
        expected = source.read([1, 2, 3])
    pixels, mask = mosaic(project, tiled(project, [file]), 64, 64)
    np.testing.assert_array_equal(pixels, expected)
    assert mask.all()


# ------------------------------------------------------------------------------------------------ flat corners


def strips(tmp_path: Path, fill: int, **told: Any) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Two sheets that overlap by half, each with corners of one colour; the ground, and where it was photographed."""
    whole, (_, known) = ground(SIDE + 64, SIDE), collared(3)
    files, seen = [], np.zeros((SIDE, SIDE + 64), bool)
    for n in range(2):
        image = np.where(known, whole[:, :, 64 * n : 64 * n + SIDE], fill).astype(np.uint8)
        image[:, 60:70, 60:70] = np.where(n == 0, fill, image[:, 60:70, 60:70])  # a black roof, or a white one
        files.append(lay(tmp_path / f"s{n}.tif", image, place(64 * n, 0), **told))
        seen[:, 64 * n : 64 * n + SIDE] |= known
    return files, whole, seen


@pytest.mark.parametrize("fill", [0, 255, 128])
def test_flat_corners_lie_below_what_neighbours_show_and_are_named(
    fill: int, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    files, whole, seen = strips(tmp_path, fill)
    pixels, mask = mosaic(project, tiled(project, files), SIDE + 64, SIDE)
    right = (pixels == whole).all(axis=0)
    assert (seen & ~right).sum() <= 100, "all that was photographed, but the roof"
    assert mask.all(), "what nobody declared stays"
    verdict = checks.sheets_plausible(project, HERE)
    assert not verdict.passed
    assert not verdict.serious
    assert f"flat colour, {fill}/{fill}/{fill}" in verdict.message
    assert f"imagery.nodata = [{fill}]" in verdict.message


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("where", ["on the grid", "off"])
def test_nodata_that_is_set_is_masked_from_the_edge_and_a_roof_of_that_colour_stays(
    where: str, fill: int, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "nodata": [0, 255], "nodata_tolerance": 0})
    files, whole, _ = strips(tmp_path, fill)
    if where == "off":
        files = [lay(files[0], rasterio.open(files[0]).read(), place(0.5, 0))]
    pixels, mask = mosaic(project, tiled(project, files[:1]), 256, SIDE)
    _, known = collared(3)
    assert (mask[:, :SIDE] != known).sum() <= (0 if where == "on the grid" else 2 * SIDE)
    assert mask[60:70, 60:70].all()
    if where == "on the grid":
        assert (pixels[:, 60:70, 60:70] == fill).all()
        others = known.copy()
        others[60:70, 60:70] = False
        np.testing.assert_array_equal(pixels[:, :, :SIDE][:, others], whole[:, :, :SIDE][:, others])
    else:
        inner = binary_erosion(known, iterations=2)
        inner[:80] = False
        assert np.abs(pixels[:, :, :SIDE].astype(int) - whole[:, :, :SIDE])[:, inner].mean() < 12
    assert checks.sheets_plausible(project, HERE).passed


def test_nodata_that_a_lossy_packing_blurred(tmp_path: Path, make_project: MakeProject) -> None:
    packed = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 64, "blockysize": 64}
    files, whole, seen = strips(tmp_path, 0, nodata=0, **packed)
    plain = make_project(tmp_path / "plain", imagery=LOSSLESS)
    pixels, before = mosaic(plain, tiled(plain, files), SIDE + 64, SIDE)
    inner = binary_erosion(seen, iterations=2)
    inner[58:72, 58:72] = False
    assert np.abs(pixels.astype(int) - whole)[:, inner].mean() < 12, "a neighbour's photograph lies on top"
    assert "imagery.nodata = [0]" in checks.sheets_plausible(plain, HERE).message
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "nodata": [0]})
    _, mask = mosaic(project, tiled(project, files), SIDE + 64, SIDE)
    assert (mask & ~seen).sum() < (before & ~seen).sum() / 3
    assert checks.sheets_plausible(project, HERE).passed


def test_a_collar_is_found_alike_in_strips_of_any_height(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The oracle: labels of the whole picture at once. A spiral leads from the edge into the middle and out again."""
    from scipy.ndimage import label

    open_ = np.zeros((97, 101), bool)
    for ring in range(0, 40, 4):
        open_[ring, ring : 101 - ring] = open_[96 - ring, ring : 101 - ring] = True
        open_[ring : 97 - ring, ring] = open_[ring : 97 - ring, 100 - ring] = True
        open_[ring + 1 : ring + 4, ring + 2] = ring % 8 == 0
    labels, _ = label(open_)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    expected = np.isin(labels, edge[edge > 0])
    assert 0 < expected.sum() < open_.sum()
    for high in (1, 7, 50, 97):
        heights = [min(high, 97 - top) for top in range(0, 97, high)]
        found = collar._flooded(np.packbits(open_, axis=1), 101, heights)
        np.testing.assert_array_equal(np.unpackbits(found, axis=1, count=101).astype(bool), expected)


@pytest.mark.bad_input
def test_a_sheet_of_one_colour_is_used_and_named(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    grey = lay(tmp_path / "grey.tif", np.full((3, 200, 200), 7, np.uint8), place(0, 0))
    good = lay(tmp_path / "good.tif", ground(200, 200), place(200, 0))
    _, mask = mosaic(project, tiled(project, [grey, good]), 400, 200)
    assert mask.all()
    verdict = checks.sheets_plausible(project, HERE)
    assert not verdict.passed
    assert verdict.message == "grey.tif: 100% of it is of one colour. Look whether it is what was flown"
    assert checks.sheets_usable(project, HERE).passed
    assert verdict.draw is not None
    assert verdict.draw()[:2] in (b"\x89P", b"\xff\xd8")


# ------------------------------------------------------------------------------------------------ fingerprints


def test_ordinary_sheets_stay_what_they_were_and_others_are_made_anew(
    tmp_path: Path, make_project: MakeProject
) -> None:
    def before(sheet: Sheet) -> str:
        """A sheet's identity as every version took it so far."""
        return fingerprint(
            file=sheet.sha256, beside=[d for _, d in sheet.beside], crs=sheet.crs, transform=list(sheet.transform)
        )

    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "uint16_range": [0, 60_000]})
    image = ground(64, 64, 4)
    ordinary = {
        "rgb": lay(tmp_path / "rgb.tif", image[:3], place(0, 0)),
        "grey": lay(tmp_path / "grey.tif", image[:1], place(0, 0)),
        "deep": lay(tmp_path / "deep.tif", image[:3].astype(np.uint16) * 200, place(0, 0)),
        "nodata": lay(tmp_path / "nodata.tif", image[:3], place(0, 0), nodata=0),
        "off": lay(tmp_path / "off.tif", image[:3], place(0.5, 0)),
    }
    others = {
        "rgbi": lay(tmp_path / "rgbi.tif", image, place(0, 0), colors=[*RGB, NONE]),
        "bgr": lay(tmp_path / "bgr.tif", image[:3], place(0, 0), colors=RGB[::-1]),
        "black": lay(tmp_path / "black.tif", image[:3] * (np.mgrid[:64, :64][0] > 20), place(0, 0)),
        "white": lay(tmp_path / "white.tif", image[:1], place(0, 0), photometric="MINISWHITE"),
    }
    found = cataloged(project, [*ordinary.values(), *others.values()])
    assert found.quarantined == ()
    kept = {sheet.name.removesuffix(".tif") for sheet in found.sheets if sheet.identity == before(sheet)}
    assert kept == set(ordinary)
    (tile,) = tiles.plan(project, HERE)
    with_nodata = make_project(tmp_path / "home", imagery={**LOSSLESS, "uint16_range": [0, 60_000], "nodata": [0]})
    run_step(with_nodata, "sheets", HERE)
    assert tiles.plan(with_nodata, HERE)[0].fingerprint != tile.fingerprint


def test_points_of_control_and_a_cameras_coefficients_are_named(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    x, y = ORIGIN
    points = [GroundControlPoint(r, c, x + c * 0.3, y - r * 0.3, 0) for r in (0, 64) for c in (0, 64)]
    image = ground(64, 64)
    with rasterio.open(
        tmp_path / "gcp.tif",
        "w",
        driver="GTiff",
        count=3,
        height=64,
        width=64,
        dtype="uint8",
        gcps=points,
        crs="EPSG:28992",
    ) as target:
        target.write(image)
    good = lay(tmp_path / "good.tif", image, place(0, 0))
    (item,) = cataloged(project, [tmp_path / "gcp.tif", good]).quarantined
    assert item.reason == "it has control points only (4), and no geotransform"
    assert "gdalwarp" in item.remedy
    assert "assume_crs" not in item.remedy
