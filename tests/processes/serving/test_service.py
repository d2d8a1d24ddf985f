"""The service under way: models exchanged under load, clients that go, slow ones, the end, and the form of the API."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import urllib3
from api_server import home_with_model, served, squares, when_ready
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans, one_of
from made_footprints import commit_houses, houses
from tiny_models import bright_file

from groundplan.core.partition import Partition
from groundplan.project import Project
from groundplan.promotion import discover
from groundplan.registry import entries, set_alias
from groundplan.training.model_files import commit_model
from serving.api.app import Parts, api_of, build
from serving.api.service import Service, service_of


def parts(project: Project) -> tuple[Parts, Service]:
    app = build(project)
    return app, app.api.state.service  # type: ignore[attr-defined]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return home_with_model(tmp_path / "home")


def post(address: str, data: bytes, pool: urllib3.PoolManager | None = None, query: str = "") -> Any:
    target = f"http://{address}/v1/predict/footprints{query}"
    return (pool or urllib3).request("POST", target, body=data, retries=False, timeout=30.0)


def until(what: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


class Load:
    """Clients that ask without a pause; what they were answered with."""

    def __init__(self, address: str, clients: int = 3) -> None:
        self.address, self.over = address, threading.Event()
        self.answers: list[tuple[int, str]] = []
        self.threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        pool, data = urllib3.PoolManager(), squares(64)
        while not self.over.is_set():
            answer = post(self.address, data, pool)
            self.answers.append((answer.status, answer.headers.get("x-model-version") or answer.data.decode()))

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)


def test_models_are_exchanged_under_load_without_a_failed_request_and_a_broken_one_leaves_the_old(
    tmp_path: Path,
) -> None:
    project = home_with_model(tmp_path / "home", api={"budget_seconds": 60.0})  # it is loaded here, not overloaded
    app, service = parts(project)
    with served(app) as address:
        when_ready(address)
        first = service.gallery.shown["footprints"].entry.version
        set_alias(project.store, "footprints", "production", first, who="tests", why="promoted")
        commit_model(project, bright_file(0.3), 2024)
        discover(project)
        second = entries(project.store, "footprints")[-1]
        with Load(address) as load:
            until(lambda: len(load.answers) > 5)
            set_alias(project.store, "footprints", "production", second.version, who="tests", why="promoted")
            until(lambda: load.answers[-1][1] == second.version)
            commit_model(project, bright_file(0.35), 2024)
            (third,) = discover(project)
            path = project.store.local_path(third.key)
            assert path is not None
            path.write_bytes(path.read_bytes()[:-100] + b"x" * 100)
            set_alias(project.store, "footprints", "production", third.version, who="tests", why="promoted")
            until(lambda: "footprints" in service.gallery.faults)
            there = len(load.answers)
            until(lambda: len(load.answers) > there + 5)
        assert [told for status, told in load.answers if status != 200] == []
        assert {version for _, version in load.answers} == {first, second.version}
        assert load.answers[-1][1] == second.version
        assert urllib3.request("GET", f"http://{address}/readyz").status == 200
        assert len({id(shown.model) for shown in service.gallery.shown.values()}) == 1


def slow_work(service: Service, gate: threading.Event) -> None:
    """Every load of a model is followed by work that lasts until the gate opens."""
    lane, do = service.lane, service.lane._one

    def held(ticket: Any, work: Any) -> Any:
        def waits() -> Any:
            while not gate.wait(0.01):
                ticket.check()
            return work()

        return do(ticket, waits)

    lane._one = held  # type: ignore[method-assign]


def test_work_of_a_client_that_is_gone_is_dropped(project: Project) -> None:
    app, service = parts(project)
    gate = threading.Event()
    with served(app) as address:
        when_ready(address)
        slow_work(service, gate)
        host, port = address.split(":")
        data = squares(64)
        for _ in range(2):  # one at hand, one that waits
            client = socket.create_connection((host, int(port)))
            head = f"POST /v1/predict/footprints HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
            client.sendall(head.encode() + data)
            until(lambda: len(service.lane.inside) == 1)
            client.close()
            until(lambda: not service.lane.inside)
        gate.set()
        assert post(address, data).status == 200


def test_who_sends_a_byte_a_second_holds_up_nobody(tmp_path: Path) -> None:
    project = home_with_model(tmp_path / "home", api={"body_seconds": 1.5})
    app, service = parts(project)
    with served(app) as address:
        when_ready(address)
        host, port = address.split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(40)]
        for client in slow:
            client.sendall(b"POST /v1/predict/footprints HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nx")
        assert post(address, squares(64)).status == 200
        assert not service.lane.inside
        slow[0].settimeout(10)
        assert b" 408 " in slow[0].recv(200)
        for client in slow:
            client.close()


def test_what_is_inside_at_the_end_is_finished_and_the_rest_refused(project: Project) -> None:
    app, service = parts(project)
    gate, found = threading.Event(), []
    with served(app) as address:
        when_ready(address)
        slow_work(service, gate)
        asking = threading.Thread(target=lambda: found.append(post(address, squares(64)).status))
        asking.start()
        until(lambda: service.lane.inside)
        threading.Timer(0.5, gate.set).start()
    asking.join(10)
    assert found == [200]


def test_an_image_that_is_kept_beside_its_answer_has_one_id(project: Project) -> None:
    app = build(project, work=True)
    with served(app) as address:
        when_ready(address)
        answer = post(address, squares(64), query="?store=true").json()
        place = f"http://{address}/v1/images/{answer['id']}"
        until(lambda: urllib3.request("GET", place).json().get("state") == "done")
        kept = urllib3.request("GET", place).json()["result"]
        assert (kept["id"], kept["features"]) == (answer["id"], answer["features"])
        target = f"http://{address}/v1/predict/footprints"
        later = urllib3.request("POST", target, body=squares(96), headers={"prefer": "respond-async"})
        assert (later.status, later.headers["preference-applied"]) == (202, "respond-async")
        where = f"http://{address}{later.headers['location']}"
        until(lambda: urllib3.request("GET", where).json().get("state") == "done")


def test_one_picture_in_two_places_is_two_results(project: Project) -> None:
    """Said without a place, with a box, and with a world file: each answer has its id, and what is kept is that."""
    app, world = build(project, work=True), b"0.25\n0\n0\n-0.25\n182361.125\n447770.875\n"
    with served(app) as address:
        when_ready(address)
        target = f"http://{address}/v1/predict/footprints?store=true"
        box = "&bbox=182361,447755,182377,447771&crs=EPSG:28992"
        fields = {"image": ("a.png", squares(64)), "world": ("a.pgw", world)}
        said = [
            urllib3.request("POST", target, body=squares(64)).json(),
            urllib3.request("POST", target + box, body=squares(64)).json(),
            urllib3.request("POST", f"{target}&crs=EPSG:28992", fields=fields).json(),
        ]
        assert [one["coordinates"] for one in said] == ["pixels", "degrees", "degrees"]
        assert len({one["id"] for one in said}) == 3
        for one in said:
            place = f"http://{address}/v1/images/{one['id']}"
            until(lambda place=place: urllib3.request("GET", place).json().get("state") == "done")
            assert urllib3.request("GET", place).json()["result"]["features"] == one["features"]
        until(lambda: not list(project.store.list("inbox")))


def test_the_maps_are_where_they_were(project: Project) -> None:
    app, _ = parts(project)
    with served(app) as address:
        for path, status in (("/healthz", 200), ("/map/", 200), ("/nothing", 404), ("/docs/nothing.md", 404)):
            assert urllib3.request("GET", f"http://{address}{path}", retries=False).status == status, path
        assert urllib3.request("POST", f"http://{address}/map/", body=b"x").status == 413


# --- the form of the API ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """With a model and a collection, so that names that there are lead somewhere."""
    from groundplan.database.load import sync

    project = home_with_model(tmp_path_factory.mktemp("form") / "home")
    commit_houses(project, Partition(2024, "north"), houses(20, (182361.0, 447600.0, 182600.0, 447771.0)))
    service = service_of(project)
    service.gallery.look()
    sync(service.engine(), project)
    return api_of(service)


@pytest.fixture(scope="module")
def schema(application: Any) -> Any:
    """As an ASGI application in this process, whose caller is this machine."""

    async def local(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "client": ("127.0.0.1", 5000)}
            scope["headers"] = [(k, b"localhost" if k == b"host" else v) for k, v in scope["headers"]]
        await application(scope, receive, send)

    return schemathesis.openapi.from_asgi("/openapi.json", local)


# What cannot hold here: this machine needs no key, and whether random bytes are an image no schema says.
LEFT_OUT = {"ignored_auth", "positive_data_acceptance", "negative_data_rejection", "missing_required_header"}
EXAMPLES = 3  # of each operation
KNOWN = {"model": "footprints", "name": "footprints-2024", "alias": "candidate", "kind": "csv"}


@pytest.mark.slow
def test_the_api_does_what_its_description_says(schema: Any) -> None:
    """Parameters, bodies and methods as the description has them and as it has them not: no answer but those it names,
    none a server's fault, each refusal in the one form."""
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    left_out = [check for check in CHECKS.get_all() if check.__name__ in LEFT_OUT]
    seen = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.endswith("/events"):  # it does not end by itself
            continue
        seen.add(operation.path)
        ask(operation, left_out)
    assert {"/v1/predict/{model}", "/v1/areas", "/v2/models/{model}/infer", "/readyz"} <= seen


def ask(operation: Any, left_out: list[Any]) -> None:
    from schemathesis import GenerationMode

    cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    broken = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @given(case=one_of(cases, broken), known=booleans())
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def each(case: Any, known: bool) -> None:
        for part in KNOWN.keys() & (case.path_parameters or {}).keys() if known else ():
            case.path_parameters[part] = KNOWN[part]
        response = case.call()
        case.validate_response(response, excluded_checks=left_out)
        if response.status_code >= 400 and case.path.startswith("/v1"):
            assert response.headers["content-type"] == ["application/problem+json"], response.text
            assert json.loads(response.text)["status"] == response.status_code
            assert "Traceback" not in response.text

    each()
