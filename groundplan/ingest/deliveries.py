"""Deliveries: what lies in the landing folder, and what was asked for before.

Here: listings cut by region and year, the headers of new sheets, and the small records below `arrivals/`. Not here:
what is decided from them (decide.py), when it is looked at (scan.py), or loose files (loose_files.py).

    arrivals/known/<year>.json                          every region: generation, state, bounds of its ground
    arrivals/sheets/<region>/<year>/<generation>.json   the delivery that was asked for: files, contents, outlines

A record of the next generation may lie there before it counts: it is where headers are kept that were read already.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, cast

from groundplan.core.grid import Bounds
from groundplan.core.manifest import (
    fingerprint,
    load_object,
    read_manifest,
)
from groundplan.core.parallel import in_parallel
from groundplan.core.partition import Partition
from groundplan.core.records import remembered_digests
from groundplan.core.store import Found, Store
from groundplan.errors import GroundplanError, MissingInput, StoreFailed
from groundplan.imagery import catalog, tiles
from groundplan.imagery.landing import REFERENCE, digests_key, partition_of_key
from groundplan.imagery.ownership import Outline, bounds_of, near, touched
from groundplan.imagery.regions import readable_polygons
from groundplan.ingest.decide import Change, KnownDelivery, state_of
from groundplan.ingest.looking import look_at
from groundplan.project import Project

MOST_DIGEST = 2**30  # bytes of a local file that are read to see whether it is the same again


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """Record of a delivered file. content: the same for the same bytes, as far as that is known cheaply."""

    size: int
    tag: str
    content: str
    outline: Outline = ()  # of a sheet
    why: str = ""  # no outline: what is wrong with the file


Delivery = Mapping[str, FileRecord]
"""By key."""


# -------------------------------------------------------------------------------------------------- listings


@dataclass(frozen=True)
class Listing:
    """Listing of one region's folder: by year, directly in it, and where no region and year can be made of."""

    region: str
    by_year: Mapping[Partition, list[Found]]
    loose: list[Found]
    lost: list[Found]


def list_region(store: Store, region: str) -> Listing:
    """List a region's folder. Raises StoreFailed: a listing that failed is not an empty one."""
    by_year: dict[Partition, list[Found]] = {}
    loose: list[Found] = []
    lost: list[Found] = []
    for item in store.list(f"landing/{region}"):
        partition = partition_of_key(item.key)
        if partition:
            by_year.setdefault(partition, []).append(item)
        else:
            (loose if item.key.count("/") == 2 else lost).append(item)
    return Listing(region, by_year, loose, lost)


# --------------------------------------------------------------------------------------------------- records


def load_known(store: Store) -> dict[Partition, KnownDelivery]:
    """Every partition's delivery that was asked for last. Raises StoreFailed."""
    records = {item.key: item.tag for item in store.list("arrivals/known") if item.key.endswith(".json")}
    read = [key for key, tag in records.items() if _PARSED.get((store.url, key), ("", {}))[0] != tag]
    parsed = {key: _parsed(key, data) for key, data in zip(read, in_parallel(store.get, read), strict=True)}
    if not store.url.startswith("memory"):  # of which a process may have many, all of one name
        _PARSED.update({(store.url, key): (records[key], items) for key, items in parsed.items()})
    known: dict[Partition, KnownDelivery] = {}
    for key in records:
        known |= parsed[key] if key in parsed else _PARSED[store.url, key][1]
    return known


_PARSED: dict[tuple[str, str], tuple[str, dict[Partition, KnownDelivery]]] = {}
"""Of each year's record its tag and what it says: reading 16,200 lines again each round would take a third of it."""


def _parsed(key: str, data: bytes) -> dict[Partition, KnownDelivery]:
    year = int(key.rsplit("/", 1)[-1].removesuffix(".json"))
    return {
        Partition(year, region): KnownDelivery(generation, state, box)
        for region, (generation, state, box) in _known_lines(data).items()
    }


