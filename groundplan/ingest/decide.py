"""Decisions about new imagery: what was delivered and what was asked for before give what is to be asked for now.

Here: pure decisions from what was seen. Nothing is read or written, the clock is an argument. Not here: looking
(deliveries.py), loose files (loose_files.py), messages (s3_events.py), the round that puts these together (scan.py), or
runs (orchestration/sensors/sources.py).

Two rules make it safe. What is seen is compared with what was *last asked for*, so that events that come twice, late or
never, and listings, lead to one answer. And the key of what is asked for follows from what was delivered and from the
count of deliveries before it, so that asking again after a crash is asking for the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from groundplan.core.grid import Bounds, Grid
from groundplan.core.manifest import fingerprint
from groundplan.core.partition import Partition

if TYPE_CHECKING:
    from groundplan.core.store import Found
from groundplan.imagery.ownership import near

SHEETS, TILES = "sheets", "aerial_tiles"


@dataclass(frozen=True, slots=True)
class KnownDelivery:
    """A delivery that was asked for last: how often before, its state then, and the bounds of its ground."""

    generation: int = 0
    state: str = ""
    box: Bounds | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A delivery that is not over: its state when last seen ('' when only an event told of it), unchanged since when.

    since: seconds since 1970. restored: it changed and is again what was asked for; a run may have read what it was
    between.
    """

    state: str
    since: float
    restored: bool = False


@dataclass(frozen=True, slots=True)
class DeferredTiles:
    """Tiles that were put off until the catalogues that they are made from are there."""

    after: frozenset[Partition]
    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A delivery that is over. touches: others whose blocks show a sheet that is new, replaced or gone.

    identity: of the files' contents. changed: whether it differs from what was last asked for.
    """

    partition: Partition
    state: str
    identity: str
    box: Bounds | None
    changed: bool
    touches: frozenset[Partition] = frozenset()


@dataclass(frozen=True, slots=True)
class Ask:
    """One partition of some datasets to be made. key: the same for the same delivery, whoever asks how often."""

    partition: Partition
    assets: tuple[str, ...]
    reason: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do: regions to add, partitions to make now and later, and what to remember once that is certain."""

    regions: tuple[str, ...] = ()
    asks: tuple[Ask, ...] = ()
    waiting: Mapping[Partition, DeferredTiles] = field(default_factory=dict)
    remember: Mapping[Partition, KnownDelivery] = field(default_factory=dict)
    dropped: tuple[Partition, ...] = ()  # waited for a catalogue that could not be made


def state_of(found: Iterable[Found]) -> str:
    """Digest of a listing: changes when any file of a delivery comes, goes or changes; '' for no files."""
    lines = sorted([item.key, item.size, item.tag] for item in found)
    return fingerprint(files=lines) if lines else ""


# ------------------------------------------------------------------------------------------------ is it over?


def after_listing(
    pending: Mapping[Partition, Pending],
    listed: Mapping[Partition, str],
    known: Mapping[Partition, KnownDelivery],
    now: float,
) -> dict[Partition, Pending]:
    """Pending deliveries after some partitions were listed. An empty listing asks for nothing: made ground stays."""
    after = dict(pending)
    for partition, state in listed.items():
        before = after.pop(partition, None) or Pending("", now)
        asked = state == known.get(partition, KnownDelivery()).state
        restored = asked and (before.restored or before.state not in ("", state))
        if state and (restored or not asked):
            same = before.state in ("", state)
            after[partition] = Pending(state, before.since if same else now, restored)
    return after


def after_events(
    pending: Mapping[Partition, Pending], events: Iterable[tuple[Partition, float | None]], now: float
) -> dict[Partition, Pending]:
    """Pending deliveries after some events. An old event, or one that comes again, does not start the wait anew."""
    after = dict(pending)
    for partition, when in events:
        since = min(now, when if when is not None else now)
        before = after.get(partition) or Pending("", 0.0)
        after[partition] = Pending(before.state, max(since, before.since), before.restored)
    return after


