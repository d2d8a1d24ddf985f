"""Encoding small pictures: JPEG from pixels, smaller ones from large ones.

Here: arrays and bytes. Not here: what a picture shows (previews/).
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

LETTER, SIGN, LINE, EDGE = 11, 7, 14, 3  # pixels of a line below a picture: height, width, of a row, around it


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


def signed(rgb: np.ndarray, line: str | None) -> np.ndarray:
    """A picture uint8 (H, W, 3) with a line of text on a strip below it; as it is without one.

    A line that is too long is broken: whom it names is not cut off.
    """
    from PIL import Image

    return np.asarray(_signed(Image.fromarray(rgb), line)) if line else rgb


def signed_png(picture: bytes, line: str | None) -> bytes:
    """As `signed`, for a PNG."""
    from PIL import Image

    if not line:
        return picture
    buffer = io.BytesIO()
    _signed(Image.open(io.BytesIO(picture)), line).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _signed(image: Image.Image, line: str) -> Image.Image:
    import textwrap

    from PIL import Image, ImageDraw

    # a palette that has no grey for the strip would turn it into any colour
    rows = textwrap.wrap(line, max(8, (image.width - 2 * EDGE) // SIGN)) or [""]
    strip = Image.new("RGB", (image.width, len(rows) * LINE + 2 * EDGE), (255, 255, 255))
    ImageDraw.Draw(strip).multiline_text((EDGE, EDGE - 1), "\n".join(rows), (70, 70, 70), _font(), spacing=2)
    whole = Image.new("RGB", (image.width, image.height + strip.height))
    whole.paste(image.convert("RGB"), (0, 0))
    whole.paste(strip, (0, image.height))
    return whole if image.mode == "RGB" else whole.quantize(64, dither=Image.Dither.NONE)


def _font() -> Any:
    """A font with the letters of many languages, which comes with Matplotlib."""
    from pathlib import Path

    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", LETTER)
