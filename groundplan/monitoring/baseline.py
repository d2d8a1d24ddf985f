"""The baseline: the regions and years that the model is known to do well on, as units to compare others with.

Here: choosing, keeping and reading them. Not here: their figures (report.py makes them). A baseline is of one model, by
its SHA-256: another model predicts otherwise. It is one record of the store, `drift/baselines/SHA256.json`; who accepts
a region that was flown otherwise adds it there (`groundplan drift --accept`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from groundplan.core.partition import Partition
from groundplan.core.records import read_record, write_record
from groundplan.core.store import Store
from groundplan.errors import Damaged, MissingInput
from groundplan.monitoring.drift import KEPT, Reference, Unit
from groundplan.project import Project

ACCEPTED, TRAINING = "accepted", "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """units: by name, such as 'delft 2024'. why: of each, whether it is of the training year, or was accepted."""

    model: str
    """SHA-256 of the model that predicted."""
    units: Mapping[str, Unit]
    why: Mapping[str, str]

    def reference(self) -> Reference:
        return Reference([self.units[name] for name in sorted(self.units)])


def key_of(sha256: str) -> str:
    """Where the baseline of a model is. The gate of promotion asks whether it is there."""
    return f"drift/baselines/{sha256}.json"


REMEDY = "Make it: `groundplan drift --baseline`"


def read_baseline(store: Store, sha256: str) -> Baseline:
    """Of a model. Raises MissingInput with the command that makes it, Damaged, NewerFormat."""
    key = key_of(sha256)
    try:
        raw = read_record(store, key, REMEDY)
    except MissingInput as error:
        raise MissingInput(error.thing, "no drift baseline was made of this model", REMEDY) from error
    try:
        units = {name: _unit(name, one["figures"]) for name, one in raw["units"].items()}
        why = {name: str(one["why"]) for name, one in raw["units"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(store.uri(key), f"it is no baseline ({error})", REMEDY) from error
    return Baseline(model=sha256, units=units, why=why)


def write_baseline(store: Store, baseline: Baseline) -> None:
    units = {
        name: {
            "why": baseline.why[name],
            "figures": {figure: [float(f"{v:.5g}") for v in values] for figure, values in unit.values.items()},
        }
        for name, unit in sorted(baseline.units.items())
    }
    write_record(store, key_of(baseline.model), {"units": units})


def with_units(baseline: Baseline, units: Sequence[Unit], why: str) -> Baseline:
    return Baseline(
        model=baseline.model,
        units={**baseline.units, **{unit.name: unit for unit in units}},
        why={**baseline.why, **{unit.name: why for unit in units}},
    )


def model_year(project: Project, year: int) -> int:
    """The year whose model predicts a year."""
    return project.settings.predict.model_year or year


def evenly(partitions: Sequence[Partition], most: int) -> list[Partition]:
    """At most so many, spread over all: a baseline need not read a whole country."""
    if len(partitions) <= most:
        return list(partitions)
    return [partitions[int(at)] for at in np.linspace(0, len(partitions) - 1, most).round()]


def _unit(name: str, figures: Mapping[str, Sequence[float]]) -> Unit:
    values = {figure: np.sort(np.asarray(found, float))[:KEPT] for figure, found in figures.items()}
    return Unit(name=str(name), values={figure: found for figure, found in values.items() if len(found)})
