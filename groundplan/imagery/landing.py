"""The landing folder: what was delivered, by region and year.

Here: names of delivered files and folders, and listing them. Not here: what a sheet holds (sheet.py), or deciding that
a delivery is over (ingest/).
"""

from __future__ import annotations

import json
import re

from groundplan.core.partition import Partition
from groundplan.core.store import Found
from groundplan.errors import BadConfig, MissingInput
from groundplan.project import Project

SHEET_ENDINGS = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")
WORLD_ENDINGS = (".tfw", ".tifw", ".pgw", ".pngw", ".jgw", ".jpgw", ".j2w", ".wld")
BESIDE_ENDINGS = (*WORLD_ENDINGS, ".prj", ".xml", ".ovr", ".msk", ".txt", ".md", ".json", ".pdf", ".csv")
REFERENCE = ".ref"
NAME = re.compile(r"[^\W_][\w .()&'-]{0,79}")


def landed_files(project: Project, partition: Partition) -> list[Found]:
    """Everything delivered for a region and year: sheets, files beside them, and what is neither."""
    return project.store.list(landing_prefix(partition))


def delivered_partitions(project: Project) -> list[Partition]:
    """Regions and years for which anything lies in the landing folder, sorted."""
    return sorted(Partition(int(year), region) for region, year in _folders(project) if _usable(region, year))


def misnamed_folders(project: Project) -> list[str]:
    """Folders of the landing folder from whose names no region and year can be made: nothing reads them."""
    return [f"landing/{region}/{year}" for region, year in sorted(_folders(project)) if not _usable(region, year)]


def _folders(project: Project) -> set[tuple[str, str]]:
    parts = (item.key.split("/") for item in project.store.list("landing"))
    return {(part[1], part[2]) for part in parts if len(part) >= 4}


def landing_prefix(partition: Partition) -> str:
    return f"landing/{partition.region}/{partition.year}"


def _usable(region: str, year: str) -> bool:
    named = NAME.fullmatch(region) and ".." not in region and region == region.strip() and not region.endswith(".")
    return bool(named and re.fullmatch(r"(19|20)\d\d", year))


def check_region_name(name: str) -> str:
    """A region's name is part of object keys and of Dagster partition keys. Raises BadConfig."""
    if not _usable(name, "2000"):
        raise BadConfig(
            f"region name {name!r}",
            "it cannot be part of a path and of a partition key",
            "Use letters, digits, spaces and . ( ) & ' - _, beginning with a letter or digit, at most 80",
        )
    return name


def sheet_digests(project: Project, partition: Partition) -> dict[str, tuple[str, int]]:
    """Key of each delivered file to (SHA-256, bytes); content is hashed once per version of an object.

    What was hashed is remembered in `digests/`, by size and tag; losing that costs only time.
    """
    key = f"digests/{partition.path}.json"
    try:
        known = json.loads(project.store.get(key))
    except (MissingInput, ValueError):
        known = {}
    digests = {}
    for item in landed_files(project, partition):
        before = known.get(item.key)
        if before and before[:2] == [item.size, item.tag]:
            digests[item.key] = before
        else:
            digests[item.key] = [item.size, item.tag, project.store.digest(item.key)]
    if digests != known:
        project.store.put(key, json.dumps(digests, ensure_ascii=False).encode())
    return {name: (digest, size) for name, (size, _, digest) in digests.items()}
