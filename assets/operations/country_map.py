"""The country by year as one picture, and the way to the map page: what is done, missing, failed, and how good."""

from typing import Any

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG, WEEKLY, about
from assets.report import rows, shown
from groundplan.operations import country_map as country
from groundplan.step import About
from resources.project import ProjectResource

STATES = (country.DONE, country.PARTLY, country.MISSING, country.FAILED)


@dg.asset(
    group_name="operations",
    deps=["building_footprints"],
    kinds={"png"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    description="The country by year: regions coloured by how they stand and how good they are. The link opens the map "
    "page, where a click on a region leads to its footprints over the imagery. Nothing depends on it; materialize it "
    "at any time.",
    metadata=about(About(page="docs/web-ui.md")),
    freshness_policy=WEEKLY,
)
def country_map(project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    known = country.remembered(opened.store)
    places = country.gather(opened, known, most=None)
    outlines = country.shapes(opened, sorted({place.region for place in places}), known)
    country.remember(opened.store, known)
    picture = country.picture(places, outlines, opened.grid.crs)
    metadata: dict[str, Any] = {"picture": shown(opened, "country_map", "the country by year", picture)}
    if root := opened.settings.serving.url:
        metadata["map"] = dg.MetadataValue.url(f"{root}/map/")
    metadata |= {state: sum(place.state == state for place in places) for state in STATES}
    metadata["buildings"] = sum(place.buildings or 0 for place in places)
    metadata["by year"] = rows(("year", *STATES, "buildings"), by_year(places))
    return dg.MaterializeResult(metadata=metadata)


def by_year(places: list[country.RegionYear]) -> list[tuple[Any, ...]]:
    """A line per year, the newest first: how many regions are in each state, and the buildings found."""
    lines = []
    for year in sorted({place.year for place in places}, reverse=True):
        here = [place for place in places if place.year == year]
        counts = (sum(place.state == state for place in here) for state in STATES)
        lines.append((year, *counts, sum(place.buildings or 0 for place in here)))
    return lines
