"""Sensors that tell a person what is wrong: runs that failed for good, a growing queue, what stays missing.

Here: looking for trouble, and each sensor's outbox. Not here: the words' bounds and rate
(groundplan/operations/notifications.py), or sending (resources/notifier.py). A notice that cannot be sent fails
nothing: it stays in the outbox, the next tick tries again, and the tick's message says so.
https://docs.dagster.io/guides/automate/sensors
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus

from assets.stretches import PARTS_FAILED, died_with_its_stretch
from groundplan.foreign_text import out_of_markdown
from groundplan.ingest.pushed_events import PushedEvents
from groundplan.operations import drift_alarms
from groundplan.operations.notifications import Notice, NotSent, Outbox, forget_others, sent, take_up
from groundplan.operations.overdue import overdue
from groundplan.project import Project
from orchestration.environment import sensor_environment
from resources.notifier import Notifier
from resources.project import ProjectResource

WILL_RETRY = "dagster/will_retry"
SETTLED = 10.0  # seconds after a failure: by then Dagster has said whether it will retry
PAGE = 100  # failed runs looked at in one tick

Found = tuple[list[Notice], Any]
Look = Callable[[Project, DagsterInstance, Any, float], Found]
"""(project, instance, position, now) to notices and the new position."""


# --- runs that failed for good, blocking checks among them ------------------------------------------------------------


def failures(project: Project, instance: DagsterInstance, position: Any, now: float) -> Found:
    """position: time and ids of the newest failures that were looked at. Begins now: old failures are no news."""
    since, seen = position or (now - SETTLED, [])
    records = instance.get_run_records(
        # a second earlier: the filter is exclusive, and times in the database are rounded
        dg.RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(since - 1, UTC)),
        order_by="update_timestamp",
        ascending=True,
        limit=PAGE + len(seen),
    )
    notices, newest, ids = [], since, list(seen)
    for record in records:
        ended = record.update_timestamp.replace(tzinfo=UTC).timestamp()
        if ended > now - SETTLED:
            break
        newest = max(newest, ended)
        run = record.dagster_run
        if run.run_id in seen or ended < since - 1:
            continue
        if run.tags.get(WILL_RETRY) == "true":
            continue  # not noted: when the retry does not come, its tag changes, and it is found here again
        ids.append(run.run_id)
        if PARTS_FAILED in run.tags or died_with_its_stretch(run):
            continue  # told of the region's run that failed; or of the stretch's that died
        notices.append(of_run(project, instance, run))
    return notices, (newest, ids[-2 * PAGE :])


def _words(description: str | None) -> str:
    """A check's verdict without the picture that may follow it."""
    return out_of_markdown((description or "no reason given").split("\n\n")[0])


def of_run(project: Project, instance: DagsterInstance, run: DagsterRun) -> Notice:
    names = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name
    partition = run.tags.get("dagster/partition", "")
    where = f"{names} of {partition}" if partition else names
    link = _link(project, f"runs/{run.run_id}")
    # one notice for what is tried again and again: a retry has the same assets and partition
    checks = [
        f"{data.check_name} of {data.asset_key.to_user_string()}: {_words(data.description)}"
        for data in _blocking(instance, run)
    ]
    if checks:
        remedy = "Open the check in Dagster: it shows where, and what to do"
        cause = f"check {where} {checks[0]}"
        return Notice(
            cause=cause, what="A blocking check failed", where=where, why="; ".join(checks), remedy=remedy, link=link
        )
    why = " ".join(_why(instance, run).split())
    tries = run.tags.get("dagster/retry_number")
    what = f"A run failed for good, after {tries} retries" if tries else "A run failed for good"
    remedy = "Mend the cause, then materialize it; or leave it to the nightly schedule"
    return Notice(cause=f"run {where} {why}", what=what, where=where, why=why, remedy=remedy, link=link)


def _blocking(instance: DagsterInstance, run: DagsterRun) -> Iterator[Any]:
    found = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION, limit=50)
    for record in found.records:
        event = record.event_log_entry.dagster_event
        data = event.event_specific_data if event else None
        if data is not None and not data.passed and data.severity == dg.AssetCheckSeverity.ERROR and data.blocking:  # type: ignore[union-attr]
            yield data


def _why(instance: DagsterInstance, run: DagsterRun) -> str:
    """Our own error, which says what to do, before the innermost; else what Dagster says of the run's end."""
    for kind in (DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE):
        for record in instance.get_records_for_run(run.run_id, of_type=kind, limit=5).records:
            event = record.event_log_entry.dagster_event
            error = getattr(event.event_specific_data, "error", None) if event else None
            message = event.message if event and event.message else ""
            while error is not None:
                message = error.message.strip()
                if message.startswith("groundplan.errors."):
                    return str(message.split(": ", 1)[-1])
                error = error.cause
            if message:
                return str(message)
    return "its log says no reason"


# --- queues -----------------------------------------------------------------------------------------------------------


