"""Data quality checks: verdicts that name what is wrong and what to do.

Here: the checks as pure reading of committed partitions. Not here: when they run or what they block
(assets/buildings/checks.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.changes import changes
from groundplan.core.manifest import Made, Manifest, need_manifest
from groundplan.core.partition import Partition
from groundplan.footprints import footprints, national
from groundplan.imagery import catalog, tiles
from groundplan.imagery.credits import credits_of
from groundplan.labels import masks, registers
from groundplan.mining import trial
from groundplan.previews import pictures
from groundplan.project import Project
from groundplan.raster import cog

if TYPE_CHECKING:
    pass
from groundplan.quality.calibration import calibrated
from groundplan.quality.labels_health import LEAST_PROMINENCE as LEAST_PROMINENCE
from groundplan.quality.labels_health import labels_healthy as labels_healthy
from groundplan.quality.mining_pays import mining_pays
from groundplan.quality.national import national_apart, national_whole
from groundplan.quality.register_faults import strangers
from groundplan.quality.scores import against_register, errors_picture, scored_ground
from groundplan.quality.verdict import Verdict
from groundplan.quality.years import years_comparable, years_registered

OVERLAP = 1e-6  # m2 that two footprints may share by rounding
MOST_WRONG = 50  # lines of a verdict's table
FEW = 25  # buildings below which a score says little


def sheets_usable(project: Project, partition: Partition) -> Verdict:
    """Check of sheets: every delivered file can be read and lies in the right place."""
    facts = need_manifest(project.store, catalog.DATASET, partition).objects["catalogue"].facts
    aside, notes = facts["quarantined"], facts.get("notes", [])
    if not aside and not notes:
        return Verdict(
            passed=True, message=f"all {facts['sheets']} sheets can be used", facts={"sheets": facts["sheets"]}
        )
    lines = "; ".join(f"{item['file']}: {item['reason']}. {item['remedy']}" for item in aside[:5])
    told = [f"{len(aside)} of {facts['sheets'] + len(aside)} files are set aside: {lines}"] if aside else []
    mend = "Mend the files below and deliver them again, or remove them from the landing folder"
    return Verdict(
        passed=False,
        message=". ".join([*told, *notes[:5]]),
        serious=False,
        facts={"sheets": facts["sheets"], "quarantined": len(aside)} | ({"notes": len(notes)} if notes else {}),
        remedy=mend if aside else "Do as the notes below say",
        wrong=(
            ("file", "reason", "remedy"),
            *((i["file"], i["reason"], i["remedy"]) for i in aside[:MOST_WRONG]),
            *(("", note, "") for note in notes[:MOST_WRONG]),
        ),
        draw=lambda: pictures.sheets_picture(project, tiles.catalog_of(project, partition), partition.region),
    )


def sheets_plausible(project: Project, partition: Partition) -> Verdict:
    """Check of sheets: what they show is imagery, as far as a few samples of each tell."""
    facts = need_manifest(project.store, catalog.DATASET, partition).objects["catalogue"].facts
    looks = facts.get("looks", [])
    if not looks:
        return Verdict(passed=True, message="no sheet shows flat corners, or little but one colour")
    return Verdict(
        passed=False,
        message="; ".join(looks[:5]),
        serious=False,
        facts={"to look at": len(looks)},
        remedy="Look at the sheets; where they show no imagery, set imagery.nodata, or deliver them with a mask",
        wrong=(("what was seen",), *((look,) for look in looks[:MOST_WRONG])),
        draw=lambda: pictures.sheets_picture(project, tiles.catalog_of(project, partition), partition.region),
    )


def _fault_of(made: Made[Any], data: bytes) -> str:
    """What is wrong with a block's bytes, '' for nothing. Of a version before format 1.1 no digest is known."""
    if made.sha256 and hashlib.sha256(data).hexdigest() != made.sha256:
        return "its content is not what was written"
    return next(iter(cog.validate(data)), "")


