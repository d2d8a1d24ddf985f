"""Changes as a file of the user's format, by the exporters of footprints.

Here: what such a file holds and says of itself. Not here: the dataset (changes.py), the formats
(footprints/layer_files.py).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from groundplan.changes import changes
from groundplan.core.partition import Partition
from groundplan.footprints.export import dates, layer_words, write
from groundplan.project import Project


def export(project: Project, target: Path, partition: Partition) -> int:
    """Write a region's changes since the year before, all rows, whole or not at all. Returns their number.

    Raises MissingInput, BadConfig.
    """
    frame = changes.load(project, partition)
    frame = frame.assign(region=partition.region, year=partition.year)
    frame["year"] = frame["year"].astype("int32")
    for name in ("image_date", "image_date_before"):
        frame[name] = dates(frame[name])
    words = replace(
        layer_words(project, [partition]),
        title=f"Building changes of {partition.region}, {partition.year}",
        description="What became of each building since the year before, by Groundplan. state: new, gone, changed, "
        "same or unsure. q, q_before: building probability inside the outline in each year's imagery, 0 to 1. "
        f"area_m2: square metres in {project.grid.crs}.",
    )
    write(frame, target, words, styled=False)
    return len(frame)
