"""Scan of the landing folder: one round, from what the last one left to what is to be made.

Here: the order of things, and their limits in time and number. Not here: what is decided (decide.py), how the landing
folder is read (deliveries.py), or launching what was decided (orchestration/sensors/sources.py).

A round first does what the last one owed: its cursor is durable by now, and so its runs are launched. Then it takes
events, lists a slice of the landing folder, reads the headers of deliveries that are over, and decides. Nothing that it
does before the next round begins needs to be undone when it dies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from groundplan.core.manifest import manifest_key
from groundplan.core.parallel import AT_ONCE, in_parallel, thread_pool
from groundplan.core.partition import FIRST_YEAR, Partition
from groundplan.core.store import Found
from groundplan.errors import GroundplanError, StoreFailed
from groundplan.imagery.catalog import BesideOf
from groundplan.imagery.landing import REFERENCE, landed_files, partition_of_key
from groundplan.ingest import decide, deliveries, loose_files
from groundplan.ingest.cursor import Cursor, LooseFile, runs_or_backfills
from groundplan.ingest.decide import Ask, KnownDelivery, Pending
from groundplan.ingest.object_events import landing_events
from groundplan.ingest.s3_events import BadMessage, Event
from groundplan.project import Project

LOOK_SECONDS = 0.4  # for listing, each round; a round without news must end within a second
WORK_SECONDS = 5.0  # for headers, in a round with news
MOST_MESSAGES = 400  # of the queue, each round; their receipts are kept in the cursor
MOST_PENDING = 2000  # partitions in the cursor; beyond, messages and listings wait
MOST_SETTLED = 200  # partitions that are decided in one round
MOST_FILED = 50  # loose files, each round
REASON = 300  # characters of a reason in the cursor


class Messages(Protocol):
    """The part of a queue that a round uses (resources/sqs.py, pushed_events.py)."""

    def receive(self, most: int) -> list[Any]: ...
    def delete(self, receipts: Any) -> None: ...
    def set_aside(self, message: Any, reason: str) -> bool: ...


@dataclass(frozen=True)
class Round:
    """Result of a round. cursor: durable before any of its debts is paid. notes: for a person, shortest first."""

    cursor: Cursor
    asks: tuple[Ask, ...] = ()
    regions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Collected:
    """What one round has collected so far."""

    pending: dict[Partition, Pending]
    loose: dict[str, LooseFile]
    bad: int
    bad_reason: str
    receipts: list[str]
    notes: list[str]
    at: str = ""


def finish_last_round(project: Project, cursor: Cursor, queue: Messages | None) -> None:
    """Finish the last round: records, moves, deleted messages. All of it may be done twice. Raises StoreFailed."""
    if cursor.decided:
        deliveries.remember(project.store, cursor.decided)
    loose_files.move_files(project, cursor.moves)
    if queue and cursor.receipts:
        queue.delete(cursor.receipts)


def scan_round(
    project: Project,
    cursor: Cursor,
    now: float,
    busy: Callable[[], Collection[Partition]],
    regions: Collection[str],
    queue: Messages | None = None,
) -> Round:
    """One round of the scan, after `finish_last_round`. now: seconds since 1970.

    busy: partitions whose sheets are being catalogued.

    Raises StoreFailed: then nothing was decided, and the cursor stays as it was.
    """
    settings = project.settings.arrivals
    known = deliveries.load_known(project.store)
    collected = _Collected(
        pending=dict(cursor.pending),
        loose=dict(cursor.loose),
        bad=cursor.bad,
        bad_reason=cursor.bad_reason,
        receipts=[],
        notes=[],
        at=cursor.at,
    )
    events = _receive(project, queue, collected) if len(collected.pending) < MOST_PENDING else []
    _note_events(collected, events, now)
    _sweep(project, cursor, collected, known, now, queue is not None)
    changes = _read(project, collected, known, now, settings.quiet_seconds)
    moves = _file(
        project, collected, known, now, settings.quiet_seconds
    )  # after: they move when the next round settles
    running = set(busy()) if changes or cursor.waiting else set()
    cataloged = {
        part
        for part, item in cursor.waiting.items()
        if not item.after & running and project.store.exists(manifest_key(decide.SHEETS, part))
    }
    decision = decide.decide(project.grid, changes, known, cursor.waiting, running, cataloged, regions)
    for change in changes:
        collected.pending.pop(change.partition, None)
    asks, backfills = runs_or_backfills(decision.asks, settings.most_runs, "new imagery")
    after = Cursor(
        at=collected.at,
        last=now,
        pending=collected.pending,
        loose=collected.loose,
        waiting=dict(decision.waiting),
        decided=dict(decision.remember),
        backfills=backfills,
        moves=tuple(moves),
        receipts=tuple(collected.receipts),
        bad=collected.bad,
        bad_reason=collected.bad_reason,
    )
    return Round(after, asks, decision.regions, tuple(_notes(after, decision.dropped, collected.notes)))


# -------------------------------------------------------------------------------------------------- looking


def _receive(project: Project, queue: Messages | None, collected: _Collected) -> list[Event]:
    """Events of the landing folder. A message that cannot be read is set aside and counted."""
    found: list[Event] = []
    for message in queue.receive(MOST_MESSAGES) if queue else ():
        try:
            found += landing_events(message.body, project.store.url)
        except BadMessage as error:
            aside = queue is not None and queue.set_aside(message, error.reason)
            collected.bad, collected.bad_reason = collected.bad + 1, error.reason[:REASON]
            where = "put into the dead-letter queue" if aside else "left to the queue's redrive policy"
            collected.notes.append(f"message {message.id}: {error.reason}; {where}")
            if not aside:
                continue
        collected.receipts.append(message.receipt)
    return found


def _note_events(collected: _Collected, events: list[Event], now: float) -> None:
    year = _year(now)
    changed = [(partition_of_key(event.key), event.when) for event in events]
    collected.pending = decide.after_events(
        collected.pending, [(part, at) for part, at in changed if part and _usable(part, year)], now
    )


def _sweep(
    project: Project,
    cursor: Cursor,
    collected: _Collected,
    known: Mapping[Partition, KnownDelivery],
    now: float,
    events: bool,
) -> None:
    """List the loose files and the next slice of regions. With events, no faster than the sweep has to be."""
    folders, top = project.store.below("landing")
    _note_loose(
        collected, top, [key for key in collected.loose if key.count("/") == 1 or key.split("/")[1] not in folders], now
    )
    order = [name for name in folders if name > cursor.at] + [name for name in folders if name <= cursor.at]
    if events:
        share = (now - cursor.last) / (60 * project.settings.arrivals.sweep_minutes) if cursor.last else 1.0
        order = order[: max(1, math.ceil(len(order) * min(1.0, max(0.0, share))))]
    lost: list[Found] = []
    # a delivery that is over comes first: it shall not wait for a look at what is not
    over = decide.settled(collected.pending, now, project.settings.arrivals.quiet_seconds)
    end = time.monotonic() + LOOK_SECONDS / (4 if over else 1)
    with thread_pool() as pool:
        while order and len(collected.pending) < MOST_PENDING:
            batch, order = order[: 2 * AT_ONCE], order[2 * AT_ONCE :]
            for listing in pool.map(lambda name: deliveries.list_region(project.store, name), batch):
                _note_listing(collected, listing, known, now)
                lost += listing.lost
            collected.at = batch[-1]
            if time.monotonic() > end:  # after a batch at least: a slow store must not stop it
                break
    if lost:
        collected.notes.append(f"{lost[0].key}: no region and year can be made of its folder. Use landing/REGION/YEAR")


def _note_listing(
    collected: _Collected, listing: deliveries.Listing, known: Mapping[Partition, KnownDelivery], now: float
) -> None:
    states = {part: decide.state_of(found) for part, found in listing.by_year.items()}
    here = [key for key in collected.loose if key.startswith(f"landing/{listing.region}/")]
    _note_loose(collected, listing.loose, here, now)
    year = _year(now)
    odd = sorted(part for part in states if not _usable(part, year))
    span = f"{FIRST_YEAR} to {year}"
    collected.notes += [f"landing/{part.region}/{part.year}: that year is none of {span}" for part in odd]
    collected.pending = decide.after_listing(
        collected.pending, {p: s for p, s in states.items() if _usable(p, year)}, known, now
    )


def _note_loose(collected: _Collected, found: Iterable[Found], here: list[str], now: float) -> None:
    """Loose files as they are now, in place of those that were known `here`."""
    before = {key: collected.loose.pop(key) for key in here}
    found = list(found)
    collected.notes += [f"{key} belongs to no sheet that lies beside it" for key in loose_files.left_alone(found)[:5]]
    for item in found:
        state, last = f"{item.size}:{item.tag}", before.get(item.key)
        if loose_files.is_sheet(item.key):
            collected.loose[item.key] = last if last and last.state == state else LooseFile(state, now)


def _file(
    project: Project, collected: _Collected, known: Mapping[Partition, KnownDelivery], now: float, quiet: float
) -> list[tuple[str, str]]:
    """Moves of loose files that are complete; what cannot be filed keeps its reason until it changes."""
    settled = [key for key, item in collected.loose.items() if not item.why and now - item.since >= quiet][:MOST_FILED]
    around: dict[str, dict[str, Found]] = {}
    beside: dict[str, BesideOf] = {}
    moves: list[tuple[str, str]] = []
    aimed: dict[str, Found] = {}  # where the files of this round belong
    for key in settled:
        folder = key.rpartition("/")[0]
        if folder not in around:
            around[folder] = {one.key: one for one in project.store.below(folder)[1]}
            beside[folder] = loose_files.beside_among(around[folder].values())
        item = around[folder].get(key)
        since = collected.loose[key].since
        if item is None or f"{item.size}:{item.tag}" != collected.loose[key].state:
            collected.loose.pop(key)  # gone, or still growing: then it is found again
            continue
        try:
            to = loose_files.moves_of(project, item, beside[folder], known, _year(now), collected.notes)
            loose_files.check_free(key, [target for _, target in to], aimed)
        except GroundplanError as error:
            if isinstance(error, StoreFailed) and not key.endswith(REFERENCE):  # another store stops only its file
                raise
            collected.loose[key] = replace(collected.loose[key], why=f"{error.reason}. {error.remedy}"[:REASON])
            continue
        collected.loose.pop(key)
        moves += to
        aimed |= {target.casefold(): replace(item, key=key) for _, target in to}
        # it was quiet here: it need not be quiet again there
        target = partition_of_key(to[-1][1])
        collected.pending = decide.after_events(collected.pending, [(target, since)] if target else [], now)
        collected.notes.append(f"{key} belongs to {to[-1][1]}")
    return moves


def _read(
    project: Project, collected: _Collected, known: Mapping[Partition, KnownDelivery], now: float, quiet: float
) -> list[decide.Change]:
    """Deliveries that are over: listed once more, and their new headers read, as far as time allows."""
    candidates = decide.settled(collected.pending, now, quiet)[:MOST_SETTLED]
    end = time.monotonic() + WORK_SECONDS
    found = dict(zip(candidates, in_parallel(partial(landed_files, project), candidates), strict=True))
    collected.pending = decide.after_listing(
        collected.pending, {part: decide.state_of(items) for part, items in found.items()}, known, now
    )
    over = set(decide.settled(collected.pending, now, quiet))
    settled = [part for part in candidates if part in over]

    def late() -> bool:
        return time.monotonic() > end

    changes = []
    while settled and not late():
        batch, settled = settled[:AT_ONCE], settled[AT_ONCE:]
        read = in_parallel(
            lambda part: deliveries.read_change(
                project, part, found[part], known, late, collected.pending[part].restored
            ),
            batch,
        )
        changes += [(change, outlines) for change, outlines in read if change]
    return deliveries.with_touches(project, changes, known)


# -------------------------------------------------------------------------------------------------- deciding


def _notes(cursor: Cursor, dropped: tuple[Partition, ...], found: list[str]) -> list[str]:
    notes = []
    if cursor.pending:
        notes.append(f"{len(cursor.pending)} deliveries are not over")
    if cursor.waiting:
        notes.append(f"{len(cursor.waiting)} partitions wait for catalogues of their neighbours")
    if cursor.bad:
        notes.append(f"{cursor.bad} unreadable messages so far, the last: {cursor.bad_reason}")
    notes += [f"tiles of {part} are not asked for: it has no catalogue, see its last run" for part in dropped]
    stuck = [(key, item.why) for key, item in sorted(cursor.loose.items()) if item.why]
    notes += [f"{key} stays where it is: {why}" for key, why in stuck[:5]]
    return [*notes, *dict.fromkeys(found)]


def _year(now: float) -> int:
    return datetime.fromtimestamp(now, UTC).year


def _usable(partition: Partition, this_year: int) -> bool:
    return FIRST_YEAR <= partition.year <= this_year
