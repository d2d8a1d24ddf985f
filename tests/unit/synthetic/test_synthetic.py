"""The synthetic country: the same every time, drawn where it says, wrong in its registers as often as it says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.warp import Resampling, reproject, transform_bounds

from groundplan.synthetic.country import Country, draw, late_sheet
from groundplan.synthetic.layout import plan
from groundplan.synthetic.paint import paint
from groundplan.synthetic.place import CRS, FOREIGN_CRS, REGIONS, RESOLUTION, YEARS

pytestmark = pytest.mark.slow  # together: it draws countries

TINY = 90.0
SMALL = 210.0  # the smallest country that has every kind of block


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Country:
    return draw(tmp_path_factory.mktemp("country"), size_m=SMALL)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _bounds(path: Path) -> Any:
    with rasterio.open(path) as sheet:
        return shapely.box(*transform_bounds(sheet.crs, CRS, *sheet.bounds))


def _register(country: Country, year: int) -> geopandas.GeoDataFrame:
    return geopandas.read_file(country.registers[year][0]).to_crs(country.crs)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        draw(tmp_path / name, seed, TINY)
    first, second, other = (_digests(tmp_path / name) for name in "abc")
    assert len(first) == 2 * 2 * 4 + 1 + 2 * 3
    assert first == second
    assert not set(first.values()) & set(other.values())


def test_tests_may_ask_for_one_region_and_one_year(tmp_path: Path) -> None:
    small = draw(tmp_path, size_m=60, regions=("polder",), years=(2025,))
    assert list(small.sheets) == [("polder", 2025)]
    assert small.names == ("polder",)
    assert small.years == (2025,)
    truth = geopandas.read_parquet(small.truth[2025])
    assert len(truth) > 4
    extent = geopandas.read_file(small.registers[2025][1]).to_crs(CRS)
    assert extent.area.sum() > 0.8 * geopandas.read_file(small.regions).to_crs(CRS).area.sum()


def test_every_region_and_year_has_sheets_of_each_form(country: Country) -> None:
    assert set(country.sheets) == {(region, year) for region in REGIONS for year in YEARS}
    for (region, year), paths in country.sheets.items():
        assert all(path.parent == country.folder / "imagery" / region / str(year) for path in paths)
        forms = []
        for path in paths:
            with rasterio.open(path) as sheet:
                assert sheet.tags()["TIFFTAG_DATETIME"].startswith(f"{year}:")
                assert (sheet.count, sheet.dtypes[0]) == (3, "uint8")
                forms.append(
                    (
                        sheet.crs.to_string(),
                        sheet.compression.value if sheet.compression else "",
                        sheet.block_shapes[0][1] == sheet.width,
                    )
                )
        plain = (CRS, "JPEG", False)
        assert forms.count(plain) == 3
        odd = next(form for form in forms if form != plain)
        assert odd == ((CRS, "DEFLATE", True) if region == REGIONS[0] else (FOREIGN_CRS, "JPEG", False))


def test_sheets_overlap_and_together_cover_their_region(country: Country) -> None:
    areas = geopandas.read_file(country.regions).to_crs(CRS).set_index("name").geometry
    for (region, _), paths in country.sheets.items():
        boxes = [_bounds(path) for path in paths]
        assert shapely.union_all(boxes).covers(areas[region])
        for other in boxes[1:]:
            lap = boxes[0] & other
            assert min(lap.bounds[2] - lap.bounds[0], lap.bounds[3] - lap.bounds[1]) >= 5.9


def test_regions_abut_along_a_crooked_border(country: Country) -> None:
    north, south = geopandas.read_file(country.regions).to_crs(CRS).geometry
    assert (north & south).area < 0.01
    border = shapely.shortest_line(north, south)
    assert border.length < 1e-6
    assert shapely.union(north, south).buffer(1e-4).geom_type == "Polygon"
    shared = north.boundary & south.boundary.buffer(1e-3)
    assert shared.length > 1.005 * SMALL


def test_pixels_stand_on_the_grid(country: Country) -> None:
    for path in country.sheets[REGIONS[0], YEARS[0]]:
        with rasterio.open(path) as sheet:
            cells = np.array([sheet.transform.c, sheet.transform.f]) / RESOLUTION
            assert sheet.res == pytest.approx((RESOLUTION, RESOLUTION))
            assert cells == pytest.approx(np.round(cells), abs=1e-3)


def test_roofs_are_painted_exactly_where_the_truth_says(country: Country) -> None:
    place = plan(country.seed, country.size_m, REGIONS, YEARS, country.location)
    truth = geopandas.read_parquet(country.truth[YEARS[1]])
    painted = paint(place, YEARS[1], 1).roof
    frame, fine = place.frame, 3
    shape = (frame.height * fine, frame.width * fine)
    burnt = rasterize(
        truth.geometry, shape, transform=frame.transform() @ rasterio.Affine.scale(1 / fine), dtype="uint8"
    )
    exact = burnt.reshape(frame.height, fine, frame.width, fine).mean((1, 3))
    assert np.abs(exact - painted).max() < 0.12  # one sample of nine, where an edge meets it to the millimetre
    assert abs(exact.sum() - painted.sum()) < 0.0002 * exact.sum()
    assert exact.sum() * RESOLUTION**2 == pytest.approx(truth.area.sum(), rel=0.002)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("region", REGIONS)
def test_every_sheet_lies_where_it_says(country: Country, region: str, number: int) -> None:
    """Warped back to the country's CRS a sheet matches the picture best when it is not shifted."""
    place = plan(country.seed, country.size_m, REGIONS, YEARS, country.location)
    picture = _painted(country)
    with rasterio.open(country.sheets[region, YEARS[0]][number]) as sheet:
        back = np.zeros((place.frame.height, place.frame.width), np.float32)
        reproject(
            sheet.read(2).astype(np.float32),
            back,
            src_crs=sheet.crs,
            src_transform=sheet.transform,
            dst_crs=CRS,
            dst_transform=place.frame.transform(),
            resampling=Resampling.bilinear,
        )
    rows, columns = np.nonzero(back)
    window = np.s_[rows.min() + 30 : rows.max() - 30, columns.min() + 30 : columns.max() - 30]
    errors = {
        (down, right): float(np.abs(np.roll(back, (down, right), (0, 1))[window] - picture[window]).mean())
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    assert min(errors, key=lambda shift: errors[shift]) == (0, 0)
    assert errors[0, 0] < 6


def _painted(country: Country, cache: dict[Path, Any] = {}) -> Any:  # noqa: B006 - one painting for all cases
    if country.folder not in cache:
        place = plan(country.seed, country.size_m, REGIONS, YEARS, country.location)
        cache[country.folder] = paint(place, YEARS[0], 0).rgb[..., 1].astype(np.float32)
    return cache[country.folder]


def test_buildings_come_and_go_between_the_years(country: Country) -> None:
    before, after = (set(geopandas.read_parquet(country.truth[year])["id"]) for year in YEARS)
    place = plan(country.seed, country.size_m, REGIONS, YEARS, country.location)
    few = round(0.025 * len(place.buildings))
    assert few >= 3
    assert len(before - after) == len(after - before) == few


def test_the_two_years_look_different_but_show_the_same_place(country: Country) -> None:
    place = plan(country.seed, country.size_m, REGIONS, YEARS, country.location)
    first, second = _painted(country), paint(place, YEARS[1], 1).rgb[..., 1].astype(np.float32)
    assert np.abs(first - second).mean() > 8
    assert np.corrcoef(first[::3, ::3].ravel(), second[::3, ::3].ravel())[0, 1] > 0.5


@pytest.mark.parametrize("year", YEARS)
def test_the_register_has_the_errors_that_it_counts(country: Country, year: int) -> None:
    register, errors = _register(country, year), country.errors[year]
    shapes = register.geometry
    truth = geopandas.read_parquet(country.truth[year])
    keys = register["identification"].str[-9:].astype(int)
    assert errors["duplicate"] == register["identification"].duplicated().sum() > 0
    assert errors["bowtie"] == (~shapes.is_valid).sum() == 1
    assert errors["z"] == shapes.has_z.sum() > 0
    assert errors["multipolygon"] == (shapely.get_num_geometries(shapes) > 1).sum() == 1
    holes = shapely.get_num_interior_rings(shapely.get_geometry(shapes, 0))
    assert errors["hole"] == (holes > 0).sum()
    assert errors["stale"] == (~keys.isin(truth["id"])).sum()
    area = geopandas.read_file(country.registers[year][1]).to_crs(CRS).geometry.iloc[0]
    inside = truth[truth.within(area)]
    lost = (~inside["id"].isin(keys)).sum()
    # Whichever building the double one swallowed has no row of its own either.
    assert 0 < lost <= errors["missing"] + errors["multipolygon"]


def test_a_country_has_a_courtyard_in_its_first_register(country: Country) -> None:
    assert country.errors[YEARS[0]]["hole"] >= 1


def test_registers_leave_land_out(country: Country) -> None:
    areas = geopandas.read_file(country.regions).to_crs(CRS).geometry
    first, second = (geopandas.read_file(country.registers[year][1]).to_crs(CRS).geometry.iloc[0] for year in YEARS)
    assert 0.85 < first.area / areas.area.sum() < 0.95
    assert 0.85 < second.area / areas.iloc[0].area < 0.95
    assert (second & areas.iloc[1]).area < 0.01
    assert {path.suffix for path, _ in country.registers.values()} == {".gpkg", ".geojson"}


def test_a_late_sheet_covers_a_part_of_one_region(tmp_path: Path) -> None:
    small = draw(tmp_path, size_m=TINY)
    before = _digests(tmp_path)
    path = late_sheet(small, REGIONS[1], YEARS[1])
    assert path.parent == small.sheets[REGIONS[1], YEARS[1]][0].parent
    after = _digests(tmp_path)
    assert set(after) - set(before) == {str(path.relative_to(tmp_path))}
    assert {name: after[name] for name in before} == before
    area = geopandas.read_file(small.regions).to_crs(CRS).geometry.iloc[1]
    assert 0.05 < (_bounds(path) & area).area / area.area < 0.3
    again = path.read_bytes()
    assert late_sheet(small, REGIONS[1], YEARS[1]).read_bytes() == again


def test_truth_is_valid_and_knows_its_regions(country: Country) -> None:
    for path in country.truth.values():
        truth = geopandas.read_parquet(path)
        assert truth.is_valid.all()
        assert (truth.geom_type == "Polygon").all()
        assert set(truth["region"].dropna()) == set(REGIONS)
        assert truth.area.min() > 5
        # Houses of a row share walls; no two buildings share land.
        pairs = truth.sjoin(truth, predicate="overlaps")
        shared = [truth.geometry[a] & truth.geometry[b] for a, b in zip(pairs.index, pairs["index_right"], strict=True)]
        assert sum(shape.area for shape in shared) < 0.5
