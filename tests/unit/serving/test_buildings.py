"""What the map server gives of single buildings, files of them, and the words around them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import pytest
from answers import Answer, asgi
from stand_in import stand_in_footprints
from starlette.types import ASGIApp

from groundplan.config import ServingSettings
from groundplan.core.partition import Partition
from groundplan.footprints import export, footprints
from groundplan.polygons.geoparquet import read
from groundplan.project import Project, open_project
from groundplan.quality.agreement import agreement
from serving.maps import app, vectors
from serving.maps.region_facts import DOWNLOADS

HERE = Partition(2024, "noorderveld")


@pytest.fixture(scope="module")
def project(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    home = tmp_path_factory.mktemp("buildings") / "home"
    shutil.copytree(built_home, home)
    opened = open_project(home)
    stand_in_footprints(opened, HERE)
    return opened


@pytest.fixture(scope="module")
def site(project: Project) -> ASGIApp:
    return app.build_app(project)


def data(answer: Answer) -> dict[str, object]:
    assert answer[0] == 200
    return dict(json.loads(answer[2]))


def test_a_building_tells_all_that_its_file_says(site: ASGIApp, project: Project) -> None:
    row = footprints.load(project, HERE).iloc[0]
    told = data(asgi(site, f"/building/noorderveld/2024/{row['id']}.json"))["building"]
    assert isinstance(told, dict)
    assert [told[name] for name in ("id", "sheet", "model")] == [row["id"], "a.tif", "2024-stand-in"]
    assert told["confidence"] == pytest.approx(row["confidence"], abs=1e-3)
    west, south, east, north = gpd.GeoSeries([row.geometry], crs=project.grid.crs).to_crs(4326).total_bounds
    assert told["box"] == pytest.approx([west, south, east, north], abs=1e-6)
    assert data(asgi(site, "/building/noorderveld/2024/0123456789abcdef.json")) == {"building": None}


@pytest.mark.parametrize("kind", [kind for kind in DOWNLOADS if kind in export.FORMATS])
def test_every_format_can_be_taken_home(site: ASGIApp, project: Project, kind: str, tmp_path: Path) -> None:
    frame = footprints.load(project, HERE)
    path = f"/download/noorderveld/2024/footprints{kind}"
    status, headers, body = asgi(site, path)
    assert status == 200
    assert headers["content-disposition"] == f"attachment; filename*=UTF-8''noorderveld-2024{kind}"
    file = tmp_path / f"taken{kind}"
    file.write_bytes(body)
    taken = read(body) if kind == ".parquet" else gpd.read_file(file)
    assert set(taken["id"]) == set(frame["id"])
    assert {"region", "year", "area_m2"} <= set(taken.columns), "it is another file than `groundplan export` writes"
    assert asgi(site, path, If_None_Match=headers["etag"])[::2] == (304, b"")


def test_what_is_seen_and_passes_the_filter_is_taken(site: ASGIApp, project: Project) -> None:
    frame = footprints.load(project, HERE)
    path, degrees = "/download/noorderveld/2024/footprints.parquet", frame.geometry.iloc[[0]].to_crs(4326)
    box = ",".join(f"{edge:.7f}" for edge in degrees.total_bounds)
    seen = read(asgi(site, path, f"bbox={box}")[2])
    assert 0 < len(seen) < len(frame)
    sure = read(asgi(site, path, "confidence=0.7&area=20")[2])
    assert set(sure["id"]) == set(frame[(frame["confidence"] >= 0.7) & (frame["area"] >= 20)]["id"])
    assert asgi(site, path, "confidence=0.7")[1]["content-disposition"].endswith("noorderveld-2024-part.parquet")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("noorderveld/2024/footprints.exe", "", 404),
        ("noorderveld/2024/footprints.gpkg", "bbox=1,2,3", 400),
        ("noorderveld/2024/footprints.gpkg", "confidence=nan", 400),
        ("noorderveld/2024/footprints.gpkg", "area=-1", 400),
        ("noorderveld/2023/footprints.gpkg", "", 404),
        ("no.where/2024/footprints.gpkg", "", 404),
    ],
)
def test_files_that_nobody_can_have_are_refused(site: ASGIApp, path: str, query: str, status: int) -> None:
    assert asgi(site, f"/download/{path}", query)[0] == status


@pytest.mark.fault
def test_files_are_bounded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    site = app.Site(project)
    buildings = vectors.Buildings(site)
    monkeypatch.setattr(vectors, "Buildings", lambda _: buildings)
    served, path = app.build_app(project), "/download/noorderveld/2024/footprints.csv"
    buildings.waiting = vectors.MOST_WAITING
    assert asgi(served, path)[0] == 503
    buildings.waiting = 0
    monkeypatch.setattr(vectors, "MOST_BYTES", 10)
    status, _, page = asgi(served, path)
    assert status == 413
    assert b"groundplan export" in page


def test_the_register_is_compared_building_by_building(site: ASGIApp, project: Project) -> None:
    """Each building of the register is found or missed, each footprint found or false; the server gives the same."""
    counts = agreement(project, HERE)["verdict"].value_counts()
    ours = footprints.load(project, HERE)
    assert set(counts.index) == {"found", "missed", "false"}
    assert counts["found"] + counts["false"] <= len(ours)  # some lie where the register says nothing
    answer = data(asgi(site, "/agreement/noorderveld/2024.geojson"))
    assert answer["total"] == counts.sum()
    seen = [feature["properties"]["verdict"] for feature in answer["features"]]  # type: ignore[attr-defined]
    assert {verdict: seen.count(verdict) for verdict in counts.index} == counts.to_dict()
    assert asgi(site, "/agreement/noorderveld/2023.geojson")[0] == 404


def test_one_other_host_is_allowed_where_the_settings_name_it(project: Project) -> None:
    chosen = ServingSettings(basemap="https://tiles.example.org/{z}/{x}/{y}.png", basemap_attribution="Makers")
    other = replace(project, settings=project.settings.model_copy(update={"serving": chosen}))
    for opened, hosts in ((project, ""), (other, " https://tiles.example.org")):
        site = app.build_app(opened)
        policy = dict(part.split(" ", 1) for part in asgi(site, "/map/")[1]["content-security-policy"].split("; "))
        assert policy["img-src"] == f"'self'{hosts} data: blob:"
        assert policy["connect-src"] == f"'self'{hosts}"
        assert policy["script-src"] == "'self'"
        assert policy["default-src"] == "'none'"
        told = data(asgi(site, "/map/country.json"))["basemap"]
        assert told == ({"url": chosen.basemap, "attribution": "Makers"} if hosts else None)


def test_the_page_of_a_partition_names_who_is_to_be_named(site: ASGIApp) -> None:
    page = asgi(site, "/partition/building_footprints/2024/noorderveld")[2].decode()
    assert "Imagery: invented; CC0" in page
    assert "not stated" in page  # of the register
    facts = data(asgi(site, "/map/noorderveld/2024/facts.json"))
    assert facts["credits"] == "Imagery: invented; CC0"


def test_facts_change_their_tag_when_something_was_made(site: ASGIApp, project: Project) -> None:
    """By this a page knows that there is something new."""
    path = "/map/noorderveld/2024/facts.json"
    first = asgi(app.build_app(project), path)
    assert asgi(app.build_app(project), path, If_None_Match=first[1]["etag"])[0] == 304
    stand_in_footprints(project, HERE, leave_out=2)
    status, _, body = asgi(app.build_app(project), path, If_None_Match=first[1]["etag"])
    assert status == 200
    before, now = json.loads(first[2])["made"], json.loads(body)["made"]
    assert before.pop("building_footprints") != now.pop("building_footprints")
    assert before == now
    stand_in_footprints(project, HERE)


def test_no_page_leads_back(site: ASGIApp) -> None:
    for path, root in (("/nothing", "./"), ("/a/b/c", "../../"), ("/map/nowhere/2024/", "../../../")):
        status, headers, page = asgi(site, path)
        assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert f'<base href="{root}">'.encode() in page
        assert b'<a class="button second" href="map/">' in page
