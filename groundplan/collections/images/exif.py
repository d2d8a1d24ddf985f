"""The one thing of EXIF that is kept, the orientation: read from a block, and a block that says it and nothing else.

Here: that tag of a TIFF block. Not here: where a file has its block (metadata.py, chunks.py).
"""

from __future__ import annotations

import struct

_ORIENTATION = 0x0112


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
