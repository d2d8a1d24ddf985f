"""Manifest: the committed list of a partition's objects; fingerprints and keys.

Here: what a manifest says, reading it, comparing it with a plan and with what lies in the store. Not here: making
objects (materialize.py), or looking at all of them (operations/store_audit.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, overload

from groundplan.core.partition import AnyPartition, P, Partition, partition_of_json, year_of
from groundplan.core.records import AGAIN, FORMAT, parse_record, write_record
from groundplan.core.store import Found, Store
from groundplan.errors import Damaged, GroundplanError, MissingInput, NewerFormat

MARK = ".damaged"
"""Ends the key of a small record beside an object whose content was found to be other than what was made: the object
counts as lost, and is made again. A record of its own, so that one listing shows it, and nothing else must be read."""
REMAKE = "Remove it and build again: only it is made anew"

A = TypeVar("A")
T = TypeVar("T")
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
    sha256: str = ""
    """Of the bytes that were written; '' where a version before format 1.1 made it."""

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any]) -> Made[Any]:
        """Of a JSON object; unknown keys are ignored: a newer version's. Raises ValueError, TypeError, KeyError."""
        kept = {name: value for name, value in raw.items() if name in _MADE}
        made = cls(**kept | {"inputs": tuple(raw["inputs"])})
        texts = (made.name, made.key, made.fingerprint, made.run, made.sha256, *made.inputs)
        numbers = (made.bytes, made.seconds, made.cpu_seconds)
        if not all(isinstance(text, str) for text in texts) or not isinstance(made.facts, dict):
            raise TypeError("a text is none")
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise TypeError("a number is none")
        return made


_MADE = frozenset(one.name for one in fields(Made))


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What was written of an object that no manifest names: a register's part."""

    bytes: int
    sha256: str

    @classmethod
    def from_raw(cls, raw: object) -> Content | None:
        """Of a record's JSON; None for what is none, as where an older version wrote it."""
        size, digest = (raw.get("bytes"), raw.get("sha256")) if isinstance(raw, dict) else (None, None)
        known = isinstance(size, int) and isinstance(digest, str) and len(digest) == 64
        return cls(bytes=size, sha256=digest) if known else None  # type: ignore[arg-type]


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
        raw = {"format": FORMAT, **asdict(self)}
        return json.dumps(raw, indent=1, sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes, thing: str = "the manifest") -> Manifest[Any, Any]:
        """thing: what the errors name. Raises Damaged for what is no manifest, NewerFormat."""
        raw = parse_record(data, thing)
        try:
            objects = {name: Made.from_raw(made) for name, made in raw["objects"].items()}
            kept = {name: raw[name] for name in _MANIFEST if name in raw}
            texts = [kept["dataset"], kept["version"], kept["fingerprint"], kept.get("committed", ""), *objects]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("a text is none")
            kept["seconds"] = float(kept.get("seconds", 0.0))
            return Manifest(objects=objects, partition=partition_of_json(raw["partition"]), **kept)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = f"it cannot be read ({type(error).__name__}: {str(error)[:80]})"
            raise Damaged(thing, told, AGAIN) from error


_MANIFEST = frozenset(one.name for one in fields(Manifest)) - {"objects", "partition"}


def content_of(data: bytes) -> Content:
    return Content(bytes=len(data), sha256=sha256_of(data))


def sha256_of(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


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


def damage_key(dataset: str, path: str) -> str:
    """The key of the note that something of a partition is damaged. path: of the partition below its dataset."""
    return f"damaged/{dataset}/{path}.json"


@overload
def read_manifest(store: Store, dataset: Dataset[F], partition: P) -> Manifest[P, F] | None: ...
@overload
def read_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any] | None: ...
def read_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any] | None:
    """The committed manifest, or None where nothing was committed yet. Raises Damaged, NewerFormat."""
    key = manifest_key(dataset, partition)
    try:
        data = store.get(key)
    except MissingInput:
        return None
    manifest = Manifest.from_json(data, store.uri(key))
    if (manifest.dataset, manifest.partition) != (dataset, partition):
        other = f"it is the manifest of {manifest.dataset} of {manifest.partition}"
        raise Damaged(store.uri(key), other, AGAIN)
    return manifest


