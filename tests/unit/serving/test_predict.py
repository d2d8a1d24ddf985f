"""Predictions over HTTP: what is answered, what is refused and how, and who may ask."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from groundplan.project import open_project
from serving.api.app import api_of
from serving.api.keys import list_keys, make_key, revoke_key
from serving.api.service import Service, service_of


def picture(width: int = 200, height: int = 120, form: str = "JPEG") -> bytes:
    from PIL import Image

    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def home(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of this file's own: the service enters models into its registry."""
    return Path(shutil.copytree(built_home, tmp_path_factory.mktemp("api") / "home"))


@pytest.fixture(scope="module")
def here(home: Path) -> Service:
    service = service_of(open_project(home))
    service.gallery.look()
    return service


@pytest.fixture
def client(here: Service) -> TestClient:
    return TestClient(api_of(here), base_url="http://localhost", client=("127.0.0.1", 5000))


@pytest.fixture
def stranger(here: Service) -> TestClient:
    """Not at this machine."""
    return TestClient(api_of(here), base_url="http://localhost", client=("192.0.2.1", 5000))


def problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    """The refusal, where it is this one and has a problem's form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["type"] == f"urn:groundplan:problem:{kind}"
    assert told["status"] == status
    assert "Traceback" not in response.text
    return dict(told)


def test_an_image_without_a_place_is_answered_in_pixels(client: TestClient) -> None:
    response = client.post("/v1/predict/footprints", content=picture(), headers={"content-type": "image/jpeg"})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert response.headers["content-type"] == "application/geo+json"
    assert response.headers["x-model-version"] == answer["version"]
    assert {part.split(";")[0] for part in response.headers["server-timing"].split(", ")} == {
        "queue",
        "prepare",
        "analyse",
    }
    assert (answer["type"], answer["coordinates"], answer["width"], answer["height"]) == (
        "FeatureCollection",
        "pixels",
        200,
        120,
    )


def test_an_image_with_a_box_is_answered_in_degrees(client: TestClient) -> None:
    response = client.post("/v1/predict/footprints?bbox=182400,447500,182460,447536&crs=EPSG:28992", content=picture())
    assert response.json()["coordinates"] == "degrees"
    assert response.json()["crs"] == "EPSG:28992"


def test_a_form_with_one_image_is_answered_as_the_image_and_several_one_by_one(client: TestClient) -> None:
    alone = client.post("/v1/predict/footprints", content=picture()).json()
    assert client.post("/v1/predict/footprints", files={"image": picture()}).json() == alone
    as_curl = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/v1/predict/footprints", content=picture(), headers=as_curl).json() == alone
    files = [("image", ("a.jpg", picture())), ("image", ("b.txt", b"no image")), ("image", ("c.png", picture()))]
    several = client.post("/v1/predict/footprints", files=files).json()["answers"]
    assert [one["name"] for one in several] == ["a.jpg", "b.txt", "c.png"]
    assert several[0]["answer"] == several[2]["answer"] == alone
    assert several[1]["problem"]["status"] == 415


def test_a_world_file_places_an_image(client: TestClient) -> None:
    world = "0.3\n0\n0\n-0.3\n182400.15\n447535.85\n"
    place = "/v1/predict/footprints?crs=EPSG:28992"
    text = client.post(place, files={"image": picture()}, data={"world": world}).json()
    assert text["coordinates"] == "degrees"
    file = client.post(place, files={"image": picture(), "world": ("a.jgw", world.encode())}).json()
    assert (file["id"], file["features"]) == (text["id"], text["features"])
    many = [("image", ("a.jpg", picture())) for _ in range(9)]
    problem(client.post(place, files=many), 400, "form")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "empty"),
        (b"hello", 415, "no-image"),
        (b"<html>", 415, "no-image"),
        (picture()[:300], 422, "unreadable"),
        (picture(form="GIF"), 415, "no-image"),
        (b"x" * 400_000, 413, "too-large"),
        (picture(600, 600), 413, "too-large"),
    ],
)
def test_what_is_no_image_is_refused(
    body: bytes, status: int, kind: str, home: Path, monkeypatch: pytest.MonkeyPatch, here: Service
) -> None:
    settings = here.project.settings.model_copy(
        update={"api": here.settings.model_copy(update={"max_bytes": 300_000, "max_pixels": 300_000})}
    )
    from dataclasses import replace

    small = replace(here, project=replace(here.project, settings=settings))
    client = TestClient(api_of(small), base_url="http://localhost", client=("127.0.0.1", 5000))
    problem(client.post("/v1/predict/footprints", content=body), status, kind)
    assert small.lane.inside == {}


@pytest.mark.parametrize(
    ("address", "status", "kind"),
    [
        ("/v1/predict/nothing", 404, "model"),
        ("/v1/predict/footprints@nothing", 404, "model"),
        ("/v1/predict/UP", 422, "invalid"),
        ("/v1/predict/footprints?bbox=1,2,3", 422, "place"),
        ("/v1/predict/footprints?bbox=1,2,nan,4", 422, "place"),
        ("/v1/predict/footprints?bbox=3,2,1,4", 422, "place"),
        ("/v1/predict/footprints?bbox=1,2,3,4&crs=/etc/passwd", 422, "place"),
        ("/v1/elsewhere", 404, "http"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(address: str, status: int, kind: str, client: TestClient) -> None:
    problem(client.post(address, content=picture()), status, kind)


def test_another_kind_of_body_and_another_method_are_refused(client: TestClient) -> None:
    problem(client.post("/v1/predict/footprints", json={"url": "http://127.0.0.1/"}), 415, "kind")
    problem(client.get("/v1/predict/footprints"), 405, "http")
    problem(
        client.post("/v1/predict/footprints", content=picture(), headers={"x-deadline-ms": "soon"}),
        400,
        "deadline-form",
    )
    problem(client.post("/v1/predict/footprints", content=picture(), headers={"x-deadline-ms": "0"}), 504, "deadline")


def test_a_full_lane_refuses_before_the_body_is_read_and_says_when_to_return(client: TestClient, here: Service) -> None:
    tickets = [here.lane.enter("footprints", 100)]
    tickets[0].expected = 10.0

    def never() -> Iterator[bytes]:
        yield b"x"

    try:
        response = client.post("/v1/predict/footprints", content=never())
        problem(response, 503, "busy")
        assert int(response.headers["retry-after"]) in (9, 10)
    finally:
        for ticket in tickets:
            del here.lane.inside[ticket]


def test_without_a_key_only_this_machine_is_answered(client: TestClient, stranger: TestClient, here: Service) -> None:
    problem(stranger.post("/v1/predict/footprints", content=picture()), 401, "key")
    assert stranger.get("/v1/models").headers["www-authenticate"].startswith("Bearer")
    for headers in ({"x-forwarded-for": "10.0.0.1"}, {"sec-fetch-site": "cross-site"}, {"forwarded": "for=1.1.1.1"}):
        problem(client.post("/v1/predict/footprints", content=picture(), headers=headers), 401, "key")


def test_a_key_opens_what_its_scopes_say_until_it_is_revoked(
    stranger: TestClient, here: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here.keyring, "clock", lambda: 0.0)
    engine = here.engine()
    text = make_key(engine, "phone", ["predict"], rate=2.0)
    assert text not in json.dumps([key.digest for key in list_keys(engine)])
    here.keyring.replace(list_keys(engine))
    headers = {"authorization": f"Bearer {text}"}
    assert stranger.post("/v1/predict/footprints", content=picture(), headers=headers).status_code == 200
    problem(stranger.get("/v1/models", headers=headers), 403, "scope")
    assert stranger.post("/v1/predict/footprints", content=picture(), headers={"x-api-key": text}).status_code == 200
    late = stranger.post("/v1/predict/footprints", content=picture(), headers=headers)
    problem(late, 429, "rate")
    assert late.headers["retry-after"] == "1"
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    for other in (wrong, "gp_", "gp_" + "x" * 43, "é"):
        problem(stranger.get("/v1/models", headers={"x-api-key": other.encode()}), 401, "key")
    revoke_key(engine, "phone")
    here.keyring.replace(list_keys(engine))
    problem(stranger.post("/v1/predict/footprints", content=picture(), headers=headers), 401, "key")


def test_models_are_listed_with_their_aliases_and_shown_as_stac_items(client: TestClient) -> None:
    listed = client.get("/v1/models").json()["models"]
    (one,) = [each for each in listed if each["name"] == "footprints"]
    assert one["aliases"] == {"candidate": one["versions"][-1]}
    item = client.get("/v1/models/footprints@candidate").json()
    assert item["properties"]["mlm:name"] == "footprints"
    assert one["answers"] == item["properties"]["version"]
    problem(client.get("/v1/models/other"), 404, "model")


def test_health_says_what_lacks(client: TestClient, here: Service) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/startupz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"models": "ok", "lane": "ok", "database": "ok"})
    here.lane.closing = True
    try:
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
    finally:
        here.lane.closing = False


def test_figures_are_told(client: TestClient) -> None:
    client.post("/v1/predict/footprints", content=picture())
    text = client.get("/metrics").text
    assert 'groundplan_http_requests_total{code="200",method="POST",route="/v1/predict/{model}"}' in text
    assert 'groundplan_model_info{alias="production",model="footprints"' in text


def test_every_answer_has_a_number_and_the_manners_of_the_maps(client: TestClient) -> None:
    for response in (client.get("/livez"), client.get("/v1/elsewhere"), client.get("/docs")):
        assert len(response.headers["x-request-id"]) == 36
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in response.headers["content-security-policy"]
    assert client.get("/livez", headers={"host": "evil.example.org"}).status_code == 200
    problem(client.get("/v1/models", headers={"host": "evil.example.org"}), 421, "http")


def test_the_description_names_every_route_and_who_may_ask(client: TestClient) -> None:
    told = client.get("/openapi.json").json()
    assert "/v1/predict/{model}" in told["paths"]
    asked = told["paths"]["/v1/predict/{model}"]["post"]
    assert set(asked["requestBody"]["content"]) >= {"image/jpeg", "multipart/form-data"}
    assert asked["security"]
