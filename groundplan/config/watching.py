"""The settings of what is watched and reviewed: the tables `[drift]` and `[review]` of groundplan.toml.

Here: a class for each. Not here: what is done with them (groundplan/monitoring, groundplan/reviews).
"""

from __future__ import annotations

from pydantic import Field

from groundplan.config.section import Section


class DriftSettings(Section):
    """When imagery or predictions count as unlike those that the model is known to do well on (docs/monitoring.md)."""

    false_discovery: float = Field(0.005, gt=0, le=0.2, description="share of figures that may be out by chance")
    least_units: int = Field(5, ge=3, le=1000, description="regions of the baseline; fewer, and nothing is said")
    most_units: int = Field(200, ge=5, le=2000, description="regions of the baseline; of more, so many evenly chosen")
    night_share: float = Field(0.1, gt=0, le=1, description="of a night's regions that may be out without an alarm")


class ReviewSettings(Section):
    """What people are asked about buildings (docs/review.md)."""

    tasks: int = Field(300, ge=1, le=100_000, description="polygons that are asked about, of a region and year")
    random_share: float = Field(
        0.1, ge=0, le=1, description="of them, chosen by chance: precision is estimated on them"
    )
    most_of_block: int = Field(10, ge=1, le=10_000, description="polygons of one block")
    lease_seconds: float = Field(600.0, gt=0, le=86_400, description="for which a polygon is one person's to judge")
    twice_share: float = Field(0.1, ge=0, le=1, description="of them, asked of two people: their agreement is reported")
    reach: float = Field(8.0, gt=0, le=200, description="metres around a judged building that count as known")
