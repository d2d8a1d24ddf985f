"""Results for everybody, over both databases: what the standards ask, and that their readers read it."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
import shapely
from made_footprints import commit_houses, houses

from groundplan.core.geographic import geographic
from groundplan.core.partition import Partition
from groundplan.database import connect, load
from groundplan.footprints import footprints
from serving.ogc import documents, filters, mvt, results

NORTH_BOX, SOUTH_BOX = (182361.0, 447600.0, 182600.0, 447771.0), (182361.0, 447400.0, 182600.0, 447580.0)
YEAR, ID = 2024, "footprints-2024"
WORDS = {"footprints": "Town of Anywhere", "footprints_licence": "CC-BY-4.0"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_project: Any) -> Iterator[Any]:
    """A server of 500 houses in two regions; `.frame` are they, in degrees, `.get` asks."""
    import pandas as pd
    from api_server import served
    from fastapi import FastAPI

    from serving.api.problems import Problem, answered
    from serving.ogc.routes import ogc_router

    home = tmp_path_factory.mktemp("ogc")
    project = make_project(home / "home", credits=WORDS)
    commit_houses(project, Partition(YEAR, "north"), houses(300, NORTH_BOX))
    commit_houses(project, Partition(YEAR, "south"), houses(200, SOUTH_BOX, seed=8))
    commit_houses(project, Partition(2023, "north"), houses(40, NORTH_BOX, seed=9))
    url = f"sqlite:///{home / 'd.sqlite'}"
    url = request.getfixturevalue("postgis").migrated() if request.param == "postgresql" else url
    engine = connect.engine(url)
    connect.migrate(engine)
    load.sync(engine, project)
    app = FastAPI(exception_handlers={Problem: answered})
    app.include_router(ogc_router(engine, project))
    frames = [footprints.load(project, Partition(YEAR, name)).assign(region=name) for name in ("north", "south")]
    frame = pd.concat(frames, ignore_index=True)
    frame["degrees"] = geographic(frame.geometry.values, project.grid.crs)

    def get(path: str, **query: Any) -> Any:
        with urlopen(f"http://{address}/ogc/{path}" + (f"?{urlencode(query)}" if query else ""), timeout=60) as answer:
            body = answer.read()
        return json.loads(body) if "json" in answer.headers.get_content_type() else body

    with served(app) as address:
        yield SimpleNamespace(root=f"http://{address}/ogc", get=get, frame=frame, engine=engine)
    engine.dispose()


def ids(page: Any) -> list[str]:
    return [feature["id"] for feature in page["features"]]


def refused(api: Any, path: str, **query: Any) -> Any:
    with pytest.raises(HTTPError) as found:
        api.get(path, **query)
    assert found.value.headers.get_content_type() == "application/problem+json"
    return found.value.code, json.loads(found.value.read())["detail"]


# ------------------------------------------------------------------------------- documents


def test_links_lead_from_the_landing_page_to_every_document(api: Any) -> None:
    def follow(links: Any) -> dict[str, Any]:
        inner = [link for link in links if link["href"].startswith(api.root) and not link.get("templated")]
        return {link["rel"]: api.get(link["href"].removeprefix(api.root).lstrip("/")) for link in inner}

    first = follow(api.get("")["links"])
    assert set(documents.CONFORMS) == set(first["conformance"]["conformsTo"])
    listed = {one["id"]: one for one in first["data"]["collections"]}
    assert set(listed) == {ID, "footprints-2023"}
    one = listed[ID]
    assert (one["license"], "Town of Anywhere" in one["attribution"]) == ("CC-BY-4.0", True)
    assert one["storageCrs"] == "http://www.opengis.net/def/crs/EPSG/0/28992"
    np.testing.assert_allclose(
        one["extent"]["spatial"]["bbox"][0], shapely.total_bounds(api.frame["degrees"].values), atol=1e-4
    )
    found = follow(one["links"])
    assert set(found) >= {"items", "http://www.opengis.net/def/rel/ogc/1.0/queryables", "enclosure"}


# ------------------------------------------------------------------------------- pages


def test_pages_hold_every_building_once(api: Any) -> None:
    seen: list[str] = []
    page = api.get(f"collections/{ID}/items", limit=130)
    assert page["numberMatched"] == 500
    while True:
        assert page["numberReturned"] == len(page["features"])
        seen += ids(page)
        more = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not more:
            break
        page = api.get(more[0].removeprefix(api.root + "/"))
    assert seen == [one for _, one in sorted(zip(api.frame["region"], api.frame["id"], strict=True))]


def test_a_feature_says_what_the_file_says_in_degrees(api: Any) -> None:
    row = api.frame.iloc[17]
    feature = api.get(f"collections/{ID}/items/{row.id}")
    assert shapely.equals_exact(shapely.from_geojson(json.dumps(feature["geometry"])), row.degrees, 1e-8)
    told = feature["properties"]
    assert (told["region"], told["year"], told["model"]) == (row.region, YEAR, row.model)
    assert abs(told["confidence"] - row.confidence) < 1e-4
    assert abs(told["area_m2"] - row.area) < 0.01


@pytest.mark.parametrize("crs", ["http://www.opengis.net/def/crs/OGC/1.3/CRS84", "EPSG/0/4326", "EPSG/0/28992"])
def test_a_box_finds_what_meets_it_in_every_crs(api: Any, crs: str) -> None:
    uri = crs if crs.startswith("http") else f"http://www.opengis.net/def/crs/{crs}"
    west, south, east, north = 182400.0, 447550.0, 182500.0, 447650.0
    box = shapely.box(west, south, east, north)
    expected = set(api.frame["id"][shapely.intersects(api.frame.geometry.values, box)])
    values = [west, south, east, north]
    if not crs.endswith("28992"):
        values = list(shapely.bounds(geographic([shapely.box(*values)], "EPSG:28992")[0]))
        inside = shapely.intersects(api.frame["degrees"].values, shapely.box(*values))
        expected = set(api.frame["id"][inside])
    if crs.endswith("4326"):
        values = [values[1], values[0], values[3], values[2]]
    page = api.get(
        f"collections/{ID}/items",
        **{"bbox": ",".join(map(repr, map(float, values))), "bbox-crs": uri, "crs": uri, "limit": 1000},
    )
    assert set(ids(page)) == expected
    assert page["numberMatched"] == len(expected) > 20
    first = api.frame.set_index("id").loc[page["features"][0]["id"]]
    shape = shapely.from_geojson(json.dumps(page["features"][0]["geometry"]))
    wanted = first.geometry if crs.endswith("28992") else first.degrees
    if crs.endswith("4326"):
        wanted = shapely.transform(wanted, lambda points: points[:, ::-1])
    assert shapely.equals_exact(shape, wanted, 1e-6)


def test_boxes_beside_and_around_all_of_it(api: Any) -> None:
    assert api.get(f"collections/{ID}/items", bbox="100,10,101,11")["numberMatched"] == 0
    assert api.get(f"collections/{ID}/items", bbox="-180,-90,180,90")["numberMatched"] == 500
    assert api.get(f"collections/{ID}/items", bbox="170,-90,20,90")["numberMatched"] == 500, "across the 180th meridian"


FILTERS = [
    ("confidence > 0.9", lambda f: f["confidence"] > 0.9),
    ("confidence >= 0.5 AND NOT (area_m2 < 60 OR region = 'south')",
     lambda f: (f["confidence"] >= 0.5) & ~((f["area"] < 60) | (f["region"] == "south"))),
    ("area_m2 BETWEEN 40 AND 50", lambda f: f["area"].between(40, 50)),
    ("area_m2 NOT BETWEEN 40 AND 50", lambda f: ~f["area"].between(40, 50)),
    ("region IN ('south', 'east')", lambda f: f["region"] == "south"),
    ("id LIKE '0%'", lambda f: f["id"].str.startswith("0")),
    ("image_date IS NULL", lambda f: f["image_date"].isna()),
    ("image_date = DATE('2024-05-17')", lambda f: f["image_date"] == "2024-05-17"),
    ("model = 'it''s'", lambda f: f["id"] == ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FILTERS, ids=[text for text, _ in FILTERS])
def test_filters_select_what_they_say(api: Any, text: str, expected: Any) -> None:
    page = api.get(f"collections/{ID}/items", filter=text, limit=1000)
    assert set(ids(page)) == set(api.frame["id"][expected(api.frame)])


def test_spatial_filters_region_and_days(api: Any) -> None:
    shape = api.frame["degrees"].iloc[5]
    x, y = shapely.point_on_surface(shape).coords[0]
    assert api.frame["id"].iloc[5] in ids(
        api.get(f"collections/{ID}/items", filter=f"S_INTERSECTS(geometry, POINT({x} {y}))")
    )
    around = shapely.buffer(shape, 0.0002)
    found = api.get(
        f"collections/{ID}/items", filter=f"S_INTERSECTS(geometry, {around.wkt}) AND confidence > 0.6", limit=999
    )
    inside = shapely.intersects(api.frame["degrees"].values, around) & (api.frame["confidence"] > 0.6)
    assert set(ids(found)) == set(api.frame["id"][inside])
    assert api.get(f"collections/{ID}/items", region="south")["numberMatched"] == 200
    days = {"2024-05-17": 500, "../2024-01-01": int(api.frame["image_date"].isna().sum()), "2024-05-01/..": 500}
    for asked, count in days.items():
        assert len(ids(api.get(f"collections/{ID}/items", datetime=asked, limit=1000))) == count


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"}, {"limit": "x"}, {"bbox": "1,2,3"}, {"bbox": "nan,1,2,3"}, {"bbox": "1,5,2,4"}, {"after": "x"},
        {"crs": "http://www.opengis.net/def/crs/EPSG/0/3035"}, {"datetime": "yesterday"}, {"colour": "red"},
        {"filter": "confidence >"}, {"filter": "1=1; DROP TABLE footprint"}, {"filter": "owner = 'x'"},
        {"filter": "(" * 40 + "TRUE" + ")" * 40}, {"filter": "confidence = 'a'"}, {"filter-lang": "cql2-json"},
        {"filter": "S_INTERSECTS(geometry, POLYGON((0 0, 1 1, 0 1, 1 0, 0 0)))"}, {"filter": "id = '\0'"},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_a_reason(api: Any, query: dict[str, str]) -> None:
    status, detail = refused(api, f"collections/{ID}/items", **query)
    assert status == 400
    assert len(detail) > 10


@pytest.mark.bad_input
def test_what_is_not_there_is_not_found(api: Any) -> None:
    for path in ("collections/footprints-1999", "collections/footprints-2024x", f"collections/{ID}/items/none"):
        assert refused(api, path)[0] == 404
    assert refused(api, f"collections/{ID}/download.exe")[0] == 404
    assert refused(api, f"collections/{ID}/tiles/WebMercatorQuad/3/9/9")[0] == 404


@pytest.mark.bad_input
def test_a_question_that_takes_too_long_is_ended(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dear = {"filter": "confidence > 0.5 AND area_m2 > 1 AND model LIKE 'n%'"}
    with api.engine.connect() as other:
        if api.engine.dialect.name == "postgresql":
            other.exec_driver_sql("LOCK TABLE footprint IN ACCESS EXCLUSIVE MODE")  # it would wait for this for ever
            monkeypatch.setattr(results, "MOST_SECONDS", 0.2)
        else:
            monkeypatch.setattr(results, "MOST_SECONDS", 0.0)
        status, detail = refused(api, f"collections/{ID}/items", **dear)
        assert (status, "bbox" in detail) == (504, True)
        other.rollback()
    monkeypatch.undo()
    assert api.get(f"collections/{ID}/items", **dear)["numberReturned"] == 0, "the next is answered"


# ------------------------------------------------------------------------------- readers


def read_by_gdal(source: str, folder: Path, **options: Any) -> Any:
    """In a process of its own: GDAL asks while it holds the interpreter's lock, which the server here needs."""
    import geopandas as gpd

    code = f"import pyogrio; pyogrio.read_dataframe({source!r}, layer={ID!r}, **{options!r}).to_parquet('read.parquet')"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, timeout=120)
    return gpd.read_parquet(folder / "read.parquet")


