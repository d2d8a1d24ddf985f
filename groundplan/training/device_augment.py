"""Augmentation on the device: crops of many rasters placed, turned, scaled and recolored in whole batches.

Here: the same changes as augment.py, by the same figures, as arithmetic on tensors, so that a GPU does not wait for
processors. Not here: which window a crop comes from (sampling.py), or learning (pooled.py).

What is random is drawn by numpy from the seed and the number of a chunk of steps, and is the same on every device;
noise alone is the device's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.labels.classes import IGNORE
from groundplan.training import augment
from groundplan.training.augment import CropSource

if TYPE_CHECKING:
    import torch

TRIES = 8
"""Draws of a crop's place, of which the first with enough labeled pixels is taken, or that with most."""
LOOKED_AT = 12
"""Points along a crop's side at which it is looked whether the ground is labeled."""
COARSE = 4
"""Pixels of a raster that are looked at as one."""
REACH = 4
"""Pixels to either side that the widest blur reaches: three deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Rasters on the device, one behind the other, so that a batch takes its crops from all of them at once."""

    image: torch.Tensor
    """uint8 (all pixels, C)"""
    label: torch.Tensor
    """uint8 (all pixels,)"""
    image_place: torch.Tensor
    """int64 (rasters, 3): first pixel, height, width."""
    label_place: torch.Tensor
    pool: torch.Tensor
    """float32 (rasters,): label pixels per image pixel."""

    @staticmethod
    def of(sources: Sequence[CropSource], device: str) -> Canvas:
        import torch

        def laid(rasters: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
            sizes = [raster.shape[0] * raster.shape[1] for raster in rasters]
            starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
            places = [(int(start), *raster.shape[:2]) for start, raster in zip(starts, rasters, strict=True)]
            flat = np.concatenate(
                [raster.reshape(size, *raster.shape[2:]) for raster, size in zip(rasters, sizes, strict=True)]
            )
            return torch.from_numpy(flat).to(device), torch.tensor(places, device=device)

        image, image_place = laid([source.image for source in sources])
        label, label_place = laid([source.label for source in sources])
        pool = torch.tensor([float(source.pool) for source in sources], device=device)
        return Canvas(image=image, label=label, image_place=image_place, label_place=label_place, pool=pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """What is random of n crops; of numpy arrays, or of tensors once it is on a device."""

    raster: Any
    """int64 (n,): which raster a crop is of."""
    affine: Any
    """float32 (n, 2, 3): from a crop's corner-based pixel coordinates to its raster's."""
    gain: Any
    """float32 (n, C); and of the following (n,)."""
    shift: Any
    gamma: Any
    saturation: Any
    """1: as it is."""
    blur: Any
    """Standard deviation in pixels; 0: none."""
    noise: Any
    """Standard deviation in levels; 0: none."""

    def on(self, device: str) -> Draws:
        import torch

        return Draws(**{one.name: torch.as_tensor(getattr(self, one.name)).to(device) for one in fields(self)})

    def part(self, first: int, last: int) -> Draws:
        return Draws(**{one.name: getattr(self, one.name)[first:last] for one in fields(self)})


# --- what is random ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Windows that crops are centered in; one entry per window."""

    raster: np.ndarray
    """int64: which raster it is of."""
    left: np.ndarray
    """Pixels of that raster."""
    top: np.ndarray
    side: np.ndarray


def draw(
    boxes: Boxes,
    chosen: np.ndarray,
    sources: Sequence[CropSource],
    known: Sequence[np.ndarray],
    side: int,
    seed: list[int],
) -> Draws:
    """Draws of crops in the chosen windows. known: of each raster what `labeled` gives; side: pixels of a crop."""
    rng = np.random.default_rng(seed)
    n, bands = len(chosen), sources[0].image.shape[2]
    raster = boxes.raster[chosen]
    affine = _placed(boxes, chosen, sources, known, side, rng)
    some = {"saturation": augment.SATURATED if bands > 1 else 0.0, "blur": augment.BLURRED, "noise": augment.NOISY}
    ranges = {"saturation": augment.SATURATION, "blur": augment.BLUR, "noise": augment.NOISE}
    none = {"saturation": 1.0, "blur": 0.0, "noise": 0.0}
    levels = {k: np.where(rng.random(n) < some[k], rng.uniform(*ranges[k], n), none[k]).astype("f4") for k in some}
    gain = rng.uniform(*augment.GAIN, (n, 1)) * rng.uniform(*augment.BAND_GAIN, (n, bands))
    return Draws(
        raster=raster,
        affine=affine.astype(np.float32),
        gain=gain.astype(np.float32),
        shift=rng.uniform(*augment.SHIFT, n).astype(np.float32),
        gamma=np.exp(rng.uniform(*augment.GAMMA, n)).astype(np.float32),
        **levels,
    )


def labeled(label: np.ndarray) -> np.ndarray:
    """bool (H / COARSE, W / COARSE): where a label raster is known."""
    return label[COARSE // 2 :: COARSE, COARSE // 2 :: COARSE] != IGNORE


def _placed(
    boxes: Boxes,
    chosen: np.ndarray,
    sources: Sequence[CropSource],
    known: Sequence[np.ndarray],
    side: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Affine maps (n, 2, 3) of crops, each drawn up to TRIES times until enough of it is labeled."""
    n = len(chosen)
    shape = np.array([source.label.shape[::-1] for source in sources], float)[boxes.raster[chosen]]
    ratio = np.array([source.ratio for source in sources])[boxes.raster[chosen]]
    corner = np.stack([boxes.left[chosen], boxes.top[chosen]], axis=1)
    zoom = np.exp(rng.uniform(math.log(augment.ZOOM[0]), math.log(augment.ZOOM[1]), (n, TRIES))) / ratio[:, None]
    angle = rng.uniform(0, 2 * math.pi, (n, TRIES))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 3, 0, 1)
    turn = turn * zoom[..., None, None]
    turn[..., 0] *= rng.choice([-1, 1], (n, TRIES))[..., None]
    center = corner[:, None] + rng.random((n, TRIES, 2)) * boxes.side[chosen][:, None, None]
    # the centre may lie anywhere but at the very rim, where half of the crop would be outside
    reach = np.minimum(side / ratio[:, None] / 4, shape / 2)[:, None]
    center = np.clip(center, reach, shape[:, None] - reach)
    affine = np.concatenate([turn, (center - turn @ [side / 2, side / 2])[..., None]], axis=3)
    share = _share_labeled(affine, boxes.raster[chosen], known, side)
    enough = share >= augment.LEAST_LABELED
    best = np.where(enough.any(axis=1), enough.argmax(axis=1), share.argmax(axis=1))
    return affine[np.arange(n), best]


def _share_labeled(affine: np.ndarray, raster: np.ndarray, known: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Share (n, TRIES) of each crop that is labeled, by a lattice of points."""
    points = (np.arange(LOOKED_AT) + 0.5) / LOOKED_AT * side
    lattice = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)
    places = lattice @ affine[..., :2].swapaxes(2, 3) + affine[..., None, :, 2]
    share = np.zeros(affine.shape[:2])
    for number in np.unique(raster):
        here = raster == number
        xy = np.floor(places[here] / COARSE).astype(np.int64)
        high, wide = known[number].shape
        inside = (xy[..., 0] >= 0) & (xy[..., 0] < wide) & (xy[..., 1] >= 0) & (xy[..., 1] < high)
        found = known[number][xy[..., 1].clip(0, high - 1), xy[..., 0].clip(0, wide - 1)]
        share[here] = (found & inside).mean(axis=-1)
    return share


# --- on the device ----------------------------------------------------------------------------------------------------


def crops(canvas: Canvas, draws: Draws, side: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Changed crops: images float (n, C, side, side) of whole values 0 to 255, labels uint8 (n, side, side)."""
    image, label = warp(canvas, draws, side)
    return recolor(image, draws, generator), label


def warp(canvas: Canvas, draws: Draws, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops as they lie on the ground: images bilinear, labels by the nearest pixel; outside is 0 and unknown."""
    import torch

    raster = draws.raster
    span = torch.arange(side, device=canvas.image.device) + 0.5
    a = draws.affine[:, :, :, None, None]
    x = a[:, 0, 0] * span + a[:, 0, 1] * span[:, None] + a[:, 0, 2]
    y = a[:, 1, 0] * span + a[:, 1, 1] * span[:, None] + a[:, 1, 2]
    index, inside = _index(canvas.label_place[raster], x.floor().long(), y.floor().long())
    label = torch.where(inside, canvas.label[index], IGNORE).to(torch.uint8)
    pool = canvas.pool[raster][:, None, None]
    x, y = x / pool - 0.5, y / pool - 0.5
    left, top = x.floor(), y.floor()
    place, image = canvas.image_place[raster], torch.zeros((), device=canvas.image.device)
    for dx, wx in ((0, left + 1 - x), (1, x - left)):
        for dy, wy in ((0, top + 1 - y), (1, y - top)):
            index, inside = _index(place, left.long() + dx, top.long() + dy)
            image = image + canvas.image[index] * (wx * wy * inside)[..., None]
    return (image + 0.5).floor().permute(0, 3, 1, 2), label


def _index(place: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat index of pixels of rasters at `place` (n, 3), and whether they lie in them; where not, the first one's."""
    first, high, wide = (column[:, None, None] for column in place.unbind(1))
    inside = (x >= 0) & (x < wide) & (y >= 0) & (y < high)
    return first + (y * wide + x) * inside, inside


def recolor(image: torch.Tensor, draws: Draws, generator: torch.Generator) -> torch.Tensor:
    """Changed colors of float (n, C, h, w), as `augment` does it; whole values again. No imagery stays 0."""
    import torch

    def each(value: torch.Tensor) -> torch.Tensor:
        return value.reshape(len(image), -1, 1, 1)

    seen = (image > 0).any(dim=1, keepdim=True)
    curve = ((image / 255) ** each(draws.gamma) - augment.PIVOT) * each(draws.gain) + augment.PIVOT + each(draws.shift)
    out = (curve * 255 + 0.5).clamp(0, 255).floor()
    gray = out.mean(dim=1, keepdim=True)
    out = (gray + (out - gray) * each(draws.saturation) + 1e-3).clamp(0, 255).floor()  # whole values stay what they are
    out = _blurred(out, draws.blur)
    noise = torch.randn(out.shape, generator=generator, device=out.device) * each(draws.noise)
    return (out + noise).clamp(0, 255).floor() * seen


def _blurred(image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur by each image's own deviation, rounded; those of 0 come back as they were."""
    import torch
    from torch.nn.functional import pad

    offsets = torch.arange(-REACH, REACH + 1, device=image.device)
    reach = torch.div((sigma * 6 + 1).round().long() | 1, 2, rounding_mode="floor")[:, None]
    weight = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2) * (offsets.abs() <= reach)
    weight = weight / weight.sum(dim=1, keepdim=True)
    high, wide = image.shape[2:]
    across = pad(image, (REACH, REACH, 0, 0), mode="reflect")
    image = sum(w[:, None, None, None] * across[..., k : k + wide] for k, w in enumerate(weight.T))
    down = pad(image, (0, 0, REACH, REACH), mode="reflect")
    image = sum(w[:, None, None, None] * down[:, :, k : k + high] for k, w in enumerate(weight.T))
    return (image + 0.5).floor()
