"""What lies in the store: collections, classes, files and their digests.

Here: listings, and the memory of what was hashed. Not here: what the files are (catalog.py), how they came (intake.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from groundplan.collections.partition import ROOM, ClassPartition, images_prefix
from groundplan.collections.traffic import fetch
from groundplan.errors import MissingInput, StoreFailed
from groundplan.project import Project
from groundplan.store import Found

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
    """The bytes, if they are those that were catalogued. Raises StoreFailed."""
    if isinstance(data, MissingInput) or hashlib.sha256(data).hexdigest() != digest:
        reason = "it changed after it was catalogued"
        raise StoreFailed(project.store.uri(key), reason, "Run again: the catalogue first, then what follows")
    return data


def memory_key(partition: ClassPartition) -> str:
    return f"digests/{ROOM}/{partition.path}.json"


def read_memory(project: Project, partition: ClassPartition) -> dict[str, list[Any]]:
    """Key to [size, tag, SHA-256] of what was read before."""
    try:
        return dict(json.loads(project.store.get(memory_key(partition))))
    except (MissingInput, ValueError):
        return {}


def write_memory(project: Project, partition: ClassPartition, memory: Memory) -> None:
    project.store.put(memory_key(partition), json.dumps(dict(sorted(memory.items())), ensure_ascii=False).encode())
