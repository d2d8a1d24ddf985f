"""How a JPEG 2000 file's boxes follow each other, read before a decoder opens the file.

Here: lengths with which a decoder would walk in a circle, and a bound on their number. Not here: what boxes say, and
pixels (a decoder says that better). Source: ISO/IEC 15444-1 annex I.
"""

from __future__ import annotations

import struct

from groundplan.errors import BadSheet
from groundplan.imagery.tiff_header import Paged, Part

BEGINNING = b"\0\0\0\x0cjP  \r\n\x87\n"
HOLD_BOXES = (b"jp2h", b"asoc", b"res ")
MOST_BOXES = 4096  # a file with many captions has some hundred
MOST_DEPTH = 16
REMEDY = "Write it again from the original, such as `gdal_translate -of COG`"


def check_boxes(part: Part, key: str) -> None:
    """Pass over what is no JPEG 2000 file, or whose boxes each end where the next begins.

    Raises:
        BadSheet: a box within another has no length or one that leads out of it, or they are too many or too deep.
    """
    paged = Paged(part)
    if not paged(0, 12).startswith(BEGINNING):
        return
    ends, at, seen = [(1 << 63) - 1], 0, 0
    while ends:
        if at >= ends[-1]:
            at = ends.pop()
            continue
        head = paged(at, 16)
        if len(head) < 8:  # the file ends here
            return
        length, begin = _length(head)
        if length < begin and len(ends) == 1:  # to the end of the file, or no box: decoders stop here
            return
        if length < begin or at + length > ends[-1]:
            raise BadSheet(key, f"its box at byte {at} says that it has {length} bytes, which cannot be", REMEDY)
        seen += 1
        if seen > MOST_BOXES or len(ends) > MOST_DEPTH:
            raise BadSheet(
                key, f"it holds more than {MOST_BOXES} boxes, or more than {MOST_DEPTH} in each other", REMEDY
            )
        if head[4:8] in HOLD_BOXES:
            ends.append(at + length)
            at += begin
        else:
            at += length


def _length(head: bytes) -> tuple[int, int]:
    """Bytes of a box with its head, and of the head alone, from its first 16 bytes."""
    (short,) = struct.unpack_from(">I", head)
    if short != 1:
        return short, 8
    return (struct.unpack_from(">Q", head, 8)[0] if len(head) == 16 else 0), 16
