"""Right to erasure and retention: forgetting images of people and places, and all that came from them.

Here: the place of the store, retention, forgetting, blurring of faces. Not here: metadata in files
(collections/images/metadata.py), which goes whenever a folder is brought in (ingest.py).

A bucket that keeps old versions of objects keeps what is forgotten here: switch versioning off, or let a lifecycle rule
end old versions. Backups are the operator's, and so is Dagster's own record of runs, which may hold file names and
small pictures in metadata. End builds of the collection before forgetting: a run that has read an image already may
still write what it made of it.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from groundplan.collections.descriptors import shards, visual_words
from groundplan.collections.files import (
    LOG,
    ROOM,
    collections,
    images_prefix,
    partition_of,
    read_memory,
    read_refused,
    write_memory,
    write_refused,
)
from groundplan.core.manifest import MARK, readable
from groundplan.core.partition import ClassPartition
from groundplan.core.store import Store
from groundplan.errors import MissingInput, StoreFailed
from groundplan.project import Project

# ------------------------------------------------------------------------------------------------- forgetting


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Result of a forgetting. rooms: objects of each dataset; log: key of the record, by digests, not by names."""

    images: int
    objects: int
    log: str
    rooms: dict[str, int]


def forget(project: Project, keys: Sequence[str]) -> Forgotten:
    """Erase images and all that came from them, and remember their digests, so that they do not come again.

    Gone afterwards: the images; their classes' catalogues and sums; the shards of features that hold them; components,
    reduced features, classifier, report and pictures of their collections, and the visual words, if they were learned
    from one of them; manifests that name any of these. Other shards stay, and the next build makes the rest anew. Ends
    the same when it is run again after it was killed. Raises MissingInput for a key that is no image of a collection,
    before anything is changed.
    """
    of_class = _by_class(keys)
    digests = _digests(project, of_class)
    log = f"{LOG}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.json"
    _write_log(project, log, "begun", digests, 0)
    images, derived = _what_goes(project, of_class, set(digests))
    project.store.delete(derived)
    project.store.delete(images)
    for partition, mine in of_class.items():
        _forget_names(project, partition, mine)
    _write_log(project, log, "done", digests, len(derived))
    return Forgotten(len(images), len(derived), log, rooms_of(derived))


