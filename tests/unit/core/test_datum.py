"""Datum shifts whose grid lacks: which grid, how many metres, what to do; and that a project's own grids count.

Right places are published: EPSG:27700 by Ordnance Survey's OSTN15, NAD27 by the National Geodetic Survey.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from conftest import MakeProject
from rasterio.transform import from_origin

from groundplan.core.datum import lacking_grid, shift_notes, transformer
from groundplan.errors import BadConfig
from groundplan.project import open_project

CORNER = (1.3107334884090227, 52.62760352059889)  # of a wall in Norfolk, in degrees of WGS 84
PUBLISHED = (624161.0, 308459.58)
OSTN = "uk_os_OSTN15_NTv2_OSGBtoETRS.tif"


@pytest.mark.parametrize(
    ("source", "target", "place", "grid", "least", "most"),
    [
        ("EPSG:4326", "EPSG:27700", CORNER, OSTN, 2, 2),
        ("EPSG:27700", "EPSG:4326", CORNER, OSTN, 2, 2),
        ("EPSG:26713", "EPSG:26913", (-106.7, 41.1), "nadcon5_nad27", 3.9, 15),
        ("EPSG:4267", "EPSG:26917", (-80.0, 35.0), "us_noaa", 3.9, 30),
        ("EPSG:2056", "EPSG:21781", (8.0, 47.0), "ch_swisstopo_CHENyx06a.tif", 1, 3),
        ("EPSG:31467", "EPSG:25832", (9.0, 53.0), "de_adv_BETA2007.tif", 1, 1),
        ("EPSG:31467", "EPSG:25832", (9.0, 51.0), "de_hvbg_hessen_HeTA2010.tif", 1, 1),
        ("EPSG:27200", "EPSG:2193", (175.0, -41.0), "nz_linz_nzgd2kgrid0005.tif", 4, 4),
        ("EPSG:7415", "EPSG:4258", (5.0, 52.0), "nl_nsgi_rdtrans2018.tif", 0.25, 0.25),  # with heights
    ],
)
def test_a_shift_without_its_grid_says_which_and_how_many_metres(
    source: str, target: str, place: tuple[float, float], grid: str, least: float, most: float
) -> None:
    lack = lacking_grid(source, target, place)
    assert lack is not None
    assert grid in lack.grid
    assert lack.metres is not None
    assert least <= round(lack.metres, 2) <= most
    assert lack.best < lack.metres
    assert lack.url in lack.remedy
    assert f"{lack.metres:.2g} m" in str(lack)


@pytest.mark.parametrize(
    ("source", "target", "place"),
    [
        ("EPSG:28992", "EPSG:28992", (5.0, 52.0)),
        ("EPSG:25832", "EPSG:4258", (9.0, 51.0)),  # one datum
        ("EPSG:4326", "EPSG:3857", (9.0, 51.0)),
        ("EPSG:7415", "EPSG:28992", (5.0, 52.0)),  # heights are not the ground's
        ("EPSG:28355", "EPSG:7855", (147.0, -37.0)),  # seven parameters are better than the grid
        ("EPSG:31467", "EPSG:25832", (140.0, 35.0)),  # where no grid of PROJ's is of any use
        (
            "+proj=utm +zone=32 +ellps=bessel +towgs84=598.1,73.7,418.2,0.202,0.045,-2.455,6.7",
            "EPSG:25832",
            (9.0, 53.0),
        ),
    ],
)
def test_nothing_is_said_where_no_grid_lacks(source: str, target: str, place: tuple[float, float]) -> None:
    assert lacking_grid(source, target, place) is None


def test_what_matters_less_than_the_tolerance_is_not_said() -> None:
    bounds = (180_000.0, 440_000.0, 181_000.0, 441_000.0)
    assert len(shift_notes("EPSG:28992", "EPSG:4258", bounds, 0.2)) == 1
    assert shift_notes("EPSG:28992", "EPSG:4258", bounds, 0.3) == []


def test_a_transformer_is_made_once_per_pair() -> None:
    assert transformer("EPSG:28992", "EPSG:4326") is transformer("EPSG:28992", "EPSG:4326")


# ------------------------------------------------------------------------------------------------ a project's grids

SHIFT = (2.0, -6.0)  # seconds of arc north and east, everywhere in the drawn grid

ALL_THREE = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from groundplan.project import open_project
open_project(sys.argv[1])
from groundplan.core.datum import grids_of_shift, lacking_grid, transformer
import geopandas, rasterio.warp, shapely
x, y = json.loads(sys.argv[2])
def warped():
    return [one[0] for one in rasterio.warp.transform("EPSG:4326", "EPSG:27700", [x], [y])]
ways = {
    "pyproj": transformer("EPSG:4326", "EPSG:27700").transform(x, y),
    "rasterio in a thread": ThreadPoolExecutor(1).submit(warped).result(),
    "rasterio": warped(),
    "geopandas": list(geopandas.GeoSeries([shapely.Point(x, y)], crs=4326).to_crs(27700)[0].coords[0]),
}
frame = geopandas.GeoDataFrame(geometry=[shapely.Point(ways["pyproj"])], crs=27700)
frame.to_file(sys.argv[3], driver="GeoJSON", engine="pyogrio", RFC7946="YES", COORDINATE_PRECISION="9")
lack = lacking_grid("EPSG:4326", "EPSG:27700", (x, y))
print(json.dumps([ways, lack and lack.grid, grids_of_shift("EPSG:4326", "EPSG:27700", (x, y))]))
"""


