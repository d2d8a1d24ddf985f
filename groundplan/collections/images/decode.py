"""Image decoding: bytes in, pixels or a clear reason out.

Here: formats, bounds, odd pixel types, orientation. Not here: what its metadata may hold (metadata.py), or what its
pixels are good for (collections/descriptors/encoders.py, collections/descriptors/visual_words.py).

Only the content says what a file is, never its name. Bounds are checked from the header, before pixels are decoded.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundplan.errors import GroundplanError

FORMATS = ("PNG", "WEBP", "TIFF", "GIF", "BMP")  # and JPEG, which has a way of its own
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # and BigTIFF
WRITE_AGAIN = "Write it again as an 8-bit JPEG or PNG"
DESCRIPTION, MOST_SAMPLE = 270, 281  # tags of TIFF: text, the largest value that can occur
NEARLY_BLACK = 32  # of 255: a picture without a brighter pixel is worth a word
_PLAIN = ("L", "RGB", "1")
_WITH_ALPHA = ("LA", "RGBA", "P", "PA", "La", "RGBa")


class BadImage(GroundplanError):
    """A file of a collection that cannot be used; `state` is its word in the catalogue."""

    def __init__(self, thing: str, reason: str, remedy: str, state: str = "unreadable") -> None:
        super().__init__(thing, reason, remedy)
        self.args = (thing, reason, remedy, state)
        self.state = state


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A decoded image. pixels: uint8 (H, W, 3), RGB, upright; reduced when a smaller size was asked for or needed.

    width, height: as stored, before turning and reducing. note: what was done to odd pixels; '' for an ordinary image.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str
    format: str
    note: str = ""


def decode(data: bytes, max_pixels: int, side: int = 0) -> DecodedImage:
    """Decode the image in `data`.

    A JPEG with more than `max_pixels` is read at an eighth of its sides when that fits and its rows can be decoded one
    by one (not progressive); any other such image is refused. side: where given, a JPEG is read at 1/2, 1/4 or 1/8 as
    long as both sides stay at least twice that. Both are libjpeg's own reduced reading.

    16 bits become their upper 8, or of fewer that the file states (12 bits in 16) the upper 8 of these. CMYK is
    converted without a profile, transparency lies on white, of an animation the first frame is taken: `note` says so.
    Raises BadImage: state 'no image', 'unreadable', 'too large' or 'unsupported'.
    """
    try:
        image = opened(data)
        (width, height), mode, note = image.size, image.mode, ""
        if width * height > max_pixels:
            _reduce(image, max_pixels)
            note = f"read at 1/{max(1, round(width / image.size[0]))} of its size"
        elif side and image.format == "JPEG" and min(width, height) >= 4 * side:
            image.draft(None, (2 * side, 2 * side))
        pixels, more = _rgb(image, data)
    except BadImage:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a file can trip a decoder in any way; the other images go on
        reason = f"it cannot be decoded ({type(error).__name__}: {str(error)[:120]})"
        raise BadImage("image", reason, "Deliver it again, whole, or leave it out") from error
    return DecodedImage(
        pixels=pixels,
        width=width,
        height=height,
        mode=mode,
        format=str(image.format),
        note="; ".join(filter(None, (note, more))),
    )


def opened(data: bytes) -> Any:
    """The image with its header read and no pixel decoded. Raises BadImage, or what its decoder trips over."""
    from PIL import Image, JpegImagePlugin, UnidentifiedImageError

    if data[:3] == b"\xff\xd8\xff":
        # not Image.open: that refuses large images before they can be read reduced
        return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if data[:2] == b"\xff\xd8" or data[:4] in (b"\x89PNG", b"RIFF", b"GIF8", *TIFF):
            raise BadImage("image", "its beginning is one of an image, the rest is not", WRITE_AGAIN) from None
        raise no_image(data) from None
    except Image.DecompressionBombError as error:
        raise BadImage("image", str(error)[:120], "Reduce it, or leave it out", "too large") from None


def no_image(data: bytes) -> BadImage:
    """The error of a file that does not begin as any image that is read."""
    what = "it is text" if _is_text(data) else "it is no JPEG, PNG, WebP, TIFF, GIF or BMP"
    return BadImage("image", what if data else "the file is empty", "Leave it out, or write it as an image", "no image")


def _is_text(data: bytes) -> bool:
    try:
        return all(char.isprintable() or char.isspace() for char in data[:512].decode())
    except UnicodeDecodeError:
        return False


def _reduce(image: Any, max_pixels: int) -> None:
    """Ask for an eighth of a large JPEG, or refuse it."""
    width, height = image.size
    if image.format == "JPEG" and not image.info.get("progressive"):  # that needs all of its rows in memory
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
    if image.size[0] * image.size[1] > max_pixels:
        raise BadImage(
            "image",
            f"its {width} x {height} pixels are more than collections.max_pixels, {max_pixels}",
            "Reduce it, or raise that bound",
            "too large",
        )


def _rgb(image: Any, data: bytes) -> tuple[np.ndarray, str]:
    """Upright RGB pixels uint8 (H, W, 3), and what had to be done for them."""
    from PIL import Image, ImageOps

    notes = []
    if (pages := pages_of(image)) > 1:
        several = "pages" if image.format == "TIFF" else "frames"
        notes.append(f"of {pages} {several} the first is used")
    bits = _stated_bits(image, data)
    deep = image.mode.startswith("I") or (image.format == "PNG" and struct.unpack(">B", data[24:25])[0] == 16)
    if image.mode == "CMYK":
        notes.append("CMYK was converted without a profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise BadImage("image", "its pixels have more than 16 bits", WRITE_AGAIN, "unsupported")
        bits = bits if values.max(initial=0) < 1 << bits else 16  # a file that was scaled up says what it was, too
        notes.append(_of_bits(bits))
        gray = (values >> (bits - 8)).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2), "; ".join([*notes, *_darkness(gray, deep=True)])
    if deep:
        notes.append(_of_bits(16))
    if image.mode in _WITH_ALPHA:
        with_alpha = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", with_alpha.size, "white"), with_alpha)
    elif image.mode not in (*_PLAIN, "CMYK", "YCbCr"):
        raise BadImage("image", f"its pixels are of a kind ({image.mode}) that is not read", WRITE_AGAIN, "unsupported")
    pixels = np.asarray(image.convert("RGB"))
    return pixels, "; ".join([*notes, *_darkness(pixels, deep)])


def _of_bits(bits: int) -> str:
    return f"of {bits} bits the upper 8 are used"


def _darkness(pixels: np.ndarray, deep: bool) -> list[str]:
    """A word on a picture in which hardly anything can be seen."""
    largest = int(pixels.max(initial=0))
    if largest >= NEARLY_BLACK:
        return []
    why = ", as of fewer bits in 16: scale its values up" if deep and largest else ""
    return [f"it is nearly black: no value is above {largest} of 255{why}"]


def pages_of(image: Any) -> int:
    """Pages or frames of a file, also of one of which only the first page is left and that says so."""
    return max(int(getattr(image, "n_frames", 1)), _kept_words(image)[0])


def largest_value(image: Any) -> int:
    """The largest value that a TIFF says can occur; 0 where it says nothing."""
    told = image.tag_v2.get(MOST_SAMPLE, 0)
    largest = told[0] if isinstance(told, tuple) and told else told
    return largest if isinstance(largest, int) and 255 < largest < 65535 else _kept_words(image)[1]


def kept_words(pages: int, largest: int) -> str:
    """What is kept of a TIFF beside its pixels, as its description: without it two notes would be lost."""
    return f"pages {pages}, largest value {largest}" if pages > 1 or largest else ""


def _kept_words(image: Any) -> tuple[int, int]:
    told = str(image.tag_v2.get(DESCRIPTION, "")) if image.format == "TIFF" else ""
    found = re.fullmatch(r"pages (\d{1,5}), largest value (\d{1,5})", told)
    return (int(found[1]), int(found[2])) if found else (1, 0)


def _stated_bits(image: Any, data: bytes) -> int:
    """Bits of 16 that count, where the file says it: PNG's sBIT, TIFF's largest value. 8 to 16."""
    bits = 16
    if image.format == "PNG":
        at = 8
        while at + 9 < len(data) and data[at + 4 : at + 8] != b"IDAT":
            if data[at + 4 : at + 8] == b"sBIT":
                bits = data[at + 8]
            at += 12 + int(struct.unpack_from(">I", data, at)[0])
    elif image.format == "TIFF":
        bits = largest_value(image).bit_length()
    return bits if 8 < bits <= 16 else 16


def square(pixels: np.ndarray, side: int) -> np.ndarray:
    """Resize with anti-aliasing to uint8 (side, side, 3), the aspect ratio not kept."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
