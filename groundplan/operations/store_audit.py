"""Store audit: what manifests promise and the store holds, and what no manifest names.

Here: comparing, noting what is damaged, and finding garbage. Not here: what people gave (source_audit.py), and making
anything again: a build does, of what is gone, of another size, or noted here.

Sizes of all objects are compared each time, by listings. Contents are read, a share each week, so that every object is
read once a year: which week an object's turn is follows from its key. What is not what was made is marked in the store
(core/manifest.py), so `status` says so and the next build makes it again; its partition is noted where a night, which
lists no dataset's objects, sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from groundplan.core.manifest import (
    MARK,
    Committed,
    Made,
    Manifest,
    committed,
    content_reason,
    damage_key,
    disagreement,
    manifest_key,
    mark_damaged,
)
from groundplan.core.progress import current_progress
from groundplan.core.records import AGAIN, write_record
from groundplan.core.store import Found
from groundplan.errors import Damaged, GroundplanError, MissingInput, NewerFormat
from groundplan.monitoring import report
from groundplan.operations.agreement import Agreement, Finding, Turn, agreement_of
from groundplan.operations.source_audit import check_sources
from groundplan.pipeline import STEPS
from groundplan.project import Project

WEEKS = 52  # in which every object's content is read once
READERS = 8  # objects read at a time


def week_of(when: datetime) -> int:
    """The week that a time falls into, counted without end: 52 in a row hold every object's turn."""
    return int(when.timestamp() // (7 * 86400))


def turn_of(week: int) -> Turn:
    """A fifty-second part of all objects, by their keys."""
    return lambda key: int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % WEEKS == week % WEEKS


def check(project: Project, turn: Turn | None = None, adopt: bool = False) -> Agreement:
    """Compare all manifests with the store, of imagery and of collections, and registers and regions with what was
    taken in. Raises StoreFailed.

    turn: of whose objects the contents are read too, and marked where they are not what was made. adopt: write down
    the SHA-256 of objects that have none, as they are now.

    One listing of the manifests and one of each dataset and year or collection, so that memory holds one of them. An
    object that was replaced while this runs is looked at again before it is called wrong.
    """
    found = check_sources(project, turn, adopt)
    noted = {item.key for item in project.store.list("damaged")}
    rooms = list(_rooms(project))
    total = sum(len(manifests) for _, manifests in rooms)
    with current_progress().task("verify", total, 0) as step:
        for prefix, manifests in rooms:
            sizes = {item.key: item.size for item in project.store.list(prefix)}
            for one in manifests:
                looked = _look(project, one, sizes, turn, adopt)
                _note(project, one, looked, noted)
                found += looked
                step(looked.read_bytes)
    return found


def _note(project: Project, one: Committed, looked: Agreement, noted: set[str]) -> None:
    """Note a damaged partition where a listing shows it, and take away the note of one that is whole again."""
    key = damage_key(one.dataset, one.path)
    if looked.findings and not looked.newer:
        write_record(project.store, key, {one.key: one.reason for one in looked.findings})
    elif looked.manifests and key in noted:
        project.store.delete([key])


def _rooms(project: Project) -> Iterator[tuple[str, list[Committed]]]:
    """Prefix of each dataset and year, or dataset and collection, with its manifests."""
    from groundplan.collections import pipeline as collections

    rooms: dict[str, list[Committed]] = {}
    for one in committed(project.store):
        if one.dataset in STEPS or one.dataset in collections.STEPS:
            rooms.setdefault(f"{one.dataset}/{one.path.partition('/')[0]}", []).append(one)
    yield from rooms.items()


def _look(project: Project, one: Committed, sizes: Mapping[str, int], turn: Turn | None, adopt: bool) -> Agreement:
    key = one.found.key
    try:
        data = project.store.get(key)
    except MissingInput:  # taken away since the listing
        return Agreement()
    try:
        manifest = _manifest(data, key)
    except GroundplanError as error:
        found_one = agreement_of([Finding(key, key, error.reason, error.remedy)], manifests=1)
        return replace(found_one, newer=int(isinstance(error, NewerFormat)))
    made = list(manifest.objects.values())
    found = {one.key: one for one in _disagreements(project, key, manifest, sizes)}
    marked = {each.key for each in made if each.key + MARK in sizes and sizes.get(each.key) == each.bytes}
    wanted = [
        each
        for each in made
        if turn is not None
        and (each.sha256 or adopt)
        and (each.key in marked or (each.key not in found and turn(each.key)))
    ]
    read = list(_read(project, key, manifest, wanted))
    for each, _, finding in read:
        found |= {each.key: finding} if finding else {}
        if finding is None and each.sha256 and each.key in marked:  # somebody put back what was made
            del found[each.key]
            project.store.delete([each.key + MARK])
    unknown = sum(not each.sha256 for each in made)
    if adopt and (new := {each.key: digest for each, digest, _ in read if not each.sha256 and digest}):
        unknown -= _adopt(project, key, data, manifest, new)
    return replace(
        agreement_of(list(found.values()), manifests=1),
        objects=len(made),
        read=len(read),
        read_bytes=sum(each.bytes for each, _, _ in read),
        unknown=unknown,
    )


def _manifest(data: bytes, key: str) -> Manifest[Any, Any]:
    manifest = Manifest.from_json(data, key)
    if manifest_key(manifest.dataset, manifest.partition) != key:
        raise Damaged(key, f"it is the manifest of {manifest.dataset} of {manifest.partition}", AGAIN)
    return manifest


def _remedy(manifest: Manifest[Any, Any]) -> str:
    run = f"`groundplan build {manifest.partition.options}`"
    return f"Run {run}, or materialize {manifest.dataset} of {manifest.partition}: only it is made again"


def _disagreements(
    project: Project, key: str, manifest: Manifest[Any, Any], sizes: Mapping[str, int]
) -> Iterator[Finding]:
    for made in manifest.objects.values():
        reason = disagreement(made, sizes)
        if reason and made.key + MARK not in sizes:  # a remade partition's objects are newer than the listing
            reason = _now(project, made)
        if reason:
            yield Finding(key, made.key, reason, _remedy(manifest))


def _now(project: Project, made: Made[Any]) -> str:
    try:
        return disagreement(made, {made.key: project.store.head(made.key).size})
    except MissingInput:
        return disagreement(made, {})


def _read(
    project: Project, key: str, manifest: Manifest[Any, Any], mine: Iterable[Made[Any]]
) -> Iterator[tuple[Made[Any], str, Finding | None]]:
    """Each object with the SHA-256 of what it holds, and what is wrong with that; such a one is marked."""

    def look(made: Made[Any]) -> tuple[Made[Any], str, Finding | None]:
        try:
            digest = project.store.digest(made.key)
        except MissingInput:  # replaced since, or gone: the next look at sizes tells
            return made, "", None
        reason = content_reason(made, made.bytes, digest)
        if not reason:
            return made, digest, None
        mark_damaged(project.store, made.key, reason)
        return made, digest, Finding(key, made.key, reason, _remedy(manifest))

    with ThreadPoolExecutor(READERS, thread_name_prefix="verify") as pool:
        yield from pool.map(look, mine)


def _adopt(project: Project, key: str, data: bytes, manifest: Manifest[Any, Any], new: Mapping[str, str]) -> int:
    """Write down SHA-256 that were not known; nothing where somebody wrote the manifest meanwhile."""
    if project.store.get(key) != data:
        return 0
    objects = {
        name: replace(made, sha256=made.sha256 or new.get(made.key, "")) for name, made in manifest.objects.items()
    }
    project.store.put(key, replace(manifest, objects=objects).to_json())
    return len(new)


def garbage(project: Project, hours: float) -> list[Found]:
    """Objects of datasets that neither a manifest nor the registry names, and leftovers of what is committed.

    Sorted by key.

    Of a partition whose manifest cannot be read nothing is garbage.
    """
    from groundplan import registry
    from groundplan.collections import pipeline as collections

    objects = project.store.list()
    named: set[str] = set()
    unread: list[str] = []
    for one in committed(project.store):
        try:
            manifest = Manifest.from_json(project.store.get(one.found.key))
        except GroundplanError:
            unread.append(f"{one.dataset}/{one.path}/")
            continue
        named |= {made.key for made in manifest.objects.values()}
    # a version that was replaced is what rolling back leads to
    named |= {entry.key for name in registry.names(project.store) for entry in registry.entries(project.store, name)}
    young = datetime.now(UTC) - timedelta(hours=hours)
    rooms = {*STEPS, *collections.STEPS, report.DATASET, "checkpoints", "journal"}
    return [
        item
        for item in objects
        if item.key.split("/", 1)[0] in rooms
        and item.key.removesuffix(MARK) not in named
        and not item.key.startswith(tuple(unread))
        and item.modified <= young
    ]
