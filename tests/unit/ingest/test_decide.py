"""New imagery: whatever happens to files, events, rounds and runs, what was delivered is made, and asked for once.

A small world with three regions runs the real round (groundplan/ingest/scan.py) over a store with real sheets; runs are
imitated. A and B share a block, C lies away from them.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import pytest
import shapely
from conftest import ORIGIN, new_project
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from messages import tiff

from groundplan.core import parallel
from groundplan.core.grid import Grid
from groundplan.core.manifest import manifest_key
from groundplan.core.partition import Partition
from groundplan.core.store import Found, Store, open_store
from groundplan.errors import BadConfig, BadSheet, StoreFailed
from groundplan.imagery import regions
from groundplan.imagery.catalog import Catalog
from groundplan.imagery.landing import landed_files
from groundplan.imagery.ownership import owned_blocks, owner, touched
from groundplan.ingest import decide, looking, loose_files, scan
from groundplan.ingest import deliveries as landing
from groundplan.ingest.cursor import Cursor, runs_or_backfills
from groundplan.ingest.decide import Ask, KnownDelivery, Pending
from groundplan.project import Project

NOW = 1_780_000_000.0  # in 2026
QUIET = 60.0
PLACES = {"A": 5.0, "B": 60.0, "C": 900.0}  # metres east of the grid's origin; a block is 76.8 m wide
A, B, C = (Partition(2024, name) for name in "ABC")
TOUCH = {A: {A, B}, B: {A, B}, C: {C}}
# a failure is not made smaller: its steps follow from one seed, and trying others takes minutes
LUCK = settings(deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))


@dataclass(frozen=True)
class Bucket(Store):
    """A store whose tags are of the bytes, as a bucket's are."""

    tags: dict[str, str] = field(default_factory=dict, compare=False)

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self.tags[key] = hashlib.md5(data, usedforsecurity=False).hexdigest()

    def _tagged(self, items: list[Found]) -> list[Found]:
        return [Found(one.key, one.size, one.modified, self.tags.get(one.key, one.tag)) for one in items]

    def list(self, prefix: str = "") -> list[Found]:
        return self._tagged(super().list(prefix))

    def below(self, prefix: str) -> tuple[list[str], list[Found]]:
        folders, items = super().below(prefix)
        return folders, self._tagged(items)


@dataclass(frozen=True)
class Letter:
    id: str
    receipt: str
    body: str


class Post:
    """A queue that delivers at least once."""

    def __init__(self) -> None:
        self.letters: dict[str, Letter] = {}
        self.deleted: list[str] = []
        self.aside: list[tuple[str, str]] = []
        self.count = 0

    def send(self, body: str) -> None:
        self.count += 1
        self.letters[f"r{self.count}"] = Letter(f"m{self.count}", f"r{self.count}", body)

    def receive(self, most: int) -> list[Letter]:
        return list(self.letters.values())[:most]

    def delete(self, receipts: Any) -> None:
        for receipt in receipts:
            self.letters.pop(receipt, None)
            self.deleted.append(receipt)

    def set_aside(self, message: Letter, reason: str) -> bool:
        self.aside.append((message.id, reason))
        return True


def event(key: str, when: str = "2026-05-28T20:26:40.000Z", kind: str = "ObjectCreated:Put") -> str:
    record = {"eventName": kind, "eventTime": when, "s3": {"bucket": {"name": ""}, "object": {"key": key}}}
    return json.dumps({"Records": [record]})


