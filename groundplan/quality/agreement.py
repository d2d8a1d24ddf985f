"""Footprints beside the register, building by building: found, missed, false.

Here: the one table that says so, for maps. Not here: shares and scores (scores.py), the measures (polygons/metrics.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from groundplan.core.partition import Partition
from groundplan.footprints import footprints
from groundplan.labels import registers
from groundplan.polygons import metrics
from groundplan.project import Project
from groundplan.quality.scores import scored_ground

if TYPE_CHECKING:
    import geopandas as gpd

FOUND, MISSED, FALSE = "found", "missed", "false"


def agreement(project: Project, partition: Partition) -> gpd.GeoDataFrame:
    """Buildings on the imaged ground where the register is complete, in the grid's CRS, with `verdict`, `id`, `area`.

    found: a footprint with a partner in the register at IoU >= 0.5, as the scores have it; false: one without;
    missed: a building of the register without a footprint, its `id` is ''. Training ground is not left out: this says
    where they differ, not how good the model is. Empty where no register covers the region. Raises MissingInput.
    """
    import geopandas as gpd
    import pandas as pd
    import shapely

    register, complete = registers.load(project, partition)
    made = footprints.load_around(project, partition)
    ground = scored_ground(project, partition, complete, "all")
    shapely.prepare(ground)
    ours, theirs = made.geometry.to_numpy(), register.geometry.to_numpy()
    hit, detected = metrics.matched(ours, theirs)
    own, known = (shapely.contains(ground, shapely.point_on_surface(shapes)) for shapes in (ours, theirs))
    lost = theirs[known & ~detected]
    parts = {
        "verdict": np.concatenate([np.where(hit[own], FOUND, FALSE), np.full(len(lost), MISSED)]),
        "id": np.concatenate([made["id"].to_numpy(object)[own], np.full(len(lost), "", object)]),
        "area": shapely.area(np.concatenate([ours[own], lost])).round(2),
    }
    return gpd.GeoDataFrame(pd.DataFrame(parts), geometry=np.concatenate([ours[own], lost]), crs=made.crs)
