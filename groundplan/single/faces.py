"""Faces in a single image: found, and hidden so that nobody gets them back.

Here: CenterFace (MIT) through OpenVINO, a cascade of local binary patterns where its weights are not there, and what
takes a face's place. Not here: whether that is wanted (rules.py). A share of faces is missed, always: docs/messages.md
has what was measured, and who must be sure has people look.

CenterFace gives, for every 4 x 4 pixels, how likely a face's middle is there, the logarithm of its sides, and where in
those pixels the middle is (Xu, Yan, Yang, Sun: CenterFace, 2019, section 3).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from groundplan.errors import ModelMismatch
from groundplan.foreign_reports import silent_openvino

Face = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""
FaceFinder = Callable[[np.ndarray], list[Face]]
"""Faces in RGB uint8 (H, W, 3)."""

SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
USUAL = Path(sys.prefix, "share", "groundplan", "centerface.onnx")
STRIDE, MULTIPLE = 4, 32  # pixels of the image to one of the answer; sides must be multiples
TILE, OVERLAP = 1280, 320  # pixels: a larger image is looked at in parts, and once as a whole, reduced
SAME = 0.3  # IoU from which two boxes are one face
GROWN = 0.15  # of a face's sides: by which its box grows on each side, since hair and chin tell who it is
CELLS = 5  # of the mosaic, along a face's longer side
NOISE = 12.0  # of 255: standard deviation, so that two pictures of one face do not get the same mosaic


def finder(weights: Path | None = None, threshold: float = 0.2, threads: int = 1) -> FaceFinder:
    """The best finder that is here: CenterFace where its weights are, else the cascade.

    weights: None looks where `make vendor` and the image put them. Raises ModelMismatch where a file is named and is
    not there, or is another than the one that is known.
    """
    path = weights or USUAL
    if path.is_file():
        return center_face(path, threshold, threads)
    if weights is not None:
        raise ModelMismatch(str(weights), "there is no such file", "Fetch it: python docker/face_weights.py TARGET")
    return cascade()


# ------------------------------------------------------------------------------------------------ CenterFace


def center_face(path: Path, threshold: float, threads: int = 1) -> FaceFinder:
    """Raises ModelMismatch for other weights than those that are pinned."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ModelMismatch(str(path), "it is not CenterFace as it is pinned", "Fetch it anew: docker/face_weights.py")
    run = _network(data, threads)

    def find(pixels: np.ndarray) -> list[Face]:
        boxes = np.concatenate([_seen(run, part, threshold) + offset for part, offset in _parts(pixels)])
        return [_whole(box, pixels.shape) for box in _distinct(boxes)]

    return find


def _network(data: bytes, threads: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    """float32 (1, 3, H, W) to heat, scales and offsets; each size is compiled once, the last few are kept."""
    import threading

    ov = silent_openvino()

    core, turn = ov.Core(), threading.Lock()
    model = core.read_model(data)
    properties = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}

    @lru_cache(maxsize=8)
    def ready(high: int, wide: int) -> Any:
        shaped = model.clone()
        shaped.reshape([1, 3, high, wide])
        return core.compile_model(shaped, "CPU", properties).create_infer_request()

    def run(planes: np.ndarray) -> list[np.ndarray]:
        with turn:
            request = ready(*planes.shape[2:])
            request.infer({0: planes})
            return [request.get_output_tensor(at).data[0].copy() for at in range(3)]

    return run


