"""What a sheet looks like where a little of it is decoded: its corners and its middle.

Here: ground that a sheet shows in one flat colour, a mask that is none, a sheet that is mostly one colour. Not here:
what a file says (bands.py, validation.py), where flat ground ends (collar.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from groundplan.config import ImagerySettings
from groundplan.errors import BadSheet
from groundplan.imagery.bands import SHOWN, BandReading, read_window, shown_in, to_uint8

if TYPE_CHECKING:
    import rasterio
    from rasterio.windows import Window

SIDE = 64  # pixels of a sample
ACROSS = 7  # samples along each side of a sheet that looks odd
STEADY = 2  # values by which a filled corner may vary: what a lossy packing leaves of one colour
BLURRED = 16  # values by which a packing may have moved pixels that are no imagery
LEAST_FLAT = 64  # pixels of one colour, joined to a corner; photographs have fewer
MOSTLY = 0.9  # share of one colour from which a sheet hardly holds imagery
CLEAR = 0.02  # an alpha may stray so far from all or nothing
LOSSY = ("JPEG", "WEBP", "LERC", "JXL")

Sample: TypeAlias = "tuple[np.ndarray, np.ndarray]"
"""Pixels, uint8 (bands, h, w), and where they show imagery, bool (h, w)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """fill: flat colours that are hardly imagery, 8 bits a band. notes: what a person should look at."""

    fill: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]


