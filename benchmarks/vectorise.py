"""From probabilities to outlines: CPU-seconds per block and per building, beside named peers in the same run.

    python -m benchmarks.vectorise [--side 2048] [--small]

Invented ground (seeded): 2 x 2 blocks of houses, many touching, under correlated noise. Each peer gets the same pixels
or the same pieces as our step. Prints figures; gates nothing. CPU-seconds, since wall time on a shared machine is not
about the code.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from scipy import ndimage

from groundplan.polygons.instances import Thresholds, instances, reach
from groundplan.polygons.outlines import block_outlines, merge_outlines
from groundplan.polygons.regularize import regularize, separate

RESOLUTION = 0.25
THRESHOLDS = Thresholds()
BAR = 4.0  # processor seconds of all steps for 100 MPx of a dense town


def invent(side: int) -> np.ndarray:
    """uint8 (2, side, side): houses along streets, in rows that touch, with soft edges and noise."""
    random = np.random.default_rng(2026)
    building, edge = np.zeros((2, side, side), np.float32)
    for top in range(8, side - 60, 96):
        left = 8
        while left < side - 60:
            width, depth = random.integers(20, 48, 2)
            building[top : top + depth, left : left + width] = 230
            edge[top - 2 : top + depth + 2, left - 2 : left + width + 2] = 225
            edge[top + 2 : top + depth - 2, left + 2 : left + width - 2] = 10
            left += width + (0 if random.random() < 0.6 else random.integers(10, 60))
    noise = ndimage.gaussian_filter(random.normal(size=(2, side, side)).astype(np.float32), (0, 3, 3)) * 400
    smooth = np.stack([ndimage.gaussian_filter(layer, 1.5) for layer in (building, edge)])
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def clock(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


def outline_blocks(probability: np.ndarray, side: int) -> list[Any]:
    halo = reach(THRESHOLDS, RESOLUTION)
    padded = np.pad(probability, ((0, 0), (halo, halo), (halo, halo)))
    step = side + 2 * halo
    return [
        block_outlines(
            padded[:, r * side : r * side + step, c * side : c * side + step], halo, c, r, THRESHOLDS, RESOLUTION
        )
        for r in (0, 1)
        for c in (0, 1)
    ]


def watershed_peer(probability: np.ndarray) -> np.ndarray:
    from skimage.measure import label
    from skimage.segmentation import watershed

    building, edge = probability.astype(np.float32) / 255
    height, mask = building * (1 - edge), building > THRESHOLDS.mask
    return watershed(-height, label(mask & (height > THRESHOLDS.seed), connectivity=1), mask=mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048, help="pixels of a block's side")
    parser.add_argument("--small", dest="side", action="store_const", const=512, help="only to see that it runs")
    side = parser.parse_args().side
    probability = invent(2 * side)
    outline_blocks(probability[:, :256, :256], 128)  # imports are not the work

    _, separation = clock(lambda: instances(probability, THRESHOLDS, RESOLUTION))
    corner = np.ascontiguousarray(probability[:, :1024, :1024])
    _, own_corner = clock(lambda: instances(corner, THRESHOLDS, RESOLUTION))
    _, watershed = clock(lambda: watershed_peer(corner))
    frames, outlining = clock(lambda: outline_blocks(probability, side))
    pieces = np.concatenate([frame.geometry.to_numpy() for frame in frames])
    merged, merging = clock(lambda: merge_outlines(frames, THRESHOLDS, RESOLUTION))
    glued, union_all = clock(lambda: shapely.get_parts(shapely.union_all(pieces)))
    raw = shapely.transform(merged.geometry.to_numpy(), lambda xy: xy * (RESOLUTION, -RESOLUTION))
    tidy, regularizing = clock(lambda: regularize(raw))
    _, separating = clock(lambda: separate(tidy, raw))

    number, megapixels = len(merged), 4 * side**2 / 1e6
    print(
        f"2 x 2 blocks of {side} px, {megapixels:.1f} MPx, {number} buildings, "
        f"{(probability[0] > 127).mean():.0%} of it building"
    )
    print(f"{'step':<44}{'s / block':>10}{'s / 100 MPx':>13}{'us / building':>15}")
    steps = [
        ("separate and outline (block_outlines)", outlining),
        ("  of which separation (instances)", separation),
        ("merge across borders (merge_outlines)", merging),
        ("regularise", regularizing),
        ("separate overlaps", separating),
    ]
    for name, seconds in [*steps, ("all", outlining + merging + regularizing + separating)]:
        print(f"{name:<44}{seconds / 4:>10.3f}{100 * seconds / megapixels:>13.2f}{1e6 * seconds / number:>15.0f}")
    whole = 100 * (outlining + merging + regularizing + separating) / megapixels
    print(f"bar: all in <= {BAR:g} s / 100 MPx: {whole:.2f}, {'met' if whole <= BAR else 'not met'}")
    print(f"{'peer':<44}{'peer s':>10}{'ours s':>13}{'ratio':>15}")
    print(f"{'skimage watershed, 1 MPx':<44}{watershed:>10.3f}{own_corner:>13.3f}{watershed / own_corner:>15.1f}")
    print(f"{'shapely union_all of all pieces':<44}{union_all:>10.3f}{merging:>13.3f}{union_all / merging:>15.1f}")
    print(f"  union_all glues touching buildings too: {len(glued)} left of {number}")
    most = max((s for s in steps if not s[0].startswith(" ")), key=lambda s: s[1])
    print(f"bound by: {most[0].strip()}, {most[1] / (outlining + merging + regularizing + separating):.0%} of the time")


if __name__ == "__main__":
    main()
