"""Memory that a process keeps for itself once it has it.

Here: what the C library is told. Not here: which process asks for it (footprints/on_device.py, imagery/tiles.py).
Blocks are cut, and predicted on a device, out of hundreds of short-lived pieces of half a megabyte. By its own rules
glibc gives such pieces back to the system and takes new ones, each by a call that waits for other threads' new pages,
and holds Python's lock meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import sys

PIECE, SPARE, PART = 32 * 2**20, 2**30, 2**27
"""Bytes of a piece from which on it is a mapping of its own, the most that glibc takes; bytes at the end of a thread's
memory from which on some are given back; and more than a part of it has (64 MiB): none is given back as a whole."""
_TRIM, _STEP, _MAPPING = -1, -2, -3  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of malloc.h
_SAID = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_memory() -> bool:
    """Keep what is let go for the next piece. False, and nothing is changed, where there is no glibc or where the
    environment says already how it behaves. A process holds what it needed at its peak until it ends."""
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SAID):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return all(mallopt(*each) for each in ((_MAPPING, PIECE), (_TRIM, SPARE), (_STEP, PART)))
