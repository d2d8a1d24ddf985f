"""Packed ground: labeled ground of several regions and years in one file that a machine without a store can learn from.

Here: the file's form, writing and reading. Not here: where ground comes from (benchmarks/starter), learning
(pooled.py). Images are JPEG, as blocks are; labels and cells are lossless. The split of any turn follows from the
cells' numbers.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundplan.core.archive import packed
from groundplan.errors import Damaged

QUALITY = 95
"""JPEG quality of images: they were packed once already, as blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Labeled ground of a region in a year, at grid resolution."""

    region: str
    year: int
    image: np.ndarray
    """uint8 (3, H, W)"""
    label: np.ndarray
    """uint8 (H, W), classes as of a `Scene`."""
    number: np.ndarray
    """uint8 (H, W): the number of the cell that a pixel lies in (split.py)."""
    resolution: float
    """Metres per pixel."""
    trust: float = 1.0
    """Share of the labels' worth, 0 to 1: how often it is learned from. Below 1 it is never judged by."""

    @property
    def name(self) -> str:
        return f"{self.region}-{self.year}"


def write(grounds: Sequence[Ground], quality: int = QUALITY) -> bytes:
    """The file: a zip without compression of its own, the same bytes for the same ground."""
    parts: dict[str, bytes] = {}
    facts: list[dict[str, Any]] = []
    for ground in grounds:
        facts.append({key: getattr(ground, key) for key in ("region", "year", "resolution", "trust")})
        parts[f"{ground.name}/image.jpg"] = _jpeg(ground.image, quality)
        parts[f"{ground.name}/label.png"] = png(ground.label)
        parts[f"{ground.name}/number.png"] = png(ground.number)
    return packed({"grounds.json": json.dumps(facts, indent=1).encode(), **parts})


def read(data: bytes) -> list[Ground]:
    """The ground of a file. Raises Damaged when it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [_read(archive, facts) for facts in json.loads(archive.read("grounds.json"))]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise Damaged("packed ground", f"it cannot be read: {str(error)[:100]}", "Prepare it again") from error


def _read(archive: zipfile.ZipFile, facts: dict[str, Any]) -> Ground:
    import cv2

    folder = f"{facts['region']}-{facts['year']}"
    image = cv2.imdecode(np.frombuffer(archive.read(f"{folder}/image.jpg"), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{folder}/image.jpg is no image")
    return Ground(
        image=np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)),
        label=from_png(archive.read(f"{folder}/label.png")),
        number=from_png(archive.read(f"{folder}/number.png")),
        **facts,
    )


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return bytes(cv2.imencode(".jpg", np.ascontiguousarray(image.transpose(1, 2, 0)[:, :, ::-1]), options)[1])


def png(raster: np.ndarray) -> bytes:
    """A raster uint8 (H, W), without loss."""
    import cv2

    return bytes(cv2.imencode(".png", raster, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def from_png(data: bytes) -> np.ndarray:
    """The raster of `png`. Raises ValueError where there is none."""
    import cv2

    raster = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if raster is None:
        raise ValueError("a raster cannot be decoded")
    return raster
