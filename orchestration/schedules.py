"""What the clock starts: the nightly backfill, the yearly question of change, the weekly care.

Here: reading what stands, asking the pure functions, acting. Not here: what a night makes
(groundplan/operations/backlog.py), what follows from it (assets/conditions.py). All are off until switched on in the
UI, or by SENSORS_ON=1. https://docs.dagster.io/guides/automate/schedules
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, PartitionBackfill

from assets.operations.country_status import failed_runs
from assets.stretches import known_regions
from groundplan.config import NightlySettings
from groundplan.core.manifest import committed, manifest_key
from groundplan.operations import cost_estimate, status
from groundplan.operations.backlog import Choice, Night, Target, choose, night_of
from groundplan.operations.prerequisites import asked_for, own_inputs, register_years
from groundplan.project import Project
from orchestration import jobs
from orchestration.backfills import CAUSE, in_progress, targets_in, targets_of
from orchestration.environment import sensor_environment
from orchestration.stretches import Wanted, request
from resources.project import ProjectResource

NIGHT, COST, COUNT = "groundplan/night", "groundplan/cost", "groundplan/partitions"
REMEMBERED = timedelta(days=30)  # in which failures of nights are counted


def ask(project: Project, instance: dg.DagsterInstance, graph: dg.AssetGraph, now: datetime) -> Choice | None:
    """Ask for what the night can make now. Returns what was asked for and left, or None by day. Raises StoreFailed.

    Safe to repeat: what an earlier attempt asked for is at work by now, and the same slice has the same id.
    """
    settings = project.settings.nightly
    date_ = night_of(now, settings)
    if date_ is None:
        return None
    choice = choose(tonight(project, instance, date_, settings), settings)
    for part in choice.slices:
        wanted = Wanted(assets=part.assets, partitions=part.partitions, title=part.title, key=part.key)
        counted = {COST: str(part.cost), COUNT: str(len(part.partitions))}
        request(project, instance, graph, wanted, {CAUSE: "nightly", NIGHT: str(date_)}, counted)
    return choice


def tonight(project: Project, instance: dg.DagsterInstance, date_: date, settings: NightlySettings) -> Night:
    """What is known now: three listings of the store, and Dagster's record of runs and backfills."""
    nights = instance.get_backfills(
        filters=BulkActionsFilter(
            tags={CAUSE: "nightly"}, created_after=datetime.combine(date_, datetime.min.time()) - REMEMBERED
        )
    )
    own = [backfill for backfill in nights if backfill.tags.get(NIGHT) == str(date_)]
    manifests = committed(project.store)
    times = {one.found.key: one.found.modified.timestamp() for one in manifests}
    broken, known = failed_runs(instance), known_regions(instance)
    entries = [
        replace(entry, state=status.FAILED) if (entry.dataset, entry.partition) in broken else entry
        for entry in status.take(project)
    ]
    return Night(
        date=date_,
        entries=entries,
        busy=in_progress(instance),
        asked={target for backfill in own for target in targets_of(backfill, known)},
        failures=failures_in_a_row(nights, times, known, broken),
        registers=register_years(project),
        model_year=project.settings.predict.model_year,
        optional=asked_for(project.settings),
        costs=cost_estimate.expected(project, manifests, settings.price_per_cpu_hour).money,
        spent=sum(float(backfill.tags.get(COST, 0)) for backfill in own),
        spent_partitions=sum(int(backfill.tags.get(COUNT, 0)) for backfill in own),
    )