class World:
    """A landing folder, a clock, rounds whose cursor is durable or lost, and runs that end some time later."""

    def __init__(self, project: Project, queue: Post | None = None) -> None:
        self.project, self.queue = project, queue
        self.now, self.cursor = NOW, ""
        self.asked: list[Ask] = []  # by run key, as Dagster launches them
        self.going: list[Ask] = []
        self.sheet_catalogs: dict[Partition, str] = {}
        self.tiles: dict[Partition, dict[Partition, str]] = {}

    def deliver(self, region: str, name: str, version: int = 0) -> None:
        self.project.store.put(f"landing/{region}/2024/{name}.tif", tiff(PLACES[region], version))

    def state(self, partition: Partition) -> str:
        return decide.state_of(landed_files(self.project, partition))

    def round(self, dies: bool = False) -> scan.Round:
        cursor = Cursor.from_text(self.cursor)
        scan.finish_last_round(self.project, cursor, self.queue)
        busy = {ask.partition for ask in self.going if "sheets" in ask.assets}
        found = scan.scan_round(self.project, cursor, self.now, lambda: busy, [], self.queue)
        if not dies:
            self.cursor = found.cursor.to_text()
            fresh = [ask for ask in found.asks if ask.key not in {before.key for before in self.asked}]
            assert len(fresh) == len(found.asks), "asked for the same twice"
            self.asked += fresh
            self.going += fresh
        return found

    def finish(self, ask: Ask) -> None:
        """What a run does: catalogue what lies there, then cut it with the catalogues that are there."""
        self.going.remove(ask)
        part = ask.partition
        if "sheets" in ask.assets:
            self.sheet_catalogs[part] = self.state(part)
            self.project.store.put(manifest_key("sheets", part), b"{}")
        if "aerial_tiles" in ask.assets:
            assert part in self.sheet_catalogs, "a run that must fail"
            self.tiles[part] = {
                other: self.sheet_catalogs[other] for other in TOUCH[part] if other in self.sheet_catalogs
            }

    def settle(self) -> None:
        """Until nothing happens any more."""
        for _ in range(12):
            self.now += QUIET + 1
            self.round()
            while self.going:
                self.finish(self.going[0])
        calm = self.round()
        assert not calm.asks
        assert not calm.cursor.pending
        assert not calm.cursor.waiting

    def truth(self) -> dict[Partition, dict[Partition, str]]:
        there = {part: self.state(part) for part in TOUCH if landed_files(self.project, part)}
        return {part: {other: there[other] for other in TOUCH[part] if other in there} for part in there}

    def deliveries(self) -> list[tuple[Partition, str]]:
        return sorted((ask.partition, ask.key) for ask in self.asked if "sheets" in ask.assets)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    home = tmp_path_factory.mktemp("arrivals") / "home"
    return new_project(home, store="memory://", arrivals={"quiet_seconds": QUIET}, run={"workers": 2, "retries": 0})


def fresh(empty: Project) -> Project:
    from obstore.store import MemoryStore

    return Project(
        empty.home,
        empty.settings,
        empty.grid,
        Bucket(url="memory://", client=MemoryStore(), root=None, retries=0, retry_seconds=5.0),
    )


@pytest.fixture
def world(empty: Project) -> World:
    return World(fresh(empty))


# --- one delivery, whatever happens to it -----------------------------------------------------------------------------


FILES = [("A", "a1", 1), ("A", "a2", 2), ("B", "b1", 3), ("C", "c1", 4), ("A", "a1", 5)]  # the last replaces the first


@pytest.mark.slow
@settings(LUCK, max_examples=12)
@given(luck=st.randoms(use_true_random=False), events=st.booleans())
def test_order_repetition_loss_and_death_change_nothing(empty: Project, luck: random.Random, events: bool) -> None:
    plain = World(fresh(empty))
    for region, name, version in FILES:
        plain.deliver(region, name, version)
    plain.settle()
    world = World(fresh(empty), Post() if events else None)
    steps: list[Any] = list(FILES[1:4])
    luck.shuffle(steps)
    steps.insert(luck.randrange(4), FILES[0])
    steps.append(FILES[4]) if luck.random() < 0.5 else steps.insert(steps.index(FILES[0]) + 1, FILES[4])
    for region, name, version in steps:
        for _ in range(luck.choice([1, 1, 2])):  # the same bytes again
            world.deliver(region, name, version)
        for _ in range(luck.choice([0, 1, 1, 3]) if world.queue else 0):  # lost, told once, told often
            world.queue.send(event(f"landing/{region}/2024/{name}.tif"))
        for _ in range(luck.choice([0, 1, 2])):
            world.now += luck.uniform(0.0, QUIET / 20)  # all of it comes within the quiet time
            world.round(dies=luck.random() < 0.3)
    for _ in range(15):  # runs end in any order, rounds die, old events come late
        world.now += luck.uniform(1.0, QUIET)
        if world.queue and luck.random() < 0.3:
            world.queue.send(event(f"landing/{luck.choice('ABC')}/2024/a1.tif", "2026-05-28T20:00:00Z"))
        world.round(dies=luck.random() < 0.3)
        while world.going and luck.random() < 0.6:
            world.finish(luck.choice(world.going))
    while world.going:
        world.finish(world.going[0])
    world.settle()
    assert world.tiles == world.truth() == plain.truth()
    assert world.deliveries() == plain.deliveries()
    assert not world.queue or not world.queue.letters


