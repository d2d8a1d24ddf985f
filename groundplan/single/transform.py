"""The third step with a single image: what of it may be stored.

Here: metadata taken away, faces hidden, the picture reduced; bytes and pixels in, bytes out. Not here: finding faces
(faces.py), whether it is wanted (rules.py), storing.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np

from groundplan.collections.images.metadata import strip
from groundplan.single.faces import FaceFinder, hidden
from groundplan.single.prepare import PreparedImage
from groundplan.single.rules import Course

ENDINGS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/tiff": ".tif"}
QUALITY = 95  # of a JPEG that is coded anew


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImage:
    """What is stored of an image. sha256: of these bytes; faces: how many were hidden, None where nobody looked."""

    data: bytes
    sha256: str
    media: str
    faces: int | None

    @property
    def key(self) -> str:
        """In the store, by content."""
        return f"images/{self.sha256[:2]}/{self.sha256}{ENDINGS.get(self.media, '')}"


def transform(data: bytes, image: PreparedImage, course: Course, finder: FaceFinder | None) -> KeptImage:
    """The bytes that may be stored. finder: None where nobody may look for faces.

    Without faces and without reducing, the picture's coded pixels are copied as they came. What is coded anew is
    upright and holds nothing but pixels. Raises BadImage where the file's structure cannot be followed, ValueError
    where faces are to be hidden and there is no finder.
    """
    if course.faces and finder is None:
        raise ValueError("faces are to be hidden, and nothing finds them")
    found = finder(image.pixels) if course.faces and finder else None
    reduced = bool(course.keep_side) and max(image.pixels.shape[:2]) > course.keep_side
    if not found and not reduced:
        kept, media = (strip(data) if course.strip else data), image.media
    else:
        pixels = hidden(image.pixels, found, image.digest) if found else image.pixels
        kept, media = _coded(pixels, course.keep_side if reduced else 0, image.media)
    return KeptImage(
        data=kept,
        sha256=hashlib.sha256(kept).hexdigest(),
        media=media,
        faces=None if found is None else len(found),
    )


def _coded(pixels: np.ndarray, side: int, media: str) -> tuple[bytes, str]:
    """A JPEG, or a PNG of what was without loss."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    if side:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if media in ("image/png", "image/tiff"):
        picture.save(buffer, "PNG")
        return buffer.getvalue(), "image/png"
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue(), "image/jpeg"
