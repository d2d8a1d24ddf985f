"""The steps from sheets to footprints, in order: what the command line, the assets and the checks go by.

Here: the table of datasets, and running one partition of one of them. Not here: Dagster (assets/), or how a step works.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from groundplan.core.manifest import Planned, failure_key, is_current, read_manifest
from groundplan.core.materialize import Check, Output, Report, make_blocks
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.footprints import footprints, predictions
from groundplan.footprints.outlines import (
    OUTLINES,
    OUTLINES_VERSION,
    describe_outlines,
    make_outlines,
    plan_outlines,
)
from groundplan.imagery import catalog, tiles
from groundplan.imagery.landing import delivered_partitions
from groundplan.labels import masks, registers
from groundplan.project import Project
from groundplan.step import State, Step
from groundplan.training import models, windows

STEPS: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step(catalog.DATASET, catalog.VERSION, catalog.plan, catalog.make, catalog.describe),
        Step(tiles.DATASET, tiles.VERSION, tiles.plan, tiles.make, tiles.describe),
        Step(registers.DATASET, registers.VERSION, registers.plan, registers.make, registers.describe),
        Step(masks.DATASET, masks.VERSION, masks.plan, masks.make, masks.describe),
        Step(windows.DATASET, windows.VERSION, windows.plan, windows.make, windows.describe, by_region=False),
        Step(models.DATASET, models.VERSION, models.plan, models.make, models.describe, by_region=False, alone=True),
        Step(
            predictions.DATASET,
            predictions.VERSION,
            predictions.plan,
            predictions.make,
            predictions.describe,
            alone=True,
        ),
        Step(
            OUTLINES,
            OUTLINES_VERSION,
            plan_outlines,
            make_outlines,
            describe_outlines,
        ),
        Step(footprints.DATASET, footprints.VERSION, footprints.plan, footprints.make, footprints.describe),
    )
}

ASSETS = tuple(name for name in STEPS if name != OUTLINES)
"""What a user sees; outlines are made with the footprints."""


def run_step(project: Project, name: str, partition: Partition, run: str = "", **options: Any) -> Report:
    """Make what is missing of one partition and commit it."""
    step = STEPS[name]

    def make(planned: Planned, check: Check) -> Output:
        output = step.make(project, planned, check)
        return Output(output.data, {**output.facts, **step.describe(output.data)})

    return make_blocks(
        project.store,
        name,
        partition,
        step.version,
        step.plan(project, partition, **options),
        make,
        describe=step.describe,
        workers=1 if step.alone else project.workers,
        run=run,
    )


def run_asset(project: Project, name: str, partition: Partition, run: str = "", **options: Any) -> list[Report]:
    """As `run_step`, with the steps that come along with a dataset."""
    before = [run_step(project, OUTLINES, partition, run)] if name == footprints.DATASET else []
    reports = [*before, run_step(project, name, partition, run, **options)]
    if name == models.DATASET:
        models.forget_checkpoints(project, partition)
    return reports


def state_of(project: Project, name: str, partition: Partition) -> State:
    """What `groundplan status` says of a partition; makes nothing."""
    step = STEPS[name]
    manifest = read_manifest(project.store, name, partition)
    try:
        failed = json.loads(project.store.get(failure_key(name, partition)))["failed"]
    except MissingInput:
        failed = {}
    try:
        plan = step.plan(project, partition)
    except MissingInput as error:
        return State(name, partition, "waiting", note=str(error), failed=len(failed), manifest=manifest)
    names = {planned.name: planned.fingerprint for planned in plan}
    done = sum(names.get(made.name) == made.fingerprint for made in manifest.objects.values()) if manifest else 0
    note = "; ".join(f"{block}: {reason}" for block, reason in list(failed.items())[:1])
    if failed:
        state = "failed"
    elif is_current(manifest, step.version, plan):
        state = "current"
    else:
        state = "stale" if manifest else "missing"
    return State(name, partition, state, done, len(plan), len(failed), note, manifest)


def asset_state(project: Project, name: str, partition: Partition) -> State:
    """As `state_of`; footprints are current only when their outlines are."""
    if name == footprints.DATASET:
        before = state_of(project, OUTLINES, partition)
        if before.state != "current":
            shown = read_manifest(project.store, name, partition)
            state = "stale" if shown and before.state == "missing" else before.state
            return State(name, partition, state, before.done, before.planned, before.failed, before.note, shown)
    return state_of(project, name, partition)


def partitions_of(project: Project, name: str, delivered: list[Partition] | None = None) -> list[Partition]:
    """All partitions of a dataset for which imagery was delivered, sorted.

    delivered: `delivered_partitions(project)`, where the caller has it: it lists all that was delivered.
    """
    delivered = delivered_partitions(project) if delivered is None else delivered
    if STEPS[name].by_region:
        return delivered
    only = project.settings.predict.model_year  # then no other year's model is used, and none is trained
    return sorted({Partition(item.year) for item in delivered if only is None or item.year == only})
