"""What libraries say of arrays without a place is not shown, whatever other threads do to the filters."""

from __future__ import annotations

import subprocess
import sys
import warnings

from groundplan.core.foreign_warnings import hush_missing_transform

SCORED_IN_THREADS = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np, shapely
from groundplan.polygons.metrics import score
area, found = shapely.box(0, 0, 8, 8), np.array([shapely.box(1, 1, 5, 5)], object)
with ThreadPoolExecutor(8) as threads:
    list(threads.map(lambda at: score(found, found, area=area, resolution=0.5), range(200)))
"""


def test_filters_that_another_thread_puts_back_show_nothing() -> None:
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings(record=True) as shown:
        hush_missing_transform()
        warnings.simplefilter("always")  # as when a library leaves its own `catch_warnings` just then
        warnings.warn("Dataset has no geotransform, gcps, or rpcs.", NotGeoreferencedWarning, stacklevel=1)
        warnings.warn("a word of our own", UserWarning, stacklevel=1)
    assert [str(one.message) for one in shown] == ["a word of our own"]


def test_polygons_are_scored_in_silence_by_many_threads() -> None:
    done = subprocess.run([sys.executable, "-c", SCORED_IN_THREADS], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
