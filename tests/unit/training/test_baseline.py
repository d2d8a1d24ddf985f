"""The baseline model: learned from all labelled ground, where the settings ask for it, and learned on from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import build_all

from groundplan.core.manifest import load_object, need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.operations.prerequisites import Why, asked_for, makeable, waits_for
from groundplan.pipeline import asset_state, partitions_of, run_asset
from groundplan.project import Project, open_project
from groundplan.training import baseline, models, windows

pytestmark = pytest.mark.slow  # torch

YEAR = Partition(2024)


def asking(source: Path, home: Path) -> Project:
    """A copy of a home whose models learn on from a baseline."""
    shutil.copytree(source, home)
    path = home / "groundplan.toml"
    text = path.read_text("utf-8").replace("[model]", '[model]\nstart = "baseline"')
    path.write_text(text + '[credits]\nimagery = "the survey"\nimagery_licence = "CC BY 4.0"\n', "utf-8")
    return open_project(home)


@pytest.fixture(scope="module")
def project(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With its baseline and the year's model that learned on from it."""
    made = asking(built_home, tmp_path_factory.mktemp("baseline") / "home")
    build_all(made, last=models.DATASET)
    return made


def card(project: Project, dataset: str) -> dict[str, Any]:
    made = need_manifest(project.store, dataset, YEAR).objects["model"]
    return load_object(project.store, made, models.unpack).card


def need_manifest_data(project: Project, dataset: str) -> bytes:
    return project.store.get(need_manifest(project.store, dataset, YEAR).objects["windows"].key)


def test_a_project_that_does_not_ask_has_none_and_its_model_stays(built_home: Path) -> None:
    plain = open_project(built_home)
    assert partitions_of(plain, baseline.DATASET) == []
    assert asset_state(plain, models.DATASET, YEAR).state == "current"
    there = lambda name, partition: name != baseline.DATASET  # noqa: E731
    assert waits_for(models.DATASET, YEAR, there, {2024}, None).why is Why.NOTHING
    asked = asked_for(plain.settings) | {baseline.DATASET}
    assert waits_for(models.DATASET, YEAR, there, {2024}, None, asked=asked).why is Why.INPUT


def test_the_years_model_waits_for_the_baseline_and_says_so(built_home: Path, tmp_path: Path) -> None:
    new = asking(built_home, tmp_path / "home")
    assert makeable(new, models.DATASET, [YEAR]) == set()
    assert makeable(new, baseline.DATASET, [YEAR]) == {YEAR}
    with pytest.raises(MissingInput, match="--select baseline_model"):
        models.plan(new, YEAR)


def test_the_years_model_learns_on_from_the_baseline(project: Project) -> None:
    mine, before = card(project, models.DATASET), need_manifest(project.store, baseline.DATASET, YEAR).objects["model"]
    assert mine["started_from"] == before.facts["sha256"]
    assert mine["settings"]["start"] == "baseline"
    made = need_manifest(project.store, models.DATASET, YEAR).objects["model"]
    assert before.key in made.inputs, "lineage"
    assert asset_state(project, models.DATASET, YEAR).state == "current"
    assert asset_state(project, baseline.DATASET, YEAR).state == "current"
    assert not project.store.list("checkpoints")


def test_its_card_names_regions_years_and_whom_to_name(project: Project) -> None:
    learned = card(project, baseline.DATASET)["learned_from"]
    frame = windows.read(need_manifest_data(project, baseline.WINDOWS))
    assert [(one["region"], one["year"]) for one in learned] == sorted(
        {*zip(frame["region"], frame["year"], strict=True)}
    )
    assert sum(one["windows"] for one in learned) == (frame["train"] > 0).sum()
    assert all(one["windows"] > 0 for one in learned)
    assert learned[0]["imagery"] == {"attribution": "invented; CC0", "licence": "CC BY 4.0"}, "the sheets speak first"
    assert learned[0]["register"] == {"attribution": None, "licence": None}, "null, not a guess"
    assert card(project, baseline.DATASET)["settings"]["start"] is None


def test_a_baseline_that_was_killed_ends_in_the_same_bytes(
    project: Project, built_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groundplan.training import loop

    class Killed(BaseException):
        pass

    def kill_after(steps: int) -> Callable[..., float]:
        real, count = loop._step, iter(range(steps))

        def step(*arguments: Any) -> float:
            if next(count, None) is None:
                raise Killed
            return real(*arguments)

        return step

    again = asking(built_home, tmp_path / "home")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_EVERY", 0.0)
        patch.setattr(loop, "_step", kill_after(2))
        with pytest.raises(Killed):
            run_asset(again, baseline.DATASET, YEAR)
    assert again.store.list(f"checkpoints/{baseline.DATASET}"), "what was learned is kept"
    run_asset(again, baseline.DATASET, YEAR)
    one, other = (need_manifest(each.store, baseline.DATASET, YEAR).objects["model"] for each in (project, again))
    assert one.sha256 == other.sha256
