"""A person's project for fields that read one: small, whole, and there at once.

Here: unpacking it. Not here: what it holds (tests/data/README.md).
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from fuzz.bounded import ROOT

PACKED = ROOT / "tests" / "data" / "home-3205019.tar.xz"


def old_home(folder: Path) -> Path:
    """The home folder of a project with every dataset of two regions in two years, and a collection."""
    with tarfile.open(PACKED) as archive:
        archive.extractall(folder, filter="data")
    return folder / "home"
