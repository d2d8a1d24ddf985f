"""Kills, late sheets and changed settings: what is made again, and that the bytes never depend on it.

Processes are killed for real. They are forked from multiprocessing's fork server, which has imported the libraries and
run none of them, so that a kill costs seconds; one case of each kind goes through `python -m orchestration.cli.main`.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, MakeProject, build_all, deliver_country, digests, give_model
from noise import deliver_picture, noise

from groundplan.core.grid import Block
from groundplan.core.manifest import Manifest, need_manifest
from groundplan.core.partition import Partition
from groundplan.core.store import INCOMING, open_store
from groundplan.footprints import predictions
from groundplan.imagery import tiles
from groundplan.pipeline import STEPS, asset_state, partitions_of, run_asset
from groundplan.project import Project, open_project
from groundplan.synthetic.country import Country
from groundplan.training import models

pytestmark = pytest.mark.slow  # processes are killed for real, each after it has begun to work

YEAR = 2024
WORKERS = TINY["run"]["workers"]
PATIENCE = 180.0  # seconds for one run on a machine that has other things to do
LIBRARIES = (
    "torch",
    "segmentation_models_pytorch",
    "timm",
    "onnx",
    "openvino",
    "rasterio",
    "geopandas",
    "pyogrio",
    "cv2",
    "scipy.signal",
    "skimage.segmentation",
    "rio_cogeo.cogeo",
    "orchestration.cli.main",
    "orchestration.definitions",
    "groundplan.training.network",
    "groundplan.training.thresholds",
    "groundplan.inference.runtime",
    "groundplan.polygons.regularize",
    "matplotlib.figure",
)


# --- processes that are there to be killed ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def nursery() -> Any:
    """Starts processes that have everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


def cli_process(arguments: list[str], log: str, quiet: bool = True) -> None:
    """In the new process: the command line, with a line in `log` whenever work on an object begins.

    Checkpoints are saved at every step, and the moment between writing and renaming a file is stretched, so that kills
    find them.
    """
    from groundplan.training import loop
    from orchestration.cli import main

    if quiet:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    loop.SAVE_EVERY = 0.0
    real_sync = os.fsync
    os.fsync = lambda number: (real_sync(number), time.sleep(0.02))[0]  # type: ignore[assignment]
    notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for name, step in list(STEPS.items()):
        STEPS[name] = replace(step, make=_noted(step.make, notes))  # type: ignore[index]
    sys.argv = ["groundplan", *arguments]
    main.main()


def _noted(make: Callable[..., Any], notes: int) -> Callable[..., Any]:
    def noted(project: Project, planned: Any, check: Any) -> Any:
        os.write(notes, f"{os.getpid()} {planned.key}\n".encode())
        return make(project, planned, check)

    return noted


def begun(log: Path) -> list[tuple[int, str]]:
    """(process, key) of all work that was begun, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines]


def wait_for(condition: Callable[[], Any], process: Any, seconds: float = PATIENCE) -> bool:
    """Whether the condition came true before the process ended by itself. Fails when neither happens."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        if not process.is_alive():
            return bool(condition())
        time.sleep(0.002)
    raise AssertionError(f"nothing happened in {seconds} s")


