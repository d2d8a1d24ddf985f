"""Vector files as they come: layers, archives, kinds of geometry, conditions; and files that mean harm."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from shapely import box

from groundplan.config import RegisterSettings
from groundplan.errors import BadRegister
from groundplan.polygons import vector_child
from groundplan.polygons.vector_files import CHILD, NO_NETWORK, read_vector

CRS = "EPSG:28992"
HOUSES = [box(100_000 + 20 * i, 400_000, 100_010 + 20 * i, 400_010) for i in range(3)]
PARCELS = [box(100_000 + 20 * i, 399_990, 100_019 + 20 * i, 400_020) for i in range(4)]
Maker = Callable[[Path], Path]


def layered(path: Path, **layers: list[Any]) -> Path:
    for name, shapes in layers.items():
        gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=shapes, crs=CRS).to_file(path, layer=name)
    return path


def packed(path: Path, *files: tuple[str, Path | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    return path


def shapefile(folder: Path, name: str, shapes: list[Any]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=shapes, crs=CRS).to_file(folder / f"{name}.shp")
    return sorted(folder.glob(f"{name}.*"))


def geojson(path: Path, shapes: list[Any], crs: Any = None, **more: Any) -> Path:
    crs = crs or {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::28992"}}
    features = [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in shapes]
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features, **more}))
    return path


def area(file: Path, **options: Any) -> float:
    return float(read_vector(file, **options).geometry.area.sum())


# ---------------------------------------------------------------------------------------------------------- layers


def test_of_several_layers_the_one_of_polygons_is_taken_and_said(tmp_path: Path) -> None:
    points = [house.centroid for house in HOUSES]
    frame = read_vector(layered(tmp_path / "a.gpkg", addresses=points, buildings=HOUSES))
    assert frame.geometry.area.sum() == pytest.approx(300)
    assert frame.attrs["notes"] == ["its layer 'buildings' is taken, and not addresses (POINT)"]


def test_several_layers_of_polygons_are_refused_by_name_and_one_can_be_chosen(tmp_path: Path) -> None:
    file = layered(tmp_path / "base.gpkg", parcels=PARCELS, buildings=HOUSES)
    with pytest.raises(BadRegister, match=r"2 layers of polygons: parcels .*, buildings .*Say which with --layer NAME"):
        read_vector(file)
    assert area(file, layer="buildings") == pytest.approx(300)
    assert area(file, layer="parcels") == pytest.approx(4 * 19 * 30)
    with pytest.raises(BadRegister, match=r"it has no layer 'roofs'\. It has: parcels .*, buildings"):
        read_vector(file, layer="roofs")


def test_an_archive_is_read_by_its_layers_and_a_macs_twins_do_not_count(tmp_path: Path) -> None:
    parts = shapefile(tmp_path / "in", "buildings", HOUSES)
    twins = [(f"__MACOSX/._{part.name}", b"\0\5\26\7\0\2\0\0Mac OS X        ") for part in parts]
    beside = [("readme.json", b'{"made": "by hand"}'), ("._buildings.shp", b"\0\5\26\7")]
    mac = packed(tmp_path / "mac.zip", *((part.name, part) for part in parts), *twins, *beside)
    assert area(mac) == pytest.approx(300)
    more = [*parts, *shapefile(tmp_path / "in", "parcels", PARCELS)]
    both = packed(tmp_path / "both.zip", *((f"some folder/{part.name}", part) for part in more))
    with pytest.raises(BadRegister, match=r"2 layers of polygons: buildings .*, parcels .*--layer"):
        read_vector(both)
    assert area(both, layer="buildings") == pytest.approx(300)


def test_files_of_one_name_in_two_folders_of_an_archive_are_told_apart(tmp_path: Path) -> None:
    north, south = (shapefile(tmp_path / side, "houses", HOUSES[at:]) for side, at in (("north", 0), ("south", 1)))
    file = packed(tmp_path / "a.zip", *((f"{part.parent.name}/{part.name}", part) for part in (*north, *south)))
    with pytest.raises(BadRegister, match=r"north/houses\.shp .*, south/houses\.shp"):
        read_vector(file)
    assert area(file, layer="south/houses.shp") == pytest.approx(200)
    one = geojson(tmp_path / "b.geojson", HOUSES)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = packed(tmp_path / "b.zip", ("a.geojson", one), ("a.geojson", one))
    for file in (twice, packed(tmp_path / "c.zip", ("a.geojson", one), ("A.geojson", one))):
        with pytest.raises(BadRegister, match=r"it holds [aA]\.geojson twice"):
            read_vector(file)


# ------------------------------------------------------------------------------------------------------- geometries


def test_polygons_of_collections_are_taken_out(tmp_path: Path) -> None:
    line, nested = shapely.LineString([(0, 0), (1, 1)]), shapely.GeometryCollection([HOUSES[1], HOUSES[2]])
    shapes = [shapely.GeometryCollection([HOUSES[0], line]), shapely.GeometryCollection([nested, line])]
    frame = read_vector(geojson(tmp_path / "a.geojson", [*shapes, shapely.GeometryCollection([line])]))
    assert frame.geometry.geom_type.tolist() == ["Polygon", "MultiPolygon", "GeometryCollection"]
    assert frame.geometry.area.tolist() == pytest.approx([100, 200, 0])
    file = tmp_path / "a.parquet"
    gpd.GeoDataFrame(geometry=shapes, crs=CRS).to_parquet(file)
    assert area(file) == pytest.approx(300)


def test_curves_become_polygons(tmp_path: Path) -> None:
    file, radius = layered(tmp_path / "a.gpkg", buildings=HOUSES), 6.0
    x, y = 100_500.0, 400_000.0
    ring = [(x - radius, y), (x, y + radius), (x + radius, y), (x, y - radius), (x - radius, y)]
    arc = struct.pack("<BII", 1, 8, 5) + b"".join(struct.pack("<dd", *point) for point in ring)
    circle = b"GP\0\1" + struct.pack("<i", 28992) + struct.pack("<BII", 1, 10, 1) + arc
    with sqlite3.connect(file) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE gpkg_geometry_columns SET geometry_type_name = 'GEOMETRY'")
        connection.execute("INSERT INTO buildings (n, geom) VALUES (9, ?)", (circle,))
    assert area(file) == pytest.approx(300 + np.pi * radius**2, rel=1e-3)


def test_arrow_geometries_of_parquet_are_read(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=HOUSES, crs=CRS).to_parquet(
        tmp_path / "a.parquet", geometry_encoding="geoarrow", schema_version="1.1.0"
    )
    assert area(tmp_path / "a.parquet") == pytest.approx(300)


# ----------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "fgb", "parquet", "shp"])
def test_a_condition_means_the_same_in_every_format(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{ending}"
    frame = gpd.GeoDataFrame(
        {"year": [1980, 2024, None], "state": ["In use", "planned", "in USE"]}, geometry=HOUSES, crs=CRS
    )
    frame.to_parquet(file) if ending == "parquet" else frame.to_file(file)
    assert area(file, where="year <= 2022") == pytest.approx(100)
    found = read_vector(file, where="state LIKE 'in use' AND \"YEAR\" IS NULL", columns=["state"])
    assert found["state"].tolist() == ["in USE"]
    assert found.attrs["columns"] == ["year", "state"]


@pytest.mark.bad_input
@pytest.mark.parametrize("where", ["yaer < 2000", '"yaer" < 2000', "year <", "year = 1) OR load_extension('x') --"])
def test_a_condition_that_makes_no_sense_is_refused(where: str, tmp_path: Path) -> None:
    file = tmp_path / "a.gpkg"
    gpd.GeoDataFrame({"year": [1980] * 3}, geometry=HOUSES, crs=CRS).to_file(file)
    asked = r"the condition .* cannot be asked of it \((no such column: yaer|.*error|not authorized)\)"
    with pytest.raises(BadRegister, match=rf"({asked}|it has no column 'yaer')\. It has: year"):
        read_vector(file, where=where)


# ------------------------------------------------------------------------------------------------ files that mean harm


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        do_HEAD = do_CONNECT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}", asked
    listening.shutdown()
    listening.server_close()


LINKS: dict[str, Callable[[str], Any]] = {
    "link": lambda url: {"crs": {"type": "link", "properties": {"href": f"{url}/a"}}},
    "url": lambda url: {"crs": {"type": "URL", "properties": {"url": f"{url}/a"}}},
    "capitals": lambda url: {"CRS": {"type": "Link", "properties": {"href": f"{url}/a"}}},
    "a name": lambda url: {"crs": {"type": "name", "properties": {"name": f"{url}/a"}}},
    "in a geometry": lambda url: {"more": {"crs": {"type": "link", "properties": {"href": f"{url}/a"}}}},
}


@pytest.mark.bad_input
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("kind", LINKS)
def test_a_file_makes_nobody_ask_an_address(
    kind: str, escaped: bool, tmp_path: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = server
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # as clusters have it: GDAL would get around any proxy
    told = json.dumps(LINKS[kind](url))
    told = told.replace('"crs"', '"\\u0063rs"') if escaped else told
    feature = {"type": "Feature", "properties": {}, "geometry": {**shapely.geometry.mapping(HOUSES[0])}}
    text = json.dumps(feature)
    if kind == "in a geometry":
        text = text.replace('"coordinates"', told[1:-1].replace('"more": {', "")[:-1] + ', "coordinates"')
        told = "{}"
    comma = "," if told != "{}" else ""
    file = tmp_path / "a.geojson"
    file.write_text(f'{{"type": "FeatureCollection"{comma} {told[1:-1]}, "features": [{text}]}}')
    json.loads(file.read_text())
    with pytest.raises(BadRegister, match=r"which is not followed|is not known"):
        read_vector(file)
    assert asked == []


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["/etc/passwd", "+init=epsg:28992", "EPSG:999999", "PROJCS[", "http://x/y"])
def test_a_crs_that_nobody_knows_is_not_taken_for_degrees(name: str, tmp_path: Path) -> None:
    file = geojson(tmp_path / "a.geojson", HOUSES, {"type": "name", "properties": {"name": name}})
    with pytest.raises(BadRegister, match="is not known"):
        read_vector(file)


def test_gdals_own_http_leads_nowhere(server: tuple[str, list[str]]) -> None:
    """Both GDALs, each in a process of its own: what is set is what the reading process and sheets have."""
    url, asked = server
    code = f"""
