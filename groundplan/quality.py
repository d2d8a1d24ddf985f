"""What must hold of each dataset, and how good the result is: verdicts that name what is wrong and what to do.

Here: the checks as pure reading of committed partitions. Not here: when they run or what they block (assets/checks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan import cog, evaluate, footprints, labels, models, pictures, registers, sheets, tiles, windows
from groundplan.blocks import Manifest, Partition, need_manifest, read_manifest
from groundplan.errors import MissingInput
from groundplan.grid import Block
from groundplan.project import Project

if TYPE_CHECKING:
    import geopandas as gpd

MOST_OFFSET = 1.5  # metres between register and image from which training suffers (research: labels fit within 0.5 m)
SURE = 6.0  # standard deviations by which the best shift must stand out to be believed (labels.offset says why)
OVERLAP = 1e-6  # m2 that two footprints may share by rounding
MOST_WRONG = 50  # lines of a verdict's table
FEW = 25  # buildings below which a score says little


@dataclass(frozen=True, slots=True)
class Verdict:
    """passed: whether it holds. serious: a failure makes what follows worthless. message: why, and the remedy.

    remedy: what to do, by itself. wrong: a table of what is wrong, its header first. draw: a picture of where (JPEG or
    PNG), made only when somebody wants it.
    """

    passed: bool
    message: str
    serious: bool = True
    facts: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
    wrong: tuple[tuple[str, ...], ...] = ()
    draw: Callable[[], bytes] | None = field(default=None, compare=False)


def verdict_key(check: str, partition: Partition) -> str:
    """Where the last verdict of a check lies, for the map and for whoever has no Dagster at hand."""
    return f"verdicts/{check}/{partition.path}.json"


def sheets_usable(project: Project, partition: Partition) -> Verdict:
    """Every delivered file can be read and lies in the right place."""
    facts = need_manifest(project.store, sheets.DATASET, partition).objects["catalogue"].facts
    aside = facts["quarantined"]
    if not aside:
        return Verdict(True, f"all {facts['sheets']} sheets can be used", facts={"sheets": facts["sheets"]})
    lines = "; ".join(f"{item['file']}: {item['reason']}. {item['remedy']}" for item in aside[:5])
    return Verdict(
        False,
        f"{len(aside)} of {facts['sheets'] + len(aside)} files are set aside: {lines}",
        False,
        {"sheets": facts["sheets"], "quarantined": len(aside)},
        "Mend the files below and deliver them again, or remove them from the landing folder",
        (("file", "reason", "remedy"), *((i["file"], i["reason"], i["remedy"]) for i in aside[:MOST_WRONG])),
        lambda: pictures.sheets_picture(project, tiles.catalogue_of(project, partition), partition.region),
    )


def tiles_complete(project: Project, partition: Partition) -> Verdict:
    """Every planned block is there, of the right size and a valid COG."""
    manifest = need_manifest(project.store, tiles.DATASET, partition)
    there = {found.key: found.size for found in project.store.list(f"{tiles.DATASET}/{partition.path}")}
    wrong = {}
    for name, made in manifest.objects.items():
        if there.get(made.key) != made.bytes:
            wrong[name] = "the object is gone or has another size"
        elif faults := cog.validate(project.store.get(made.key)):
            wrong[name] = faults[0]
    facts: dict[str, Any] = {"blocks": len(manifest.objects), "wrong": len(wrong)}
    if wrong:
        name, reason = next(iter(wrong.items()))
        remedy = "Remove the object and build the partition again"
        said = f"{len(wrong)} blocks are wrong: {name}: {reason}. {remedy}"
        table = (("block", "reason"), *list(wrong.items())[:MOST_WRONG])
        return Verdict(False, said, True, facts, remedy, table, lambda: _blocks_picture(project, manifest, wrong))
    if lacking := _lacking(manifest):
        lost = {name: ", ".join(made.facts.get("unreadable", ())) for name, made in manifest.objects.items()}
        lost = {name: names for name, names in lost.items() if names}
        remedy = "Deliver the sheets again; only those blocks are made anew"
        table = (("block", "sheets that cannot be decoded"), *list(lost.items())[:MOST_WRONG])
        return Verdict(
            False,
            lacking,
            False,
            facts,
            remedy,
            table,
            lambda: _blocks_picture(project, manifest, lost),
        )
    return Verdict(True, f"all {len(manifest.objects)} blocks are there and valid COGs", facts=facts)


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
    if dataset == sheets.DATASET and not (verdict := sheets_usable(project, partition)).passed:
        faults["sheets_usable"] = verdict.message
    if dataset == tiles.DATASET and (lacking := _lacking(need_manifest(project.store, dataset, partition))):
        faults["tiles_complete"] = lacking
    return faults


def labels_healthy(project: Project, partition: Partition) -> Verdict:
    """The register covers ground, is not empty where it claims to be complete, and lies on the imagery."""
    objects = need_manifest(project.store, labels.DATASET, partition).objects
    known = sum(made.facts["known"] for made in objects.values())
    building = sum(made.facts["building"] for made in objects.values())
    total = len(objects) * project.grid.block_size**2
    facts: dict[str, Any] = {
        "covered share": round(known / total, 4),
        "building share": round(building / known, 4) if known else 0.0,
    }
    images = need_manifest(project.store, tiles.DATASET, partition).objects

    def draw() -> bytes:
        return pictures.labels_picture(project, images, objects)

    if known == 0:
        return Verdict(True, "no register covers this region; it is predicted with the year's model", facts=facts)
    if building == 0:
        return Verdict(
            False,
            "the register claims to be complete here but shows no building. Check its CRS, year and --extent",
            facts=facts,
            remedy="Check the register's CRS, year and --extent; add it again",
            draw=draw,
        )
    shift = measured_offset(project, partition, objects)
    if shift is None:
        return Verdict(True, "labels hold buildings; too few to measure an offset", facts=facts)
    east, north, sure = shift
    facts |= {"offset east [m]": east, "offset north [m]": north, "offset certainty": sure}
    if np.hypot(east, north) > MOST_OFFSET and sure > SURE:
        return Verdict(
            False,
            f"the register seems to lie {np.hypot(east, north):.1f} m off the imagery ({east:+.1f} m east, "
            f"{north:+.1f} m north). Check the CRS and datum of both, or the lean of tall buildings",
            False,
            facts,
            "Check the CRS and datum of register and imagery; where both are right, tall buildings lean",
            draw=draw,
        )
    return Verdict(True, "labels hold buildings and lie on the imagery", facts=facts)


def measured_offset(
    project: Project, partition: Partition, objects: dict[str, Any]
) -> tuple[float, float, float] | None:
    """Median over the blocks with most buildings."""
    images = need_manifest(project.store, tiles.DATASET, partition).objects
    fullest = sorted(objects, key=lambda name: (-objects[name].facts["building"], name))[:3]
    shifts = []
    for name in fullest:
        side = min(project.grid.block_size, 2048)
        window = (0, 0, side, side)
        image, _ = cog.read_object(project.store, images[name].key, window)
        classes, _ = cog.read_object(project.store, objects[name].key, window)
        shift = labels.offset(image, classes[0], project.grid.resolution)
        if shift is not None:
            shifts.append(shift)
    if not shifts:
        return None
    east, north, sure = (float(np.median([shift[index] for shift in shifts])) for index in range(3))
    return round(east, 2), round(north, 2), round(sure, 2)


def footprints_valid(project: Project, partition: Partition) -> Verdict:
    """Polygons, valid, named once, none on another's ground."""
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
        said = f"of {len(frame)} footprints {what}. This is a fault of the program: report it"
        bad = np.any(list(where.values()), axis=0)
        lines = [
            (str(frame["id"].iloc[i]), ", ".join(fault for fault, here in where.items() if here[i]))
            for i in np.flatnonzero(bad)[:MOST_WRONG]
        ]
        images = need_manifest(project.store, tiles.DATASET, partition).objects
        return Verdict(
            False,
            said,
            True,
            facts,
            "Report it with the ids below; the region's other assets are not affected",
            (("id", "fault"), *lines),
            lambda: pictures.footprints_picture(project, images, frame, bad),
        )
    return Verdict(True, f"all {len(frame)} footprints are valid and apart", facts=facts)


