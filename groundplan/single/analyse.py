"""The second step with a single image: what a model says of it.

Here: models that are ready to be asked, and their answers as values. Not here: which model is asked and where it lies
(groundplan/registry, models.py), what is done with the answer (act.py).

A footprint's network sees the whole image as one window where it is small enough: an image has no neighbours, so
nothing is gained by a margin. Larger ones go through the lattice of windows that blocks go through.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from groundplan.collections.images.decode import BadImage, square
from groundplan.errors import ModelMismatch
from groundplan.inference.sliding_window import CORE, MARGIN, predict_canvas
from groundplan.monitoring.figures import of_probabilities
from groundplan.polygons.drawing import AS_SHIPPED, Drawing
from groundplan.single.georeference import Georeference
from groundplan.single.prepare import PreparedImage

if TYPE_CHECKING:
    from groundplan.collections.classification.linear import ImageClassifier
    from groundplan.inference.runtime import Runtime
    from groundplan.polygons.instances import Thresholds

ONE_WINDOW = CORE + 2 * MARGIN  # pixels: an image whose sides are smaller is seen at once
SAME = 0.01  # share by which pixels may differ from those that a model was trained on, and be taken as they are
SIZES = 64  # pixels: sides are widened to a multiple, so that few sizes of windows are compiled
MOST_PIXELS = 60_000_000  # of an image at the model's own resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBuilding:
    """A building of a single image. rings: the outline, then holes; float64 (n, 2), closed, x east and y north in the
    image's CRS, or columns and rows of its upright pixels where its place is not known. confidence: 0..1.

    area: m2, of an image without a place at the resolution that the model was trained for. cut: it goes on beyond the
    image's edge.
    """

    rings: tuple[np.ndarray, ...]
    confidence: float
    area: float
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What one model said of one image. figures: numbers that are compared between days and cameras.

    place: None where buildings are in pixels. labels: probabilities of classes, the likeliest first. vector: features,
    float32 (D,), where they were asked for. seconds: of this step alone.
    """

    model: str
    version: str
    kind: Literal["footprints", "class"]
    buildings: tuple[FoundBuilding, ...] = ()
    place: Georeference | None = None
    labels: tuple[tuple[str, float], ...] = ()
    vector: np.ndarray | None = field(default=None, repr=False)
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def label(self) -> str | None:
        """The likeliest class; None of footprints."""
        return self.labels[0][0] if self.labels else None

    @property
    def confidence(self) -> float | None:
        """Of the likeliest class, or the mean of the buildings; None where nothing was found."""
        if self.labels:
            return self.labels[0][1]
        found = [building.confidence for building in self.buildings]
        return sum(found) / len(found) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintModel:
    """A network for building footprints, ready. drawing: how what is found is drawn."""

    name: str
    version: str
    runtime: Runtime
    thresholds: Thresholds
    drawing: Drawing = AS_SHIPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassModel:
    """A collection's classifier, ready. describe: RGB uint8 (side, side, 3) to features float32 (D,)."""

    name: str
    version: str
    classifier: ImageClassifier
    describe: Callable[[np.ndarray], np.ndarray]
    side: int


SingleModel = FootprintModel | ClassModel
Check = Callable[[], None]


def analyse(image: PreparedImage, model: SingleModel, check: Check = lambda: None, vector: bool = False) -> Analysis:
    """Ask a model about an image. check: called before every window, stops by raising. vector: keep the features.

    Raises ModelMismatch, BadConfig where the image's place makes no sense, BadImage where the image is so coarse that
    the model would have to see more than MOST_PIXELS; all of them final for this image and model.
    """
    began = time.perf_counter()
    found = _footprints(image, model, check) if isinstance(model, FootprintModel) else _class(image, model, vector)
    return Analysis(model=model.name, version=model.version, **found, seconds=time.perf_counter() - began)


# ------------------------------------------------------------------------------------------------ a class


def _class(image: PreparedImage, model: ClassModel, vector: bool) -> dict[str, Any]:
    features = model.describe(square(image.pixels, model.side))
    shares = model.classifier.probabilities(features[None])[0]
    order = np.argsort(-shares, kind="stable")
    labels = model.classifier.labels
    entropy = float(-(shares * np.log2(np.maximum(shares, 1e-12))).sum())
    return {
        "kind": "class",
        "labels": tuple((labels[at], float(shares[at])) for at in order),
        "vector": features if vector else None,
        "figures": {"class_confidence": float(shares[order[0]]), "class_entropy": entropy},
    }


# -------------------------------------------------------------------------------------------- footprints


def _footprints(image: PreparedImage, model: FootprintModel, check: Check) -> dict[str, Any]:
    seen, step = _at_resolution(image, model)
    said = probabilities(seen, model.runtime, check)
    buildings = _buildings(said, step, image.place, model)
    return {
        "kind": "footprints",
        "place": image.place,
        "buildings": buildings,
        "figures": _figures(said, buildings, model.runtime.grid_resolution),
    }


