"""What piles up of images that arrive one by one: messages that wait, dead letters, events that nobody was sent."""

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG, about
from groundplan.step import About
from resources.database import DatabaseResource
from resources.piled import Piled, is_used, piled_up
from resources.project import ProjectResource


@dg.asset(
    group_name="serving",
    kinds={"table"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    metadata=about(About(page="docs/messages.md")),
    check_specs=[
        dg.AssetCheckSpec(
            "oldest_message_is_young",
            asset="image_inbox",
            description="No message has waited, and no event stayed unsent, longer than `messages.oldest_minutes`.",
        )
    ],
    description="How many images wait to be looked at and for how long, how many were set aside for a person, and "
    "which events were not sent yet. The sensor `image_inbox_sensor` makes it when something piles up; "
    "`groundplan messages list` shows the same.",
)
def image_inbox(project: ProjectResource, database: DatabaseResource) -> dg.MaterializeResult:
    opened = project.open()
    minutes = opened.settings.messages.oldest_minutes
    found = Piled(waiting=0, oldest=0.0, dead=0, unsent=0, lag=0.0)
    if is_used(opened):
        with database.open(opened) as engine:
            found = piled_up(opened, engine)
    return dg.MaterializeResult(
        metadata={
            "waiting": found.waiting,
            "oldest [s]": "not known" if found.oldest is None else round(found.oldest, 1),
            "set aside": found.dead,
            "newest reason": found.newest_reason or "none",
            "events not sent": found.unsent,
        },
        check_results=[verdict(found, minutes)],
    )


def verdict(found: Piled, minutes: float) -> dg.AssetCheckResult:
    """Failed where somebody waits too long; a warning alone where messages were set aside."""
    late = found.late(minutes)
    age = 0.0 if found.oldest is None else found.oldest
    return dg.AssetCheckResult(
        passed=not late,
        check_name="oldest_message_is_young",
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found.waiting} wait, the oldest for {age / 60:.0f} minutes; {found.unsent} events not sent; "
        f"{found.dead} set aside. Allowed are {minutes:g} minutes: look whether `groundplan work` runs",
    )
