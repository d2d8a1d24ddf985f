"""Synthetic country: the files that its suppliers deliver.

Here: its sheets, its registers with their errors and its exact truth; the same seed gives the same bytes in every file.
Not here: what stands where (layout.py), painting (paint.py), and anything that a real country would
need too; only the demo and tests depend on these modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.synthetic.layout import plan
from groundplan.synthetic.place import DUTCH, REGIONS, RESOLUTION, YEARS, Layout, Location

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from rasterio import Affine
    from shapely import Geometry, Polygon


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """The files of one drawn country. All of them follow from seed, size and the names of regions and years."""

    folder: Path
    seed: int
    size_m: float
    crs: str
    resolution: float
    regions: Path
    """GeoJSON in EPSG:4326 with a polygon and a "name" per region."""
    sheets: dict[tuple[str, int], list[Path]]
    registers: dict[int, tuple[Path, Path]]
    """year: (building register, the area in which it claims to be complete)."""
    errors: dict[int, dict[str, int]]
    """year: kind of error in the register: how many."""
    truth: dict[int, Path]
    """year: GeoParquet in crs with id, region and the exact footprint of all that the picture shows."""
    location: Location

    @property
    def names(self) -> tuple[str, ...]:
        """The regions, north to south."""
        return tuple(dict.fromkeys(region for region, _ in self.sheets))

    @property
    def years(self) -> tuple[int, ...]:
        """The years, in order."""
        return tuple(self.truth)


def draw(
    folder: Path,
    seed: int = 7,
    size_m: float = 400.0,
    regions: Sequence[str] = REGIONS,
    years: Sequence[int] = YEARS,
    location: Location = DUTCH,
) -> Country:
    """Draw a country into a folder; a region is size_m wide and 0.825 * size_m high (tests: 90; 60 may stay empty)."""
    layout = plan(seed, size_m, tuple(regions), tuple(years), location)
    folder.mkdir(parents=True, exist_ok=True)
    sheets: dict[tuple[str, int], list[Path]] = {}
    registers, errors, truth = {}, {}, {}
    for year in years:
        sheets |= {(region, year): paths for region, paths in _deliver(layout, folder, year, tuple(years))}
        truth[year] = _write_truth(layout, folder, year)
        # The last register of a country is seldom done for all regions: the others must do with the year's model.
        covered = tuple(regions)[: 1 if len(years) > 1 and year == years[-1] else None]
        registers[year], errors[year] = _write_register(layout, folder, year, covered, size_m, tuple(years))
    return Country(
        folder=folder,
        seed=seed,
        size_m=size_m,
        crs=location.crs,
        resolution=RESOLUTION,
        regions=_write_regions(layout, folder),
        sheets=sheets,
        registers=registers,
        errors=errors,
        truth=truth,
        location=location,
    )


def late_sheet(
    country: Country,
    region: str,
    year: int,
    part: tuple[float, float, float, float] = (0.05, 0.05, 0.45, 0.45),
) -> Path:
    """Deliver one more sheet, flown later and lighter, over a part (left, top, right, bottom as shares) of a region."""
    from groundplan.synthetic.paint import paint

    layout = plan(country.seed, country.size_m, country.names, country.years, country.location)
    r0, r1, c0, c1 = _window(layout, region)
    height, width = r1 - r0, c1 - c0
    window = (
        r0 + int(part[1] * height),
        r0 + int(part[3] * height),
        c0 + int(part[0] * width),
        c0 + int(part[2] * width),
    )
    picture = paint(layout, year, country.years.index(year))
    path = country.folder / "imagery" / region / str(year) / f"{_name(layout, year, window)}_reflight.tif"
    _write_sheet(path, layout, _exposed(picture.rgb, window, 1.04), window, f"{year}:09:03 12:41:00", "jpeg")
    return path


def _window(layout: Layout, region: str) -> tuple[int, int, int, int]:
    """Rows and columns of the picture (r0, r1, c0, c1) that a region's sheets cover: 3 m more than the region."""
    west, south, east, north = layout.regions[region].buffer(3.0).bounds
    corners = layout.frame.pixels(np.array([(west, north), (east, south)]))
    (c0, r0), (c1, r1) = np.floor(corners[0]).astype(int), np.ceil(corners[1]).astype(int)
    return max(0, r0), min(layout.frame.height, r1), max(0, c0), min(layout.frame.width, c1)


