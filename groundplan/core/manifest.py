"""Manifest: the committed list of a partition's objects; fingerprints and keys.

Here: what a manifest says, reading it, and comparing it with a plan. Not here: making objects (materialize.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from groundplan.core.store import Store
from groundplan.errors import MissingInput

if TYPE_CHECKING:
    pass
from groundplan.core.partition import Place


@dataclass(frozen=True, slots=True)
class Planned:
    """An object to be made: its name in the partition, and all that decides its bytes."""

    name: str
    fingerprint: str
    key: str
    inputs: tuple[str, ...] = ()  # keys of the objects it is made from
    args: Any = None  # what the step's `make` needs; never part of the manifest


@dataclass(frozen=True, slots=True)
class Made:
    """A manifest's line: an object that exists, and what it cost."""

    name: str
    key: str
    fingerprint: str
    bytes: int
    seconds: float
    cpu_seconds: float
    inputs: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)  # what the step says of it: counts, shares, scores
    run: str = ""


@dataclass(frozen=True)
class Manifest:
    """The committed state of one partition of one dataset."""

    dataset: str
    partition: Any  # a Place; readers know which kind their dataset has
    version: str
    fingerprint: str  # of the plan as a whole
    objects: dict[str, Made]
    committed: str = ""  # UTC, ISO 8601
    seconds: float = 0.0  # wall time of the run that committed it
    run: str = ""

    def identity(self) -> str:
        """Changes exactly when the bytes of some object may have changed; not with times or runs."""
        return fingerprint(objects={name: made.fingerprint for name, made in self.objects.items()})

    @property
    def total_bytes(self) -> int:
        return sum(made.bytes for made in self.objects.values())

    @property
    def cpu_seconds(self) -> float:
        return sum(made.cpu_seconds for made in self.objects.values())

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        from groundplan.core.partition import place

        raw = json.loads(data)
        objects = {name: Made(**made | {"inputs": tuple(made["inputs"])}) for name, made in raw.pop("objects").items()}
        return cls(objects=objects, partition=place(**raw.pop("partition")), **raw)


def fingerprint(**parts: Any) -> str:
    """16 hexadecimal digits that change when any part does. Parts are plain JSON values; order of keys is ignored."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def object_key(dataset: str, partition: Place, name: str, print_: str, suffix: str) -> str:
    return f"{dataset}/{partition.path}/{name}-{print_}{suffix}"


def manifest_key(dataset: str, partition: Place) -> str:
    return f"manifests/{dataset}/{partition.path}.json"


def failure_key(dataset: str, partition: Place) -> str:
    return f"failures/{dataset}/{partition.path}.json"


def read_manifest(store: Store, dataset: str, partition: Place) -> Manifest | None:
    """The committed manifest, or None where nothing was committed yet."""
    try:
        return Manifest.from_json(store.get(manifest_key(dataset, partition)))
    except MissingInput:
        return None


def need_manifest(store: Store, dataset: str, partition: Place) -> Manifest:
    """The committed manifest. Raises MissingInput, saying which dataset to build first."""
    manifest = read_manifest(store, dataset, partition)
    if manifest is None:
        raise MissingInput(
            f"{dataset} of {partition}",
            "it has not been made yet",
            f"Run `groundplan build {partition.options} --select {dataset}`",
        )
    return manifest


def plan_fingerprint(version: str, plan: Iterable[Planned]) -> str:
    return fingerprint(version=version, objects=sorted([planned.name, planned.fingerprint] for planned in plan))


def is_current(manifest: Manifest | None, version: str, plan: Sequence[Planned]) -> bool:
    """Whether what was committed is what would be made now."""
    return manifest is not None and manifest.fingerprint == plan_fingerprint(version, plan)
