"""Areas as jobs: cost told before, one job however often it is asked, progress, cancelling, the job of one who died."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import ORIGIN
from starlette.testclient import TestClient

from groundplan.database.connect import writing
from groundplan.database.tables import job
from groundplan.project import open_project
from serving.api import jobs
from serving.api.app import api_of
from serving.api.service import Service, service_of

BOX = [ORIGIN[0], ORIGIN[1] - 60.0, ORIGIN[0] + 60.0, ORIGIN[1]]
ASKED = {"bbox": BOX, "crs": "EPSG:28992", "year": 2024}


@pytest.fixture(scope="module")
def here(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    home = shutil.copytree(built_home, tmp_path_factory.mktemp("areas") / "home")
    service = service_of(open_project(home))
    service.gallery.look()
    return service


@pytest.fixture
def client(here: Service) -> Iterator[TestClient]:
    """Without the thread that works: tests take its steps themselves."""
    yield TestClient(api_of(here), base_url="http://localhost", client=("127.0.0.1", 5000))
    with writing(here.engine()) as connection:
        connection.execute(job.delete())


def entered(client: TestClient, **more: Any) -> str:
    answer = client.post("/v1/areas", json={**ASKED, **more})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return str(answer.json()["id"])


def test_what_an_area_costs_is_told_and_nothing_is_begun(client: TestClient, here: Service) -> None:
    told = client.post("/v1/areas?dry=true", json=ASKED).json()
    assert told["parts"] == 1
    assert told["km2"] == pytest.approx((256 * 0.3) ** 2 / 1e6, abs=1e-4)
    assert (told["measured"], told["currency"]) == (True, "EUR")
    assert told["cpu_seconds"] > 0
    assert jobs.in_hand(here.engine()) == 0


def test_a_job_is_one_however_often_it_is_asked_and_ends_with_its_buildings(client: TestClient, here: Service) -> None:
    identity = entered(client)
    assert entered(client) == identity
    assert client.get(f"/v1/jobs/{identity}").json()["state"] == "waits"
    assert client.get(f"/v1/jobs/{identity}/result").status_code == 409
    found = jobs.claim(here.engine())
    assert found is not None
    assert jobs.claim(here.engine()) is None, "it is in hand"
    here.runner._one(found)
    told = client.get(f"/v1/jobs/{identity}").json()
    assert (told["state"], told["done"], told["total"]) == ("done", 1, 1), told
    result = client.get(told["result"])
    assert result.headers["content-type"] == "application/geo+json"
    assert result.json()["type"] == "FeatureCollection"
    with client.stream("GET", f"/v1/jobs/{identity}/events") as stream:
        lines = list(stream.iter_lines())
    assert lines[0] == "event: done"
    assert json.loads(lines[1].removeprefix("data: "))["id"] == identity


def test_a_region_with_the_projects_own_model_gives_the_projects_own_buildings(here: Service) -> None:
    """The same arithmetic as the chain's, part by part: with its views and margins, the same polygons."""
    from groundplan.core.partition import Partition
    from groundplan.footprints import footprints
    from groundplan.footprints.areas import area_footprints, plan_area
    from groundplan.inference import runtime
    from groundplan.training import models

    project = here.project
    model = models.load(project, 2024)
    network = runtime.load(model.onnx, threads=1, views=project.settings.predict.views)
    region = project.store.below("manifests/building_footprints/2024")[1][0].key.rsplit("/", 1)[1].removesuffix(".json")
    area = plan_area(project, 2024, region=region)
    found = area_footprints(project, area, network, model.thresholds)
    own = footprints.load(project, Partition(2024, region))
    assert abs(len(found) - len(own)) <= max(3, 0.2 * len(own))
    assert found.crs == own.crs


def test_a_cancelled_job_ends_at_its_next_window(client: TestClient, here: Service) -> None:
    identity = entered(client)
    found = jobs.claim(here.engine())
    assert found is not None
    assert client.delete(f"/v1/jobs/{identity}").json()["state"] == "cancelled"
    steps: list[str] = []

    def work(asked: Any, check: Any, done: Any) -> bytes:
        steps.append("begun")
        return b"{}"

    replace(here.runner, work=work)._one(found)
    assert client.get(f"/v1/jobs/{identity}").json()["state"] == "cancelled"
    assert entered(client) == identity, "asked again it is begun anew"
    assert client.get(f"/v1/jobs/{identity}").json()["state"] == "waits"


def test_a_job_of_which_nobody_speaks_any_more_is_taken_by_another(client: TestClient, here: Service) -> None:
    identity = entered(client)
    assert jobs.claim(here.engine())
    with writing(here.engine()) as connection:
        connection.execute(job.update().values(changed=datetime.now(UTC) - timedelta(seconds=jobs.SILENT + 1)))
    found = jobs.claim(here.engine())
    assert found is not None
    assert found["id"] == identity


def test_a_job_that_fails_says_so_without_the_errors_words(client: TestClient, here: Service) -> None:
    identity = entered(client)
    found = jobs.claim(here.engine())
    assert found is not None

    def work(asked: Any, check: Any, done: Any) -> bytes:
        raise RuntimeError("a secret place")

    replace(here.runner, work=work)._one(found)
    told = client.get(f"/v1/jobs/{identity}").json()
    assert told["state"] == "failed"
    assert "secret" not in json.dumps(told)


def test_a_job_at_hand_is_given_back_at_the_end(client: TestClient, here: Service) -> None:
    identity = entered(client)
    begun = threading.Event()

    def work(asked: Any, check: Any, done: Any) -> bytes:
        begun.set()
        while True:
            check()

    runner = replace(here.runner, work=work, seconds=0.01, stopping=threading.Event())
    runner.begin()
    assert begun.wait(10)
    runner.end()
    assert client.get(f"/v1/jobs/{identity}").json()["state"] == "waits"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 422),
        ({**ASKED, "region": "north"}, 422),
        ({**ASKED, "bbox": [3, 2, 1, 0]}, 422),
        ({**ASKED, "bbox": [1, 2, 3]}, 422),
        ({**ASKED, "crs": "file:///etc/passwd"}, 422),
        ({**ASKED, "year": 1900}, 404),
        ({**ASKED, "year": 1}, 422),
        ({"region": "nowhere", "year": 2024}, 404),
        ({**ASKED, "model": "other"}, 404),
    ],
)
def test_what_is_no_area_is_refused(asked: dict[str, Any], status: int, client: TestClient) -> None:
    answer = client.post("/v1/areas", json=asked)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_area_beyond_the_cap_is_told_what_it_would_cost(client: TestClient, here: Service) -> None:
    settings = here.settings.model_copy(update={"most_km2": 0.001})
    small = replace(
        here, project=replace(here.project, settings=here.project.settings.model_copy(update={"api": settings}))
    )
    answer = TestClient(api_of(small), base_url="http://localhost", client=("127.0.0.1", 1)).post(
        "/v1/areas", json=ASKED
    )
    assert answer.status_code == 413
    assert answer.json()["km2"] > 0.001


def test_another_keys_job_is_nobodys(client: TestClient, here: Service) -> None:
    from serving.api.keys import list_keys, make_key

    identity = entered(client)
    text = make_key(here.engine(), "somebody", ["read", "predict"])
    here.keyring.replace(list_keys(here.engine()))
    stranger = TestClient(api_of(here), base_url="http://localhost", client=("192.0.2.1", 1))
    headers = {"authorization": f"Bearer {text}"}
    assert stranger.get(f"/v1/jobs/{identity}", headers=headers).status_code == 404
    assert stranger.delete(f"/v1/jobs/{identity}", headers=headers).status_code == 404
