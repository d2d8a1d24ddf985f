"""The first step with a single image: from bytes to upright pixels, with a bound on everything.

Here: bounds on bytes, pixels, frames, scans and time; orientation; cropping and reducing; when and with which camera it
was taken; where it lies, if it says so. Not here: decoders (collections/images/decode.py), or what is seen in it
(analyse.py).

A TIFF's place is read from its tags: no library that opens other files sees what a stranger sends.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundplan.collections.images.decode import BadImage, decode, opened
from groundplan.foreign_text import in_line
from groundplan.single.georeference import Georeference, of_tiff

MEDIA = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "BMP": "image/bmp",
}
MOST_SCANS = 128  # of a progressive JPEG: each may cost as much as decoding all of it; cameras write about ten
MOST_NAME = 80  # characters of a camera's name
_TAKEN, _CREATED, _MAKE, _CAMERA = 36867, 306, 271, 272  # EXIF tags
_EXIF_IFD, _SUBFILE = 0x8769, 254
_REDUCED = 1 | 4  # kinds of a TIFF's directory that are no pictures of their own: overviews and masks


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What an image may cost. side: pixels; a larger picture is reduced to it, 0: never. crop: the middle square."""

    bytes: int = 20_000_000
    pixels: int = 40_000_000
    frames: int = 1
    seconds: float = 20.0
    side: int = 0
    crop: bool = False
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """An image that may be looked at. pixels: uint8 (H, W, 3), RGB, upright, reduced where limits ask for it.

    digest: SHA-256 of the bytes that came. width, height: as stored, before turning and reducing. taken: ISO date and
    time as the camera said it, without a zone; None where it did not say. place: of `pixels`, None where unknown.
    """

    pixels: np.ndarray
    digest: str
    media: str
    width: int
    height: int
    taken: str | None = None
    camera: str | None = None
    place: Georeference | None = None
    note: str = ""


Placed = Georeference | Callable[[int, int], Georeference]
"""Where an image lies, or how that follows from its upright width and height."""


