"""Several files as one object: a model and its card belong together, and appear together.

Here: the zip. Not here: what is in it (training/models.py, collections/classifier.py, collections/tuned.py).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

WHEN = (1980, 1, 1, 0, 0, 0)  # the format must have a time; a fixed one keeps the bytes the same


def packed(parts: Mapping[str, bytes]) -> bytes:
    """A zip of the parts in their order: uncompressed and without times, so the same parts are the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name, WHEN), part)
    return buffer.getvalue()