def _deliver(layout: Layout, folder: Path, year: int, years: tuple[int, ...]) -> Iterator[tuple[str, list[Path]]]:
    """Write a year's sheets, four to a region: three plain ones and an odd one, overlapping by 6 m."""
    from groundplan.synthetic.paint import paint

    rgb = paint(layout, year, years.index(year)).rgb
    names = list(layout.regions)
    for index, region in enumerate(names):
        r0, r1, c0, c1 = _window(layout, region)
        lap, row, column = 10, (r0 + r1) // 2, (c0 + c1) // 2
        forms = ["jpeg"] * 4
        if index == 0:
            forms[1] = "striped"
        if index == len(names) - 1:
            forms[2] = "foreign"
        paths = []
        for number, form in enumerate(forms):
            rows = (r0, row + lap) if number < 2 else (row - lap, r1)
            columns = (c0, column + lap) if number % 2 == 0 else (column - lap, c1)
            window = (*rows, *columns)
            path = folder / "imagery" / region / str(year) / f"{_name(layout, year, window)}.tif"
            flown = f"{year}:{5 + index:02d}:{11 + year % 7:02d} 11:{10 + 7 * number:02d}:00"
            exposed = rgb if form == "foreign" else _exposed(rgb, window, 1 + 0.012 * (number - 1.5))
            _write_sheet(path, layout, exposed, window, flown, form)
            paths.append(path)
        yield region, paths


def _name(layout: Layout, year: int, window: tuple[int, int, int, int]) -> str:
    """A supplier's name for a sheet: year and lower left corner in whole metres."""
    x, y = layout.frame.transform(window[1], window[2]) @ (0, 0)
    return f"{year}_{int(x):06d}_{int(y):06d}_RGB_30cm"


def _exposed(rgb: NDArray[np.uint8], window: tuple[int, int, int, int], gain: float) -> NDArray[np.uint8]:
    """A window of the picture under another exposure, so that neighbouring sheets differ a little."""
    r0, r1, c0, c1 = window
    return np.clip(rgb[r0:r1, c0:c1] * np.float32(gain) + 0.5, 0, 255).astype(np.uint8)


def _write_sheet(
    path: Path, layout: Layout, rgb: NDArray[np.uint8], window: tuple[int, int, int, int], flown: str, form: str
) -> None:
    """Write pixels (rows, columns, 3) as a GeoTIFF: "jpeg" tiled, "striped" deflate, or "foreign" in another CRS."""
    import rasterio

    crs, transform = layout.crs, layout.frame.transform(window[0], window[2])
    options: dict[str, Any] = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    if form == "foreign":
        rgb, transform = _turned(layout, rgb, window)
        crs = layout.frame.location.foreign
    if form == "striped":
        options = {"tiled": False, "compress": "deflate", "predictor": 2, "photometric": "RGB"}
    else:
        options |= {"compress": "jpeg", "photometric": "YCBCR", "jpeg_quality": 92}
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": rgb.shape[0], "width": rgb.shape[1]}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile, **options) as sheet:
        sheet.update_tags(TIFFTAG_DATETIME=flown, TIFFTAG_COPYRIGHT="invented; CC0")
        sheet.write(rgb.transpose(2, 0, 1))


def _turned(
    layout: Layout, rgb: NDArray[np.uint8], window: tuple[int, int, int, int]
) -> tuple[NDArray[np.uint8], Affine]:
    """The whole picture's pixels resampled to a box of the foreign CRS that holds the window; no pixel stays empty."""
    from rasterio import Affine
    from rasterio.warp import Resampling, reproject, transform_bounds

    frame, location = layout.frame, layout.frame.location
    west, north = frame.transform(window[0], window[2]) @ (0, 0)
    east, south = frame.transform(window[1], window[3]) @ (0, 0)
    left, bottom, right, top = transform_bounds(location.crs, location.foreign, west, south, east, north)
    step = frame.resolution
    left, top = math.floor(left / step) * step, math.ceil(top / step) * step
    turned = np.zeros((3, math.ceil((top - bottom) / step), math.ceil((right - left) / step)), np.uint8)
    transform = Affine(step, 0, round(left, 3), 0, -step, round(top, 3))
    reproject(
        rgb.transpose(2, 0, 1),
        turned,
        src_crs=location.crs,
        src_transform=frame.transform(),
        dst_crs=location.foreign,
        dst_transform=transform,
        resampling=Resampling.cubic,
    )
    return turned.transpose(1, 2, 0), transform


def _write_regions(layout: Layout, folder: Path) -> Path:
    import geopandas

    path = folder / "regions.geojson"
    frame = geopandas.GeoDataFrame(
        {"name": list(layout.regions)}, geometry=list(layout.regions.values()), crs=layout.crs
    )
    frame.to_crs(4326).to_file(path, driver="GeoJSON")
    return path


def _write_truth(layout: Layout, folder: Path, year: int) -> Path:
    import geopandas

    path = folder / f"truth_{year}.parquet"
    standing = [b for b in layout.buildings if b.stands(year)]
    shapes = [b.footprint() for b in standing]
    rows = {"id": [b.key for b in standing], "region": [_region_of(layout, shape) for shape in shapes]}
    geopandas.GeoDataFrame(rows, geometry=shapes, crs=layout.crs).to_parquet(path)
    return path


