"""Copy of a store: all of it or a part, into another store of any kind, to be gone on with wherever it was broken off.

Here: copying, comparing by SHA-256, notes of what is done, the order. Not here: where data may lie
(collections/residency.py), what is a part (store_rooms.py), options (orchestration/cli/store_copy.py).

Objects come first, then what names them, and manifests last: a manifest is written when each of its objects lies there
with the size that it states, so nobody ever reads half a partition. An object is read once, its SHA-256 taken on the
way and compared with its manifest's; then it is read back from where it was written. What is done is noted in the
target, below `copies/`, by size and tag of both sides; a run that is killed loses the last notes, and compares those
objects instead of copying them. An object that the target has otherwise is not touched, unless this copy wrote it or
somebody says so.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice

from groundplan.collections.files import forgotten_in
from groundplan.core.manifest import Manifest, disagreement, readable, sizes_of
from groundplan.core.progress import Advance, current_progress
from groundplan.core.records import FORMAT
from groundplan.core.store import CHUNK, Found, Store
from groundplan.errors import GroundplanError, MissingInput, NewerFormat
from groundplan.operations import store_rooms
from groundplan.operations.store_rooms import DATA, MANIFESTS, RECORDS, Chosen, folders, place_of, stage_of

AT_ONCE = 8  # objects on their way; each takes up to three chunks of 8 MiB
NOTED_AFTER, NOTED_EVERY = 200, 20.0  # objects or seconds, after which what is done is noted
MOST = 200  # of what was left, so many are named

COPIED, THERE = "copied", "there"
READ_BACK = "what was read back is not what was written: copy again, and look at the target store"

Row = tuple[int, str, str, str]
"""A note: size, tag at the source, SHA-256, tag in the target."""
Done = tuple[str, tuple[str, str]]
"""What was done with an object; its SHA-256 and its tag in the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What a copy is about: objects and bytes of a room in a year, None where it is of none."""

    room: str
    year: int | None
    objects: int
    bytes: int


@dataclass(kw_only=True)
class CopyResult:
    """What became of a copy. left: key and reason of what was not copied, MOST of `wrong`."""

    copied: int = 0
    copied_bytes: int = 0
    there: int = 0
    manifests: int = 0
    wrong: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    """All keys that were not copied: what names one of them is not copied either."""

    def leave(self, key: str, reason: str) -> None:
        self.wrong += 1
        self.failed.add(key)
        self.left += [(key, reason)] if len(self.left) < MOST else []


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePair:
    """From one store to another. overwrite: also what the target has otherwise. forgotten: SHA-256 of images that the
    target was told to forget.
    """

    source: Store
    target: Store
    chosen: Chosen
    at_once: int = AT_ONCE
    overwrite: bool = False
    forgotten: frozenset[str] = frozenset()


class _Left(Exception):
    """An object that is not copied, and why; the others go on."""


# ---------------------------------------------------------------------------------------------------- what there is


def survey(source: Store, chosen: Chosen) -> list[Volume]:
    """What would be copied, by room and year: every folder is listed once. Raises StoreFailed."""
    objects: Counter[tuple[str, int | None]] = Counter()
    sizes: Counter[tuple[str, int | None]] = Counter()
    for _, found in folders(source, chosen):
        for item in found:
            one = item.key.split("/", 1)[0], place_of(item.key)[0]
            objects[one] += 1
            sizes[one] += item.size
    order = sorted(objects, key=lambda one: (one[0], one[1] or 0))
    return [Volume(room=one[0], year=one[1], objects=objects[one], bytes=sizes[one]) for one in order]


# ---------------------------------------------------------------------------------------------------- copying


def copy(way: StorePair, volumes: Sequence[Volume]) -> CopyResult:
    """Copy what is chosen. volumes: of `survey`, for the progress. Raises StoreFailed where a store does not answer:
    what is copied by then stays, and the next copy goes on from there.
    """
    result = CopyResult()
    total = sum(volume.bytes for volume in volumes)
    with current_progress().task("copy", total, 0, of_bytes=True) as step:
        for stage in (DATA, RECORDS, MANIFESTS):
            for folder, found in folders(way.source, _of_stage(way.chosen, stage)):
                mine = [item for item in found if stage_of(item.key) == stage]
                if mine:
                    _Folder(way, folder, mine, result, step).copy(stage)
    return result


def _of_stage(chosen: Chosen, stage: int) -> Chosen:
    """The same keys, without listing all of a store for the few that name others."""
    rooms = {RECORDS: ("registers/", "models/", "regions/"), MANIFESTS: ("manifests/",)}.get(stage)
    if rooms is None:
        return chosen
    both = [max(room, one, key=len) for room in rooms for one in chosen.prefixes or ("",) if _meet(room, one)]
    return Chosen(year=chosen.year, region=chosen.region, prefixes=tuple(both) or ("\0",))


def _meet(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


class _Folder:
    """One folder on its way: its objects, what the target has of them, and the notes."""

    def __init__(self, way: StorePair, folder: str, found: list[Found], result: CopyResult, step: Advance) -> None:
        self.way, self.found, self.result, self.step = way, found, result, step
        self.there = {item.key: item for item in _listed(way.target, folder)}
        self.notes = _Notes(way, folder)
        self.digests = _digests(way.source, folder)

    def copy(self, stage: int) -> None:
        try:
            with ThreadPoolExecutor(self.way.at_once, thread_name_prefix="copy") as pool:
                for item, future in _sliding(
                    pool, self.found, lambda item: self._one(item, stage), 2 * self.way.at_once
                ):
                    self._count(item, stage, future)
        finally:
            self.notes.write()

    def _count(self, item: Found, stage: int, future: Future[Done]) -> None:
        try:
            what, (digest, tag) = future.result()
        except _Left as left:
            self.result.leave(item.key, str(left))
        except MissingInput:  # taken away at the source meanwhile
            pass
        else:
            self.result.copied += what == COPIED
            self.result.copied_bytes += item.size if what == COPIED else 0
            self.result.there += what == THERE
            self.result.manifests += stage == MANIFESTS
            self.notes.add(item, digest, tag)
        self.step(parts=item.size)

    def _one(self, item: Found, stage: int) -> Done:
        """Raises _Left, MissingInput, StoreFailed."""
        there = self.there.get(item.key)
        if there and (noted := self.notes.same(item, there)):
            return THERE, (noted, there.tag)
        if stage == DATA:
            return self._data(item, there)
        return self._text(item, there, stage)

    def _data(self, item: Found, there: Found | None) -> Done:
        wanted = self.digests.get(item.key, "")
        if there and there.size == item.size:
            digest = self.way.target.digest(item.key)
            if digest == (wanted or self.way.source.digest(item.key)):
                return THERE, (digest, there.tag)
        self._may_write(item.key, there)
        return COPIED, self._carry(item, wanted)

    def _carry(self, item: Found, wanted: str) -> tuple[str, str]:
        """Copy an object and read it back: its SHA-256 and its tag in the target."""
        source, target, key = self.way.source, self.way.target, item.key
        if item.size <= CHUNK:
            data = source.get(key)
            digest = hashlib.sha256(data).hexdigest()
            self._may_lie(key, digest, wanted)
            target.put(key, data)
        else:
            seen: list[str] = []
            target.put_chunks(key, lambda: self._chunks(item, wanted, seen))
            digest = seen[-1]
        if target.digest(key) != digest:
            raise _Left(READ_BACK)
        return digest, target.head(key).tag

    def _chunks(self, item: Found, wanted: str, seen: list[str]) -> Iterator[bytes]:
        """A large object, each chunk asked for with the store's patience. What is raised at its end, before the last
        chunk is gone, leaves nothing in the target. seen: gets the SHA-256.
        """
        source, total, data = self.way.source, hashlib.sha256(), b""
        for start in range(0, item.size, CHUNK):
            if start:
                yield data
            data = source.part(item.key, start, min(CHUNK, item.size - start))
            total.update(data)
        if source.head(item.key).tag != item.tag:
            raise _Left("it was changed while it was copied: copy again")
        seen.append(total.hexdigest())
        self._may_lie(item.key, seen[-1], wanted)
        yield data

    def _may_lie(self, key: str, digest: str, wanted: str) -> None:
        """Raises _Left for what is damaged at the source, and for images that the target was told to forget."""
        if wanted and digest != wanted:
            raise _Left("it is damaged at the source: its content is not what was made. Run `groundplan verify` there")
        if digest in self.way.forgotten and key.startswith("collections/"):
            raise _Left("the target was told to forget this image. Run `groundplan forget` at the source too")

    def _text(self, item: Found, there: Found | None, stage: int) -> Done:
        """A record or manifest: small, and written only where all that it names was copied."""
        source, target, key = self.way.source, self.way.target, item.key
        data = source.get(key)
        digest = hashlib.sha256(data).hexdigest()
        if there and there.size == len(data) and target.digest(key) == digest:
            return THERE, (digest, there.tag)
        self._may_write(key, there)
        if stage == MANIFESTS:
            self._whole(data, key)
        elif lost := next((one for one in self.result.failed if one in data.decode("utf-8", "replace")), ""):
            raise _Left(f"it names {lost}, which was not copied")
        target.put(key, data)
        if target.get(key) != data:
            raise _Left(READ_BACK)
        return COPIED, (digest, target.head(key).tag)

    def _whole(self, data: bytes, key: str) -> None:
        """Raises _Left where the target lacks an object of a manifest; one that came since is copied now."""
        try:
            manifest = Manifest.from_json(data, key)
        except GroundplanError as error:
            raise _Left(f"{error.reason}. {error.remedy}") from error
        sizes = sizes_of(self.way.target, manifest.dataset, manifest.partition)
        for made in manifest.objects.values():
            if not disagreement(made, sizes):
                continue
            if made.key in self.result.failed or not self.way.chosen.takes(made.key):
                raise _Left(f"its object {made.key} was not copied")
            try:
                self._carry(self.way.source.head(made.key), made.sha256)
            except MissingInput as error:
                raise _Left(f"its object {made.key} is gone at the source: run `groundplan build` there") from error

    def _may_write(self, key: str, there: Found | None) -> None:
        if there and not self.way.overwrite and not self.notes.ours(there):
            raise _Left("the target has another one, which this copy did not write. --overwrite replaces it")


# ---------------------------------------------------------------------------------------------------- notes


class _Notes:
    """What is done of a folder, in the target: by key size and tag at the source, SHA-256, tag in the target."""

    def __init__(self, way: StorePair, folder: str) -> None:
        mark = hashlib.sha256(way.source.url.rstrip("/").encode()).hexdigest()[:16]
        self.store, self.source = way.target, way.source.url
        self.key = f"{store_rooms.COPIES}/{mark}/{folder or 'root'}.json"
        self.rows = _rows(way.target, self.key)
        self.new, self.at = 0, time.monotonic()

    def same(self, item: Found, there: Found) -> str:
        """SHA-256 of an object that both sides have as it was copied; '' where that is not known."""
        row = self.rows.get(item.key)
        return row[2] if row and row == (item.size, item.tag, row[2], there.tag) else ""

    def ours(self, there: Found) -> bool:
        """Whether what lies in the target was written by such a copy, and by nobody since."""
        row = self.rows.get(there.key)
        return row is not None and row[3] == there.tag

    def add(self, item: Found, digest: str, tag: str) -> None:
        row = (item.size, item.tag, digest, tag)
        if self.rows.get(item.key) != row:
            self.rows[item.key] = row
            self.new += 1
        if self.new >= NOTED_AFTER or (self.new and time.monotonic() - self.at > NOTED_EVERY):
            self.write()

    def write(self) -> None:
        if self.new:
            record = {"format": FORMAT, "from": self.source, "objects": self.rows}
            self.store.put(self.key, json.dumps(record, ensure_ascii=False).encode())
        self.new, self.at = 0, time.monotonic()


def _rows(store: Store, key: str) -> dict[str, Row]:
    """Notes of an earlier copy; none where they cannot be read: then objects are compared."""
    try:
        rows = json.loads(store.get(key))["objects"]
        return {
            str(name): (int(size), str(tag), str(sha), str(there)) for name, (size, tag, sha, there) in rows.items()
        }
    except (MissingInput, ValueError, KeyError, TypeError, AttributeError):
        return {}


# ---------------------------------------------------------------------------------------------------- pieces


def _listed(target: Store, folder: str) -> Iterable[Found]:
    """What the target has in a folder, as deep as the source's was listed."""
    return target.list(folder) if folder.count("/") == store_rooms.DEPTH - 1 else target.below(folder)[1]


def _digests(source: Store, folder: str) -> Mapping[str, str]:
    """SHA-256 by key of a folder's objects, as its manifest states them; nothing for what has none."""
    try:
        manifest = readable(source, f"manifests/{folder}.json") if folder.count("/") else None
    except (NewerFormat, ValueError):
        return {}
    return {made.key: made.sha256 for made in manifest.objects.values() if made.sha256} if manifest else {}


def _sliding(
    pool: ThreadPoolExecutor, items: Iterable[Found], work: Callable[[Found], Done], most: int
) -> Iterator[tuple[Found, Future[Done]]]:
    """Each item with its finished future; at most so many are under way."""
    left = iter(items)
    under = {pool.submit(work, item): item for item in islice(left, most)}
    while under:
        done, _ = wait(under, return_when=FIRST_COMPLETED)
        for future in done:
            yield under.pop(future), future
        for item in islice(left, len(done)):
            under[pool.submit(work, item)] = item


def forgotten_of(target: Store) -> frozenset[str]:
    """SHA-256 of images that a store was told to forget: none of them comes back by a copy. Raises Damaged."""
    return frozenset(forgotten_in(target))
