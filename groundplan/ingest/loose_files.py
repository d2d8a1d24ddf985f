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
from groundplan.imagery.dates import NAME, WRITTEN_TAG, Stated, without_dates, years_stated
from groundplan.imagery.landing import (
    REFERENCE,
    SHEET_ENDINGS,
    WORLD_ENDINGS,
    check_region_name,
    landing_prefix,
    parts_beside,
)
from groundplan.imagery.ownership import Outline
from groundplan.imagery.regions import region_polygons
from groundplan.ingest.decide import KnownDelivery
from groundplan.ingest.looking import look_at
from groundplan.project import Project

if TYPE_CHECKING:
    import shapely

    from groundplan.core.store import Found


YEAR = re.compile(r"(?:19|20)\d\d")  # as the name of a folder
SEPARATOR = r"[_\-. ]"
WORD = re.compile(r"[^\W\d_]+\d{0,2}")  # of a region's name: letters, at most with a number as in `delft2`


def is_sheet(key: str) -> bool:
    """Whether a loose file is one that can be filed; what lies beside it goes along."""
    name = key.rsplit("/", 1)[-1]
    return name.lower().endswith((*SHEET_ENDINGS, REFERENCE)) and not catalog.is_beside(key)


def moves_of(
    project: Project,
    found: Found,
    around: Iterable[Found] | catalog.BesideOf,
    known: Mapping[Partition, KnownDelivery],
    this_year: int,
    notes: list[str] | None = None,
) -> list[tuple[str, str]]:
    """Keys of a loose sheet and of the files beside it, each with the key where it belongs; the sheet comes last.

    around: the loose files of the same folder, or what finds those beside a sheet. notes: gets a word for each thing
    that was decided between two sayings. Raises BadSheet when it cannot be opened or its place is not known.
    """
    find = around if callable(around) else beside_among(around)
    beside = [name for name, _ in find(found.key)]
    try:
        look = look_at(project, found.key, beside)
        tags, outline = look.tags, look.outline
    except GroundplanError:
        raise
    except Exception as error:  # a file can trip a library in any way; the others go on
        reason = f"it cannot be looked at ({type(error).__name__}: {str(error)[:120]})"
        raise BadSheet(found.key, reason, "Write it again as a GeoTIFF, such as `gdal_translate -of COG`") from error
    folder, _, name = found.key.rpartition("/")
    given = folder.removeprefix("landing").strip("/")
    if YEAR.fullmatch(given):
        year, word = int(given), ""
    else:
        year, word = year_of(tags, name, this_year)
    region = given if given and not YEAR.fullmatch(given) else region_of(project, outline, name, known)
    if not FIRST_YEAR <= year <= this_year:
        raise BadSheet(found.key, f"it is of {year}", f"Put it into landing/REGION/YEAR, {FIRST_YEAR} to {this_year}")
    if word and notes is not None:
        notes.append(f"{found.key}: {word}")
    target = landing_prefix(Partition(year, _checked(region, found.key)))
    there = {item.key.casefold(): item for item in project.store.below(target)[1]}
    moves = [(f"{folder}/{one}", f"{target}/{one}") for one in (*beside, *_prj_of(project, found.key), name)]
    check_free(found.key, [to for _, to in moves], there)
    return moves


def check_free(key: str, targets: Iterable[str], there: Mapping[str, Found]) -> None:
    """Check that moving a loose file replaces nothing. there: what lies where it belongs, by key in small letters.

    Raises BadSheet.
    """
    if old := next((there[to.casefold()] for to in targets if to.casefold() in there), None):
        raise BadSheet(
            key,
            f"{old.key} is there already, added {old.modified:%Y-%m-%d %H:%M} UTC",
            "Rename one of them, or put it there yourself to replace it",
        )


def left_alone(found: Iterable[Found]) -> list[str]:
    """Keys of world files, masks and the like in a folder whose sheet does not lie there: it may have been filed."""
    names = {item.key.rsplit("/", 1)[-1].lower(): item.key for item in found}
    of_sheets = {part for name, key in names.items() if is_sheet(key) for part in parts_beside(name)}
    kinds = (*WORLD_ENDINGS, ".prj", ".aux.xml", ".msk", ".ovr")
    return sorted(key for name, key in names.items() if name.endswith(kinds) and name not in of_sheets)