def tiles_complete(project: Project, partition: Partition) -> Verdict:
    """Check of tiles: every planned block is there, as it was written, and a valid COG."""
    manifest = need_manifest(project.store, tiles.DATASET, partition)
    there = {found.key: found.size for found in project.store.list(f"{tiles.DATASET}/{partition.path}")}
    wrong = {}
    for name, made in manifest.objects.items():
        if there.get(made.key) != made.bytes:
            wrong[name] = "the object is gone or has another size"
        elif fault := _fault_of(made, project.store.get(made.key)):
            wrong[name] = fault
    facts: dict[str, Any] = {"blocks": len(manifest.objects), "wrong": len(wrong)}
    if wrong:
        name, reason = next(iter(wrong.items()))
        remedy = "Remove the object and build the partition again"
        summary = f"{len(wrong)} blocks are wrong: {name}: {reason}. {remedy}"
        table = (("block", "reason"), *list(wrong.items())[:MOST_WRONG])
        return Verdict(
            passed=False,
            message=summary,
            serious=True,
            facts=facts,
            remedy=remedy,
            wrong=table,
            draw=lambda: _blocks_picture(project, manifest, wrong),
        )
    if lacking := _lacking(manifest):
        lost = {name: ", ".join(made.facts.get("unreadable", ())) for name, made in manifest.objects.items()}
        lost = {name: names for name, names in lost.items() if names}
        remedy = "Deliver the sheets again; only those blocks are made anew"
        table = (("block", "sheets that cannot be decoded"), *list(lost.items())[:MOST_WRONG])
        return Verdict(
            passed=False,
            message=lacking,
            serious=False,
            facts=facts,
            remedy=remedy,
            wrong=table,
            draw=lambda: _blocks_picture(project, manifest, lost),
        )
    return Verdict(passed=True, message=f"all {len(manifest.objects)} blocks are there and valid COGs", facts=facts)


def _blocks_picture(project: Project, manifest: Manifest, wrong: Collection[str]) -> bytes:
    """The whole blocks over the region's ground; the wrong ones red."""
    return pictures.blocks_picture(project, {n: m for n, m in manifest.objects.items() if n not in wrong}, wrong)


def _lacking(manifest: Manifest) -> str:
    """What is missing on blocks that were made without a sheet that cannot be decoded; '' when nothing is."""
    lost = {name: made.facts["unreadable"] for name, made in manifest.objects.items() if "unreadable" in made.facts}
    if not lost:
        return ""
    names = ", ".join(sorted({sheet for sheets_ in lost.values() for sheet in sheets_}))
    return (
        f"{len(lost)} blocks lack ground of sheets whose pixels cannot be decoded: {names} "
        f"(on {', '.join(sorted(lost)[:5])}). Deliver them again; only those blocks are made anew"
    )


def known_faults(project: Project, dataset: str, partition: Partition) -> dict[str, str]:
    """Failed checks that a committed manifest itself tells: a partition can be current and still lack a sheet."""
    faults = {}
    if dataset == catalog.DATASET and not (verdict := sheets_usable(project, partition)).passed:
        faults["sheets_usable"] = verdict.message
    if dataset == tiles.DATASET and (lacking := _lacking(need_manifest(project.store, dataset, partition))):
        faults["tiles_complete"] = lacking
    return faults


def footprints_valid(project: Project, partition: Partition) -> Verdict:
    """Check of footprints: polygons, valid, named once, none on another's ground."""
    import shapely

    frame = footprints.load(project, partition)
    shapes = frame.geometry.values
    pairs = _overlapping(shapes)
    where = {
        "not polygons": shapely.get_type_id(shapes) != 3,
        "invalid": ~shapely.is_valid(shapes),
        "named twice": frame["id"].duplicated().to_numpy(),
        "overlapping": np.isin(np.arange(len(shapes)), pairs),
    }
    faults = {fault: len(pairs) if fault == "overlapping" else int(here.sum()) for fault, here in where.items()}
    facts = {"buildings": len(frame), **faults}
    if any(faults.values()):
        what = ", ".join(f"{count} {fault}" for fault, count in faults.items() if count)
        summary = f"of {len(frame)} footprints {what}. This is a fault of the program: report it"
        bad = np.any(list(where.values()), axis=0)
        lines = [
            (str(frame["id"].iloc[i]), ", ".join(fault for fault, here in where.items() if here[i]))
            for i in np.flatnonzero(bad)[:MOST_WRONG]
        ]
        images = need_manifest(project.store, tiles.DATASET, partition).objects
        return Verdict(
            passed=False,
            message=summary,
            serious=True,
            facts=facts,
            remedy="Report it with the ids below; the region's other assets are not affected",
            wrong=(("id", "fault"), *lines),
            draw=lambda: pictures.footprints_picture(
                project, images, frame, bad, credits_of(project, partition).imagery_line
            ),
        )
    return Verdict(passed=True, message=f"all {len(frame)} footprints are valid and apart", facts=facts)


def _overlapping(shapes: np.ndarray) -> np.ndarray:
    """Pairs (n, 2) of footprints that share ground."""
    import shapely

    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = np.column_stack([one, other])[one < other]
    shared = shapely.area(shapely.intersection(shapes[pairs[:, 0]], shapes[pairs[:, 1]]))
    return pairs[shared > OVERLAP]


