"""What a sheet's bands mean: which are the wanted colours, which one is its mask, and how values become 8 bits.

Here: what a file says of its own values, honoured or refused, never passed over, and reading a window that way. Not
here: bringing pixels onto the grid (sheet.py), what they look like (samples.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from groundplan.config import ImagerySettings
from groundplan.errors import BadSheet

if TYPE_CHECKING:
    import rasterio
    from rasterio.windows import Window

COLORS = ("red", "green", "blue")
POSITIONS = (1, 2, 3)  # imagery.bands where nobody has set it: then what a file says of its colours counts
SHOWN = 0.5  # share of full opacity from which a half-transparent pixel counts as imagery
UNSAID = ("undefined", "gray")  # what GDAL calls a band that says nothing; the first of several is "gray"
SIMPLE = (1, 3)  # numbers of bands that leave no question which of them are colours, and which one is a mask
SPACES = ("YCBCR", "CMYK", "YCCK", "RGB")  # GDAL turns these into red, green, blue; others not, or wrongly


@dataclass(frozen=True, slots=True, kw_only=True)
class BandReading:
    """How a sheet is read.

    indexes: the wanted bands in the project's order, counted from 1. alpha: the band that is the mask.
    limits: values that become 0 and 255; None where they are 8 bits already. opaque: greatest value of a band.
    inverted: white is zero. colors: what the file calls the wanted bands, () where it says nothing.
    plain: the wanted bands are all that there are, so that a library that looks at all bands sees the same.
    """

    indexes: tuple[int, ...]
    alpha: int | None
    limits: tuple[float, float] | None
    opaque: int
    inverted: bool
    colors: tuple[str, ...]
    plain: bool

    def unusual(self, settings: ImagerySettings, bands: int) -> tuple[str, ...]:
        """What of it the number of bands and the settings do not tell; () for most sheets.

        Part of a sheet's identity, so that what was read otherwise before is made anew, and nothing else.
        """
        by_color = settings.bands == POSITIONS and len(set(self.indexes)) > 1 and self.indexes != POSITIONS
        return tuple(
            text
            for text, there in (
                (f"bands {self.indexes} by their colors", by_color),
                ("mask of the wanted bands", bands in SIMPLE and not self.plain),
                (f"values to {self.opaque}", self.opaque < 255),
                ("white is zero", self.inverted),
            )
            if there
        )


def reading_of(source: rasterio.DatasetReader, settings: ImagerySettings, key: str) -> BandReading:
    """How an opened file is to be read. Raises BadSheet for what it says and cannot be honoured."""
    names = _names(source, key)
    _check_space(source, names, key)
    alpha = _alpha(names, key)
    indexes = _indexes(names, settings, key)
    opaque = _opaque(source, (*indexes, *((alpha,) if alpha else ())), key)
    inverted = source.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
    if inverted and len(set(indexes)) > 1:
        raise BadSheet(key, "its values say that white is zero, in several bands", "Write it again as RGB")
    _check_unscaled(source, indexes, key)
    colors = tuple(names[index - 1] for index in indexes)
    return BandReading(
        indexes=indexes,
        alpha=alpha,
        limits=_limits(source, indexes, opaque, settings, key),
        opaque=opaque,
        inverted=inverted,
        colors=colors if not set(colors) & set(UNSAID) else (),
        plain=alpha is None and source.count in SIMPLE and set(indexes) == set(source.indexes),
    )


def _names(source: rasterio.DatasetReader, key: str) -> tuple[str, ...]:
    """What each band says it is: by its colour interpretation, or by a description that is a colour's name."""
    kinds = tuple(str(kind.name) for kind in source.colorinterp)
    told = tuple((text or "").strip().lower() for text in source.descriptions)
    if not set(COLORS) <= set(told):
        return kinds
    said = tuple(text if text in (*COLORS, "nir", "alpha") else kind for text, kind in zip(told, kinds, strict=True))
    pairs = zip(said, kinds, strict=True)
    if set(COLORS) <= set(kinds) and any(one != other for one, other in pairs if one in COLORS):
        raise BadSheet(
            key,
            f"its bands are described as {', '.join(told)} and flagged as {', '.join(kinds)}",
            "Write it again with one of the two: `gdal_edit.py -colorinterp_1 red ...`",
        )
    return said


def _check_space(source: rasterio.DatasetReader, names: tuple[str, ...], key: str) -> None:
    if "palette" in names:
        raise BadSheet(
            key, "its colours are numbers of a palette", "Write it again as RGB: `gdal_translate -expand rgb`"
        )
    space = source.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE", "RGB")
    if space.upper() not in SPACES:
        raise BadSheet(key, f"its colours are {space}", "Write it again as RGB")
    others = {"hue", "saturation", "lightness", "cyan", "magenta", "yellow", "black", "Y", "Cb", "Cr"}
    if others & set(names):
        raise BadSheet(key, f"its bands are {', '.join(names)}", "Write it again as RGB")


def _alpha(names: tuple[str, ...], key: str) -> int | None:
    masks = [number for number, name in enumerate(names, 1) if name == "alpha"]
    if len(masks) > 1:
        raise BadSheet(
            key, f"its bands {', '.join(map(str, masks))} are all flagged as alpha", "Flag the one that is its mask"
        )
    return masks[0] if masks else None