def _overlapping(shapes: np.ndarray) -> np.ndarray:
    """Pairs (n, 2) of footprints that share ground."""
    import shapely

    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = np.column_stack([one, other])[one < other]
    shared = shapely.area(shapely.intersection(shapes[pairs[:, 0]], shapes[pairs[:, 1]]))
    return pairs[shared > OVERLAP]


def footprints_quality(project: Project, partition: Partition) -> Verdict:
    """How the footprints compare with the register, on ground that the model did not learn from."""
    settings = project.settings.quality
    found = against_register(project, partition)
    if found is None:
        return Verdict(True, "no register covers test ground of this region: nothing to compare with")
    scores, split = found
    facts = {"ground": split, **{key: round(value, 4) for key, value in asdict(scores).items()}}

    def draw() -> bytes:
        return errors_picture(project, partition)

    demands = {"IoU": (scores.iou, settings.min_iou), "F1": (scores.object_f1, settings.min_f1)}
    short = [f"{name} {value:.3f} < {least:.3f}" for name, (value, least) in demands.items() if value < least]
    said = f"on {split} ground IoU {scores.iou:.3f}, boundary IoU {scores.boundary_iou:.3f}, F1 {scores.object_f1:.3f}"
    if short and scores.buildings >= FEW:
        remedy = "Train longer, add labelled ground, or look where it fails (groundplan evaluate --picture)"
        return Verdict(False, f"{said}: {', '.join(short)}. {remedy}", facts=facts, remedy=remedy, draw=draw)
    return Verdict(True, said, facts=facts, draw=draw)