def _parts(pixels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What is looked at, and what turns boxes of it (left, top, right, bottom, score) into the image's: added to them.

    A large image is seen in parts that overlap; faces larger than the overlap are found in the whole, reduced.
    """
    high, wide = pixels.shape[:2]
    step = TILE - OVERLAP
    for top in range(0, max(1, high - OVERLAP), step):
        for left in range(0, max(1, wide - OVERLAP), step):
            yield pixels[top : top + TILE, left : left + TILE], np.array([left, top, left, top, 0], np.float32)
    if max(high, wide) > TILE:
        yield pixels, np.zeros(5, np.float32)


def _seen(run: Callable[[np.ndarray], list[np.ndarray]], part: np.ndarray, threshold: float) -> np.ndarray:
    """Boxes float32 (n, 5) of one part: left, top, right, bottom, score."""
    import cv2

    high, wide = part.shape[:2]
    share = min(1.0, TILE / max(high, wide))
    if share < 1:
        part = cv2.resize(part, (round(wide * share), round(high * share)), interpolation=cv2.INTER_AREA)
    widened = [(0, -side % MULTIPLE) for side in part.shape[:2]]
    planes = np.pad(part, (*widened, (0, 0))).transpose(2, 0, 1)[None].astype(np.float32)
    heat, scales, offsets = run(planes)
    boxes = _boxes(heat, scales, offsets, threshold)
    boxes[:, :4] /= share
    return boxes


def _boxes(heat: np.ndarray, scales: np.ndarray, offsets: np.ndarray, threshold: float) -> np.ndarray:
    row, col = np.nonzero(heat[0] > threshold)
    tall, broad = np.exp(scales[:, row, col]) * STRIDE
    middle_y = (row + offsets[0, row, col] + 0.5) * STRIDE
    middle_x = (col + offsets[1, row, col] + 0.5) * STRIDE
    left, top = middle_x - broad / 2, middle_y - tall / 2
    return np.column_stack([left, top, left + broad, top + tall, heat[0, row, col]]).astype(np.float32)


def _distinct(boxes: np.ndarray) -> list[np.ndarray]:
    """The surest box of each face."""
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-boxes[:, 4], kind="stable")]:
        if all(_iou(box, other) < SAME for other in kept):
            kept.append(box)
    return kept


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    both = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    return float(shared / both) if both > 0 else 0.0


def _whole(box: np.ndarray, shape: tuple[int, ...]) -> Face:
    left, top = (max(0, int(np.floor(value))) for value in box[:2])
    right, bottom = min(shape[1], int(np.ceil(box[2]))), min(shape[0], int(np.ceil(box[3])))
    return left, top, max(0, right - left), max(0, bottom - top)


# ------------------------------------------------------------------------------------------------ the cascade


def cascade() -> FaceFinder:
    """Local binary patterns: for frontal faces of 24 pixels and more. It misses many others."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    from groundplan.collections.images.faces import faces

    learned = Cascade(lbp_frontal_face_cascade_filename())
    return lambda pixels: faces(learned, pixels)


# ------------------------------------------------------------------------------------------------ hiding


def hidden(pixels: np.ndarray, found: list[Face], seed: str) -> np.ndarray:
    """A copy in which each face, with some ground around it, is a coarse mosaic with noise.

    A blur can be undone in part; of a face's 25 mean colours nothing comes back. seed: the same picture gives the same
    bytes, whoever makes it again.
    """
    changed = pixels.copy()
    random = np.random.default_rng(int(hashlib.sha256(seed.encode()).hexdigest()[:16], 16))
    for face in found:
        left, top, right, bottom = grown(face, pixels.shape)
        place = changed[top:bottom, left:right]
        if place.size:
            place[:] = _mosaic(place, random)
    return changed


def grown(face: Face, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is hidden for a face."""
    left, top, wide, high = face
    more_x, more_y = int(np.ceil(wide * GROWN)), int(np.ceil(high * GROWN))
    bounds = max(0, left - more_x), max(0, top - more_y)
    return *bounds, min(shape[1], left + wide + more_x), min(shape[0], top + high + more_y)


def _mosaic(place: np.ndarray, random: np.random.Generator) -> np.ndarray:
    import cv2

    high, wide = place.shape[:2]
    cell = max(1, -(-max(high, wide) // CELLS))
    coarse = cv2.resize(place, (-(-wide // cell), -(-high // cell)), interpolation=cv2.INTER_AREA).astype(np.float32)
    noisy = np.clip(coarse + random.normal(0, NOISE, coarse.shape), 0, 255).astype(np.uint8)
    return cv2.resize(noisy, (wide, high), interpolation=cv2.INTER_NEAREST)
