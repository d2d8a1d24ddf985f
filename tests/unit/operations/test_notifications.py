"""Trouble reaches a person once, by real receivers, and a receiver that is away fails nothing."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import aws
import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplan.config import NotifySettings
from groundplan.core.manifest import failure_key, manifest_key
from groundplan.core.partition import Partition
from groundplan.ingest.pushed_events import ROOM
from groundplan.operations.notifications import MOST_WAITING, Notice, NotSent, Outbox, sent, take_up
from groundplan.operations.overdue import overdue
from groundplan.project import Project
from orchestration.sensors.alerts import alarms, failures, missing, queues, tick
from resources.notifier import Notifier

NOTICE = Notice(
    cause="c",
    what="A run failed for good",
    where="labels of delft|2024",
    why="the disk is full",
    remedy="Make room",
    link="http://ui/runs/1",
)
SECRET = "correct-horse"


def notice(cause: str) -> Notice:
    return Notice(cause=cause, what="what", where="where", why="why")


# --- the outbox -------------------------------------------------------------------------------------------------------


def test_a_message_says_what_where_why_and_what_to_do() -> None:
    text = NOTICE.text()
    for part in ("A run failed for good", "labels of delft|2024", "the disk is full", "Make room", "http://ui/runs/1"):
        assert part in text
    assert NOTICE.as_json()["text"] == text
    assert "\n" not in Notice(cause="c", what="a\nb", where="c\r\nBcc: x@y", why="w").title


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1800), st.lists(st.integers(0, 12), max_size=6)), max_size=25), st.integers(1, 6)
)
def test_one_message_for_one_cause_and_no_more_than_the_rate(steps: list[Any], most: int) -> None:
    outbox, now = Outbox(), 1e9
    taken: list[tuple[float, str]] = []
    for pause, causes in steps:
        now += pause
        found = [notice(f"cause {cause}") for cause in causes]
        outbox = Outbox.from_json(take_up(outbox, found, ("webhook",), now, most).to_json())
        taken += [(now, item.notice.cause) for item in outbox.waiting]
        outbox = sent(outbox, {})
        assert sum(now - when < 3600 for when, _ in taken) <= most
    told = [cause for _, cause in taken if cause.startswith("cause")]
    assert len(told) == len(set(told)), "a cause was told twice within a week"


def test_what_is_beyond_the_rate_is_told_together_later() -> None:
    outbox = take_up(Outbox(), [notice(str(number)) for number in range(10)], ("webhook",), 0.0, 4)
    assert (len(outbox.waiting), outbox.kept_back) == (4, 6)
    later = take_up(sent(outbox, {}), [], ("webhook",), 3601.0, 4)
    assert [item.notice.what for item in later.waiting] == ["6 more notices"]


def test_a_cause_that_stays_is_told_again_after_a_week() -> None:
    outbox = sent(take_up(Outbox(), [NOTICE], (), 0.0, 5), {})
    assert not take_up(outbox, [NOTICE], (), 6 * 86400.0, 5).waiting
    assert take_up(outbox, [NOTICE], (), 8 * 86400.0, 5).waiting


def test_the_outbox_stays_small() -> None:
    outbox = Outbox()
    for number in range(3000):
        outbox = take_up(
            outbox, [Notice(cause=str(number), what="w", where="w", why="y" * 5000)], ("webhook",), number * 1000.0, 5
        )
    assert len(outbox.waiting) <= MOST_WAITING
    assert len(outbox.to_json()) < 300_000


@pytest.mark.parametrize("cursor", [None, "", "{", "[1]", '{"waiting": 3}', '{"other": 1}'])
@pytest.mark.bad_input
def test_a_cursor_that_cannot_be_read_is_an_empty_one(cursor: str | None) -> None:
    assert Outbox.from_json(cursor) == Outbox()


# --- receivers --------------------------------------------------------------------------------------------------------


class Hook(BaseHTTPRequestHandler):
    bodies: ClassVar[list[dict[str, str]]] = []
    status = 200

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if Hook.status == 200:
            Hook.bodies.append(json.loads(data))
        self.send_response(Hook.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[str]:
    Hook.bodies, Hook.status = [], 200
    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{SECRET}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_a_webhook_gets_json(hook: str) -> None:
    Notifier().send("webhook", NOTICE, NotifySettings(webhook=hook))
    assert Hook.bodies == [NOTICE.as_json()]


@pytest.mark.parametrize("status", [302, 404, 500])
@pytest.mark.fault
def test_a_webhook_that_refuses_is_said_without_its_secret(hook: str, status: int) -> None:
    Hook.status = status
    with pytest.raises(NotSent, match=str(status)) as error:
        Notifier().send("webhook", NOTICE, NotifySettings(webhook=hook))
    assert SECRET not in str(error.value)


@pytest.mark.fault
def test_a_webhook_that_hangs_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/{SECRET}"
        started = time.monotonic()
        with pytest.raises(NotSent) as error:
            Notifier().send("webhook", NOTICE, NotifySettings(webhook=url, timeout=0.5))
    assert time.monotonic() - started < 5
    assert SECRET not in str(error.value)


def test_sns_publishes_to_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    with aws.serve() as url:
        for name, value in aws.environment(url).items():
            monkeypatch.setenv(name, value)
        topic = boto3.client("sns").create_topic(Name="trouble")["TopicArn"]
        queue = boto3.client("sqs").create_queue(QueueName="seen")["QueueUrl"]
        arn = queue_arn(queue)
        boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        Notifier().send(
            "sns", Notice(cause="c", what="Naïve — what", where="wo", why="why"), NotifySettings(sns_topic=topic)
        )
        received = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"][0]
        body = json.loads(received["Body"])
        assert body["Subject"] == "Na?ve ? what: wo"
        assert "Why: why" in body["Message"]
        with pytest.raises(NotSent, match="NotFound"):
            Notifier().send("sns", NOTICE, NotifySettings(sns_topic=topic[:-1] + "x"))


def queue_arn(url: str) -> str:
    import boto3

    found = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return str(found["Attributes"]["QueueArn"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Mailbox:
    def __init__(self) -> None:
        self.messages: list[str] = []

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: object, session: object, envelope: Any
    ) -> str:
        self.messages.append(envelope.content.decode())
        return "250 OK"


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's certificate for 127.0.0.1 that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = dt.datetime.now(dt.UTC)
    place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(hours=1))
    signed = (
        builder.add_extension(place, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    parts = {
        "cert.pem": signed.public_bytes(serialization.Encoding.PEM),
        "key.pem": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    for part, data in parts.items():
        (folder / part).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, folder / "cert.pem"


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mailbox, NotifySettings]]:
    """A mail server that demands STARTTLS and a log-in."""
    context, trusted = certificate(tmp_path)

    def login(server: object, session: object, envelope: object, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=data.password == SECRET.encode(), handled=False)

    box = Mailbox()
    server = Controller(
        box,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        authenticator=login,
        auth_required=True,
    )
    server.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("MAIL_SECRET", SECRET)
    yield (
        box,
        NotifySettings(
            email_to=("map@example.org", "ops@example.org"),
            email_from="groundplan@example.org",
            smtp_host="127.0.0.1",
            smtp_port=server.port,
            smtp_user="groundplan",
            smtp_password_env="MAIL_SECRET",
        ),
    )
    server.stop()


def test_an_email_goes_encrypted_with_a_password_from_the_environment(mail: tuple[Mailbox, NotifySettings]) -> None:
    box, given_ = mail
    Notifier().send("email", NOTICE, given_)
    assert len(box.messages) == 1
    assert "Subject: A run failed for good: labels of delft|2024" in box.messages[0]
    assert "To: map@example.org, ops@example.org" in box.messages[0]
    assert "Why: the disk is full" in box.messages[0]


@pytest.mark.fault
def test_an_email_that_is_refused_says_so_without_the_password(
    mail: tuple[Mailbox, NotifySettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, given_ = mail
    monkeypatch.setenv("MAIL_SECRET", "wrong-password")
    with pytest.raises(NotSent, match="log-in") as error:
        Notifier().send("email", NOTICE, given_)
    assert "wrong-password" not in str(error.value)
    monkeypatch.delenv("MAIL_SECRET")
    with pytest.raises(NotSent, match="MAIL_SECRET is not set"):
        Notifier().send("email", NOTICE, given_)
    monkeypatch.setenv("MAIL_SECRET", SECRET)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NotSent, match="SSLCertVerificationError"):  # a stranger in the server's place learns nothing
        Notifier().send("email", NOTICE, given_)
    assert not box.messages


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook": "ftp://x"},
        {"sns_topic": "topic"},
        {"email_to": ("a@b.nl",)},
        {"email_to": ("a@b.nl\nBcc: c@d",), "smtp_host": "h", "email_from": "x@y"},
    ],
)
@pytest.mark.bad_input
def test_addresses_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|needs"):
        NotifySettings(**wrong)


# --- the sensors ------------------------------------------------------------------------------------------------------


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def broken() -> None:
    raise RuntimeError("the disk is full")


@dg.asset_check(asset=broken, blocking=True)
def sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description="12 of 40 blocks hold nothing")


@dg.asset(name="broken")
def unsound() -> None:
    pass


def fail(instance: dg.DagsterInstance, partition: str = "a", tags: dict[str, str] | None = None) -> str:
    job = dg.Definitions([broken]).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance, asset_selection=[broken.key], partition_key=partition, raise_on_error=False, tags=tags
    ).run_id


@pytest.fixture
def project(make_project: Any, tmp_path: Path) -> Project:
    made: Project = make_project(
        tmp_path / "home",
        notify={"queue_length": 2, "queue_ticks": 3, "missing_days": 2.0},
        serving={"dagster_url": "http://ui"},
    )
    return made


def test_a_run_that_failed_for_good_is_told_once(project: Project) -> None:
    instance = dg.DagsterInstance.ephemeral()
    _, position = failures(project, instance, None, time.time())
    run = fail(instance)
    assert failures(project, instance, position, time.time())[0] == [], "too early: it may be tried again"
    found, position = failures(project, instance, position, time.time() + 60)
    assert [(one.what, one.where, one.link) for one in found] == [
        ("A run failed for good", "broken of a", f"http://ui/runs/{run}")
    ]
    assert "the disk is full" in found[0].why
    assert failures(project, instance, json.loads(json.dumps(position)), time.time() + 120)[0] == []


def test_silent_while_a_retry_will_follow_and_not_when_it_does_not_come(project: Project) -> None:
    instance = dg.DagsterInstance.ephemeral()
    _, position = failures(project, instance, None, time.time())
    run = fail(instance, tags={"dagster/will_retry": "true"})
    found, position = failures(project, instance, position, time.time() + 60)
    assert not found
    time.sleep(1.1)  # Dagster's filter knows seconds
    instance.add_run_tags(run, {"dagster/will_retry": "false"})
    assert len(failures(project, instance, position, time.time() + 120)[0]) == 1


def test_old_failures_are_no_news(project: Project) -> None:
    instance = dg.DagsterInstance.ephemeral()
    fail(instance)
    assert failures(project, instance, None, time.time() + 3600)[0] == []


def test_a_blocking_check_says_what_it_found(project: Project) -> None:
    instance = dg.DagsterInstance.ephemeral()
    _, position = failures(project, instance, None, time.time())
    dg.materialize([unsound, sound], instance=instance, raise_on_error=False)
    found, _ = failures(project, instance, position, time.time() + 60)
    assert [(one.what, one.why) for one in found] == [
        ("A blocking check failed", "sound of broken: 12 of 40 blocks hold nothing")
    ]


def test_events_that_are_pushed_are_a_queue_as_well(make_project: Any, tmp_path: Path) -> None:
    notify = {"queue_length": 2, "queue_ticks": 1}
    pushing = make_project(tmp_path / "home", notify=notify, arrivals={"pushed": True})
    instance = dg.DagsterInstance.ephemeral()
    pushing.store.put(f"{ROOM}/a.json", b"{}")
    assert queues(pushing, instance, None, 0.0)[0] == []
    pushing.store.put(f"{ROOM}/b.json", b"{}")
    assert [one.where for one in queues(pushing, instance, None, 1.0)[0]] == ["messages of new imagery"]


def test_a_queue_is_told_once_when_it_stays_long(project: Project) -> None:
    instance, position, told = dg.DagsterInstance.ephemeral(), None, []
    job = dg.Definitions([broken]).resolve_implicit_global_asset_job_def()
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository")
    origin = RemoteJobOrigin(place, job.name)
    queued = {"status": dg.DagsterRunStatus.QUEUED, "remote_job_origin": origin}
    runs = [instance.create_run_for_job(job, job_code_origin=None, **queued) for _ in range(2)]  # type: ignore[arg-type]
    for look in range(6):
        found, position = queues(project, instance, position, float(look))
        told.append(len(found))
    assert told == [0, 0, 1, 0, 0, 0]
    instance.report_run_canceled(runs[0])
    assert queues(project, instance, position, 7.0)[1]["runs that wait"][0] == 0


def deliver(project: Project, region: str) -> None:
    project.store.put(f"landing/{region}/2024/sheet.tif", b"x")


def test_what_stays_missing_is_grouped_by_reason(project: Project) -> None:
    for region in ("noord", "oost", "zuid"):
        deliver(project, region)
    project.store.put(failure_key("sheets", Partition(2024, "zuid")), b'{"failed": {"catalogue": "the store is full"}}')
    now = time.time()
    assert overdue(project, now, 2.0) == []
    found = {(late.dataset, late.regions): late.why for late in overdue(project, now + 3 * 86400, 2.0)}
    assert found == {
        ("sheets", ("noord", "oost")): "it was never asked for",
        ("sheets", ("zuid",)): "catalogue: the store is full",
    }


def test_a_year_that_needs_no_labels_is_not_missing_any(project: Project) -> None:
    deliver(project, "noord")
    place = Partition(2024, "noord")
    for name in ("sheets", "aerial_tiles", "register_buildings"):
        project.store.put(manifest_key(name, place), b"{}")
    late = overdue(project, time.time() + 3 * 86400, 2.0)
    assert [(one.dataset, one.why) for one in late] == [("predictions", "no model of 2024")]


class Deaf(Notifier):
    """A receiver that is away."""

    def ways(self, settings: NotifySettings) -> tuple[str, ...]:
        return ("webhook", "email")

    def send(self, way: str, notice: Notice, settings: NotifySettings) -> None:
        heard.append((way, notice.cause))
        if way in away:
            raise NotSent("webhook at 127.0.0.1", "it answered 500", "Check notify.webhook")


heard: list[tuple[str, str]] = []
away: set[str] = set()


@pytest.mark.fault
def test_a_receiver_that_is_away_fails_nothing_and_gets_it_later(project: Project) -> None:
    heard.clear()
    away.add("webhook")
    instance, now = dg.DagsterInstance.ephemeral(), time.time()
    log: list[str] = []
    once: list[Notice] = [NOTICE]

    def look(*_: Any) -> tuple[list[Notice], Any]:
        return [once.pop()] if once else [], 1

    cursor, said = tick(look, project, instance, Deaf(), None, now, log.append)
    assert said == "1 new, 1 not sent yet: webhook at 127.0.0.1: it answered 500. Check notify.webhook"
    assert any("the disk is full" in line for line in log)
    away.clear()
    cursor, said = tick(look, project, instance, Deaf(), cursor, now + 60, log.append)
    assert said == "0 new, 0 not sent yet"
    assert heard == [("webhook", "c"), ("email", "c"), ("webhook", "c")], "e-mail took it the first time"


def test_what_is_over_is_told_again_when_it_comes_back(project: Project) -> None:
    instance, now = dg.DagsterInstance.ephemeral(), time.time()
    days = 86400.0
    deliver(project, "noord")
    cursor, said = tick(missing, project, instance, Notifier(), None, now + 3 * days, lambda line: None)
    assert said.startswith("1 new")
    cursor, said = tick(missing, project, instance, Notifier(), cursor, now + 3.1 * days, lambda line: None)
    assert said.startswith("0 new")
    key = manifest_key("sheets", Partition(2024, "noord"))
    project.store.put(key, b"{}")
    cursor, said = tick(missing, project, instance, Notifier(), cursor, now + 3.2 * days, lambda line: None)
    assert said.startswith("1 new"), "now the tiles are what is missing"
    project.store.delete([key])
    assert tick(missing, project, instance, Notifier(), cursor, now + 3.3 * days, lambda line: None)[1][0] == "1"


def test_alarms_are_off_until_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORS_ON", raising=False)
    assert {sensor.default_status for sensor in alarms()} == {dg.DefaultSensorStatus.STOPPED}
    monkeypatch.setenv("SENSORS_ON", "1")
    assert {sensor.default_status for sensor in alarms()} == {dg.DefaultSensorStatus.RUNNING}


def test_a_sensor_evaluates_with_its_resources(project: Project) -> None:
    from resources.project import ProjectResource

    resources = {"project": ProjectResource(home=str(project.home)), "notifier": Notifier()}
    for sensor in alarms():
        context = dg.build_sensor_context(instance=dg.DagsterInstance.ephemeral(), resources=resources)
        result = sensor.evaluate_tick(context)
        assert result.skip_message == "0 new, 0 not sent yet", sensor.name
        assert result.cursor
