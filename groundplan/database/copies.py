"""Stored footprints as the rows of a table: PostgreSQL's binary COPY, and tuples for SQLite.

Here: packing, whole columns at a time. Not here: transactions, or what is loaded when (load.py).
The form of COPY: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4 (a count of fields, then each
with its length, all big-endian); of a geometry: PostGIS's EWKB, ISO WKB with the SRID behind the type.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from struct import pack
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.partition import Partition
from groundplan.errors import Damaged

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("id", "block", "image_date", "sheet", "model", "fingerprint")
COLUMNS = ("year", "region", *TEXTS, "confidence", "area", "geom")
"""Of `footprint`, in the order of what is packed."""
START, END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
AT_ONCE = 50_000  # rows packed together, about 15 MB
LARGEST = 2**30  # bytes of a geometry


def table_of(data: bytes) -> pa.Table:
    """The columns of stored footprints (GeoParquet); `geometry` is WKB, little-endian. Raises Damaged."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data), columns=[*TEXTS, "confidence", "area", "geometry"])
    if any(set(chunk[::1000].to_pylist()) and chunk[0].as_py()[:1] != b"\x01" for chunk in _geometry(table).chunks):
        raise Damaged("footprints", "their geometry is not little-endian", "Build them again")
    return table


def packed(table: pa.Table, partition: Partition, srid: int) -> Iterator[bytes | memoryview]:
    """All rows as binary COPY has them between START and END. srid: of the geometries, 0 for a CRS without a number."""
    for start in range(0, table.num_rows, AT_ONCE):
        yield _rows(table.slice(start, AT_ONCE).combine_chunks(), partition, srid)


def _rows(table: pa.Table, partition: Partition, srid: int) -> memoryview:
    """A part of the rows; the values of a joined column are, one behind the other, what COPY wants."""
    import pyarrow as pa
    import pyarrow.compute as pc

    region = partition.region.encode()
    first = pack(">hihi", len(COLUMNS), 2, partition.year, len(region)) + region
    pieces: list[Any] = [pa.scalar(first, pa.binary())]
    for name in TEXTS:
        column = _chunk(table, name).cast(pa.string()).cast(pa.binary())
        pieces += [_lengths(column), pc.fill_null(column, b"")]
    for name in ("confidence", "area"):
        pieces.append(_numbers(np.asarray(_chunk(table, name)), ">f4", b"\0\0\0\x04"))
    geometry = _chunk(table, "geometry").cast(pa.binary())
    pieces += [_lengths(geometry, 4), pc.binary_slice(geometry, 0, 2), pa.scalar(b"\0\0\x20" + pack("<i", srid))]
    pieces.append(pc.binary_slice(geometry, 5, LARGEST))  # the type's other three bytes are 0, and 0x20: a SRID follows
    joined = pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.binary()))
    offsets = np.frombuffer(joined.buffers()[1], np.int32)[joined.offset : joined.offset + len(joined) + 1]
    return memoryview(joined.buffers()[2])[offsets[0] : offsets[-1]]


def _chunk(table: pa.Table, name: str) -> pa.Array:
    import pyarrow as pa

    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _geometry(table: pa.Table) -> pa.ChunkedArray:
    return table.column("geometry")


def _lengths(column: pa.Array, more: int = 0) -> pa.Array:
    """The length that goes before each value; -1 before a null, of which nothing follows."""
    import pyarrow.compute as pc

    return _numbers(np.asarray(pc.fill_null(pc.add(pc.binary_length(column), more), -1)), ">i4")


def _numbers(values: np.ndarray, kind: str, before: bytes = b"") -> pa.Array:
    """Numbers as binary values of their own bytes, with the same bytes before each."""
    import pyarrow as pa

    count, width = len(values), len(before) + np.dtype(kind).itemsize
    made = np.empty((count, width), np.uint8)
    made[:, : len(before)] = np.frombuffer(before, np.uint8)
    made[:, len(before) :] = values.astype(kind).view(np.uint8).reshape(count, -1)
    offsets = np.arange(count + 1, dtype=np.int32) * width
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(made)])


def tuples(table: pa.Table, partition: Partition, first: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Rows of SQLite's `footprint`, numbered from `first`, and of its `footprint_box`."""
    import shapely

    columns = [table.column(name).to_pylist() for name in (*TEXTS, "confidence", "area", "geometry")]
    year, region = partition.year, partition.region
    rows = [(first + at, year, region, *values) for at, values in enumerate(zip(*columns, strict=True))]
    bounds = shapely.bounds(shapely.from_wkb(np.asarray(columns[-1], object))).tolist() if rows else []
    boxes = [(first + at, west, east, south, north, year, year) for at, (west, south, east, north) in enumerate(bounds)]
    return rows, boxes
