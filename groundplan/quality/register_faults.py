"""Faults of a register that its labels alone do not show: another time, another town, half of it, or two of it.

Here: what can be told of the registers of a region and year, in words. Not here: the check that says it
(labels_health.py), how far a register lies beside the imagery (labels/alignment.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.manifest import need_manifest, read_manifest
from groundplan.core.partition import Partition
from groundplan.labels import registers
from groundplan.labels.register_dates import told_apart
from groundplan.project import Project

if TYPE_CHECKING:
    import geopandas as gpd

FITS_NOWHERE = 3.0
"""Certainty of the best shift below which labels fit the imagery nowhere. Measured on drawn countries of 100 to 460
buildings: 3.6 to 7.2 with their own register, 2.1 to 2.7 with another country's; on Banepa 10 to 17, and 2 to 4."""
JUDGED = 100
"""Buildings from which that can be said: with fewer, a right register may be as unsure."""
MOST_LOST = 0.15
"""Share of an earlier year's buildings that may be gone: no town loses more in a year."""
MOST_STRANGERS = 0.25
"""Share of footprints that may lie where the register has nothing, where they find nearly all that it has."""
FINDS = 0.8
"""Share of the register's buildings that footprints must find, for them to speak against it."""
SOME = 10


def faults(project: Project, partition: Partition, certainty: float | None) -> list[str]:
    """What is wrong with the registers of a region and year, each fault with its remedy. certainty: of the shift."""
    frame, complete = registers.load(project, partition)
    days = registers.flown(project, partition)
    apart = [told_apart(one, days) for one in registers.registers_of(project, partition.year)]
    found = [f"{words}. Add the register of the imagery's date" for words in apart if words]
    facts = need_manifest(project.store, registers.DATASET, partition).objects["buildings"].facts
    if count := facts.get("contradicting", 0):
        found.append(
            f"{count} registered buildings stand on ground that is said to be empty; neither is learned from. Look at "
            "them and mend either file"
        )
    found += _doubled(frame)
    if certainty is not None and certainty < FITS_NOWHERE and len(frame) >= JUDGED:
        found.append(
            f"the register fits the imagery nowhere (certainty {certainty:.1f} of the best shift): is it of another "
            "town? Check the file, the region and the CRS"
        )
    return found + _lost(project, partition, frame, complete)


def _doubled(frame: gpd.GeoDataFrame) -> list[str]:
    """Two registers that know the same buildings, each in its own way."""
    import shapely

    shapes, names = frame.geometry.values.to_numpy(), frame["register"].to_numpy(str)
    if len(set(names)) < 2:
        return []
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    differ = (one < other) & (names[one] != names[other])
    one, other = one[differ], other[differ]
    shared = shapely.area(shapely.intersection(shapes[one], shapes[other]))
    least = np.minimum(shapely.area(shapes[one]), shapely.area(shapes[other]))
    both = sorted({*names[one[shared > 0.5 * least]], *names[other[shared > 0.5 * least]]})
    count = int((shared > 0.5 * least).sum())
    if not count:
        return []
    return [f"{count} buildings are drawn twice, by {' and by '.join(both)}. Keep one register of this ground"]


def _lost(project: Project, partition: Partition, frame: gpd.GeoDataFrame, complete: Any) -> list[str]:
    """Buildings of the year before that are gone: more than any town loses."""
    before = Partition(partition.year - 1, partition.region)
    if read_manifest(project.store, registers.DATASET, before) is None:
        return []
    import shapely

    earlier, then = registers.load(project, before)
    old = earlier.geometry.values.to_numpy()
    ground = shapely.intersection(then, complete)
    shapely.prepare(ground)
    old = old[shapely.contains(ground, old)]
    gone = int((covered(old, frame.geometry.values.to_numpy()) < 0.3).sum())
    if gone < SOME or gone <= MOST_LOST * len(old):
        return []
    return [
        f"{gone} of the {len(old)} buildings that the register of {before.year} has here are missing: is it whole? "
        "Add the whole register"
    ]


def covered(shapes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of each polygon that lies on any of the others, 0 to 1 and more where those overlap."""
    import shapely

    of, on = shapely.STRtree(others).query(shapes, predicate="intersects")
    shared = np.bincount(of, shapely.area(shapely.intersection(shapes[of], others[on])), minlength=len(shapes))
    return np.asarray(shared / np.maximum(shapely.area(shapes), 1e-9))


def strangers(found: np.ndarray, real: np.ndarray) -> str:
    """What footprints that find nearly all of a register say of what it lacks; '' where they do not find that much."""
    if len(found) < SOME or len(real) < SOME or (covered(real, found) >= 0.5).mean() < FINDS:
        return ""
    unknown = int((covered(found, real) < 0.1).sum())
    if unknown < SOME or unknown <= MOST_STRANGERS * len(found):
        return ""
    return (
        f"{unknown} of {len(found)} footprints lie where the register has nothing, and they find nearly all that it "
        "has: buildings may be missing in it. Look at some of them; add the whole register"
    )