def _prj_of(project: Project, key: str) -> list[str]:
    """The .prj file beside a loose sheet, where there is one."""
    stem = key.rpartition(".")[0]
    return [f"{stem}{end}".rsplit("/", 1)[-1] for end in (".prj", ".PRJ") if project.store.exists(f"{stem}{end}")]


def beside_among(around: Iterable[Found]) -> catalog.BesideOf:
    """What lies beside each of the loose files of a folder."""
    return catalog.beside_by_name({item.key: (item.tag, item.size) for item in around})


def year_of(tags: Mapping[str, str], name: str, this_year: int) -> tuple[int, str]:
    """The year that is most believable by imagery/dates.py, else this year; and a word where it is not certain.

    Raises BadSheet where the name alone says two.
    """
    stated = years_stated(name, tags, this_year)
    if not stated:
        return this_year, f"neither its name nor its tags say when it was flown; it is filed under {this_year}"
    first = stated[0]
    named = sorted({one.year for one in stated if one.source == NAME})
    if first.source == NAME and len(named) > 1:
        raise BadSheet(
            name, f"its name holds several years: {', '.join(map(str, named))}", "Put it into landing/REGION/YEAR"
        )
    others = [f"{_says(one)} {one.year}" for one in stated if one.year != first.year]
    if others:
        return first.year, f"{_says(first)} {first.year}, {', '.join(others)}; it is filed under {first.year}"
    if first.source == WRITTEN_TAG:
        return first.year, f"only {WRITTEN_TAG} says {first.year}, which may be when the file was written"
    return first.year, ""


def _says(one: Stated) -> str:
    return "its name says" if one.source == NAME else f"{one.source} says"


def region_of(project: Project, outline: Outline, name: str, known: Mapping[Partition, KnownDelivery]) -> str:
    """The region whose polygon holds most of a sheet, else the one whose ground it touches most, else a new one."""
    import shapely

    sheet = shapely.Polygon(outline)
    for grounds in (region_polygons(project), _grounds(known)):
        shares = {region: shape.intersection(sheet).area for region, shape in grounds.items()}
        best = max(shares, key=lambda region: (shares[region], region), default="")
        if best and shares[best] > project.grid.resolution**2:
            return best
    return named_region(name)


def _grounds(known: Mapping[Partition, KnownDelivery]) -> dict[str, shapely.Geometry]:
    """Each delivered region's bounds over all years."""
    import shapely

    boxes: dict[str, list[shapely.Geometry]] = {}
    for partition, item in known.items():
        if item.box:
            boxes.setdefault(partition.region, []).append(shapely.box(*item.box))
    return {region: shapely.union_all(parts) for region, parts in boxes.items()}


def named_region(name: str) -> str:
    """What a file's name begins with, before its year or its first separator: `zanzibar` of zanzibar_2022_E.tif.

    Where the year comes first, the words after it. Raises BadSheet for what numbers a sheet, as m_4007405_ne_18_060
    does: each sheet of such a delivery would become a region.
    """
    stem = name.rpartition(".")[0] or name
    before, *after = [part.strip(" _-.") for part in without_dates(stem).split("\0")]
    if after and before:
        chosen = before
    elif after:  # the year comes first
        chosen = _letters(next((part for part in after if part), ""))
    else:
        chosen = re.split(SEPARATOR, before, maxsplit=1)[0]
    if chosen != _letters(chosen) or not chosen or _numbers_a_sheet(chosen, before, bool(after)):
        raise BadSheet(
            name,
            f"no region can be told from its name ({chosen or stem} numbers a sheet)",
            "Put it into landing/REGION/YEAR, or add a regions file",
        )
    return chosen


def _letters(text: str) -> str:
    """A text up to its first word that is a number."""
    end = next((match.start() for match in re.finditer(r"[^_\-. ]+", text) if not WORD.fullmatch(match[0])), len(text))
    return text[:end].strip(" _-.")


def _numbers_a_sheet(chosen: str, undated: str, dated: bool) -> bool:
    """Whether a letter or two stand before a long number, such as in m_4007405_ne.tif."""
    return not dated and len(chosen) < 3 and bool(re.search(r"[_\-. ]\d{3,}", undated))


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
