"""From merged pixel outlines to shapes and columns of footprints, by the project's settings and the model's card."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from shapely import affinity

from groundplan import config
from groundplan.footprints.footprints import PROBABILITIES, shape
from groundplan.polygons.certainty import EVIDENCE
from groundplan.polygons.instances import Thresholds
from groundplan.polygons.outlines import block_outlines, merge_outlines
from groundplan.project import open_project

CARD = {"evidence": list(EVIDENCE), "building": [0.5, 1.0, 0.0, 0.0, 0.0], "outline": [-1.0, 1.0, 0.0, 0.0, 0.0]}


@pytest.fixture(scope="module")
def house_row():
    """Four houses in a row that is turned by 12 degrees, of two depths, and an edge between each two."""
    probability = np.zeros((2, 256 + 128, 256 + 128), np.uint8)
    for at in range(4):
        plan = shapely.box(90 + 40 * at, 150 + at % 2 * 5, 130 + 40 * at, 200)
        corners = shapely.get_coordinates(affinity.rotate(plan, 12, origin=(170, 175))).round().astype(np.int32)
        cv2.fillPoly(probability[0], [corners], 240 - 20 * at)
        cv2.polylines(probability[1], [corners], True, 230, 2)
    thresholds = Thresholds()
    return merge_outlines([block_outlines(probability, 64, 0, 0, thresholds, 0.2)], thresholds, 0.2)


@pytest.fixture
def project(tmp_path: Path):
    grid = {"crs": "EPSG:28992", "resolution": 0.2, "block_size": 256, "origin": (80_000.0, 400_000.0)}
    return open_project(config.write(tmp_path / "home", grid, "").parent)


def walls_in_common(frame) -> list[float]:
    shapes = frame.sort_values("x").geometry.to_numpy()
    return [
        shapely.length(shapely.intersection(one.exterior, shapely.buffer(other, 0.001)))
        for one, other in pairwise(shapes)
    ]


def test_a_new_project_shares_walls_and_one_that_does_not_say_so_stays_as_it_was(house_row, project):
    frame = shape(house_row, project, {})
    assert len(frame) == 4
    assert min(walls_in_common(frame)) > 9
    path = project.home / "groundplan.toml"
    path.write_text(path.read_text("utf-8").replace("shared_walls = true", ""), "utf-8")
    older = shape(house_row, open_project(project.home), {})
    assert min(walls_in_common(older)) < 1


@pytest.mark.parametrize(("card", "known"), [({}, None), ({"certainty": None}, 0), ({"certainty": CARD}, 4)])
def test_probabilities_are_what_the_card_knows_and_null_where_it_knows_nothing(house_row, project, card, known):
    frame = shape(house_row, project, card)
    if known is None:
        assert not set(PROBABILITIES) & set(frame.columns)
        return
    assert frame[list(PROBABILITIES)].notna().sum().tolist() == [known, known]
    if known:
        assert (frame["p_outline"] < frame["p_building"]).all()
        assert frame["p_building"].between(0.7, 1).all()