def prepare(
    data: bytes,
    limits: ImageLimits | None = None,
    place: Placed | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> PreparedImage:
    """Decode an image within its limits.

    place: where its upright pixels lie, told by whoever sent it; it goes before what the file says. Header, size and
    number of frames are judged before a pixel is decoded; time is judged between the steps, and a step's own time is
    bounded by bytes, pixels and scans.

    Raises BadImage: state 'no image', 'unreadable', 'too large' or 'unsupported'. That is final: the same bytes will
    never be an image.
    """
    bounds, began = limits or ImageLimits(), clock()
    if len(data) > bounds.bytes:
        raise _too_large(f"it has {len(data)} bytes, more than {bounds.bytes}")
    header = _header(data, bounds)
    found = decode(data, bounds.pixels, bounds.side)
    _check_time(clock() - began, bounds)
    upright = (header.height, header.width) if header.turned >= 5 else (header.width, header.height)
    own = header.place if header.turned == 1 else None  # no program turns a georeferenced picture
    told = place(*upright) if callable(place) else place
    pixels, where = _shaped(found.pixels, told or own, upright, bounds)
    _check_time(clock() - began, bounds)
    return PreparedImage(
        pixels=pixels,
        digest=hashlib.sha256(data).hexdigest(),
        media=MEDIA[found.format],
        width=header.width,
        height=header.height,
        taken=header.taken,
        camera=header.camera,
        place=where,
        note=found.note,
    )


# ----------------------------------------------------------------------------------------------- the header


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    width: int
    height: int
    turned: int
    taken: str | None
    camera: str | None
    place: Georeference | None


def _header(data: bytes, limits: ImageLimits) -> _Header:
    """What an image's first bytes say, judged. Raises BadImage."""
    try:
        with opened(data) as image:
            return _judged(image, data, limits)
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # a file can trip a parser in any way
        reason = f"it cannot be decoded ({type(error).__name__}: {in_line(error)[:120]})"
        raise BadImage("image", reason, "Send it again, whole") from error


def _judged(image: Any, data: bytes, limits: ImageLimits) -> _Header:
    width, height = image.size
    if image.format not in limits.formats:
        reason = f"it is a {image.format}, and what is read here is {', '.join(limits.formats)}"
        raise BadImage("image", reason, "Send it as a JPEG or PNG", "unsupported")
    if width * height > limits.pixels:
        raise _too_large(f"it has {width} x {height} pixels, more than {limits.pixels}")
    if (frames := _frames(image, limits.frames)) > limits.frames:
        raise _too_large(f"it has {frames} frames or more, and {limits.frames} may be in it")
    if image.format == "JPEG" and data.count(b"\xff\xda") > MOST_SCANS:
        raise _too_large(f"it is coded in more than {MOST_SCANS} scans")
    tags = image.getexif()
    detail = tags.get_ifd(_EXIF_IFD)
    turned = tags.get(0x0112, 1)
    return _Header(
        width=width,
        height=height,
        turned=turned if turned in range(1, 9) else 1,
        taken=_moment(detail.get(_TAKEN) or tags.get(_CREATED)),
        camera=_camera(tags),
        place=of_tiff(image) if image.format == "TIFF" else None,
    )


def _frames(image: Any, most: int) -> int:
    """Pictures in a file, counted no further than one more than may be there."""
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    count = 0
    for at in range(256):  # directories: overviews and masks are no frames
        try:
            image.seek(at)
        except EOFError:
            break
        count += not int(image.tag_v2.get(_SUBFILE, 0)) & _REDUCED
        if count > most:
            break
    image.seek(0)
    return count


def _moment(text: Any) -> str | None:
    """EXIF's `2024:06:01 12:30:00` in ISO form; None for anything else."""
    found = re.match(r"(\d{4}):([01]\d):([0-3]\d) ([0-2]\d):([0-5]\d):([0-5]\d)", str(text))
    return f"{found[1]}-{found[2]}-{found[3]}T{found[4]}:{found[5]}:{found[6]}" if found else None


def _camera(tags: Any) -> str | None:
    words = [in_line(tags.get(tag) or "").strip("\0 ") for tag in (_MAKE, _CAMERA)]
    told = words[1] if words[1].startswith(words[0]) else " ".join(filter(None, words))
    return told[:MOST_NAME] or None


# ----------------------------------------------------------------------------------------- cropping, reducing


def _shaped(
    pixels: np.ndarray, place: Georeference | None, upright: tuple[int, int], limits: ImageLimits
) -> tuple[np.ndarray, Georeference | None]:
    """The picture cropped and reduced as asked, and where that lies. upright: width and height before any reducing."""
    if place is not None:  # the decoder may have read a JPEG reduced
        place = place.scaled(upright[0] / pixels.shape[1], upright[1] / pixels.shape[0])
    if limits.crop:
        pixels, place = _cropped(pixels, place)
    if limits.side and max(pixels.shape[:2]) > limits.side:
        pixels, place = _reduced(pixels, place, limits.side)
    return pixels, place


def _cropped(pixels: np.ndarray, place: Georeference | None) -> tuple[np.ndarray, Georeference | None]:
    high, wide = pixels.shape[:2]
    side = min(high, wide)
    top, left = (high - side) // 2, (wide - side) // 2
    kept = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return kept, place and place.moved(left, top)


def _reduced(pixels: np.ndarray, place: Georeference | None, side: int) -> tuple[np.ndarray, Georeference | None]:
    import cv2

    high, wide = pixels.shape[:2]
    share = side / max(high, wide)
    size = max(1, round(wide * share)), max(1, round(high * share))
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller, place and place.scaled(wide / size[0], high / size[1])


def _check_time(spent: float, limits: ImageLimits) -> None:
    if spent > limits.seconds:
        raise _too_large(f"decoding it took {spent:.1f} s, and {limits.seconds:g} s are allowed")


def _too_large(reason: str) -> BadImage:
    return BadImage("image", reason, "Send a smaller one", "too large")
