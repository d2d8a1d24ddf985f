"""The sensor that looks at what piles up of single images, and has `image_inbox` made when something does.

Here: when a look is worth a run. Not here: what is counted (resources/piled.py), what is said (assets/operations).
"""

from __future__ import annotations

import time

import dagster as dg

from orchestration.environment import sensor_environment
from resources.database import DatabaseResource
from resources.piled import Piled, is_used, piled_up
from resources.project import ProjectResource

AGAIN = 3600.0  # seconds after which what still piles up is shown again


@dg.sensor(
    name="image_inbox_sensor",
    asset_selection=dg.AssetSelection.assets("image_inbox"),
    minimum_interval_seconds=60,
    default_status=sensor_environment().sensor_status,
    description="Has `image_inbox` made when messages wait too long, were set aside, or when that is over again.",
)
def image_inbox_sensor(
    context: dg.SensorEvaluationContext, project: ProjectResource, database: DatabaseResource
) -> dg.SensorResult:
    opened = project.open()
    if not is_used(opened):
        return dg.SensorResult(skip_reason="nothing ever arrived: the project has no database")
    with database.open(opened) as engine:
        found = piled_up(opened, engine)
    state, before, at = described(found, opened.settings.messages.oldest_minutes), *_cursor(context.cursor)
    if state == before and (not state or time.time() - at < AGAIN):
        return dg.SensorResult(skip_reason=f"{found.waiting} wait, {found.dead} are set aside", cursor=context.cursor)
    run = dg.RunRequest(run_key=None, tags={"groundplan/why": state or "nothing piles up any more"})
    return dg.SensorResult(run_requests=[run], cursor=f"{time.time():.0f} {state}")


def described(found: Piled, minutes: float) -> str:
    """What piles up, in words that stay the same while it does; '' where nothing does."""
    words = ["messages wait too long"] if found.late(minutes) else []
    return ", ".join(words + ([f"{found.dead} set aside"] if found.dead else []))


def _cursor(text: str | None) -> tuple[str, float]:
    at, _, state = (text or "0 ").partition(" ")
    return state, float(at)