def test_gdals_oapif_driver_reads_all_of_it_and_what_lies_in_a_box(api: Any, tmp_path: Path) -> None:
    import pandas as pd

    frame = read_by_gdal(f"OAPIF:{api.root}/collections/{ID}", tmp_path, PAGE_SIZE=150)
    assert set(frame["id"]) == set(api.frame["id"])
    at = frame.set_index("id")
    for row in api.frame.iloc[:20].itertuples():
        assert shapely.equals_exact(at.geometry[row.id], row.geometry, 1e-6)
        assert str(at["image_date"][row.id])[:10] == str(pd.Timestamp(row.image_date))[:10]
    assert frame.crs == "EPSG:28992", "part 2: GDAL asks in the CRS that is stored"
    west, south, east, north = api.frame.geometry.iloc[3].bounds
    near = read_by_gdal(f"OAPIF:{api.root}/collections/{ID}", tmp_path, bbox=(west, south, east, north))
    inside = shapely.intersects(api.frame.geometry.values, shapely.box(west, south, east, north))
    assert set(near["id"]) == set(api.frame["id"][inside])


def test_duckdb_geopackage_and_table_read_the_downloads(api: Any, tmp_path: Path) -> None:
    import duckdb
    import geopandas as gpd
    import pyarrow.parquet as pq

    (tmp_path / "f.parquet").write_bytes(api.get(f"collections/{ID}/download.parquet"))
    asked = f"SELECT count(*), round(sum(area_m2)), min(image_date) FROM '{tmp_path / 'f.parquet'}'"
    count, area, day = duckdb.sql(asked).fetchall()[0]
    assert (count, str(day)) == (500, "2024-05-17")
    assert abs(area - api.frame["area"].sum()) < 5
    told = pq.read_schema(tmp_path / "f.parquet").metadata
    assert (told[b"licence"], b"Town of Anywhere" in told[b"attribution"]) == (b"CC-BY-4.0", True)
    (tmp_path / "f.gpkg").write_bytes(
        api.get(f"collections/{ID}/download.gpkg", region="south", filter="confidence > 0.9")
    )
    kept = gpd.read_file(tmp_path / "f.gpkg")
    wanted = api.frame[(api.frame["region"] == "south") & (api.frame["confidence"] > 0.9)]
    assert list(kept["id"]) == sorted(wanted["id"])
    assert kept.crs == "EPSG:28992"
    with sqlite3.connect(tmp_path / "f.gpkg") as connection:
        assert "CC-BY-4.0" in connection.execute("SELECT description FROM gpkg_contents").fetchone()[0]
    archive = zipfile.ZipFile(io.BytesIO(api.get(f"collections/{ID}/download.csv")))
    assert "licence: CC-BY-4.0" in archive.read("LICENCE-AND-ATTRIBUTION.txt").decode()
    assert duckdb.read_csv(io.StringIO(archive.read(f"{ID}.csv").decode())).fetchall()[0] is not None


