"""Which layer of a foreign vector file is meant, and whether it is one that may be read.

Here: layers by format, the checks before GDAL sees a file (its signature, names of CRS, plain tables), the choice. Not
here: the process in which this runs and its bounds, reading what was chosen (vector_child.py). As there, nothing that
takes long to import.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PACKED = (".gpkg", ".geojson", ".json", ".fgb", ".shp")  # what may lie in a .zip
BEGINNINGS = {".gpkg": b"SQLite format 3", ".fgb": b"fgb", ".shp": b"\0\0\x27\x0a"}
AREAL = re.compile("polygon|surface|geometry|collection|unknown|tin|triangle", re.I)  # kinds that can hold polygons
COMPUTED = (2, 3)  # how SQLite marks a column whose values are computed
UNREADABLE = "unreadable"
# a CRS that is named in GeoJSON: another text could be a file or an address
CRS_NAME = re.compile(r"urn:ogc:def:crs:[\w.:-]+|[A-Za-z]+:\w+|https?://www\.opengis\.net/(def/crs/|gml/srs/)[\w./#-]+")
CRS_KEY = re.compile(rb'"(?:c|\\u0063|\\u0043)(?:r|\\u0072|\\u0052)(?:s|\\u0073|\\u0053)"\s*:\s*\{', re.I)


class FileRefused(Exception):
    """Why the file is not read, and the remedy; '' for the usual one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of a file. name: GDAL's, None where a file has but one; label: how a person names it."""

    path: Path
    member: str  # its path in an archive
    name: str | None
    label: str
    kind: str
    why: str = ""  # it is not read


def layers_of(path: Path, member: str, several: bool) -> list[Layer]:
    """Layers of a file that hold geometries. member: its path in an archive."""
    ending = path.suffix.lower()
    try:
        with path.open("rb") as start:
            check_beginning(member, ending, start.read(64), path.stat().st_size)
        if ending in (".geojson", ".json"):
            crs_names(path)
        found = geopackage_layers(path) if ending == ".gpkg" else other_layers(path)
    except Exception:
        if not (several and ending == ".json"):
            raise
        found = [("", "", UNREADABLE)]  # what lies beside a Shapefile as often as not is about it
    single = member and (len(found) == 1 or ending == ".shp")
    return [
        Layer(path=path, member=member, name=name, label=Path(member).stem if single else name, kind=kind, why=why)
        for name, kind, why in found
    ]


def distinct(layers: Sequence[Layer]) -> list[Layer]:
    """The same layers; those of one name in several folders of an archive are told by their folders."""
    names = [folded(layer.label) for layer in layers]
    return [
        replace(layer, label=f"{layer.member}/{layer.name}" if layer.path.suffix == ".gpkg" else layer.member)
        if layer.member and names.count(name) > 1
        else layer
        for layer, name in zip(layers, names, strict=True)
    ]


def check_beginning(member: str, ending: str, start: bytes, size: int) -> None:
    """Check of the file signature: GDAL goes by content, and a `.geojson` that holds a VRT could name any file."""
    inside = f"{member} in it" if member else "it"
    # a Shapefile states its length in words of two bytes; GDAL reads one that was cut without a word
    if ending == ".shp" and int.from_bytes(start[24:28], "big") * 2 > size:
        raise FileRefused(f"{inside} is cut short: it has {size:,} bytes and says it had more", "Give it again")
    begins = BEGINNINGS.get(ending, b"{")
    if not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(begins):
        raise FileRefused(
            f"{inside} is no {ending[1:]} file (it begins with {start[:8]!r})", "Give it the ending of what it is"
        )


def crs_names(path: Path) -> list[str]:
    """Names of each `crs` in GeoJSON, wherever it stands: GDAL would fetch a link, and take what it does not know for
    EPSG:4326.
    """
    names = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in CRS_KEY.finditer(data):
            text = data[match.end() - 1 : match.end() + 4000].decode("utf-8", "replace")
            try:
                value, _ = json.JSONDecoder().raw_decode(text)
            except ValueError:
                raise FileRefused("the crs in it cannot be read", "Write it again with a crs that has a name") from None
            names.add(crs_name(value))
    return sorted(names - {""})


def crs_name(crs: dict[str, Any]) -> str:
    kind, properties = str(crs.get("type")).lower(), crs.get("properties")
    if not isinstance(properties, dict) or kind not in ("name", "epsg"):
        if ("type" in crs and "properties" in crs) or kind in ("link", "url"):
            raise FileRefused(
                f"its crs is a {kind[:20]}, which is not followed", "Write it again with a crs that has a name"
            )
        return ""  # something else of that name, such as a property
    name = str(properties.get("name", properties.get("code", "")))
    if kind == "name" and not CRS_NAME.fullmatch(name):
        raise FileRefused(f"its crs {name[:60]!r} is not known", "Name it by authority and code, such as EPSG:28992")
    return name if kind == "name" else f"EPSG:{name}"


