"""Whether two years of a region can be compared: whether they lie on each other, and were seen the same way.

Here: the verdicts. Not here: the shift between years (changes/registration.py), the changes (changes/).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from groundplan.changes import null
from groundplan.changes.registration import FEWEST, register
from groundplan.changes.states import UNSURE
from groundplan.changes.years import need_before
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.footprints import footprints
from groundplan.imagery import tiles
from groundplan.project import Project
from groundplan.quality.verdict import Verdict

MOST_RESIDUAL = 2.0  # pixels
MOST_RATIO = 1.5  # of the years' ground sampling distances
LEAST = 0.02  # share of a block with imagery below which it is a flight's edge


def years_registered(project: Project, partition: Partition) -> Verdict:
    """Check of changes: after local registration the years lie on each other, to two pixels."""
    before = need_before(project, partition)
    frames = [footprints.load(project, one) for one in (partition, before)]
    now, then = (frame.geometry.values.to_numpy() for frame in frames)
    shifts = register(now, then)
    told = _told_of_null(project, partition)
    facts: dict[str, Any] = {"pairs": len(shifts.places), **told[0]}
    residual = shifts.residual
    if residual is None:
        why = f"{len(shifts.places)} buildings are the same in {before.year} and {partition.year}; {FEWEST} would tell"
        return Verdict(passed=True, compared=False, message=why, facts=facts)
    pixels = residual / project.grid.resolution
    east, north = np.median(shifts.found, axis=0)
    facts |= {
        "median residual [m]": round(residual, 3),
        "median residual [px]": round(pixels, 2),
        "shift east [m]": round(float(east), 3),
        "shift north [m]": round(float(north), 3),
    }
    said = f"{before.year} lies on {partition.year} to {pixels:.1f} pixels ({residual:.2f} m) after local registration"
    if pixels > MOST_RESIDUAL:
        remedy = "Check the CRS, datum and orthorectification of both years' imagery; changes there are unsure"
        message = f"{said}; {MOST_RESIDUAL:g} are allowed. {remedy}"
        return Verdict(passed=False, serious=False, message=message, facts=facts, remedy=remedy)
    return Verdict(passed=True, message=f"{said}; {told[1]}", facts=facts)


def _told_of_null(project: Project, partition: Partition) -> tuple[dict[str, Any], str]:
    """What the null set says of false alarms, as facts and in words."""
    tested = null.facts_of(project, partition)
    if tested is None or tested["at_most"] is None:
        return {}, "no null set says how many changes are false"
    wrong = tested["false_new"] + tested["false_gone"]
    facts = {
        "null set: unchanged buildings": tested["unchanged"],
        "null set: false changes": wrong,
        "false changes per 100, at most (95 %)": tested["at_most"],
    }
    words = f"of {tested['unchanged']} unchanged buildings {wrong} are called new or gone, at most "
    return facts, f"{words}{tested['at_most']:.1f} in 100 (95 %)"


def years_comparable(project: Project, partition: Partition) -> Verdict:
    """Check of changes: both years were seen by one model, in the same bands, as finely, on the same ground."""
    before = need_before(project, partition)
    found = [
        *_models(project, partition, before),
        *_imagery(project, partition, before),
        *_lost_ground(project, partition, before),
    ]
    facts = {"faults": len(found), "year before": before.year}
    if not found:
        return Verdict(
            passed=True, message=f"{before.year} and {partition.year} were seen by the same means", facts=facts
        )
    return Verdict(
        passed=False,
        serious=False,
        message=". ".join(f"{reason}. {remedy}" for reason, remedy in found),
        facts=facts,
        remedy="Do as the lines below say; until then look at each change before it is used",
        wrong=(("what differs", "what to do"), *found),
    )


def _models(project: Project, partition: Partition, before: Partition) -> list[tuple[str, str]]:
    named = [set(footprints.load(project, one)["model"].dropna()) for one in (before, partition)]
    if not all(named) or named[0] == named[1]:
        return []
    models = [", ".join(sorted(names)) for names in named]
    remedy = f"Set predict.model_year to one year, such as {partition.year}, and build again"
    told = f"{before.year} was seen by model {models[0]}, {partition.year} by {models[1]}: what one of them misses"
    return [(f"{told} looks like a change", remedy)]


def _imagery(project: Project, partition: Partition, before: Partition) -> list[tuple[str, str]]:
    found = []
    then, now = (tiles.catalog_of(project, one).sheets for one in (before, partition))
    if not then or not now:
        return []
    old, new = (float(np.median([sheet.gsd for sheet in sheets])) for sheets in (then, now))
    if max(old, new) / min(old, new) > MOST_RATIO:
        told = f"imagery of {before.year} has pixels of {old:.2f} m and that of {partition.year} of {new:.2f} m"
        found.append((told, "Deliver imagery of one resolution, or expect small buildings to seem new or gone"))
    for what in ("colors", "dtype"):
        kinds = [{getattr(sheet, what) for sheet in sheets if getattr(sheet, what)} for sheets in (then, now)]
        if all(kinds) and kinds[0] != kinds[1]:
            word = "bands" if what == "colors" else "pixels of type"
            said = [" or ".join(sorted(map(_words, kind))) for kind in kinds]
            told = f"imagery of {before.year} has {word} {said[0]} and that of {partition.year} {said[1]}"
            found.append((told, "Deliver both years in the same bands and values"))
    return found


def _words(kind: str | tuple[str, ...]) -> str:
    return kind if isinstance(kind, str) else " ".join(kind)


def _lost_ground(project: Project, partition: Partition, before: Partition) -> list[tuple[str, str]]:
    """What only one year shows: of the year before, blocks that vanished; of this one, buildings that nobody judged."""
    from groundplan.changes import changes

    then, now = (need_manifest(project.store, tiles.DATASET, one).objects for one in (before, partition))
    lost = sorted(name for name, made in then.items() if made.facts["covered"] > LEAST and name not in now)
    found = []
    if lost:
        some = ", ".join(lost[:3]) + (" ..." if len(lost) > 3 else "")
        told = f"{len(lost)} of {len(then)} blocks of {before.year} have no imagery in {partition.year}: {some}"
        found.append((told, "Deliver the rest of the flight; buildings there are unsure, not gone"))
    frame = changes.load(project, partition)
    unseen = int(((frame["state"] == UNSURE) & (frame["q"].isna() | frame["q_before"].isna())).sum())
    if unseen and not lost:
        told = f"{unseen} buildings stand where only one of the years has imagery"
        found.append((told, "Deliver the rest of the flight; those buildings are unsure"))
    return found
