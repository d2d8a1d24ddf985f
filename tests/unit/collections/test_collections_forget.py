"""`groundplan forget` by the real command: what it lists, what is gone afterwards, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from collection_shards import CLASSES, draw
from commands import run
from conftest import new_project

from groundplan.collections import catalog, forget, pipeline
from groundplan.collections.files import LOG
from groundplan.collections.report import report
from groundplan.core.partition import ClassPartition
from groundplan.project import Project, open_project

pytestmark = pytest.mark.slow  # each test is one or two commands in processes of their own

ROOMS = ("previews", "image_catalog", "reduced_features", "image_classifier", "collection_report")


QUICK = {"features": "orb", "words": 16, "size": 64, "shard": 6}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of three classes with ten images each, built. Only to be copied."""
    folder = tmp_path_factory.mktemp("forget")
    project = new_project(folder / "demo", collections=QUICK)
    catalog.ingest(project, draw(folder / "images", count=10), "fruits")
    make(project)
    return project.home


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "demo"))


def make(project: Project) -> None:
    for name in pipeline.ASSETS:
        for _, outcome in pipeline.run_all(project, name, pipeline.partitions_of(project, name, "fruits")):
            assert not isinstance(outcome, Exception), outcome
    report.write_report(project, "fruits")


def all_keys(project: Project) -> set[str]:
    return {item.key for item in project.store.list()}


def one_of(project: Project, label: str, row: int) -> tuple[str, str]:
    frame = catalog.load(project, ClassPartition("fruits", label))
    return str(frame["key"].iloc[row]), str(frame["digest"].iloc[row])


def test_it_lists_first_and_removes_when_told(home: Path, tmp_path: Path) -> None:
    """Two images, one by its key, one by class and file: gone with all that shows them, and the next build ends."""
    project = open_project(home)
    project.store.put("previews/small/reduced_features/fruits/pear.jpg", b"a picture for Dagster's pages")
    (first, digest), (second, other) = one_of(project, CLASSES[0], 3), one_of(project, CLASSES[1], 4)
    before = all_keys(project)
    command = ("forget", first, second.removeprefix("collections/fruits/"), "--collection", "fruits", "--home", home)
    listed = run(tmp_path, *command)
    assert listed.returncode == 0, listed.stderr
    assert "Nothing was removed" in listed.stdout
    assert first in listed.stdout
    assert second in listed.stdout
    assert all_keys(project) == before
    assert (home / "reports/fruits.html").exists()
    (home / "reports/fruits.part").write_bytes(b"half of a report")
    (home / "reports/other.html").write_bytes(b"another collection's")

    done = run(tmp_path, *command, "--yes")
    assert done.returncode == 0, done.stderr
    left = all_keys(project)
    rows = {cells[1].strip(): int(cells[2]) for line in done.stdout.splitlines() if len(cells := line.split("│")) == 4}
    log = next(key for key in left if key.startswith(f"{LOG}/"))
    for room in ROOMS:
        assert rows[room] == len([key for key in before - left if key.startswith(f"{room}/")]) > 0, room
    assert rows["images"] == 2
    assert rows["reports in the home"] == 2
    assert sum(rows.values()) == len(before - left) + 2
    told = json.loads(project.store.get(log))
    assert told["sha256"] == sorted([digest, other])
    assert not [name for name in (first, second) if Path(name).name in json.dumps(told)]
    assert not {first, second} & left
    assert [path.name for path in (home / "reports").iterdir()] == ["other.html"]
    assert not [key for key in left if key.startswith("previews/") and "fruits" in key], "a report there shows images"

    make(project)
    frames = [catalog.load(project, part) for part in catalog.classes(project, "fruits")]
    assert sum(len(frame) for frame in frames) == 28
    assert not {first, second} & {key for frame in frames for key in frame["key"]}
    assert (home / "reports/fruits.html").exists()


def test_retention_takes_what_is_old_and_nothing_else(home: Path, tmp_path: Path) -> None:
    project = open_project(home)
    old = [one_of(project, label, 0)[0] for label in CLASSES[:2]]
    marker = "collections/fruits/Empty/.class"
    project.store.put(marker, b"")
    long_ago = time.time() - 40 * 86400
    for key in (*old, marker):
        os.utime(home / "store" / key, (long_ago, long_ago))
    days = {"GROUNDPLAN_COLLECTIONS__RETENTION_DAYS": "30"}
    listed = run(tmp_path, "forget", "--expired", "--home", home, **days)
    assert [line.split()[0] for line in listed.stdout.splitlines()].count("image") == 2
    done = run(tmp_path, "forget", "--expired", "--yes", "--home", home, **days)
    assert done.returncode == 0, done.stderr
    images = {item.key for item in project.store.list("collections/fruits")}
    assert not images & set(old)
    assert len(images) == 30 - 2 + 1, "the others and the marker stay"
    assert "no image is that old" in run(tmp_path, "forget", "--expired", "--yes", "--home", home, **days).stdout
    assert pipeline.asset_state(project, "collection_report", ClassPartition("fruits")).state == "waiting"


@pytest.mark.bad_input
def test_a_slip_removes_nothing(home: Path, tmp_path: Path) -> None:
    project = open_project(home)
    before, known = all_keys(project), one_of(project, CLASSES[0], 0)[0]
    for arguments, told in {
        ("Kiwi/none.jpg", "--collection", "fruits"): "the collection has none of them",
        ("../../image_catalog/x", "--collection", "fruits"): "the collection has none of them",
        ("landing/delft/2024/a.tif", "--collection", "fruits"): "the collection has none of them",
        (known, "--collection", "berries"): "there is none of that name",
        (known, "--collection", "../x"): "cannot be part of a path",
        (known,): "it needs images and their collection",
        (): "it needs images and their collection",
        ("--expired",): "retention_days is not set",
        (known, "--expired"): "Give one or the other",
    }.items():
        done = run(tmp_path, "forget", *arguments, "--yes", "--home", home)
        assert done.returncode == 1, arguments
        assert told in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr, arguments
    assert all_keys(project) == before
    assert (home / "reports/fruits.html").exists()


@pytest.mark.bad_input
def test_a_slip_beside_a_true_name_is_told_and_the_true_one_goes(home: Path, tmp_path: Path) -> None:
    project = open_project(home)
    known = one_of(project, CLASSES[0], 0)[0]
    done = run(tmp_path, "forget", known, "Kiwi/none.jpg", "--collection", "fruits", "--yes", "--home", home)
    assert done.returncode == 1
    assert "not there   Kiwi/none.jpg" in done.stdout.replace("collections/fruits/", "")
    assert not project.store.exists(known)


@pytest.mark.kill
def test_a_forgetting_that_was_killed_is_finished_by_the_same_command(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is gone and its name is still remembered: the command must not say that there is no such image."""
    project = open_project(home)
    known = one_of(project, CLASSES[0], 0)[0]
    with monkeypatch.context() as patch:
        patch.setattr(forget, "_forget_names", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            forget.forget(project, [known])
    assert not project.store.exists(known)
    command = ("forget", known, "--collection", "fruits", "--yes", "--home", home)
    done = run(tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(tmp_path, *command).returncode == 1, "now nothing is left of it"
