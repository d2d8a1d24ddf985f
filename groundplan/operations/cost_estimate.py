"""What one partition of each dataset is expected to cost, from what partitions cost before.

Here: processor hours and their price. Not here: costs of a block (capacity/costs.py), or of a country
(capacity/simulation.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from groundplan.capacity.costs import KINDS, REFERENCE_NAME, reference
from groundplan.core.manifest import Manifest
from groundplan.core.store import Found
from groundplan.pipeline import ASSETS
from groundplan.project import Project

SAMPLE = 12  # manifests read of each dataset: a night's ceiling needs no better mean
BLOCKS = 16  # of a region, where no region says how many it has
LIGHT = 5.0  # processor seconds of what has no reference and is light: register_buildings, training_windows
COMPANIONS = {"building_footprints": "building_outlines"}  # made in the same run


@dataclass(frozen=True, slots=True)
class Expected:
    """Money for one partition of each dataset, and in a line where the figures come from."""

    money: Mapping[str, float]
    source: str


def expected(project: Project, manifests: list[Found], price: float) -> Expected:
    """From at most SAMPLE manifests of each dataset, the newest; the reference where there are none.

    manifests: the listing of `manifests`. price: of a processor hour.
    """
    seconds: dict[str, float] = {}
    blocks = float(BLOCKS)
    for name in ("aerial_tiles", *ASSETS, *COMPANIONS.values()):
        found = _sample(project, manifests, name)
        costs = [manifest.cpu_seconds for manifest in found if manifest.cpu_seconds > 0]
        if costs:
            seconds[name] = sum(costs) / len(costs)
        if name == "aerial_tiles" and found:
            blocks = sum(len(manifest.objects) for manifest in found) / len(found)
    guessed = [name for name in ASSETS if name not in seconds]
    table = reference().at(project.grid.resolution).steps
    for name in (*ASSETS, *COMPANIONS.values()):
        if name not in seconds:
            seconds[name] = _guess(project, name, table[name].cpu_seconds if name in KINDS else None, blocks)
    total = {name: seconds[name] + seconds.get(COMPANIONS.get(name, ""), 0.0) for name in ASSETS}
    source = "measured in this project"
    if guessed:
        source += f"; {REFERENCE_NAME}, for {', '.join(guessed)}"
    return Expected({name: cpu / 3600 * price for name, cpu in total.items()}, source)


def _sample(project: Project, manifests: list[Found], name: str) -> list[Manifest]:
    mine = [item for item in manifests if item.key.split("/")[1] == name]
    newest = sorted(mine, key=lambda item: item.modified, reverse=True)[:SAMPLE]
    return [Manifest.from_json(project.store.get(item.key)) for item in newest]


def _guess(project: Project, name: str, per_unit: float | None, blocks: float) -> float:
    """Processor seconds of a dataset that this project never made."""
    if name == "trained_model":
        return project.settings.model.minutes * 60 * project.workers
    if per_unit is None:
        return LIGHT
    unit = project.grid.block_size**2 / 1e6 if KINDS[name].per == "megapixel" else project.grid.span**2 / 1e6
    return per_unit * unit * blocks
