"""Leave one out: what a region is judged by was not learned from, and nothing of it stays in the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import MakeProject, build_all, deliver_country
from tiny_models import bright_card, bright_graph

from groundplan.errors import BadConfig, MissingInput
from groundplan.inference.contract import Contract
from groundplan.labels import masks
from groundplan.project import Project
from groundplan.synthetic.country import Country
from groundplan.training import leave_one_out, models, thresholds
from groundplan.training.course import Lesson

pytestmark = pytest.mark.slow  # torch, and a network that is run

YEAR = 2024


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, make_project: MakeProject, country: Country) -> Project:
    """Labels of two regions with a border between them."""
    made = make_project(tmp_path_factory.mktemp("left-out") / "home", predict={"core": 256, "margin": 32, "views": 1})
    deliver_country(made, country, regions=True)
    build_all(made, last=masks.DATASET)
    return made


def test_each_region_is_judged_by_a_model_of_all_others(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    courses: list[Lesson] = []

    def learn(_project: Project, course: Lesson, *_: Any) -> tuple[None, bytes]:
        courses.append(course)
        return None, bright_graph()

    real, contract = thresholds.load, Contract.of(bright_card(0.30), "tests")
    monkeypatch.setattr(leave_one_out, "learn", learn)
    monkeypatch.setattr(thresholds, "load", lambda onnx, **options: real(onnx, contract=contract, **options))
    before = {item.key for item in project.store.list("")}
    found = list(leave_one_out.leave_one_out(project, YEAR, [], minutes=0.5))
    assert [one.region for one in found] == ["noorderveld", "zuiderhout"]
    for one, course in zip(found, courses, strict=True):
        assert one.region not in set(course.frame["region"])
        assert set(one.learned) == set(course.frame["region"]) == {"noorderveld", "zuiderhout"} - {one.region}
        assert one.cells > 0
        assert {"iou", "object_f1", "boundary_iou"} <= one.figures.keys()
        assert course.settings.minutes == 0.5 * models.GRACE
        assert course.settings.start is None
    assert courses[0].digest != courses[1].digest, "a killed one goes on as itself"
    assert {item.key for item in project.store.list("")} == before, "nothing of it is the project's"


def test_a_region_without_labels_and_a_single_one_cannot_be_left_out(project: Project, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="region with labels 'Oorderveld'"):
        next(leave_one_out.leave_one_out(project, YEAR, ["Oorderveld"], None))
    with pytest.raises(MissingInput, match=r"no region has labels.*build --year 2019 --select labels"):
        next(leave_one_out.leave_one_out(project, 2019, [], None))
