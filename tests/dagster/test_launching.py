"""What a run prints is kept where the blocks are, no Job is left of a run that never began, probes say no in time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aws
import dagster as dg
import pytest
import yaml
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._daemon.types import DaemonHeartbeat

from groundplan.core.store import open_store
from orchestration.launch import probes
from orchestration.launch.launcher import PatientRunLauncher
from orchestration.launch.left_jobs import never_began
from orchestration.launch.logs import StoreLogManager

KEY = ("a-run", "compute_logs", "a_step")
OUT, ERR = ComputeIOType.STDOUT, ComputeIOType.STDERR


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    import boto3

    with aws.serve() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment(url).items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="logs")
        yield "s3://logs"


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store's folder, or one in a bucket."""
    if request.param == "folder":
        return tmp_path.as_uri()
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


# ------------------------------------------------------------ logs


def manager(place: str, tmp_path: Path, pod: str = "pod", **options: Any) -> StoreLogManager:
    """The log manager of one pod, whose disk no other pod sees."""
    return StoreLogManager(place, local_dir=str(tmp_path / f".{pod}"), **options)


def said(manager: StoreLogManager, text: str, key: tuple[str, ...] = KEY) -> None:
    with manager.open_log_stream(key, OUT) as stream:
        lines: Any = stream
        lines.write(text)


def test_what_one_pod_printed_another_reads(place: str, tmp_path: Path) -> None:
    said(manager(place, tmp_path), "made 3 blocks\n")
    reader = manager(place, tmp_path, "web")
    found = reader.get_log_data(KEY)
    assert (found.stdout, found.stderr) == (b"made 3 blocks\n", b"")
    assert reader.is_capture_complete(KEY)
    assert not reader.is_capture_complete(("a-run", "compute_logs", "another"))
    assert reader.get_log_keys_for_log_key_prefix(KEY[:2], OUT) == [list(KEY)]
    shown = reader.get_log_metadata(KEY).stdout_location
    assert shown == f"{place}/storage/a-run/compute_logs/a_step.out"
    assert [found.key for found in open_store(place).list("storage")] == [
        f"storage/a-run/compute_logs/a_step.{end}" for end in ("err", "out")
    ]


