"""PNG and WebP without metadata: files of chunks, of which those that make the picture are kept.

Here: which chunks, how long each may be, and where a picture ends. A chunk fits in its file, the small ones have the
size that the formats give them, and a WebP's picture ends where its decoder stops reading: what lies behind that could
be anything. Not here: other formats (metadata.py). Sources: W3C PNG 3, RFC 9649 (WebP).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

from groundplan.collections.images.exif import orientation, orientation_block
from groundplan.collections.images.profiles import plain_profile

Profiles = Callable[[bytes], bytes] | None

# ----------------------------------------------------------------------------------------------------- PNG

_SIZES = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9, b"acTL": 8, b"fcTL": 26, b"IHDR": 13, b"IEND": 0}
_BY_COLOR = {  # sizes that depend on the colour type
    b"tRNS": {0: 2, 2: 6},
    b"bKGD": {0: 2, 2: 6, 3: 1, 4: 2, 6: 6},
    b"sBIT": {0: 1, 2: 3, 3: 3, 4: 2, 6: 4},
}
_MANY = (b"IDAT", b"fcTL", b"fdAT")  # others come once


def png(data: bytes, profiles: Profiles = plain_profile) -> bytes:
    """A PNG's picture and what its colours mean. profiles: what becomes of a colour profile; None: it stays.

    Raises ValueError, or struct.error, where it cannot be followed.
    """
    kept: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    turned, color, entries = 1, 0, 0
    for kind, body in _png_chunks(data):
        if kind == b"IHDR":
            color = body[9]
        elif kind == b"PLTE":
            entries = len(body) // 3
        elif kind == b"eXIf":
            turned = orientation(body)
        if kind in seen and kind not in _MANY:
            continue  # a second one of a kind that comes once
        seen.add(kind)
        if kind == b"iCCP" and profiles:
            body = _png_profile(body, profiles)
        if _belongs(kind, body, color, entries):
            kept.append((kind, body))
        elif not kind[0] & 0x20:
            raise ValueError(f"a chunk {kind!r} that is not known, or of a wrong size")
    if turned != 1:
        kept.insert(1, (b"eXIf", orientation_block(turned)))
    left = _packed_length([body for kind, body in kept if kind == b"IDAT"])
    parts = [data[:8]]
    for kind, body in kept:
        if kind == b"IDAT":  # what lies behind the end of the packed pixels is none of them
            body, left = body[:left], max(0, left - len(body))
        if body or kind != b"IDAT":
            parts.append(_png_chunk(kind, body))
    return b"".join(parts)


def _packed_length(bodies: list[bytes]) -> int:
    """Bytes until the packed pixels end; all where they do not. One piece of what they unpack to is in memory."""
    unpacking, length = zlib.decompressobj(), 0
    for body in bodies:
        rest = body
        while rest and not unpacking.eof:
            unpacking.decompress(rest, 2**20)
            rest = unpacking.unconsumed_tail
        length += len(body) - len(unpacking.unused_data if unpacking.eof else b"")
        if unpacking.eof:
            return length
    return length


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk until IEND. Raises ValueError: one does not fit, or IEND is not there."""
    at, kind = 8, b""
    while kind != b"IEND":
        (length,) = struct.unpack_from(">I", data, at)
        kind, body, end = data[at + 4 : at + 8], data[at + 8 : at + 8 + length], at + 12 + length
        if end > len(data):
            raise ValueError(
                f"it is cut short and cannot be decoded: a chunk of {length} bytes at byte {at} does not fit"
            )
        if at == 8 and kind != b"IHDR":
            raise ValueError("it does not begin with its header")
        if not kind[0] & 0x20 and zlib.crc32(kind + body) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"the sum of a chunk at byte {at} is wrong")
        yield kind, body
        at = end


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _belongs(kind: bytes, body: bytes, color: int, entries: int) -> bool:
    """Whether a chunk is part of the picture, and as long as it must be."""
    if kind in _SIZES:
        return len(body) == _SIZES[kind]
    if kind == b"tRNS" and color == 3:
        return len(body) <= entries
    if kind in _BY_COLOR:
        return len(body) == _BY_COLOR[kind].get(color)
    if kind == b"PLTE":
        return len(body) % 3 == 0 and 0 < len(body) <= 768
    if kind == b"fdAT":
        return len(body) >= 4
    return kind == b"IDAT" or (kind == b"iCCP" and bool(body))


def _png_profile(body: bytes, profiles: Callable[[bytes], bytes]) -> bytes:
    """The chunk with a profile's colours and no name; b'' where it holds none."""
    packed = body.partition(b"\0")[2][1:]
    try:
        profile = profiles(zlib.decompressobj().decompress(packed, 8 * 2**20))
    except zlib.error:
        return b""
    return b"icc\0\0" + zlib.compress(profile, 9) if profile else b""


# ---------------------------------------------------------------------------------------------------- WebP

_PICTURE = (b"VP8 ", b"VP8L")
_WEBP_SIZES = {b"VP8X": 10, b"ANIM": 6}
_ORDER = (b"VP8X", b"ICCP", b"ANIM", b"ALPH", b"VP8 ", b"VP8L", b"ANMF")
_TAIL = 5  # bytes that an encoder may leave unread at the end of a picture; libwebp's leaves up to 3
_MOST_PIXELS = 2**26  # of a picture that is decoded to see where it ends


