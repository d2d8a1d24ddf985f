"""Warnings of libraries that say nothing new to whoever reads them.

Here: each of them by name and origin, with the reason; called where it would arise, and silent from then on. Not here:
Dagster's (assets/beta.py), or anything that is not known: that is to be seen. Not by filters alone: blocks are made in
threads, which share them, and whoever leaves `catch_warnings` in another thread (rasterio does so for each array in
memory) puts older ones back.
"""

from __future__ import annotations

import re
import warnings
from typing import Any


def hush_missing_transform() -> None:
    """rasterio's word on a raster without a place.

    Of the array in memory that shapes are burnt into it is true, and means nothing; of a sheet, we say it ourselves,
    with the remedy (imagery/validation.py).
    """
    from rasterio.errors import NotGeoreferencedWarning

    _never_shown(NotGeoreferencedWarning, r"Dataset has no geotransform|The given matrix is equal to Affine\.identity")


def hush_tracing() -> None:
    """torch's word on its older way of tracing a network, which OpenVINO's converter takes."""
    _never_shown(FutureWarning, r"`torch\.jit\.trace(_method)?` is deprecated")


def _never_shown(kind: type[Warning], words: str) -> None:
    """By a filter, and where a warning would be shown: what has passed the filters of another thread ends there."""
    warnings.filterwarnings("ignore", words, kind)
    show = warnings.showwarning
    hushed = getattr(show, "hushed", frozenset[tuple[type[Warning], str]]())
    if (kind, words) in hushed:
        return

    def show_others(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not (issubclass(category, kind) and re.match(words, str(message))):
            show(message, category, *where, **more)

    show_others.hushed = hushed | {(kind, words)}  # type: ignore[attr-defined]
    warnings.showwarning = show_others
