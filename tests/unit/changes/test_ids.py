"""Lasting ids: a building keeps its name through years, parts, mergers and a year that missed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_years import GRID, ROW, house

from groundplan.changes import ids
from groundplan.polygons.geoparquet import read

ALL = {name: house(box) for name, box in ROW.items()}


def footprints(shapes: Mapping[str, Any]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"id": list(shapes)}, geometry=list(shapes.values()), crs=GRID.crs)


def followed(*years: Mapping[str, Any]) -> list[gpd.GeoDataFrame]:
    """The registries of these years, 2020, 2021 ..., each from the bytes of the one before."""
    found = [ids.first(footprints(years[0]), 2020)]
    for number, shapes in enumerate(years[1:], 2021):
        found.append(ids.taken_over(footprints(shapes), read(ids.to_bytes(found[-1])), number))
    return found


def names(registry: gpd.GeoDataFrame) -> dict[str, str]:
    """building_id by the footprint's own id."""
    here = registry[registry["id"].notna()]
    return dict(zip(here["id"], here["building_id"], strict=True))


def redrawn(shapes: Mapping[str, Any], year: int, east: float = 0.0) -> dict[str, Any]:
    """The same buildings a little otherwise, with other ids, as another year's network draws them."""
    return {f"{name}-{year}": shapely.affinity.translate(s.buffer(0.2), east, 0) for name, s in shapes.items()}


def test_ids_last_over_three_years_that_draw_and_lie_otherwise() -> None:
    one, two, three = followed(ALL, redrawn(ALL, 2021, 1.2), redrawn(ALL, 2022, -0.8))
    first = names(one)
    assert names(two) == {f"{name}-2021": building for name, building in first.items()}
    assert names(three) == {f"{name}-2022": building for name, building in first.items()}
    assert set(three["first_seen"]) == {2020}
    assert set(three["last_seen"]) == {2022}
    assert set(three["state"]) == {ids.KEPT}


def test_the_same_inputs_give_the_same_bytes_in_whatever_order() -> None:
    turned = dict(reversed(list(redrawn(ALL, 2021).items())))
    one, other = followed(ALL, redrawn(ALL, 2021))[1], followed(ALL, turned)[1]
    assert ids.to_bytes(one) == ids.to_bytes(other)


def test_a_building_that_a_year_missed_gets_its_name_back() -> None:
    without = {name: s for name, s in ALL.items() if name != "h4"}
    one, two, three = followed(ALL, without, redrawn(ALL, 2022, 0.9))
    lost = two[two["id"].isna()]
    assert lost["state"].tolist() == [ids.ABSENT]
    assert lost["last_seen"].tolist() == [2020]
    assert names(three)["h4-2022"] == names(one)["h4"]
    assert three.set_index("id").loc["h4-2022", "state"] == ids.AGAIN
    assert three["id"].notna().all()


def test_a_middle_year_made_again_renames_nothing_later() -> None:
    later = redrawn(ALL, 2022)
    plain = followed(ALL, redrawn(ALL, 2021), later)[2]
    worse = {name: s for name, s in redrawn(ALL, 2021, 0.5).items() if name[:2] != "h1"}
    assert names(followed(ALL, worse, later)[2]) == names(plain)


def test_the_largest_part_keeps_the_name_and_the_others_name_their_parent() -> None:
    left, top, _, high = ROW["h3"]
    parts = {name: s for name, s in ALL.items() if name != "h3"}
    parts |= {"large": house((left, top, 6.0, high)), "small": house((left + 6, top, 3.0, high))}
    one, two = followed(ALL, parts)
    rows, old = two.set_index("id"), names(one)["h3"]
    assert rows.loc["large", "building_id"] == old
    assert rows.loc["small", "state"] == ids.SPLIT
    assert rows.loc["small", "first_seen"] == 2021
    assert list(rows.loc["small", "parents"]) == [old]
    merged = followed(parts, ALL)
    row, before = merged[1].set_index("id").loc["h3"], names(merged[0])
    assert row["building_id"] == before["large"]
    assert row["state"] == ids.MERGED
    assert set(row["parents"]) == {before["large"], before["small"]}
    assert merged[1].loc[merged[1]["id"].isna(), "state"].tolist() == [ids.JOINED]


def test_a_new_building_on_the_ground_of_one_that_is_gone_gets_a_name_of_its_own() -> None:
    left, top, _, _ = ROW["h7"]
    shed = {name: s for name, s in ALL.items() if name != "h7"} | {"h7": house((left, top, 2.5, 2.5))}
    one, two = followed(ALL, shed)
    assert names(two)["h7"] != names(one)["h7"], "the same observation, another year, another building"


def test_a_year_without_footprints_keeps_all_as_absent() -> None:
    one, two, three = followed(ALL, {}, ALL)
    assert set(two["state"]) == {ids.ABSENT}
    assert names(three) == names(one)


DRAWN = st.lists(
    st.tuples(*(st.integers(0, 40) for _ in range(2)), *(st.integers(2, 12) for _ in range(2))), max_size=14
)


@settings(max_examples=25, deadline=None)
@given(years=st.lists(DRAWN, min_size=2, max_size=4))
def test_no_id_stands_twice_and_none_is_lost(years: list[list[tuple[int, int, int, int]]]) -> None:
    """Whatever the outlines: they may overlap, nest, come and go."""
    drawn = [{f"{y}-{i}": house(box) for i, box in enumerate(boxes)} for y, boxes in enumerate(years)]
    known: set[str] = set()
    for shapes, registry in zip(drawn, followed(*drawn), strict=True):
        assert registry["building_id"].is_unique
        assert set(registry["id"].dropna()) == set(shapes)
        assert known <= set(registry["building_id"])
        assert all(set(parents) <= known for parents in registry["parents"])
        known = set(registry["building_id"])


def test_registries_without_parents_have_the_same_columns() -> None:
    import io

    import pyarrow.parquet as pq

    one, two = (pq.read_schema(io.BytesIO(ids.to_bytes(found))) for found in followed({}, ALL))
    assert one.remove_metadata().equals(two.remove_metadata())
    assert str(one.field("parents").type).startswith("list<")
    assert np.array_equal([*one.names[:6]], ["id", "building_id", "first_seen", "last_seen", "parents", "state"])
