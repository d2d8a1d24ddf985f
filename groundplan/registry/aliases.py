"""Aliases: which version of a model `production` and `candidate` mean, who said so, when, and after which comparison.

Here: `models/NAME/aliases.json`, changed by compare-and-set, and the history in it. Not here: whether a version may be
promoted (promotion/gate.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from groundplan.core.compare_and_set import change, read_tagged
from groundplan.core.records import FORMAT, parse_record
from groundplan.core.store import Store
from groundplan.errors import BadConfig, MissingInput

ROOT = "models"
PRODUCTION, CANDIDATE = "production", "candidate"
KEPT = 200  # changes that the history holds; older ones are left out
REMEDY = "Put it back from a copy; `groundplan model promote` sets an alias anew"


@dataclass(frozen=True, slots=True)
class Aliases:
    """What a model's aliases mean, and the changes that led there, the oldest first."""

    versions: Mapping[str, str]
    history: tuple[Mapping[str, Any], ...] = ()

    def before(self, alias: str) -> str | None:
        """The version that an alias meant before it was promoted to what it means now; None where there is none.

        A change that was rolled back is passed over, so that rolling back twice goes back two steps.
        """
        stack: list[str] = []
        for step in self.history:
            if step.get("alias") != alias:
                continue
            if step.get("why") == "rolled back":
                stack = stack[:-1]
            elif step.get("from"):
                stack.append(str(step["from"]))
        return stack[-1] if stack else None


def aliases_key(name: str) -> str:
    return f"{ROOT}/{name}/aliases.json"


def read_aliases(store: Store, name: str) -> Aliases:
    """Aliases of a model, none where nobody set one. Raises Damaged, NewerFormat, StoreFailed."""
    return _parsed(read_tagged(store, aliases_key(name))[0], store, name)


def _parsed(data: bytes, store: Store, name: str) -> Aliases:
    if not data:
        return Aliases({})
    raw = parse_record(data, store.uri(aliases_key(name)), REMEDY)
    versions = {str(alias): str(version) for alias, version in dict(raw.get("aliases") or {}).items()}
    return Aliases(versions, tuple(raw.get("history") or ()))


def set_alias(
    store: Store, name: str, alias: str, version: str, *, who: str, why: str, expected: str | None = None, **told: Any
) -> Aliases:
    """Let an alias mean a version. expected: what it must mean until now, "" for nothing; None: whatever.

    told: what the history says besides, such as the figures that were compared. Raises BadConfig where it does not
    mean what was expected, Overtaken, StoreFailed.
    """

    def made(before: bytes) -> bytes:
        now = _parsed(before, store, name)
        meant = now.versions.get(alias, "")
        if expected is not None and meant != expected:
            reason = f"it means {meant or 'nothing'} by now, not {expected or 'nothing'}"
            raise BadConfig(f"alias {name}@{alias}", reason, "Look at `groundplan model list` and decide again")
        if meant == version:
            return before
        return _changed(now, alias, version, {"who": who, "why": why, **told})

    return _parsed(change(store, aliases_key(name), made), store, name)


def roll_back(store: Store, name: str, alias: str, *, who: str) -> Aliases:
    """Let an alias mean what it meant before. Raises MissingInput where it meant nothing before."""

    def made(before: bytes) -> bytes:
        now = _parsed(before, store, name)
        version = now.before(alias)
        if version is None:
            reason = "there is no version before the one that it means"
            raise MissingInput(f"alias {name}@{alias}", reason, "Promote another: `groundplan model list`")
        return _changed(now, alias, version, {"who": who, "why": "rolled back"})

    return _parsed(change(store, aliases_key(name), made), store, name)


def _changed(now: Aliases, alias: str, version: str, told: dict[str, Any]) -> bytes:
    step = {"alias": alias, "from": now.versions.get(alias), "to": version, **told}
    step["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = {
        "format": FORMAT,
        "aliases": {**now.versions, alias: version},
        "history": [*now.history, step][-KEPT:],
    }
    return json.dumps(record, ensure_ascii=False, indent=1).encode()