@pytest.mark.slow
@settings(LUCK, max_examples=10)
@given(luck=st.randoms(use_true_random=False))
def test_deliveries_without_end_are_all_made_at_the_end(empty: Project, luck: random.Random) -> None:
    """Replaced, brought back and removed, with pauses longer than the quiet time, while runs are at work."""
    world = World(fresh(empty))
    world.deliver("B", "b1", 1)
    for _ in range(12):
        region = luck.choice("ABC")
        key = f"landing/{region}/2024/x.tif"
        if luck.random() < 0.25 and key in {item.key for item in world.project.store.list("landing")}:
            world.project.store.put(f"landing/{region}/2024/stays.tif", tiff(PLACES[region], 9))
            world.project.store.delete([key])
        else:
            world.deliver(region, "x", luck.randrange(3))
        for _ in range(luck.randrange(3)):
            world.now += luck.choice([1.0, QUIET / 2, 2 * QUIET])
            world.round(dies=luck.random() < 0.2)
        world.round()  # what comes and goes between two looks nobody can know
        while world.going and luck.random() < 0.5:
            world.finish(luck.choice(world.going))
    while world.going:
        world.finish(world.going[0])
    world.settle()
    assert world.tiles == world.truth()


# --- when a delivery is over ------------------------------------------------------------------------------------------


def test_nothing_is_asked_for_while_files_come(world: World) -> None:
    for count in range(5):
        world.deliver("A", f"a{count}")
        assert not world.round().asks
        world.now += QUIET - 1
    world.now += 2
    assert [ask.partition for ask in world.round().asks] == [A]


def test_a_region_is_quiet_only_when_all_its_years_are() -> None:
    pending = {A: Pending("x", NOW - 100), Partition(2023, "A"): Pending("y", NOW - 10), C: Pending("z", NOW - 70)}
    assert decide.settled(pending, NOW, QUIET) == [C]
    assert set(decide.settled(pending, NOW + 51, QUIET)) == set(pending)


def test_an_event_starts_the_wait_and_its_echo_does_not(empty: Project) -> None:
    first = decide.after_events({}, [(A, NOW)], NOW)
    assert decide.after_events(first, [(A, NOW - 50), (A, NOW)], NOW + 40) == first
    assert decide.after_events(first, [(A, NOW + 30)], NOW + 40)[A].since == NOW + 30
    assert decide.after_events({}, [(A, NOW + 9999)], NOW)[A].since == NOW, "a clock that is ahead must not stop us"


def test_a_file_that_grows_is_not_taken(tmp_path: Path) -> None:
    """A copy into a folder that pauses: sizes and times change; nothing is asked for before it ends."""
    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": QUIET})
    world, data = World(project), tiff(PLACES["A"])
    path = project.home / "store/landing/A/2024/a.tif"
    path.parent.mkdir(parents=True)
    for end in range(100, len(data), 100):
        path.write_bytes(data[:end])
        assert not world.round().asks
        world.now += QUIET * 0.9
    path.write_bytes(data)
    assert not world.round().asks
    world.now += QUIET
    assert [ask.partition for ask in world.round().asks] == [A]


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_tiles_wait_for_the_catalogues_of_all_sheets_that_lie_on_them(world: World) -> None:
    world.deliver("A", "a")
    world.deliver("B", "b")
    world.deliver("C", "c")
    world.round()
    world.now += QUIET
    first = {ask.partition: ask.assets for ask in world.round().asks}
    assert first == {A: ("sheets",), B: ("sheets",), C: ("sheets", "aerial_tiles")}
    world.finish(next(ask for ask in world.going if ask.partition == A))
    assert not world.round().asks, "B's catalogue is not there"
    world.finish(next(ask for ask in world.going if ask.partition == B))
    assert {ask.partition: ask.assets for ask in world.round().asks} == {A: ("aerial_tiles",), B: ("aerial_tiles",)}