def look_at(source: rasterio.DatasetReader, reading: BandReading, settings: ImagerySettings, key: str) -> Appearance:
    """Look at a little of an opened sheet. Raises BadSheet when it holds nothing, or when its alpha is none."""
    windows = [*_corners(source), _within(source, source.width // 2, source.height // 2)]
    if reading.alpha and _varies(source, reading, windows) and _varies(source, reading, _all_over(source)):
        raise BadSheet(
            key,
            f"its band {reading.alpha} is flagged as alpha, but hardly any of it is opaque: it may be infrared",
            f"Flag it as what it is (`gdal_edit.py -colorinterp_{reading.alpha} undefined`), or deliver a mask",
        )
    read = _once(source, reading)
    samples = [read(window) for window in windows]
    if not any(shown.any() for _, shown in samples):
        _check_any(source, reading, key)
    flat = {color for corner, sample in enumerate(samples[:4]) if (color := _flat(sample, corner))}
    flat, blurred = ({one for one in found if not _known(one, settings)} for found in (flat, _blurred(source, reading)))
    share = _share_of_one(samples if len({*windows}) > 1 else samples[:1])
    if share >= MOSTLY:
        share = _share_of_one([read_window(source, reading, window) for window in _all_over(source)])
    return Appearance(fill=tuple(sorted(flat | blurred)), notes=tuple(_notes(share, flat, blurred)))


def _notes(share: float, flat: set[tuple[int, ...]], blurred: set[tuple[int, ...]]) -> list[str]:
    if share >= MOSTLY:
        return [f"{share:.0%} of it is of one colour. Look whether it is what was flown"]
    if flat:
        return [
            f"corners of it are of one flat colour, {_named(flat)}, and it does not say that this is no imagery. "
            f"It is laid below what other sheets show; if it is none, set imagery.nodata = {_values(flat)}"
        ]
    if blurred:
        return [
            f"it says that {_named(blurred)} is no imagery, and its packing has blurred where that ends. "
            f"What is nearly that is laid below what other sheets show; set imagery.nodata = {_values(blurred)}"
        ]
    return []


def _values(colors: set[tuple[int, ...]]) -> list[int]:
    return sorted({round(sum(color) / len(color)) for color in colors})


def _known(color: tuple[int, ...], settings: ImagerySettings) -> bool:
    """Whether imagery.nodata says already that a colour is no imagery."""
    within = settings.nodata_tolerance
    return any(all(abs(one - value) <= within for one in color) for value in settings.nodata)


def _named(colors: set[tuple[int, ...]]) -> str:
    return " and ".join("/".join(map(str, color)) for color in sorted(colors))


# ---------------------------------------------------------------------------------------------------- samples


def _once(source: rasterio.DatasetReader, reading: BandReading) -> Callable[[Window], Sample]:
    """Reads samples; of a small sheet all samples are the same, and it is read once."""
    known: dict[Window, Sample] = {}

    def read(window: Window) -> Sample:
        if window not in known:
            known[window] = read_window(source, reading, window)
        return known[window]

    return read


def _corners(source: rasterio.DatasetReader) -> list[Window]:
    """Samples in the corners: upper left, upper right, lower left, lower right."""
    right, bottom = max(0, source.width - SIDE), max(0, source.height - SIDE)
    return [_within(source, col, row) for row in (0, bottom) for col in (0, right)]


def _all_over(source: rasterio.DatasetReader) -> list[Window]:
    cols = np.linspace(0, max(0, source.width - SIDE), ACROSS).astype(int)
    rows = np.linspace(0, max(0, source.height - SIDE), ACROSS).astype(int)
    return [_within(source, int(col), int(row)) for row in sorted(set(rows)) for col in sorted(set(cols))]


def _within(source: rasterio.DatasetReader, col: int, row: int) -> Window:
    from rasterio.windows import Window

    return Window(col, row, min(SIDE, source.width - col), min(SIDE, source.height - row))


def _check_any(source: rasterio.DatasetReader, reading: BandReading, key: str) -> None:
    """Look for imagery everywhere: a little first, since most sheets show some at once."""
    for window in _all_over(source):
        if shown_in(source, reading, window).any():
            return
    for _, window in source.block_windows(1):
        if shown_in(source, reading, window).any():
            return
    raise BadSheet(key, "it holds no imagery: all of it is nodata", "Deliver it again or remove it")


def _varies(source: rasterio.DatasetReader, reading: BandReading, windows: list[Window]) -> bool:
    """Whether an alpha band looks like a picture: hardly opaque, or seldom opaque and of many values."""
    values = np.concatenate([source.read(reading.alpha, window=window).ravel() for window in windows])
    seen = values[values > CLEAR * reading.opaque]
    opaque = float((seen >= (1 - CLEAR) * reading.opaque).mean()) if seen.size else 1.0
    return opaque < 0.1 or (opaque < 0.5 and len(np.unique(seen)) > 48)


def half_transparent(source: rasterio.DatasetReader, reading: BandReading) -> bool:
    """Whether an alpha band shows ground that it does not show in full."""
    windows = _all_over(source) if reading.alpha else []
    values = [source.read(reading.alpha, window=window) / reading.opaque for window in windows]
    return any(((one >= SHOWN) & (one < 1 - CLEAR)).any() for one in values)


def _flat(sample: Sample, corner: int) -> tuple[int, ...] | None:
    """The one colour that fills a corner; None where it is masked, or varies as photographs do."""
    from scipy.ndimage import label

    pixels, shown = sample
    row, col = -(corner // 2), -(corner % 2)
    if not shown[row, col]:
        return None
    near = shown & (np.abs(pixels.astype(np.int16) - pixels[:, row, col, None, None]) <= STEADY).all(axis=0)
    if np.count_nonzero(near) < LEAST_FLAT:
        return None
    labels, _ = label(near)
    joined = pixels[:, labels == labels[row, col]]
    if joined.shape[1] < LEAST_FLAT:  # before they are counted, which costs more than all else that is looked at
        return None
    colors, counts = np.unique(joined, axis=1, return_counts=True)
    if counts.max() < joined.shape[1] / 2:
        return None
    return tuple(int(value) for value in colors[:, counts.argmax()])


def _blurred(source: rasterio.DatasetReader, reading: BandReading) -> set[tuple[int, ...]]:
    """The stated nodata value of a lossy sheet, where pixels beside it are nearly that, but not quite."""
    told = source.tags(ns="IMAGE_STRUCTURE")
    packed = told.get("COMPRESSION", "").upper() + source.driver.upper()
    stated = [source.nodatavals[index - 1] for index in reading.indexes]
    lossy = any(word in packed for word in LOSSY) and told.get("COMPRESSION_REVERSIBILITY") != "LOSSLESS"
    if not lossy or any(value is None for value in stated):
        return set()
    color = to_uint8(np.array(stated, source.dtypes[0])[:, None, None], reading)
    for window in _all_over(source):
        pixels, shown = read_window(source, reading, window)
        near = (np.abs(pixels.astype(np.int16) - color) <= BLURRED).all(axis=0)
        if not shown.all() and (near & shown).any():
            return {tuple(int(value) for value in color.ravel())}
    return set()


def _share_of_one(samples: list[Sample]) -> float:
    """Share of what samples show that is nearly of one colour: where most of it is, the median is that colour."""
    seen = np.concatenate([pixels[:, shown].T for pixels, shown in samples])
    if not len(seen):
        return 0.0
    near = np.abs(seen.astype(np.int16) - np.median(seen, axis=0).astype(np.int16)) <= STEADY
    return float(near.all(axis=1).mean())
