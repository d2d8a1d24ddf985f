"""Paint the synthetic country: from the plan of a place to a year's picture.

Here belong colours, textures, roofs, trees, sun and camera. Not here: what stands where, and files (country.py). This
module imports cv2, so country.py imports it only when something is to be painted.

Everything is painted in two layers of the same frame: colour (float32, 0-255, sRGB-like) and height above ground
(float32, metres). Shadows are cast once at the end from the heights, so that houses darken their neighbours and trees
darken roofs. Objects are stamped at 3 x 3 samples per pixel, so edges are mixed pixels at the exact place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from groundplan.synthetic.place import Building, Frame, GroundCover, Layout, Part

    Floats = NDArray[np.float32]
    Shade = Callable[[Floats, Floats, Floats], Floats]
    Point = tuple[float, float] | NDArray[np.float64]
    Line = Sequence[tuple[float, float]]


SAMPLES = 3  # per pixel and axis, for whatever has sharp edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """The sun and the camera of one year's flight."""

    azimuth: float
    """Degrees clockwise from north."""
    elevation: float
    """Degrees."""
    gamma: float
    gain: tuple[float, float, float]
    saturation: float
    noise: float
    """Standard deviation, in grey levels."""
    dry: float
    """0 green spring ... 1 straw-coloured summer."""

    @property
    def sun(self) -> tuple[float, float, float]:
        """Unit vector towards the sun: east, north, up."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        return math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), math.sin(e)


FLIGHTS = (
    Flight(azimuth=142, elevation=52, gamma=1.00, gain=(1.00, 1.00, 1.00), saturation=1.00, noise=2.2, dry=0.15),
    Flight(azimuth=208, elevation=45, gamma=0.88, gain=(1.05, 1.00, 0.93), saturation=0.86, noise=3.0, dry=0.60),
    Flight(azimuth=165, elevation=56, gamma=1.06, gain=(0.97, 1.01, 1.04), saturation=1.08, noise=2.0, dry=0.35),
)

GROUNDS: dict[str, tuple[int, int, int]] = {
    "lawn": (92, 112, 68),
    "meadow": (116, 124, 78),
    "crop": (104, 118, 66),
    "soil": (142, 116, 92),
    "red": (158, 102, 80),
    "paved": (150, 144, 136),
    "terrace": (164, 146, 126),
    "gravel": (162, 154, 142),
    "asphalt": (112, 112, 112),
    "brick": (140, 114, 100),
    "parking": (118, 117, 116),
    "tunnels": (112, 112, 84),
    "pool": (82, 158, 178),
    "rubble": (150, 134, 116),
    "site": (176, 152, 116),
}
# Deviation of a cover's texture in grey levels, where it is not 5.
CONTRAST = {"lawn": 9.0, "meadow": 13.0, "crop": 9.0, "soil": 10.0, "red": 8.0, "rubble": 20.0, "site": 12.0}
CARS = ((225, 225, 225), (200, 202, 205), (60, 62, 66), (40, 42, 46), (120, 124, 130), (150, 38, 36), (44, 66, 110))


@dataclass(frozen=True, slots=True)
class Picture:
    """A painted year: what the camera saw, and where exactly roofs are."""

    rgb: NDArray[np.uint8]
    """(rows, columns, 3)"""
    roof: Floats
    """(rows, columns): the share of the pixel that a building covers, whatever hangs over it."""


@dataclass(slots=True, kw_only=True)
class _Canvas:
    """The layers being painted, with what every brush needs."""

    frame: Frame
    flight: Flight
    rgb: Floats
    height: Floats
    roof: Floats
    texture: Floats
    """(1024, 1024) noise of several scales with mean 0 and deviation 1, laid on at random places."""


def paint(layout: Layout, year: int, number: int) -> Picture:
    """Paint a year of the place; the flight's number chooses its sun and camera."""
    rng = np.random.default_rng([layout.seed, year, 4])
    flight, shape = FLIGHTS[number % len(FLIGHTS)], (layout.frame.height, layout.frame.width)
    texture = _clouds((1024, 1024), {1: 0.7, 2: 0.6, 5: 0.6, 16: 0.5}, np.random.default_rng([layout.seed, 5]))
    terrain = _terrain(shape, flight, np.random.default_rng([layout.seed, 6]), rng)
    canvas = _Canvas(
        frame=layout.frame,
        flight=flight,
        rgb=terrain,
        height=np.zeros(shape, np.float32),
        roof=np.zeros(shape, np.float32),
        texture=texture,
    )
    for ground in layout.grounds:
        _ground(canvas, ground, rng)
    _lines(canvas, layout, rng)
    for building in layout.buildings:
        if building.stands(year):
            _building(canvas, building, np.random.default_rng([layout.seed, building.key, 7]))
        else:
            _empty_lot(canvas, building, year, rng)
    for x, y, angle in layout.cars:
        if rng.random() < 0.33:
            _car(canvas, x, y, angle, rng)
    for index, tree in enumerate(layout.trees):
        _tree(canvas, tree, np.random.default_rng([layout.seed, index, 8]))
    _cast_shadows(canvas)
    return Picture(_expose(canvas, rng), canvas.roof)