def test_a_late_sheet_asks_for_the_neighbour_too_and_for_nobody_else(world: World) -> None:
    for name in "ABC":
        world.deliver(name, "x")
    world.settle()
    world.asked.clear()
    world.deliver("A", "late", 7)
    world.settle()
    asked = [(ask.partition, ask.assets) for ask in world.asked]
    assert asked == [(A, ("sheets", "aerial_tiles")), (B, ("aerial_tiles",))]
    assert world.asked[1].reason == "sheets of A lie on it"


def test_the_same_file_again_asks_for_nothing_and_one_brought_back_does(world: World) -> None:
    world.deliver("C", "c", 1)
    world.settle()
    world.deliver("C", "c", 1)
    world.settle()
    assert len(world.asked) == 1
    for version in (2, 1):
        world.deliver("C", "c", version)
        world.settle()
    assert len(world.asked) == 3, "it was another file in between"
    assert len({ask.key for ask in world.asked}) == 3


def test_a_file_that_came_back_while_a_run_read_the_other_is_asked_for_again(world: World) -> None:
    world.deliver("C", "c", 1)
    world.round()
    world.now += QUIET
    world.round()
    world.deliver("C", "c", 2)
    world.round()
    world.finish(world.going[0])
    assert world.tiles == world.truth(), "the run read what lay there"
    world.deliver("C", "c", 1)
    world.settle()
    assert world.tiles == world.truth()
    assert len(world.asked) == 2


def test_a_file_copied_anew_into_a_folder_asks_for_nothing(tmp_path: Path, empty: Project) -> None:
    """Its time changes, and so its tag; its bytes, which the sheets step knows, do not."""
    from groundplan.imagery.landing import sheet_digests

    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": QUIET})
    world = World(project)
    for version, runs in ((1, 1), (1, 1), (2, 2)):
        world.deliver("C", "c", version)
        world.settle()
        assert len(world.asked) == runs
        if version == 1 and runs == len(world.asked):
            sheet_digests(project, C)


def test_a_removed_sheet_is_a_change_and_an_empty_folder_is_none(world: World) -> None:
    world.deliver("C", "c1", 1)
    world.deliver("C", "c2", 2)
    world.settle()
    world.project.store.delete(["landing/C/2024/c2.tif"])
    world.settle()
    assert len(world.asked) == 2
    world.project.store.delete(["landing/C/2024/c1.tif"])
    world.settle()
    assert len(world.asked) == 2, "a disk that is not mounted must not ask for anything"
    world.deliver("C", "c1", 1)
    world.settle()
    assert len(world.asked) == 2, "what came back is what was asked for"


def test_what_was_made_before_anybody_watched_is_not_asked_for(tmp_path: Path) -> None:
    from groundplan.pipeline import run_step

    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": QUIET})
    world = World(project)
    for region in "AB":
        world.deliver(region, "x", 5)
        for name in ("sheets", "aerial_tiles"):
            run_step(project, name, Partition(2024, region))
        world.sheet_catalogs[Partition(2024, region)] = world.state(Partition(2024, region))
    world.settle()
    assert not world.asked
    assert all(item.box for item in landing.load_known(project.store).values())
    world.deliver("A", "late", 9)
    world.settle()
    assert {ask.partition: ask.assets for ask in world.asked} == {
        A: ("sheets", "aerial_tiles"),
        B: ("aerial_tiles",),
    }


@pytest.mark.bad_input
def test_a_sheet_without_a_place_is_asked_for_all_the_same(world: World) -> None:
    """The run sets it aside with reason and remedy; here it only touches nobody else."""
    world.project.store.put("landing/A/2024/a.tif", b"no image")
    world.deliver("B", "b")
    world.round()
    world.now += QUIET
    assert {ask.partition: ask.assets for ask in world.round().asks} == {
        A: ("sheets", "aerial_tiles"),
        B: ("sheets", "aerial_tiles"),
    }


@pytest.mark.bad_input
@pytest.mark.parametrize("key", [f"landing/{where}/a.tif" for where in ("A/2099", "A/1899", ".a/2024", "A/x")])
def test_folders_of_no_region_and_year_are_shown(world: World, key: str) -> None:
    world.project.store.put(key, tiff(0.0))
    world.round()
    world.now += QUIET
    found = world.round()
    assert not found.asks
    assert any(key.rpartition("/")[0].split("/")[1] in note for note in found.notes), found.notes