def _indexes(names: tuple[str, ...], settings: ImagerySettings, key: str) -> tuple[int, ...]:
    """The wanted bands. A sheet of one grey band stands in for all; where colours are stated, they count."""
    others = [number for number, name in enumerate(names, 1) if name != "alpha"]
    if len(others) == 1:
        if names[others[0] - 1] not in UNSAID:
            raise BadSheet(key, f"its only band is {names[others[0] - 1]}", "Deliver all bands in one file")
        return (others[0],) * len(settings.bands)
    need = max(settings.bands)
    if len(others) < need:
        alpha = " (not counting alpha)" if len(others) < len(names) else ""
        raise BadSheet(
            key,
            f"it has {len(others)} bands{alpha} and band {need} is wanted",
            "Deliver all bands or change imagery.bands",
        )
    wanted = tuple(settings.bands)
    if wanted == POSITIONS:
        return _by_color(names, key)
    if any(names[number - 1] == "alpha" for number in wanted):
        raise BadSheet(key, f"its bands are {', '.join(names)}: one that is wanted is its mask", "Set imagery.bands")
    return wanted


def _by_color(names: tuple[str, ...], key: str) -> tuple[int, ...]:
    """Red, green and blue where the file says which they are; else the first three, if it does not say otherwise."""
    if all(names.count(color) == 1 for color in COLORS):
        return tuple(names.index(color) + 1 for color in COLORS)
    for name, color in zip(names, COLORS, strict=False):
        if name not in (*UNSAID, color):
            raise BadSheet(
                key, f"its bands are {', '.join(names)}, and red, green and blue are wanted", "Set imagery.bands"
            )
    return POSITIONS


def _opaque(source: rasterio.DatasetReader, indexes: tuple[int, ...], key: str) -> int:
    """Greatest value that the bands can hold, by their stated bits."""
    whole = np.dtype(source.dtypes[0]).itemsize * 8
    bits = {int(source.tags(index, ns="IMAGE_STRUCTURE").get("NBITS", whole)) for index in set(indexes)}
    if len(bits) > 1:
        raise BadSheet(key, f"its bands have {' and '.join(map(str, sorted(bits)))} bits", "Write it again with 8")
    return int(2 ** min(bits.pop(), 16) - 1)


def _check_unscaled(source: rasterio.DatasetReader, indexes: tuple[int, ...], key: str) -> None:
    for index in indexes:
        scale, offset = source.scales[index - 1], source.offsets[index - 1]
        if (scale, offset) != (1.0, 0.0):
            raise BadSheet(
                key,
                f"its values are to be read times {scale:g} plus {offset:g}",
                "Write it again with values as they are meant (`gdal_translate -unscale -ot Byte`), or without scale",
            )


def _limits(
    source: rasterio.DatasetReader, indexes: tuple[int, ...], opaque: int, settings: ImagerySettings, key: str
) -> tuple[float, float] | None:
    dtypes = {source.dtypes[index - 1] for index in indexes}
    if dtypes == {"uint8"}:
        return None if opaque == 255 else (0.0, float(opaque))
    if dtypes != {"uint16"}:
        raise BadSheet(key, f"its pixels are {', '.join(sorted(dtypes))}", "Deliver uint8, or uint16 with uint16_range")
    stated = settings.uint16_range
    bits = f"{opaque.bit_length()} bits" + ("" if opaque == 65535 else " in 16")
    if stated is None:
        most = "high" if opaque == 65535 else str(opaque)
        raise BadSheet(
            key,
            f"it has {bits} and no scaling is stated",
            f"Set imagery.uint16_range = [low, {most}] or deliver 8 bits",
        )
    if stated[1] > opaque:
        raise BadSheet(
            key,
            f"it has {bits}, so no value reaches the {stated[1]:g} of imagery.uint16_range",
            f"Set imagery.uint16_range = [{stated[0]:g}, {opaque}], or deliver it with all 16 bits",
        )
    return stated


# ------------------------------------------------------------------------------------------------------- windows


class Pixels(Protocol):
    """As much of an open sheet as its windows need: a dataset, or what was decoded of one (decoded_once.py)."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def block_shapes(self) -> Any: ...

    @property
    def mask_flag_enums(self) -> Any: ...

    def read(self, indexes: Any, window: Window) -> Any: ...

    def read_masks(self, indexes: Any, window: Window) -> Any: ...


def read_window(source: Pixels, reading: BandReading, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """The wanted bands of a window as uint8 (bands, h, w), and where they show imagery, bool (h, w)."""
    return to_uint8(source.read(list(reading.indexes), window=window), reading), shown_in(source, reading, window)


def shown_in(source: Pixels, reading: BandReading, window: Window) -> np.ndarray:
    """Where a window shows imagery, bool (h, w): where any wanted band is valid, and the alpha at least half opaque.

    A library's mask of all bands is a guess: of four it takes the last for alpha, of five or more it forgets the alpha.
    """
    from rasterio.enums import MaskFlags

    flags = {index: source.mask_flag_enums[index - 1] for index in reading.indexes}
    asked = [index for index, said in flags.items() if MaskFlags.all_valid not in said]
    if len(asked) < len(flags):  # one wanted band is valid everywhere
        shown = np.ones((int(window.height), int(window.width)), bool)
    else:  # a mask of the whole file is the same for each band
        whole = all(MaskFlags.per_dataset in flags[index] for index in asked)
        shown = (source.read_masks(asked[:1] if whole else asked, window=window) > 0).any(axis=0)
    if reading.alpha:
        shown &= source.read(reading.alpha, window=window) >= SHOWN * reading.opaque
    return shown


def to_uint8(data: np.ndarray, reading: BandReading) -> np.ndarray:
    """Values as 8 bits, black at 0: uint8 of the same shape."""
    if reading.inverted:
        data = np.asarray(reading.opaque - np.minimum(data, reading.opaque), data.dtype)
    if reading.limits is None:
        return data
    low, high = reading.limits
    scaled = (data.astype(np.float32) - low) * (255.0 / (high - low))
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)
