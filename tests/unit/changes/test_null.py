"""The null set: what it does to imagery, which ground it takes, and the bound that it gives."""

from __future__ import annotations

import numpy as np
import pytest
from painted_years import house
from scipy import stats

from groundplan.changes.null import MOST_PARTS, chosen, recoloured, shifted, upper_bound
from groundplan.changes.null import describe as described


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    for wrong, of in ((0, 300), (1, 475), (3, 90)):
        exact = stats.binomtest(wrong, of, alternative="less").proportion_ci(0.95, method="exact").high * 100
        assert upper_bound(wrong, of) == pytest.approx(exact, abs=1e-3)
    assert upper_bound(0, 300) == pytest.approx(1.0, abs=0.01), "rule of three"
    assert upper_bound(0, 0) is None
    assert upper_bound(4, 4) == 100.0


def test_half_a_pixel_is_the_mean_of_two() -> None:
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (3, 20, 1))
    np.testing.assert_array_equal(shifted(ramp, 0.5)[:, 5, 5:10], ramp[:, 5, 5:10] - 5)
    np.testing.assert_array_equal(shifted(ramp, 0.0), ramp)


def test_another_light_keeps_the_order_of_values_and_the_number_of_bands() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for bands in (1, 3, 4):
        lit = recoloured(np.repeat(values, bands, axis=0))
        assert lit.shape == (bands, 16, 16)
        assert lit.dtype == np.uint8
        assert (np.diff(lit.reshape(bands, -1).astype(int), axis=1) >= 0).all()
        assert not np.array_equal(lit[0], values[0])


def test_ground_with_most_buildings_is_seen_again_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    import geopandas as gpd
    from conftest import new_project

    project = new_project(tmp_path_factory.mktemp("parts") / "home")
    span = project.grid.span
    spots = [(col, spot) for col in range(12) for spot in range(1 + col % 3)]
    shapes = [house((col * span + 10 + 12 * spot, 10, 8, 8)) for col, spot in spots]
    frame = gpd.GeoDataFrame(geometry=shapes, crs=project.grid.crs)
    parts = chosen(project, frame, [f"x{col:02d}y{row:02d}" for col in range(12) for row in range(2)])
    assert len(parts) == MOST_PARTS
    assert [part[0].col for part in parts] == [2, 5, 8, 11, 1, 4, 7, 10]
    assert chosen(project, frame, ["x00y00"])[0][0].col == 0
    assert chosen(project, frame, []) == []


def test_an_empty_null_set_bounds_nothing() -> None:
    import geopandas as gpd

    from groundplan.polygons.geoparquet import to_parquet

    none = to_parquet(gpd.GeoDataFrame({"state": np.empty(0, object)}, geometry=[], crs="EPSG:28992"))
    facts = described(none)
    assert facts["unchanged"] == 0
    assert facts["per_100"] is facts["at_most"] is None
