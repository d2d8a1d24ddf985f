"""What one partition of each dataset is expected to cost, from what partitions cost before.

Here: processor hours and their price. Not here: costs of a block (capacity/costs.py), or of a country
(capacity/simulation.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundplan.capacity.costs import KINDS, REFERENCE_NAME, reference
from groundplan.core.manifest import (
    Committed,
    Manifest,
    readable,
)
from groundplan.imagery import tiles
from groundplan.pipeline import ASSETS, STEPS
from groundplan.project import Project
from groundplan.step import is_wanted

SAMPLE = 12  # manifests read of each dataset: a night's ceiling needs no better mean
BLOCKS = 16  # of a region, where no region says how many it has
LIGHT = 5.0  # processor seconds of what has no reference and is light: register_buildings, training_windows


@dataclass(frozen=True, slots=True)
class Expected:
    """Money for one partition of each dataset, and in a line where the figures come from."""

    money: Mapping[str, float]
    source: str


def expected(project: Project, manifests: Sequence[Committed], price: float) -> Expected:
    """From at most SAMPLE manifests of each dataset, the newest; the reference where there are none.

    manifests: all that is committed. price: of a processor hour.
    """
    seconds: dict[str, float] = {}
    blocks = float(BLOCKS)
    for name in STEPS:
        found = _sample(project, manifests, name)
        costs = [manifest.cpu_seconds for manifest in found if manifest.cpu_seconds > 0]
        if costs:
            seconds[name] = sum(costs) / len(costs)
        if name == tiles.DATASET and found:
            blocks = sum(len(manifest.objects) for manifest in found) / len(found)
    guessed = [name for name in ASSETS if name not in seconds and is_wanted(STEPS[name], project.settings)]
    predict, network = project.settings.predict, project.settings.model.resolution
    table = reference(predict.precision, predict.views).at(project.grid.resolution, network).steps
    for name in STEPS:
        if name not in seconds:
            seconds[name] = _guess(project, name, table[name].cpu_seconds if name in KINDS else None, blocks)
    total = {
        name: sum(seconds[part] for part, step in STEPS.items() if name in (part, step.comes_with)) for name in ASSETS
    }
    source = "measured in this project"
    if guessed:
        source += f"; {REFERENCE_NAME}, for {', '.join(guessed)}"
    return Expected({name: cpu / 3600 * price for name, cpu in total.items()}, source)


def _sample(project: Project, manifests: Sequence[Committed], name: str) -> list[Manifest[Any, Any]]:
    mine = [one.found for one in manifests if one.dataset == name]
    newest = sorted(mine, key=lambda found: found.modified, reverse=True)[:SAMPLE]
    return [manifest for found in newest if (manifest := readable(project.store, found.key))]


def _guess(project: Project, name: str, per_unit: float | None, blocks: float) -> float:
    """Processor seconds of a dataset that this project never made."""
    if (expected_seconds := STEPS[name].unmade_seconds) is not None:
        return expected_seconds(project)
    if per_unit is None:
        return LIGHT
    unit = project.grid.block_size**2 / 1e6 if KINDS[name].per == "megapixel" else project.grid.span**2 / 1e6
    return per_unit * unit * blocks
