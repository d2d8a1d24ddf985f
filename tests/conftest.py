"""What all tests share: a tiny country, projects small enough to build in seconds, and the count of hard cases.

Grid of every project here: EPSG:28992 at 0.30 m, blocks of 256 pixels. Do not write into `country` or `built_home`;
copy a home with shutil.copytree where a test changes it (keys and bytes stay the same).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from durations import Durations
from once import once
from walkthrough import Walk, walk

from groundplan.project import Project, open_project
from groundplan.synthetic.country import Country

# Before anything imports torch. Waiting threads sleep, as in groundplan/training/device.py. And each process has one
# thread: networks are tiny here, and with two threads on busy cores a training took 78 s instead of 19.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")

CASES = {"kill": "kill cases", "fault": "fault cases", "bad_input": "bad-input cases"}
ORIGIN = (182361.0, 447771.0)  # upper left corner of block x0y0, a little north-west of a country of two regions
TINY: dict[str, dict[str, Any]] = {
    "grid": {"crs": "EPSG:28992", "resolution": 0.30, "block_size": 256, "origin": list(ORIGIN)},
    "imagery": {"reader": "auto"},
    "split": {"cell": 16.0, "window": 128, "overlap": 32, "max_windows": 8},
    "model": {"encoder_weights": "none", "steps": 4, "batch": 2, "crop": 64, "resolution": 0.30, "minutes": 60.0},
    "predict": {"core": 256, "margin": 32},
    "footprints": {"halo": 32},
    "run": {"workers": 2, "retries": 3, "retry_seconds": 20.0},
}

MakeProject = Callable[..., Project]


def new_project(path: Path, store: str = "", **settings: dict[str, Any]) -> Project:
    """A project in a new folder; sections given as dicts are laid over the tiny settings, key by key."""
    path.mkdir(parents=True, exist_ok=True)
    lines = [f"store = {json.dumps(store)}"]
    for section in dict.fromkeys([*TINY, *settings]):
        lines.append(f"[{section}]")
        values = {**TINY.get(section, {}), **settings.get(section, {})}
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    (path / "groundplan.toml").write_text("\n".join(lines) + "\n", "utf-8")
    return open_project(path)


def deliver_country(project: Project, country: Country, regions: bool = False) -> None:
    """Sheets and registers of a country into a project; with `regions` also its polygon file."""
    from groundplan.imagery.regions import add_regions
    from groundplan.ingest.add_imagery import deliver
    from groundplan.labels.registers import add_register

    if regions:
        add_regions(project, country.regions)
    for (region, year), sheets in country.sheets.items():
        deliver(project, sheets, region, year)
    for year, (register, extent) in country.registers.items():
        add_register(project, register, year, extent)


def build_all(project: Project, last: str = "building_footprints") -> dict[str, list[str]]:
    """Make all that is missing without Dagster, in the order of `groundplan build`: names made, by dataset.

    Names are `region/block`. Stops after the dataset `last`.
    """
    from groundplan.pipeline import ASSETS, partitions_of, run_asset

    made: dict[str, list[str]] = {}
    for name in ASSETS:
        for partition in partitions_of(project, name):
            for report in run_asset(project, name, partition):
                here = made.setdefault(report.manifest.dataset, [])
                here += [f"{partition.region}/{block}" for block in report.made]
        if name == last:
            break
    return made


def give_model(project: Project, home: Path, year: int = 2024) -> None:
    """Commit the model of another home as this project's own, as if it had been trained with its settings."""
    from groundplan.core.manifest import Made, Manifest, manifest_key, need_manifest
    from groundplan.core.partition import Partition
    from groundplan.training import models

    partition = Partition(year)
    source = open_project(home).store
    packed = source.get(need_manifest(source, models.DATASET, partition).objects["model"].key)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for part in old.infolist():
            data = old.read(part)
            if part.filename == "card.json":
                data = json.dumps(json.loads(data) | {"settings_print": models.settings_fingerprint(project)}).encode()
            new.writestr(part, data)
    data = buffer.getvalue()
    key = f"{models.DATASET}/{year}/model-given.zip"
    made = Made(
        name="model",
        key=key,
        fingerprint="given",
        bytes=len(data),
        seconds=0.0,
        cpu_seconds=0.0,
        inputs=(),
        facts=models.describe(data),
    )
    manifest = Manifest(
        dataset=models.DATASET,
        partition=partition,
        version=models.VERSION,
        fingerprint="given",
        objects={"model": made},
    )
    project.store.put(key, data)
    project.store.put(manifest_key(models.DATASET, partition), manifest.to_json())


