"""Building ids: one name for a building through the years, whatever pixel its outline begins with.

Here: the step, and how a year takes over the ids of the year before. Not here: the states of the change (states.py).

A footprint's own id names an observation: a pixel more at its edge gives another one. The registry of a year takes the
building_id of the year before where a footprint is that building; the ids of the first year follow from its footprints.
What a year does not show is kept in the registry as absent, so that it gets its name back when it is seen again: a year
in which the network missed it renames nothing.
"""

from __future__ import annotations

import io
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.changes.comparing import placed
from groundplan.changes.pairing import alone, centers, keepers, links, overlaps
from groundplan.changes.registration import translated
from groundplan.changes.years import before, need_before
from groundplan.core.manifest import (
    Dataset,
    Made,
    Planned,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
    read_manifest,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.footprints import footprints
from groundplan.polygons.geoparquet import read, to_parquet
from groundplan.project import Project
from groundplan.step import Scope, Step

if TYPE_CHECKING:
    import geopandas as gpd


class Facts(TypedDict):
    """What a manifest says of an object."""

    buildings: int
    named: int  # those that got a new id
    absent: int


DATASET: Dataset[Facts] = Dataset("building_ids")
VERSION = "1"
FIRST, KEPT, SPLIT, MERGED, FRESH, AGAIN = "first", "kept", "split", "merged", "new", "again"
ABSENT, JOINED = "absent", "joined"
Needs: TypeAlias = "tuple[Partition, Partition, Made[Any], Made[Any]]"
"""This partition and the one before, this year's footprints, and the registry of the year before or its footprints."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One registry for a region and year. Raises MissingInput where the year before is not made, or is none."""
    earlier = need_before(project, partition)
    now = need_manifest(project.store, footprints.DATASET, partition).objects["footprints"]
    then = made_of(project, earlier)
    mark = fingerprint(version=VERSION, year=partition.year, now=now.fingerprint, then=then.fingerprint)
    key = object_key(DATASET, partition, "ids", mark, ".parquet")
    args = (partition, earlier, now, then)
    return [Planned(name="ids", fingerprint=mark, key=key, inputs=(now.key, then.key), args=args)]


def made_of(project: Project, partition: Partition) -> Made[Any]:
    """What the registry of a year is read from: of a region's first year that is its footprints.

    Raises MissingInput, which names the dataset that registries are made with.
    """
    if before(project, partition) is None:
        return need_manifest(project.store, footprints.DATASET, partition).objects["footprints"]
    found = read_manifest(project.store, DATASET, partition)
    if found is None:
        remedy = f"Run `groundplan build {partition.options} --select building_changes`"
        raise MissingInput(f"{DATASET} of {partition}", "it has not been made yet", remedy)
    return found.objects["ids"]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    partition, earlier, now, then = planned.needs
    frame = load_object(project.store, now, read)
    registry = registered(project, earlier, then)
    check()
    return Output(to_bytes(taken_over(frame, registry, partition.year)))


def to_bytes(frame: gpd.GeoDataFrame) -> bytes:
    """The registry as GeoParquet; `parents` is a list of strings in a table of empty lists too."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(to_parquet(frame)))
    lists = pa.array(table["parents"].to_pylist(), pa.list_(pa.string()))
    table = table.set_column(table.schema.get_field_index("parents"), "parents", lists)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def registered(project: Project, partition: Partition, made: Made[Any]) -> gpd.GeoDataFrame:
    """The registry of a year, from its object: of a first year that is its footprints."""
    frame = load_object(project.store, made, read)
    return frame if "building_id" in frame else first(frame, partition.year)


def load(project: Project, partition: Partition) -> gpd.GeoDataFrame:
    """The registry of a region and year; of its first year, which none is stored of, from its footprints.

    Raises MissingInput.
    """
    return registered(project, partition, made_of(project, partition))


def first(frame: gpd.GeoDataFrame, year: int) -> gpd.GeoDataFrame:
    """The registry of a region's first year. frame: its footprints."""
    ids = frame["id"].to_numpy(object)
    names = [named(one, year) for one in ids]
    none: list[list[str]] = [[] for _ in ids]
    return _table([ids, names, [year] * len(ids), [year] * len(ids), none, [FIRST] * len(ids)], frame.geometry, frame)


def named(observation: str, year: int) -> str:
    """The building_id of what is seen for the first time: it follows from the observation and its year."""
    return fingerprint(building=observation, year=year)


def taken_over(frame: gpd.GeoDataFrame, registry: gpd.GeoDataFrame, year: int) -> gpd.GeoDataFrame:
    """The registry of a year. frame: its footprints; registry: of the year before.

    One building's outlines keep its id; of parts and mergers the greatest shared ground keeps it, and the others get
    new ids that name their parents. No id stands twice.
    """
    order = np.argsort(frame["id"].to_numpy(str), kind="stable")
    frame = frame.iloc[order].reset_index(drop=True)
    old = registry.sort_values("building_id").reset_index(drop=True)
    seen = old["id"].notna().to_numpy()
    live, gone = old[seen].reset_index(drop=True), old[~seen].reset_index(drop=True)
    shapes = frame.geometry.values.to_numpy()
    place = placed(shapes, live.geometry.values.to_numpy())
    taken = {now: int(then) for now, then in enumerate(keepers(place.found)) if then >= 0}
    parents = _parents(place.found, live["building_id"].to_numpy(object), len(frame))
    ground = place.shifts.at(centers(gone.geometry.values.to_numpy()))[0]
    back = _seen_again(shapes, gone, ground, taken, parents)
    current = _current(frame, live, gone, taken, back, parents, year)
    return _with_absent(current, live, gone, taken, back, place, ground)


def _parents(found: Any, names: np.ndarray, count: int) -> list[list[str]]:
    """Names of the buildings that each footprint is linked to, sorted."""
    parents: dict[int, list[str]] = defaultdict(list)
    for pair in np.flatnonzero(links(found)):
        parents[int(found.now[pair])].append(str(names[found.then[pair]]))
    return [sorted(parents[index]) for index in range(count)]


def _seen_again(
    shapes: np.ndarray, gone: gpd.GeoDataFrame, shift: np.ndarray, taken: dict[int, int], parents: list[list[str]]
) -> dict[int, int]:
    """Footprint without a building of the year before, to the absent building that it is."""
    found = overlaps(shapes, translated(gone.geometry.values.to_numpy(), shift))
    free = np.array([index not in taken and not parents[index] for index in range(len(shapes))], bool)
    pairs = np.flatnonzero(alone(found) & free[found.now])
    back: dict[int, int] = {}
    for pair in pairs[np.lexsort((found.then[pairs], found.now[pairs], -found.iou[pairs]))]:
        now, then = int(found.now[pair]), int(found.then[pair])
        if now not in back and then not in back.values():
            back[now] = then
    return back


def _current(
    frame: gpd.GeoDataFrame,
    live: gpd.GeoDataFrame,
    gone: gpd.GeoDataFrame,
    taken: dict[int, int],
    back: dict[int, int],
    parents: list[list[str]],
    year: int,
) -> gpd.GeoDataFrame:
    """Rows of the footprints of this year."""
    names, since, state, came = [], [], [], []
    for index, observation in enumerate(frame["id"]):
        linked = parents[index]
        if index in back or index in taken:
            old = gone.iloc[back[index]] if index in back else live.iloc[taken[index]]
            names.append(str(old["building_id"]))
            since.append(int(old["first_seen"]))
        else:
            names.append(named(str(observation), year))
            since.append(year)
        came.append(linked if len(linked) > 1 or (linked and index not in taken) else [])
        state.append(_state(index in back, index in taken, len(linked)))
    columns = [frame["id"].to_numpy(object), names, since, [year] * len(frame), came, state]
    return _table(columns, frame.geometry, frame)


def _state(again: bool, taken: bool, linked: int) -> str:
    if again:
        return AGAIN
    if linked > 1:
        return MERGED
    return KEPT if taken else SPLIT if linked else FRESH


def _with_absent(
    current: gpd.GeoDataFrame,
    live: gpd.GeoDataFrame,
    gone: gpd.GeoDataFrame,
    taken: dict[int, int],
    back: dict[int, int],
    place: Any,
    ground: np.ndarray,
) -> gpd.GeoDataFrame:
    """And the rows of what this year does not show, on the ground where this year would."""
    import pandas as pd

    linked = set(place.found.then[links(place.found)].tolist())
    lost = sorted(set(range(len(live))) - set(taken.values()))
    left = sorted(set(range(len(gone))) - set(back.values()))
    words = [JOINED if index in linked else ABSENT for index in lost]
    parts = [current]
    for old, which, shapes, said in (
        (live, lost, place.then_here, words),
        (gone, left, translated(gone.geometry.values.to_numpy(), ground), gone["state"].to_numpy(object)[left]),
    ):
        rows = old.iloc[which].assign(id=None, state=said)
        parts.append(rows.set_geometry(shapes[which], crs=current.crs))
    whole = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return _typed(whole.sort_values("building_id").reset_index(drop=True), current.crs)


def _table(columns: list[Any], geometry: Any, like: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    import geopandas as gpd

    names = ("id", "building_id", "first_seen", "last_seen", "parents", "state")
    table = dict(zip(names, columns, strict=True))
    frame = gpd.GeoDataFrame(table, geometry=np.asarray(geometry), crs=like.crs)
    return _typed(frame.sort_values("building_id").reset_index(drop=True), like.crs)


def _typed(frame: gpd.GeoDataFrame, crs: Any) -> gpd.GeoDataFrame:
    """With types that a table without rows has too."""
    import geopandas as gpd
    import pandas as pd

    texts = {name: pd.array(_texts(frame[name]), dtype="str") for name in ("id", "building_id", "state")}
    years = {name: frame[name].astype("int32") for name in ("first_seen", "last_seen")}
    table = {
        "id": texts["id"],
        "building_id": texts["building_id"],
        **years,
        "parents": [list(one) for one in frame["parents"]],
        "state": texts["state"],
    }
    return gpd.GeoDataFrame(table, geometry=frame.geometry.to_numpy(), crs=crs)


def _texts(column: Any) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in column]


def describe(data: bytes) -> Facts:
    frame = read(data)
    here = frame["id"].notna()
    fresh = frame["state"].isin([FRESH, SPLIT]) & here
    return {"buildings": int(here.sum()), "named": int(fresh.sum()), "absent": int((~here).sum())}


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(footprints.DATASET,),
    reads_before=(footprints.DATASET, DATASET),
    comes_with="building_changes",
)