def settled(pending: Mapping[Partition, Pending], now: float, quiet: float) -> list[Partition]:
    """Settled deliveries: partitions of regions in which nothing changed for `quiet` seconds, oldest first."""
    last: dict[str, float] = {}
    for partition, item in pending.items():
        last[partition.region] = max(item.since, last.get(partition.region, 0.0))
    over = [partition for partition in pending if now - last[partition.region] >= quiet]
    return sorted(over, key=lambda partition: (last[partition.region], partition))


# ------------------------------------------------------------------------------------------------ what to ask


def decide(
    grid: Grid,
    changes: Sequence[Change],
    known: Mapping[Partition, KnownDelivery],
    waiting: Mapping[Partition, DeferredTiles],
    running: Collection[Partition],
    cataloged: Collection[Partition],
    regions: Collection[str],
) -> Decision:
    """The decision: what to ask for now, later, and not at all.

    A block shows the sheets of every region that touch it. So tiles are made in one run with the catalogue only where
    no other delivery touches them; else after all catalogues that they need. changes: deliveries that are over.
    waiting: tiles that were put off. running: partitions whose catalogue is being made. catalogued: partitions that
    have one. regions: those that are known already.
    """
    new = {change.partition: change for change in changes if change.changed}
    causes: dict[Partition, set[Partition]] = {}
    for partition, change in new.items():
        for other in change.touches:
            causes.setdefault(other, set()).add(partition)
        # a neighbour's catalogue is on its way: it was asked for before
        flying = {
            other
            for other in running
            if other != partition and other.year == partition.year and near(grid, change.box, _box(other, new, known))
        }
        if flying or partition in causes or partition in waiting:
            causes.setdefault(partition, set()).update({partition} | flying)
    for partition in new.keys() & causes.keys():
        causes[partition].add(partition)
    remember = {
        change.partition: KnownDelivery(
            known.get(change.partition, KnownDelivery()).generation + int(change.changed), change.state, change.box
        )
        for change in changes
    }
    asks = [
        Ask(
            partition,
            (SHEETS,) if partition in causes else (SHEETS, TILES),
            "new imagery",
            fingerprint(of=str(partition), delivery=_delivery(partition, new, known)),
        )
        for partition in sorted(new)
    ]
    ready = {partition: item for partition, item in waiting.items() if not item.after & set(running)}
    ready = {partition: item for partition, item in ready.items() if partition not in causes}
    asks += [
        Ask(partition, (TILES,), item.reason, item.key)
        for partition, item in sorted(ready.items(), key=lambda x: x[0])
        if partition in cataloged
    ]
    later = {partition: item for partition, item in waiting.items() if partition not in ready}
    for partition, because in causes.items():
        later[partition] = _put_off(partition, because, later.get(partition), new, known)
    return Decision(
        regions=tuple(sorted({ask.partition.region for ask in asks} - set(regions))),
        asks=tuple(asks),
        waiting=later,
        remember=remember,
        dropped=tuple(sorted(set(ready) - set(cataloged))),
    )


def _box(
    partition: Partition, new: Mapping[Partition, Change], known: Mapping[Partition, KnownDelivery]
) -> Bounds | None:
    return new[partition].box if partition in new else known.get(partition, KnownDelivery()).box


def _delivery(partition: Partition, new: Mapping[Partition, Change], known: Mapping[Partition, KnownDelivery]) -> str:
    """Identity of a delivery among all that ever were."""
    count = known.get(partition, KnownDelivery()).generation
    return f"{partition}:{count + 1}:{new[partition].identity}" if partition in new else f"{partition}:{count}"


def _put_off(
    partition: Partition,
    because: set[Partition],
    before: DeferredTiles | None,
    new: Mapping[Partition, Change],
    known: Mapping[Partition, KnownDelivery],
) -> DeferredTiles:
    key = fingerprint(
        of=str(partition),
        tiles=sorted(_delivery(item, new, known) for item in because),
        before=before.key if before else "",
    )
    others = sorted({item.region for item in because} - {partition.region})
    reason = f"sheets of {', '.join(others[:3])} lie on it" if others else "new imagery"
    return DeferredTiles(frozenset(because) | (before.after if before else frozenset()), key, reason)
