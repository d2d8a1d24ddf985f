"""What a region's work is expected to take in a pod, by what blocks cost here before and how many the region has.

Here: seconds of a region's datasets. Not here: costs of a block (capacity/costs.py), which regions share a run
(capacity/stretches.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from groundplan.capacity.costs import Costs, measured, reference
from groundplan.capacity.request import Request
from groundplan.capacity.simulation import phase, seconds_of
from groundplan.capacity.stretches import PART_SECONDS
from groundplan.core.manifest import Committed, committed, readable
from groundplan.core.parallel import in_parallel
from groundplan.core.partition import Partition
from groundplan.core.records import read_record, write_record
from groundplan.errors import BadConfig, MissingInput
from groundplan.imagery import tiles
from groundplan.imagery.landing import landed_files
from groundplan.operations.cost_estimate import LIGHT
from groundplan.pipeline import STEPS
from groundplan.project import Project
from groundplan.step import Step, with_companions

ROOM = "stretches"  # of the store: why regions share a run
SAMPLE = 12  # partitions whose manifests say what a block costs


@dataclass(frozen=True, slots=True)
class Pod:
    """What a run works with: processors, and devices."""

    cores: int
    gpus: int = 0


def expected_seconds(
    project: Project, assets: Sequence[str], partitions: Iterable[Partition], pod: Pod
) -> dict[Partition, float | None]:
    """Seconds of these datasets of each region and year in one pod; None where nobody knows. Raises StoreFailed.

    An upper bound of a region of which only some blocks are missing.
    """
    costs = unit_costs(project)
    manifests = committed(project.store)
    request = _request(project, pod)
    wanted = list(partitions)
    blocks = dict(zip(wanted, in_parallel(_counter(project, manifests, costs), wanted), strict=True))
    found: dict[Partition, float | None] = {}
    for partition in wanted:
        count = blocks[partition]
        parts = [
            _of_step(project, step, request, costs, manifests, count)
            for name in assets
            for step, _ in with_companions(STEPS, project.settings, name, partition)
        ]
        known = [one for one in parts if one is not None]
        found[partition] = PART_SECONDS + sum(known) if len(known) == len(parts) else None
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyTogether:
    """Why regions share a run. expected: seconds of each region's work, by name; empty where nobody wrote it down."""

    launch_seconds: float = 0.0
    most_seconds: float = 0.0
    expected: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.expected:
            return "asked for by hand: nobody said why"
        work = sum(self.expected.values())
        each = f"each of {len(self.expected)} regions should take less than a launch ({self.launch_seconds:g} s)"
        return f"{each}, together {work:.0f} s of at most {self.most_seconds:g}"


def keep_reason(project: Project, stretch: str, reason: WhyTogether) -> None:
    """Write down why a stretch is asked for; its run says it. stretch: the key. Raises StoreFailed."""
    write_record(project.store, f"{ROOM}/{stretch}.json", asdict(reason))


def reason_for(project: Project, stretch: str) -> WhyTogether:
    """What was written down of a stretch; an empty reason where nothing was. Raises StoreFailed."""
    try:
        raw = read_record(project.store, f"{ROOM}/{stretch}.json", "Ask for it again")
    except MissingInput:
        return WhyTogether()
    expected = raw.get("expected")
    named = {str(name): float(value) for name, value in expected.items()} if isinstance(expected, dict) else {}
    return WhyTogether(
        launch_seconds=float(raw.get("launch_seconds", 0.0)),
        most_seconds=float(raw.get("most_seconds", 0.0)),
        expected=named,
    )


def unit_costs(project: Project) -> Costs:
    """Of a block, from what was made here last; the reference where nothing was. Raises StoreFailed."""
    predict, model = project.settings.predict, project.settings.model
    try:
        return measured(project, SAMPLE)
    except BadConfig:
        return reference(predict.precision, predict.views).at(project.grid.resolution, model.resolution)


def _request(project: Project, pod: Pod) -> Request:
    """The pod as the simulation of a country knows it; ground and prices do not matter here."""
    return Request(
        area_km2=1.0,
        resolution=project.grid.resolution,
        block_size=project.grid.block_size,
        vcpus=pod.cores,
        vcpus_per_pod=pod.cores,
        vcpus_per_io_pod=pod.cores,
        gpus=pod.gpus,
        vcpus_per_gpu_pod=pod.cores,
    )


def _of_step(
    project: Project,
    step: Step[Partition],
    request: Request,
    costs: Costs,
    manifests: Sequence[Committed],
    blocks: int | None,
) -> float | None:
    if step.work:
        return None if blocks is None else seconds_of([phase(request, costs, step.name, blocks)])
    if step.unmade_seconds:
        return step.unmade_seconds(project) / request.vcpus_per_pod
    return LIGHT if step.profile == "io" else None


def _counter(project: Project, manifests: Sequence[Committed], costs: Costs) -> Callable[[Partition], int | None]:
    """How many blocks a region has: by its tiles of that year, else of another, else by the files delivered."""
    by_region: dict[str, list[Committed]] = {}
    for one in manifests:
        if one.dataset == tiles.DATASET:
            by_region.setdefault(one.partition.region, []).append(one)

    def count(partition: Partition) -> int | None:
        made = by_region.get(partition.region, [])
        nearest = sorted(made, key=lambda one: (abs((one.year or 0) - partition.year), one.path))
        for one in nearest:
            if (manifest := readable(project.store, one.found.key)) and manifest.objects:
                return len(manifest.objects)
        size = sum(found.size for found in landed_files(project, partition))
        block = costs.steps["landing"].bytes * project.grid.block_size**2 / 1e6
        return math.ceil(size / block) if size else None

    return count
