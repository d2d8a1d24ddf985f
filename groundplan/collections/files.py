"""Collection files: where delivered images lie, and what is remembered of them.

Here: names, listings and the small records beside them. Not here: taking images in (ingest.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from groundplan.core.bulk import fetch
from groundplan.core.partition import ClassPartition
from groundplan.core.records import read_record, remembered_digests
from groundplan.core.store import Found, Store
from groundplan.errors import BadConfig, Damaged, MissingInput, StoreFailed
from groundplan.project import Project

Memory = Mapping[str, Sequence[Any]]  # key to [size, tag, SHA-256]


def collections(project: Project) -> list[str]:
    """Names of all collections of which anything was delivered, sorted."""
    return project.store.below(ROOM)[0]


def classes(project: Project, collection: str) -> list[ClassPartition]:
    """The classes of a collection, by exact name; those without an image too."""
    labels = project.store.below(f"{ROOM}/{collection}")[0]
    return [ClassPartition(collection, label) for label in labels if not label.startswith(".")]


def delivered(project: Project, partition: ClassPartition) -> list[Found]:
    """All files of a class but hidden ones, sorted by key."""
    found = project.store.list(images_prefix(partition))
    return [item for item in found if not item.key.rsplit("/", 1)[-1].startswith(".")]


A_LINK = "it is a link or no file, and none is followed. Put the files themselves there"


def links(project: Project, collection: str = "") -> list[str]:
    """Keys of what lies in a collection's folder, or in any's, and is no file: links, devices. Nothing reads them."""
    prefix = f"{ROOM}/{collection}/" if collection else ROOM
    return [key for key in project.store.odd_files(ROOM) if f"{key}/".startswith(prefix)]


def image_digests(project: Project, partition: ClassPartition, found: Sequence[Found]) -> dict[str, str]:
    """Key to SHA-256 of each file; read once per version of an object, '' for one with more than max_bytes.

    What was read is remembered in `digests/`, by size and tag; losing that costs only time.
    """
    settings = project.settings.collections
    known = read_memory(project, partition)
    memory = {i.key: known[i.key] for i in found if known.get(i.key, [])[:2] == [i.size, i.tag]}
    fresh = [item for item in found if item.key not in memory and item.size <= settings.max_bytes]
    sizes = {item.key: item for item in fresh}
    for name, data in fetch(project.store, [(item.key, item.size) for item in fresh], settings.concurrency):
        if isinstance(data, bytes):
            memory[name] = [sizes[name].size, sizes[name].tag, hashlib.sha256(data).hexdigest()]
    if memory != known:
        write_memory(project, partition, memory)
    return {item.key: memory[item.key][2] if item.key in memory else "" for item in found}


def check_same(project: Project, key: str, data: bytes | MissingInput, digest: str) -> bytes:
    """Check that bytes are those that were cataloged, and return them. Raises StoreFailed."""
    if isinstance(data, MissingInput) or hashlib.sha256(data).hexdigest() != digest:
        reason = "it changed after it was catalogued"
        raise StoreFailed(project.store.uri(key), reason, "Run again: the catalogue first, then what follows")
    return data


def memory_key(partition: ClassPartition) -> str:
    return f"digests/{ROOM}/{partition.path}.json"


def read_memory(project: Project, partition: ClassPartition) -> dict[str, list[Any]]:
    """Remembered digests: key to [size, tag, SHA-256] of what was read before."""
    return remembered_digests(project.store, memory_key(partition))


def write_memory(project: Project, partition: ClassPartition, memory: Memory) -> None:
    project.store.put(memory_key(partition), json.dumps(dict(sorted(memory.items())), ensure_ascii=False).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFile:
    """A file that was not copied. name: below its class folder."""

    name: str
    state: str
    reason: str
    remedy: str
    bytes: int = 0


def refused_key(partition: ClassPartition) -> str:
    return f"refused/{ROOM}/{partition.path}.json"


def read_refused(project: Project, partition: ClassPartition) -> list[RefusedFile]:
    """Files that the last copies of this class left out, by name. A list that cannot be read is named in its place."""
    key = refused_key(partition)
    try:
        rows = json.loads(project.store.get(key))
        if not isinstance(rows, list):
            raise TypeError("it is no list")
        return [_refused(row) for row in rows]
    except MissingInput:
        return []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        reason = "the list of files that were left out cannot be read"
        return [RefusedFile(name=key, state="unknown", reason=reason, remedy="Remove it, and add the collection again")]


def _refused(row: Mapping[str, Any]) -> RefusedFile:
    """Raises TypeError, KeyError for what is none."""
    texts = {name: row[name] for name in ("name", "state", "reason", "remedy")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a text is none")
    return RefusedFile(**texts, bytes=int(row.get("bytes", 0)))


def write_refused(project: Project, partition: ClassPartition, refused: list[RefusedFile]) -> None:
    rows = [asdict(item) for item in refused]
    project.store.put(refused_key(partition), json.dumps(rows, ensure_ascii=False, indent=1).encode())


ROOM = "collections"  # delivered images lie below it: collections/<collection>/<class folder>/<file>
MARKER = ".class"  # an empty object that keeps an empty class visible in a bucket, which knows no folders
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def images_prefix(partition: ClassPartition) -> str:
    """Prefix of a class's delivered images, or of a collection's."""
    whole = f"{ROOM}/{partition.collection}"
    return f"{whole}/{partition.label}" if partition.label else whole


def partition_of(key: str) -> ClassPartition:
    """Of a delivered image's key. Raises ValueError for a key of something else."""
    parts = key.split("/")
    if len(parts) < 4 or parts[0] != ROOM:
        raise ValueError(f"{key} is no image of a collection")
    return ClassPartition(parts[1], parts[2])


def check_collection_name(name: str) -> str:
    """Check of a collection's name, which is part of object keys and of partition keys. Raises BadConfig."""
    if not _NAME.fullmatch(name):
        raise BadConfig(
            f"collection name {name!r}",
            "it cannot be part of a path and of a partition key",
            "Use small letters, digits, _ and -, beginning with a letter or digit, at most 40",
        )
    return name


LOG = "forgotten"


def forgotten_digests(project: Project) -> set[str]:
    """SHA-256 of all images that were to be forgotten.

    Raises Damaged, NewerFormat: a list that cannot be read must not let an image come back.
    """
    return forgotten_in(project.store)


def forgotten_in(store: Store) -> set[str]:
    """The same of a store, whosoever project it is of."""
    return {digest for item in store.list(LOG) for digest in _forgotten(store, item.key)}


def _forgotten(store: Store, key: str) -> list[str]:
    remedy = "Restore it from a copy; without it nobody knows which images must not come back"
    digests = read_record(store, key, remedy).get("sha256")
    if not isinstance(digests, list) or not all(isinstance(digest, str) for digest in digests):
        raise Damaged(store.uri(key), "it cannot be read (it lists no digests)", remedy)
    return digests
