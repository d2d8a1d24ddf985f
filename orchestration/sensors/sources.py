"""Sensors: new imagery, a changed register and a new model start work.

Here: reading what is there, handing it to the library's decision, and asking Dagster for what it says. Not here: the
decisions (groundplan/ingest/scan.py, groundplan/ingest/upstream_changes.py), or what follows from work that is done
(assets/conditions.py). https://docs.dagster.io/guides/automate/sensors

Off until switched on in the UI, or by SENSORS_ON=1. SENSORS_SECONDS is the time between looks, 30 by default. A look
that fails leaves the cursor as it was, shows its reason, and is tried again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import time

import dagster as dg

from assets.partitions import YEAR, regions, unknown, years
from assets.stretches import known_regions
from groundplan.core.partition import Partition
from groundplan.imagery.landing import delivered_partitions, project_years
from groundplan.ingest import scan, upstream_changes
from groundplan.ingest.cursor import BackfillRequest, Cursor
from groundplan.ingest.decide import Ask
from groundplan.ingest.pushed_events import PushedEvents
from groundplan.operations import one_run
from groundplan.project import Project
from orchestration import jobs
from orchestration.backfills import CAUSE, in_progress, targets_of_run
from orchestration.environment import sensor_environment
from orchestration.jobs import requests_of
from orchestration.stretches import Wanted, request
from resources.project import ProjectResource
from resources.sqs import open_queue

SECONDS, STATUS = sensor_environment().sensors_seconds, sensor_environment().sensor_status
PATIENCE = 15.0  # seconds for one request with its retries: the next look comes soon
RETRY_WITHIN = 3600.0  # seconds in which Dagster follows up a run that it said it would try again
WILL_RETRY, RETRIED = "dagster/will_retry", "dagster/auto_retry_run_id"


@dg.sensor(
    name="new_imagery",
    jobs=jobs.IMAGERY,
    minimum_interval_seconds=SECONDS,
    default_status=STATUS,
    description="Sheets that were delivered to the landing folder are catalogued and cut, once the region's delivery "
    "is over: by the bucket's events where `arrivals.queue` or `arrivals.pushed` is set, and by listing the folder. A "
    "small delivery goes on to footprints in the same run. See docs/sensors.md.",
)
def new_imagery(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult:
    opened, cursor, now = _quick(project.open()), Cursor.from_text(context.cursor), time()
    queue = _events(opened)
    scan.finish_last_round(opened, cursor, queue)
    _request(context, opened, cursor.backfills, "new_imagery")
    known = set(context.instance.get_dynamic_partitions(regions.name or ""))
    known_years = context.instance.get_dynamic_partitions(years.name or "")
    found = scan.scan_round(opened, cursor, now, lambda: cataloged_now(context.instance, now), known, queue)
    asks = _all_the_way(opened, context.instance, found.asks)
    asked = [ask.partition for ask in asks]
    there = [Partition(int(year)) for year in known_years] or delivered_partitions(opened)  # once, in an older home
    coming = project_years(opened, [*asked, *there], datetime.fromtimestamp(now, UTC).year)
    new = unknown(context.instance, asked, coming, found.regions)
    requests = requests_of(asks, "new_imagery")
    if requests:  # what only waits is the tick's reason, and says the same every few seconds
        context.log.info("; ".join([f"asks for {len(requests)} runs", *found.notes]))
    return _result(found.cursor.to_text(), requests, new, found.notes, found.cursor.backfills)


@dg.sensor(
    name="changed_register",
    job=jobs.REGISTER_LABELS,
    minimum_interval_seconds=SECONDS,
    default_status=STATUS,
    description="A register that was added or replaced is taken for all regions of its year, and their labels are "
    "drawn again. The first look only remembers what is there.",
)
def changed_register(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult:
    opened, before = _quick(project.open()), upstream_changes.UpstreamCursor.from_text(context.cursor)
    _request(context, opened, before.backfills, "changed_register")
    return _renewed(context, upstream_changes.changed_registers(opened, before), "changed_register")


@dg.sensor(
    name="new_model",
    job=jobs.PREDICT,
    minimum_interval_seconds=SECONDS,
    default_status=STATUS,
    description="A model that was trained anew is used for the years that `arrivals.on_new_model` names: all, the "
    "newest, or none. The first look only remembers what is there.",
)
def new_model(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult:
    opened, before = _quick(project.open()), upstream_changes.UpstreamCursor.from_text(context.cursor)
    _request(context, opened, before.backfills, "new_model")
    return _renewed(context, upstream_changes.changed_models(opened, before), "new_model")


SENSORS = [new_imagery, changed_register, new_model]


def cataloged_now(instance: dg.DagsterInstance, now: float) -> set[Partition]:
    """Partitions whose sheets are being catalogued, or will be, after a run that died."""
    busy = {partition for name, partition in in_progress(instance) if name == "sheets"}
    known = known_regions(instance)
    died = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={WILL_RETRY: "true"})
    for record in instance.get_run_records(died, limit=200):
        run, fresh = record.dagster_run, now - (record.end_time or 0.0) < RETRY_WITHIN
        if fresh and RETRIED not in run.tags:
            busy |= {partition for name, partition in targets_of_run(run, known) if name == "sheets"}
    return busy


def _events(project: Project) -> scan.Messages | None:
    """Where the bucket's events come from; None: listings alone."""
    settings = project.settings.arrivals
    return PushedEvents(project.store) if settings.pushed else open_queue(settings)


def _all_the_way(project: Project, instance: dg.DagsterInstance, asks: Sequence[Ask]) -> Sequence[Ask]:
    """The asks, where nothing around is in the making on to the footprints."""
    busy = {partition for _, partition in in_progress(instance)} if asks else set()
    return one_run.all_the_way(project, asks, busy)


def _quick(project: Project) -> Project:
    """The project with a store that gives up soon."""
    store = replace(project.store, retries=min(2, project.store.retries), retry_seconds=PATIENCE)
    return replace(project, store=store)


def _request(
    context: dg.SensorEvaluationContext, project: Project, backfills: Iterable[BackfillRequest], cause: str
) -> None:
    """Ask for what the last look decided; a second time changes nothing."""
    for item in backfills:
        assert context.repository_def is not None
        tags = {CAUSE: cause, YEAR: str(item.partitions[0].year)}
        graph = context.repository_def.asset_graph
        wanted = Wanted(assets=item.assets, partitions=item.partitions, title=item.title, key=item.key)
        request(project, context.instance, graph, wanted, tags)
        context.log.info(f"asked for the backfill {item.title}")


def _renewed(
    context: dg.SensorEvaluationContext, found: upstream_changes.UpstreamChanges, cause: str
) -> dg.SensorResult:
    notes = [f"{', '.join(map(str, found.years))}: changed"] if found.years else []
    new = unknown(context.instance, [ask.partition for ask in found.asks])
    return _result(found.after.to_text(), requests_of(found.asks, cause), new, notes, found.after.backfills)


def _result(
    cursor: str,
    requests: Sequence[dg.RunRequest],
    new: Sequence[dg.AddDynamicPartitionsRequest],
    notes: Sequence[str],
    backfills: Sequence[BackfillRequest],
) -> dg.SensorResult:
    said = "; ".join([*(f"asks for the backfill '{item.title}'" for item in backfills), *notes])
    why = None if requests else dg.SkipReason(said[:2000] or "nothing new")
    return dg.SensorResult(run_requests=requests, skip_reason=why, dynamic_partitions_requests=new, cursor=cursor)