def draw_grid(path: Path) -> None:
    """A grid of PROJ's name for OSTN15 that shifts by the same everywhere."""
    path.parent.mkdir(parents=True)
    profile = {"driver": "GTiff", "count": 2, "height": 25, "width": 24, "dtype": "float32", "crs": "EPSG:4277"}
    with rasterio.open(path, "w", transform=from_origin(-9.25, 61.75, 0.5, 0.5), **profile) as target:
        for band, name, way, value in ((1, "latitude", "north", SHIFT[0]), (2, "longitude", "east", SHIFT[1])):
            target.write(np.full((25, 24), value, np.float32), band)
            target.set_band_description(band, f"{name}_offset")
            target.update_tags(band, positive_value=way)
        target.units = ("arc-second", "arc-second")
        target.update_tags(AREA_OR_POINT="Point", TYPE="HORIZONTAL_OFFSET", target_crs_epsg_code="4258")


@pytest.mark.slow
def test_a_grid_in_the_projects_folder_counts_in_every_library(tmp_path: Path, make_project: MakeProject) -> None:
    make_project(tmp_path / "home", grid={"crs": "EPSG:27700", "origin": [600_000.0, 400_000.0]})
    draw_grid(tmp_path / "home/proj" / OSTN)
    command = [sys.executable, "-W", "ignore", "-c", ALL_THREE, str(tmp_path / "home"), json.dumps(CORNER)]
    done = subprocess.run([*command, str(tmp_path / "a.geojson")], capture_output=True, text=True, check=True)
    ways, lack, grids = json.loads(done.stdout)
    seconds = (CORNER[0] - SHIFT[1] / 3600, CORNER[1] - SHIFT[0] / 3600)  # in the grid's own datum
    right = pyproj.Transformer.from_crs("EPSG:4277", "EPSG:27700", always_xy=True).transform(*seconds)
    for name, found in ways.items():
        assert np.hypot(*np.subtract(found, right)) < 0.01, name
    assert lack is None
    assert grids == OSTN
    written = json.loads((tmp_path / "a.geojson").read_text())["features"][0]["geometry"]["coordinates"]
    assert np.abs(np.subtract(written, CORNER)).max() < 2e-9, "pyogrio"


@pytest.mark.bad_input
def test_a_folder_of_grids_that_is_not_there_is_named(tmp_path: Path, make_project: MakeProject) -> None:
    make_project(tmp_path / "home")
    settings = tmp_path / "home/groundplan.toml"
    settings.write_text('proj = "elsewhere"\n' + settings.read_text())
    with pytest.raises(BadConfig, match="names no folder"):
        open_project(tmp_path / "home")
