"""Cursor of the scan for imagery: what one round leaves to the next, small and safe to lose.

Here: its fields, its limits, and its text. Not here: what is done with it (scan.py).

It holds what is not certain yet: deliveries that go on, what was decided in the last round, and what is owed to others
once that decision is durable (records, files to be moved, messages to be deleted, backfills to be asked for). All of
that may be done twice. Lost, it costs a new wait: what was asked for before is known from the store, and by its keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from groundplan.core.manifest import fingerprint
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.ingest.decide import Ask, DeferredTiles, KnownDelivery, Pending

VERSION = 1


@dataclass(frozen=True, slots=True)
class LooseFile:
    """A loose file: without region or year. why: the reason and remedy for which it stays where it is."""

    state: str
    since: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """A backfill: many partitions to be asked for together."""

    key: str
    title: str
    assets: tuple[str, ...]
    partitions: tuple[Partition, ...]

    def to_list(self) -> list[Any]:
        return [self.key, self.title, self.assets, sorted(map(_name, self.partitions))]

    @classmethod
    def from_list(cls, raw: list[Any]) -> BackfillRequest:
        key, title, assets, partitions = raw
        return cls(key, title, tuple(assets), tuple(map(_part, partitions)))


def runs_or_backfills(
    asks: Sequence[Ask], most: int, cause: str
) -> tuple[tuple[Ask, ...], tuple[BackfillRequest, ...]]:
    """Single runs for up to `most` partitions; beyond, a backfill for each year and kind of work."""
    if len(asks) <= most:
        return tuple(asks), ()
    groups: dict[tuple[tuple[str, ...], int], list[Ask]] = {}
    for ask in asks:
        groups.setdefault((ask.assets, ask.partition.year), []).append(ask)
    backfills = []
    for (assets, year), members in sorted(groups.items()):
        title = f"{cause} {year}: {', '.join(assets)} of {len(members)} regions"
        key = fingerprint(asks=sorted(ask.key for ask in members))
        backfills.append(BackfillRequest(key, title, assets, tuple(ask.partition for ask in members)))
    return (), tuple(backfills)


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """State of the scan between two rounds.

    at: the region after which the listing goes on. last: time of the last round. bad: unreadable messages so far.
    """

    at: str = ""
    last: float = 0.0
    pending: dict[Partition, Pending] = field(default_factory=dict)
    loose: dict[str, LooseFile] = field(default_factory=dict)
    waiting: dict[Partition, DeferredTiles] = field(default_factory=dict)
    decided: dict[Partition, KnownDelivery] = field(default_factory=dict)
    backfills: tuple[BackfillRequest, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()
    receipts: tuple[str, ...] = ()
    bad: int = 0
    bad_reason: str = ""

    def to_text(self) -> str:
        raw: dict[str, Any] = {
            "version": VERSION,
            "at": self.at,
            "last": round(self.last, 3),
            "bad": self.bad,
            "bad_reason": self.bad_reason,
            "moves": self.moves,
            "receipts": self.receipts,
            "pending": {
                _name(p): [item.state, round(item.since, 3), *([True] if item.restored else [])]
                for p, item in self.pending.items()
            },
            "loose": {key: [item.state, round(item.since, 3), item.why] for key, item in self.loose.items()},
            "waiting": {
                _name(p): [sorted(map(_name, item.after)), item.key, item.reason] for p, item in self.waiting.items()
            },
            "decided": {_name(p): [item.generation, item.state, item.box] for p, item in self.decided.items()},
            "backfills": [item.to_list() for item in self.backfills],
        }
        return json.dumps({key: value for key, value in raw.items() if value}, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_text(cls, text: str | None) -> Cursor:
        """Raises BadConfig for a text that this version did not write."""
        if not text:
            return cls()
        try:
            raw = json.loads(text)
            if raw.pop("version") != VERSION:
                raise ValueError("it is of another version")
            return cls(
                pending={_part(k): Pending(*v) for k, v in raw.pop("pending", {}).items()},
                loose={k: LooseFile(*v) for k, v in raw.pop("loose", {}).items()},
                waiting={
                    _part(k): DeferredTiles(frozenset(map(_part, after)), key, reason)
                    for k, (after, key, reason) in raw.pop("waiting", {}).items()
                },
                decided={
                    _part(k): KnownDelivery(count, state, tuple(box) if box else None)
                    for k, (count, state, box) in raw.pop("decided", {}).items()
                },
                backfills=tuple(BackfillRequest.from_list(item) for item in raw.pop("backfills", [])),
                moves=tuple((key, to) for key, to in raw.pop("moves", [])),
                receipts=tuple(raw.pop("receipts", [])),
                **raw,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadConfig(
                "the sensor's cursor", f"it cannot be read ({error})", "Reset it: what was asked for is kept"
            ) from error


def _name(partition: Partition) -> str:
    return f"{partition.region}|{partition.year}"  # no region's name holds a |


def _part(name: str) -> Partition:
    region, _, year = name.rpartition("|")
    return Partition(int(year), region)
