"""Face blurring: faces are found and blurred, where a project asks for it.

Here: finding faces and blurring them. Not here: when that is wanted (collections/ingest.py).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from groundplan.collections.images.decode import BadImage, decode
from groundplan.project import Project

Blur = Callable[[bytes], bytes | None]  # an image in which faces are blurred, or None where there is none
BLUR = 0.25  # of a face's side: standard deviation of the blur
FACE = 24  # pixels: a smaller face is not looked for


# ---------------------------------------------------------------------------------------------------- faces


def face_blurring(project: Project) -> Blur | None:
    """Face blurring function, where the project asks for it.

    The detector is scikit-image's cascade of local binary patterns for frontal faces: it comes with its file, and with
    no promise. It misses faces from the side, small, dark or covered ones; who must be sure has people look.
    """
    if not project.settings.collections.blur_faces:
        return None
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    cascade = Cascade(lbp_frontal_face_cascade_filename())
    most = project.settings.collections.max_pixels

    def blur(data: bytes) -> bytes | None:
        try:
            pixels = decode(data, most).pixels
        except BadImage:
            return None  # the catalogue will say what is wrong with it
        return blurred(pixels, faces(cascade, pixels))

    return blur


def faces(cascade: Any, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Face detection: left, top, width and height of each face in RGB uint8 (H, W, 3)."""
    side = min(pixels.shape[:2])
    if side < FACE:
        return []
    found = cascade.detect_multi_scale(
        img=pixels, scale_factor=1.2, step_ratio=1, min_size=(FACE, FACE), max_size=(side, side)
    )
    return [(int(face["c"]), int(face["r"]), int(face["width"]), int(face["height"])) for face in found]


def blurred(pixels: np.ndarray, found: Sequence[tuple[int, int, int, int]]) -> bytes | None:
    """The image with those places blurred, as a JPEG of quality 95; None where there are none."""
    if not found:
        return None
    import cv2
    from PIL import Image

    changed = pixels.copy()
    for left, top, width, height in found:
        place = changed[top : top + height, left : left + width]
        place[:] = cv2.GaussianBlur(place, (0, 0), max(width, height) * BLUR)
    buffer = io.BytesIO()
    Image.fromarray(changed).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