def _known_lines(data: bytes) -> dict[str, tuple[int, str, Bounds | None]]:
    """Of a year's record. A line of any other form is as if it were not there: its delivery is asked for again, and
    what was made is found made."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    found = raw.items() if isinstance(raw, dict) else ()
    return {
        region: (generation, state, cast(Bounds, tuple(box)) if box else None)
        for region, (generation, state, box) in ((region, line) for region, line in found if _is_known(line))
    }


def _is_known(line: object) -> bool:
    if not isinstance(line, list) or len(line) != 3:
        return False
    generation, state, box = line
    numbers = box is None or (
        isinstance(box, list) and len(box) in (0, 4) and all(isinstance(edge, (int, float)) for edge in box)
    )
    return isinstance(generation, int) and isinstance(state, str) and numbers


def remember(store: Store, new: Mapping[Partition, KnownDelivery]) -> None:
    """Write down what was asked for. Doing it twice does it once; older records go."""
    for year in sorted({partition.year for partition in new}):
        key = f"arrivals/known/{year}.json"
        try:
            record: dict[str, Any] = {**_known_lines(store.get(key))}
        except MissingInput:
            record = {}
        record |= {p.region: [item.generation, item.state, item.box] for p, item in new.items() if p.year == year}
        store.put(key, json.dumps(record, sort_keys=True, ensure_ascii=False).encode())

    def forget(key: str) -> None:
        with suppress(MissingInput):
            store.delete([key])

    in_parallel(forget, [_record_key(part, item.generation - 1) for part, item in new.items() if item.generation])


def _record_key(partition: Partition, generation: int) -> str:
    return f"arrivals/sheets/{partition.region}/{partition.year}/{generation}.json"


def load_delivery(store: Store, partition: Partition, generation: int) -> dict[str, FileRecord]:
    """A generation's files; empty where none was written down, or it cannot be read: then all of it is looked at."""
    try:
        record = json.loads(store.get(_record_key(partition, generation)))
        return {key: _file_record(raw) for key, raw in record.items()}
    except (MissingInput, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _file_record(raw: Mapping[str, Any]) -> FileRecord:
    known = {one.name for one in fields(FileRecord)}
    outline = tuple((float(x), float(y)) for x, y in raw["outline"])
    return FileRecord(**{name: value for name, value in raw.items() if name in known} | {"outline": outline})


def save_delivery(store: Store, partition: Partition, generation: int, files: Delivery) -> None:
    data = {key: asdict(item) for key, item in sorted(files.items())}
    store.put(_record_key(partition, generation), json.dumps(data, ensure_ascii=False).encode())


# ------------------------------------------------------------------------------------------- what is different


def read_change(
    project: Project,
    partition: Partition,
    found: list[Found],
    known: Mapping[Partition, KnownDelivery],
    late: Callable[[], bool],
    restored: bool = False,
) -> tuple[Change | None, list[Outline]]:
    """The change of a delivery that is over, and outlines of its sheets that are new, replaced or gone.

    restored: it is to be asked for although it is what it was, and all its outlines with it.

    None when time ran out before all headers were read; they are kept, and the next call goes on. The partitions that
    it touches are yet to be found (`with_touches`). Raises StoreFailed.
    """
    store = project.store
    last = known.get(partition, KnownDelivery())
    before = load_delivery(store, partition, last.generation)
    if not before and not last.generation and (before := _made_already(project, partition, found)):
        save_delivery(store, partition, 0, before)
    draft = load_delivery(store, partition, last.generation + 1)
    files, complete = _records(project, partition, found, before, draft, late)
    if not complete:
        save_delivery(store, partition, last.generation + 1, files)
        return None, []
    changed = restored or _contents(files) != _contents(before)
    save_delivery(store, partition, last.generation + int(changed), files)
    different = {key for key in {*files, *before} if restored or _content(files, key) != _content(before, key)}
    outlines = [item.outline for side in (files, before) for key, item in side.items() if key in different]
    box = bounds_of(item.outline for item in files.values())
    change = Change(
        partition=partition,
        state=state_of(found),
        identity=fingerprint(files=_contents(files)),
        box=box,
        changed=changed,
    )
    return change, [outline for outline in outlines if outline]


def _contents(files: Delivery) -> list[list[str]]:
    return sorted([key, item.content] for key, item in files.items())


def _content(files: Delivery, key: str) -> str | None:
    return files[key].content if key in files else None


def _records(
    project: Project,
    partition: Partition,
    found: list[Found],
    before: Delivery,
    draft: Delivery,
    late: Callable[[], bool],
) -> tuple[dict[str, FileRecord], bool]:
    """Records of a delivery's files, and whether there was time for all of them."""
    beside_names = catalog.beside_by_name({item.key: (item.tag, item.size) for item in found})
    hashed: dict[str, Any] = {}

    def recorded(item: Found) -> FileRecord | None:
        beside = beside_names(item.key) if not catalog.is_beside(item.key) else []
        tag = fingerprint(tag=item.tag, beside=beside) if beside else item.tag
        for side in (draft, before):
            if item.key in side and (side[item.key].size, side[item.key].tag) == (item.size, tag):
                return side[item.key]
        if late():
            return None
        old = before.get(item.key)
        if old and not beside and old.size == item.size and _same_bytes(project, hashed, old, item):
            return FileRecord(size=item.size, tag=tag, content=old.content, outline=old.outline, why=old.why)
        content = f"{item.size}:{tag}"
        if catalog.is_beside(item.key):
            return FileRecord(size=item.size, tag=tag, content=content)
        try:
            outline = look_at(project, item.key, [name for name, _ in beside]).outline
            return FileRecord(size=item.size, tag=tag, content=content, outline=outline)
        except StoreFailed as error:
            if not item.key.endswith(REFERENCE):
                raise
            why = error.reason  # another store must not stop all the others
        except GroundplanError as error:  # the run sets it aside, and says so; here it only has no place
            why = error.reason
        except Exception as error:  # a file can trip a library in any way; the round goes on
            why = f"it cannot be looked at ({type(error).__name__})"
        return FileRecord(size=item.size, tag=tag, content=content, why=why)

    if any(item.key in before for item in found):
        hashed.update(_hashed(project, partition))
    records = in_parallel(recorded, found)
    files = {item.key: record for item, record in zip(found, records, strict=True) if record is not None}
    return files, len(files) == len(found)


def _hashed(project: Project, partition: Partition) -> dict[str, list[Any]]:
    """Key to size, tag and SHA-256 of what the sheets step hashed; empty where it has not."""
    return remembered_digests(project.store, digests_key(partition))


def _same_bytes(project: Project, hashed: Mapping[str, Any], old: FileRecord, item: Found) -> bool:
    """Whether a file was only copied anew. In a folder its tag holds the time; in a bucket the tag is of the bytes."""
    before = hashed.get(item.key)
    if project.store.root is None or item.size > MOST_DIGEST or not before:
        return False
    if old.content != f"{before[0]}:{before[1]}":  # what was hashed is not what was asked for
        return False
    return project.store.digest(item.key) == before[2]


def _made_already(project: Project, partition: Partition, found: list[Found]) -> dict[str, FileRecord]:
    """Files of a delivery that was catalogued and cut before anybody watched; empty where there is work to do."""
    manifest = read_manifest(project.store, catalog.DATASET, partition)
    cut = read_manifest(project.store, tiles.DATASET, partition)
    hashed = _hashed(project, partition)
    if manifest is None or cut is None or cut.committed < manifest.committed:
        return {}
    made = manifest.objects["catalogue"]
    if sorted(made.inputs) != sorted(hashed) or not _are_those(project, found, hashed):
        return {}
    sheet_catalog = load_object(project.store, made, catalog.from_parquet)
    outlines: dict[str, Outline] = {sheet.key: sheet.outline for sheet in sheet_catalog.sheets}
    beside_names = catalog.beside_by_name({item.key: (item.tag, item.size) for item in found})
    files = {}
    for item in found:
        beside = beside_names(item.key) if not catalog.is_beside(item.key) else []
        tag = fingerprint(tag=item.tag, beside=beside) if beside else item.tag
        files[item.key] = FileRecord(
            size=item.size, tag=tag, content=f"{item.size}:{tag}", outline=outlines.get(item.key, ())
        )
    return files


def _are_those(project: Project, found: list[Found], hashed: Mapping[str, list[Any]]) -> bool:
    """Whether the files are those that were hashed. A home that was copied or unpacked has others' tags, and the same
    bytes: of as much as can be read within a look they are read once.
    """
    if {item.key: item.size for item in found} != {key: line[0] for key, line in hashed.items()}:
        return False
    other = [item for item in found if item.tag != hashed[item.key][1]]
    if not other:
        return True
    if project.store.root is None or sum(item.size for item in other) > MOST_DIGEST:
        return False
    digests = in_parallel(lambda item: project.store.digest(item.key), other)
    return all(digest == hashed[item.key][2] for item, digest in zip(other, digests, strict=True))


# --------------------------------------------------------------------------------------------- whom it touches


def with_touches(
    project: Project, changes: Iterable[tuple[Change, list[Outline]]], known: Mapping[Partition, KnownDelivery]
) -> list[Change]:
    """The changes, each with the delivered partitions of its year on whose blocks its sheets lie."""
    listed = list(changes)
    if not listed:
        return []
    fresh = {change.partition: change for change, _ in listed}
    polygons = readable_polygons(project) if any(change.changed for change, _ in listed) else {}
    grid, done = project.grid, []
    boxes: dict[int, dict[Partition, Bounds | None]] = {}
    for part, ground in [*((p, item.box) for p, item in known.items()), *((p, one.box) for p, one in fresh.items())]:
        boxes.setdefault(part.year, {})[part] = ground
    for change, outlines in listed:
        here, box = change.partition, bounds_of(outlines)
        close = (
            [
                part
                for part, other in boxes[here.year].items()
                if part != here and (part.region in polygons or (other and near(grid, box, other)))
            ]
            if change.changed and outlines
            else []
        )
        others = {p: _outlines(project, p, known, fresh) if p.region not in polygons else [] for p in close}
        met = touched(grid, outlines, others, polygons) if close else frozenset()
        done.append(replace(change, touches=met))
    return done


def _outlines(
    project: Project, partition: Partition, known: Mapping[Partition, KnownDelivery], fresh: Mapping[Partition, Change]
) -> list[Outline]:
    generation = known.get(partition, KnownDelivery()).generation
    if partition in fresh:
        generation += int(fresh[partition].changed)
    return [item.outline for item in load_delivery(project.store, partition, generation).values() if item.outline]