import json, rasterio, pyogrio
from contextlib import suppress
pyogrio.set_gdal_config_options({NO_NETWORK!r})
for name in ("/vsicurl/{url}/a.tif", "{url}/b.tif"):
    with suppress(Exception), rasterio.Env(**{NO_NETWORK!r}):
        rasterio.open(name)
    with suppress(Exception):
        pyogrio.read_info(name)
link = {{"type": "FeatureCollection", "features": [], "crs": {{"type": "link", "properties": {{"href": "{url}/c"}}}}}}
with suppress(Exception):
    pyogrio.read_info(json.dumps(link).encode())
"""
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert asked == []


def test_the_reading_process_has_the_drivers_of_its_formats_and_no_others() -> None:
    code = "import vector_child as v; v.without_unneeded(); import pyogrio; print(*pyogrio.list_drivers(), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHILD.parent, capture_output=True, text=True, check=True)
    assert set(done.stdout.split("\n")) - {""} == set(vector_child.DRIVERS)


def as_view(file: Path, body: str, name: str = "v") -> Path:
    """A GeoPackage whose only layer is a view."""
    layered(file, houses=HOUSES)
    with sqlite3.connect(file) as connection:
        connection.execute(f"CREATE VIEW {name} AS {body}")
        connection.execute("UPDATE gpkg_contents SET table_name = ?, identifier = ?", (name, name))
        connection.execute("UPDATE gpkg_geometry_columns SET table_name = ?", (name,))
    return file


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS fid, i AS n, NULL AS geom FROM n"


def as_virtual(file: Path) -> Path:
    layered(file, houses=HOUSES)
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE VIRTUAL TABLE v USING fts5(geom)")
        connection.execute("UPDATE gpkg_contents SET table_name = 'v', identifier = 'v'")
        connection.execute("UPDATE gpkg_geometry_columns SET table_name = 'v'")
    return file


def computed(file: Path) -> Path:
    layered(file, houses=HOUSES)
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE houses ADD COLUMN big BLOB GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL")
    return file


def odd_contents(file: Path) -> Path:
    layered(file, houses=HOUSES)
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE gpkg_contents RENAME TO there")
        connection.execute("CREATE VIEW gpkg_contents AS SELECT * FROM there")
    return file


def unfinished(file: Path) -> Path:
    layered(file, houses=HOUSES)
    Path(f"{file}-wal").write_bytes(b"x" * 32)
    return file


def one_value(file: Path, rows: int = 20_000) -> Path:
    """Parquet in which each row is the same large polygon: some kilobytes that unpack to gigabytes."""
    wkb = shapely.to_wkb(shapely.Point(100_000, 400_000).buffer(50, quad_segs=40))
    column = pa.array(np.zeros(rows, np.int32)).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(column.indices, pa.array([wkb], pa.binary()))
    geo = {
        "version": "1.0.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], "crs": None}},
    }
    schema = pa.schema([("geometry", column.type)]).with_metadata({b"geo": json.dumps(geo).encode()})
    pq.write_table(pa.table([column], schema), file, compression="zstd")
    return file


def spread(file: Path) -> Path:
    text = geojson(file.with_suffix(".geojson"), HOUSES).read_bytes()
    return packed(file, ("a.geojson", text + b" " * (20 * 2**20)))


HARMFUL: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "an endless view": ("a.gpkg", lambda f: as_view(f, ENDLESS), "its layer 'v' is a view"),
    "a large view": (
        "a.gpkg",
        lambda f: as_view(f, "SELECT fid, zeroblob(900000000) AS n, geom FROM houses"),
        "its layer 'v' is a view",
    ),
    "a virtual table": ("a.gpkg", as_virtual, "its layer 'v' is a virtual table"),
    "a computed column": ("a.gpkg", computed, "a table whose big is computed"),
    "a view for its contents": ("a.gpkg", odd_contents, "its gpkg_contents is a view"),
    "still being written": ("a.gpkg", unfinished, "it is still being written: a.gpkg-wal"),
    "parquet of one value": ("a.parquet", one_value, "unpack to more than"),
    "a zip of spaces": ("a.zip", spread, "it unpacks to far more than it is"),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", HARMFUL)
def test_a_file_that_would_never_end_or_fill_the_memory_is_refused(kind: str, tmp_path: Path) -> None:
    name, make, reason = HARMFUL[kind]
    file = make(tmp_path / name)
    before = file.read_bytes()
    with pytest.raises(BadRegister, match=reason):
        read_vector(file)
    assert file.read_bytes() == before


@pytest.mark.bad_input
def test_the_bounds_are_settings(tmp_path: Path) -> None:
    file = layered(tmp_path / "a.gpkg", houses=HOUSES)
    with pytest.raises(BadRegister, match=r"it holds 3 features or more, and 2 may be read.*registers\.max_features"):
        read_vector(file, limits=RegisterSettings(max_features=2))
    with pytest.raises(BadRegister, match="unpack to more than"):
        read_vector(file, limits=RegisterSettings(max_decoded=1e-7))


def test_columns_that_nobody_wants_are_not_read(tmp_path: Path) -> None:
    file = layered(tmp_path / "a.gpkg", houses=HOUSES)
    with sqlite3.connect(file) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("ALTER TABLE houses ADD COLUMN big BLOB")
        connection.execute("UPDATE houses SET big = zeroblob(400000000) WHERE fid = 1")
    assert read_vector(file).columns.tolist() == ["geometry"]


def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """A reading process that does something else than read."""
    child = tmp_path / "child.py"
    child.write_text(body)
    monkeypatch.setattr("groundplan.polygons.vector_files.CHILD", child)
    return layered(tmp_path / "a.gpkg", houses=HOUSES)


@pytest.mark.bad_input
def test_a_reader_that_takes_too_long_is_ended_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundplan.polygons.vector_files.PATIENCE", 0.05)
    file = sleeper(tmp_path, monkeypatch, "import time; time.sleep(1000)")
    with pytest.raises(BadRegister, match="it takes longer than it may"):
        read_vector(file, limits=RegisterSettings(max_seconds=10))


def test_processor_time_has_an_end(tmp_path: Path) -> None:
    """The bounds of the process itself, in a process that never ends."""
    code = (
        "import vector_child as v; r = v.ReadRequest(file='x', folder='x', parent=v.os.getppid(), columns=[],"
        "layer=None, where=None, memory=2**40, seconds=1, features=1, decoded=1); v.bound(r, 0)\nwhile True: pass"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHILD.parent, timeout=120)
    assert done.returncode == -signal.SIGXCPU


@pytest.mark.kill
def test_the_reading_process_ends_with_the_command_that_is_told_to_stop(tmp_path: Path) -> None:
    """SIGTERM while it reads: GDAL's code would not have returned for it."""
    child, told = tmp_path / "child.py", tmp_path / "pid"
    child.write_text(f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(1000)")
    file = layered(tmp_path / "a.gpkg", houses=HOUSES)
    code = f"""
import signal
from pathlib import Path
from groundplan.errors import Stopped
from groundplan.polygons import vector_files
def stop(*_): raise Stopped
signal.signal(signal.SIGTERM, stop)
vector_files.CHILD = Path({str(child)!r})
vector_files.read_vector(Path({str(file)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, cwd=Path.cwd()) as command:
        while not (told.exists() and told.read_text()) and command.poll() is None:
            time.sleep(0.05)
        command.terminate()
        command.wait(60)
    assert not Path(f"/proc/{told.read_text()}").exists()
