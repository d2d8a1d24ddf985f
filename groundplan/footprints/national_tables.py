"""Tables of a country's buildings: their columns, and a square's GeoParquet.

Here: region files to one schema, rows of that schema to bytes and back, by pyarrow alone: no building becomes an
object. Not here: which buildings (national_pieces.py, national.py).
https://geoparquet.org/releases/v1.1.0/
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from groundplan.errors import Damaged

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 20_000
"""Of a row group, at most: what a reader of a small window must decode."""
LEVEL = 1  # of zstd: level 9 takes more than twice the time of writing, and saves 0.4 %
SIDES = ("xmin", "ymin", "xmax", "ymax")
REPEATED = ("region", "image_date", "sheet", "model", "block", "fingerprint")
"""Texts that few values share: stored once in a row group."""
NUMBERS = ("confidence", "p_building", "p_outline", "area")


def pool() -> pa.MemoryPool:
    """Where rows are held: what is freed goes back at once. Arrow's own pool keeps it, and grows with a country."""
    import pyarrow as pa

    return pa.system_memory_pool()


def schema() -> pa.Schema:
    """Columns of a square's file, in order."""
    import pyarrow as pa

    few = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("id", pa.string()),
            ("building_id", pa.string()),
            ("region", few),
            *((name, pa.float64() if name == "area" else pa.float32()) for name in NUMBERS),
            *((name, few) for name in REPEATED[1:]),
            ("geometry", pa.binary()),
            ("bbox", pa.struct([(side, pa.float64()) for side in SIDES])),
        ]
    )


def of_region(data: bytes, region: str, crs: str, thing: str) -> pa.Table:
    """A region's footprints, as `building_footprints` stores them, in the columns of `schema`; `building_id` is null.

    crs: the grid's. thing: what an error names. Raises Damaged where they lie in another CRS.
    """
    import pyarrow as pa

    found = from_bytes(data)
    _check_crs(found, crs, thing)
    rows = found.num_rows
    columns = {}
    for field in schema():
        if field.name == "region":
            codes = pa.array(np.zeros(rows, np.int32))
            columns["region"] = pa.DictionaryArray.from_arrays(codes, pa.array([region], pa.string()))
        elif field.name == "bbox" and "bbox" not in found.column_names:
            columns["bbox"] = _boxes(found)
        elif field.name not in found.column_names:
            columns[field.name] = pa.nulls(rows, field.type)
        else:
            columns[field.name] = _as(found[field.name], field.type)
    return pa.table(columns, schema=schema())


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(kind):
        texts = pc.cast(column, kind.value_type, memory_pool=pool())
        return pc.dictionary_encode(texts, memory_pool=pool())
    return pc.cast(column, kind, memory_pool=pool())


def _boxes(found: pa.Table) -> pa.StructArray:
    """Boxes of a file that has no column of them: another writer's."""
    import pyarrow as pa
    import shapely

    bounds = shapely.bounds(shapely.from_wkb(found["geometry"].to_numpy()))
    return pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], SIDES)


def _check_crs(found: pa.Table, crs: str, thing: str) -> None:
    from pyproj import CRS

    try:
        stated = json.loads((found.schema.metadata or {})[b"geo"])["columns"]["geometry"]["crs"]
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(thing, "it is no GeoParquet that states its CRS", "Build that region again") from error
    if stated != _crs_json(crs) and CRS.from_user_input(stated) != CRS.from_user_input(crs):
        raise Damaged(thing, "it lies in another CRS than the grid", "Build that region again")


def _crs_json(crs: str) -> Any:
    from pyproj import CRS

    return CRS.from_user_input(crs).to_json_dict()


def bounds_of(table: pa.Table) -> NDArray[np.float64]:
    """Boxes (n, 4) of the buildings: left, bottom, right, top."""
    import pyarrow as pa

    box = table["bbox"].combine_chunks()
    box = pa.concat_arrays(box.chunks) if isinstance(box, pa.ChunkedArray) else box
    return np.column_stack([box.field(side).to_numpy(zero_copy_only=False) for side in SIDES])


def to_bytes(table: pa.Table, crs: str) -> bytes:
    """GeoParquet 1.1 of rows in the columns of `schema`, which lie as they are given: the same bytes for the same rows.

    With a covering of boxes in row groups of at most ROWS buildings, zstd.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    bounds = bounds_of(table)
    column: dict[str, Any] = {
        "encoding": "WKB",
        "crs": _crs_json(crs),
        "geometry_types": ["Polygon"],  # a footprint is nothing else; check `footprints_valid`
        "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
    }
    if len(bounds):
        column["bbox"] = [*bounds[:, :2].min(0).tolist(), *bounds[:, 2:].max(0).tolist()]
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    buffer = pa.BufferOutputStream(pool())
    options = {
        "compression": "zstd",
        "compression_level": LEVEL,
        "use_dictionary": list(REPEATED),
        "write_statistics": ["region", *(f"bbox.{side}" for side in SIDES)],
        "store_schema": False,  # so that readers see texts, not how they were held here
    }
    with pq.ParquetWriter(buffer, table.schema, **options) as file:
        file.write_table(table, row_group_size=ROWS)
        file.add_key_value_metadata({"geo": json.dumps(geo)})
    return buffer.getvalue().to_pybytes()


def from_bytes(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Rows of a Parquet file, all columns or some."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.ParquetFile(io.BytesIO(data)).read(columns=columns, use_threads=False)
    pa.default_memory_pool().release_unused()  # files are read into Arrow's own pool, whatever one asks for
    return found


def compact(table: pa.Table) -> pa.Table:
    """With no text in its dictionaries that none of its rows has: what lies elsewhere must not change these bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for at, field in enumerate(table.schema):
        if field.name in REPEATED:
            (column,) = table[field.name].chunks
            used = column.indices.unique().drop_null()
            codes = pc.index_in(column.indices, value_set=used, memory_pool=pool())
            table = table.set_column(at, field, pa.DictionaryArray.from_arrays(codes, column.dictionary.take(used)))
    return table


def in_order(table: pa.Table, order: pa.Array) -> pa.Table:
    """Rows of a table by their numbers, in one piece."""
    import pyarrow.compute as pc

    return pc.take(table, order, memory_pool=pool()).combine_chunks(pool())