def footprints_quality(project: Project, partition: Partition) -> Verdict:
    """Check of accuracy: footprints against the register, on ground that the model did not learn from."""
    settings = project.settings.quality
    found = against_register(project, partition)
    if found is None:
        why = "no register covers test ground of this region"
        return Verdict(passed=True, compared=False, message=why)
    scores, split = found
    facts = {"ground": split, **{key: round(value, 4) for key, value in asdict(scores).items()}}

    def draw() -> bytes:
        return errors_picture(project, partition)

    demands = {"IoU": (scores.iou, settings.min_iou), "F1": (scores.object_f1, settings.min_f1)}
    short = [f"{name} {value:.3f} < {least:.3f}" for name, (value, least) in demands.items() if value < least]
    summary = (
        f"on {split} ground IoU {scores.iou:.3f}, boundary IoU {scores.boundary_iou:.3f}, F1 {scores.object_f1:.3f}"
    )
    if lacking := _lacking_in_register(project, partition, split):
        remedy = "Look whether the register is whole: what it lacks is learned from as ground"
        return Verdict(
            passed=False, message=f"{summary}: {lacking}", serious=False, facts=facts, remedy=remedy, draw=draw
        )
    if short and scores.buildings >= FEW:
        remedy = "Train longer, add labelled ground, or look where it fails (groundplan evaluate --picture)"
        return Verdict(
            passed=False, message=f"{summary}: {', '.join(short)}. {remedy}", facts=facts, remedy=remedy, draw=draw
        )
    return Verdict(passed=True, message=summary, facts=facts, draw=draw)


def _lacking_in_register(project: Project, partition: Partition, split: str) -> str:
    """What footprints say of the register on the ground on which they are judged."""
    import shapely

    real, complete = registers.load(project, partition)
    area = scored_ground(project, partition, complete, split)
    shapely.prepare(area)
    found = footprints.load_around(project, partition)
    here = [
        shapes[shapely.intersects(area, shapely.point_on_surface(shapes))]
        for shapes in (found.geometry.values.to_numpy(), real.geometry.values.to_numpy())
    ]
    return strangers(*here)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A check that must hold of each partition of a dataset before the next dataset may use it."""

    dataset: str
    name: str
    judge: Callable[[Project, Partition], Verdict]
    description: str


GUARDS = (
    Guard(
        dataset=catalog.DATASET,
        name="sheets_usable",
        judge=sheets_usable,
        description="Every delivered file is readable and in its place. A failure is a warning: the good sheets go on.",
    ),
    Guard(
        dataset=catalog.DATASET,
        name="sheets_plausible",
        judge=sheets_plausible,
        description="No sheet shows flat corners that it does not call nodata, or little but one colour. A failure is "
        "a warning: such ground is laid below what other sheets show.",
    ),
    Guard(
        dataset=tiles.DATASET,
        name="tiles_complete",
        judge=tiles_complete,
        description="Every planned block is there and a valid COG, with the ground of every sheet.",
    ),
    Guard(
        dataset=masks.DATASET,
        name="labels_healthy",
        judge=labels_healthy,
        description="Labels hold buildings and lie on the imagery, to 1.5 m.",
    ),
    Guard(
        dataset=footprints.DATASET,
        name="footprints_valid",
        judge=footprints_valid,
        description="Valid polygons, each named once, none on another's ground.",
    ),
    Guard(
        dataset=footprints.DATASET,
        name="footprints_quality",
        judge=footprints_quality,
        description="Agreement with the register on ground that the model did not learn from; quality.min_iou and "
        "quality.min_f1 say what is demanded. The picture: found green, missed red, false alarms yellow.",
    ),
    Guard(
        dataset=trial.DATASET,
        name="mining_pays",
        judge=mining_pays,
        description="Learning from mined places leaves fewer false alarms than learning from as much empty ground by "
        "chance, at 95 %, and recall falls by less than 0.01. A failure is a warning: the model stays as it is.",
    ),
    Guard(
        dataset=footprints.DATASET,
        name="calibrated",
        judge=calibrated,
        description="p_building and p_outline came true as often as they say, to 0.05, on ground that the model did "
        "not learn from. A failure is a warning. The picture: said against true.",
    ),
    Guard(
        dataset=changes.DATASET,
        name="years_registered",
        judge=years_registered,
        description="The year before lies on this one, to two pixels after local registration. Also says how many "
        "unchanged buildings of the null set are called new or gone, and how many at most (95 %). A failure is a "
        "warning.",
    ),
    Guard(
        dataset=changes.DATASET,
        name="years_comparable",
        judge=years_comparable,
        description="Both years were seen by one model, in the same bands, as finely, and on the same ground. A "
        "failure is a warning: what only one of the years could show looks like a change.",
    ),
    Guard(
        dataset=national.DATASET,
        name="national_whole",
        judge=national_whole,
        description="Each region's footprints are in the country's file as they are now, and no id stands in it twice. "
        "A region that is not made yet, or has no building, is a warning.",
    ),
    Guard(
        dataset=national.DATASET,
        name="national_apart",
        judge=national_apart,
        description="No building of one region lies on another region's by more than 1 m2.",
    ),
)
"""The one list of them; assets/buildings/checks.py makes an asset check of each."""