def _region_of(layout: Layout, shape: Polygon) -> str | None:
    """The region that holds the shape's centre; None in the margin of the picture."""
    return next((name for name, area in layout.regions.items() if area.contains(shape.centroid)), None)


def _write_register(
    layout: Layout, folder: Path, year: int, covered: tuple[str, ...], size_m: float, years: tuple[int, ...]
) -> tuple[tuple[Path, Path], dict[str, int]]:
    """The register of some regions and the area in which it claims to be complete, which leaves out a western strip."""
    import geopandas
    import pyogrio
    import shapely

    land = shapely.union_all([layout.regions[name] for name in covered])
    west, south, east, north = land.bounds
    extent = land & shapely.box(west + 0.09 * size_m, south, east, north)
    rows, errors = register_rows(layout, year, land, extent)
    # The first register comes as a GeoPackage in CRS, later ones as GeoJSON in degrees: suppliers change their minds.
    first = year == years[0]
    paths = folder / f"register_{year}.{'gpkg' if first else 'geojson'}", folder / f"extent_{year}.geojson"
    geopandas.GeoDataFrame({"name": [f"register {year}"]}, geometry=[extent], crs=layout.crs).to_crs(4326).to_file(
        paths[1], driver="GeoJSON"
    )
    # A GeoPackage notes when it was written: a fixed moment keeps its bytes the same.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{year}-01-01T00:00:00.000Z"})
    try:
        paths[0].unlink(missing_ok=True)
        (rows if first else rows.to_crs(4326)).to_file(paths[0], driver="GPKG" if first else "GeoJSON")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    return paths, errors


def register_rows(layout: Layout, year: int, land: Polygon, extent: Polygon) -> tuple[GeoDataFrame, dict[str, int]]:
    """The register's rows in CRS with the errors of real ones, and how many there are of each kind."""
    import geopandas

    rng = np.random.default_rng([layout.seed, year, 3])
    shapes: dict[int, Geometry] = {}
    stale = 0
    for b in layout.buildings:
        shape = b.footprint()
        known = shape.intersects(extent) or (shape.intersects(land) and rng.random() < 0.5)
        if known and b.stands(year):
            shapes[b.key] = shape
        elif known and b.until <= year and rng.random() < 0.6:
            shapes[b.key], stale = shape, stale + 1
    twice, errors = _spoil(shapes, {b.key for b in layout.buildings if b.stands(year)}, rng)
    keys = list(shapes) + twice
    errors |= {"stale": stale, "hole": sum(1 for k in keys if len(getattr(shapes[k], "interiors", ())))}
    rows = {
        "identification": [f"0999100{key:09d}" for key in keys],
        "built": [max(1952 + key * 37 % 68, layout.buildings[key].since) for key in keys],
        "status": ["in use"] * len(keys),
    }
    return geopandas.GeoDataFrame(rows, geometry=[shapes[k] for k in keys], crs=layout.crs), errors


def _spoil(
    shapes: dict[int, Geometry], standing: set[int], rng: np.random.Generator
) -> tuple[list[int], dict[str, int]]:
    """Put errors into the shapes, each into another building; say which are to be entered twice, and count by kind."""
    import shapely

    whole = [key for key in sorted(standing & set(shapes)) if not shapes[key].interiors]  # a courtyard is rare: keep it
    order = [int(key) for key in rng.permutation(whole)]
    few = len(order)
    missing, moved, high, twice = (
        [order.pop() for _ in range(min(len(order), max(1, round(share * few))))] for share in (0.03, 0.04, 0.06, 0.01)
    )
    for key in missing:
        del shapes[key]
    for key in moved:
        turn, far = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 1.8)
        shift = np.array((far * math.cos(turn), far * math.sin(turn)))
        shapes[key] = shapely.transform(shapes[key], lambda xy, by=shift: xy + by)
    for key in high:
        shapes[key] = shapely.force_3d(shapes[key], round(rng.uniform(8, 14), 2))
    plain = [k for k in order if len(shapes[k].exterior.coords) == 5]
    for key in sorted(plain, key=lambda k: float(shapes[k].area))[:1]:
        a, b, c, d, _ = shapes[key].exterior.coords
        shapes[key] = shapely.Polygon([a, c, b, d, a])
        order.remove(key)
    counts = {"missing": len(missing), "offset": len(moved), "z": len(high), "duplicate": len(twice)}
    return twice, counts | {"bowtie": len(plain[:1]), "multipolygon": _double(shapes, order)}


def _double(shapes: dict[int, Geometry], order: list[int]) -> int:
    """Enter a house and the nearest building that it does not touch as one; 1 if there was such a pair."""
    import shapely

    for first in order:
        others = [k for k in order if k != first and 0.3 < shapes[first].distance(shapes[k]) < 25]
        if others:
            second = min(others, key=lambda k: float(shapes[first].distance(shapes[k])))
            shapes[first] = shapely.MultiPolygon([shapes[first], shapes.pop(second)])
            return 1
    return 0
