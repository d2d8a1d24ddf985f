"""Stored JSON: one broken small text is named, and the rest of the country is listed as before.

Here: every kind of small JSON that a store or an instance holds, spoiled in a person's project, and all that reads
them: status, the country's counts, map pages, collections, cursors. Not here: large objects (pixels, polygons, models).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from fuzz.field import READ, REFUSED, Input, InThisProcess, Wrong
from fuzz.homes import old_home
from fuzz.mutation import mutated, revalued
from groundplan.collections import files
from groundplan.collections import pipeline as collection_pipeline
from groundplan.core.manifest import mark_damaged, need_manifest
from groundplan.core.partition import ClassPartition, Partition
from groundplan.core.records import write_record
from groundplan.errors import GroundplanError
from groundplan.ingest import deliveries
from groundplan.ingest.cursor import BackfillRequest, Cursor, LooseFile
from groundplan.ingest.decide import DeferredTiles, KnownDelivery, Pending
from groundplan.ingest.upstream_changes import UpstreamCursor, Version
from groundplan.operations import change_readiness, country_map, notifications, overdue, status, store_audit
from groundplan.operations.prerequisites import register_years
from groundplan.pipeline import STEPS, asset_state
from groundplan.project import open_project
from groundplan.quality.checks import GUARDS
from groundplan.step import LANDING, REGISTERS, Scope, State, Status, upstream
from orchestration.cli.build import wanted
from serving.maps.app import build_app

CURSORS: dict[str, Callable[[str], object]] = {  # not in the store: Dagster keeps these
    "cursors/imagery": Cursor.from_text,
    "cursors/upstream": UpstreamCursor.from_text,
    "cursors/notices": notifications.Outbox.from_json,
}
PLACES = ("noorderveld", "zuiderhout")
YEARS = (2023, 2024)
GUARDED = {guard.name: guard.dataset for guard in GUARDS}
CLASS = ClassPartition("fruits", "Äpfel, rot")
WHOLE = (b"", b" ", b"{}", b"[]", b"null", b"0", b'"x"', b"[{}]", b"[null]", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{")
DEEP = (b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b"9" * 5000)
FORMATS = (b'{"format": "2.0"}', b'{"format": [1]}', b'{"format": 1e999}')


class Stored(InThisProcess):
    megabytes, seconds = 300, 60

    def __init__(self, folder: Path) -> None:
        self.project = open_project(old_home(folder))
        store = self.project.store
        self.sound = {item.key: store.get(item.key) for item in store.list("") if item.key.endswith(".json")}
        self.kept = set(self.sound)
        for key in self._more():
            self.sound[key] = store.get(key)
            store.delete([key])
        self.sound |= {name: text.encode() for name, text in _cursors().items()}
        kinds = Counter(_kind(key) for key in self.sound)
        self.keys = sorted(self.sound)
        self.weights = np.array([1 / kinds[_kind(key)] for key in self.keys]) / len(kinds)
        self._look("")

    def _more(self) -> Iterator[str]:
        """Keys of texts that a sound project lacks, once they are written as the program writes them."""
        store, here = self.project.store, Partition(2024, "zuiderhout")
        made = list(need_manifest(store, "labels", here).objects.values())
        before = {item.key for item in store.list("")}
        store.put("journal/labels/2024/zuiderhout/run-1.json", json.dumps([asdict(one) for one in made]).encode())
        write_record(store, "failures/predictions/2024/zuiderhout.json", {"failed": {made[0].name: "x"}, "missing": 1})
        mark_damaged(store, made[0].key, "for a trial")
        known = country_map.Known()
        country_map.gather(self.project, known)
        country_map.remember(store, known)
        deliveries.remember(store, {here: KnownDelivery(0, "s", (0.0, 0.0, 1.0, 1.0))})
        files.write_refused(self.project, CLASS, [files.RefusedFile(name="a", state="b", reason="c", remedy="d")])
        yield from sorted({item.key for item in store.list("")} - before)

    # ------------------------------------------------------------------------------------------------ an input

    def draw(self, random: np.random.Generator) -> Input:
        key = self.keys[random.choice(len(self.keys), p=self.weights)]
        data, way = self.sound[key], random.random()
        if way < 0.1:
            return {key: WHOLE[random.integers(len(WHOLE))]}
        if way < 0.15:
            return {key: (*DEEP, *FORMATS)[random.integers(len(DEEP) + len(FORMATS))]}
        if way < 0.3:
            return {key: mutated(data, random, [])}
        if way < 0.35:  # a text of another kind
            return {key: self.sound[self.keys[random.integers(len(self.keys))]]}
        raw = json.loads(data)
        for _ in range(random.integers(1, 4)):
            raw = revalued(raw, random)
        return {key: json.dumps(raw).encode()}

    def attempt(self, given: Input, folder: Path) -> str:
        ((key, data),) = given.items()
        if key in CURSORS:
            try:
                CURSORS[key](data.decode("utf-8", "replace"))
            except GroundplanError:
                return REFUSED
            return READ
        path = self.project.store.local_path(key)
        assert path is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        try:
            return self._look(key)
        finally:
            if key in self.kept:
                path.write_bytes(self.sound[key])
            else:
                path.unlink()

    def _look(self, key: str) -> str:
        """All that may read a text. key: of the one that is broken. Raises Wrong."""
        project = self.project
        (year,) = [year for year in YEARS if str(year) in re.split("[/.]", key)] or [None]
        notes = {state.note for state in self._imagery(key, year)}
        if "fruits" in key:
            for name in collection_pipeline.ASSETS:
                parts = collection_pipeline.partitions_of(project, name, "fruits")
                notes |= {state.note for state in collection_pipeline.asset_states(project, name, parts)}
        if len(status.take(project)) != 28 or len(country_map.gather(project)) != 4:
            raise Wrong("the country lacks a partition")
        found = store_audit.check(project)
        self._others()
        self._pages(key, year)
        return REFUSED if notes != {""} or found.wrong else READ

    def _imagery(self, key: str, year: int | None) -> Iterator[State[Partition]]:
        """Status of all that a text can tell of, and of something that it cannot: that must be as before."""
        listed = wanted(self.project, None, None, None)
        if len(listed) != 28:
            raise Wrong(f"{len(listed)} partitions are listed, not 28")
        for name, partition in listed:
            other = partition.year != year and name == ("labels" if year else "sheets")
            if other or (partition.year == year and _tells_of(key, name)):
                state = asset_state(self.project, name, partition)
                if other and state.state is not Status.CURRENT:
                    raise Wrong(f"{name} of {partition}, that the text is not of, is {state.state}: {state.note}")
                yield state

    def _others(self) -> None:
        """Readers that may refuse, with a word."""
        project = self.project
        for read in (
            lambda: change_readiness.standings(project),
            lambda: overdue.overdue(project, 2e9, 1.0),
            lambda: register_years(project),
            lambda: deliveries.load_known(project.store),
            lambda: files.read_refused(project, CLASS),
            lambda: files.forgotten_digests(project),
        ):
            with suppress(GroundplanError):
                read()

    def _pages(self, key: str, broken: int | None) -> None:
        """Pages of the map that a text is read for, and some of another year, which must be as before."""
        app = build_app(self.project)  # a new one, that remembers nothing
        code, body = answer(app, "/map/country.json")
        if code != 200 or len(json.loads(body, parse_constant=_no_number)["places"]) != 4:
            raise Wrong(f"the map of the country is answered with {code}, {len(body)} bytes")
        own = f"{broken or YEARS[0]}/{PLACES['zuiderhout' in key]}"
        datasets = {dataset for dataset in STEPS if dataset in key} | {GUARDED[name] for name in GUARDED if name in key}
        pages = [f"/partition/{dataset}/{own}" for dataset in sorted(datasets | {"trained_model"})]
        pages = [page.rpartition("/")[0] if STEPS[page.split("/")[2]].scope is Scope.YEAR else page for page in pages]
        year, region = own.split("/")
        self._ask(app, f"/map/{region}/{year}/facts.json", *pages)
        for other in {*YEARS} - {broken}:
            self._ask(app, f"/map/{region}/{other}/facts.json", f"/partition/labels/{other}/{region}", must=broken)

    def _ask(self, app: Any, *pages: str, must: int | None = None) -> None:
        """Raises Wrong for a fault of the server, and with `must` for any answer but 200."""
        for page in pages:
            code, body = answer(app, page)
            if code == 500 or (must and code != 200):
                raise Wrong(f"{page} is answered with {code}: {body[:300]!r}")


def _no_number(name: str) -> None:
    raise Wrong(f"the map of the country holds {name}, which no browser reads")


def _tells_of(key: str, name: str) -> bool:
    """Whether a text says anything of a dataset: it is of it, or of what it is made from."""
    room, dataset = key.split("/")[:2]
    if room in ("verdicts", "arrivals"):
        return False
    if room in ("registers", "digests"):
        dataset = {"registers": REGISTERS, "digests": LANDING}[room]
    return name == dataset or dataset in upstream(STEPS, name)


def _kind(key: str) -> str:
    """What every key of one kind has in common: each kind is drawn equally often."""
    parts = key.split("/")
    return "/".join(parts[:2]) if parts[0] in ("manifests", "verdicts", "digests", "arrivals", "cursors") else parts[0]


def _cursors() -> dict[str, str]:
    here = Partition(2024, "delft")
    asked = BackfillRequest("k", "t", ("sheets",), (here,))
    imagery = Cursor(
        at="a",
        last=1.5,
        pending={here: Pending("s", 1.0)},
        loose={"a.tif": LooseFile("s", 1.0, "why")},
        waiting={here: DeferredTiles(frozenset({here}), "k", "r")},
        decided={here: KnownDelivery(1, "s", (0.0, 0.0, 1.0, 1.0))},
        backfills=(asked,),
        moves=(("a", "b"),),
        receipts=("r",),
        bad=1,
    )
    notice = notifications.Notice(cause="a", what="b", where="c", why="d")
    outbox = notifications.take_up(notifications.Outbox(), [notice], ("webhook",), 1e9, 10)
    return {
        "cursors/imagery": imagery.to_text(),
        "cursors/upstream": UpstreamCursor({2024: Version("s", "i", 3)}, (asked,)).to_text(),
        "cursors/notices": outbox.to_json(),
    }


def answer(app: Any, path: str) -> tuple[int, bytes]:
    """What an ASGI app answers to GET: status and body. Raises what escapes it."""
    told: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [(b"host", b"127.0.0.1")], "http_version": "1.1", "scheme": "http", "root_path": ""}
    scope |= {"server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    anyio.run(app, scope, receive, send)
    return told[0]["status"], b"".join(message.get("body", b"") for message in told[1:])
