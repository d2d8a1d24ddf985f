"""About thirty numbers that say how a block's picture, its predictions and its buildings look.

Here: the numbers, from arrays and polygons. Not here: reading blocks (report.py), or what is unusual (drift.py). Each
figure has a least difference that matters: what is smaller is no drift, however surely it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

MIDDLE = 256  # pixels: of a single image, the window that is looked at
LEAST_VALID = 0.25  # of the pixels: what shows less is the edge of a flight
EPSILON = 1e-6


class Sort(StrEnum):
    """What a figure is of; a cause is told by which kinds are unusual."""

    LIGHT = "light"
    COLOUR = "colour"
    DETAIL = "detail"
    COMPRESSION = "compression"
    PREDICTION = "prediction"
    BUILDINGS = "buildings"


@dataclass(frozen=True, slots=True)
class Figure:
    """least: the difference of two units' medians below which nobody would act, in the figure's own unit."""

    kind: Sort
    least: float
    about: str


FIGURES: Mapping[str, Figure] = {
    **{f"brightness_{band}": Figure(Sort.LIGHT, 0.02, f"mean of band {band} [0..1]") for band in (1, 2, 3)},
    **{
        f"contrast_{band}": Figure(Sort.LIGHT, 0.015, f"standard deviation of band {band} [0..1]") for band in (1, 2, 3)
    },
    "dark": Figure(Sort.LIGHT, 0.02, "share of pixels that are nearly black"),
    "bright": Figure(Sort.LIGHT, 0.02, "share of pixels that are nearly white"),
    "grey_entropy": Figure(Sort.LIGHT, 0.08, "entropy of grey in 32 steps [bit]"),
    "saturation": Figure(Sort.COLOUR, 0.02, "mean saturation [0..1]"),
    "saturation_spread": Figure(Sort.COLOUR, 0.015, "standard deviation of saturation [0..1]"),
    "warmth": Figure(Sort.COLOUR, 0.008, "red against blue, of their sum"),
    "greenness": Figure(Sort.COLOUR, 0.008, "green against red and blue, of their sum"),
    "band_agreement": Figure(Sort.COLOUR, 0.02, "mean correlation of the bands"),
    "green_hue": Figure(Sort.COLOUR, 3.0, "median hue of what is green [degrees]"),
    "red_hue": Figure(Sort.COLOUR, 3.0, "median hue of what is red to yellow [degrees]"),
    "sharpness": Figure(Sort.DETAIL, 0.04, "differences of neighbours, of the contrast"),
    "fine_detail": Figure(Sort.DETAIL, 0.06, "ln of detail of one pixel against two"),
    "coarse_detail": Figure(Sort.DETAIL, 0.06, "ln of detail of two pixels against four"),
    "grain": Figure(Sort.DETAIL, 0.004, "median curvature of brightness [0..1]"),
    "blocking": Figure(Sort.COMPRESSION, 0.08, "ln of steps at every eighth pixel against the others, most of phases"),
    "flatness": Figure(Sort.DETAIL, 0.03, "share of neighbours without any difference"),
    "building_share": Figure(Sort.PREDICTION, 0.02, "share of pixels that are building"),
    "unsure": Figure(Sort.PREDICTION, 0.01, "share of pixels with a probability between 0.3 and 0.7"),
    "sure": Figure(Sort.PREDICTION, 0.03, "of building pixels, share above 0.9"),
    "entropy": Figure(Sort.PREDICTION, 0.02, "mean entropy of the probability [bit]"),
    "edge_share": Figure(Sort.PREDICTION, 0.01, "share of pixels that are edges between buildings"),
    "pixel_confidence": Figure(Sort.PREDICTION, 0.02, "mean probability of building pixels"),
    "per_hectare": Figure(Sort.BUILDINGS, 2.0, "buildings a hectare"),
    "median_area": Figure(Sort.BUILDINGS, 8.0, "median footprint [m2]"),
    "right_angles": Figure(Sort.BUILDINGS, 0.05, "share of corners within 8 degrees of a right angle"),
    "confidence": Figure(Sort.BUILDINGS, 0.02, "mean confidence of buildings"),
    "corners": Figure(Sort.BUILDINGS, 0.5, "mean corners of a building"),
    "class_confidence": Figure(Sort.PREDICTION, 0.03, "probability of the likeliest class of an image"),
    "class_entropy": Figure(Sort.PREDICTION, 0.05, "entropy of the classes of an image [bit]"),
}


def of_picture(pixels: np.ndarray) -> dict[str, float]:
    """Figures of a single image's middle. pixels: uint8 (rows, columns, 3); empty of one smaller than 32 pixels."""
    top, left = (max(0, side - MIDDLE) // 2 for side in pixels.shape[:2])
    return rounded(of_pixels(pixels[top : top + MIDDLE, left : left + MIDDLE].transpose(2, 0, 1)))


def of_pixels(pixels: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """Figures of a picture. pixels: uint8 (bands, rows, columns); valid: bool (rows, columns), True where imaged.

    Empty where too little is imaged. A single band has no figures of colour.
    """
    valid = np.ones(pixels.shape[1:], bool) if valid is None else valid
    if min(valid.shape) < 32 or valid.mean() < LEAST_VALID:
        return {}
    bands = pixels[:3].astype(np.float32) / 255
    seen = bands[:, valid]
    grey = bands.mean(axis=0)
    return {**_light(seen), **(_colour(seen) if len(seen) == 3 else {}), **_detail(grey, valid)}


def _light(seen: np.ndarray) -> dict[str, float]:
    grey = seen.mean(axis=0)
    counts = np.bincount((grey * 31.99).astype(np.int64), minlength=32) / grey.size
    known = counts[counts > 0]
    found = {f"brightness_{band}": float(row.mean()) for band, row in enumerate(seen, 1)}
    found |= {f"contrast_{band}": float(row.std()) for band, row in enumerate(seen, 1)}
    return found | {
        "dark": float((grey < 0.04).mean()),
        "bright": float((grey > 0.96).mean()),
        "grey_entropy": float(-(known * np.log2(known)).sum()),
    }


def _colour(seen: np.ndarray) -> dict[str, float]:
    red, green, blue = seen
    most, total = seen.max(axis=0), seen.sum(axis=0) + EPSILON
    saturation = (most - seen.min(axis=0)) / (most + 1 / 255)
    centred = seen - seen.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1)) + EPSILON
    hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    vivid = saturation > 0.12
    hues = {
        name: hue[vivid & (hue >= first) & (hue < last)]
        for name, first, last in (("red_hue", -45, 60), ("green_hue", 60, 180))
    }
    pairs = [(centred[a] * centred[b]).mean() / (spread[a] * spread[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    return {
        "saturation": float(saturation.mean()),
        "saturation_spread": float(saturation.std()),
        "warmth": float(((red - blue) / total).mean()),
        "greenness": float(((2 * green - red - blue) / total).mean()),
        "band_agreement": float(np.mean(pairs)),
        **{name: float(np.median(found)) for name, found in hues.items() if len(found) > 0.01 * red.size},
    }


def _detail(grey: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Of neighbours that are both imaged. grey: float (rows, columns) [0..1]."""
    whole = bool(valid.all())  # then the faster functions will do
    mean, median, deviation = (np.mean, np.median, np.std) if whole else (np.nanmean, np.nanmedian, np.nanstd)
    inside = grey if whole else np.where(valid, grey, np.nan)
    halves = [inside, _halved(inside), _halved(_halved(inside))]
    steps = [float(mean(np.abs(np.diff(level, axis=1))) + EPSILON) for level in halves]
    across = np.abs(np.diff(inside, axis=1))
    curved = np.abs(inside[1:-1, :-2] - 2 * inside[1:-1, 1:-1] + inside[1:-1, 2:])
    down = np.abs(np.diff(inside, axis=0))
    return {
        "sharpness": steps[0] / (float(deviation(inside)) + EPSILON),
        "fine_detail": float(np.log(steps[0] / steps[1])),
        "coarse_detail": float(np.log(steps[1] / steps[2])),
        "grain": float(median(curved)),
        "blocking": (_blocking(across.T) + _blocking(down)) / 2,
        "flatness": float((across[~np.isnan(across)] < 0.5 / 255).mean()),
    }


def _halved(level: np.ndarray) -> np.ndarray:
    rows, columns = (side // 2 * 2 for side in level.shape)
    return level[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))


def _blocking(steps: np.ndarray) -> float:
    """Steps (positions, across): how much greater every eighth is than those beside it, of the phase where most."""
    known = ~np.isnan(steps)
    means = np.where(known, steps, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    beside = (np.roll(means, 1) + np.roll(means, -1)) / 2 + EPSILON
    ratios = np.log((means + EPSILON) / beside)[1:-1]
    return float(max(ratios[phase::8].mean() for phase in range(8)))


def of_probabilities(pixels: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """Figures of a prediction. pixels: uint8 (2, rows, columns), building and edge, 0..255 for 0..1."""
    if valid is not None and valid.mean() < LEAST_VALID:
        return {}
    building, edge = (pixels[0].ravel(), pixels[1]) if valid is None else (pixels[0][valid], pixels[1][valid])
    counts = np.bincount(building, minlength=256) / building.size
    share = np.arange(256) / 255
    inner = share[1:-1]
    entropy = np.zeros(256)
    entropy[1:-1] = -(inner * np.log2(inner) + (1 - inner) * np.log2(1 - inner))
    above = counts[128:]
    found = {
        "building_share": float(above.sum()),
        "unsure": float(counts[(share > 0.3) & (share < 0.7)].sum()),
        "entropy": float((counts * entropy).sum()),
        "edge_share": float((edge > 127).mean()),
    }
    if above.sum() > 0.002:
        found["sure"] = float(counts[share > 0.9].sum() / above.sum())
        found["pixel_confidence"] = float((counts * share)[128:].sum() / above.sum())
    return found


def of_buildings(polygons: np.ndarray, confidence: np.ndarray, ground: float) -> dict[str, float]:
    """Figures of the buildings of a block. polygons: shapely, in metres; ground: imaged [m2]."""
    import shapely

    if ground <= 0:
        return {}
    found = {"per_hectare": len(polygons) / (ground / 1e4)}
    if len(polygons) >= 3:
        corners = shapely.get_num_coordinates(polygons) - 1
        found |= {
            "median_area": float(np.median(shapely.area(polygons))),
            "right_angles": _right_angles(polygons),
            "confidence": float(np.mean(confidence)),
            "corners": float(corners.mean()),
        }
    return found


def _right_angles(polygons: np.ndarray) -> float:
    import shapely

    rings = shapely.get_exterior_ring(polygons)
    right = total = 0
    for ring in rings:
        points = shapely.get_coordinates(ring)[:-1]
        before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1) + EPSILON
        cosine = np.abs((before * after).sum(axis=1)) / lengths
        right, total = right + int((cosine < np.sin(np.radians(8))).sum()), total + len(points)
    return right / max(total, 1)


def rounded(found: Mapping[str, Any]) -> dict[str, float]:
    """As they are kept: six digits are more than any of them is worth."""
    return {name: float(f"{value:.6g}") for name, value in found.items() if np.isfinite(value)}
