"""Encoding small pictures: JPEG from pixels, smaller ones from large ones.

Here: arrays and bytes. Not here: what a picture shows (previews/).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass
import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def to_jpeg(rgb: np.ndarray, limit: int = 90_000) -> bytes:
    """JPEG bytes of uint8 (H, W, 3), at the best quality that stays below `limit` bytes."""
    from PIL import Image

    for quality in (85, 75, 65, 50, 35, 20):
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "jpeg", quality=quality)
        if buffer.tell() <= limit:
            break
    return buffer.getvalue()


def shrunk(picture: bytes, longest: int) -> bytes:
    """A JPEG or PNG with a longer side of at most `longest` pixels, in the same format."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture))
    if max(image.size) <= longest:
        return picture
    kind, small = image.format, image.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if kind == "PNG":  # with all its colours: a palette made by counting drops what is rare, and rare is what is wrong
        small.save(buffer, "PNG", optimize=True)
    else:
        small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def markdown(picture: bytes, title: str) -> str:
    """A picture as Markdown that needs no server."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"![{title}](data:image/{kind};base64,{base64.b64encode(picture).decode()})"
