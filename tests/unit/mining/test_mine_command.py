"""`groundplan mine`: when it goes on, when it stops, and that a model that gains nothing stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.mining import rounds
from groundplan.project import Project, open_project
from groundplan.training import mined, models
from orchestration.cli import mine as command

Run = Callable[[list[int], list[bool]], tuple[list[str], str]]


@pytest.fixture
def project(built_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_home, tmp_path / "home")
    return open_project(tmp_path / "home")


@pytest.fixture
def run(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The loop, where each round mines so many places and pays or not: what was done in order, and what was said."""

    def once(counts: list[int], pays: list[bool]) -> tuple[list[str], str]:
        done: list[str] = []
        monkeypatch.setattr(command, "_made", lambda _p, _y, names: done.append(names[-1]) or True)
        monkeypatch.setattr(rounds, "mined_places", lambda *_: counts.pop(0))
        monkeypatch.setattr(command, "_pays", lambda *_: pays.pop(0))
        found = SimpleNamespace(windows=9, generation=1)
        monkeypatch.setattr(rounds, "adopt", lambda *_: done.append("adopted") or found)
        with pytest.raises(typer.Exit):
            command.mine(2024, 2, project.home)
        return done, capsys.readouterr().out

    return once


ROUND = ["predictions", "hard_negatives", "mining_trial"]


def test_rounds_go_on_while_they_pay(run: Run) -> None:
    done, said = run([40, 30], [True, True])
    assert done == [*ROUND, "adopted", *ROUND, "adopted", "predictions"]
    assert "generation 1" in said


def test_what_does_not_pay_leaves_the_model_as_it_was(run: Run) -> None:
    done, _ = run([40], [False])
    assert done == ROUND


def test_a_round_that_mines_little_is_the_last(run: Run) -> None:
    done, said = run([40, 3], [True])
    assert done == [*ROUND, "adopted", *ROUND[:2]]
    assert "less than a tenth of the 40" in said
    assert "The model stays as it is" in said


def test_where_nothing_looks_like_a_building_no_trial_is_made(run: Run) -> None:
    done, said = run([0], [])
    assert done == ROUND[:2]
    assert "sees no building on ground that is known to be empty" in said


def test_what_was_mined_is_taken_back(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    command.mine(2024, 0, project.home)
    assert "nothing was mined" in capsys.readouterr().out
    mined.adopt(project, 2024, b"windows", 1, 3)
    command.mine(2024, 0, project.home)
    assert "no mined place any more" in capsys.readouterr().out
    assert mined.read_mined(project, 2024) is None


def test_a_model_that_mining_would_not_change_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadConfig, match=r"mining\.rounds: it is 0"):
        command.mine(2024, None, project.home)
    monkeypatch.setattr(models, "was_added", lambda *_: True)
    with pytest.raises(BadConfig, match="its model was added, not trained here"):
        command.mine(2024, 1, project.home)
    with pytest.raises(BadConfig, match="nothing was delivered"):
        command.mine(2019, 1, project.home)


def test_a_broken_record_of_what_was_mined_is_named(project: Project) -> None:
    from groundplan.errors import Damaged
    from groundplan.training import windows

    project.store.put(mined.record_key(2024), b'{"generation": 1}')
    with pytest.raises(Damaged, match="Mine again"):
        windows.plan(project, Partition(2024))
    mined.adopt(project, 2024, b"windows", 1, 3)
    broken: Any = mined.read_mined(project, 2024)
    project.store.put(broken.key, b"other")
    with pytest.raises(Damaged):
        mined.load_mined(project, broken)
