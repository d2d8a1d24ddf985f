"""Metadata stripping: what a picture file tells beside its pixels, taken away without touching them.

Here: JPEG, PNG, WebP, GIF, TIFF and BMP files without EXIF, GPS, maker notes, XMP, IPTC, comments, previews and what is
appended to them. Not here: who asks for it (collections/ingest.py, collections/forget.py), or decoding (decode.py).

JPEG, PNG, WebP and GIF are cut at their segments: what remains is copied byte by byte, so no pixel changes. TIFF and
BMP are written anew from their decoded pixels, upright. Kept besides pixels: the colour profile and Adobe's marker,
without which colours are wrong, and the orientation, as an EXIF block with that one tag: turning the pixels of the
others would need a new encoding. Sources: ITU-T T.81 annex B, W3C PNG 3, RFC 9649 (WebP), GIF89a.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

from groundplan.collections.images.decode import WRITE_AGAIN, BadImage, no_image

_PNG_KEPT = {
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"gAMA",
    b"cHRM",
    b"sRGB",
    b"iCCP",
    b"cICP",
    b"sBIT",
    b"bKGD",
    b"pHYs",
    b"acTL",
    b"fcTL",
    b"fdAT",
}
_WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}
_ORIENTATION = 0x0112


def strip(data: bytes) -> bytes:
    """Strip an image of its metadata; stripping twice changes nothing more.

    Raises BadImage ('no image', 'unreadable') where the file's structure cannot be followed: such a file is not stored,
    since nobody could say what it still holds. A JPEG that ends too early keeps what is there.
    """
    kinds: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
        (b"\xff\xd8", _jpeg),
        (b"\x89PNG\r\n\x1a\n", _png),
        (b"RIFF", _webp),
        (b"GIF8", _gif),
        (b"II*\0", _reencode),
        (b"MM\0*", _reencode),
        (b"BM", _reencode),
    )
    for signature, stripped in kinds:
        if data.startswith(signature):
            try:
                return stripped(data)
            except MemoryError:
                raise
            except Exception as error:  # of a file as of a decoder: whatever trips, the file is not stored
                reason = f"its structure cannot be followed ({str(error)[:120]})"
                raise BadImage("image", reason, WRITE_AGAIN) from error
    raise no_image(data)


def orientation(exif: bytes) -> int:
    """EXIF orientation, 1 to 8, of a TIFF block; 1 where it says nothing sensible."""
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[exif[:4]]
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for number in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * number)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def orientation_block(value: int) -> bytes:
    """A TIFF block that says the orientation and nothing else."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, _ORIENTATION, 3, 1, value, 0, 0)


# ---------------------------------------------------------------------------------------------------- JPEG


def _jpeg(data: bytes) -> bytes:
    kept, turned = [b"\xff\xd8"], 1
    for marker, segment in _jpeg_segments(data):
        body = segment[4:]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            turned = orientation(body[6:])
        elif marker == 0xE0 and body.startswith(b"JFIF\0"):
            kept.append(b"\xff\xe0\x00\x10" + body[:12].ljust(12, b"\0") + b"\0\0")  # without the preview in it
        elif (marker in (0xE2, 0xEE) and body.startswith((b"ICC_PROFILE\0", b"Adobe"))) or not (
            0xE0 <= marker <= 0xEF or marker == 0xFE
        ):
            kept.append(segment)
    if turned != 1:
        block = b"Exif\0\0" + orientation_block(turned)
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        kept.insert(2 if kept[1].startswith(b"\xff\xe0") else 1, segment)
    return b"".join(kept)


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


# ------------------------------------------------------------------------------------------- PNG, WebP, GIF


def _png(data: bytes) -> bytes:
    kept, turned, at, kind = [data[:8]], 1, 8, b""
    while kind != b"IEND" and at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, chunk = data[at + 4 : at + 8], data[at : at + 12 + length]
        if kind in _PNG_KEPT:
            kept.append(chunk)
        elif kind == b"eXIf":
            turned = orientation(chunk[8:-4])
        elif not kind[0] & 0x20:
            raise ValueError(f"a chunk {kind!r} that is not known and not optional")
        at += 12 + length
    if turned != 1:
        body = b"eXIf" + orientation_block(turned)
        kept.insert(2, struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
    return b"".join(kept)


def _webp(data: bytes) -> bytes:
    if data[8:12] != b"WEBP":
        raise ValueError("RIFF, but not WebP")
    kept, turned, at = [], 1, 12
    end = min(len(data), 8 + int(struct.unpack_from("<I", data, 4)[0]))
    while at + 8 <= end:
        kind, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        chunk = data[at : at + 8 + length + (length & 1)]
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & ~0x0C]) + chunk[9:]  # says: no EXIF, no XMP
        if kind in _WEBP_KEPT:
            kept.append(chunk)
        elif kind == b"EXIF":
            turned = orientation(chunk[8:].removeprefix(b"Exif\0\0"))
        at += len(chunk)
    if turned != 1 and kept and kept[0].startswith(b"VP8X"):
        kept[0] = kept[0][:8] + bytes([kept[0][8] | 0x08]) + kept[0][9:]
        kept.append(b"EXIF" + struct.pack("<I", len(orientation_block(turned))) + orientation_block(turned))
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _gif(data: bytes) -> bytes:
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    kept = [data[:at]]
    while at < len(data) and data[at] != 0x3B:
        start = at
        if data[at] == 0x2C:
            at += 10 + (3 << ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0) + 1
            keep = True
        elif data[at] == 0x21:
            keep = data[at + 1] == 0xF9 or data[at + 3 : at + 14] == b"NETSCAPE2.0"
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


def _reencode(data: bytes) -> bytes:
    """Re-encode without loss, from the pixels of the first page. Large ones are refused by Pillow's own bound."""
    from PIL import Image

    image = Image.open(io.BytesIO(data), formats=("TIFF", "BMP"))
    image.load()  # turns a TIFF upright, so that no orientation need be kept
    plain = Image.frombytes(image.mode, image.size, image.tobytes())
    if image.mode == "P":
        plain.putpalette(image.getpalette() or [])
    buffer = io.BytesIO()
    if image.format == "BMP":
        plain.save(buffer, "BMP")
    else:
        plain.save(buffer, "TIFF", compression="tiff_adobe_deflate", icc_profile=image.info.get("icc_profile"))
    return buffer.getvalue()
