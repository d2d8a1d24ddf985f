"""The remedies that errors and docs give, by the real command: what is gone, cut or changed is made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import run
from conftest import digests

from groundplan.core.manifest import manifest_key, need_manifest
from groundplan.core.partition import Partition
from groundplan.project import open_project

pytestmark = [pytest.mark.slow, pytest.mark.fault]  # six commands in processes of their own

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")


def test_what_is_damaged_is_said_found_and_made_again_by_the_real_command(built_home: Path, tmp_path: Path) -> None:
    shutil.copytree(built_home, tmp_path / "home")
    home, project = tmp_path / "home", open_project(tmp_path / "home")
    before = digests(project)
    lost, short, *_ = need_manifest(project.store, "aerial_tiles", NORTH).objects.values()
    other = next(iter(need_manifest(project.store, "labels", SOUTH).objects.values()))
    project.store.delete([lost.key])
    project.store.put(short.key, project.store.get(short.key)[:-5])
    data = bytearray(project.store.get(other.key))
    data[len(data) // 2] ^= 1
    project.store.put(other.key, bytes(data))
    broken = manifest_key("building_footprints", SOUTH)
    project.store.put(broken, b"")

    said = run(home, "verify", "--all", "--home", home)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    for key, reason in (
        (lost.key, "does not hold it"),
        (short.key, "bytes"),
        (other.key, "SHA-256"),
        (broken, "empty"),
    ):
        assert key in said.stdout
        assert reason in said.stdout
    assert ": 4 wrong" in said.stdout

    status = run(home, "status", "--json", "--home", home)
    assert status.returncode == 0, status.stderr
    states = {(row["dataset"], row["partition"]["region"]): row for row in json.loads(status.stdout)}
    assert states["aerial_tiles", NORTH.region]["state"] == "damaged"
    assert (
        f"damaged: 2 of {len(need_manifest(project.store, 'aerial_tiles', NORTH).objects)}"
        in (states["aerial_tiles", NORTH.region]["note"])
    )
    assert states["labels", SOUTH.region]["state"] == "damaged", "what verify found is remembered"
    assert broken in states["building_footprints", SOUTH.region]["note"]

    built = run(home, "build", "--home", home)
    assert "Traceback" not in built.stderr
    assert "it was damaged: 2 of" in built.stdout
    assert digests(project) == before
    again = run(home, "verify", "--all", "--home", home)
    assert again.returncode == 0, again.stdout
    assert ": 0 wrong" in again.stdout
    assert "Nothing to do" in run(home, "build", "--home", home).stdout
