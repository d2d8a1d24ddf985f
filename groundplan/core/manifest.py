"""Manifest: the committed list of a partition's objects; fingerprints and keys.

Here: what a manifest says, reading it, and comparing it with a plan. Not here: making objects (materialize.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar, overload

from groundplan.core.partition import AnyPartition, P, Partition, partition_of_json, year_of
from groundplan.core.store import Found, Store
from groundplan.errors import MissingInput

A = TypeVar("A")
F = TypeVar("F")


class Dataset(str, Generic[F]):
    """A dataset's name, which knows what its steps say of an object (F, a TypedDict)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Generic[A]):
    """An object to be made: its name in the partition, and all that decides its bytes."""

    name: str
    fingerprint: str
    key: str
    inputs: tuple[str, ...] = ()  # keys of the objects it is made from
    args: A | None = None  # what the step's `make` needs; never part of the manifest

    @property
    def needs(self) -> A:
        """`args` of what is to be made. Raises ValueError for what was planned as it stands."""
        if self.args is None:
            raise ValueError(f"{self.name} was planned as it stands: there is nothing to make it from")
        return self.args


@dataclass(frozen=True, slots=True, kw_only=True)
class Made(Generic[F]):
    """A manifest's line: an object that exists, and what it cost."""

    name: str
    key: str
    fingerprint: str
    bytes: int
    seconds: float
    cpu_seconds: float
    inputs: tuple[str, ...] = ()
    facts: F = field(default_factory=dict)  # type: ignore[assignment]  # what the step says of it: counts, shares
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest(Generic[P, F]):
    """The committed state of one partition of one dataset."""

    dataset: str
    partition: P
    version: str
    fingerprint: str  # of the plan as a whole
    objects: dict[str, Made[F]]
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
    def from_json(cls, data: bytes) -> Manifest[Any, Any]:
        raw = json.loads(data)
        objects = {name: Made(**made | {"inputs": tuple(made["inputs"])}) for name, made in raw.pop("objects").items()}
        return Manifest(objects=objects, partition=partition_of_json(**raw.pop("partition")), **raw)


def fingerprint(**parts: Any) -> str:
    """16 hexadecimal digits that change when any part does. Parts are plain JSON values; order of keys is ignored."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def object_key(dataset: str, partition: AnyPartition, name: str, digest: str, suffix: str) -> str:
    return f"{dataset}/{partition.path}/{name}-{digest}{suffix}"


def manifest_key(dataset: str, partition: AnyPartition) -> str:
    return f"manifests/{dataset}/{partition.path}.json"


def failure_key(dataset: str, partition: AnyPartition) -> str:
    return f"failures/{dataset}/{partition.path}.json"


@overload
def read_manifest(store: Store, dataset: Dataset[F], partition: P) -> Manifest[P, F] | None: ...
@overload
def read_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any] | None: ...
def read_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any] | None:
    """The committed manifest, or None where nothing was committed yet."""
    try:
        return Manifest.from_json(store.get(manifest_key(dataset, partition)))
    except MissingInput:
        return None


@overload
def need_manifest(store: Store, dataset: Dataset[F], partition: P) -> Manifest[P, F]: ...
@overload
def need_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any]: ...
def need_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any]:
    """The committed manifest. Raises MissingInput, saying which dataset to build first."""
    manifest = read_manifest(store, dataset, partition)
    if manifest is None:
        raise MissingInput(
            f"{dataset} of {partition}",
            "it has not been made yet",
            f"Run `groundplan build {partition.options} --select {dataset}`",
        )
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A manifest in the store, found by listing: which partition of which dataset, and its object."""

    dataset: str
    year: int | None
    """None: of an image collection."""
    path: str
    """Of the partition below its dataset: `2024/delft`, `2024`, `fruits/apple-1f0c9a2b`, `fruits`."""
    found: Found

    @property
    def partition(self) -> Partition:
        """Region and year. Raises ValueError for a collection's, whose classes' names only manifests know."""
        if self.year is None:
            raise ValueError(f"{self.found.key} is of an image collection")
        return Partition(self.year, self.path.partition("/")[2])


def committed(store: Store, dataset: str | None = None, year: int | None = None) -> list[Committed]:
    """All that is committed, of one dataset, or of one year of it: one listing, by key. Raises StoreFailed."""
    prefix = "/".join(["manifests", *([dataset] if dataset else [])])
    if dataset and year is not None and (regions := store.list(f"{prefix}/{year}")):
        listed = [_committed(found) for found in regions]  # a listing of the year is enough where it is cut by region
    else:
        listed = [_committed(found) for found in store.list(prefix)]
    return [one for one in listed if one and year in (None, one.year)]


def _committed(found: Found) -> Committed | None:
    parts = found.key.removesuffix(".json").split("/", 2)
    if len(parts) != 3 or not found.key.endswith(".json"):
        return None
    return Committed(dataset=parts[1], year=year_of(parts[2].partition("/")[0]), path=parts[2], found=found)


def plan_fingerprint(version: str, plan: Iterable[Planned[Any]]) -> str:
    return fingerprint(version=version, objects=sorted([planned.name, planned.fingerprint] for planned in plan))


def is_current(manifest: Manifest[Any, Any] | None, version: str, plan: Sequence[Planned[Any]]) -> bool:
    """Whether what was committed is what would be made now."""
    return manifest is not None and manifest.fingerprint == plan_fingerprint(version, plan)
