"""Adding imagery: a person's sheets into the landing folder.

Here: checking, copying or referring to files, and a hint about the grid. Not here: registers (labels/registers.py) and
regions (imagery/regions.py), or what notices a delivery (scan.py).
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from groundplan.core.datum import shift_notes
from groundplan.core.grid import Grid
from groundplan.core.partition import Partition
from groundplan.core.progress import current_progress
from groundplan.core.store import Found
from groundplan.errors import BadConfig, BadSheet
from groundplan.imagery import catalog
from groundplan.imagery.landing import (
    BESIDE_ENDINGS,
    REFERENCE,
    SHEET_ENDINGS,
    WORLD_ENDINGS,
    check_region_name,
    landed_files,
    landing_prefix,
    parts_beside,
)
from groundplan.imagery.regions import check_known
from groundplan.imagery.sheet import crs_name
from groundplan.project import Project

if TYPE_CHECKING:
    from affine import Affine

MOST_NAME = 200  # bytes of a file's name: file systems allow 255, and endings are added


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A sheet that was copied into the landing folder or referred to."""

    name: str
    key: str
    bytes: int
    state: str
    hint: str = ""
    replaced: str = ""  # what lay there under that name, and since when


def deliver(project: Project, files: list[Path], region: str, year: int, reference: bool = False) -> list[Delivered]:
    """Copy sheets, and the files beside them, into the landing folder, or refer to them where they lie.

    What belongs to a sheet comes with it: its world file, .prj, .aux.xml, .msk and .ovr. Nothing is copied unless all
    can be. Raises BadConfig, BadSheet.
    """
    region = check_region_name(region)
    check_known(project, region)
    partition = Partition(year, region)
    given = _with_parts(files)
    for file in given:
        _check_file(project, file, reference)
    _check_names(given)
    there = {item.key.rsplit("/", 1)[-1]: item for item in landed_files(project, partition)}
    # of a sheet that is referred to, what belongs to it is found where the sheet lies
    chosen = [file for file in given if not (reference and _is_part(file))]
    whole = sum(file.stat().st_size for file in chosen)
    done = []
    with current_progress().task(f"delivery of {partition}", whole, 0, of_bytes=True) as advance:
        for file in chosen:
            key = f"{landing_prefix(partition)}/{file.name}{REFERENCE if reference else ''}"
            if reference:
                project.store.put(key, json.dumps({"url": file.resolve().as_uri()}).encode())
            else:
                project.store.put_file(key, file, lambda size: advance(parts=size))
            done.append(_delivered(project, key, file, given, there))
    return done


def _delivered(project: Project, key: str, file: Path, given: list[Path], there: Mapping[str, Found]) -> Delivered:
    """What is said of a file that lies there now."""
    old = there.get(key.rsplit("/", 1)[-1])
    state = "replaced" if old else "referred to" if key.endswith(REFERENCE) else "copied"
    hint = _part_hint(file, given, there) if _is_part(file) else _hints(project, key)
    if old and (left := _left_beside(file, given, there)):
        hint = f"{hint} {left}".strip()
    told = _told(old) if old else ""
    return Delivered(name=file.name, key=key, bytes=file.stat().st_size, state=state, hint=hint, replaced=told)


def _is_part(file: Path) -> bool:
    return file.name.lower().endswith(BESIDE_ENDINGS)


def _with_parts(files: list[Path]) -> list[Path]:
    """The files, each once, and what belongs to each sheet in its own folder."""
    found = {file.absolute(): file for file in files}
    folders: dict[Path, dict[str, list[Path]]] = {}
    for file in files:
        if _is_part(file) or not file.is_file():
            continue
        if file.parent not in folders:
            folders[file.parent] = _by_name(file.parent)
        for name in sorted(parts_beside(file.name)):
            for part in folders[file.parent].get(name, ()):
                found.setdefault(part.absolute(), part)
    return list(found.values())


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """Files of a folder by their names in lower case."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        if path.name.lower().endswith(BESIDE_ENDINGS):
            found.setdefault(path.name.lower(), []).append(path)
    return found


def _check_names(files: list[Path]) -> None:
    """Check that no file would take another's place, or lie beside a sheet to which it does not belong."""
    names: dict[str, Path] = {}
    for file in files:
        name = unicodedata.normalize("NFC", file.name).casefold()
        if other := names.get(name):
            raise BadSheet(
                file.name,
                f"two of the files have that name: {other} and {file}",
                "Rename one of them, with what belongs to it; nothing was copied",
            )
        names[name] = file
    beside: dict[str, list[Path]] = {}  # sheets by what may lie beside them
    for sheet in files:
        for name in parts_beside(sheet.name) if not _is_part(sheet) else ():
            beside.setdefault(name, []).append(sheet)
    for part in files:
        sheets = beside.get(part.name.lower(), [])
        own = [sheet for sheet in sheets if sheet.parent == part.parent]
        if own and len(own) < len(sheets):
            other = next(sheet for sheet in sheets if sheet not in own)
            raise BadSheet(
                part.name,
                f"it belongs to {own[0]}, and would lie beside {other} too",
                "Rename one of the sheets, with what belongs to it; nothing was copied",
            )