def _at_resolution(image: PreparedImage, model: FootprintModel) -> tuple[np.ndarray, tuple[float, float]]:
    """Planes uint8 (bands, H, W) at the model's resolution, and the image's pixels that one of its pixels spans.

    An image without a place is taken to have the model's resolution.
    """
    high, wide = image.pixels.shape[:2]
    across, down = image.place.metres(wide, high) if image.place else (model.runtime.grid_resolution,) * 2
    resolution = model.runtime.grid_resolution
    size = wide, high
    if max(abs(across / resolution - 1), abs(down / resolution - 1)) > SAME:
        size = max(1, round(wide * across / resolution)), max(1, round(high * down / resolution))
    if size[0] * size[1] > MOST_PIXELS:
        reason = f"its pixels of {across:.2f} m are too coarse for a model of {resolution:g} m"
        raise BadImage("image", reason, "Send finer imagery, or a smaller part", "unsupported")
    return _planes(_resized(image.pixels, size), model.runtime.bands), (wide / size[0], high / size[1])


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _planes(pixels: np.ndarray, bands: int) -> np.ndarray:
    """uint8 (bands, H, W). Raises ModelMismatch for a network of other than 1 or 3 bands."""
    if bands == 3:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if bands == 1:
        import cv2

        return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[None]
    raise ModelMismatch("model", f"it needs {bands} bands and a picture has 3", "Choose a model of 1 or 3 bands")


def probabilities(planes: np.ndarray, runtime: Runtime, check: Check = lambda: None) -> np.ndarray:
    """uint8 (2, H, W) of building and edge for planes uint8 (bands, H, W), whatever their sides."""
    high, wide = planes.shape[1:]
    if max(high, wide) <= ONE_WINDOW:
        check()
        least = np.lcm(runtime.step, SIZES)
        widened = np.pad(planes, ((0, 0), (0, -high % least), (0, -wide % least)), mode="symmetric")
        return runtime.predict(widened)[:, :high, :wide]
    canvas = np.pad(planes, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)), mode="reflect")
    return predict_canvas(runtime, canvas, np.ones(canvas.shape[1:], bool), check=check)


def _figures(said: np.ndarray, buildings: tuple[FoundBuilding, ...], resolution: float) -> dict[str, float]:
    """Figures of the answer, by the names of monitoring/figures.py. resolution: metres of a pixel of `said`."""
    found = of_probabilities(said)
    found["per_hectare"] = len(buildings) / (said[0].size * resolution**2 / 1e4)
    if len(buildings) >= 3:
        found["median_area"] = float(np.median([one.area for one in buildings]))
        found["confidence"] = float(np.mean([one.confidence for one in buildings]))
        found["corners"] = float(np.mean([len(one.rings[0]) - 1 for one in buildings]))
    return found


def _buildings(
    said: np.ndarray, step: tuple[float, float], place: Georeference | None, model: FootprintModel
) -> tuple[FoundBuilding, ...]:
    if not (said[0] > 255 * model.thresholds.mask).any():
        return ()  # and nothing of geometry need be loaded
    from groundplan.polygons.outlines import block_outlines, merge_outlines

    resolution, side = model.runtime.grid_resolution, max(said.shape[1:])
    framed = np.zeros((2, side + 2, side + 2), np.uint8)
    framed[:, 1 : 1 + said.shape[1], 1 : 1 + said.shape[2]] = said
    pieces = block_outlines(framed, 1, 0, 0, model.thresholds, resolution)
    whole = merge_outlines([pieces], model.thresholds, resolution)
    shapes = _shapes(whole.geometry.to_numpy(), model)
    cut = _at_edge(whole.geometry.to_numpy(), said.shape[2], said.shape[1])
    confidences = whole["confidence"].to_numpy()
    return tuple(
        FoundBuilding(
            rings=_rings(shape, resolution, step, place),
            confidence=round(float(confidence), 4),
            area=round(float(shape.area), 2),
            cut=bool(at_edge),
        )
        for shape, confidence, at_edge in zip(shapes, confidences, cut, strict=True)
    )


def _shapes(raw: np.ndarray, model: FootprintModel) -> np.ndarray:
    """Pixel outlines as polygons in metres, y upward, squared and apart as a project's footprints are."""
    import shapely

    from groundplan.polygons.drawing import drawn

    resolution = model.runtime.grid_resolution
    metres = shapely.transform(raw, lambda points: points * np.array([resolution, -resolution]))
    return drawn(metres, model.drawing, resolution)


def _at_edge(raw: np.ndarray, wide: int, high: int) -> np.ndarray:
    import shapely

    west, north, east, south = shapely.bounds(raw).reshape(-1, 4).T
    return np.asarray((west <= 0) | (north <= 0) | (east >= wide) | (south >= high))


def _rings(
    shape: Any, resolution: float, step: tuple[float, float], place: Georeference | None
) -> tuple[np.ndarray, ...]:
    """Closed rings of a polygon in metres, in the image's CRS or its pixels."""
    import shapely

    to_pixels = np.array([step[0], -step[1]]) / resolution
    rings = [shapely.get_coordinates(ring) * to_pixels for ring in (shape.exterior, *shape.interiors)]
    return tuple(place.apply(ring) if place else ring for ring in rings)
