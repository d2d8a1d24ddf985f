"""Training logs: what every step of a training came to, kept for those who look at it later.

Here: the CSV and, where it is asked for, TensorBoard's events, both in the store. Not here: who is told while it runs
(watching.py), the figures (core/progress.py), the curves in a model's card (models.py).

A log is written when a checkpoint is, so both tell of the same steps: a training that was killed goes on in the same
log where its checkpoint is, and no step stands there twice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from groundplan.core.progress import TrainingStep
from groundplan.core.store import Store
from groundplan.errors import BadConfig, MissingInput

FOLDER = "logs/training"
CSV = "steps.csv"
COLUMNS = ("step", "seconds", "rate", "loss", "iou", "cores", "score")
FIGURES = ("iou", "cores", "score")
"""Of the validation; empty where none was made after the step."""

Row = dict[str, str]


@dataclass(slots=True, kw_only=True)
class TrainingLog:
    """The log of one training; called with each of its steps, flushed with each of its checkpoints."""

    store: Store
    prefix: str
    kinds: tuple[str, ...]
    """Of "csv" and "tensorboard"."""
    rows: list[Row] = field(default_factory=list)
    _flushed: int = 0
    _begun: bool = False

    def __call__(self, step: TrainingStep) -> None:
        if not self._begun:
            self._take_up(step.step)
        figures = {name: f"{step.validation[name]:.6g}" for name in FIGURES if step.validated}
        row = {"step": str(step.step), "seconds": f"{step.seconds:.3f}", "rate": f"{step.rate:.6g}"}
        self.rows.append({**row, "loss": f"{step.loss:.6g}", **figures})

    def _take_up(self, step: int) -> None:
        """What was logged before this step; what stands there of later ones, no checkpoint knows."""
        self._begun = True
        if "csv" in self.kinds:
            self.rows = [row for row in read_log(self.store, self.prefix) if int(row["step"]) < step]
            self._flushed = len(self.rows)
        late = [found.key for found in self.store.list(self.prefix) if _first_step(found.key) >= step]
        if late:
            self.store.delete(late)

    def flush(self) -> None:
        """Write what is new. Raises StoreFailed."""
        new = self.rows[self._flushed :]
        if not new:
            return
        if "tensorboard" in self.kinds:  # a part of its own: who reads along takes up each new file of the folder
            part = f"events.out.tfevents.{int(new[0]['step']):010d}.groundplan"
            self.store.put(f"{self.prefix}/{part}", events(new))
        if "csv" in self.kinds:
            self.store.put(f"{self.prefix}/{CSV}", _as_csv(self.rows))
        self._flushed = len(self.rows)


def read_log(store: Store, prefix: str) -> list[Row]:
    """The steps of a log; none where there is no log."""
    try:
        text = store.get(f"{prefix}/{CSV}").decode("utf-8", "replace")
    except MissingInput:
        return []
    return [row for row in csv.DictReader(io.StringIO(text)) if (row.get("step") or "").isdecimal()]


def _as_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _first_step(key: str) -> int:
    """The first step of a part of TensorBoard's events; -1 of another file."""
    parts = key.rsplit("/", 1)[-1].split(".")
    return int(parts[3]) if len(parts) == 5 and parts[3].isdecimal() else -1


def check_kinds(kinds: Sequence[str]) -> None:
    """Before a training: whether what its logs need is there. Raises BadConfig."""
    if "tensorboard" in kinds:
        _protocol()


def events(rows: Sequence[Row]) -> bytes:
    """A file of TensorBoard's events: a scalar for each figure of each step. Their time is that of the training."""
    event, summary, writer = _protocol()
    buffer = io.BytesIO()
    records = writer(buffer)
    first = float(rows[0]["seconds"])
    records.write(event(wall_time=first, file_version="brain.Event:2").SerializeToString())
    for row in rows:
        values = [
            summary.Value(
                tag=f"{'validation' if name in FIGURES else 'training'}/{name}", simple_value=float(row[name])
            )
            for name in COLUMNS[2:]
            if row.get(name)
        ]
        told = event(wall_time=float(row["seconds"]), step=int(row["step"]), summary=summary(value=values))
        records.write(told.SerializeToString())
    records.flush()
    return buffer.getvalue()


def _protocol() -> tuple[Any, Any, Any]:
    """TensorBoard's own records and their writer. Raises BadConfig where its package is not there."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise BadConfig(
            "training.log",
            "TensorBoard's events need the package tensorboard",
            'Install groundplan[tensorboard], or leave "tensorboard" out',
        ) from error
    return Event, Summary, RecordWriter