@pytest.mark.fault
def test_a_listing_that_fails_is_not_an_empty_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deliver("A", "a")
    world.round()
    before = world.cursor
    world.now += QUIET
    real = Bucket.list

    def fails(self: Bucket, prefix: str = "") -> list[Found]:
        if prefix.startswith("landing/A"):
            raise StoreFailed(prefix, "it could not be listed", "Try again")
        return real(self, prefix)

    monkeypatch.setattr(Bucket, "list", fails)
    with pytest.raises(StoreFailed):
        world.round()
    assert world.cursor == before
    monkeypatch.setattr(Bucket, "list", real)
    assert [ask.partition for ask in world.round().asks] == [A]


@pytest.mark.fault
def test_a_slow_store_is_listed_slice_by_slice_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "LOOK_SECONDS", 0.0)
    for number in range(40):
        world.project.store.put(f"landing/r{number:02d}/2024/x.tif", b"x")
    counts = []
    for _ in range(4):
        counts.append(len(world.round().cursor.pending))
    assert counts == [32, 40, 40, 40]
    assert world.round().cursor.at


def test_a_cursor_holds_no_more_than_it_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A country that is delivered at once: the listing stands still until the first regions are decided."""
    monkeypatch.setattr(scan, "MOST_PENDING", 20)
    for number in range(60):
        world.project.store.put(f"landing/r{number:02d}/2024/x.tif", b"x")
    most = 0
    for _ in range(12):
        most = max(most, len(world.round().cursor.pending))
        world.now += QUIET
    assert most < 20 + 32
    assert len({ask.partition for ask in world.asked}) == len(world.asked) == 60


def test_headers_are_read_once_and_in_as_many_rounds_as_it_takes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = looking.opened
    monkeypatch.setattr(looking, "opened", lambda project, key, *more: opened.append(key) or real(project, key, *more))
    monkeypatch.setattr(scan, "AT_ONCE", 1)
    monkeypatch.setattr(parallel, "AT_ONCE", 1)
    for count in range(5):
        world.deliver("A", f"a{count}", count)
    world.round()
    world.now += QUIET
    part, known = A, landing.load_known(world.project.store)
    found = landed_files(world.project, part)
    ticks = iter([False, False, True, True, True])
    change, _ = landing.read_change(world.project, part, found, known, lambda: next(ticks))
    assert change is None
    assert len(opened) == 2
    assert [ask.partition for ask in world.round().asks] == [A]
    world.round()
    assert len(opened) == 5
    world.deliver("A", "a5", 9)
    world.settle()
    assert len(opened) == 6


def test_many_partitions_become_backfills_by_year() -> None:
    years = (2023, 2024)
    asks = [Ask(Partition(year, f"r{i}"), ("sheets",), "", f"{year}{i}") for year in years for i in (1, 2)]
    assert runs_or_backfills(asks, 4, "new imagery") == (tuple(asks), ())
    runs, backfills = runs_or_backfills(asks, 3, "new imagery")
    assert not runs
    assert [(item.partitions[0].year, len(item.partitions), item.title) for item in backfills] == [
        (2023, 2, "new imagery 2023: sheets of 2 regions"),
        (2024, 2, "new imagery 2024: sheets of 2 regions"),
    ]
    assert len({item.key for item in backfills}) == 2
    assert runs_or_backfills(asks[::-1], 3, "new imagery")[1][0].key == backfills[0].key


# --- whose ground -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.floats(20, 900), min_size=1, max_size=4, unique=True))
def test_owners_of_blocks_are_those_of_the_tile_step(cuts: list[float]) -> None:
    grid = Grid("EPSG:28992", 0.30, 256, ORIGIN)
    edges = [0.0, *sorted(cuts), 950.0]
    shapes = {
        f"r{i}": shapely.box(ORIGIN[0] + low, ORIGIN[1] - 300, ORIGIN[0] + high, ORIGIN[1] - 10)
        for i, (low, high) in enumerate(pairwise(edges))
    }
    project: Any = SimpleNamespace(grid=grid, store=open_store("memory://owners"))
    buffer = io.BytesIO()
    gpd.GeoDataFrame({"name": list(shapes)}, geometry=list(shapes.values()), crs=grid.crs).to_parquet(buffer)
    project.store.put(regions.KEY, buffer.getvalue())
    owned = {name: set(owned_blocks(project, name, Catalog((), ()))) for name in shapes}
    for block in grid.touching((ORIGIN[0], ORIGIN[1] - 400, ORIGIN[0] + 1000, ORIGIN[1])):
        name = owner(grid, block, shapes)
        assert {other for other, blocks in owned.items() if block in blocks} == ({name} if name else set())
        inside = [key for key, shape in shapes.items() if shape.intersection(grid.polygon(block)).area > 0.09]
        assert (name in inside) if inside else (name is None), "ground has one owner, and it is one that has some of it"


def test_with_polygons_a_sheet_touches_the_regions_that_own_its_blocks(world: World) -> None:
    grid = world.project.grid
    sheet = tuple((ORIGIN[0] + x, ORIGIN[1] - y) for x, y in ((60, 5), (100, 5), (100, 45), (60, 45)))
    others = {A: [], B: [], C: []}
    boxes = {"A": (0, 70), "B": (70, 200), "C": (800, 1000)}
    shapes = {n: shapely.box(ORIGIN[0] + a, ORIGIN[1] - 200, ORIGIN[0] + b, ORIGIN[1]) for n, (a, b) in boxes.items()}
    assert touched(grid, [sheet], others, shapes) == {A, B}


# --- loose files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "tags", "target"),
    [
        ("landing/zanzibar_2022_E.tif", {}, "landing/zanzibar/2022/"),
        ("landing/2021/kampala.tif", {}, "landing/kampala/2021/"),
        ("landing/noord/x_2019.tif", {}, "landing/noord/2019/"),
        ("landing/noord/x_2019.tif", {"TIFFTAG_DATETIME": "2018:07:01 10:00:00"}, "landing/noord/2019/"),
        ("landing/noord/x.tif", {"TIFFTAG_DATETIME": "2018:07:01 10:00:00"}, "landing/noord/2018/"),
        ("landing/2018_north.tif", {"TIFFTAG_DATETIME": "2019:01:14 08:00:00"}, "landing/north/2018/"),
        ("landing/noord/x.tif", {"ACQUISITION_DATE": "2017-05-04"}, "landing/noord/2017/"),
        ("landing/banepa_wide_20230501.tif", {}, "landing/banepa_wide/2023/"),
        ("landing/town.tif", {}, "landing/town/2026/"),
    ],
)
def test_a_loose_file_finds_its_region_and_year(world: World, key: str, tags: dict[str, str], target: str) -> None:
    store, data = world.project.store, tiff(300.0, 3, **tags)
    store.put(key, data)
    store.put(key.replace(".tif", ".tif.aux.xml"), b"<PAMDataset/>")
    store.put("landing/notes.txt", b"for people")
    world.round()
    assert store.exists(key), "it may still grow"
    world.now += QUIET
    world.round()
    world.round(dies=True)
    asked = world.round().asks
    name = key.rsplit("/", 1)[-1]
    assert store.get(target + name) == data
    assert store.exists(target + name.replace(".tif", ".tif.aux.xml"))
    assert not store.exists(key)
    assert [f"landing/{ask.partition.region}/{ask.partition.year}/" for ask in asked] == [target]
    assert store.exists("landing/notes.txt")


@pytest.mark.bad_input
def test_a_loose_file_replaces_nothing(world: World) -> None:
    """Neither what lies there, nor another loose file of the same round; and its mask and .prj go with it."""
    store = world.project.store
    there = "landing/noord/2019/x.tif"
    store.put(there, tiff(0.0))
    store.put("landing/noord/x.tif", tiff(300.0, 3, ACQUISITION_DATE="2019-05-04"))
    store.put("landing/noord/lost.tfw", b"1")
    for key in ("landing/noord/z_2019.tif", "landing/noord/z_2019.prj", "landing/noord/z_2019.tif.msk"):
        store.put(key, tiff(600.0, 3))
    world.round()
    world.now += QUIET
    notes = world.round().notes
    world.round()
    assert store.get(there) == tiff(0.0)
    assert store.exists("landing/noord/x.tif")
    assert any("landing/noord/2019/x.tif is there already, added 2" in note for note in notes), notes
    assert any("landing/noord/lost.tfw belongs to no sheet" in note for note in notes), notes
    for name in ("z_2019.tif", "z_2019.prj", "z_2019.tif.msk"):
        assert store.exists(f"landing/noord/2019/{name}"), name


def test_two_loose_files_of_one_round_do_not_take_one_place() -> None:
    found = Found("landing/x.tif", 1, datetime(2024, 1, 2, tzinfo=UTC), "tag")
    loose_files.check_free("landing/2019/x.tif", ["landing/a/2019/x.tif"], {})
    with pytest.raises(BadSheet, match=r"landing/x\.tif is there already, added 2024-01-02"):
        loose_files.check_free("landing/2019/X.tif", ["landing/a/2019/X.tif"], {"landing/a/2019/x.tif": found})


def test_a_loose_file_goes_where_most_of_it_lies(world: World) -> None:
    """Ground that has imagery already; a polygon file goes before it."""
    project = world.project
    known = {Partition(2019, "old"): KnownDelivery(1, "s", (ORIGIN[0], ORIGIN[1] - 60, ORIGIN[0] + 30, ORIGIN[1]))}
    outline = tuple((ORIGIN[0] + x, ORIGIN[1] - y) for x, y in ((5, 5), (45, 5), (45, 45), (5, 45)))
    assert loose_files.region_of(project, outline, "new_1.tif", known) == "old"
    import geopandas as gpd

    boxes = [(0, 20), (20, 90)]
    shapes = [shapely.box(ORIGIN[0] + a, ORIGIN[1] - 90, ORIGIN[0] + b, ORIGIN[1]) for a, b in boxes]
    buffer = io.BytesIO()
    gpd.GeoDataFrame({"name": ["west", "east"]}, geometry=shapes, crs="EPSG:28992").to_parquet(buffer)
    project.store.put("regions/regions.parquet", buffer.getvalue())
    assert loose_files.region_of(project, outline, "new_1.tif", known) == "east"


@pytest.mark.parametrize(
    ("name", "tags", "expected", "says"),
    [
        (
            "ortho_2018_83000_455000.tif",
            {"TIFFTAG_DATETIME": "2023:03:01 10:11:12"},
            2018,
            "TIFFTAG_DATETIME says 2023",
        ),
        ("a_2018.tif", {"TIFFTAG_DATETIME": "2018:03:01 10:11:12"}, 2018, ""),
        ("delft_20181231.tif", {}, 2018, ""),
        ("m_4007405_ne_18_060_20190814_2000.tif", {}, 2019, ""),
        ("LUBUF_2019-05-02.tif", {"ACQUISITIONDATETIME": "2019-05-02"}, 2019, ""),
        ("a_2020.tif", {"ACQUISITION_DATE": "2019-05-02"}, 2019, "its name says 2020"),
        ("1950_2021_delft.tif", {"ACQUISITION_DATE": "2021-05-02"}, 2021, "its name says 1950"),
        ("a.tif", {"TIFFTAG_DATETIME": "2018:03:01 10:11:12"}, 2018, "may be when the file was written"),
        ("a.tif", {}, 2026, "filed under 2026"),
        ("a_1632.tif", {"TIFFTAG_DATETIME": "1904:01:01 00:00:00"}, 2026, "filed under 2026"),  # a clock never set
    ],
)
def test_a_year_in_the_name_wins_over_when_the_file_was_written(
    name: str, tags: dict[str, str], expected: int, says: str
) -> None:
    year, word = loose_files.year_of(tags, name, 2026)
    assert year == expected
    assert says in word
    assert bool(word) == bool(says)


def test_what_was_decided_between_two_sayings_is_said_in_the_tick(world: World) -> None:
    key = "landing/ortho_2018.tif"
    world.project.store.put(key, tiff(0.0, TIFFTAG_DATETIME="2023:03:01 10:11:12"))
    world.round()
    world.now += QUIET
    notes = world.round().notes
    assert any(key in note and "2018" in note and "TIFFTAG_DATETIME says 2023" in note for note in notes), notes


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("zanzibar_2022_E.tif", "zanzibar"),
        ("banepa_wide_20230501.tif", "banepa_wide"),
        ("2018_north.tif", "north"),
        ("20180501-oud-west.tif", "oud-west"),
        ("delft2_2020.tif", "delft2"),
        ("kampala.tif", "kampala"),
        ("kampala_4_7.tif", "kampala"),
        ("Zürich_2020.tif", "Zürich"),
        ("лист_2020.tif", "лист"),
    ],
)
def test_a_new_region_has_the_name_that_its_sheets_begin_with(name: str, region: str) -> None:
    assert loose_files.named_region(name) == region


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name",
    [
        "m_4007405_ne_18_060_20190814_2000.tif",
        "m_4007405_ne_18_060.tif",
        "dop20rgb_32_480_5750_2_nw_2021.tif",
        "dop20rgb_32_480_5750_2_nw.tif",
        "37E1_2022.tif",
        "2022_83000_455000.tif",
        "2022.tif",
        "_.tif",
    ],
)
def test_a_sheets_number_is_no_region(name: str) -> None:
    with pytest.raises(BadSheet, match="no region can be told from its name"):
        loose_files.named_region(name)


@pytest.mark.bad_input
def test_a_name_that_says_two_years_is_set_aside() -> None:
    with pytest.raises(BadSheet, match="several years: 1950, 2021"):
        loose_files.year_of({}, "1950_2021_delft.tif", 2026)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("key", "data", "says"),
    [
        ("landing/m_4007405_ne_18_060.tif", tiff(300.0, 3), "no region can be told from its name"),
        ("landing/1950_2021_delft.tif", tiff(300.0, 3), "several years: 1950, 2021"),
        ("landing/x.tif", b"no image", "it is no image"),
        ("landing/x.tif", tiff(0.0, crs=None), "it states no CRS"),
        ("landing/.hidden/x_2022.tif", tiff(0.0), "no region can be named"),
    ],
)
def test_a_loose_file_that_cannot_be_filed_stays_and_says_why(world: World, key: str, data: bytes, says: str) -> None:
    world.project.store.put(key, data)
    world.round()
    world.now += QUIET
    for _ in range(3):
        notes = world.round().notes
        assert any(key in note and says in note for note in notes), notes
    assert world.project.store.get(key) == data
    world.project.store.delete([key])
    world.round()
    assert not any(key in note for note in world.round().notes)


@pytest.mark.bad_input
def test_a_file_that_trips_the_library_stops_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def trips(*_: Any) -> Any:
        raise ZeroDivisionError("deep in a library")

    monkeypatch.setattr(looking, "outline_of", trips)
    world.deliver("C", "c")
    world.project.store.put("landing/x.tif", tiff(0.0))
    world.round()
    world.now += QUIET
    found = world.round()
    assert [ask.partition for ask in found.asks] == [C]
    assert any("ZeroDivisionError" in note for note in found.notes)


@pytest.mark.bad_input
def test_a_year_that_is_not_over_yet_is_refused(world: World) -> None:
    item = Found("landing/2099/x.tif", 1, None, "t")  # type: ignore[arg-type]
    world.project.store.put(item.key, tiff(0.0))
    with pytest.raises(BadSheet, match="2099"):
        loose_files.moves_of(world.project, item, [item], {}, 2026)


# --- the cursor -------------------------------------------------------------------------------------------------------


def test_a_cursor_comes_back(world: World) -> None:
    for name in "AB":
        world.deliver(name, "x")
    world.project.store.put("landing/x.tif", b"no image")
    world.round()
    world.now += QUIET
    cursor = world.round().cursor
    assert cursor.waiting
    assert cursor.decided
    assert cursor.loose
    assert Cursor.from_text(cursor.to_text()) == cursor
    assert Cursor.from_text("") == Cursor()


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["{", "[]", '{"version": 99}', '{"version": 1, "pending": {"A": 1}}', "17"])
def test_a_cursor_that_is_none_says_what_to_do(text: str) -> None:
    with pytest.raises(BadConfig, match="Reset it"):
        Cursor.from_text(text)


def test_a_cursor_that_is_reset_asks_for_nothing_anew(world: World) -> None:
    for name in "ABC":
        world.deliver(name, "x")
    world.settle()
    asked = len(world.asked)
    world.cursor = ""
    world.settle()
    assert len(world.asked) == asked


@pytest.fixture(autouse=True)
def _no_heavy_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not cut a listing short in tests that count rounds."""
    monkeypatch.setattr(scan, "LOOK_SECONDS", 60.0)
    monkeypatch.setattr(scan, "WORK_SECONDS", 60.0)
