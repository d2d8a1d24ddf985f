"""Coding, files and digests of blocks on their way beside a device: plain Python is the oracle."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow
import pytest

from groundplan.footprints.conveyed import CODING, Files, coded
from groundplan.raster.coded_cog import ZSTD, Level, pieces
from groundplan.raster.edges import digest_of


def test_a_tile_is_coded_by_itself_wherever_it_stands() -> None:
    tiles = np.random.default_rng(1).integers(0, 9, (75, 4096), np.uint8)
    codec = pyarrow.Codec("zstd", compression_level=CODING)
    with ThreadPoolExecutor(2) as pool:
        assert coded(tiles, pool) == [codec.compress(tile.tobytes(), asbytes=True) for tile in tiles]
        assert coded(tiles[40:41], pool) == [codec.compress(tiles[40].tobytes(), asbytes=True)]


def test_a_file_is_its_pieces_and_its_memory_is_taken_again_when_nobody_holds_it() -> None:
    files, levels = Files(), [Level(64, [bytes([n]) * 20_000 for n in range(4)]), Level(32, [b"over" * 50])]
    first = files.joined(pieces(levels, 2, 32, ZSTD, {}))
    assert first == b"".join(pieces(levels, 2, 32, ZSTD, {}))
    kept = first[10:20]
    address = np.frombuffer(first, np.uint8).ctypes.data
    second = files.joined([b"x" * 900])
    assert np.frombuffer(second, np.uint8).ctypes.data != address, "the first is still held"
    del first
    assert np.frombuffer(files.joined([b"y" * 900]), np.uint8).ctypes.data != address, "a part of it is still held"
    assert kept == b"".join(pieces(levels, 2, 32, ZSTD, {}))[10:20]
    del kept
    third = [files.joined([b"z" * 900]), files.joined([b"w" * 900])]
    assert address in [np.frombuffer(one, np.uint8).ctypes.data for one in third]
    assert [bytes(one[:1]) for one in (second, *third)] == [b"x", b"z", b"w"]


@pytest.mark.parametrize("wide", [7, 64])
def test_an_edge_that_lies_within_a_raster_has_the_digest_of_its_copy(wide: int) -> None:
    """What manifests hold already: pixels and then the mask's bits, as one piece of bytes."""
    rng = np.random.default_rng(2)
    pixels, mask = rng.integers(0, 256, (2, 40, 64), np.uint8)[:, 3:, -wide:], rng.random((37, wide)) > 0.5
    want = hashlib.sha256(pixels.tobytes() + np.packbits(mask).tobytes()).hexdigest()[:16]
    assert digest_of(pixels, mask) == want
    assert digest_of(np.ascontiguousarray(pixels), mask) == want
