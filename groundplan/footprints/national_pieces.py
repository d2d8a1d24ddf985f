"""National pieces: each region's footprints of a year, cut into the country's squares.

Here: the step `national_pieces`, which reads every region's file once. An object is a region's; in it lies, for each
square that the region touches, an Arrow stream of its own, and what is said of the object tells where, and a digest of
it. So a square's file reads just its streams, and is made again only when one of them is another. Not here: joining
them (national.py).
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypedDict

import numpy as np

from groundplan.core.manifest import (
    Dataset,
    Made,
    Planned,
    committed,
    fingerprint,
    need_manifest,
    object_key,
    read_manifest,
    read_object,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.errors import Damaged, MissingInput
from groundplan.footprints import footprints
from groundplan.footprints.national_cut import cut_of, name_of, places
from groundplan.footprints.national_tables import bounds_of, compact, in_order, of_region, pool
from groundplan.project import Project
from groundplan.step import About, Scope, Step

if TYPE_CHECKING:
    import pyarrow as pa

IDS = "building_ids"
"""The dataset that names buildings through the years; joined where a project has it."""
KEY = "place"  # the column that says where on the curve a building lies
SQUARE, ROWS = b"square", b"rows"  # of a stream's metadata
NAME = "national_footprints"


class SquareRows(NamedTuple):
    """Where a square's rows lie in a region's object: a JSON list in a manifest."""

    at: int
    bytes: int
    rows: int
    digest: str


class Facts(TypedDict):
    """What a manifest says of an object."""

    buildings: int
    squares: dict[str, list[Any]]
    """Name to a `SquareRows`'s values."""


DATASET: Dataset[Facts] = Dataset("national_pieces")
VERSION = "1"
Needs: TypeAlias = "tuple[Partition, Made[Any]]"
"""Region and year, and its footprints."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One object for each region whose footprints of the year are made. Raises MissingInput where none are."""
    regions = sorted(one.partition for one in committed(project.store, footprints.DATASET, partition.year))
    if not regions:
        raise MissingInput(
            f"{NAME} of {partition}",
            "no region's footprints of this year are made",
            f"Run `groundplan build --year {partition.year} --select {footprints.DATASET}`",
        )
    return [_planned(project, partition, region) for region in regions]


def _planned(project: Project, partition: Partition, region: Partition) -> Planned[Needs]:
    made = need_manifest(project.store, footprints.DATASET, region).objects["footprints"]
    ids = ids_of(project, region)
    cut = cut_of(project)
    digest = fingerprint(
        version=VERSION, cut=cut.identity(), footprints=made.fingerprint, ids=sorted(one.fingerprint for one in ids)
    )
    return Planned(
        name=region.region,
        fingerprint=digest,
        key=object_key(DATASET, partition, region.region, digest, ".arrows"),
        inputs=(made.key, *(one.key for one in ids)),
        args=(region, made),
    )


def ids_of(project: Project, region: Partition) -> tuple[Made[Any], ...]:
    """What names a region's buildings through the years; nothing where a project has no such dataset."""
    for part in (region, Partition(region.year)):
        if manifest := read_manifest(project.store, IDS, part):
            return tuple(manifest.objects.values())
    return ()


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """A region's footprints along the curve, a stream for each square. Raises Damaged."""
    import pyarrow as pa

    region, made = planned.needs
    data = read_object(project.store, made)
    table = of_region(data, region.region, project.grid.crs, project.store.uri(made.key))
    check()
    if known := own_ids(project, region):
        building_ids = named(table["id"].to_pylist(), known)
        table = table.set_column(table.schema.get_field_index("building_id"), "building_id", building_ids)
    cols, rows, place = places(cut_of(project), bounds_of(table))
    order = np.argsort(place, kind="stable")  # rows of one place stay as the region has them, by id
    names, starts = _squares(cols[order], rows[order], place[order])
    table = in_order(table.append_column(KEY, pa.array(place)), pa.array(order))
    check()
    ends = [*starts[1:], table.num_rows][: len(starts)]  # of no building there is no stream
    buffer = io.BytesIO()
    for name, start, end in zip(names, starts, ends, strict=True):
        _write(buffer, compact(table.slice(start, end - start)), name)
    return Output(buffer.getvalue())


def _squares(cols: Any, rows: Any, place: Any) -> tuple[list[str], list[int]]:
    """Names of the squares of sorted rows, and where each begins."""
    if not len(cols):
        return [], []
    new = np.flatnonzero((np.diff(cols) != 0) | (np.diff(rows) != 0)) + 1
    starts = [0, *new.tolist()]
    return [name_of(cols[at], rows[at], place[at]) for at in starts], starts


def own_ids(project: Project, region: Partition) -> dict[str, str]:
    """Footprint id to building id of a region; empty where nothing names its buildings. Raises Damaged."""
    import pyarrow.parquet as pq

    known: dict[str, str] = {}
    for made in ids_of(project, region):
        table = pq.read_table(io.BytesIO(read_object(project.store, made)), columns=["id", "building_id"])
        known |= dict(zip(table["id"].to_pylist(), table["building_id"].to_pylist(), strict=True))
    return known


def named(ids: Any, known: dict[str, str]) -> pa.Array:
    """Building ids of footprints' ids, null where nothing names them."""
    import pyarrow as pa

    return pa.array([known.get(one) for one in ids], pa.string())


def _write(buffer: io.BytesIO, rows: pa.Table, name: str) -> None:
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=True)
    told = rows.replace_schema_metadata({SQUARE: name, ROWS: str(rows.num_rows)})
    with pa.ipc.new_stream(buffer, told.schema, options=options) as stream:
        stream.write_table(told)


def describe(data: bytes) -> Facts:
    """Squares and where their streams lie. Raises pyarrow's errors for what is none."""
    import pyarrow as pa

    squares: dict[str, list[Any]] = {}
    source = pa.BufferReader(data)
    while (at := source.tell()) < len(data):
        messages = pa.ipc.MessageReader.open_stream(source)  # what is in them is not unpacked
        told = pa.ipc.read_schema(messages.read_next_message()).metadata
        for _ in messages:
            pass
        end = source.tell()
        digest = hashlib.sha256(memoryview(data)[at:end]).hexdigest()[:16]
        squares[told[SQUARE].decode()] = list(SquareRows(at, end - at, int(told[ROWS]), digest))
    return {"buildings": sum(stream[2] for stream in squares.values()), "squares": squares}


def read(project: Project, key: str, stream: SquareRows) -> pa.Table:
    """A square's rows of a region, with the column KEY. Raises MissingInput, Damaged."""
    import pyarrow as pa

    data = project.store.part(key, stream.at, stream.bytes)
    if hashlib.sha256(data).hexdigest()[:16] != stream.digest:
        raise Damaged(project.store.uri(key), "its content is not what was made", "Remove it and build again")
    with pa.ipc.open_stream(pa.BufferReader(data), memory_pool=pool()) as reader:
        return reader.read_all().replace_schema_metadata(None)


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.YEAR,
    reads=(footprints.DATASET,),
    comes_with=NAME,
    profile="io",
    about=About(group="footprints"),
)
