"""Augmentation: crops placed, turned, scaled and recolored at random, in endless batches.

Here: scenes, their classes, and how a crop is placed, turned, scaled and recoloured. Not here: the loop (loop.py), or
where scenes come from (windows.py). Everything random is drawn from (seed, step), so that a resumed training sees the
crops that an undisturbed one would have seen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from groundplan.errors import ModelMismatch
from groundplan.labels.classes import IGNORE

if TYPE_CHECKING:
    from groundplan.training.settings import TrainSettings
from groundplan.training.scene import Scene

# How crops are changed; device_augment.py draws from the same.
ZOOM = (0.74, 1.33)
GAIN, BAND_GAIN, SHIFT, GAMMA = (0.75, 1.3), (0.92, 1.08), (-0.12, 0.12), (-0.22, 0.22)
PIVOT = 0.45
SATURATED, SATURATION = 0.7, (0.5, 1.4)
BLURRED, BLUR = 0.2, (0.4, 1.2)
NOISY, NOISE = 0.25, (1, 7)
LEAST_LABELED = 0.25
"""Minimum labeled fraction of a crop; one with less is drawn again: it would cost as much and teach less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSource:
    """Source of crops: a scene made ready for sampling."""

    image: np.ndarray
    """uint8 (H / pool, W / pool, C)."""
    label: np.ndarray
    weight: float
    pool: int
    ratio: float
    """Network pixels per grid pixel."""

    @staticmethod
    def of(scene: Scene, settings: TrainSettings) -> CropSource:
        import cv2

        from groundplan.training.network import scale_of

        scale = scale_of(settings)
        if scene.image.shape[0] != settings.bands:
            raise ModelMismatch(
                "training scene",
                f"it has {scene.image.shape[0]} bands and the settings say {settings.bands}",
                "Set the number of bands of the imagery.",
            )
        image = np.ascontiguousarray(scene.image.transpose(1, 2, 0))
        if scale.pool > 1:
            size = (image.shape[1] // scale.pool, image.shape[0] // scale.pool)
            crop = image[: size[1] * scale.pool, : size[0] * scale.pool]
            image = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
        return CropSource(
            image=image, label=scene.label, weight=scene.weight, pool=scale.pool, ratio=float(scale.ratio)
        )


def batches(
    sources: Callable[[int], Sequence[CropSource]], settings: TrainSettings, step: int, hands: int = 1
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Prefetched batches from `step` on; the next ones are made while the network works on this one.

    sources: what the crops of a step are drawn from. hands: threads that make batches, each a whole one by itself; the
    batches are the same whatever their number.
    """

    def made(step: int) -> tuple[np.ndarray, np.ndarray]:
        return make_batch(sources(step), settings, step)

    with ThreadPoolExecutor(hands) as pool:
        ahead: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        while True:
            while len(ahead) < hands:
                ahead.append(pool.submit(made, step))
                step += 1
            ready = ahead.popleft().result()
            ahead.append(pool.submit(made, step))
            step += 1
            yield ready


def make_batch(sources: Sequence[CropSource], settings: TrainSettings, step: int) -> tuple[np.ndarray, np.ndarray]:
    """One step's batch: images uint8 (N, C, crop, crop), labels uint8 (N, crop, crop); the same at every call."""
    rng = np.random.default_rng([settings.seed, step + 1000])  # a few steps before the first calibrate the norms
    weights = np.array([source.weight for source in sources], float)
    weights /= weights.sum()
    images, labels = [], []
    for _ in range(settings.batch):
        image, label = _crop(sources, weights, settings.crop, rng)
        images.append(_recolor(image, rng).transpose(2, 0, 1))
        labels.append(label)
    return np.stack(images), np.stack(labels)


def _crop(
    sources: Sequence[CropSource], weights: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A warped crop with enough labeled pixels; after twenty draws, the one with most."""
    best: tuple[float, CropSource, np.ndarray] | None = None
    for _ in range(20):
        source = sources[rng.choice(len(sources), p=weights)]
        affine = _random_affine(source.label.shape, source.ratio, side, rng)
        known = float((_warp(source.label, affine, side, 1, IGNORE)[::4, ::4] != IGNORE).mean())
        if best is None or known > best[0]:
            best = (known, source, affine)
        if known >= LEAST_LABELED:
            break
    assert best is not None
    _, source, affine = best
    image = _warp(source.image, affine, side, source.pool, 0)
    return image.reshape(side, side, -1), _warp(source.label, affine, side, 1, IGNORE)


def _random_affine(shape: tuple[int, ...], ratio: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """Random affine map (2, 3) from a crop's corner-based pixel coordinates to the scene's."""
    zoom = math.exp(rng.uniform(math.log(ZOOM[0]), math.log(ZOOM[1]))) / ratio
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * zoom
    turn[:, 0] *= rng.choice([-1, 1])
    # The centre may lie anywhere but at the very rim, where half of the crop would be outside.
    reach = np.minimum(side / ratio / 4, np.array(shape[::-1]) / 2)
    center = rng.uniform(reach, np.array(shape[::-1]) - reach)
    return np.column_stack([turn, center - turn @ [side / 2, side / 2]])


def _warp(raster: np.ndarray, affine: np.ndarray, side: int, pool: int, outside: int) -> np.ndarray:
    """Sample `raster`, which is shrunk by `pool`: labels by nearest neighbour, images (3-D) bilinearly."""
    import cv2

    # cv2 counts from pixel centres, `place` from corners.
    matrix = affine / pool
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    flags = (cv2.INTER_LINEAR if raster.ndim == 3 else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(raster, matrix, (side, side), flags=flags, borderValue=(outside,) * 4)


def _recolor(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photometric augmentation: tone curve per band, saturation, sometimes blur and noise. (h, w, C) uint8.

    Pixels of no imagery stay 0, as they will be when the network is applied.
    """
    import cv2

    bands = image.shape[2]
    level = np.arange(256) / 255
    gain = rng.uniform(*GAIN) * rng.uniform(*BAND_GAIN, (bands, 1))
    shift = rng.uniform(*SHIFT)
    curve = (level ** math.exp(rng.uniform(*GAMMA)) - PIVOT) * gain + PIVOT + shift
    table = np.clip(curve * 255 + 0.5, 0, 255).astype(np.uint8)
    out = np.stack([table[b][image[:, :, b]] for b in range(bands)], axis=2)
    if rng.random() < SATURATED and bands > 1:
        gray = out.mean(axis=2, dtype=np.float32)[..., None]
        out = np.clip(gray + (out - gray) * np.float32(rng.uniform(*SATURATION)), 0, 255).astype(np.uint8)
    if rng.random() < BLURRED:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(*BLUR)).reshape(image.shape)
    if rng.random() < NOISY:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(*NOISE))
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    return out * image.any(axis=2, keepdims=True)
