"""The files of monitoring/: every alarm is tested, and neither alarms nor the dashboard ask for what nobody tells.

promtool and amtool are Debian's, as `make test` installs them; without them the tests fail.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from groundplan.operations.made_figures import Read, look
from groundplan.project import open_project
from serving.logs import JsonLines, continued, tracing
from serving.metrics import PREFIX, Meters, StoreFigures, watch_store

FOLDER = Path(__file__).parents[3] / "monitoring"


def tool(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"{command[0]} is not installed: run `apt-get install prometheus prometheus-alertmanager`")
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts() -> list[str]:
    rules = yaml.safe_load((FOLDER / "rules.yml").read_text())
    return [rule["alert"] for group in rules["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def told(built_home: Path) -> set[str]:
    """Names of all series that a service tells, with those of histograms and counters."""
    text = watch_store(Meters(), open_project(built_home)).text().decode()
    kinds = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
    return {name for name, _ in kinds} | {f"{name}_bucket" for name, kind in kinds if kind == "histogram"}


def asked(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}\w+", text))


def test_prometheus_reads_the_rules_and_every_alarm_is_raised_and_not_raised() -> None:
    assert f"{len(alerts())} rules found" in tool("promtool", "check", "rules", "rules.yml")
    tool("promtool", "check", "config", "prometheus.yml")
    assert "SUCCESS" in tool("promtool", "test", "rules", "rules_test.yml")
    cases = [
        case
        for test in yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    for raised in (True, False):
        assert {case["alertname"] for case in cases if bool(case["exp_alerts"]) is raised} == set(alerts())


def test_each_alarm_has_its_section_in_the_run_book_and_none_is_of_no_alarm() -> None:
    book = (FOLDER.parent / "docs/day-two.md").read_text("utf-8").split("## Run book\n")[1]
    sections = re.split(r"(?m)^### ", book)[1:]
    assert sorted(each.split()[0] for each in sections) == sorted(alerts())
    assert [each.split()[0] for each in sections if not {"**Look:**", "**Do:**"} <= set(each.split())] == []


def test_alertmanager_reads_its_file() -> None:
    assert "SUCCESS" in tool("amtool", "check-config", "alertmanager.yml")


def test_alarms_and_dashboard_ask_only_for_what_is_told(told: set[str]) -> None:
    board = json.loads((FOLDER / "dashboard.json").read_text())
    shown = asked(" ".join(target["expr"] for panel in board["panels"] for target in panel["targets"]))
    rules = asked((FOLDER / "rules.yml").read_text())
    assert shown | rules <= told
    plain = {name.removesuffix("_bucket") for name in shown}
    kept = {name.removesuffix("_bucket") for name in told if name.startswith(PREFIX)}
    assert {name for name in kept if not name.endswith("_created")} <= plain, "the dashboard leaves something out"


def test_the_store_is_told_as_it_stands(built_home: Path) -> None:
    project, read = open_project(built_home), Read()
    found = look(project, read)
    states = dict(found["partitions"][2])
    assert states["building_footprints", "made"] == 2
    assert states["building_footprints", "failed"] == 0
    assert dict(found["processor_seconds_spent"][2])["predictions",] > 0
    before = dict(read.seconds)
    look(project, read)
    assert read.seconds == before


def test_a_store_that_does_not_answer_is_told_and_the_last_figures_stay() -> None:
    now = [0.0]
    answers = [{"partitions": ("x", ("dataset", "state"), [(("a", "made"), 3.0)])}]

    def look() -> dict[str, object]:
        return answers.pop()

    meters = Meters()
    meters.watch(StoreFigures(look, lambda: now[0]))  # type: ignore[arg-type]
    assert b"groundplan_store_read_failed 0.0" in meters.text()
    now[0] = 61.0
    text = meters.text()
    assert b"groundplan_store_read_failed 1.0" in text
    assert b'groundplan_partitions{dataset="a",state="made"} 3.0' in text


def test_a_line_of_the_log_has_the_trace_that_a_message_came_with() -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    record = logging.LogRecord("groundplan.work", logging.INFO, "", 1, "did %s", ("it",), None)
    record.image = "abc"
    with tracing(given) as onward:
        line = json.loads(JsonLines().format(record))
    assert line["trace"] == "0af7651916cd43dd8448eb211c80319c"
    assert line["message"] == "did it"
    assert line["image"] == "abc"
    assert onward[:36] == given[:36]
    assert onward != given
    assert "trace" not in json.loads(JsonLines().format(record))
    assert continued("00-zz") != continued(None)