def queues(project: Project, instance: DagsterInstance, position: Any, now: float) -> Found:
    """position: per queue for how many looks in a row it was too long, and since when."""
    settings = project.settings.notify
    lengths = {"runs that wait": instance.get_runs_count(dg.RunsFilter(statuses=[DagsterRunStatus.QUEUED]))}
    if project.settings.arrivals.queue:
        lengths["messages of new imagery"] = _messages(project.settings.arrivals.queue, settings.timeout)
    elif project.settings.arrivals.pushed:
        lengths["messages of new imagery"] = PushedEvents(project.store).depth()
    notices, after = [], {}
    for name, length in lengths.items():
        count, since = (position or {}).get(name, (0, now))
        after[name] = (count + 1, since) if length >= settings.queue_length else (0, now)
        if after[name][0] == settings.queue_ticks:
            why = f"{length} for {settings.queue_ticks} looks in a row; the limit is {settings.queue_length}"
            remedy = "Look whether the daemon runs and pods start; then raise max_concurrent_runs, or wait"
            cause = f"queue {name} {int(since)}"
            notices.append(
                Notice(
                    cause=cause, what="A queue grows", where=name, why=why, remedy=remedy, link=_link(project, "runs")
                )
            )
    return notices, after


def _messages(url: str, timeout: float) -> int:
    import boto3
    from botocore.config import Config

    limits = Config(connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 2})
    client = boto3.client("sqs", config=limits)
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(found["Attributes"]["ApproximateNumberOfMessages"])


# --- partitions that stay missing -------------------------------------------------------------------------------------


def missing(project: Project, instance: DagsterInstance, position: Any, now: float) -> Found:
    """What is missing for days, grouped by its reason: three listings of the store."""
    link = _link(project, "assets/country_status")
    return [
        Notice(
            cause=f"missing {late.dataset} {late.year} {late.why}",
            what="Partitions stay missing",
            where=late.where,
            why=late.why,
            remedy=late.remedy,
            link=link,
        )
        for late in overdue(project, now, project.settings.notify.missing_days)
    ], position


# --- imagery and predictions unlike the baseline ----------------------------------------------------------------------


def drift(project: Project, instance: DagsterInstance, position: Any, now: float) -> Found:
    """What was found lately; position: the newest report that was looked at. Two listings where none is new."""
    from groundplan.database import image_drift
    from groundplan.monitoring.report import reports

    made = [found for prefix in ("drift/reports", image_drift.PREFIX) for found in project.store.list(prefix)]
    newest = max((found.modified.timestamp() for found in made), default=0.0)
    if newest <= (position or 0.0):
        return [], position
    when, share = datetime.fromtimestamp(now, UTC), project.settings.drift.night_share
    regions = drift_alarms.notices(reports(project), when, share, _link(project, "assets/drift_report"))
    cameras = drift_alarms.notices(image_drift.reports(project), when, share, _link(project, "assets/image_drift"))
    return [*regions, *cameras], newest


# --- the sensors ------------------------------------------------------------------------------------------------------


def tick(
    look: Look,
    project: Project,
    instance: DagsterInstance,
    notifier: Notifier,
    cursor: str | None,
    now: float,
    log: Callable[[str], None],
) -> tuple[str, str]:
    """One look and one try at everything that waits: the new cursor, and in a line what happened."""
    settings = project.settings.notify
    outbox = Outbox.from_json(cursor)
    found, position = look(project, instance, outbox.position, now)
    if look is missing:  # it finds all that is missing, each time; the others find what is new
        outbox = forget_others(outbox, found)
    before = len(outbox.waiting)
    taken = take_up(outbox, found, notifier.ways(settings), now, settings.most_per_hour)
    for item in taken.waiting[before:]:
        log(item.notice.text())
    failed, trouble = {}, ""
    for index, item in enumerate(taken.waiting):
        left = []
        for way in item.ways:
            try:
                notifier.send(way, item.notice, settings)
            except NotSent as error:
                left.append(way)
                trouble = trouble or str(error)
        failed[index] = tuple(left)
    after = sent(taken, failed)
    said = f"{len(taken.waiting) - before} new, {len(after.waiting)} not sent yet"
    if trouble:
        log(f"notices wait: {trouble}")
        said += f": {trouble}"
    kept = Outbox(
        position=position, told=after.told, waiting=after.waiting, times=after.times, kept_back=after.kept_back
    )
    return kept.to_json(), said


def _sensor(name: str, look: Look, seconds: int, description: str) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        minimum_interval_seconds=seconds,
        description=description,
        default_status=sensor_environment().sensor_status,
    )
    def watch(context: dg.SensorEvaluationContext, project: ProjectResource, notifier: Notifier) -> dg.SensorResult:
        cursor, said = tick(
            look, project.open(), context.instance, notifier, context.cursor, time.time(), context.log.warning
        )
        return dg.SensorResult(skip_reason=said, cursor=cursor)

    return watch


def alarms() -> list[dg.SensorDefinition]:
    """Off until switched on in the UI, or by SENSORS_ON=1."""
    return [
        _sensor(
            "alarm_failures",
            failures,
            60,
            "Tells of runs that failed for good, and of blocking checks; silent while a retry will follow.",
        ),
        _sensor("alarm_queue", queues, 60, "Tells when runs, or messages of new imagery, wait in a growing queue."),
        _sensor(
            "alarm_drift",
            drift,
            600,
            "Tells of regions, and of cameras, whose imagery or predictions are unlike the model's baseline.",
        ),
        _sensor("alarm_missing", missing, 3600, "Tells of regions and years that stay missing or failed for days."),
    ]


def _link(project: Project, path: str) -> str:
    root = project.settings.serving.dagster_url
    return f"{root}/{path}" if root else ""
