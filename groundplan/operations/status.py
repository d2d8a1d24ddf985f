"""What the country has and lacks: every dataset's partitions, by four listings of the store.

Here: made, missing, failed, damaged, counted from what lies there. Not here: whether what was made is still current,
which needs a plan of every partition (step.state_of), finding what is damaged (store_audit.py, which notes it), and
runs (assets/operations/country_status.py).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from groundplan.core.manifest import committed, damage_key, failure_key
from groundplan.core.partition import Partition
from groundplan.imagery.landing import delivered_partitions
from groundplan.pipeline import ASSETS, STEPS, partitions_of
from groundplan.project import Project

MADE, MISSING, FAILED, DAMAGED = "made", "missing", "failed", "damaged"


@dataclass(frozen=True, slots=True)
class Entry:
    """One partition of one dataset. A partition that failed after it was made once is failed.

    Damaged is what was noted so by `groundplan verify` or the weekly care, and not made again since.
    """

    dataset: str
    partition: Partition
    state: str


def take(project: Project) -> list[Entry]:
    """Every partition for which imagery was delivered, of every dataset, in order. Raises StoreFailed."""
    made = {(one.dataset, one.partition) for one in committed(project.store) if one.year is not None}
    failed = {found.key for found in project.store.list("failures")}
    noted = {found.key for found in project.store.list("damaged")}
    delivered = delivered_partitions(project)
    entries = []
    for name in ASSETS:
        for partition in partitions_of(project, name, delivered):
            state = MADE if (name, partition) in made else MISSING
            if state == MADE and any(damage_key(one, partition.path) in noted for one in made_with(name)):
                state = DAMAGED
            entries.append(Entry(name, partition, FAILED if failure_key(name, partition) in failed else state))
    return entries


def made_with(name: str) -> list[str]:
    """The datasets that a run of an asset makes: itself, and what comes with it."""
    return [step.name for step in STEPS.values() if name in (step.name, step.comes_with)]


def picture(entries: list[Entry]) -> bytes:
    """PNG: a column per year, a line per region; a cell's colour is the share of its datasets that are made.

    Green is all, red has a failure or damage, grey has nothing.
    """
    from PIL import Image, ImageDraw

    regions = sorted({entry.partition.region for entry in entries if entry.partition.region})
    years = sorted({entry.partition.year for entry in entries})
    side = max(4, min(18, 900 // max(1, len(regions))))
    left = 150 if side >= 10 else 0
    image = Image.new("RGB", (left + max(60, 46 * len(years)), 24 + side * max(1, len(regions))), "white")
    draw = ImageDraw.Draw(image)
    for column, year in enumerate(years):
        draw.text((left + 46 * column + 8, 6), str(year), fill="black")
    cells: dict[tuple[str, int], list[str]] = {}
    for entry in entries:
        cells.setdefault((entry.partition.region, entry.partition.year), []).append(entry.state)
    for line, region in enumerate(regions):
        if left:
            draw.text((4, 24 + side * line + (side - 11) // 2), region[:22], fill="black")
        for column, year in enumerate(years):
            states = cells.get((region, year))
            if states:
                corner = left + 46 * column + 1, 24 + side * line + 1
                draw.rectangle((*corner, corner[0] + 43, corner[1] + side - 2), fill=_color(states))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _color(states: list[str]) -> tuple[int, int, int]:
    if FAILED in states or DAMAGED in states:
        return 200, 60, 50
    share = states.count(MADE) / len(states)
    red, green, blue = (round(gray + (full - gray) * share) for gray, full in ((205, 70), (205, 150), (205, 80)))
    return red, green, blue
