"""Verdicts as a register: what people said becomes buildings, and the ground on which they are complete.

Here: that register, written beside the others of its year. Not here: how registers become labels (labels/registers.py,
masks.py). Its extent is only what people saw: the judged polygon and a few metres around it, without what was not
judged. So the label blocks around are made anew, and no others. A rejected polygon is no building; of buildings that a
register has below it, and that are others, nobody said anything. Ground of the test split is left out: verdicts there
are for scoring, and a test that is corrected by what is learnt tests nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.manifest import content_of
from groundplan.labels.register_files import register_parquet
from groundplan.labels.registers import Register, write_register
from groundplan.project import Project
from groundplan.reviews.tasks import MATCH, best_iou
from groundplan.reviews.verdicts import REDRAW, REJECT, UNSURE, Review, missing_of, read_reviews, settled
from groundplan.training.split import touches_test

if TYPE_CHECKING:
    import geopandas as gpd

NAME = "reviews"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """buildings, extent: polygons in the grid's CRS. left_out: verdicts on ground of the test split."""

    buildings: np.ndarray
    extent: np.ndarray
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """Polygons that nobody judged, of which the extent must not tell."""

    footprints: np.ndarray
    """Where they overlap what was judged, they are what was judged."""
    entries: np.ndarray
    """Buildings of registers; there they give way only to what people said to stand."""


def corrections(project: Project, reviews: Sequence[Review], others: Unjudged | None = None) -> Corrections:
    """What verdicts say of the ground."""
    import shapely

    reach, split = project.settings.review.reach, project.settings.split
    told = list(settled(reviews).values())
    added = missing_of(reviews)
    asked = _polygons(project, [one.about["geometry"] for one in told])
    drawn = _polygons(project, [one.geometry for one in [*[t for t in told if t.verdict == REDRAW], *added]])
    redrawn = iter(drawn)
    shapes = [next(redrawn) if one.verdict == REDRAW else shape for one, shape in zip(told, asked, strict=True)]
    shapes += list(redrawn)
    words = [one.verdict for one in told] + ["missing"] * len(added)
    trained = ~touches_test(np.array([*asked, *shapes[len(asked) :]], object), split.cell, split.turn)
    kept = [(word, shape) for word, shape, train in zip(words, shapes, trained, strict=True) if train]
    buildings = np.array([shape for word, shape in kept if word not in (REJECT, UNSURE)], object)
    seen = [shape for word, shape in kept if word != UNSURE]
    seen += [shape for one, shape, train in zip(told, asked, trained, strict=False) if train and one.verdict == REDRAW]
    area = shapely.union_all(shapely.buffer(np.array(seen, object), reach, join_style="mitre")) if seen else None
    doubtful = [shape for word, shape in kept if word == UNSURE]
    if area is not None:
        area = _without(area, [*doubtful, *(others.footprints if others else [])], seen)
        area = _without(area, others.entries if others else [], buildings)
    parts = shapely.get_parts(area) if area is not None else np.array([], object)
    return Corrections(buildings=buildings, extent=parts, left_out=len(words) - len(kept))


def _without(area: Any, unknown: Sequence[Any] | np.ndarray, own: Sequence[Any] | np.ndarray) -> Any:
    """The area without what is unknown and a metre around it, but with what is `own`."""
    import shapely

    kept = shapely.union_all(shapely.buffer(np.array(own, object), 0.1))
    return shapely.difference(area, shapely.difference(shapely.union_all(np.array(unknown, object)).buffer(1.0), kept))


def _polygons(project: Project, geometries: Sequence[Any]) -> np.ndarray:
    import geopandas as gpd
    import shapely
    from shapely.geometry import shape

    found = gpd.GeoSeries([shape(one) for one in geometries], crs=4326).to_crs(project.grid.crs)
    return shapely.make_valid(found.values.to_numpy()) if len(found) else np.array([], object)


def write_reviews(project: Project, year: int) -> tuple[Register | None, Corrections]:
    """Write a year's verdicts, as the store has them, as a register of its own; None where nothing follows of them.

    Safe to repeat: the same verdicts give the same bytes.
    """
    reviews = read_reviews(project.store, year)
    found = corrections(project, reviews, _unjudged(project, year, reviews))
    record = f"registers/{year}/{NAME}.json"
    if not len(found.extent):
        project.store.delete([record])
        return None, found
    parts = {"buildings": register_parquet(_frame(project, found.buildings)), "extent": None}
    parts["extent"] = register_parquet(_frame(project, found.extent))
    digest = hashlib.sha256(b"".join(part for part in parts.values() if part)).hexdigest()[:16]
    prefix = f"registers/{year}/{NAME}-{digest}"
    keys = {f"{prefix}/{name}.parquet": part for name, part in parts.items() if part}
    for key, part in keys.items():
        project.store.put(key, part)
    register = Register(
        name=NAME,
        buildings=f"{prefix}/buildings.parquet",
        extent=f"{prefix}/extent.parquet",
        digest=digest,
        corrects=True,
        by=tuple(sorted({review.person for review in reviews})),
        content={key: content_of(part) for key, part in keys.items()},
    )
    write_register(project, record, register)
    return register, found


def _frame(project: Project, shapes: np.ndarray) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import shapely

    ordered = sorted(shapes, key=lambda shape: shapely.to_wkb(shapely.normalize(shape)))
    return gpd.GeoDataFrame(geometry=ordered, crs=project.grid.crs)


def _unjudged(project: Project, year: int, reviews: Sequence[Review]) -> Unjudged:
    """Footprints, and buildings of registers, of the regions of these verdicts that nobody judged."""
    from groundplan.core.manifest import read_manifest
    from groundplan.core.partition import Partition
    from groundplan.footprints import footprints
    from groundplan.labels import registers

    judged = {str(one.about.get("footprint")) for one in reviews}
    shown = [one.about["geometry"] for one in reviews] + [one.geometry for one in reviews if one.geometry]
    shapes = _polygons(project, shown)
    found: list[np.ndarray] = [np.array([], object)]
    entries: list[np.ndarray] = [np.array([], object)]
    for region in sorted({str(one.about["region"]) for one in reviews}):
        here = Partition(year, region)
        if read_manifest(project.store, footprints.DATASET, here):
            frame = footprints.load(project, here)
            found.append(frame[~frame["id"].isin(judged)].geometry.values.to_numpy())
        if read_manifest(project.store, registers.DATASET, here):
            frame, _ = registers.load(project, here)
            others = frame[frame["register"] != NAME].geometry.values.to_numpy()
            entries.append(others[best_iou(others, shapes) < MATCH])
    return Unjudged(footprints=np.concatenate(found), entries=np.concatenate(entries))
