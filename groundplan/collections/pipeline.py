"""The steps from delivered images to a classifier and a report, in order: what the command line and the assets go by.

Here: the table of datasets, and running one partition of one of them. Not here: how a step works, or how an asset is
made of steps (chain.py). The counterpart for imagery is groundplan/pipeline.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from groundplan.collections import catalog
from groundplan.collections.classification import classifier, fine_tuned
from groundplan.collections.descriptors import features, reduced, visual_words
from groundplan.collections.report import report as collection_report
from groundplan.collections.residency import check_place
from groundplan.core.manifest import Planned, is_current, read_manifest
from groundplan.core.materialize import Check, Output, Report, make_blocks
from groundplan.core.partition import ClassPartition
from groundplan.project import Project
from groundplan.step import Step

STEPS: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step(catalog.DATASET, catalog.VERSION, catalog.plan, catalog.make, catalog.describe),
        Step(
            visual_words.DATASET,
            visual_words.VERSION,
            visual_words.plan,
            visual_words.make,
            visual_words.describe,
            by_region=False,
            alone=True,
        ),
        Step(features.DATASET, features.VERSION, features.plan, features.make, features.describe, alone=True),
        Step(reduced.SUMS, reduced.SUMS_VERSION, reduced.plan_sums, reduced.make_sums, reduced.describe_sums),
        Step(
            reduced.AXES,
            reduced.AXES_VERSION,
            reduced.plan_axes,
            reduced.make_axes,
            reduced.describe_axes,
            by_region=False,
        ),
        Step(reduced.DATASET, reduced.VERSION, reduced.plan, reduced.make, reduced.describe),
        Step(
            classifier.DATASET,
            classifier.VERSION,
            classifier.plan,
            classifier.make,
            classifier.describe,
            by_region=False,
        ),
        Step(
            fine_tuned.DATASET,
            fine_tuned.VERSION,
            fine_tuned.plan,
            fine_tuned.make,
            fine_tuned.describe,
            by_region=False,
            alone=True,
        ),
        Step(
            collection_report.DATASET,
            collection_report.VERSION,
            collection_report.plan,
            collection_report.make,
            collection_report.describe,
            by_region=False,
        ),
    )
}
"""by_region: by class; the others have one partition for the collection, `ClassPartition(collection)`."""


def run_step(project: Project, name: str, partition: ClassPartition, run: str = "") -> Report:
    """Make what is missing of one partition and commit it. The vocabulary is made before features that need it.

    Raises BadConfig where images may not lie in this store, BlocksFailed, MissingInput, StoreFailed.
    """
    check_place(project)
    step = STEPS[name]
    if name == features.DATASET and project.settings.collections.features == "orb":
        whole = ClassPartition(partition.collection)
        before = read_manifest(project.store, visual_words.DATASET, whole)
        if before is None or not is_current(before, visual_words.VERSION, visual_words.plan(project, whole)):
            run_step(project, visual_words.DATASET, whole, run)

    def make(planned: Planned, check: Check) -> Output:
        output = step.make(project, planned, check)
        return Output(output.data, {**output.facts, **step.describe(output.data)})

    report = make_blocks(
        project.store,
        name,
        partition,
        step.version,
        step.plan(project, partition),
        make,
        describe=step.describe,
        workers=1 if step.alone else project.workers,
        run=run,
    )
    if name == fine_tuned.DATASET:
        fine_tuned.forget_checkpoints(project, partition)
    return report
