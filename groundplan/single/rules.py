"""What is to be done with an image and its result, by the rules of a project's configuration.

Here: rules in, one decision out. Not here: doing it (transform.py, act.py, serving/work).
"""

from __future__ import annotations

from dataclasses import dataclass

from groundplan.config import RuleSettings, Settings, SingleSettings
from groundplan.single.analyse import Analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is done. keep_side: pixels, 0 as it came; to: names of those who are told, sorted."""

    keep: bool
    keep_side: int
    strip: bool
    faces: bool
    to: tuple[str, ...]


def course(settings: Settings, analysis: Analysis) -> Course:
    """What `[single]` says, changed by each of `[[rules]]` that fits the result, in their order.

    Hiding faces and reducing only add up: no later rule shows what an earlier one hides.
    """
    base = _usual(settings.single)
    for rule in settings.rules:
        if fits(rule, analysis):
            base = _changed(base, rule)
    return base


def failed_course(settings: Settings) -> tuple[str, ...]:
    """Who is told that an image could not be used: as of any result."""
    return tuple(sorted(set(settings.single.to)))


def fits(rule: RuleSettings, analysis: Analysis) -> bool:
    """Whether a rule is about a result. A bound on what a result does not have does not fit."""
    if rule.model and rule.model != analysis.model:
        return False
    if rule.labels and analysis.label not in rule.labels:
        return False
    buildings = len(analysis.buildings) if analysis.kind == "footprints" else None
    return _within(rule.least_confidence, analysis.confidence, rule.most_confidence) and _within(
        rule.least_buildings, buildings, rule.most_buildings
    )


def _within(least: float | None, value: float | None, most: float | None) -> bool:
    if least is None and most is None:
        return True
    return value is not None and (least is None or value >= least) and (most is None or value <= most)


def _usual(single: SingleSettings) -> Course:
    return Course(
        keep=single.keep,
        keep_side=single.keep_side,
        strip=single.strip,
        faces=single.faces,
        to=tuple(sorted(set(single.to))),
    )


def _changed(before: Course, rule: RuleSettings) -> Course:
    told = set(before.to if rule.only_to is None else rule.only_to) | set(rule.to)
    sides = [side for side in (before.keep_side, rule.keep_side) if side]
    return Course(
        keep=before.keep if rule.keep is None else rule.keep,
        keep_side=min(sides, default=0),
        strip=before.strip,
        faces=before.faces or bool(rule.faces),
        to=tuple(sorted(told)),
    )
