"""Loose files: sheets dropped into the landing folder without saying of which region and year they are.

Here: where such a file belongs, by its folder, its tags, its place and its name. Not here: whether it is complete
(decide.py), when it is moved (scan.py).

    landing/x.tif            year and region are found out
    landing/2022/x.tif       the region is found out
    landing/zanzibar/x.tif   the year is found out
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from groundplan.core.partition import FIRST_YEAR, Partition
from groundplan.errors import BadConfig, BadSheet, GroundplanError, MissingInput
from groundplan.imagery import catalog
from groundplan.imagery.landing import REFERENCE, SHEET_ENDINGS, check_region_name, landing_prefix
from groundplan.imagery.ownership import Outline
from groundplan.imagery.regions import region_polygons
from groundplan.imagery.sheet import opened
from groundplan.imagery.validation import outline_of
from groundplan.ingest.decide import KnownDelivery
from groundplan.project import Project

if TYPE_CHECKING:
    import shapely

    from groundplan.core.store import Found


DATE_TAGS = ("TIFFTAG_DATETIME", "ACQUISITIONDATETIME", "ACQUISITION_DATETIME", "ACQUISITION_DATE", "ACQUISITION")
YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")
DATED = re.compile(r"(?<!\d)((?:19|20)\d\d)(?:\d{4})?(?!\d)")  # also 20220731
GUESSED_FROM = 1950  # an earlier number in a name is more often that of a map sheet


def is_sheet(key: str) -> bool:
    """Whether a loose file is one that can be filed; what lies beside it goes along."""
    name = key.rsplit("/", 1)[-1]
    return name.lower().endswith((*SHEET_ENDINGS, REFERENCE)) and not catalog.is_beside(key)


def moves_of(
    project: Project, found: Found, around: Iterable[Found], known: Mapping[Partition, KnownDelivery], this_year: int
) -> list[tuple[str, str]]:
    """Keys of a loose sheet and of the files beside it, each with the key where it belongs; the sheet comes last.

    around: the loose files of the same folder. Raises BadSheet when it cannot be opened or its place is not known.
    """
    names = {item.key: (item.tag, item.size) for item in around}
    beside = [name for name, _ in catalog.beside_of(found.key, names)]
    try:
        with opened(project, found.key, beside) as source:
            tags = source.tags()
            outline = outline_of(project, source, found.key, beside)
    except GroundplanError:
        raise
    except Exception as error:  # a file can trip a library in any way; the others go on
        reason = f"it cannot be looked at ({type(error).__name__}: {str(error)[:120]})"
        raise BadSheet(found.key, reason, "Write it again as a GeoTIFF, such as `gdal_translate -of COG`") from error
    folder, _, name = found.key.rpartition("/")
    given = folder.removeprefix("landing").strip("/")
    year = int(given) if YEAR.fullmatch(given) else year_of(tags, name, this_year)
    region = given if given and not YEAR.fullmatch(given) else region_of(project, outline, name, known)
    if not FIRST_YEAR <= year <= this_year:
        raise BadSheet(found.key, f"it is of {year}", f"Put it into landing/REGION/YEAR, {FIRST_YEAR} to {this_year}")
    target = landing_prefix(Partition(year, _checked(region, found.key)))
    return [(f"{folder}/{one}", f"{target}/{one}") for one in (*beside, name)]


def year_of(tags: Mapping[str, str], name: str, this_year: int) -> int:
    """The year that a file's tags name, else the first in its name, else this year."""
    upper = {key.upper(): str(value) for key, value in tags.items()}
    for tag in DATE_TAGS:
        match = YEAR.match(upper.get(tag, "").strip()[:4])
        if match and GUESSED_FROM <= int(match[1]) <= this_year:
            return int(match[1])
    years = [int(text) for text in DATED.findall(name.rpartition(".")[0])]
    return next((year for year in years if GUESSED_FROM <= year <= this_year), this_year)


def region_of(project: Project, outline: Outline, name: str, known: Mapping[Partition, KnownDelivery]) -> str:
    """The region whose polygon holds most of a sheet, else the one whose ground it touches most, else a new one."""
    import shapely

    sheet = shapely.Polygon(outline)
    for grounds in (region_polygons(project), _grounds(known)):
        shares = {region: shape.intersection(sheet).area for region, shape in grounds.items()}
        best = max(shares, key=lambda region: (shares[region], region), default="")
        if best and shares[best] > project.grid.resolution**2:
            return best
    return leading_word(name)


def _grounds(known: Mapping[Partition, KnownDelivery]) -> dict[str, shapely.Geometry]:
    """Each delivered region's bounds over all years."""
    import shapely

    boxes: dict[str, list[shapely.Geometry]] = {}
    for partition, item in known.items():
        if item.box:
            boxes.setdefault(partition.region, []).append(shapely.box(*item.box))
    return {region: shapely.union_all(parts) for region, parts in boxes.items()}


def leading_word(name: str) -> str:
    """What a file's name begins with, before its year or its first separator: `zanzibar` of zanzibar_2022_E.tif."""
    stem = name.rpartition(".")[0] or name
    dated = DATED.search(stem)
    before = stem[: dated.start()].strip(" _-.") if dated else ""
    return before or re.split(r"[_\-. ]", stem, maxsplit=1)[0]


def _checked(region: str, key: str) -> str:
    try:
        return check_region_name(region)
    except BadConfig as error:
        raise BadSheet(key, f"no region can be named {region!r}", "Put it into landing/REGION/YEAR") from error


def move_files(project: Project, moves: Sequence[tuple[str, str]]) -> None:
    """Move files; what was moved before stays. Raises StoreFailed."""
    for key, to in moves:
        try:
            project.store.move(key, to)
        except MissingInput:
            continue
