"""Pages of a box hold every building once, whether few lie in it or too many to count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import shapely
from made_footprints import commit_houses, houses

from groundplan.core.partition import Partition
from groundplan.database import load, queries


@pytest.mark.parametrize("most", [10_000, 20])
def test_pages_of_a_box_hold_every_building_once(
    database: Any, tmp_path: Path, make_project: Any, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(queries, "MOST_COUNTED", most)
    project, frame = make_project(tmp_path / "home"), houses(300, (182361.0, 447600.0, 182600.0, 447771.0))
    commit_houses(project, Partition(2024, "north"), frame)
    load.sync(database, project)
    box = shapely.box(182400, 447600, 182500, 447700)
    expected = sorted(frame["id"][shapely.intersects(frame.geometry.values, box)])
    selection = queries.Selection(year=2024, srid=28992, area=bytes(shapely.to_wkb(box)))
    seen: list[str] = []
    with database.connect() as connection:
        page = queries.page(connection, selection, 7)
        assert page.matched == (len(expected) if len(expected) <= most else None)
        while True:
            seen += [row.id for row in page.rows]
            if not page.more:
                break
            page = queries.page(connection, selection, 7, (page.rows[-1].region, page.rows[-1].id))
    assert seen == expected
