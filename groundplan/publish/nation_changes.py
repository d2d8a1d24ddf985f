"""What changed in a country since the year before, counted by region, for those who take its data.

Here: adding up what the manifests of `building_changes` say. Not here: finding changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundplan.core.manifest import readable_manifest
from groundplan.core.partition import Partition
from groundplan.project import Project

DATASET = "building_changes"
"""Made where a project asks for it; its facts are counts of buildings by state."""
STATES = ("new", "gone", "changed", "same", "unsure")


@dataclass(frozen=True, slots=True)
class Changes:
    """Buildings by region and state; regions of which nobody knows."""

    regions: Mapping[str, Mapping[str, int]]
    unknown: tuple[str, ...]

    def total(self) -> dict[str, int] | None:
        """Of all regions that are known; None without any."""
        if not self.regions:
            return None
        found: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        for counts in self.regions.values():
            found.update(counts)
        return {state: found[state] for state in STATES}

    def as_json(self, year: int) -> dict[str, Any]:
        """For the file of changes: null is not known, which is not nothing."""
        known: dict[str, Any] = {name: dict(counts) for name, counts in self.regions.items()}
        known |= dict.fromkeys(self.unknown)
        return {"year": year, "against": year - 1, "all": self.total(), "regions": dict(sorted(known.items()))}


def changes_of(project: Project, regions: Sequence[Partition]) -> Changes:
    """Counts of each region's changes. What was not made, or cannot be read, is unknown."""
    known: dict[str, dict[str, int]] = {}
    unknown = []
    for region in regions:
        manifest = readable_manifest(project.store, DATASET, region)
        facts: list[Mapping[str, Any]] = [made.facts for made in manifest.objects.values()] if manifest else []
        if any(STATES[0] in one for one in facts):
            known[region.region] = {state: sum(int(one.get(state) or 0) for one in facts) for state in STATES}
        else:
            unknown.append(region.region)
    return Changes(known, tuple(unknown))