def what_goes(project: Project, keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Dry run: keys of the images that are there, and of all that came from them. Raises MissingInput."""
    of_class = _by_class(keys)
    return _what_goes(project, of_class, set(_digests(project, of_class)))


def copies_of(project: Project, keys: Sequence[str]) -> list[str]:
    """Keys of the images, in any collection, that hold the same bytes as one of these under another name.

    Only what has the size of one of them is read. Raises MissingInput for a key that is no image's.
    """
    digests = set(_digests(project, _by_class(keys)))
    found = [item for name in collections(project) for item in project.store.list(f"{ROOM}/{name}")]
    sizes = {item.size for item in found if item.key in set(keys)} | _sizes_remembered(project, keys)
    others = [item.key for item in found if item.size in sizes and item.key not in set(keys)]
    return sorted(key for key in others if project.store.digest(key) in digests)


def _sizes_remembered(project: Project, keys: Sequence[str]) -> set[int]:
    """Sizes of images that are gone already, where a forgetting was killed half-way."""
    memory = {part: read_memory(project, part) for part in _by_class(keys)}
    return {int(lines[key][0]) for lines in memory.values() for key in keys if key in lines}


def alike(project: Project, keys: Sequence[str]) -> list[str]:
    """A hint: other images in one group with these, as the catalogues have it: a numbered series, or of one look."""
    from groundplan.collections import catalog

    found: list[str] = []
    for partition, mine in _by_class(keys).items():
        try:
            frame = catalog.load(project, partition)
        except MissingInput:
            continue
        groups = set(frame.loc[frame["key"].isin(mine), "group"]) - {""}
        found += [key for key in frame.loc[frame["group"].isin(groups), "key"] if key not in set(keys)]
    return sorted(found)


def _what_goes(
    project: Project, of_class: dict[ClassPartition, set[str]], digests: set[str]
) -> tuple[list[str], list[str]]:
    found = (derived_from(project, partition, mine, digests) for partition, mine in of_class.items())
    derived = sorted({key for part in found for key in part})
    there = {item.key for name in {p.collection for p in of_class} for item in project.store.list(f"{ROOM}/{name}")}
    return sorted(there & {key for mine in of_class.values() for key in mine}), derived


def rooms_of(keys: Sequence[str]) -> dict[str, int]:
    """How many of the objects belong to each dataset, and how many manifests, previews and the like there are."""
    return dict(sorted(Counter(key.partition("/")[0] for key in keys).items()))


def _by_class(keys: Sequence[str]) -> dict[ClassPartition, set[str]]:
    found: dict[ClassPartition, set[str]] = defaultdict(set)
    try:
        for key in keys:
            found[partition_of(key)].add(key)
    except ValueError as error:
        raise MissingInput(str(error), "nothing was removed", "Give keys as the catalogue has them") from error
    return found


def _digests(project: Project, of_class: dict[ClassPartition, set[str]]) -> list[str]:
    return sorted(filter(None, (_digest(project, key, part) for part, mine in of_class.items() for key in mine)))


def derived_from(project: Project, partition: ClassPartition, keys: set[str], digests: set[str]) -> list[str]:
    """Objects of all the collection's datasets that came from some images of a class, and manifests that name them."""
    from groundplan.collections.pipeline import STEPS

    store, collection = project.store, partition.collection
    gone: set[str] = set()
    for room in STEPS:
        for item in store.list(f"{room}/{collection}"):
            mine = item.key.startswith(f"{room}/{partition.path}/")
            if room in OF_ITS_CLASS and not mine:
                continue
            if room in ASKED and not item.key.endswith(MARK) and not _holds(store, room, item.key, keys, digests):
                continue
            gone.add(item.key)
    found = set(gone)
    for room in STEPS:
        for name in _named(project, f"manifests/{room}", collection):
            manifest = readable(store, name)  # one that tells nothing goes too: the next build writes it
            named = {made.key for made in manifest.objects.values()} if manifest else gone
            found |= {name} if gone & named else set()
        for advice in ("journal", "failures", "previews", "previews/small", "checkpoints"):
            found |= set(_named(project, f"{advice}/{room}", collection))
    return sorted(found | set(_named(project, f"previews/{ROOM}", collection)))  # the report's copy shows images


def _named(project: Project, room: str, collection: str) -> list[str]:
    """What lies in a room's folder of a collection, and the file that is named after it."""
    folder = [item.key for item in project.store.list(f"{room}/{collection}")]
    return folder + [item.key for item in project.store.below(room)[1] if item.key.startswith(f"{room}/{collection}.")]


def _holds(store: Store, room: str, key: str, keys: set[str], digests: set[str]) -> bool:
    """Whether an object holds one of the images; one that is damaged, and cannot tell, goes with them."""
    try:
        return ASKED[room](store.get(key), keys, digests)
    except StoreFailed:
        raise
    except Exception:
        return True


def _shard_holds(data: bytes, keys: set[str], digests: set[str]) -> bool:
    return bool(keys & set(shards.keys_of(data)))


def _words_hold(data: bytes, keys: set[str], digests: set[str]) -> bool:
    return bool(digests & set(visual_words.from_parquet(data).digests))


OF_ITS_CLASS = ("image_catalog", "image_features", "feature_sums")  # of other classes' images they know nothing
ASKED = {
    "image_features": _shard_holds,
    visual_words.DATASET: _words_hold,
}  # these can tell whether an image is in them


def _digest(project: Project, key: str, partition: ClassPartition) -> str:
    """SHA-256 of an image as it is stored, or as it was when it was last read; '' where nobody knows."""
    try:
        return project.store.digest(key)
    except MissingInput:
        return str(read_memory(project, partition).get(key, ["", "", ""])[2])


def _forget_names(project: Project, partition: ClassPartition, keys: set[str]) -> None:
    memory = read_memory(project, partition)
    if memory.keys() & keys:
        write_memory(project, partition, {key: line for key, line in memory.items() if key not in keys})
    refused = read_refused(project, partition)
    kept = [item for item in refused if f"{images_prefix(partition)}/{item.name}" not in keys]
    if len(kept) < len(refused):
        write_refused(project, partition, kept)


def _write_log(project: Project, key: str, state: str, digests: list[str], objects: int) -> None:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"state": state, "when": when, "sha256": digests, "objects": objects}
    project.store.put(key, json.dumps(record, indent=1).encode())


def expired(project: Project, now: datetime) -> list[str]:
    """Keys of images that the store has had for longer than `collections.retention_days`; `forget` takes them."""
    days = project.settings.collections.retention_days
    if days is None:
        return []
    found = [item for name in collections(project) for item in project.store.list(f"{ROOM}/{name}")]
    old = [item.key for item in found if item.modified < now - timedelta(days=days) and item.key.count("/") >= 3]
    return [key for key in old if not key.rsplit("/", 1)[-1].startswith(".")]  # a class's marker is no image
