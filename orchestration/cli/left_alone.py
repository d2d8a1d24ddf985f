"""What lies in the landing folder and is read by nothing: folders that name no region and year, and links.

Here: a line on each, with what to do. Not here: finding them (groundplan/imagery/landing.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplan.imagery.landing import links, misnamed_folders, usable_region, why_unusable
from orchestration.cli.terminal import plain

if TYPE_CHECKING:
    from groundplan.project import Project

A_LINK = "it is a link or no file, and none is followed. Put the file itself there, or add it with --reference"


def left_alone(project: Project) -> list[str]:
    """A line, ready to print, on each thing that was delivered and left alone."""
    found = [f"{key}: {A_LINK}" for key in links(project)]
    return [plain(line) for line in [*found, *map(_misnamed, misnamed_folders(project))]]


def _misnamed(folder: str) -> str:
    region = folder.split("/")[1]
    why = "" if usable_region(region) else f" ({why_unusable(region)})"
    return f"{folder}: no region and year can be made of that name{why}. Rename it to landing/REGION/YEAR"
