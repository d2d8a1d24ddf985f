"""Units of drawn imagery that differ as flights differ, and what may go wrong with one of them.

Here: pictures and injections. Not here: what is said of them (tests/unit/monitoring/test_drift.py).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from groundplan.monitoring.drift import Unit, unit_of
from groundplan.monitoring.figures import of_pixels

SIDE, BLOCKS, AREA = 96, 10, 320  # pixels of a block, blocks of a unit, pixels of a unit's side

Picture = np.ndarray
Injection = Callable[[Picture], Picture]


@lru_cache(maxsize=1)
def grounds() -> tuple[Picture, ...]:
    """Two drawn places, uint8 (3, rows, columns)."""
    from groundplan.synthetic.layout import plan
    from groundplan.synthetic.paint import paint
    from groundplan.synthetic.place import DUTCH

    layouts = [plan(seed, 170.0, ("north", "south"), (2024,), DUTCH) for seed in (7, 8)]
    return tuple(paint(layout, 2024, 0).rgb.transpose(2, 0, 1) for layout in layouts)


def unit(number: int, injection: Injection | None = None, ground: Picture | None = None) -> Unit:
    """The unit of a number: its place, and how its flight saw it, follow from that. ground: another place."""
    return unit_of(str(number), [of_pixels(picture) for picture in pictures(number, BLOCKS, injection, ground)])


def pictures(
    number: int, count: int, injection: Injection | None = None, ground: Picture | None = None
) -> list[Picture]:
    """Pictures (3, SIDE, SIDE) of one flight over one place."""
    rng = np.random.default_rng([26, number])
    ground = grounds()[number % 2] if ground is None else ground
    top, left = (int(rng.integers(0, max(1, side - AREA))) for side in ground.shape[1:])
    area = _flown(ground[:, top : top + AREA, left : left + AREA], rng)
    area = injection(area) if injection else area
    high, wide = area.shape[1:]
    corners = [(int(rng.integers(0, high - SIDE + 1)), int(rng.integers(0, wide - SIDE + 1))) for _ in range(count)]
    return [area[:, r : r + SIDE, c : c + SIDE] for r, c in corners]


def _flown(picture: Picture, rng: np.random.Generator) -> Picture:
    """As another day's light and another camera's colours show it: what is no drift."""
    from scipy.ndimage import gaussian_filter

    shown = (picture / np.float32(255)) ** np.float32(rng.normal(1.0, 0.04)) * np.float32(rng.normal(1.0, 0.03))
    shown *= (1 + rng.normal(0, 0.012, 3)).astype(np.float32)[:, None, None]
    shown = gaussian_filter(shown, (0, *(2 * [float(rng.uniform(0.35, 0.5))])))
    return _coded(
        np.clip(shown * 255 + 1.2 * rng.standard_normal(shown.shape, np.float32), 0, 255).astype(np.uint8), 90
    )


def _coded(picture: Picture, quality: int) -> Picture:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.transpose(1, 2, 0)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).transpose(2, 0, 1)


def _gamma(picture: Picture) -> Picture:
    return (255 * (picture / 255.0) ** 1.6).astype(np.uint8)


def _blurred(picture: Picture) -> Picture:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(picture, (0, 2, 2))


def _hue(picture: Picture) -> Picture:
    """Turned by 28 degrees."""
    from PIL import Image

    hsv = np.array(Image.fromarray(picture.transpose(1, 2, 0)).convert("HSV"))
    hsv[..., 0] = hsv[..., 0] + 20  # of 256: wraps
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")).transpose(2, 0, 1)


def _compressed(picture: Picture) -> Picture:
    return _coded(picture, 40)


def _half(picture: Picture) -> Picture:
    from PIL import Image

    image = Image.fromarray(picture.transpose(1, 2, 0))
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR)).transpose(2, 0, 1)


INJECTIONS: Mapping[str, Injection] = {
    "gamma 1.6": _gamma,
    "blur of 2 pixels": _blurred,
    "hue turned": _hue,
    "JPEG of quality 40": _compressed,
    "half resolution": _half,
}


@lru_cache(maxsize=1)
def elsewhere() -> Picture:
    """Another country: red earth, tin roofs close together, few trees; drawn here by itself."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(5)
    side = 700
    earth = np.array([168, 122, 88.0])[:, None, None] + 40 * gaussian_filter(rng.normal(0, 1, (side, side)), 12) * 6
    earth = np.broadcast_to(earth, (3, side, side)).copy()
    for _ in range(900):
        r, c, h, w = (int(v) for v in rng.integers((0, 0, 14, 14), (side, side, 40, 40)))
        earth[:, r : r + h, c : c + w] = rng.choice([205, 175, 150, 120]) + rng.normal(0, 6, (3, 1, 1))
        earth[:, r : r + h, c : c + 2] *= 0.6
    return np.clip(earth + rng.normal(0, 4, earth.shape), 0, 255).astype(np.uint8)
