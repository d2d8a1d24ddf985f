"""A real Prometheus scrapes a running `groundplan serve`, and its alarms are those of monitoring/rules.yml."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from browser import free_port, preview_server

FOLDER = Path(__file__).parents[3] / "monitoring"
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def prometheus(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; it looks every second at a service that was just started."""
    if shutil.which("prometheus") is None:
        raise RuntimeError("Prometheus is not installed: run `apt-get install prometheus`")
    folder = tmp_path_factory.mktemp("prometheus")
    home = folder / "home"
    shutil.copytree(built_home, home)
    with preview_server(home, folder / "serve.log") as url:
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"] = config["scrape_configs"][:1]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [url.removeprefix("http://")]}]
        shutil.copy(FOLDER / "rules.yml", folder)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        command = ["setpriv", "--pdeathsig", "TERM", "prometheus", f"--config.file={folder}/prometheus.yml"]
        command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def ask(prometheus: str, query: str) -> list[dict[str, object]]:
    address = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        found: list[dict[str, object]] = json.load(answer)["data"]["result"]
    return found


def waited(prometheus: str, query: str) -> list[dict[str, object]]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if found := ask(prometheus, query):
                return found
        except OSError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"Prometheus never had {query}")


@pytest.mark.slow
def test_prometheus_reads_a_running_service(prometheus: str) -> None:
    (made,) = waited(prometheus, 'groundplan_partitions{dataset="building_footprints", state="made"}')
    assert made["value"][1] == "2"  # type: ignore[index]
    assert waited(prometheus, 'up{job="groundplan-serve"} == 1')
    assert waited(prometheus, 'groundplan_http_requests_total{route="/metrics", code="200"} > 0')
    assert waited(prometheus, "groundplan_store_read_failed == 0")


@pytest.mark.slow
def test_its_alarms_are_ours_and_none_is_broken(prometheus: str) -> None:
    waited(prometheus, "up")
    with urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=10) as answer:
        groups = json.load(answer)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == 13
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