def geopackage_layers(path: Path) -> list[tuple[str, str, str]]:
    """Name, kind of geometry, and why it is not read, of each layer of a GeoPackage.

    SQLite would run what a view says, and it may never end. By GDAL's own list even listing layers would.
    """
    for beside in (f"{path}-wal", f"{path}-journal"):
        if os.path.exists(beside) and os.path.getsize(beside):
            raise FileRefused(
                f"it is still being written: {os.path.basename(beside)} lies beside it", "Close what has it open"
            )
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        kinds = {name.lower(): kind_of(kind, sql) for name, kind, sql in connection.execute(OBJECTS)}
        if odd := sorted(name for name, kind in kinds.items() if name.startswith("gpkg_") and kind != "table"):
            raise FileRefused(f"its {odd[0]} is a {kinds[odd[0]]}", "Write it again")
        if not {"gpkg_contents", "gpkg_geometry_columns"} <= kinds.keys():
            raise FileRefused("it has no geometries", "")
        rows = connection.execute(LAYERS).fetchmany(1000)
        return [(name, kind, why_not(connection, kinds, name, column)) for name, column, kind in rows]
    finally:
        connection.close()


OBJECTS = "SELECT name, type, coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'view')"
LAYERS = """SELECT c.table_name, g.column_name, g.geometry_type_name
FROM gpkg_contents c JOIN gpkg_geometry_columns g ON lower(g.table_name) = lower(c.table_name)
WHERE c.data_type = 'features' ORDER BY c.rowid"""


def kind_of(kind: str, sql: str) -> str:
    return "virtual table" if re.match(r"\s*create\s+virtual", sql, re.I) else kind


def why_not(connection: sqlite3.Connection, kinds: dict[str, str], name: str, column: str) -> str:
    kind = kinds.get(name.lower(), "table that is not there")
    if kind != "table":
        return f"a {kind}"
    quoted = '"' + name.replace('"', '""') + '"'
    states = {row[1].lower(): row[6] for row in connection.execute(f"PRAGMA table_xinfo({quoted})")}
    computed = sorted(one for one, state in states.items() if state in COMPUTED)
    return f"a table whose {computed[0]} is computed" if computed else ""


def other_layers(path: Path) -> list[tuple[str, str, str]]:
    import pyogrio

    return [(str(name), str(kind), "") for name, kind in pyogrio.list_layers(path) if kind is not None]


def chosen(layers: Sequence[Layer], wanted: str | None) -> tuple[Layer, str]:
    """The layer that is meant, and a word on the others."""
    if not layers:
        raise FileRefused("it has no geometries", "")
    if wanted is not None:
        names = {folded(wanted), folded(Path(wanted).stem)}
        fit = [layer for layer in layers if folded(layer.label) == folded(wanted)]
        fit = fit or [layer for layer in layers if folded(layer.label) in names]
        if not fit:
            raise FileRefused(f"it has no layer {wanted!r}", f"It has: {told(layers)}")
        layers = fit
    readable = [layer for layer in layers if not layer.why]
    if all(layer.why == UNREADABLE for layer in layers):
        raise FileRefused(
            f"it holds {len(layers)} files of {', '.join(PACKED)}, and none can be read",
            "Pack one register, with its files",
        )
    areal = [layer for layer in readable if AREAL.search(layer.kind)]
    if len(areal) > 1:
        raise FileRefused(f"it holds {len(areal)} layers of polygons: {told(areal)}", "Say which with {option} NAME")
    if not areal and (barred := next((layer for layer in layers if layer.why), None)):
        raise FileRefused(
            f"its layer {barred.label!r} is {barred.why}, and only plain tables are read",
            "Save it as a table of its own",
        )
    if not areal and len(readable) > 1:
        raise FileRefused(f"none of its layers holds polygons: {told(readable)}", "Give a file with polygons")
    layer = areal[0] if areal else readable[0]
    others = [one for one in layers if one is not layer]
    return layer, f"its layer {layer.label!r} is taken, and not {told(others)}" if others else ""


def told(layers: Sequence[Layer]) -> str:
    """Names and kinds of layers for a person."""
    return ", ".join(f"{layer.label} ({layer.why or layer.kind})" for layer in layers[:10])


def folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