class Watcher(threading.Thread):
    """Lists the store all the time and compares what it sees with how an undisturbed run ended."""

    def __init__(self, project: Project, final: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self.project, self.final = project, final
        self.listings = 0
        self.unfinished = 0  # files seen waiting below INCOMING, which no listing may show
        self.wrong: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                self._look()
            except Exception as error:  # a watcher that dies silently would pass every test
                self.wrong.append(f"listing failed: {error!r}")
            time.sleep(0.01)

    def _look(self) -> None:
        store = self.project.store
        assert store.root is not None
        # manifests first: what they name must be in a listing that was made later
        manifests = [Manifest.from_json(store.get(item.key)) for item in store.list("manifests")]
        sizes = {item.key: item.size for item in store.list()}
        self.listings += 1
        self.unfinished += len(os.listdir(store.root / INCOMING))
        for key, size in sizes.items():
            if key.startswith(INCOMING):
                self.wrong.append(f"{key} is listed")
            if key.split("/")[0] in STEPS and self.final.get(key) != size:
                self.wrong.append(f"{key} has {size} bytes, at the end {self.final.get(key)}")
        for manifest in manifests:
            for made in manifest.objects.values():
                if sizes.get(made.key) != made.bytes:
                    self.wrong.append(f"{manifest.dataset} names {made.key}, which has {sizes.get(made.key)} bytes")

    def end(self) -> None:
        self.stopped.set()
        self.join()


def sizes_of(project: Project) -> dict[str, int]:
    return {item.key: item.size for name in STEPS for item in project.store.list(name)}


# --- SIGKILL ----------------------------------------------------------------------------------------------------------

# Each kill waits until work on a dataset begins, then for a random time below `longest`: so kills fall everywhere in
# the chain on a machine of any speed. "checkpoints" waits until a step of the training has been saved.
KILLS = [
    ("aerial_tiles", 0.05),
    ("aerial_tiles", 0.15),
    ("register_buildings", 0.1),
    ("labels", 0.05),
    ("labels", 0.1),
    ("training_windows", 0.05),
    ("trained_model", 0.5),
    ("checkpoints", 0.0),
    ("checkpoints", 0.1),
    ("trained_model", 4.0),
    ("predictions", 0.1),
    ("predictions", 0.5),
    ("building_outlines", 0.1),
    ("building_outlines", 0.2),
    ("building_footprints", 0.1),
]


@pytest.fixture(scope="module")
def battered(tmp_path_factory: pytest.TempPathFactory, country: Country, built_home: Path) -> Iterator[Any]:
    """A home in which nothing is made yet, and a watcher over it through all kills."""
    from conftest import new_project

    project = new_project(tmp_path_factory.mktemp("battered") / "home")
    deliver_country(project, country)
    watcher = Watcher(project, sizes_of(open_project(built_home)))
    watcher.start()
    yield project, watcher, project.home / "begun.log"
    watcher.end()


@pytest.mark.kill
@pytest.mark.parametrize(("dataset", "longest"), KILLS, ids=[f"{i:02d}-{name}" for i, (name, _) in enumerate(KILLS)])
def test_a_kill_costs_the_blocks_in_hand(
    battered: Any, nursery: Any, built_home: Path, dataset: str, longest: float, request: pytest.FixtureRequest
) -> None:
    project, watcher, log = battered
    moment = random.Random(request.node.name).uniform(0, longest)
    before, already = digests(project), len(begun(log))
    saved = {item.tag for item in project.store.list("checkpoints")}

    def here() -> bool:
        if dataset == "checkpoints":
            return bool({item.tag for item in project.store.list(dataset)} - saved)
        return any(key.startswith(f"{dataset}/") for _, key in begun(log)[already:])

    process = nursery.Process(target=cli_process, args=(["build", "--home", str(project.home)], str(log)))
    process.start()
    try:
        assert wait_for(here, process), "there was nothing left to do at this stage: this kill proves nothing"
        time.sleep(moment)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    after, work = digests(project), [key for _, key in begun(log)[already:]]
    assert not watcher.wrong
    assert len(work) == len(set(work)), "one run makes a block once"
    assert not set(work) & set(before), "what was finished before is not made again"
    assert after.keys() >= before.keys(), "what was finished is not lost"
    assert len(set(work) - set(after)) <= WORKERS, "a kill costs no more than the blocks in hand"
    final = digests(open_project(built_home))
    assert {key: final.get(key) for key in after} == after


@pytest.mark.kill
def test_after_all_kills_the_bytes_are_those_of_an_undisturbed_run(
    battered: Any, nursery: Any, built_home: Path
) -> None:
    project, watcher, log = battered
    process = nursery.Process(target=cli_process, args=(["build", "--home", str(project.home)], str(log)))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    watcher.end()
    assert not watcher.wrong
    assert watcher.listings > 50
    assert watcher.unfinished > 0, "the watcher never looked while a file was half-written: it proved nothing"
    undisturbed = open_project(built_home)
    assert digests(project) == digests(undisturbed)
    for item in undisturbed.store.list("manifests"):
        one, other = (Manifest.from_json(place.get(item.key)) for place in (undisturbed.store, project.store))
        assert (other.identity(), other.fingerprint) == (one.identity(), one.fingerprint), item.key
        assert [made.facts.keys() for made in other.objects.values()] == [m.facts.keys() for m in one.objects.values()]
    times = Counter(key for _, key in begun(log))
    kills = len({number for number, _ in begun(log)}) - 1
    assert sum(times.values()) - len(times) <= WORKERS * kills


@pytest.mark.kill
def test_the_real_command_killed_at_a_random_moment(tmp_path: Path, country: Country, built_home: Path) -> None:
    home = without(tmp_path / "home", built_home, "aerial_tiles", "labels", "predictions", "building_outlines")
    project = open_project(home)
    final = digests(open_project(built_home))
    with command("build", "--home", str(home)) as process:
        until = time.monotonic() + PATIENCE
        while not project.store.list("aerial_tiles") and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(random.Random(5).uniform(0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert digests(project).items() <= final.items()
    build_all(project)
    assert digests(project) == final


@pytest.mark.kill
def test_a_kill_with_several_blocks_in_hand(tmp_path: Path, nursery: Any, built_home: Path) -> None:
    """Predictions by torch, as on a GPU: the blocks in hand are lost, and the bytes do not depend on it."""
    homes = [without(tmp_path / name, built_home, "predictions") for name in ("calm", "killed")]
    for home in homes:
        settings = home / "groundplan.toml"
        settings.write_text(settings.read_text().replace("[predict]", '[predict]\nruntime = "torch"'))
    calm, killed = (open_project(home) for home in homes)
    partitions = partitions_of(calm, predictions.DATASET)
    for partition in partitions:
        run_asset(calm, predictions.DATASET, partition)
    final, log = digests(calm, predictions.DATASET), tmp_path / "begun.log"
    assert final.keys() == digests(open_project(built_home), predictions.DATASET).keys(), "no device is part of a key"
    process = nursery.Process(
        target=cli_process, args=(["build", "--home", str(killed.home), "--select", "predictions"], str(log))
    )
    process.start()
    assert wait_for(lambda: digests(killed, predictions.DATASET), process), "nothing was made before the kill"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    kept, work = digests(killed, predictions.DATASET), [key for _, key in begun(log)]
    assert kept.items() <= final.items()
    assert len(set(work) - set(kept)) <= predictions.STEP.in_hand(killed)
    for partition in partitions:
        run_asset(killed, predictions.DATASET, partition)
    assert digests(killed, predictions.DATASET) == final


def test_what_kills_leave_half_written_goes_after_a_day(tmp_path: Path) -> None:
    incoming = tmp_path / "store" / INCOMING
    open_store("", tmp_path)
    for name, hours in {"old": 25, "young": 1}.items():
        (incoming / name).write_bytes(b"half")
        os.utime(incoming / name, (time.time() - hours * 3600,) * 2)
    open_store("", tmp_path)
    assert os.listdir(incoming) == ["young"]


# --- two at once ------------------------------------------------------------------------------------------------------


@pytest.mark.kill
@pytest.mark.parametrize("last", ["labels", "building_footprints"])
def test_two_processes_on_the_same_partitions(tmp_path: Path, nursery: Any, built_home: Path, last: str) -> None:
    """Kubernetes can believe a pod dead that still runs."""
    below = ["aerial_tiles", "register_buildings", "labels"]
    if last != "labels":
        below += ["training_windows", "predictions", "building_outlines", "building_footprints"]
    home = without(tmp_path / "home", built_home, *below)
    final = digests(open_project(built_home))
    watcher = Watcher(open_project(home), sizes_of(open_project(built_home)))
    watcher.start()
    both = [
        nursery.Process(target=cli_process, args=(["build", "--home", str(home)], str(tmp_path / f"{n}.log")))
        for n in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE)
    watcher.end()
    assert [process.exitcode for process in both] == [0, 0]
    assert not watcher.wrong
    assert digests(open_project(home)) == final
    assert all(begun(tmp_path / f"{n}.log") for n in range(2)), "both had work"


# --- SIGTERM ----------------------------------------------------------------------------------------------------------


@pytest.mark.kill
def test_sigterm_stops_within_a_block(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery={"compress": "zstd"})
    deliver_picture(project, "delft", noise(64 * 40, 64 * 40), "a.tif")  # 10 x 10 blocks
    with command("build", "--home", str(project.home), "--year", str(YEAR)) as process:
        until = time.monotonic() + PATIENCE
        while not project.store.list(tiles.DATASET) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        at_signal = len(project.store.list(tiles.DATASET))
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 143
    kept = digests(project, tiles.DATASET)
    # the blocks in hand, those that ended while the listing was read, and those made before the signal was handled
    assert at_signal <= len(kept) <= at_signal + 20
    assert not project.store.list(f"manifests/{tiles.DATASET}"), "half a partition is not committed"
    assert not os.listdir(project.store.root / INCOMING)
    report = run_asset(project, tiles.DATASET, Partition(YEAR, "delft"))[0]
    assert report.skipped == len(kept)
    assert len(report.made) == 100 - len(kept)
    assert kept.items() <= digests(project, tiles.DATASET).items()


@pytest.mark.kill
def test_sigterm_while_learning_keeps_the_steps_done(
    tmp_path: Path, nursery: Any, built_home: Path, make_project: MakeProject
) -> None:
    home = without(tmp_path / "home", built_home, "trained_model", "checkpoints")
    project, log = open_project(home), tmp_path / "begun.log"
    arguments = ["build", "--home", str(home), "--select", "trained_model"]
    process = nursery.Process(target=cli_process, args=(arguments, str(log)))
    process.start()
    wait_for(lambda: project.store.list("checkpoints"), process)
    os.kill(process.pid, signal.SIGTERM)
    process.join(PATIENCE)
    assert process.exitcode == 143
    assert project.store.list("checkpoints")
    assert not project.store.list("manifests/trained_model")
    run_asset(project, models.DATASET, Partition(YEAR))
    assert digests(project, models.DATASET) == digests(open_project(built_home), models.DATASET)


# --- what a change remakes --------------------------------------------------------------------------------------------

SIDE = 512  # pixels of these blocks: twice the strip that neighbours see
COLUMNS, ROWS = 4, 3


def add_houses(project: Project) -> None:
    """A register with a house in every block, and an extent over everything."""
    import geopandas as gpd
    import shapely

    from groundplan.labels.registers import add_register

    grid = project.grid
    corners = [grid.corner(col * SIDE + 300, row * SIDE + 300) for col in range(COLUMNS) for row in range(ROWS)]
    houses = [shapely.box(x, y - 9, x + 12, y) for x, y in corners]
    x0, y0 = grid.corner(0, 0)
    x1, y1 = grid.corner(COLUMNS * SIDE, ROWS * SIDE)
    files = {"houses": houses, "extent": [shapely.box(x0, y1, x1, y0)]}
    for name, shapes in files.items():
        gpd.GeoDataFrame(geometry=shapes, crs=grid.crs).to_file(project.home / f"{name}.gpkg")
    add_register(project, project.home / "houses.gpkg", YEAR, project.home / "extent.gpkg")


def without(home: Path, source: Path, *rooms: str) -> Path:
    """A copy of a home without what was made in some datasets."""
    shutil.copytree(source, home)
    for room in rooms:
        for top in ("", "manifests/", "failures/", "journal/"):
            shutil.rmtree(home / "store" / f"{top}{room}", ignore_errors=True)
    return home


def command(*arguments: str) -> subprocess.Popen[bytes]:
    """The real command line in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "orchestration.cli.main", *arguments], stdout=subprocess.DEVNULL)


def keys_of(project: Project, dataset: str, region: str = "delft") -> dict[str, str]:
    objects = need_manifest(project.store, dataset, Partition(YEAR, region)).objects
    return {name: made.key for name, made in objects.items()}


def pixels_of(project: Project, dataset: str, region: str = "delft") -> dict[str, np.ndarray]:
    """Block to pixels, read by rasterio alone."""
    import rasterio

    found = {}
    for name, key in keys_of(project, dataset, region).items():
        with rasterio.open(project.store.local_path(key)) as source:
            found[name] = source.read(masked=True).filled(0)
    return found


def seen_by(project: Project, dataset: str, before: dict[str, np.ndarray]) -> set[str]:
    """Blocks of which a neighbour could see a change: within 256 pixels of the border that they share."""
    after = pixels_of(project, dataset)
    seen = set()
    for name, old in before.items():
        block, changed = Block.parse(name), (old != after[name]).any(axis=0)
        near = {-1: slice(0, 256), 0: slice(0, SIDE), 1: slice(SIDE - 256, SIDE)}
        for other in block.neighbors():
            part = changed[near[other.row - block.row], near[other.col - block.col]]
            if part.any() and other.name in before:
                seen.add(other.name)
    return seen


@pytest.fixture(scope="module")
def plain_home(tmp_path_factory: pytest.TempPathFactory, built_home: Path) -> Path:
    """One region of 4 x 3 blocks of 512 pixels from two sheets, with a given model, the whole chain made."""
    from conftest import new_project

    project = new_project(tmp_path_factory.mktemp("plain") / "home", grid={"block_size": SIDE}, split={"window": 256})
    picture = noise(COLUMNS * SIDE, ROWS * SIDE)
    deliver_picture(project, "delft", picture[: 2 * SIDE], "north.tif")
    deliver_picture(project, "delft", picture[2 * SIDE :], "south.tif", (0, 2 * SIDE))
    add_houses(project)
    give_model(project, built_home)
    made = build_all(project)
    assert {name: len(blocks) for name, blocks in made.items()} == {
        "sheets": 1,
        "aerial_tiles": 12,
        "register_buildings": 1,
        "labels": 12,
        "training_windows": 1,
        "trained_model": 0,
        "predictions": 12,
        "building_outlines": 12,
        "building_footprints": 1,
    }
    return project.home


LATE = {
    # a sheet of 150 x 150 pixels at (col, row): blocks that it touches, blocks whose prediction it can change
    "inside": ((SIDE + 60, SIDE + 60), {"x01y01"}, {"x00y00", "x01y00", "x00y01", "x01y01"}),
    "across a border": (
        (2 * SIDE - 75, SIDE + 300),
        {"x01y01", "x02y01"},
        {"x01y01", "x02y01", "x01y02", "x02y02"},
    ),
}


@pytest.mark.parametrize("place", LATE)
def test_a_late_sheet_remakes_what_it_touches(tmp_path: Path, plain_home: Path, place: str) -> None:
    project = open_project(shutil.copytree(plain_home, tmp_path / "home"))
    at, touched, sees = LATE[place]
    before = {name: keys_of(project, name) for name in ("aerial_tiles", "labels", "predictions", "building_outlines")}
    predicted = pixels_of(project, "predictions")
    model = digests(project, models.DATASET)
    deliver_picture(project, "delft", noise(150, 150, seed=2), "late.tif", at, "2024:09:01")
    made = {name: {key.split("/")[1] for key in keys} for name, keys in build_all(project).items()}
    assert made["aerial_tiles"] == made["labels"] == touched
    assert made["predictions"] == sees
    # an outline is made anew where its own prediction was, or where one beside it changed near the border
    assert made["building_outlines"] == sees | seen_by(project, "predictions", predicted)
    assert len(made["building_outlines"]) < COLUMNS * ROWS
    once = {"sheets": 1, "training_windows": 1, "trained_model": 0, "building_footprints": 1}
    assert {name: len(made[name]) for name in once} == once
    assert digests(project, models.DATASET) == model, "a late sheet does not retrain"
    for name, old in before.items():
        kept = {block: key for block, key in keys_of(project, name).items() if block not in made[name]}
        assert kept == {block: old[block] for block in kept}
        assert len(kept) == COLUMNS * ROWS - len(made[name])
    assert not any(build_all(project).values()), "a second run makes nothing"


def test_a_sheet_taken_away_again_brings_back_what_was(tmp_path: Path, plain_home: Path) -> None:
    project = open_project(shutil.copytree(plain_home, tmp_path / "home"))
    before = keys_of(project, "aerial_tiles")
    deliver_picture(project, "delft", noise(150, 150, seed=2), "late.tif", (60, 60), "2024:09:01")
    build_all(project, "labels")
    project.store.delete([f"landing/delft/{YEAR}/late.tif"])
    assert not [name for name, made in build_all(project, "labels").items() if made and name != "sheets"]
    assert keys_of(project, "aerial_tiles") == before


def counts(made: dict[str, list[str]]) -> dict[str, int]:
    return {name: len(blocks) for name, blocks in made.items()}


FROM_TILES = {"aerial_tiles": 8, "labels": 8, "predictions": 8, "building_outlines": 12, "building_footprints": 2}


def test_a_changed_parameter_remakes_all_that_it_decides(
    tmp_path: Path, built_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shutil.copytree(built_home, tmp_path / "home")
    monkeypatch.setenv("GROUNDPLAN_IMAGERY__QUALITY", "75")
    project = open_project(home)
    made = counts(build_all(project))
    assert made == {**FROM_TILES, "sheets": 0, "register_buildings": 0, "training_windows": 1, "trained_model": 0}
    monkeypatch.delenv("GROUNDPLAN_IMAGERY__QUALITY")
    assert sum(counts(build_all(open_project(home))).values()) == 0, "the objects of the old setting are still there"


def test_a_raised_code_version_remakes_all_of_its_dataset(
    tmp_path: Path, built_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = open_project(shutil.copytree(built_home, tmp_path / "home"))
    partition = Partition(YEAR, "noorderveld")
    monkeypatch.setattr(predictions, "VERSION", "next")
    monkeypatch.setitem(STEPS, "predictions", replace(STEPS["predictions"], version="next"))  # type: ignore[arg-type]
    assert asset_state(project, "predictions", partition).state == "stale"
    made = counts(build_all(project))
    assert {name: count for name, count in made.items() if count} == {
        "predictions": 8,
        "building_outlines": 12,
        "building_footprints": 2,
    }
    assert need_manifest(project.store, "predictions", partition).version == "next"


def test_a_model_is_trained_again_on_demand_only(tmp_path: Path, plain_home: Path) -> None:
    project = open_project(shutil.copytree(plain_home, tmp_path / "home"))
    partition = Partition(YEAR)
    manifest = need_manifest(project.store, models.DATASET, partition)
    assert models.data_changed(project, partition, manifest)
    assert asset_state(project, models.DATASET, partition).state == "current"
    kept, wanted = (models.plan(project, partition, retrain)[0] for retrain in (False, True))
    assert kept.key == manifest.objects["model"].key
    assert wanted.key != kept.key


# --- halo -------------------------------------------------------------------------------------------------------------


def canvas(project: Project, regions: list[str]) -> np.ndarray:
    """Predictions of 2 x 2 blocks of 256, or one of 512, as one array (2, 512, 512)."""
    whole = np.zeros((2, 512, 512), np.uint8)
    n = project.grid.block_size
    for region in regions:
        for name, pixels in pixels_of(project, "predictions", region).items():
            block = Block.parse(name)
            assert pixels.shape == (2, n, n)
            whole[:, block.row * n : (block.row + 1) * n, block.col * n : (block.col + 1) * n] = pixels
    return whole


def predict(project: Project, home: Path, regions: list[str]) -> np.ndarray:
    give_model(project, home)
    for name in ("sheets", "aerial_tiles", "predictions"):
        for region in regions:
            run_asset(project, name, Partition(YEAR, region))
    return canvas(project, regions)


def add_polygons(project: Project, polygons: dict[str, Any]) -> None:
    import geopandas as gpd

    from groundplan.imagery.regions import add_regions

    file = project.home / "regions.gpkg"
    gpd.GeoDataFrame({"name": list(polygons)}, geometry=list(polygons.values()), crs=project.grid.crs).to_file(file)
    add_regions(project, file)


LOSSLESS = {"compress": "deflate"}  # so that JPEG's blocks, which follow the grid, make no difference


@pytest.fixture(scope="module")
def one_block(tmp_path_factory: pytest.TempPathFactory, built_home: Path) -> np.ndarray:
    """The prediction of 512 x 512 pixels of noise as one block."""
    from conftest import new_project

    home = tmp_path_factory.mktemp("one") / "home"
    project = new_project(home, grid={"block_size": 512}, imagery=LOSSLESS)
    deliver_picture(project, "delft", noise(512, 512), "a.tif")
    return predict(project, built_home, ["delft"])


def test_blocks_are_predicted_as_one_raster(
    tmp_path: Path, make_project: MakeProject, built_home: Path, one_block: np.ndarray
) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    deliver_picture(project, "delft", noise(512, 512), "a.tif")
    pieces = predict(project, built_home, ["delft"])
    assert one_block.std() > 1, "a flat prediction would agree with anything"
    assert np.abs(pieces.astype(int) - one_block).max() <= 1
    alone = make_project(tmp_path / "alone", imagery=LOSSLESS, predict={"margin": 0})
    deliver_picture(alone, "delft", noise(512, 512), "a.tif")
    assert np.abs(predict(alone, built_home, ["delft"]).astype(int) - one_block).max() > 1, "the halo matters here"


def test_regions_are_predicted_as_one(
    tmp_path: Path, make_project: MakeProject, built_home: Path, one_block: np.ndarray
) -> None:
    import shapely

    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    (x0, y0), (x1, y1) = project.grid.corner(0, 0), project.grid.corner(512, 512)
    middle = (x0 + x1) / 2
    add_polygons(project, {"east": shapely.box(middle, y1, x1, y0), "west": shapely.box(x0, y1, middle, y0)})
    picture = noise(512, 512)
    # neither sheet ends where its region does
    deliver_picture(project, "west", picture[:, :200], "w.tif")
    deliver_picture(project, "east", picture[:, 200:], "e.tif", (200, 0))
    assert np.abs(predict(project, built_home, ["east", "west"]).astype(int) - one_block).max() <= 1
    assert set(keys_of(project, "predictions", "west")) == {"x00y00", "x00y01"}
    assert set(keys_of(project, "predictions", "east")) == {"x01y00", "x01y01"}


def test_a_late_sheet_beyond_the_border_is_seen(tmp_path: Path, make_project: MakeProject, built_home: Path) -> None:
    """A region's prediction depends on the edge of the region beside it, and says so in its fingerprint."""
    import shapely

    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    (x0, y0), (x1, y1) = project.grid.corner(0, 0), project.grid.corner(512, 256)
    middle = (x0 + x1) / 2
    add_polygons(project, {"east": shapely.box(middle, y1, x1, y0), "west": shapely.box(x0, y1, middle, y0)})
    picture = noise(512, 256)
    deliver_picture(project, "west", picture[:, :256], "w.tif")
    deliver_picture(project, "east", picture[:, 256:], "e.tif", (256, 0))
    predict(project, built_home, ["east", "west"])
    west = keys_of(project, "predictions", "west")
    deliver_picture(project, "east", noise(40, 40, seed=3), "late.tif", (270, 100), "2024:09:01")
    for name in ("sheets", "aerial_tiles"):
        run_asset(project, name, Partition(YEAR, "east"))
    assert asset_state(project, "aerial_tiles", Partition(YEAR, "west")).state == "current"
    assert asset_state(project, "predictions", Partition(YEAR, "west")).state == "stale"
    run_asset(project, "predictions", Partition(YEAR, "west"))
    assert keys_of(project, "predictions", "west").keys() == west.keys()
    assert keys_of(project, "predictions", "west") != west


def test_blocks_that_two_regions_share_are_the_same(built_home: Path) -> None:
    project = open_project(built_home)
    north, south = (pixels_of(project, "aerial_tiles", region) for region in ("noorderveld", "zuiderhout"))
    shared = north.keys() & south.keys()
    assert shared
    for name in shared:
        assert np.array_equal(north[name], south[name])
