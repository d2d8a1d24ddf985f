"""Images for tests, made of noise: each unlike every other, and the same every time.

Here: drawing them and laying them out as a collection. Not here: odd and broken files (test_collections_bad_input.py).
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from groundplan.collections import catalog
from groundplan.collections.pipeline import run_step
from groundplan.core.materialize import Report
from groundplan.project import Project


def picture(seed: int, side: int = 40) -> Image.Image:
    """An image unlike that of any other seed: coarse coloured noise."""
    cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def folder_of(path: Path, **counts: int) -> Path:
    """A folder of class folders with images all unlike each other."""
    for label, count in counts.items():
        (path / label).mkdir(parents=True)
        for number in range(count):
            name = f"{label}-{chr(97 + number % 26)}{number}.jpg"
            (path / label / name).write_bytes(jpeg(picture(hash_of(label, number))))
    return path


def hash_of(*parts: object) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16)


def cataloged(project: Project, collection: str) -> dict[str, Report]:
    found = catalog.classes(project, collection)
    return {part.label: run_step(project, catalog.DATASET, part) for part in found}
