"""The landing folder: what was delivered, by region and year.

Here: names of delivered files and folders, and listing them. Not here: what a sheet holds (sheet.py), or deciding that
a delivery is over (ingest/).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable

from groundplan.core.partition import Partition, year_of
from groundplan.core.progress import counted
from groundplan.core.records import remembered_digests
from groundplan.core.store import Found
from groundplan.errors import BadConfig
from groundplan.project import Project

SHEET_ENDINGS = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")
WORLD_ENDINGS = (".tfw", ".tifw", ".pgw", ".pngw", ".jgw", ".jpgw", ".j2w", ".wld")
BESIDE_ENDINGS = (*WORLD_ENDINGS, ".prj", ".xml", ".ovr", ".msk", ".txt", ".md", ".json", ".pdf", ".csv")
REFERENCE = ".ref"
NAME = re.compile(r"[^\W_][\w .()&'-]{0,79}")
LONGEST_NAME = 200  # bytes of UTF-8; with an ending a file's name must stay below the 255 of a disk
SIGN = re.compile(r"[^\w .()&'-]")  # none of a region's name


def parts_beside(sheet: str) -> frozenset[str]:
    """Names, in lower case, of the files that belong to a sheet of that name: its place, CRS, mask and overviews."""
    low = sheet.lower()
    stem = low.rpartition(".")[0]
    return frozenset(
        (
            *(stem + end for end in (*WORLD_ENDINGS, ".prj")),
            *(low + end for end in (".aux.xml", ".msk", ".ovr", ".wld")),
        )
    )


def landed_files(project: Project, partition: Partition) -> list[Found]:
    """Listing of everything delivered for a region and year: sheets, files beside them, and what is neither."""
    return project.store.list(landing_prefix(partition))


def delivered_partitions(project: Project) -> list[Partition]:
    """Regions and years for which anything lies in the landing folder, sorted."""
    return sorted(delivered_when(project))


def delivered_years(project: Project, region: str) -> list[int]:
    """Years for which anything lies in the landing folder of a region, sorted. One listing. Raises StoreFailed."""
    found = (partition_of_key(item.key) for item in project.store.list(f"landing/{region}"))
    return sorted({partition.year for partition in found if partition})


def delivered_when(project: Project) -> dict[Partition, float]:
    """Regions and years for which anything lies in the landing folder, and when the newest of it came.

    Seconds since 1970. One listing. Raises StoreFailed.
    """
    found: dict[Partition, float] = {}
    for item in project.store.list("landing"):
        partition = partition_of_key(item.key)
        if partition:
            found[partition] = max(item.modified.timestamp(), found.get(partition, 0.0))
    return found


def project_years(project: Project, delivered: Iterable[Partition], this_year: int) -> list[int]:
    """The years that mean something in a project: those delivered, the coming one, and what `imagery.years` adds.

    The coming one is this year, or the next where this year's imagery is there already.
    """
    there = {partition.year for partition in delivered}
    coming = this_year + 1 if this_year in there else this_year
    return sorted({*there, coming, *project.settings.imagery.years})


def misnamed_folders(project: Project) -> list[str]:
    """Folders of the landing folder from whose names no region and year can be made: nothing reads them."""
    folders = {item.key.rsplit("/", item.key.count("/") - 2)[0]: item.key for item in project.store.list("landing")}
    return sorted(name for name, key in folders.items() if key.count("/") >= 3 and partition_of_key(key) is None)


def links(project: Project) -> list[str]:
    """What lies in a landing folder and is no file: symbolic links and devices. Nothing reads them."""
    return list(project.store.odd_files("landing"))


def partition_of_key(key: str) -> Partition | None:
    """Region and year of a delivered file, by its folder; None for what lies elsewhere, or names none."""
    parts = key.split("/")
    if len(parts) < 4 or parts[0] != "landing" or not usable_region(parts[1]):
        return None
    year = year_of(parts[2])
    return Partition(year, parts[1]) if year is not None else None


def landing_prefix(partition: Partition) -> str:
    return f"landing/{partition.region}/{partition.year}"


def usable_region(region: str) -> bool:
    named = NAME.fullmatch(region) and ".." not in region and region == region.strip() and not region.endswith(".")
    # a name is part of file names, which a disk bounds in bytes
    return bool(named) and len(region.encode()) <= LONGEST_NAME


def check_region_name(name: str) -> str:
    """A region's name, which is part of object keys and of partition keys, its letters as one sign each (NFC).

    macOS writes the names of folders with letters and accents apart. Raises BadConfig.
    """
    name = unicodedata.normalize("NFC", name)
    if not usable_region(name):
        raise BadConfig(
            f"region name {name!r}",
            f"it cannot be part of a path and of a partition key: {why_unusable(name)}",
            "Use letters, digits, spaces and . ( ) & ' - _, beginning with a letter or digit, at most 80, which are at "
            f"most {LONGEST_NAME} bytes",
        )
    return name


def why_unusable(region: str) -> str:
    """What is wrong with a region's name, and where."""
    if region != unicodedata.normalize("NFC", region):
        return "its accents are signs of their own, as macOS writes them"
    if sign := SIGN.search(region):
        return f"it holds {sign[0]!r} ({unicodedata.name(sign[0], 'a control character')})"
    if not region or region != region.strip() or region.endswith("."):
        return "it is empty" if not region.strip() else "it begins or ends with a space or a dot"
    if ".." in region:
        return "it holds '..'"
    return "it is too long" if len(region) > 80 else f"it begins with {region[0]!r}"


def digests_key(partition: Partition) -> str:
    return f"digests/{partition.path}.json"


def sheet_digests(project: Project, partition: Partition) -> dict[str, tuple[str, int]]:
    """Key of each delivered file to (SHA-256, bytes); content is hashed once per version of an object.

    What was hashed is remembered in `digests/`, by size and tag; losing that costs only time.
    """
    key = digests_key(partition)
    known = remembered_digests(project.store, key)
    landed = landed_files(project, partition)
    digests = {item.key: known[item.key] for item in landed if known.get(item.key, [])[:2] == [item.size, item.tag]}
    if new := [item for item in landed if item.key not in digests]:
        with counted(f"reading sheets of {partition}", new, len(new)) as items:
            digests |= {item.key: [item.size, item.tag, project.store.digest(item.key)] for item in items}
        digests = {item.key: digests[item.key] for item in landed}
    if digests != known:
        project.store.put(key, json.dumps(digests, ensure_ascii=False).encode())
    return {name: (digest, size) for name, (size, _, digest) in digests.items()}
