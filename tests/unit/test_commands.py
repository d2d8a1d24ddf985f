"""Commands in texts can be pasted: quoted for a shell, with the program as it can be run, and the project they mean."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from groundplan.commands import PROGRAM, pasteable, program
from groundplan.core.partition import Partition
from groundplan.errors import unknown


@pytest.mark.parametrize("region", ["kampala", "old town", "'s-Gravenhage", "a \"b\" 'c'", "x; rm -rf $HOME"])
def test_a_shell_takes_a_quoted_region_back(region: str) -> None:
    assert shlex.split(Partition(2024, region).options) == ["--region", region, "--year", "2024"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    path = tmp_path / ".venv" / "bin" / PROGRAM
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_program_is_called_by_its_name_where_a_shell_finds_it(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{installed.parent}{os.pathsep}{os.environ['PATH']}")
    assert program(str(installed), Path("/")) == PROGRAM
    assert program(PROGRAM, Path("/")) == PROGRAM


def test_else_by_its_path_from_where_the_reader_stands(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    assert program(f".venv/bin/{PROGRAM}", tmp_path) == f".venv/bin/{PROGRAM}"
    assert program(str(installed), tmp_path / "elsewhere") == str(installed)
    assert program(str(installed), None) == str(installed), "who reads a page may be anywhere"


def test_commands_name_the_project_that_they_would_not_find(tmp_path: Path) -> None:
    text = "Run `groundplan build --year 2024`, or `groundplan init FOLDER`, or `gdalwarp a b`"
    home = tmp_path / "my homes" / "gp"
    said = pasteable(text, ".venv/bin/groundplan", home, tmp_path)
    assert "`.venv/bin/groundplan build --year 2024 --home 'my homes/gp'`" in said
    assert "`.venv/bin/groundplan init FOLDER`" in said
    assert "`gdalwarp a b`" in said
    assert f"--home '{home}'`" in pasteable(text, PROGRAM, home, None)
    assert pasteable(text, PROGRAM, None, tmp_path) == text


def test_an_unknown_name_is_met_with_what_was_meant_and_what_there_is() -> None:
    assert str(unknown("region", "Kampla", ["banepa", "kampala"])) == (
        "region 'Kampla': there is none of that name. Did you mean 'kampala'? Choose from: banepa, kampala"
    )
    many = [f"region {number}" for number in range(1350)]
    assert str(unknown("region", "zzz", many)).endswith("region 11 and 1338 more")
    assert str(unknown("region", "zzz", [])).endswith("There are none yet")
