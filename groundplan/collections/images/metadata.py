"""Metadata stripping: what a picture file tells beside its pixels, taken away without touching them.

Here: JPEG, PNG, WebP, GIF, TIFF and BMP files without EXIF, GPS, maker notes, XMP, IPTC, comments, previews and what is
appended to them. Not here: who asks for it (collections/ingest.py, collections/forget.py), chunks of PNG and WebP
(chunks.py), texts of colour profiles (profiles.py), or decoding (decode.py).

JPEG, PNG, WebP and GIF are cut at their segments: what remains is copied byte by byte, so no pixel changes. TIFF and
BMP are written anew from their decoded pixels, upright. Kept besides pixels: the colour profile and Adobe's marker,
without which colours are wrong, and the orientation, as an EXIF block with that one tag: turning the pixels of the
others would need a new encoding; and of a TIFF how many pages it had, and its largest value. What somebody hid in the
coded pixels themselves stays: nothing but the pixels tells it. Sources: ITU-T T.81 annex B, GIF89a.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator

from groundplan.collections.images.chunks import Profiles, png, webp
from groundplan.collections.images.decode import (
    DESCRIPTION,
    WRITE_AGAIN,
    BadImage,
    kept_words,
    largest_value,
    no_image,
    pages_of,
)
from groundplan.collections.images.exif import orientation, orientation_block
from groundplan.collections.images.profiles import plain_profile


def strip(data: bytes, profiles: Profiles = plain_profile) -> bytes:
    """Strip an image of its metadata; stripping twice changes nothing more.

    profiles: what becomes of a colour profile; None: it stays with its texts, as earlier versions stored it.

    Raises BadImage ('no image', 'unreadable') where the file's structure cannot be followed: such a file is not stored,
    since nobody could say what it still holds. A JPEG that ends too early keeps what is there.
    """
    kinds: tuple[tuple[bytes, Callable[[bytes, Profiles], bytes]], ...] = (
        (b"\xff\xd8", _jpeg),
        (b"\x89PNG\r\n\x1a\n", png),
        (b"RIFF", webp),
        (b"GIF8", _gif),
        (b"II*\0", _reencode),
        (b"MM\0*", _reencode),
        (b"II+\0", _reencode),  # BigTIFF
        (b"MM\0+", _reencode),
        (b"BM", _reencode),
    )
    for signature, stripped in kinds:
        if data.startswith(signature):
            try:
                return stripped(data, profiles)
            except MemoryError:
                raise
            except Exception as error:  # of a file as of a decoder: whatever trips, the file is not stored
                reason = f"its structure cannot be followed ({str(error)[:120]})"
                raise BadImage("image", reason, WRITE_AGAIN) from error
    raise no_image(data)


# ---------------------------------------------------------------------------------------------------- JPEG


_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_KEPT = _FRAMES | {0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD}  # tables, scans, restarts, number of lines
_JPEG_SIZES = {0xDC: 4, 0xDD: 4}


def _jpeg(data: bytes, profiles: Profiles) -> bytes:
    kept, turned, profile, place = [b"\xff\xd8"], 1, b"", 1
    for marker, segment in _jpeg_segments(data):
        body = segment[4:]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            turned = orientation(body[6:])
        elif marker == 0xE0 and body.startswith(b"JFIF\0"):
            kept.append(b"\xff\xe0\x00\x10" + body[:12].ljust(12, b"\0") + b"\0\0")  # without the preview in it
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            place = place if profile else len(kept)
            profile += body[14:]
            kept += [] if profiles else [segment]
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            kept.append(b"\xff\xee\x00\x0e" + body[:12])
        elif marker in _JPEG_KEPT:
            _check_segment(marker, segment)
            kept.append(segment)
    if profiles:
        kept[place:place] = _profile_segments(profiles(profile))
    if turned != 1:
        block = b"Exif\0\0" + orientation_block(turned)
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        kept.insert(2 if kept[1].startswith(b"\xff\xe0") else 1, segment)
    return b"".join(kept)


def _check_segment(marker: int, segment: bytes) -> None:
    """Raises ValueError for one with more in it than it says, or with what no coder writes: room for a text."""
    length = 2 + int.from_bytes(segment[2:4], "big")
    expected = 2 + _JPEG_SIZES[marker] if marker in _JPEG_SIZES else length
    if marker in _FRAMES:
        expected = 10 + 3 * segment[9]
    elif marker == 0xDB:
        expected = _tables_end(segment, lambda first, at: 65 + 64 * (first >> 4))
    elif marker == 0xC4:
        expected = _tables_end(segment, lambda first, at: 17 + sum(segment[at + 1 : at + 17]))
        _check_codes(segment)
    elif marker == 0xDA:
        expected = 8 + 2 * segment[4]
    elif marker == 0xCC:  # arithmetic coding: pairs, the first of which is a class of 0 or 1 and a table of 0 to 3
        expected = length if length % 2 == 0 and not any(first & ~0x13 for first in segment[4::2]) else 4
    if marker != 0xD9 and length != expected:
        raise ValueError(f"a segment {marker:02x} of {length} bytes, not {expected}")


def _check_codes(segment: bytes) -> None:
    """Raises ValueError for a table of codes that gives one value two codes, as words in its place would."""
    at = 4
    while at < len(segment):
        end = at + 17 + sum(segment[at + 1 : at + 17])
        values = segment[at + 17 : end]
        if len(set(values)) != len(values):
            raise ValueError("a table of codes holds a value twice")
        at = end


def _tables_end(segment: bytes, size: Callable[[int, int], int]) -> int:
    """Where the last of a segment's tables ends. size: of the table that begins with that byte, at that place."""
    at = 4
    while at < len(segment):
        at += size(segment[at], at)
    return at