def _part_hint(file: Path, given: list[Path], there: Mapping[str, Found]) -> str:
    """A word on a file that belongs to a sheet, where that sheet was not delivered."""
    names = [*(one.name for one in given if not _is_part(one)), *there]
    papers = not file.name.lower().endswith((*WORLD_ENDINGS, ".prj", ".aux.xml", ".ovr", ".msk"))
    if papers or any(file.name.lower() in parts_beside(name) for name in names):
        return ""
    return f"{file.name} belongs to no sheet that was delivered."


def _left_beside(file: Path, given: list[Path], there: Mapping[str, Found]) -> str:
    """A word on what was delivered with the sheet that is replaced, and still lies beside the new one."""
    new = {one.name for one in given}
    left = [item for name, item in there.items() if name.lower() in parts_beside(file.name) and name not in new]
    told = ", ".join(f"{item.key.rsplit('/', 1)[-1]} ({_told(item)})" for item in left)
    return f"Beside the new {file.name} still lies {told}: remove what does not belong to it." if left else ""


def _told(item: Found) -> str:
    return f"{item.size:,} bytes, added {item.modified:%Y-%m-%d %H:%M} UTC"


def _check_file(project: Project, file: Path, reference: bool) -> None:
    if not file.is_file():
        raise BadSheet(str(file), "there is no such file", "Check the path; nothing was copied")
    if not file.name.lower().endswith((*SHEET_ENDINGS, *BESIDE_ENDINGS)):
        raise BadSheet(str(file), "it is no image by its name", f"Give files of {', '.join(SHEET_ENDINGS)}")
    if not file.name.isprintable() or len(file.name.encode()) > MOST_NAME:
        raise BadSheet(
            repr(file.name), "no store can hold a file of that name", f"Rename it: printable, at most {MOST_NAME} bytes"
        )
    if reference:
        url = file.resolve().as_uri()
        roots = project.settings.imagery.reference_roots
        if not any(url.startswith(root.rstrip("/") + "/") for root in roots):
            raise BadConfig(
                str(file),
                "it lies below none of the folders that may be referred to",
                f'Set imagery.reference_roots = ["{file.resolve().parent.as_uri()}"]',
            )


def _hints(project: Project, key: str) -> str:
    """What can be said of a sheet at once, by its header: its datum shift, its place on the grid."""
    try:
        with catalog.opened(project, key) as source:
            transform, crs, bounds = source.transform, source.crs, source.bounds
    except BadSheet:
        return ""  # the build says it, with the reason, and sets the sheet aside
    if crs is None:
        return ""
    name = crs_name(crs)
    if name != crs_name(project.grid.crs):
        return " ".join(shift_notes(name, project.grid.crs, bounds, project.datum_tolerance))
    return _alignment_hint(project.grid, transform)


def _alignment_hint(grid: Grid, transform: Affine) -> str:
    """Hint about the grid's origin, for sheets that are off it by a fraction of a pixel: another spares resampling."""
    if grid.aligned(transform) or not abs(transform.a / grid.resolution - 1) <= 1e-6:
        return ""
    x, y = grid.pixel(transform.c, transform.f)
    if not (math.isfinite(x) and math.isfinite(y)):
        return ""
    return (
        f"Sheets lie {x % 1:.3f}, {y % 1:.3f} pixels off the grid and will be resampled; "
        "move grid.origin by that much to avoid it (before blocks exist)."
    )