def digests(project: Project, *prefixes: str) -> dict[str, str]:
    """Key to SHA-256 of every object below the prefixes; without any, of everything that a dataset consists of."""
    from groundplan.pipeline import STEPS

    found = [item for prefix in prefixes or tuple(STEPS) for item in project.store.list(prefix)]
    return {item.key: hashlib.sha256(project.store.get(item.key)).hexdigest() for item in found}


@pytest.fixture(scope="session")
def postgis() -> Iterator[Any]:
    """A PostgreSQL with PostGIS of this test process: `.migrated()`, `.empty()` give URLs of new databases."""
    from databases import serve_postgis

    with serve_postgis() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An engine of each kind, over an empty database with the tables."""
    from groundplan.database import connect

    if request.param == "postgresql":
        engine = connect.engine(request.getfixturevalue("postgis").migrated())
    else:
        engine = connect.engine(f"sqlite:///{tmp_path / 'database.sqlite'}")
        connect.migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def make_project() -> MakeProject:
    """`make_project(path, store="", model={"steps": 3}, imagery={...}) -> Project`, with tiny settings."""
    return new_project


@pytest.fixture(scope="session")
def country(tmp_path_factory: pytest.TempPathFactory) -> Country:
    """Two regions, one year, 90 m wide; its register covers both."""
    from groundplan.synthetic.country import draw

    return once(tmp_path_factory, "country", lambda folder: draw(folder, size_m=90.0, years=(2024,)))


@pytest.fixture(scope="session")
def built_home(tmp_path_factory: pytest.TempPathFactory, country: Country) -> Path:
    """A home with the whole chain made, without a regions file. Read it; copy it to change it."""

    def build(folder: Path) -> Path:
        project = new_project(folder / "home")
        deliver_country(project, country)
        build_all(project)
        return project.home

    return once(tmp_path_factory, "built", build)


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory, country: Country) -> Walk:
    """A project made by the real command, and so by Dagster. Read it; copy it to change it."""
    return once(tmp_path_factory, "walk", lambda folder: walk(folder, country))


# --- how tests are run, and what they took ----------------------------------------------------------------------------

LONG = ("daemon", "browser", "slow")  # these markers' files begin first, so that no process waits for one at the end


def pytest_addoption(parser: pytest.Parser) -> None:
    # not an option of its own: pytest would take its value for a test's path before this file is read
    parser.addini("durations_file", "keep what each test took there, and print the slowest")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getini("durations_file"):
        config.pluginmanager.register(Durations(config.rootpath / path))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first when several processes share the tests; the order within a file stays."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    ranks: dict[Path, int] = {}
    for item in items:
        rank = next((i for i, name in enumerate(LONG) if item.get_closest_marker(name)), len(LONG))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def pytest_runtest_teardown() -> None:
    """absl, which tensorboard brings, keeps the stream that it meets, a test's; Dagster has it closed later, with all
    that pytest has to say."""
    if (absl := sys.modules.get("absl.logging")) and (handler := absl.get_absl_handler()):
        handler.python_handler.setStream(sys.__stderr__)


# --- the count of hard cases ------------------------------------------------------------------------------------------

_ran: Counter[str] = Counter()
_passed: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count each marked case once: when it ran, or when its set-up failed."""
    for marker in CASES.keys() & report.keywords.keys():
        if report.when == "call" or (report.when == "setup" and report.failed):
            _ran[marker] += 1
            _passed[marker] += report.passed


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line that says how many hard cases there were, and how many of them did not pass."""

    def figure(marker: str) -> str:
        failed = _ran[marker] - _passed[marker]
        return f"{CASES[marker]} {_ran[marker]}" + (f" ({failed} failed)" if failed else "")

    if _ran:
        terminalreporter.write_line(", ".join(figure(marker) for marker in CASES))