def webp(data: bytes, profiles: Profiles = plain_profile) -> bytes:
    """A WebP's picture and what its colours mean. profiles: as of `png`.

    Raises ValueError where it cannot be followed, or is not decoded.
    """
    if data[8:12] != b"WEBP":
        raise ValueError("RIFF, but not WebP")
    end = 8 + int(struct.unpack_from("<I", data, 4)[0])
    if end > len(data):
        raise ValueError("it is shorter than it says")
    found, frames, turned = dict[bytes, bytes](), list[bytes](), 1
    for kind, body in _riff_chunks(data[12:end]):
        if kind == b"EXIF":
            turned = orientation(body.removeprefix(b"Exif\0\0"))
        elif kind == b"ANMF":
            frames.append(_frame(body))
        elif kind in found or len(body) != _WEBP_SIZES.get(kind, len(body)):
            raise ValueError(f"a chunk {kind!r} of a wrong size, or twice")
        elif kind in _ORDER:
            found[kind] = body
    given = found.pop(b"ICCP", b"")
    if profile := profiles(given) if profiles else given:
        found[b"ICCP"] = profile
    if not frames:
        found |= dict(_picture({kind: found[kind] for kind in found if kind in (*_PICTURE, b"ALPH")}))
    return _riff(found, frames, turned)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Raises ValueError where one does not fit."""
    at = 0
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int(struct.unpack_from("<I", data, at + 4)[0])
        if at + 8 + length > len(data):
            raise ValueError(f"a chunk of {length} bytes does not fit")
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)


def _riff(found: dict[bytes, bytes], frames: list[bytes], turned: int) -> bytes:
    if b"VP8X" in found:
        flags, canvas = (
            found[b"VP8X"][0] & 0x12,
            found[b"VP8X"][4:],
        )  # alpha and animation: no EXIF, no XMP, nothing new
        flags |= (0x20 if b"ICCP" in found else 0) | (0x08 if turned != 1 else 0)
        found[b"VP8X"] = bytes([flags, 0, 0, 0]) + canvas
    elif found.keys() - set(_PICTURE) or frames:
        raise ValueError("it is more than a picture and says not what")
    chunks = [(kind, found[kind]) for kind in _ORDER if kind in found] + [(b"ANMF", frame) for frame in frames]
    if turned != 1 and b"VP8X" in found:
        chunks.append((b"EXIF", orientation_block(turned)))
    body = b"WEBP" + b"".join(_riff_chunk(kind, content) for kind, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)


def _frame(body: bytes) -> bytes:
    """A frame of an animation, with its picture and no other chunk."""
    if len(body) < 16:
        raise ValueError("a frame without a place")
    parts = {kind: part for kind, part in _riff_chunks(body[16:]) if kind in (*_PICTURE, b"ALPH")}
    picture = _picture(parts)
    return body[:15] + bytes([body[15] & 3]) + b"".join(_riff_chunk(kind, part) for kind, part in picture)


def _picture(parts: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The chunks of one picture, without what lies behind its last bit. Raises ValueError where it is not decoded."""
    if len(parts.keys() & set(_PICTURE)) != 1:
        raise ValueError("it holds no picture, or two")
    pixels = _decoded(parts)
    if pixels is None:
        raise ValueError("its picture cannot be decoded")
    for kind in sorted(parts):  # alpha, which comes first, then the colours
        length = _read_until(parts, kind, pixels)
        parts = {**parts, kind: parts[kind][:length]}
    return sorted(parts.items())


def _read_until(parts: dict[bytes, bytes], kind: bytes, pixels: bytes) -> int:
    """Bytes of a chunk that its decoder reads. One more try shows that an honest chunk is read to its end."""

    def same(length: int) -> bool:
        return _decoded({**parts, kind: parts[kind][:length]}) == pixels

    low, high = 0, len(parts[kind])  # the picture is not the same with `low`, and is with `high`
    if high <= _TAIL or not same(high - _TAIL):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if same(middle) else (middle, high)
    return high


def _decoded(parts: dict[bytes, bytes]) -> bytes | None:
    """Pixels of the picture that these chunks are; None where they are none."""
    from PIL import Image

    width, height = _size(parts)
    if width * height > _MOST_PIXELS:
        raise ValueError(f"its {width} x {height} pixels are too many to see where they end")
    found = dict(parts)
    if b"ALPH" in found:
        found[b"VP8X"] = bytes([0x10, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    try:
        with Image.open(io.BytesIO(_riff(found, [], 1)), formats=("WEBP",)) as image:
            return image.convert("RGBA").tobytes()
    except (OSError, ValueError, SyntaxError, EOFError):
        return None


def _size(parts: dict[bytes, bytes]) -> tuple[int, int]:
    if b"VP8L" in parts:
        (bits,) = struct.unpack_from("<I", parts[b"VP8L"].ljust(5, b"\0"), 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", parts[b"VP8 "].ljust(10, b"\0"), 6)
    return width & 0x3FFF, height & 0x3FFF
