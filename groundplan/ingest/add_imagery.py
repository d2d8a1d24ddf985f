"""Adding imagery: a person's sheets into the landing folder.

Here: checking, copying or referring to files, and a hint about the grid. Not here: registers (labels/registers.py) and
regions (imagery/regions.py), or what notices a delivery (scan.py).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, BadSheet
from groundplan.imagery import catalog
from groundplan.imagery.landing import (
    BESIDE_ENDINGS,
    REFERENCE,
    SHEET_ENDINGS,
    check_region_name,
    landed_files,
    landing_prefix,
)
from groundplan.imagery.regions import check_known
from groundplan.project import Project

MOST_NAME = 200  # bytes of a file's name: file systems allow 255, and endings are added


@dataclass(frozen=True, slots=True)
class Delivered:
    """A sheet that was copied into the landing folder or referred to."""

    name: str
    bytes: int
    state: str
    hint: str = ""


def deliver(project: Project, files: list[Path], region: str, year: int, reference: bool = False) -> list[Delivered]:
    """Copy sheets, and the files beside them, into the landing folder, or refer to them where they lie.

    Nothing is copied unless all can be. Raises BadConfig, BadSheet.
    """
    check_region_name(region)
    check_known(project, region)
    partition = Partition(year, region)
    for file in files:
        _check_file(project, file, reference)
    there = {item.key: item.size for item in landed_files(project, partition)}
    done = []
    for file in files:
        key = f"{landing_prefix(partition)}/{file.name}{REFERENCE if reference else ''}"
        state = "replaced" if key in there else ("referred to" if reference else "copied")
        if reference:
            project.store.put(key, json.dumps({"url": file.resolve().as_uri()}).encode())
        else:
            project.store.put_file(key, file)
        done.append(Delivered(file.name, file.stat().st_size, state, _alignment_hint(project, key)))
    return done


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


def _alignment_hint(project: Project, key: str) -> str:
    """Hint about the grid's origin, for sheets that are off it by a fraction of a pixel: another spares resampling."""
    from rasterio.crs import CRS

    try:
        with catalog.opened(project, key) as source:
            transform, crs = source.transform, source.crs
    except BadSheet:
        return ""  # the build says it, with the reason, and sets the sheet aside
    same = crs is not None and crs == CRS.from_user_input(project.grid.crs)
    if not same or project.grid.aligned(transform) or not abs(transform.a / project.grid.resolution - 1) <= 1e-6:
        return ""
    x, y = project.grid.pixel(transform.c, transform.f)
    if not (math.isfinite(x) and math.isfinite(y)):
        return ""
    return (
        f"Sheets lie {x % 1:.3f}, {y % 1:.3f} pixels off the grid and will be resampled; "
        "move grid.origin by that much to avoid it (before blocks exist)."
    )
