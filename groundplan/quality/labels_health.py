"""Health of labels: whether a region's register covers ground, holds buildings, and belongs to the imagery.

Here: the check. Not here: faults that only registers themselves show (register_faults.py), measuring how far one lies
beside the imagery (labels/alignment.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.imagery import tiles
from groundplan.imagery.credits import credits_of
from groundplan.labels import masks, registers
from groundplan.labels.alignment import measured_offset
from groundplan.previews import pictures
from groundplan.project import Project
from groundplan.quality.register_faults import faults
from groundplan.quality.verdict import Verdict

MOST_OFFSET = 1.5  # metres between register and image from which training suffers (research: labels fit within 0.5 m)
LEAST_PROMINENCE = (
    6.0  # standard deviations by which the best shift must stand out to be believed (labels.offset says why)
)


def labels_healthy(project: Project, partition: Partition) -> Verdict:
    """Check of labels: the register covers ground, is not empty where complete, and lies on the imagery."""
    objects = need_manifest(project.store, masks.DATASET, partition).objects
    known = sum(made.facts["known"] for made in objects.values())
    building = sum(made.facts["building"] for made in objects.values())
    total = len(objects) * project.grid.block_size**2
    facts: dict[str, Any] = {
        "covered share": round(known / total, 4),
        "building share": round(building / known, 4) if known else 0.0,
    }
    images = need_manifest(project.store, tiles.DATASET, partition).objects
    dates, told = _dates_of_register(project, partition)
    facts |= dates if known else {}

    def draw() -> bytes:
        return pictures.labels_picture(project, images, objects, credits_of(project, partition).sources_line)

    if known == 0:
        return Verdict(
            passed=True,
            compared=False,
            message="no register covers this region; it is predicted with the year's model",
            facts=facts,
        )
    if building == 0 and _only_empty(project, partition):
        return Verdict(
            passed=True,
            compared=False,
            message="all that is known here is that the ground is empty: there are no buildings to look at",
            facts=facts,
        )
    if building == 0:
        return Verdict(
            passed=False,
            message="the register claims to be complete here but shows no building. Check its CRS, year and --extent",
            facts=facts,
            remedy="Check the register's CRS, year and --extent; add it again",
            draw=draw,
        )
    shift = measured_offset(project, partition, objects)
    if wrong := faults(project, partition, shift[2] if shift else None):
        return Verdict(
            passed=False,
            message="; ".join([*wrong, *([_off(shift)] if shift and _is_off(shift) else [])]),
            serious=False,
            facts=facts | ({"offset certainty": shift[2]} if shift else {}),
            remedy="Mend the registers as said, and add them again",
            wrong=(("what is wrong",), *((line,) for line in wrong)),
            draw=draw,
        )
    if shift is None:
        return Verdict(passed=True, message=f"labels hold buildings; too few to measure an offset; {told}", facts=facts)
    east, north, sure = shift
    facts |= {"offset east [m]": east, "offset north [m]": north, "offset certainty": sure}
    if _is_off(shift):
        return Verdict(
            passed=False,
            message=_off(shift),
            serious=False,
            facts=facts,
            remedy="Check the CRS and datum of register and imagery; where both are right, tall buildings lean",
            draw=draw,
        )
    return Verdict(passed=True, message=f"labels hold buildings and lie on the imagery; {told}", facts=facts)


def _is_off(shift: tuple[float, float, float]) -> bool:
    east, north, sure = shift
    return bool(np.hypot(east, north) > MOST_OFFSET and sure > LEAST_PROMINENCE)


def _off(shift: tuple[float, float, float]) -> str:
    east, north, _ = shift
    return (
        f"the register seems to lie {np.hypot(east, north):.1f} m off the imagery ({east:+.1f} m east, "
        f"{north:+.1f} m north). Check the CRS and datum of both, or the lean of tall buildings"
    )


def _only_empty(project: Project, partition: Partition) -> bool:
    """Whether nothing is known but ground that is said to be empty."""
    facts = need_manifest(project.store, registers.DATASET, partition).objects["buildings"].facts
    return "empty_m2" in facts and facts["complete_m2"] - facts["empty_m2"] < 1


def _dates_of_register(project: Project, partition: Partition) -> tuple[dict[str, Any], str]:
    """What the register says of when its buildings stood, as facts and in words."""
    made = need_manifest(project.store, registers.DATASET, partition).objects["buildings"]
    dated, gone, unknown = (made.facts.get(name, 0) for name in ("dated", "not_standing", "undecided"))
    if not dated:
        word = "when its buildings stood the register does not say: new and demolished ones may be among the labels"
        return {"register dates": "unknown"}, word
    facts = {"dated buildings": dated, "left out by date": gone, "undecided by date": unknown}
    return facts, f"{gone} buildings did not stand yet or any more and are left out, of {unknown} nobody knows"