def readable_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any] | None:
    """As `read_manifest`, and None too where it is broken: for who can do without, or writes it anew."""
    try:
        return read_manifest(store, dataset, partition)
    except Damaged:
        return None


def readable(store: Store, key: str) -> Manifest[Any, Any] | None:
    """The manifest of a key; None where it is gone, broken or newer: for who counts what there is."""
    try:
        return Manifest.from_json(store.get(key))
    except (MissingInput, NewerFormat):
        return None


@overload
def need_manifest(store: Store, dataset: Dataset[F], partition: P) -> Manifest[P, F]: ...
@overload
def need_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any]: ...
def need_manifest(store: Store, dataset: str, partition: P) -> Manifest[P, Any]:
    """The committed manifest. Raises MissingInput, saying which dataset to build first; Damaged, NewerFormat."""
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


# ------------------------------------------------------------------------------- what was made, and what is there


def sizes_of(store: Store, dataset: str, partition: AnyPartition) -> dict[str, int]:
    """Key to bytes of all that lies there of a partition, marks too: one listing. Raises StoreFailed."""
    return {found.key: found.size for found in store.list(f"{dataset}/{partition.path}")}


def disagreement(made: Made[Any], sizes: Mapping[str, int]) -> str:
    """Why an object is not what was made, as far as a listing tells; '' where it is."""
    if made.key not in sizes:
        return "the manifest names it and the store does not hold it"
    if sizes[made.key] != made.bytes:
        return f"it has {sizes[made.key]} bytes and the manifest says {made.bytes}"
    return "its content is not what was made" if made.key + MARK in sizes else ""


def damaged(manifest: Manifest[Any, Any], sizes: Mapping[str, int]) -> dict[str, str]:
    """Key of each object that is not what was made, to why. sizes: of `sizes_of`."""
    found = {made.key: disagreement(made, sizes) for made in manifest.objects.values()}
    return {key: reason for key, reason in found.items() if reason}


def is_whole(store: Store, manifest: Manifest[Any, Any]) -> bool:
    """Whether all objects of a manifest are there, with their sizes. One listing."""
    return not damaged(manifest, sizes_of(store, manifest.dataset, manifest.partition))


def mark_damaged(store: Store, key: str, reason: str) -> None:
    """Note that an object's content is not what was made: the next build makes it again."""
    record = {"reason": reason, "when": datetime.now(UTC).isoformat(timespec="seconds")}
    write_record(store, key + MARK, record)


def content_reason(made: Made[Any] | Content, size: int, sha256: str) -> str:
    """Why bytes are not those that were made; '' where they are, or nobody wrote down what was made."""
    if size != made.bytes:
        record = "manifest" if isinstance(made, Made) else "record"
        return f"it has {size} bytes and the {record} says {made.bytes}"
    if made.sha256 and sha256 != made.sha256:
        return f"its content is not what was made (SHA-256 {sha256[:12]}..., made {made.sha256[:12]}...)"
    return ""


def read_object(store: Store, made: Made[Any]) -> bytes:
    """A whole object, checked to be what was made. Raises MissingInput, Damaged."""
    return checked(store.get(made.key), made, store.uri(made.key))


def checked(data: bytes, made: Made[Any] | Content, thing: str, remedy: str = REMAKE) -> bytes:
    """The bytes of a whole object. thing: what the error names. Raises Damaged where they are not what was made."""
    if reason := content_reason(made, len(data), sha256_of(data) if made.sha256 else ""):
        raise Damaged(thing, reason, remedy)
    return data


def load_object(store: Store, made: Made[Any], parse: Callable[[bytes], T]) -> T:
    """As `read_object`, parsed. Raises Damaged also where the bytes of an older version cannot be parsed."""
    return parsed(read_object(store, made), parse, store.uri(made.key))


def parsed(data: bytes, parse: Callable[[bytes], T], thing: str, remedy: str = REMAKE) -> T:
    """What an object's bytes hold. thing: what the error names. Raises Damaged where they cannot be parsed."""
    try:
        return parse(data)
    except GroundplanError:
        raise
    except Exception as error:  # of bytes that may be anything a library can raise anything
        reason = f"it is damaged ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]})"
        raise Damaged(thing, reason, remedy) from error