# ------------------------------------------------------------------------------- tiles


def tile_at(api: Any, z: int) -> tuple[int, int, tuple[float, ...]]:
    import morecantile

    west, south, east, north = shapely.total_bounds(api.frame["degrees"].values)
    matrix = morecantile.tms.get("WebMercatorQuad")
    found = matrix.tile((west + east) / 2, (south + north) / 2, z)
    box = matrix.xy_bounds(found)
    return found.x, found.y, (box.left, box.bottom, box.right, box.top)


@pytest.mark.parametrize("z", [14, 16, 18])
def test_gdal_reads_a_vector_tile_and_finds_the_buildings_at_their_places(api: Any, tmp_path: Path, z: int) -> None:
    import pyogrio
    import pyproj

    x, y, (left, bottom, right, top) = tile_at(api, z)
    (tmp_path / "t.pbf").write_bytes(api.get(f"collections/{ID}/tiles/WebMercatorQuad/{z}/{y}/{x}"))
    read = pyogrio.read_dataframe(tmp_path / "t.pbf", layer="footprints")
    to = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:3857", always_xy=True)
    there = shapely.transform(api.frame.geometry.values, lambda p: np.column_stack(to.transform(p[:, 0], p[:, 1])))
    expected = dict(zip(api.frame["id"], there, strict=True))
    tile, unit = shapely.box(left, bottom, right, top), (right - left) / mvt.EXTENT
    whole = {name for name, shape in expected.items() if shapely.contains_properly(tile, shape)}
    least = (0.5 * (right - left) / 512 * 0.62) ** 2 * 3
    assert {name for name in whole if expected[name].area > least} <= set(read["id"])
    for name, shape in zip(read["id"], read.geometry, strict=True):
        if name in whole:
            drawn = shapely.transform(
                shape, lambda p: np.column_stack([left + p[:, 0] * unit, bottom + p[:, 1] * unit])
            )
            assert shapely.hausdorff_distance(drawn, expected[name]) < 3 * unit
            assert shape.is_valid or shape.area < 40, "rings lie as the specification wants them"


