"""Odd files in a landing folder harm nobody: links and devices are left alone, and named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from groundplan.core.partition import Partition
from groundplan.core.store import Store, open_store
from groundplan.errors import MissingInput, StoreFailed
from groundplan.imagery.landing import delivered_partitions, landed_files, links, misnamed_folders
from groundplan.operations.store_audit import garbage
from groundplan.project import Project, open_project
from orchestration.cli.main import app

pytestmark = pytest.mark.bad_input

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")


@pytest.fixture
def project(built_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_home, tmp_path / "home", ignore=shutil.ignore_patterns("checkpoints", "predictions"))
    return open_project(tmp_path / "home")


def lay(project: Project, kind: str) -> str:
    """One odd thing beside the sheets of a region; its key."""
    folder = project.home / "store/landing" / NORTH.region / "2024"
    sheet = next(folder.glob("*.tif"))
    place = folder / "odd.tif"
    if kind == "loop":
        place.symlink_to("odd.tif")
    elif kind == "another file of the machine":
        place.symlink_to("/etc/passwd")
    elif kind == "another sheet":
        place.symlink_to(sheet.resolve())
    elif kind == "nothing":
        place.symlink_to("nowhere.tif")
    elif kind == "a folder":
        place = folder.parent / "2023"
        place.symlink_to(folder)
    elif kind == "a region":
        place = folder.parent.parent / "elsewhere"
        place.symlink_to(folder.parent)
    elif kind == "its own folder":
        place = folder / "again"
        place.symlink_to(folder)
    elif kind == "beside":
        place = folder / f"{sheet.name}.aux.xml"
        place.symlink_to("/etc/passwd")
    else:
        os.mkfifo(place)
    return place.relative_to(project.home / "store").as_posix()


KINDS = [
    "loop",
    "another file of the machine",
    "another sheet",
    "nothing",
    "a folder",
    "a region",
    "its own folder",
    "beside",
    "pipe",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_is_left_alone_and_named_and_all_else_goes_on(project: Project, kind: str) -> None:
    before = [landed_files(project, part) for part in (NORTH, SOUTH)]
    whole, top = project.store.list("landing"), project.store.below("landing")
    everything = project.store.list()
    key = lay(project, kind)
    assert [landed_files(project, part) for part in (NORTH, SOUTH)] == before
    assert project.store.list("landing") == whole
    assert project.store.below("landing") == top
    assert project.store.list() == everything
    assert delivered_partitions(project) == [NORTH, SOUTH]
    assert links(project) == [key]
    assert misnamed_folders(project) == []
    garbage(project, 0)


def test_status_names_a_link_and_the_remedy(project: Project) -> None:
    key = lay(project, "loop")
    told = CliRunner().invoke(app, ["status", "--home", str(project.home)]).output
    link = "it is a link or no file, and none is followed. Put the file itself there, or add it with --reference"
    assert f"{key}: {link}" in told.replace("\n", "")


@pytest.mark.parametrize("kind", ["another file of the machine", "another sheet", "beside"])
def test_nobody_reads_or_writes_through_a_link(project: Project, kind: str) -> None:
    key = lay(project, kind)
    for read in (Store.get, Store.head, Store.digest, lambda store, key: store.begin(key, 8)):
        with pytest.raises(MissingInput, match="symbolic link"):
            read(project.store, key)
    with pytest.raises(StoreFailed, match=r"symbolic link.*add-imagery --reference"):
        project.store.put(key, b"x")
    assert Path("/etc/passwd").read_bytes()[:1] != b"x"


def test_a_file_behind_a_linked_folder_is_not_read(project: Project) -> None:
    key = lay(project, "a folder")
    name = landed_files(project, NORTH)[0].key.rsplit("/", 1)[-1]
    with pytest.raises(MissingInput, match="symbolic link"):
        project.store.get(f"{key}/{name}")


def test_the_landing_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk/delft/2024").mkdir(parents=True)
    (tmp_path / "disk/delft/2024/a.tif").write_bytes(b"x")
    store = open_store((tmp_path / "store").as_uri())
    (tmp_path / "store/landing").symlink_to(tmp_path / "disk")
    assert [item.key for item in store.list("landing")] == ["landing/delft/2024/a.tif"]
    (tmp_path / "disk/delft/2024/b.tif").symlink_to("a.tif")
    assert [item.key for item in store.list("landing")] == ["landing/delft/2024/a.tif"]
    assert store.get("landing/delft/2024/a.tif") == b"x"
