"""The process that opens foreign vector files: a request on its input, an answer on its output, the rest in a file.

Here: the bounds of that process, and reading a layer. Not here: which layer is meant (vector_layers.py), starting this
and saying what went wrong (vector_files.py), what the polygons mean. Of GDAL's friends it imports neither pandas nor
pyproj nor shapely, so that it starts in half a second; vector_files.py runs it by its path.

A foreign file may be hostile: GDAL follows links, SQLite runs what a view says, a few kilobytes unpack to gigabytes. So
only the drivers of ENDINGS are there, nothing reaches a network (the parent's environment sees to that), only plain
tables and only columns that are wanted are read, and memory, processor time, features and bytes have an end.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import sqlite3
import sys
import types
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundplan.polygons.vector_layers import PACKED, FileRefused, Layer, chosen, crs_names, distinct, layers_of

SHAPEFILE = (".shp", ".shx", ".dbf", ".prj", ".cpg")
ORPHANED = 3  # exit code
CHUNK = 2**20
SPARE = 3 * 2**29  # bytes of memory for a file of any size
PER_BYTE = 12  # bytes of memory for each byte of a file
SECONDS = 30  # of processor time for a file of any size, and one more for each MB
FLOOR = 16 * 2**20  # bytes that a file of any size may unpack to
RATIO = 100  # times its own size that a larger one may
DRIVERS = ("ESRI Shapefile", "FlatGeobuf", "GPKG", "GeoJSON", "GeoJSONSeq", "ESRIJSON", "TopoJSON")
SKIPPED = (  # all others that GDAL brings: some fetch, some run SQL, some open what they name
    "MEM,PCIDSK,PDS4,VICAR,PDF,MBTiles,EEDA,OGCAPI,GDALG,MapInfo File,LVBAG,S57,DGN,OGR_VRT,CSV,GML,GPX,LIBKML,KML,"
    "OGR_GMT,SQLite,WAsP,OpenFileGDB,DXF,GeoRSS,VFK,PGDUMP,OSM,GPSBabel,OGR_PDS,WFS,OAPIF,EDIGEO,Idrisi,ODS,XLSX,"
    "Elasticsearch,Carto,AmigoCloud,SXF,Selafin,JML,PLSCENES,CSW,VDV,MVT,NGW,MapML,GTFS,PMTiles,JSONFG,MiraMonVector,"
    "ADBC,AVCBin,AVCE00,AIVector,HTTP"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """What is wanted of a file. columns: names without signs and capitals; a column of any of them is read."""

    file: str
    folder: str  # for what is unpacked and for the answer
    parent: int
    columns: Sequence[str]
    layer: str | None
    where: str | None
    memory: int  # bytes
    seconds: int
    features: int
    decoded: int  # bytes


def main() -> None:
    import pyarrow as pa
    import pyogrio  # noqa: F401  # before the bounds: what libraries take is not the file's doing

    request = ReadRequest(**json.load(sys.stdin))
    bound(request, os.path.getsize(request.file))
    try:
        answer, columns = read(request)
        table = pa.table(columns)
        with pa.OSFile(f"{request.folder}/table.arrow", "wb") as target, pa.ipc.new_file(target, table.schema) as out:
            out.write_table(table)
    except FileRefused as refused:
        answer = {"refused": list(refused.args)}
    except (MemoryError, pa.ArrowMemoryError):
        answer = {"refused": ["to read it takes more memory than it may", "Give it in parts, or in another format"]}
    except Exception as error:  # a foreign file can trip any of the readers, each in its own way
        line = (str(error).strip() or type(error).__name__).splitlines()[0].replace(f"{request.folder}/", "")
        answer = {"refused": [f"it cannot be read ({line[:160]})", ""]}
    print(json.dumps(answer))


def bound(request: ReadRequest, size: int) -> None:
    """End with the parent, and before memory and processor time are out of proportion to the file's bytes."""
    with suppress(AttributeError, OSError):  # Linux only
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != request.parent:
            os._exit(ORPHANED)
    held = 0
    with suppress(OSError):
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    memory = held + min(request.memory, SPARE + PER_BYTE * size)
    seconds = min(request.seconds, SECONDS + size // 10**6)
    for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def may_hold(request: ReadRequest, size: int) -> int:
    """Bytes that a file of `size` may unpack to."""
    return min(request.decoded, max(FLOOR, RATIO * size))


def read(request: ReadRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of the layer that is meant, and its columns: `geometry` as WKB, flat, and those that are wanted."""
    file = Path(request.file)
    if file.suffix.lower() in (".parquet", ".geoparquet"):
        return read_parquet(request, file)
    if file.suffix.lower() == ".zip":
        members = unpacked(request, file)
        bound(request, sum(path.stat().st_size for path, _ in members))
    else:
        members = [(file, "")]
    layers = distinct([layer for path, name in members for layer in layers_of(path, name, len(members) > 1)])
    layer, note = chosen(layers, request.layer)
    answer, columns = read_layer(request, layer, file.stat().st_size)
    named = crs_names(layer.path) if layer.path.suffix.lower() in (".geojson", ".json") else []
    return {**answer, "named": named, "notes": [note] if note else []}, columns


# ----------------------------------------------------------------------------------------------- files in archives


def unpacked(request: ReadRequest, file: Path) -> list[tuple[Path, str]]:
    """The vector files of an archive, unpacked, each with its path in there. A Mac's hidden twins do not count."""
    with zipfile.ZipFile(file) as archive:
        items = [item for item in archive.infolist() if not item.is_dir() and not hidden(item.filename)]
        names = [unicodedata.normalize("NFC", item.filename).casefold() for item in items]
        if twice := next((item.filename for item, name in zip(items, names, strict=True) if names.count(name) > 1), ""):
            raise FileRefused(f"it holds {twice} twice", "Pack each file once, under names of their own")
        inside = [item for item in items if item.filename.lower().endswith(PACKED)]
        if not inside:
            raise FileRefused(f"it holds 0 files of {', '.join(PACKED)}", "Pack one register, with its files")
        left = may_hold(request, file.stat().st_size)
        found = []
        for number, item in enumerate(inside):
            stem, ending = os.path.splitext(item.filename)
            kin = [one for one in items if is_part(one.filename, stem)] if ending.lower() == ".shp" else [item]
            target = Path(request.folder, str(number), f"{Path(stem).name}{ending.lower()}")
            target.parent.mkdir()
            for one in kin:
                left -= unpack(archive, one, target.with_suffix(os.path.splitext(one.filename)[1].lower()), left)
            found.append((target, item.filename))
    return found


def hidden(name: str) -> bool:
    """Whether a Mac or a file browser put it there: `__MACOSX/._houses.shp` is no Shapefile."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1].startswith(".")


def is_part(name: str, stem: str) -> bool:
    """Whether a file is one of those of which a Shapefile consists."""
    other, ending = os.path.splitext(name)
    return ending.lower() in SHAPEFILE and other.casefold() == stem.casefold()


def unpack(archive: zipfile.ZipFile, item: zipfile.ZipInfo, target: Path, most: int) -> int:
    """Bytes of a member, written; what the archive says of its size may be a lie."""
    count = 0
    with archive.open(item) as source, target.open("xb") as file:
        while data := source.read(CHUNK):
            count += len(data)
            if count > most:
                raise FileRefused("it unpacks to far more than it is", "Give it unpacked or in parts")
            file.write(data)
    return count


# --------------------------------------------------------------------------------------------------------- reading


def read_layer(request: ReadRequest, layer: Layer, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A layer by GDAL: its CRS and the names of its columns; geometries and the columns that are wanted."""
    import pyarrow as pa
    from pyogrio import raw, read_info

    options = {"IMMUTABLE": "YES", "LIST_ALL_TABLES": "NO"} if layer.path.suffix == ".gpkg" else {}
    info = read_info(layer.path, layer=layer.name, force_feature_count=True, **options)
    if info["features"] > request.features:
        raise too_many(info["features"], request)
    names = [str(name) for name in info["fields"]]
    wanted, needed = wanted_of(names, request)
    meta, _, shapes, values = raw.read(
        layer.path,
        layer=layer.name,
        columns=needed,
        force_2d=True,
        max_features=info["features"] + 1,  # the reader takes memory for so many at once
        datetime_as_string=True,
        **options,
    )
    if shapes is None:
        raise FileRefused("it has no geometries", "")
    if len(shapes) > request.features:
        raise too_many(len(shapes), request)
    shapes = [None if shape is None else bytes(shape) for shape in shapes]
    check_decoded(request, size, sum(len(shape) for shape in shapes if shape))
    columns = {
        str(name): [plain(value) for value in column.tolist()]
        for name, column in zip(meta["fields"], values, strict=True)
    }
    keep = kept(request, names, columns, len(shapes))
    table: dict[str, Any] = {"geometry": pa.array([shapes[i] for i in keep], pa.large_binary())}
    return {"crs": meta["crs"], "names": names, "encoding": "WKB"}, {**table, **picked(columns, wanted, keep)}


def read_parquet(request: ReadRequest, file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A GeoParquet file, in batches: a few kilobytes can hold gigabytes of one value."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if request.layer is not None:
        raise FileRefused(f"it has no layer {request.layer!r}", "A GeoParquet file has no layers")
    with pq.ParquetFile(file) as source:
        if source.metadata.num_rows > request.features:
            raise too_many(source.metadata.num_rows, request)
        geo = json.loads((source.schema_arrow.metadata or {}).get(b"geo", b"null"))
        if not isinstance(geo, dict) or geo.get("primary_column") not in geo.get("columns", {}):
            raise FileRefused("it has no geometries: it is Parquet, but no GeoParquet", "")
        shape, about = geo["primary_column"], geo["columns"][geo["primary_column"]]
        names = [name for name in source.schema_arrow.names if name != shape]
        wanted, needed = wanted_of(names, request)
        batches, count = [], 0
        for batch in source.iter_batches(4096, columns=[shape, *needed], use_threads=False):
            batch = pa.RecordBatch.from_arrays([dense(column) for column in batch.columns], batch.schema.names)
            count += batch.nbytes
            check_decoded(request, file.stat().st_size, count)
            batches.append(batch)
        table = pa.Table.from_batches(batches) if batches else source.read(columns=[shape, *needed])
    columns = {name: [plain(value) for value in table[name].to_pylist()] for name in needed}
    keep = kept(request, names, columns, len(table))
    shapes = table[shape].combine_chunks() if len(keep) == len(table) else table[shape].take(pa.array(keep, pa.int64()))
    crs = about.get("crs", "OGC:CRS84")
    if crs is not None and not isinstance(crs, dict) and crs != "OGC:CRS84":
        raise FileRefused("its CRS is no PROJJSON", "Write it again")
    answer = {"crs": crs, "names": names, "encoding": about.get("encoding", "WKB"), "named": [], "notes": []}
    return answer, {"geometry": shapes, **picked(columns, wanted, keep)}


def dense(column: Any) -> Any:
    """A column with each of its values: of a dictionary's Arrow would count each but once."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def too_many(count: int, request: ReadRequest) -> FileRefused:
    return FileRefused(
        f"it holds {count:,} features or more, and {request.features:,} may be read",
        "Give it in parts, or raise registers.max_features",
    )


def check_decoded(request: ReadRequest, size: int, count: int) -> None:
    if count > may_hold(request, size):
        raise FileRefused(
            f"its {size:,} bytes unpack to more than {count - 1:,}", "Give it in parts, or in another format"
        )


def wanted_of(names: Sequence[str], request: ReadRequest) -> tuple[list[str], list[str]]:
    """Columns that are wanted, and those that are read: also what the condition names."""
    wanted = [name for name in names if any(is_called(name, one) for one in request.columns)]
    if request.where is None:
        return wanted, wanted
    text = re.sub(r"'(?:[^']|'')*'", "''", request.where)
    for quoted in re.findall(r'"((?:[^"]|"")+)"', text):  # SQLite would take it for a text
        if quoted.casefold() not in {name.casefold() for name in names}:
            raise FileRefused(f"it has no column {quoted!r}", f"It has: {', '.join(names)[:300]}")
    words = {word.casefold() for word in re.findall(r"\w+", text)}
    words |= {word.casefold() for word in re.findall(r'"([^"]+)"|\[([^\]]+)\]|`([^`]+)`', text) for word in word}
    return wanted, [name for name in names if name in wanted or name.casefold() in words]


def is_called(name: str, wanted: str) -> bool:
    """Whether a column is of that name, whatever its signs and capitals, or cut after ten as Shapefiles do."""
    bare = re.sub(r"[\W_]", "", unicodedata.normalize("NFC", name).casefold())
    return bare == wanted or (len(name) == 10 and len(bare) >= 8 and wanted.startswith(bare))


def plain(value: Any) -> Any:
    """A value that SQLite and Arrow know: whole numbers as such, times as ISO texts, no number as nothing."""
    if isinstance(value, float):
        return None if value != value else int(value) if value.is_integer() else value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def kept(request: ReadRequest, names: Sequence[str], columns: dict[str, list[Any]], count: int) -> Sequence[int]:
    """Rows for which the condition holds, by SQLite, whatever the format: one behaviour for all."""
    if request.where is None:
        return range(count)
    quoted = ['"' + name.replace('"', '""') + '"' for name in columns]
    with sqlite3.connect(":memory:") as memory:
        memory.execute(f"CREATE TABLE features ({', '.join(['row', *quoted])})")
        marks = ", ".join("?" * (len(columns) + 1))
        memory.executemany(f"INSERT INTO features VALUES ({marks})", rows(columns, count))
        try:
            return [row for (row,) in memory.execute(f"SELECT row FROM features WHERE ({request.where}) ORDER BY row")]
        except sqlite3.Error as error:
            raise FileRefused(
                f"the condition {request.where!r} cannot be asked of it ({error})", f"It has: {', '.join(names)[:300]}"
            ) from error


def rows(columns: dict[str, list[Any]], count: int) -> Iterator[tuple[Any, ...]]:
    return zip(range(count), *columns.values(), strict=True)


def picked(columns: dict[str, list[Any]], wanted: Sequence[str], keep: Sequence[int]) -> dict[str, Any]:
    import pyarrow as pa

    found = {}
    for name in wanted:
        if name != "geometry":
            values = [columns[name][i] for i in keep]
            same = len({type(value) for value in values if value is not None}) < 2
            found[name] = pa.array(values if same else [None if one is None else str(one) for one in values])
    return found


def without_unneeded() -> None:
    """No drivers but DRIVERS, and none of the libraries that GDAL's and Arrow's bindings load without need."""
    os.environ["GDAL_SKIP"] = SKIPPED
    for name in ("geopandas", "pyproj", "shapely"):
        sys.modules[name] = None  # type: ignore[assignment]  # importing it fails
    sys.modules["pandas"] = too_old = types.ModuleType("pandas")
    too_old.__version__ = "0"  # type: ignore[attr-defined]  # of which Arrow makes no use


if __name__ == "__main__":
    without_unneeded()
    main()