def test_a_tilejson_says_where_the_tiles_are(api: Any) -> None:
    told = api.get(f"collections/{ID}/tiles/WebMercatorQuad/tilejson.json", region="north")
    x, y, _ = tile_at(api, 15)
    address = told["tiles"][0].replace("{z}", "15").replace("{y}", str(y)).replace("{x}", str(x))
    north = api.get(address.removeprefix(api.root + "/"))
    both = api.get(f"collections/{ID}/tiles/WebMercatorQuad/15/{y}/{x}")
    assert 0 < len(north) < len(both)
    assert "Town of Anywhere" in told["attribution"]
    assert api.get(f"collections/{ID}/tiles/WebMercatorQuad/15/0/0") == b"", "nothing lies there"


def test_documents_of_vector_tiles_say_what_the_standards_ask_and_what_the_tiles_hold(api: Any, tmp_path: Path) -> None:
    import pandas as pd
    import pyogrio

    here = f"collections/{ID}/tiles"
    told, [one] = api.get(f"{here}/WebMercatorQuad/tilejson.json"), api.get(here)["tilesets"]
    assert told["tilejson"] == "3.0.0"
    np.testing.assert_allclose(told["bounds"], shapely.total_bounds(api.frame["degrees"].values), atol=1e-4)
    assert one["dataType"] == "vector"
    assert one["tileMatrixSetURI"].endswith("/WebMercatorQuad")
    links = {link["rel"].rsplit("/")[-1]: link["href"] for link in one["links"]}
    assert api.get(links["self"].removeprefix(api.root + "/")) == one
    assert api.get(links["alternate"].removeprefix(api.root + "/")) == told
    for z in range(told["minzoom"], told["maxzoom"] + 1):
        x, y, _ = tile_at(api, z)
        named = links["item"].replace("{tileMatrix}", str(z)).replace("{tileRow}", str(y)).replace("{tileCol}", str(x))
        assert named == told["tiles"][0].replace("{z}", str(z)).replace("{y}", str(y)).replace("{x}", str(x))
        data = api.get(named.removeprefix(api.root + "/"))
        assert data, f"nothing is seen at level {z}"
    assert api.get(f"{here}/WebMercatorQuad/{told['minzoom'] - 1}/0/0") == b""
    (tmp_path / "t.pbf").write_bytes(data)
    [layer] = told["vector_layers"]
    read = pyogrio.read_dataframe(tmp_path / "t.pbf", layer=layer["id"])
    kinds = {name: "Number" if pd.api.types.is_numeric_dtype(read[name]) else "String" for name in layer["fields"]}
    assert kinds == layer["fields"]
    assert set(read.columns) - set(kinds) <= {"geometry", "mvt_id"}


def test_cql_leaves_nothing_of_its_text_in_the_sql() -> None:
    found = filters.condition_of("id = 'x'' OR 1=1 --' AND confidence > 1e-3", lambda _: None)  # type: ignore[arg-type,return-value]
    assert "OR 1=1" not in str(found.compile())