# --- ground ----------------------------------------------------------------------------------------------------------


def _clouds(shape: tuple[int, int], scales: dict[int, float], rng: np.random.Generator) -> Floats:
    """Smooth noise: scale in pixels -> weight; mean 0, deviation 1."""
    total = np.zeros(shape, np.float32)
    for scale, weight in scales.items():
        small = rng.standard_normal((shape[0] // scale + 2, shape[1] // scale + 2), dtype=np.float32)
        total += weight * cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((total - total.mean()) / total.std(), np.float32)


def _terrain(shape: tuple[int, int], flight: Flight, fixed: np.random.Generator, rng: np.random.Generator) -> Floats:
    """Rough grass with worn and wet places: its large forms stay from year to year, its blades do not."""
    wide = _clouds(shape, {220: 1.0, 60: 0.8, 18: 0.6}, fixed)
    dry = np.clip(0.35 + 0.28 * wide + 0.3 * (flight.dry - 0.3), 0, 1)[..., None]
    worn = np.clip((_clouds(shape, {90: 1.0, 25: 0.8, 6: 0.4}, fixed) - 1.35) * 1.8, 0, 1)[..., None]
    fine = _clouds(shape, {1: 0.5, 2: 0.5, 4: 0.6, 9: 0.4}, rng)[..., None]
    green, straw, soil = (np.array(c, np.float32) for c in ((78, 98, 58), (136, 134, 92), (150, 128, 102)))
    rgb = green + (straw - green) * dry
    return rgb + (soil - rgb) * worn + fine * (9 - 3 * worn)


def _ground(canvas: _Canvas, ground: GroundCover, rng: np.random.Generator) -> None:
    """One patch of ground cover, with what makes its kind: furrows, bays, tunnels, slabs."""
    tint = rng.normal(0, 5) + rng.normal(0, 2.5, 3)
    base = (np.array(GROUNDS[ground.kind]) + tint).astype(np.float32)
    if ground.kind in ("lawn", "meadow", "crop"):
        base += np.float32(canvas.flight.dry - 0.3) * np.array((40, 22, 14), np.float32)

    def shade(u: Floats, v: Floats, noise: Floats) -> Floats:
        gray = noise * CONTRAST.get(ground.kind, 5.0)
        if ground.kind in ("crop", "soil"):
            gray = gray + 9 * np.sin(v * (2 * np.pi / (1.6 if ground.kind == "crop" else 2.6)))
        if ground.kind in ("paved", "terrace"):
            gray = gray - 7 * ((np.mod(u, 1.2) < 0.12) | (np.mod(v, 1.2) < 0.12))
        if ground.kind == "parking":
            gray = gray + 70 * ((np.mod(u, 2.6) < 0.14) & (np.mod(v, 11.0) < 9.6))
        if ground.kind == "tunnels":  # rows of foil: as bright and straight as a metal roof, with grass between
            across = np.mod(v, 7.5)
            gray = gray + (across < 5.2) * (74 * np.cos((across - 2.6) * 0.45) + 8 * (np.mod(u, 2) < 0.2))
        return base + gray[..., None]

    _stamp(canvas, ground.ring, ground.angle, shade, rng)


def _lines(canvas: _Canvas, layout: Layout, rng: np.random.Generator) -> None:
    """Water, streets with their pavements, and hedges."""
    shape = canvas.height.shape
    noise = _clouds(shape, {2: 0.9, 40: 0.5}, rng)
    for line in layout.water:
        _stroke(canvas, [line], 5.6, (84, 96, 58), noise, 9)
        _stroke(canvas, [line], 3.8, (62, 74, 66), noise, 2)
    lines = [street.line for street in layout.streets]
    _stroke(canvas, lines, max(street.width for street in layout.streets) + 3.0, (152, 146, 138), noise, 4)
    for street in layout.streets:
        _stroke(canvas, [street.line], street.width, GROUNDS[street.paving], noise, 4)
    for hedge in layout.hedges:
        tint = rng.normal(0, 6)
        base = (58 + tint, 78 + tint, 46 + tint)
        _stroke(canvas, [hedge], float(rng.uniform(0.4, 1.1)), base, noise, 12, float(rng.uniform(0.8, 1.8)))


def _stroke(
    canvas: _Canvas,
    lines: Sequence[Line],
    width: float,
    color: Sequence[float],
    noise: Floats,
    rough: float,
    high: float = 0.0,
) -> None:
    """Paint lines of this width in metres; those with a height will cast a shadow."""
    frame, shift = canvas.frame, 4
    points = [np.round((frame.pixels(np.array(line)) - 0.5) * 2**shift).astype(np.int32) for line in lines]
    thick = max(1, round(width / frame.resolution))
    least, most = (f(np.concatenate(points), axis=0) // 2**shift for f in (np.min, np.max))
    low, top = np.maximum(least - thick - 2, 0), np.minimum(most + thick + 3, (frame.width, frame.height))
    if (top <= low).any():
        return
    mask = np.zeros((top[1] - low[1], top[0] - low[0]), np.uint8)
    cv2.polylines(mask, [p - low * 2**shift for p in points], False, 255, thick, cv2.LINE_AA, shift)
    rows, columns = np.nonzero(mask)  # a street is thin: most of its window is not touched
    alpha = mask[rows, columns] * np.float32(1 / 255)
    rows, columns = rows + low[1], columns + low[0]
    paint = np.array(color, np.float32) + noise[rows, columns, None] * np.float32(rough)
    canvas.rgb[rows, columns] += alpha[:, None] * (paint - canvas.rgb[rows, columns])
    if high:
        canvas.height[rows, columns] = np.maximum(canvas.height[rows, columns], alpha * np.float32(high))


# --- stamps ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patch:
    """A window of the canvas, sampled finer, with the position of each sample on an object's own axes."""

    rows: slice
    columns: slice
    samples: int
    u: Floats
    v: Floats


def _patch(
    canvas: _Canvas, low: Point, high: Point, middle: Point, angle: float, samples: int = SAMPLES
) -> _Patch | None:
    """The patch that holds a box of pixel coordinates (column, row); None if the picture does not show it."""
    frame = canvas.frame
    c0, r0 = max(0, math.floor(low[0])), max(0, math.floor(low[1]))
    c1, r1 = min(frame.width, math.ceil(high[0])), min(frame.height, math.ceil(high[1]))
    if c1 <= c0 or r1 <= r0:
        return None
    step = frame.resolution / samples
    # Differences in float64 before float32: world coordinates need more than 24 bits.
    left, top = frame.left + c0 * frame.resolution - middle[0], frame.top - r0 * frame.resolution - middle[1]
    x = (left + (np.arange((c1 - c0) * samples) + 0.5) * step).astype(np.float32)
    y = (top - (np.arange((r1 - r0) * samples) + 0.5) * step).astype(np.float32)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    u, v = x[None] * cos + y[:, None] * sin, y[:, None] * cos - x[None] * sin
    return _Patch(rows=slice(r0, r1), columns=slice(c0, c1), samples=samples, u=u, v=v)


def _around(canvas: _Canvas, x: float, y: float, reach: float, angle: float, samples: int = SAMPLES) -> _Patch | None:
    """The patch that holds a circle about a point, reach in metres."""
    middle = canvas.frame.pixels(np.array((x, y)))
    far = reach / canvas.frame.resolution + 1
    return _patch(canvas, middle - far, middle + far, (x, y), angle, samples)


def _noise(canvas: _Canvas, patch: _Patch, rng: np.random.Generator) -> Floats:
    """Texture in the patch's shape, as coarse as the picture's own pixels."""
    side = canvas.texture.shape[0]
    r0, c0 = (int(i) for i in rng.integers(side, size=2))
    rows = np.arange(r0, r0 + patch.rows.stop - patch.rows.start) % side
    columns = np.arange(c0, c0 + patch.columns.stop - patch.columns.start) % side
    cut = canvas.texture[rows][:, columns]
    height, width = patch.u.shape
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _lay(canvas: _Canvas, patch: _Patch, rgb: Floats, mask: Floats, height: Floats | None = None) -> Floats:
    """Blend colours (h, w, 3) where the mask (h, w, 0-1) has them, raise the heights; the mask in canvas pixels."""
    size = patch.columns.stop - patch.columns.start, patch.rows.stop - patch.rows.start
    alpha = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    window = canvas.rgb[patch.rows, patch.columns]
    window *= 1 - alpha[..., None]
    window += cv2.resize(rgb * mask[..., None], size, interpolation=cv2.INTER_AREA)
    if height is not None:
        high = cv2.resize(height * mask, size, interpolation=cv2.INTER_AREA)
        under = canvas.height[patch.rows, patch.columns]
        np.maximum(under, high, out=under)
    return np.asarray(alpha, np.float32)


def _stamp(canvas: _Canvas, ring: Line, angle: float, shade: Shade, rng: np.random.Generator) -> None:
    """Paint a polygon's inside with shade(u, v, noise) -> (h, w, 3)."""
    points = canvas.frame.pixels(np.array(ring))
    samples = 1 if np.ptp(points, axis=0).prod() > 10_000 else 2  # a field has no edge worth the time
    patch = _patch(canvas, points.min(0) - 1, points.max(0) + 1, np.array(ring).mean(0), angle, samples)
    if patch is None:
        return
    mask = np.zeros(patch.u.shape, np.uint8)
    corner = (patch.columns.start, patch.rows.start)
    cv2.fillPoly(mask, [np.round(((points - corner) * samples - 0.5) * 256).astype(np.int32)], 1, cv2.LINE_8, 8)
    _lay(canvas, patch, shade(patch.u, patch.v, _noise(canvas, patch, rng)), mask.astype(np.float32))


# --- buildings -------------------------------------------------------------------------------------------------------

PITCH = {"gable_u": 0.78, "gable_v": 0.78, "hip": 0.62, "metal": 0.16, "flat": 0.0}  # rise over run


@dataclass(slots=True, kw_only=True)
class _Surface:
    """The roof seen from above, sample by sample."""

    z: Floats
    """Height above the ground in metres; 0 outside the building."""
    du: Floats
    dv: Floats
    """How z rises along u and v."""
    edge: Floats
    """Metres from the edge of the rectangle that lies on top here."""
    along: Floats
    """Metres along the ridge, for what is laid in rows."""
    pitched: Floats


def _surface(parts: Sequence[Part], u: Floats, v: Floats) -> _Surface:
    """The upper surface of a building's parts."""
    top = _Surface(**{item.name: np.zeros(u.shape, np.float32) for item in fields(_Surface)})
    for part in parts:
        mid_u, mid_v = u - (part.u0 + part.u1) / 2, v - (part.v0 + part.v1) / 2
        to_u, to_v = (part.u1 - part.u0) / 2 - np.abs(mid_u), (part.v1 - part.v0) / 2 - np.abs(mid_v)
        roof, pitch = part.roof, np.float32(PITCH[part.roof])
        if roof == "metal":
            roof = "gable_u" if part.u1 - part.u0 > part.v1 - part.v0 else "gable_v"
        by_u = (to_u < to_v) if roof == "hip" else np.full(u.shape, roof == "gable_v")
        z = part.height + pitch * np.where(by_u, to_u, to_v)
        here = (to_u > 0) & (to_v > 0) & (z > top.z)
        values = (
            z,
            by_u * (-pitch * np.sign(mid_u)),
            ~by_u * (-pitch * np.sign(mid_v)),
            np.minimum(to_u, to_v),
            np.where(by_u, v, u),
            np.float32(pitch > 0),
        )
        for layer, value in zip((top.z, top.du, top.dv, top.edge, top.along, top.pitched), values, strict=True):
            np.copyto(layer, value, where=here, casting="same_kind")
    return top


def _building(canvas: _Canvas, building: Building, rng: np.random.Generator) -> None:
    """Paint a building's roof where its footprint is, exactly."""
    corners = np.array([(u, v) for p in building.parts for u in (p.u0, p.u1) for v in (p.v0, p.v1)])
    cos, sin = math.cos(building.angle), math.sin(building.angle)
    middle = (building.x, building.y)
    points = canvas.frame.pixels(corners @ np.array([[cos, sin], [-sin, cos]]) + np.array(middle))
    patch = _patch(canvas, points.min(0) - 1, points.max(0) + 1, middle, building.angle)
    if patch is None:
        return
    top = _surface(building.parts, patch.u, patch.v)
    noise = _noise(canvas, patch, rng)
    rgb = _roof(top, building, noise, patch)
    rgb *= _light(canvas.flight, top.du, top.dv, building.angle)[..., None]
    _furnish(rgb, top, building, patch, rng)
    alpha = _lay(canvas, patch, rgb, (top.z > 0).astype(np.float32), top.z)
    covered = canvas.roof[patch.rows, patch.columns]
    np.minimum(covered + alpha, 1, out=covered)


def _light(flight: Flight, du: Floats, dv: Floats, angle: float) -> Floats:
    """How bright a slope lies in the sun and sky; 1 for level ground."""
    east, north, up = flight.sun
    cos, sin = math.cos(angle), math.sin(angle)
    along, across = east * cos + north * sin, north * cos - east * sin
    direct = np.maximum((up - du * along - dv * across) / np.sqrt(1 + du * du + dv * dv), 0) / up
    return np.asarray(0.34 + 0.66 * direct, np.float32)


def _roof(top: _Surface, building: Building, noise: Floats, patch: _Patch) -> Floats:
    """The colour of the roof's covering in even light: tiles, sheets, gravel, with ridge, gutter and parapet."""
    own = np.array(building.color, np.float32)
    first = building.parts[0]
    # A flat extension behind a tiled house is felt, not tiles.
    felt = own if first.roof == "flat" else np.array((120, 118, 114), np.float32)
    period, depth = (1.1, 9) if first.roof == "metal" else (0.95, 4)
    pitched = np.float32(depth) * np.sin(top.along * np.float32(2 * np.pi / period)) + noise * 5 + 13 * _ridge(top)
    flat = (
        noise * np.float32(6.5) + np.float32(22) * (top.edge < 0.4) - np.float32(9) * (np.abs(top.edge - 0.57) < 0.17)
    )
    if building.row:  # the wall between two houses of a row: a thin light line on some, a dark one on others
        pitched += np.float32(24 if building.key % 3 else -30) * (first.u1 - np.abs(patch.u) < 0.2)
    else:
        pitched -= np.float32(20) * (top.edge < 0.28)
    is_flat = (top.pitched == 0)[..., None]
    return np.where(is_flat, felt + flat[..., None], own + pitched[..., None])


def _ridge(top: _Surface) -> Floats:
    """1 on ridges, hips and valleys, where the slope turns."""
    turn = np.zeros_like(top.du)
    for slope in (top.du, top.dv):
        turn[1:] += np.abs(np.diff(slope, axis=0))
        turn[:, 1:] += np.abs(np.diff(slope, axis=1))
    line = ((turn > 0.05) & (top.edge > 0.3)).astype(np.float32)
    return np.asarray(cv2.dilate(line, np.ones((2, 2), np.uint8)), np.float32)


def _furnish(rgb: Floats, top: _Surface, building: Building, patch: _Patch, rng: np.random.Generator) -> None:
    """Put on the roof what stands there: chimneys, dormers, skylights, panels, machines."""
    main = building.parts[0]
    half = np.array((main.u1 - main.u0, main.v1 - main.v0)) / 2
    middle = np.array((main.u1 + main.u0, main.v1 + main.v0)) / 2
    if half.prod() < 7:
        return
    if main.roof in ("flat", "metal"):
        for _ in range(int(rng.integers(0, 2 + int(half.prod() / 14)))):
            gray = rng.uniform(60, 225)
            at = middle + rng.uniform(-0.75, 0.75, 2) * half
            _box(rgb, top, patch, at, rng.uniform(0.4, 1.2, 2), (gray, gray, gray), 1.0)
        return
    side = float(rng.choice([-1, 1]))
    if rng.random() < 0.6:
        at = middle + np.array((half[0] * rng.choice([-0.85, 0.6]), 0.2))
        _box(rgb, top, patch, at, (0.4, 0.45), (128, 92, 78), 1.2)
    if rng.random() < 0.28:
        at = middle + half * (rng.uniform(-0.3, 0.3), side * 0.52)
        _box(rgb, top, patch, at, (min(1.6, half[0] * 0.5), 1.0), (158, 156, 150), 0.9)
    at = middle + half * (rng.uniform(-0.5, 0.5), -side * 0.5)
    if rng.random() < 0.15:
        _box(rgb, top, patch, at, half * (0.42, 0.3), (38, 44, 62), 0.0)
    elif rng.random() < 0.2:
        _box(rgb, top, patch, at, (0.4, 0.5), (66, 74, 84), 0.0)


def _box(
    rgb: Floats,
    top: _Surface,
    patch: _Patch,
    at: Point,
    half: Point,
    color: tuple[float, float, float],
    high: float,
) -> None:
    """A box about a point (u, v) of the roof; it raises the surface, so that it throws a shadow with all the rest."""
    inside = (np.abs(patch.u - np.float32(at[0])) < half[0]) & (np.abs(patch.v - np.float32(at[1])) < half[1])
    inside &= top.z > 0
    rgb[inside] = np.array(color, np.float32)
    top.z[inside] += np.float32(high)


def _empty_lot(canvas: _Canvas, building: Building, year: int, rng: np.random.Generator) -> None:
    """Where a building no longer stands there is rubble for a year, where one will rise there is a building site."""
    from groundplan.synthetic.place import GroundCover

    if building.until == year or building.since == year + 1:
        hull = np.array(building.footprint().buffer(1.5).envelope.exterior.coords)[:4]
        ring = tuple((float(x), float(y)) for x, y in hull + rng.normal(0, 0.8, (4, 2)))
        _ground(canvas, GroundCover("rubble" if building.until == year else "site", ring, building.angle), rng)


# --- trees and cars --------------------------------------------------------------------------------------------------


def _tree(canvas: _Canvas, tree: tuple[float, float, float], rng: np.random.Generator) -> None:
    """A crown: a lumpy dome of leaves."""
    x, y, radius = tree
    patch = _around(canvas, x, y, radius * 1.4, 0.0, samples=2)
    if patch is None:
        return
    bearing = np.arctan2(patch.v, patch.u)
    waves = sum(rng.uniform(0.02, 0.09) * np.sin(k * bearing + rng.uniform(0, 6)) for k in (2, 3, 5, 7))
    noise = _noise(canvas, patch, rng)
    near = np.hypot(patch.u, patch.v) / (radius * (1 + waves)) + 0.06 * noise
    dome = np.sqrt(np.clip(1 - near * near, 0.02, 1))
    mask = np.clip((1 - near) * 6, 0, 1).astype(np.float32)
    base = np.array((70, 92, 52)) + rng.normal(0, 9) + rng.normal(0, 6, 3) + canvas.flight.dry * np.array((14, 4, 0))
    slope = np.float32(0.8) / radius
    light = _light(canvas.flight, -patch.u * slope, -patch.v * slope, 0.0)
    rgb = base.astype(np.float32) * (light * (0.95 + 0.2 * noise))[..., None]
    lift = np.float32(1.0 + 0.9 * radius)
    _lay(canvas, patch, rgb.astype(np.float32), mask, (lift + radius * dome + 0.25 * noise).astype(np.float32))


def _car(canvas: _Canvas, x: float, y: float, angle: float, rng: np.random.Generator) -> None:
    """A car with its windows; none where its spot is under something higher."""
    patch = _around(canvas, x, y, 2.6, angle + rng.normal(0, 0.04))
    if patch is None or canvas.height[patch.rows, patch.columns].max() > 2:
        return
    body = (np.abs(patch.u) < 2.15) & (np.abs(patch.v) < 0.9)
    rgb = np.broadcast_to(np.array(CARS[int(rng.integers(len(CARS)))], np.float32), (*body.shape, 3)).copy()
    glass = ((np.abs(patch.u - 0.75) < 0.35) | (np.abs(patch.u + 1.35) < 0.25)) & (np.abs(patch.v) < 0.75)
    rgb[glass] = (42, 48, 54)
    _lay(canvas, patch, rgb, body.astype(np.float32), np.full(body.shape, 1.4, np.float32))


# --- sun and camera --------------------------------------------------------------------------------------------------


def _cast_shadows(canvas: _Canvas) -> None:
    """Darken whatever lies below the sun's ray over something higher."""
    height, (east, north, up) = canvas.height, canvas.flight.sun
    flat = math.hypot(east, north)
    drop = canvas.frame.resolution * up / flat  # metres that the ray sinks for each pixel that it runs
    ray, step = height.copy(), 1
    while step * drop < float(height.max()):  # strides double, so that 2, 4, 8 ... pixels take one pass each
        to, source = _shifted(height.shape, round(step * north / flat), round(-step * east / flat))
        behind = ray[source] - np.float32(step * drop)
        np.maximum(ray[to], behind, out=ray[to])
        step *= 2
    shade = cv2.GaussianBlur(np.clip((ray - height) / 0.5, 0, 1), (0, 0), 0.6)
    canvas.rgb *= 1 - shade[..., None] * np.array((0.58, 0.55, 0.47), np.float32)  # sky light is blue


def _shifted(shape: tuple[int, ...], down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where pixels go, and where they come from, when a picture is moved down and to the right."""
    rows, columns = shape
    to = slice(max(0, down), rows + min(0, down)), slice(max(0, right), columns + min(0, right))
    source = slice(max(0, -down), rows + min(0, -down)), slice(max(0, -right), columns + min(0, -right))
    return to, source


def _expose(canvas: _Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What the camera makes of it: lens, colour balance, gamma, saturation, noise."""
    flight = canvas.flight
    rgb = cv2.GaussianBlur(canvas.rgb, (0, 0), 0.55)
    rgb = rgb * (1 + 0.035 * _clouds(canvas.height.shape, {400: 1.0}, rng))[..., None]
    rgb = np.clip(rgb * (np.array(flight.gain, np.float32) / 255), 0, 1) ** np.float32(flight.gamma) * np.float32(255)
    gray = rgb.mean(2, keepdims=True)
    rgb = np.asarray(gray + (rgb - gray) * np.float32(flight.saturation), np.float32)
    rgb = rgb + rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(flight.noise)
    return np.clip(rgb + 0.5, 0, 255).astype(np.uint8)