def _profile_segments(profile: bytes) -> list[bytes]:
    parts = [profile[start : start + 65000] for start in range(0, len(profile), 65000)]
    heads = (b"ICC_PROFILE\0" + bytes([number, len(parts)]) for number in range(1, len(parts) + 1))
    bodies = [head + part for head, part in zip(heads, parts, strict=True)]
    return [b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body for body in bodies]


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment after the first, entropy-coded data with its scan; ends at EOI."""
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            raise ValueError(f"no marker at byte {at}")
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        if marker == 0xD9:
            yield marker, b"\xff\xd9"
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            raise ValueError(f"a marker {marker:02x} where there can be none")
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise ValueError(f"a segment of {length} bytes at byte {at} does not fit")
        if marker == 0xDA:
            end = _scan_end(data, end)
        yield marker, b"\xff" + data[at + 1 : end]
        at = end


def _scan_end(data: bytes, at: int) -> int:
    """Where the entropy-coded data that begins at `at` ends: at the next marker that is no restart."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return len(data)
        if data[at + 1] == 0x00 or 0xD0 <= data[at + 1] <= 0xD7:
            at += 2
        elif data[at + 1] == 0xFF:
            at += 1
        else:
            return at


# ----------------------------------------------------------------------------------------------------- GIF


def _gif(data: bytes, profiles: Profiles) -> bytes:
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    kept = [data[:at]]
    if at > len(data):
        raise ValueError("its palette does not fit")
    while at < len(data) and data[at] != 0x3B:
        start = at
        if data[at] == 0x2C:
            at += 10 + (3 << ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0) + 1
            if not 1 <= data[at - 1] <= 11:  # bits of its shortest code: 12 are the most of any
                raise ValueError(f"codes of {data[at - 1]} bits at byte {at - 1}")
            keep = True
        elif data[at] == 0x21:
            control = data[at + 1 : at + 3] == b"\xf9\x04" and data[at + 7] == 0
            loop = data[at + 1 : at + 16] == b"\xff\x0bNETSCAPE2.0\x03\x01" and data[at + 18] == 0
            keep = control or loop  # as long as each must be
            at += 2
        else:
            raise ValueError(f"no block at byte {at}")
        while data[at]:  # sub-blocks, each with its length before it
            at += data[at] + 1
        at += 1
        if keep:
            kept.append(data[start:at])
    return b"".join([*kept, b";"])


# --------------------------------------------------------------------------------------------- TIFF and BMP


_MOST_PIXELS = 2**26  # of one that is decoded and coded again


def _reencode(data: bytes, profiles: Profiles) -> bytes:
    """Re-encode without loss, from the pixels of the first page.

    Raises:
        ValueError: there are more than `_MOST_PIXELS`.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(data), formats=("TIFF", "BMP"))
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"its {image.width} x {image.height} pixels are more than are coded anew")
    kind, given = image.format, image.info.get("icc_profile") or b""
    words = kept_words(min(pages_of(image), 99999), largest_value(image)) if kind == "TIFF" else ""
    image.load()  # turns a TIFF upright, so that no orientation need be kept
    shown = image.convert("RGB") if image.mode == "YCbCr" else image  # it is read as RGB when it is coded without loss
    mode, size, pixels, palette = shown.mode, shown.size, shown.tobytes(), shown.getpalette()
    del image, shown  # two copies of the pixels at once, not three
    plain = Image.frombytes(mode, size, pixels)
    if mode == "P":
        plain.putpalette(palette or [])
    buffer = io.BytesIO()
    if kind == "BMP":
        plain.save(buffer, "BMP")
    else:
        profile = profiles(given) if profiles else given
        plain.save(
            buffer,
            "TIFF",
            compression="tiff_adobe_deflate",
            icc_profile=profile or None,
            tiffinfo={DESCRIPTION: words} if words else {},
        )
    return buffer.getvalue()