def failures_in_a_row(
    nights: Iterable[PartitionBackfill],
    times: Mapping[str, float],
    known: Sequence[str] = (),
    broken: Collection[Target] = (),
) -> dict[Target, int]:
    """How many nights in a row, up to the last, a target failed since something that it is made from changed.

    times: modification of each manifest, seconds since 1970. known: Dagster's regions. broken: what failed last: of a
    stretch that failed, the regions among these did.
    """
    asked: dict[Target, dict[str, tuple[float, bool]]] = {}
    for backfill in nights:
        data = backfill.asset_backfill_data
        if data is None:
            continue
        alone, failed = targets_in(data.target_subset, ()), targets_in(data.failed_and_downstream_subset, known)
        failed = {target for target in failed if target in alone or target in broken}
        for target in targets_of(backfill, known):
            asked.setdefault(target, {})[backfill.tags[NIGHT]] = (backfill.backfill_timestamp, target in failed)
    counts = {}
    for (name, partition), found in asked.items():
        changed = max((times.get(manifest_key(needed, partition), 0.0) for needed in own_inputs(name)), default=0.0)
        count = 0
        for _, (when, failed_then) in sorted(found.items(), reverse=True):
            if not failed_then or when < changed:
                break
            count += 1
        counts[name, partition] = count
    return counts


def described(choice: Choice, currency: str) -> str:
    """One line for the tick's log."""
    said = f"asked for {len(choice.slices)} backfills of {choice.partitions} partitions"
    said += f", expected cost {choice.cost:.2f} {currency}".rstrip()
    more = [f"{choice.beyond} beyond the night's bounds", f"{choice.waiting} wait for what they are made from"]
    if choice.given_up:
        name, partition = choice.given_up[0]
        more.append(f"{len(choice.given_up)} failed too often and are left, such as {name} of {partition}")
    return "; ".join([said, *more])


def nightly_backfill() -> dg.ScheduleDefinition:
    environment = sensor_environment()

    @dg.schedule(
        name="nightly_backfill",
        cron_schedule=environment.nightly_cron,
        job=jobs.COUNTRY_PAGES,
        default_status=environment.schedule_status,
        description="Four times an hour of the night: missing and failed partitions, newest year first, as backfills, "
        "within the night's partitions and cost (settings `nightly`). By day it does nothing.",
    )
    def tick(context: dg.ScheduleEvaluationContext, project: ProjectResource) -> dg.RunRequest | dg.SkipReason:
        assert context.repository_def is not None
        opened, now = project.open(), context.scheduled_execution_time
        choice = ask(opened, context.instance, context.repository_def.asset_graph, now)
        if choice is None:
            return dg.SkipReason(f"it is day: the night begins at {opened.settings.nightly.start_hour}:00")
        settings = opened.settings.nightly
        said = described(choice, settings.currency)
        begins = now.astimezone(ZoneInfo(settings.timezone)).hour == settings.start_hour
        if not choice.slices and not (choice.given_up and begins):
            return dg.SkipReason(said)
        context.log.info(said)
        # the country's picture, with what was given up, as the night's visible result
        status_ = [dg.AssetKey("country_status")]
        return dg.RunRequest(run_key=f"nightly/{now:%Y-%m-%dT%H}", asset_selection=status_, tags={CAUSE: "nightly"})

    return tick


def _simple(name: str, job: str, assets: tuple[str, ...], cron: str, description: str) -> dg.ScheduleDefinition:
    """job: the name that its runs have."""
    return dg.ScheduleDefinition(
        name=name,
        job=dg.define_asset_job(job, selection=dg.AssetSelection.assets(*assets), description=description),
        cron_schedule=cron,
        default_status=sensor_environment().schedule_status,
        tags={CAUSE: name},
        description=description,
    )


def schedules() -> list[dg.ScheduleDefinition]:
    return [
        nightly_backfill(),
        _simple(
            "yearly_changes",
            "changes",
            ("change_readiness",),
            "0 6 * 3-12 1",
            "Mondays of the delivery season, March to December: which regions' new year can be compared with the last.",
        ),
        _simple(
            "weekly_maintenance",
            "maintenance",
            ("store_audit", "country_map", "automation_overview"),
            "0 5 * * 0",
            "Sundays: whether the store and the manifests agree, what nobody needs any more, and the country's map.",
        ),
    ]