def test_what_a_killed_pod_printed_until_then_is_there(place: str, tmp_path: Path) -> None:
    killed = manager(place, tmp_path, upload_interval=30)
    path = Path(killed.local_manager.get_captured_local_path(KEY, "out"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("so far")
    killed.on_progress(KEY)
    reader = manager(place, tmp_path, "web")
    assert not reader.is_capture_complete(KEY)
    assert reader.get_log_data(KEY).stdout == b"so far"
    assert [found.key for found in open_store(place).list("storage")] == [
        "storage/a-run/compute_logs/a_step.out.partial"
    ], "nothing is put for a stream that said nothing"


@pytest.mark.parametrize("whole", [True, False])
def test_logs_are_deleted_with_their_run_and_no_others(place: str, whole: bool, tmp_path: Path) -> None:
    kept = manager(place, tmp_path)
    for run in ("a-run", "a-run-2"):
        said(kept, "x", (run, *KEY[1:]))
    kept.delete_logs(prefix=["a-run"]) if whole else kept.delete_logs(log_key=KEY)
    left = {found.key.split("/")[1] for found in open_store(place).list("storage")}
    assert left == {"a-run-2"}


@pytest.mark.fault
def test_a_store_that_is_away_shows_no_log_and_ends_no_watching(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("orchestration.launch.logs.RETRIES", 1)
    monkeypatch.setattr("orchestration.launch.logs.RETRY_SECONDS", 0.1)
    assert StoreLogManager(bucket).is_capture_complete(KEY) is False


# ------------------------------------------------------------ what helm test asks


def test_the_instance_is_asked_with_its_log_manager(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that the image lacks is seen before the first run."""
    ours = {"module": "orchestration.launch.logs", "class": "StoreLogManager"}
    settings = {"compute_logs": {**ours, "config": {"url": f"{bucket}/helm", "local_dir": str(tmp_path / "local")}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert probes.instance() == ""
    assert [found.key for found in open_store(f"{bucket}/helm").list()] == [
        f"storage/groundplan-helm-test/instance.{end}" for end in ("err", "out")
    ]
    settings["compute_logs"]["module"] = "dagster_nowhere.logs"
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(Exception, match="dagster_nowhere"):
        probes.main("instance")


# ------------------------------------------------------------ probes


def test_a_container_with_yesterday_s_environment_is_started_anew(tmp_path: Path) -> None:
    held = {"AWS_REGION": "eu-west-1", "HOME": "/tmp"}
    assert probes.outdated(tmp_path, held) == [], "no chart, nothing to compare with"
    (tmp_path / probes.ENVIRONMENT).write_text(json.dumps(held))
    assert probes.outdated(tmp_path, {**held, "PATH": "/bin"}) == []
    changed = {**held, "AWS_REGION": "eu-west-2", "AWS_ENDPOINT_URL": "https://s3.example.org"}
    (tmp_path / probes.ENVIRONMENT).write_text(json.dumps(changed))
    assert probes.outdated(tmp_path, held) == ["AWS_ENDPOINT_URL", "AWS_REGION"]
    environ = {"GROUNDPLAN_HOME": str(tmp_path), **held}
    with mock.patch.dict(os.environ, environ), pytest.raises(SystemExit, match="AWS_ENDPOINT_URL, AWS_REGION"):
        probes.main("web", "http://127.0.0.1:9")


class Busy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


def test_a_web_server_lives_while_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(probes, "SECONDS", 0.5)
    assert "does not answer" in probes.web(url), "it hangs"
    thread.start()
    assert probes.web(url) == ""
    assert probes.web(f"{url}/broken") == "", "that is for readiness to say"
    server.shutdown()
    server.server_close()
    assert "does not answer" in probes.web(url)


def test_a_daemon_lives_while_all_its_loops_go_round() -> None:
    with instance_for_test() as instance:
        needed = sorted(instance.get_required_daemon_types())
        for name in needed:
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 10, name, None, None))
        assert probes.daemon(900) == ""
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 1000, needed[0], None, None))
        assert probes.daemon(900) == "a loop of the daemon has not been round for 900 s"


@pytest.mark.fault
def test_a_daemon_that_cannot_be_asked_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dg.DagsterInstance, "get", mock.Mock(side_effect=OSError("the database is away")))
    assert probes.daemon(900) == ""
    assert "the database is away" in capsys.readouterr().out


# ------------------------------------------------------------ jobs that are left


def ended(instance: dg.DagsterInstance, launched: bool, began: bool, how: str = "canceled") -> str:
    run = create_run_for_test(instance, job_name="any")
    for happened, kind in ((launched, DagsterEventType.RUN_STARTING), (began, DagsterEventType.RUN_START)):
        if happened:
            instance.report_dagster_event(DagsterEvent(event_type_value=kind.value, job_name="any"), run.run_id)
    getattr(instance, f"report_run_{how}")(run)
    return run.run_id


@pytest.fixture
def launcher() -> Iterator[tuple[PatientRunLauncher, mock.Mock, mock.Mock]]:
    """The launcher in an instance, and the two APIs of Kubernetes that it talks to."""
    with mock.patch("dagster_k8s.launcher.load_kubernetes_config"), instance_for_test() as instance:
        batch, core = mock.Mock(), mock.Mock()
        core.list_namespaced_pod.return_value = SimpleNamespace(items=[])
        made = PatientRunLauncher(
            service_account_name="x",
            instance_config_map="x",
            dagster_home="/x",
            job_image="x",
            job_namespace="here",
            load_incluster_config=True,
            k8s_client_batch_api=batch,
            k8s_client_core_api=core,
        )
        made.register_instance(instance)
        yield made, batch, core


def test_of_a_run_that_ended_before_it_began_no_job_is_left(
    launcher: tuple[PatientRunLauncher, mock.Mock, mock.Mock],
) -> None:
    """Terminated by force while it was starting, or given up after the start's time-out; and nobody else's Job."""
    made, batch, _ = launcher
    instance = made._instance
    before = time.time() - 5
    stuck = {ended(instance, True, False), ended(instance, True, False, "failed")}
    ended(instance, False, False)  # out of the queue
    ended(instance, True, True)
    ended(instance, True, True, "failed")
    assert {run.run_id for run in never_began(instance, before)} == stuck
    assert list(never_began(instance, time.time() + 5)) == []
    assert made.sweep(before) == 2
    deleted = {call.kwargs["name"] for call in batch.delete_namespaced_job.call_args_list}
    assert deleted == {f"dagster-run-{one}" for one in stuck}
    assert {call.kwargs["namespace"] for call in batch.delete_namespaced_job.call_args_list} == {"here"}
    notes = [one.message for one in instance.all_logs(stuck.pop(), of_type=DagsterEventType.ENGINE_EVENT)]
    assert notes == ["Deleted the Job of this run, which ended before it began"]


@pytest.mark.fault
def test_a_region_in_the_pod_of_its_stretch_lives_as_long_as_that_one_does(
    launcher: tuple[PatientRunLauncher, mock.Mock, mock.Mock],
) -> None:
    """It has no Job, and run monitoring, which looks at it too, would call it dead."""
    made, batch, _ = launcher
    instance = made._instance
    stretch = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    part = create_run_for_test(
        instance, status=dg.DagsterRunStatus.STARTED, tags={"groundplan/stretch_run": stretch.run_id}
    )
    assert made.check_run_worker_health(part).status is WorkerStatus.RUNNING
    instance.report_run_failed(stretch)
    found = made.check_run_worker_health(part)
    assert (found.status, batch.mock_calls) == (WorkerStatus.FAILED, []), "the cluster is not asked"
    assert found.msg == f"the run of its stretch, {stretch.run_id}, has ended"


def test_a_job_that_is_gone_is_not_noted_again(launcher: tuple[PatientRunLauncher, mock.Mock, mock.Mock]) -> None:
    from kubernetes.client.rest import ApiException

    made, batch, _ = launcher
    run = ended(made._instance, True, False)
    batch.delete_namespaced_job.side_effect = ApiException(status=404)
    assert made.sweep(time.time() - 5) == 0
    assert list(made._instance.all_logs(run, of_type=DagsterEventType.ENGINE_EVENT)) == []


@pytest.mark.fault
def test_the_daemon_looks_again_when_the_api_is_back(
    launcher: tuple[PatientRunLauncher, mock.Mock, mock.Mock], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, batch, _ = launcher
    monkeypatch.setattr("orchestration.launch.launcher.SWEEP", 0.02)
    done = threading.Event()
    answers = [OSError("away"), OSError("away")]

    def delete(**_: Any) -> None:
        if answers:
            raise answers.pop()
        done.set()

    batch.delete_namespaced_job.side_effect = delete
    ended(made._instance, True, False)
    made._keep_sweeping()
    assert done.wait(10)
    made._instance_weakref = None  # the instance goes, and the watching with it
    made._sweeper.join(10)  # type: ignore[union-attr]
    assert not made._sweeper.is_alive()  # type: ignore[union-attr]


def test_a_home_has_the_settings_of_the_checkout_for_its_dagster(tmp_path: Path) -> None:
    """Without them a home's runs are neither queued nor tried again."""
    from orchestration.cli.in_process import dagster_home

    ours = Path(__file__).parents[2] / "dagster.yaml"
    assert (dagster_home(tmp_path) / "dagster.yaml").read_text() == ours.read_text()
