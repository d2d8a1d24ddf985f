"""Sheets: every format that suppliers deliver is read exactly, from a folder and from a store without folders."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from conftest import ORIGIN, MakeProject
from laid_sheets import HERE, LOSSLESS, STORES, cataloged, ground, lay, mosaic, place, tiled, world

from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.core.store import Store
from groundplan.errors import BadSheet, BlocksFailed, GroundplanError, StoreFailed
from groundplan.imagery import catalog, tiles
from groundplan.imagery.jp2_boxes import BEGINNING, check_boxes
from groundplan.imagery.landing import landing_prefix
from groundplan.imagery.validation import inspect
from groundplan.ingest.add_imagery import deliver
from groundplan.pipeline import run_step, state_of
from groundplan.project import Project

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


# ----------------------------------------------------------------------------------------------------- formats


def _png(path: Path, pixels: np.ndarray, transform: Affine) -> list[Path]:
    file = lay(path.with_suffix(".png"), pixels, None, None, driver="PNG")
    return [file, world(file, transform)]


def _jpg(path: Path, pixels: np.ndarray, transform: Affine) -> list[Path]:
    file = lay(path.with_suffix(".jpg"), pixels, None, None, driver="JPEG", quality=92)
    return [file, world(file, transform)]


def _tfw(path: Path, pixels: np.ndarray, transform: Affine) -> list[Path]:
    file = lay(path.with_suffix(".tif"), pixels, None, None)
    return [file, world(file, transform)]


def _tif(**profile: Any) -> Callable[[Path, np.ndarray, Affine], list[Path]]:
    return lambda path, pixels, transform: [lay(path.with_suffix(".tif"), pixels, transform, **profile)]


FORMATS: dict[str, Callable[[Path, np.ndarray, Affine], list[Path]]] = {
    "tiled": _tif(tiled=True, blockxsize=128, blockysize=128, compress="lzw"),
    "striped": _tif(tiled=False, blockysize=7),
    "one strip": _tif(tiled=False, blockysize=300, compress="deflate"),
    "bands apart": _tif(interleave="band", compress="zstd"),
    "bigtiff": _tif(bigtiff="yes"),
    "big-endian": _tif(endianness="big"),
    "jpeg in tiff": _tif(tiled=True, blockxsize=128, blockysize=128, compress="jpeg", photometric="ycbcr"),
    "cog": _tif(driver="COG", compress="deflate", blocksize=128),
    "jp2": lambda path, pixels, transform: [
        lay(path.with_suffix(".jp2"), pixels, transform, driver="JP2OpenJPEG", quality=100, reversible="yes")
    ],
    "png and world file": _png,
    "jpeg and world file": _jpg,
    "tiff and world file": _tfw,
}


@pytest.mark.parametrize("store", STORES, ids=["folder", "memory"])
@pytest.mark.parametrize("kind", FORMATS)
def test_an_aligned_sheet_of_any_format_is_copied_pixel_by_pixel(
    kind: str, store: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", store, imagery={**LOSSLESS, "assume_crs": "EPSG:28992"})
    files = FORMATS[kind](tmp_path / "sheet", ground(300, 290), place(20, 31))
    with rasterio.open(files[0]) as source:  # the oracle; a lossy sheet is what its decoder says
        expected = source.read()
        assert source.driver != "GTiff" or kind not in ("jp2", "png and world file")
    manifest = tiled(project, files)
    pixels, mask = mosaic(project, manifest, 330, 330)
    assert sorted(manifest.objects) == ["x00y00", "x00y01", "x01y00", "x01y01"]
    np.testing.assert_array_equal(pixels[:, 31:321, 20:320], expected)
    assert mask.sum() == 300 * 290
    assert mask[31:321, 20:320].all()
    assert np.abs(expected.astype(int) - ground(300, 290)).mean() < 10, "the oracle read something else"


def test_a_store_is_asked_for_the_sheet_and_what_lies_beside_it_only(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "home", "memory://x", imagery={**LOSSLESS, "assume_crs": "EPSG:28992"})
    asked: list[str] = []
    for name in ("head", "part"):
        plain = getattr(Store, name)
        monkeypatch.setattr(
            Store, name, lambda self, key, *rest, plain=plain: asked.append(key) or plain(self, key, *rest)
        )
    sheet_catalog = cataloged(project, _png(tmp_path / "a", ground(64, 64), place(0, 0)))
    assert [name for name, _ in sheet_catalog.sheets[0].beside] == ["a.pgw"]
    landed = {key.rsplit("/", 1)[-1] for key in asked if key.startswith("landing/")}
    of_a_sheet_without_crs = {"a.prj", "a.PRJ"}
    assert landed <= {"a.png", "a.pgw", *of_a_sheet_without_crs}, (
        "a request for each file that might exist costs more than the pixels"
    )


# ------------------------------------------------------------------------------------------------ the catalogue


def test_the_catalogue_says_what_the_file_says(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    dated = lay(tmp_path / "a.tif", ground(100, 60), place(10, 20), tags={"TIFFTAG_DATETIME": "2024:05:17 11:00:00"})
    old = lay(tmp_path / "b.tif", ground(100, 60), place(90, 20), tags={"TIFFTAG_DATETIME": "2019:05:17 11:00:00"})
    degrees = Affine(3e-6, 0, 5.7, 0, -3e-6, 52.0)
    far_crs = lay(tmp_path / "c.tif", ground(80, 50), degrees, "EPSG:4326")
    a, b, c = cataloged(project, [dated, old, far_crs]).sheets
    assert (a.acquired, b.acquired) == ("2024-05-17", None), "a scanner's year is not the delivery's"
    assert (a.date_source, b.date_source) == ("TIFFTAG_DATETIME", "delivery")
    assert a.order() > b.order()
    assert (a.width, a.height, a.bands, a.dtype, a.crs) == (100, 60, 3, "uint8", "EPSG:28992")
    assert a.gsd == 0.3
    box = shapely.box(ORIGIN[0] + 3, ORIGIN[1] - 24, ORIGIN[0] + 33, ORIGIN[1] - 6)
    assert a.polygon.symmetric_difference(box).area < 0.1
    to = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:28992", always_xy=True)
    corners = [to.transform(*(degrees @ corner)) for corner in ((0, 0), (80, 0), (80, 50), (0, 50))]
    assert c.polygon.symmetric_difference(shapely.Polygon(corners)).area < 0.01
    assert c.crs == "EPSG:4326"


def test_a_catalogue_survives_its_file_and_is_the_same_bytes_for_the_same_sheets(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery={"assume_crs": "EPSG:28992"})
    files = [*_png(tmp_path / "a", ground(64, 64), place(0, 0)), lay(tmp_path / "b.tif", ground(64, 64), place(64, 0))]
    (tmp_path / "broken.tif").write_text("I am a text")
    sheet_catalog = cataloged(project, [*files, tmp_path / "broken.tif"])
    assert [item.key.rsplit("/", 1)[-1] for item in sheet_catalog.quarantined] == ["broken.tif"]
    again = catalog.from_parquet(catalog.to_parquet(sheet_catalog))
    assert again == sheet_catalog
    assert again.sheets[0].identity == sheet_catalog.sheets[0].identity
    assert catalog.to_parquet(again) == project.store.get(
        need_manifest(project.store, "sheets", HERE).objects["catalogue"].key
    )


def test_other_tools_read_the_catalogue_as_stac(tmp_path: Path, make_project: MakeProject) -> None:
    import geopandas

    project = make_project(tmp_path / "home")
    cataloged(project, [lay(tmp_path / "a.tif", ground(64, 64), place(0, 0))])
    key = need_manifest(project.store, "sheets", HERE).objects["catalogue"].key
    frame = geopandas.read_parquet(project.store.local_path(key))
    assert frame.loc[0, "id"] == "a.tif"
    assert frame.loc[0, "proj:code"] == "EPSG:28992"
    to = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:4326", always_xy=True)
    assert shapely.Point(to.transform(ORIGIN[0] + 9, ORIGIN[1] - 9)).within(frame.geometry[0])


# ------------------------------------------------------------------------------------------- what a sheet is


def test_two_files_of_the_same_bytes_on_different_ground_are_two_sheets(
    tmp_path: Path, make_project: MakeProject
) -> None:
    """Water and clouds: suppliers deliver identical white PNGs, and only their world files differ."""
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "assume_crs": "EPSG:28992"})
    white = np.full((3, 128, 128), 240, np.uint8)
    one, other = (_png(tmp_path / name, white, place(col, 0)) for name, col in (("a", 0), ("b", 128)))
    assert one[0].read_bytes() == other[0].read_bytes()
    manifest = tiled(project, [*one, *other])
    _, mask = mosaic(project, manifest, 256, 128)
    assert mask.all()


def test_a_corrected_world_file_moves_the_pixels(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "assume_crs": "EPSG:28992"})
    still = lay(tmp_path / "still.tif", ground(100, 100, seed=1), place(600, 0))
    image = ground(100, 100)
    before = tiled(project, [still, *_png(tmp_path / "a", image, place(10, 10))])
    after = tiled(project, [world(tmp_path / "a.png", place(40, 10))])
    pixels, mask = mosaic(project, after, 200, 200)
    np.testing.assert_array_equal(pixels[:, 10:110, 40:140], image)
    assert mask.sum() == image[0].size
    assert after.objects["x02y00"].key == before.objects["x02y00"].key, "its sheet did not move"


def test_another_assumed_crs_moves_the_pixels(tmp_path: Path, make_project: MakeProject) -> None:
    utm = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:32631", always_xy=True).transform(*place(100, 100)[2:6:3])
    files = _png(tmp_path / "a", ground(100, 100), Affine(0.3, 0, utm[0], 0, -0.3, utm[1]))
    project = make_project(tmp_path / "home", imagery={"assume_crs": "EPSG:32631"})
    first = tiled(project, files)
    shifted = make_project(tmp_path / "home", imagery={"assume_crs": "EPSG:32632"})
    assert state_of(shifted, "sheets", HERE).state == "stale"
    with pytest.raises(BlocksFailed, match="outside the area"):
        run_step(shifted, "sheets", HERE)
    assert need_manifest(shifted.store, "aerial_tiles", HERE) == first, "an error must leave what was committed"


# ------------------------------------------------------------------------------------------------ references


def test_a_referred_sheet_is_read_where_it_lies_and_its_folder_left_alone(
    tmp_path: Path, make_project: MakeProject
) -> None:
    folder = tmp_path / "the supplier's 100%"
    file = lay(folder / "sheet 1.tif", ground(100, 100), place(0, 0))
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "reference_roots": [tmp_path.as_uri()]})
    deliver(project, [file], HERE.region, HERE.year, reference=True)
    run_step(project, "sheets", HERE)
    first = run_step(project, "aerial_tiles", HERE).manifest
    pixels, _ = mosaic(project, first, 100, 100)
    np.testing.assert_array_equal(pixels, ground(100, 100))
    assert [path.name for path in folder.iterdir()] == ["sheet 1.tif"], "the supplier's folder is not ours to write in"

    lay(file, ground(100, 100, seed=5), place(0, 0))  # the reference stays, the file behind it changes
    assert state_of(project, "sheets", HERE).state == "stale"
    run_step(project, "sheets", HERE)
    second = run_step(project, "aerial_tiles", HERE).manifest
    pixels, _ = mosaic(project, second, 100, 100)
    np.testing.assert_array_equal(pixels, ground(100, 100, seed=5))


def test_a_world_file_beside_a_referred_sheet_counts(tmp_path: Path, make_project: MakeProject) -> None:
    roots = {"reference_roots": [tmp_path.as_uri()], "assume_crs": "EPSG:28992"}
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, **roots})
    png, _ = _png(tmp_path / "a", ground(100, 100), place(0, 0))
    deliver(project, [png], HERE.region, HERE.year, reference=True)
    run_step(project, "sheets", HERE)
    assert state_of(project, "sheets", HERE).state == "current"
    world(png, place(256, 0))
    assert state_of(project, "sheets", HERE).state == "stale"
    run_step(project, "sheets", HERE)
    assert sorted(run_step(project, "aerial_tiles", HERE).manifest.objects) == ["x01y00"]


# ------------------------------------------------------------------------- whose fault: the file's or the store's


@pytest.mark.fault
def test_a_store_that_fails_does_not_set_good_sheets_aside(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "home", "memory://x", imagery=LOSSLESS)
    files = [lay(tmp_path / f"{name}.tif", ground(400, 400), place(0, 0)) for name in "ab"]
    deliver(project, files, HERE.region, HERE.year)
    plain = Store.part

    def part(self: Store, key: str, start: int, length: int) -> bytes:
        if key.endswith("b.tif") and length > 100:
            raise StoreFailed(key, "the connection was reset", "Run again")
        return plain(self, key, start, length)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "part", part)
        with pytest.raises(BlocksFailed, match="the connection was reset"):
            run_step(project, "sheets", HERE)
        assert not project.store.list("manifests"), "a catalogue without b.tif would look finished for ever"
    run_step(project, "sheets", HERE)
    sheet_catalog = tiles.catalog_of(project, HERE)
    assert (len(sheet_catalog.sheets), sheet_catalog.quarantined) == (2, ())

    with monkeypatch.context() as patch:
        patch.setattr(Store, "part", part)
        with pytest.raises(BlocksFailed, match="the connection was reset"):
            run_step(project, "aerial_tiles", HERE)
    manifest = run_step(project, "aerial_tiles", HERE).manifest
    assert all("unreadable" not in made.facts for made in manifest.objects.values())


@pytest.mark.fault
def test_a_mask_that_the_store_does_not_deliver_is_not_taken_for_no_mask(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "home", "memory://x", imagery=LOSSLESS)
    half = np.tri(100, dtype=bool)
    file = lay(tmp_path / "a.tif", ground(100, 100), place(0, 0), mask=half, external=True)
    cataloged(project, [file, tmp_path / "a.tif.msk"])
    plain = Store.part

    def part(self: Store, key: str, start: int, length: int) -> bytes:
        if key.endswith(".msk") and length > 100:
            raise StoreFailed(key, "the connection was reset", "Run again")
        return plain(self, key, start, length)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "part", part)
        with pytest.raises(BlocksFailed, match="the connection was reset"):
            run_step(project, "aerial_tiles", HERE)
    _, mask = mosaic(project, run_step(project, "aerial_tiles", HERE).manifest, 100, 100)
    np.testing.assert_array_equal(mask, half)


@pytest.mark.fault
def test_a_sheet_that_is_replaced_while_blocks_are_cut_leaves_no_hole(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    file = lay(tmp_path / "a.tif", ground(300, 300), place(0, 0))
    cataloged(project, [file])
    landed = project.store.local_path(f"{landing_prefix(HERE)}/a.tif")
    assert landed is not None
    landed.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(BlocksFailed, match="it changed while it was read"):
        run_step(project, "aerial_tiles", HERE)
    landed.write_bytes(file.read_bytes())
    manifest = run_step(project, "aerial_tiles", HERE).manifest
    assert all("unreadable" not in made.facts for made in manifest.objects.values())


@pytest.mark.fault
def test_a_delivery_still_going_on_is_not_blamed_on_the_file(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    file = lay(tmp_path / "a.tif", ground(300, 300), place(0, 0))
    deliver(project, [file], HERE.region, HERE.year)
    planned = catalog.plan(project, HERE)[0]
    landed = project.store.local_path(f"{landing_prefix(HERE)}/a.tif")
    assert landed is not None
    landed.write_bytes(file.read_bytes()[:5000])  # it is being written again while the step runs
    with pytest.raises(StoreFailed, match="changed while it was read"):
        catalog.make(project, planned, lambda: None)  # type: ignore[arg-type]


def test_an_error_that_nobody_thought_of_sets_only_that_sheet_aside(
    tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "home")
    files = [lay(tmp_path / f"{name}.tif", ground(64, 64), place(0, 0)) for name in "ab"]

    def odd(project: Project, partition: Partition, key: str, *rest: Any) -> catalog.Sheet:
        if key.endswith("a.tif"):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return inspect(project, partition, key, *rest)

    monkeypatch.setattr(catalog, "inspect", odd)
    sheet_catalog = cataloged(project, files)
    assert [sheet.name for sheet in sheet_catalog.sheets] == ["b.tif"]
    assert "UnicodeDecodeError" in sheet_catalog.quarantined[0].reason


def test_a_sheet_can_be_told_from_another_by_each_thing_that_moves_its_pixels() -> None:
    sheet = catalog.Sheet(
        key="k/a.tif",
        sha256="aa",
        bytes=1,
        width=2,
        height=2,
        crs="EPSG:28992",
        transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
        bands=3,
        dtype="uint8",
        gsd=1.0,
        acquired="2024-01-01",
        outline=((0.0, 0.0), (2.0, 0.0), (2.0, -2.0)),
    )
    changes: list[dict[str, Any]] = [
        {"sha256": "bb"},
        {"crs": "EPSG:32631"},
        {"transform": (1.0, 0.0, 9.0, 0.0, -1.0, 0.0)},
        {"beside": (("a.tif.msk", "cc"),)},
    ]
    identities = {dataclasses.replace(sheet, **change).identity for change in changes}
    assert len(identities | {sheet.identity}) == 5
    assert dataclasses.replace(sheet, key="other/b.tif").identity == sheet.identity, "twins are one sheet"


def test_names_of_kin() -> None:
    digests = {
        f"landing/r/2024/{name}": (name, 1)
        for name in ("a.png", "a.pgw", "A.PGW", "a.png.aux.xml", "a.txt", "ab.pgw", "a.tif", "a.tif.msk", "a.tif.ovr")
    }
    kin = {
        name: [other for other, _ in catalog.beside_of(f"landing/r/2024/{name}", digests)]
        for name in ("a.png", "a.tif")
    }
    assert kin["a.png"] == ["A.PGW", "a.pgw", "a.png.aux.xml"]
    assert kin["a.tif"] == ["A.PGW", "a.pgw", "a.tif.msk", "a.tif.ovr"]
    assert all(catalog.is_beside(key) for key in digests if not key.endswith(("png", "tif")))
    assert not catalog.is_beside("landing/r/2024/a.tif")


def test_inspect_is_for_files_with_a_sheets_name(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    project.store.put("landing/delft/2024/a.docx", b"II*\0")
    with pytest.raises(BadSheet, match="its ending is not one of a sheet") as caught:
        inspect(project, HERE, "landing/delft/2024/a.docx", "", 4)
    assert isinstance(caught.value, GroundplanError)


@pytest.mark.parametrize("length", [0, 2, 5, 7])
def test_a_jp2_with_a_tail_that_is_no_box_is_read_as_decoders_read_it(length: int) -> None:
    data = BEGINNING + struct.pack(">I", 9) + b"free!" + struct.pack(">I", length) + b"tail" + bytes(9)
    check_boxes(lambda start, most: data[start : start + most], "a.jp2")
