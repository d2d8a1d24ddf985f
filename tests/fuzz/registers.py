"""Registers and other vector files: a spoiled one is refused, or read as polygons in a known CRS; nothing is fetched.

Here: small files of every format that is taken, spoiled, through the one reader of vector files. Not here: what becomes
of the polygons (tests/unit/labels), bombs that have a name (tests/unit/polygons).
"""

from __future__ import annotations

import json
import os
import socket
import zipfile
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.field import READ, REFUSED, Input, InThisProcess, Wrong
from fuzz.mutation import mutated, revalued, spots_of
from groundplan.errors import BadRegister
from groundplan.polygons import vector_child, vector_files

HOST, PORT = "127.0.0.62", b"12345"  # the port stands for that of a server, to which nobody may come
ONE_IN = 40  # inputs for which the reader starts a process of its own, which takes half a second
WHERE = (None, None, None, "year <= 2022", "status LIKE 'in use%'", 'no_such = 1 OR "', "1); DROP TABLE features; --")


class Registers(InThisProcess):
    megabytes, seconds = 1200, 40

    def __init__(self, folder: Path) -> None:
        os.environ |= {**vector_files.NO_NETWORK, "GDAL_SKIP": vector_child.SKIPPED}  # as its process has them
        self.folder = folder
        self.server = socket.create_server((HOST, 0))
        self.server.setblocking(False)
        self.port = str(self.server.getsockname()[1]).encode()
        self.started = vector_files._read_in_child
        vector_files._read_in_child = self._read_here
        vector_child.bound = lambda *_: None  # this process has bounds of its own
        (folder / "drawn").mkdir()
        self.files = drawn(folder / "drawn")
        self.spots = {name: {file: spots_of(data) for file, data in kin.items()} for name, kin in self.files.items()}
        for name, kin in self.files.items():
            if self._read(kin, None) != READ:
                raise AssertionError(f"{name} is not read unspoiled: nothing is tried")

    def draw(self, random: np.random.Generator) -> Input:
        name = sorted(self.files)[random.integers(len(self.files))]
        given = dict(self.files[name])
        spoiled = sorted(given)[random.integers(len(given))] if random.random() < 0.4 else name
        if spoiled.endswith("json") and random.random() < 0.6:
            given[spoiled] = _restated(given[spoiled], random)
        else:
            given[spoiled] = mutated(given[spoiled], random, self.spots[name][spoiled])
        if where := WHERE[random.integers(len(WHERE))]:
            given["where"] = where.encode()
        return given

    def attempt(self, given: Input, folder: Path) -> str:
        where = given.get("where", b"").decode() or None
        return self._read({name: data for name, data in given.items() if name != "where"}, where)

    def _read(self, given: Input, where: str | None) -> str:
        for path in self.folder.glob("a.*"):
            path.unlink()
        for name, data in given.items():
            (self.folder / name).write_bytes(data.replace(PORT, self.port) if len(self.port) == len(PORT) else data)
        file = self.folder / next(iter(given))
        try:
            frame = vector_files.read_vector(file, columns=("year", "status"), where=where)
            vector_files.check_area_of_use("EPSG:28992", frame, file)
        except BadRegister:
            return REFUSED
        finally:
            self._check_nobody_came()
        if frame.empty or frame.crs is None or frame.geometry.is_empty.any() or frame.geometry.has_z.any():
            raise Wrong("what was read is empty, or has no CRS, or has heights")
        return READ

    def _read_here(self, file: Path, request: vector_child.ReadRequest) -> dict[str, Any]:
        """What the reader's process does, in this one, which is bounded too: a hundred times as many are tried."""
        if zlib.crc32(file.read_bytes()) % ONE_IN == 0:
            return self.started(file, request)
        import pyarrow as pa

        try:
            answer, columns = vector_child.read(request)
            table = pa.table(columns)
            path = f"{request.folder}/table.arrow"
            with pa.OSFile(path, "wb") as target, pa.ipc.new_file(target, table.schema) as out:
                out.write_table(table)
        except vector_child.FileRefused as refused:
            return {"refused": list(refused.args)}
        except Exception as error:  # as there: whatever a library raises is a refusal
            return {"refused": [str(error)[:160], ""]}
        return json.loads(json.dumps(answer))

    def _check_nobody_came(self) -> None:
        with suppress(BlockingIOError):
            self.server.accept()[0].close()
            raise Wrong("reading the file asked a web server")


def _restated(data: bytes, random: np.random.Generator) -> bytes:
    raw = json.loads(data)
    for _ in range(random.integers(1, 4)):
        raw = revalued(raw, random)
    if isinstance(raw, dict) and random.random() < 0.15:
        href = f"http://{HOST}:{PORT.decode()}/crs"
        kind = ("link", "url", "name", "LINK")[random.integers(4)]
        raw["crs"] = {"type": kind, "properties": {("href", "url", "name")[random.integers(3)]: href}}
    return json.dumps(raw).encode()


# ----------------------------------------------------------------------------------------------------- sound files


def drawn(folder: Path) -> dict[str, dict[str, bytes]]:
    """Sound files by name: each the file and those beside it, the file first."""
    import geopandas as gpd
    from shapely import GeometryCollection, LineString, MultiPolygon, Point, box, force_3d

    homes = [box(84000 + 20 * i, 447000, 84010 + 20 * i, 447008 + i) for i in range(5)]
    homes[1] = homes[1].difference(box(84022, 447002, 84025, 447005))
    shapes = [*homes, MultiPolygon(homes[:2])]
    told = {"year": [1980, 2001, 2024, None, 1900, 1950], "status": ["in use", "é", "", None, "gone", "x"]}
    plain = gpd.GeoDataFrame(told, geometry=shapes, crs="EPSG:28992")
    mixed = plain.set_geometry(force_3d([*homes, GeometryCollection([homes[0], Point(84000, 447000)])]))
    lines = gpd.GeoDataFrame(geometry=[LineString([(84000, 447000), (84010, 447001)])], crs="EPSG:28992")

    def file(name: str, frame: gpd.GeoDataFrame, **options: Any) -> bytes:
        frame.to_file(folder / name, **options)
        return (folder / name).read_bytes()

    def parquet(name: str, **options: Any) -> bytes:
        plain.to_parquet(folder / name, **options)
        return (folder / name).read_bytes()

    shapefile = {"a.shp": file("a.shp", plain)}
    shapefile |= {f"a.{end}": (folder / f"a.{end}").read_bytes() for end in ("dbf", "shx", "prj", "cpg")}
    plain.to_file(folder / "two.gpkg", layer="homes")
    geojson = {"driver": "GeoJSON"}
    degrees = file("degrees.geojson", plain.to_crs(4326), RFC7946="YES", **geojson)
    return {
        "a.geojson": {"a.geojson": file("plain.geojson", plain, **geojson)},
        "a.json": {"a.json": degrees},
        "a.gpkg": {"a.gpkg": file("two.gpkg", lines, layer="ways", mode="a")},
        "a.fgb": {"a.fgb": file("mixed.fgb", mixed)},
        "a.shp": shapefile,
        "a.parquet": {"a.parquet": parquet("plain.parquet")},
        "a.geoparquet": {"a.geoparquet": parquet("arrow.parquet", compression="zstd", geometry_encoding="geoarrow")},
        "a.zip": {"a.zip": _packed({**shapefile, "__MACOSX/._a.shp": b"\0\x05\x16\x07"})},
    }


def _packed(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