def errors_picture(project: Project, partition: Partition) -> bytes:
    """Found green, missed red, false alarms yellow, against the register."""
    from affine import Affine

    images = need_manifest(project.store, tiles.DATASET, partition).objects
    canvas, (left, top, pixel) = pictures.overview(project, images, bounds=pictures.imaged(project, images))
    frame, (real, _) = footprints.load_around(project, partition), registers.load(project, partition)
    transform = Affine(pixel, 0, left, 0, -pixel, top)
    return evaluate.compare_picture(pictures.rgb(canvas), frame, real, transform, limit=pictures.LIMIT)


def against_register(project: Project, partition: Partition) -> tuple[evaluate.Scores, str] | None:
    """Scores inside the register's extent: on test ground where the year's model learned from this region."""
    buildings, complete = registers.load(project, partition)
    if complete.is_empty:
        return None
    learned = read_manifest(project.store, models.DATASET, Partition(partition.year)) is not None
    split = "test" if learned else "all"
    area = scored_ground(project, partition, complete, split)
    if area.is_empty or area.area < 100:
        return None
    return score_region(project, partition, buildings, area), split


def scored_ground(project: Project, partition: Partition, extent: Any, split: str) -> Any:
    """The region's imaged ground inside `extent` that belongs to a split ('all' for any), in the grid's CRS."""
    import shapely

    names = need_manifest(project.store, tiles.DATASET, partition).objects
    blocks = [Block.parse(name) for name in names]
    catalogue = tiles.catalogue_of(project, partition)
    imaged = shapely.union_all([sheet.polygon for sheet in catalogue.sheets])
    grid, cell = project.grid, project.settings.split.cell
    cells = [
        grid.polygon(block) if split == "all" else windows.split_area(grid, block, split, cell) for block in blocks
    ]
    return shapely.intersection_all([shapely.union_all(cells), imaged, extent])


def score_region(project: Project, partition: Partition, truth: gpd.GeoDataFrame, area: Any) -> evaluate.Scores:
    """Scores of a region's footprints, with those of its neighbours so that buildings on the border are whole."""
    frame = footprints.load_around(project, partition)
    return evaluate.score(
        frame, truth, area=area, resolution=project.grid.resolution, boundary=project.settings.quality.boundary
    )


def score_splits(
    project: Project, partition: Partition, truth: gpd.GeoDataFrame, extent: Any
) -> dict[str, evaluate.Scores]:
    """Scores on all ground and, where the year's model learned from this region, on each split."""
    names = ["all"]
    try:
        learned = partition.region in windows.labelled(project, partition.year)
    except MissingInput:
        learned = False
    if learned:
        names += ["test", "validation", "train"]
    scores = {}
    for name in names:
        area = scored_ground(project, partition, extent, name)
        if area.area > 0:
            scores[name] = score_region(project, partition, truth, area)
    return scores
