"""What libraries say of arrays without a place is not shown, whatever other threads do to the filters."""

from __future__ import annotations

import subprocess
import sys
import warnings

from groundplan.core.foreign_warnings import hush_missing_transform

OUTLINES_IN_THREADS = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from groundplan.polygons.outlines import _polygons
pieces = np.arange(256, dtype=np.int32).reshape(16, 16)
with ThreadPoolExecutor(8) as threads:
    list(threads.map(lambda at: list(_polygons(pieces, at % 2, 0)), range(400)))
"""


def test_filters_that_another_thread_puts_back_show_nothing() -> None:
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings(record=True) as shown:
        hush_missing_transform()
        warnings.simplefilter("always")  # as when a library leaves its own `catch_warnings` just then
        warnings.warn("Dataset has no geotransform, gcps, or rpcs.", NotGeoreferencedWarning, stacklevel=1)
        warnings.warn("a word of our own", UserWarning, stacklevel=1)
    assert [str(one.message) for one in shown] == ["a word of our own"]


def test_outlines_are_drawn_in_silence_by_many_threads() -> None:
    done = subprocess.run([sys.executable, "-c", OUTLINES_IN_THREADS], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
