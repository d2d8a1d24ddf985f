"""How many faces are found and hidden: python -m benchmarks.faces [--small]

One photograph that belongs to everybody (the astronaut of scikit-image), varied by code, and crops of faces that
scikit-image's tests use. Recall is what was measured here on these pictures: no promise about others. Measured beside
the cascade that takes over where the weights are not there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from groundplan.single.faces import USUAL, Face, FaceFinder, cascade, center_face, grown

FACE = (181, 58, 89, 120)  # of the astronaut, as a person would draw it
COVERED = 0.8  # share of a face's box that must be hidden, for it to count as found
Picture = tuple[str, np.ndarray, Face]


def turned(pixels: np.ndarray, degrees: float, face: Face = FACE) -> tuple[np.ndarray, Face]:
    import cv2

    high, wide = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((wide / 2, high / 2), degrees, 1.0)
    left, top, broad, tall = face
    x, y = matrix @ np.array([left + broad / 2, top + tall / 2, 1.0])
    side = min(broad, tall)  # of a turned box: what is surely face
    moved = (int(x - side / 2), int(y - side / 2), side, side)
    return cv2.warpAffine(pixels, matrix, (wide, high), borderValue=(128, 128, 128)), moved


def sized(pixels: np.ndarray, side: int, face: Face = FACE) -> tuple[np.ndarray, Face]:
    """The picture reduced so that the face is `side` pixels wide."""
    import cv2

    share = side / face[2]
    size = round(pixels.shape[1] * share), round(pixels.shape[0] * share)
    left, top, wide, high = (round(value * share) for value in face)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), (left, top, wide, high)


def varied() -> Iterator[Picture]:
    import cv2
    from skimage.data import astronaut

    whole, random = astronaut(), np.random.default_rng(3)
    for side in (89, 60, 40, 25, 15):
        yield f"{side} px", *sized(whole, side)
    for degrees in (-90, -60, -30, -15, 15, 30, 60, 90, 180):
        yield f"turned {degrees}", *turned(whole, degrees)
    plain, face = sized(whole, 40)
    left, top, wide, high = face
    half = plain.copy()
    half[top + high // 2 : top + high, left : left + wide] = 90
    changed: dict[str, np.ndarray] = {
        "dark": (plain * 0.25).astype(np.uint8),
        "bright": np.clip(plain * 1.6 + 20, 0, 255).astype(np.uint8),
        "blurred": cv2.GaussianBlur(plain, (0, 0), 1.5),
        "noisy": np.clip(plain + random.normal(0, 25, plain.shape), 0, 255).astype(np.uint8),
        "half hidden": half,
        "gray": np.repeat(cv2.cvtColor(plain, cv2.COLOR_RGB2GRAY)[..., None], 3, 2),
    }
    for name, pixels in changed.items():
        yield name, pixels, face
    mirrored = np.ascontiguousarray(plain[:, ::-1])
    yield "mirrored", mirrored, (plain.shape[1] - left - wide, top, wide, high)


def empty() -> Iterator[np.ndarray]:
    """Pictures without people."""
    from skimage import data

    for name in ("coffee", "rocket", "chelsea", "brick", "grass", "gravel", "coins", "page", "clock", "moon"):
        pixels = np.asarray(getattr(data, name)()) if hasattr(data, name) else np.zeros((64, 64), np.uint8)
        yield np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels[..., :3]


def covered(found: list[Face], face: Face, shape: tuple[int, ...]) -> bool:
    """Whether what would be hidden covers the face."""
    mask = np.zeros(shape[:2], bool)
    for one in found:
        left, top, right, bottom = grown(one, shape)
        mask[top:bottom, left:right] = True
    left, top, wide, high = face
    place = mask[max(0, top) : top + high, max(0, left) : left + wide]
    return bool(place.size) and float(place.mean()) >= COVERED


def measured(finder: FaceFinder, small: bool = False) -> tuple[int, int, int, float, list[str]]:
    """Faces hidden, faces there, boxes where no face is, processor seconds for 512 x 512, and what was missed."""
    missed, count = [], 0
    for name, pixels, face in varied():
        count += 1
        if not covered(finder(pixels), face, pixels.shape):
            missed.append(name)
    false = sum(len(finder(pixels)) for pixels in ([] if small else empty()))
    whole = np.ascontiguousarray(next(iter(varied()))[1])
    finder(whole)
    began = time.process_time()
    for _ in range(3):
        finder(whole)
    return count - len(missed), count, false, (time.process_time() - began) / 3, missed


def main() -> None:
    small = "--small" in sys.argv
    kinds: dict[str, Callable[[], FaceFinder]] = {"cascade": cascade}
    if USUAL.is_file():
        for threshold in (0.5, 0.35, 0.2):
            kinds[f"CenterFace {threshold}"] = partial(center_face, USUAL, threshold)
    print("| finder | hidden | recall | false boxes, 10 pictures | CPU s, 512 px | missed |\n|---|---|---|---|---|---|")
    results = {}
    for name, make in kinds.items():
        hits, count, false, seconds, missed = results[name] = measured(make(), small)
        told = ", ".join(missed) or "none"
        print(f"| {name} | {hits} of {count} | {hits / count:.2f} | {false} | {seconds:.3f} | {told} |")
    if "CenterFace 0.2" in results:
        ours, theirs = results["CenterFace 0.2"], results["cascade"]
        bars = {
            f"recall {ours[0] / ours[1]:.2f} >= 0.95 on the varied set": ours[0] / ours[1] >= 0.95,
            f"{ours[0]} >= 2 x the cascade's {theirs[0]}": ours[0] >= 2 * theirs[0],
            f"CPU {ours[3] / theirs[3]:.2f} <= 1/4 of the cascade's": ours[3] <= theirs[3] / 4,
        }
        for words, met in bars.items():
            print(f"{words}: {'met' if met else 'not met'}")


if __name__ == "__main__":
    main()
