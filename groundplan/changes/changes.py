"""Building changes: what became of each building of a region since the year before.

Here: the step: what is read of both years, and its table. Not here: the comparison (comparing.py), lasting ids
(ids.py), how many of its changes are false (null.py).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from groundplan.changes import blocks, ids
from groundplan.changes.comparing import NUMBERS, TEXTS, ComparedYear, compare
from groundplan.changes.states import STATES
from groundplan.changes.years import need_before
from groundplan.core.manifest import Dataset, Made, Planned, fingerprint, load_object, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.progress import going_on
from groundplan.footprints import footprints, predictions
from groundplan.imagery import tiles
from groundplan.polygons.geoparquet import read, to_parquet
from groundplan.project import Project
from groundplan.step import BBOX, GEOPARQUET, About, Scope, Step

if TYPE_CHECKING:
    import geopandas as gpd


class Facts(TypedDict):
    """What a manifest says of an object: buildings by state."""

    new: int
    gone: int
    changed: int
    same: int
    unsure: int


DATASET: Dataset[Facts] = Dataset("building_changes")
VERSION = "1"
COLUMNS = ("building_id", *TEXTS[:3], *NUMBERS, *TEXTS[3:])


class Side(TypedDict):
    """What is read of a year."""

    partition: Partition
    footprints: Made[Any]
    ids: Made[Any]
    predictions: dict[str, Made[Any]]
    tiles: dict[str, Made[Any]]


Needs: TypeAlias = "tuple[Side, Side]"
"""This year, and the one before."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One table for a region and year. Raises MissingInput where either year is not made, or none was before."""
    before = need_before(project, partition)
    now, then = _side(project, partition), _side(project, before)
    mark = fingerprint(version=VERSION, grid=project.grid.identity(), now=_identity(now), then=_identity(then))
    key = object_key(DATASET, partition, "changes", mark, ".parquet")
    inputs = tuple(one[name].key for one in (now, then) for name in ("footprints", "ids"))  # type: ignore[literal-required]
    return [Planned(name="changes", fingerprint=mark, key=key, inputs=inputs, args=(now, then))]


def _side(project: Project, partition: Partition) -> Side:
    return {
        "partition": partition,
        "footprints": need_manifest(project.store, footprints.DATASET, partition).objects["footprints"],
        "predictions": need_manifest(project.store, predictions.DATASET, partition).objects,
        "tiles": need_manifest(project.store, tiles.DATASET, partition).objects,
        "ids": ids.made_of(project, partition),
    }


def _identity(side: Side) -> dict[str, Any]:
    """All of a year that decides the table."""
    return {
        "year": side["partition"].year,
        "footprints": side["footprints"].fingerprint,
        "ids": side["ids"].fingerprint,
        "predictions": sorted([name, made.fingerprint] for name, made in side["predictions"].items()),
        "tiles": sorted([name, made.fingerprint] for name, made in side["tiles"].items()),
    }


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """The table. In memory are both years' footprints, and one block of probabilities at a time."""
    now, then = planned.needs
    with going_on(f"comparing {now['partition']} with {then['partition'].year}"):
        frame = compare(_year(project, now), _year(project, then), project.grid, check)
    return Output(to_parquet(_named(project, frame, now, then)))


def _year(project: Project, side: Side) -> ComparedYear:
    return ComparedYear(
        year=side["partition"].year,
        footprints=load_object(project.store, side["footprints"], read),
        blocks=blocks.reads(project, side["predictions"], side["tiles"]),
    )


def _named(project: Project, frame: gpd.GeoDataFrame, now: Side, then: Side) -> gpd.GeoDataFrame:
    """With the lasting id of each row: this year's, and of what is no more or is a part now the year before's."""
    import pandas as pd

    names = [
        ids.registered(project, side["partition"], side["ids"]).dropna(subset="id").set_index("id")["building_id"]
        for side in (now, then)
    ]
    own = frame["id"].map(names[0])
    rest = frame["id_before"].map(names[1])
    of_now = frame["id"].notna() & ~frame["joined"]
    frame["building_id"] = pd.array(own.where(of_now, rest), dtype="str")
    return frame[[*COLUMNS, "geometry"]].sort_values("building_id").reset_index(drop=True)


def describe(data: bytes) -> Facts:
    import pandas as pd

    counts = pd.read_parquet(io.BytesIO(data), columns=["state"])["state"].value_counts()
    new, gone, changed, same, unsure = (int(counts.get(state, 0)) for state in STATES)
    return {"new": new, "gone": gone, "changed": changed, "same": same, "unsure": unsure}


def load(project: Project, partition: Partition) -> gpd.GeoDataFrame:
    """The committed changes of a region since the year before. Raises MissingInput."""
    return load_object(project.store, need_manifest(project.store, DATASET, partition).objects["changes"], read)


READ = (footprints.DATASET, predictions.DATASET, tiles.DATASET)
STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=READ,
    reads_before=(*READ, ids.DATASET),
    wanted=lambda settings: settings.changes.compare,
    automated=True,
    starts_when="new footprints of the year, or of the year before",
    profile="cpu",
    about=About(
        title="What became of each building since the year before",
        description="A row for each building of this year and of the region's year before: new, gone, changed, same or "
        "unsure, decided by the probabilities of both years inside its outline after local registration, never by the "
        "bare difference of polygons. With both ids, dates and models, what it was decided by, and why in words.",
        group="footprints",
        kinds=frozenset({"geoparquet"}),
        format=GEOPARQUET,
        page="docs/changes.md",
        columns=(
            ("building_id", "string", "the building's lasting id: dataset building_ids"),
            ("state", "string", "new, gone, changed, same or unsure"),
            ("id", "string", "of the footprint of this year; null where none is there"),
            ("id_before", "string", "of the footprint of the year before; null where none was there"),
            ("area_m2", "double", "footprint of this year, of what is gone that of the year before [m2]"),
            ("area_before_m2", "double", "footprint of the year before [m2]"),
            ("q", "double", "building probability inside the outline in this year's imagery [0..1]"),
            ("q_before", "double", "the same in the imagery of the year before [0..1]"),
            ("covered", "double", "share of the outline on outlines of the other year [0..1]"),
            ("iou", "double", "of both outlines after registration; null without a pair [0..1]"),
            ("shift_east", "double", "by which the year before was moved to lie on this year's, here [m]"),
            ("shift_north", "double", "the same northward [m]"),
            ("image_date", "string", "date of this year's imagery; null where only its year is known [ISO 8601]"),
            ("image_date_before", "string", "the same of the year before [ISO 8601]"),
            ("model", "string", "year and identity of the model of this year's footprints"),
            ("model_before", "string", "the same of the year before"),
            ("reason", "string", "why it has this state, in words"),
            (
                "geometry",
                "polygon",
                "this year's outline; of what is gone the one before [m, the grid's CRS]",
            ),
            BBOX,
        ),
    ),
)
