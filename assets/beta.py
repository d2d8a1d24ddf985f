"""What Dagster calls beta or preview, and is used here all the same: known, tested, and no news to whoever starts it.

Here: silence on exactly that, where it is used. Not here: any other warning; those are to be seen.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def known_beta(thing: str) -> Iterator[None]:
    """Within this, Dagster does not say that `thing`, as its warning begins, is beta or in preview."""
    with warnings.catch_warnings():
        for category in (dg.BetaWarning, dg.PreviewWarning):
            warnings.filterwarnings("ignore", re.escape(thing), category)
        yield
