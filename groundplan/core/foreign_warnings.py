"""Warnings of libraries that say nothing new to whoever reads them.

Here: each of them by name and origin, with the reason; called where it would arise, and silent from then on. Not here:
Dagster's (assets/beta.py), or anything that is not known: that is to be seen. Filters, not `catch_warnings`: blocks are
made in threads, which share the filters.
"""

from __future__ import annotations

import warnings


def hush_missing_transform() -> None:
    """rasterio's word on a raster without a place.

    Of the array in memory that shapes are burnt into it is true, and means nothing; of a sheet, we say it ourselves,
    with the remedy (imagery/validation.py).
    """
    from rasterio.errors import NotGeoreferencedWarning

    warnings.filterwarnings("ignore", "Dataset has no geotransform", NotGeoreferencedWarning, r"rasterio(\.\w+)?$")


def hush_tracing() -> None:
    """torch's word on its older way of tracing a network, which OpenVINO's converter takes."""
    warnings.filterwarnings(
        "ignore", r"`torch\.jit\.trace(_method)?` is deprecated", FutureWarning, r"torch\.jit\._trace"
    )
