"""Verdicts of a file that came back from QGIS or JOSM, taken in once.

Here: matching rows with tasks. Not here: reading the file (groundplan/reviews/files.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Engine

from groundplan.database.reviews import add_tasks, task_of
from groundplan.database.verdicts import say_of
from groundplan.project import Project
from groundplan.reviews.files import FileVerdict
from groundplan.reviews.tasks import added_task
from groundplan.reviews.verdicts import DRAWN, read_reviews, standing


def take_in(engine: Engine, project: Project, found: Sequence[FileVerdict], person: str) -> tuple[int, list[str]]:
    """How many were new, and notes on the others. Raises StoreFailed; what was taken in by then stays."""
    years = sorted({one.year for one in found})
    said = {
        (task, review.verdict, str(review.geometry))
        for year in years
        for (task, who), reviews in standing(read_reviews(project.store, year)).items()
        for review in reviews
        if who == person
    }
    taken, notes = 0, []
    for one in found:
        task = task_of(engine, one.task) if one.task else None
        if one.task and task is None:
            notes.append(f"there is no task {one.task[:20]} here")
            continue
        if task is None:
            made = added_task(project, one.region, one.year, one.geometry)
            add_tasks(engine, [made], keep=True)
            task = task_of(engine, made.id)
            assert task is not None
        geometry = one.geometry if one.verdict in DRAWN else None
        if (task["id"], one.verdict, str(geometry)) in said:
            continue
        say_of(engine, project.store, task, person, one.verdict, geometry)
        taken += 1
    return taken, notes
