"""Drift: whether a unit of imagery is unlike the units that the model is known to do well on.

Here: comparing a unit with units, by pure functions. Not here: the figures (figures.py), where units come from
(report.py). A unit is a region in a year; of single images, a camera's day. Blocks of one region are alike, so pooling
blocks calls every second clean region unusual: units are compared with units, and how much they differ when nothing is
wrong is learnt from the reference units themselves, each against the others.

Of each figure three things are asked: is the unit's median where medians lie, is its spread what spreads are, is its
distribution (Kolmogorov-Smirnov) no further from the others' than theirs are from each other. All answers together
pass Benjamini and Hochberg's procedure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundplan.monitoring.figures import FIGURES, Sort

KEPT = 33  # values of a figure kept of a unit: its quantiles
FEWEST_VALUES = 4  # blocks of a unit that can be judged
FEWEST_SPREAD = 12  # of which a spread can be told
RATE = 0.005  # of Benjamini and Hochberg
WIDER = float(np.log(2))  # how many times the spread of others is looked at
LEVEL, SPREAD, SHAPE = "level", "spread", "shape"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A region in a year, or a camera's day. values: of each figure at most KEPT numbers, sorted."""

    name: str
    values: Mapping[str, np.ndarray]

    @property
    def count(self) -> int:
        return max((len(found) for found in self.values.values()), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusual:
    """One figure of a unit that is unlike the reference, and in what. usual: 10 to 90 % of reference medians."""

    figure: str
    sort: str
    value: float
    usual: tuple[float, float]
    score: float
    """Deviations from the reference units' centre."""
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureVerdict:
    """One figure of a unit. value: its median; usual: as of Unusual. usual, out: None where nothing can be said."""

    figure: str
    value: float
    usual: tuple[float, float] | None
    out: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """Whether a unit is like the reference. out: None where the reference, or the unit, is too small to say."""

    name: str
    out: bool | None
    unusual: tuple[Unusual, ...] = ()
    figures: tuple[FigureVerdict, ...] = ()
    """Of every figure that the unit states."""
    compared: int = 0
    """Reference units."""
    why: str = ""

    @property
    def cause(self) -> str:
        return likely_cause([found.figure for found in self.unusual], [found.score for found in self.unusual])

    def facts(self) -> dict[str, Any]:
        """What every report repeats of it."""
        names = ("out", "why", "cause", "compared", "unusual", "figures")
        return {name: getattr(self, name) for name in names}


def unit_of(name: str, blocks: Sequence[Mapping[str, float]]) -> Unit:
    """A unit from the figures of its blocks, or images; of many, KEPT quantiles."""
    values = {}
    for figure in FIGURES:
        found = np.sort([block[figure] for block in blocks if figure in block])
        if len(found) > KEPT:
            found = np.quantile(found, (np.arange(KEPT) + 0.5) / KEPT)
        if len(found):
            values[figure] = found
    return Unit(name=name, values=values)


class Reference:
    """Units of which nothing is wrong, and how they differ from each other, worked out once for units of a size."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = tuple(units)
        self._norms: dict[tuple[str, int], _Norm | None] = {}

    def without(self, name: str) -> Reference:
        """Itself, where no unit has that name: a unit is never compared with itself."""
        left = [unit for unit in self.units if unit.name != name]
        return self if len(left) == len(self.units) else Reference(left)

    def norm(self, figure: str, count: int) -> _Norm | None:
        """For units of `count` values; None where fewer than three units state the figure.

        A small unit is noisier than a large one: it is compared with as small parts of the others.
        """
        if (figure, count) not in self._norms:
            rng = np.random.default_rng([count, len(self.units)])
            known = [unit.values[figure] for unit in self.units if len(unit.values.get(figure, ())) >= FEWEST_VALUES]
            thinned = [np.sort(rng.choice(v, count, replace=False)) if len(v) > count else v for v in known]
            self._norms[figure, count] = _norm_of(thinned, FIGURES[figure].least) if len(thinned) >= 3 else None
        return self._norms[figure, count]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Norm:
    """Of one figure of the reference. grid: where its distributions are compared; mean: of their shares below."""

    medians: np.ndarray
    spreads: np.ndarray
    grid: np.ndarray
    mean: np.ndarray
    shapes: np.ndarray


def _norm_of(values: Sequence[np.ndarray], least: float) -> _Norm:
    grid = np.sort(np.concatenate(values))
    shares = np.array([np.searchsorted(found, grid, "right") / len(found) for found in values])
    rest = (shares.sum(axis=0) - shares) / (len(values) - 1)
    return _Norm(
        medians=np.array([np.median(found) for found in values]),
        spreads=np.array([_spread(found, least) for found in values]),
        grid=grid,
        mean=shares.mean(axis=0),
        shapes=_shape(np.abs(shares - rest).max(axis=1)),
    )


def compare(unit: Unit, reference: Reference, least_units: int = 5, rate: float = RATE) -> Likeness:
    """Whether a unit is out, and in which figures, most unusual first. rate: of false discoveries."""
    others = reference.without(unit.name)
    count = len(others.units)
    why = ""
    if count < least_units:
        why = f"{count} reference units; at least {least_units} are needed"
    elif unit.count < FEWEST_VALUES:
        why = f"{unit.count} blocks or images; at least {FEWEST_VALUES} are needed"
    if why:
        return Likeness(name=unit.name, out=None, figures=figures_of(unit), compared=count, why=why)
    found = [one for figure in unit.values for one in _judged(figure, unit.values[figure], others)]
    chosen = _discoveries([one.p for one in found], rate)
    unusual = sorted((one for one, taken in zip(found, chosen, strict=True) if taken), key=lambda one: one.p)
    figures = figures_of(unit, {one.figure: one.usual for one in found}, {one.figure for one in unusual})
    return Likeness(name=unit.name, out=bool(unusual), unusual=tuple(unusual), figures=figures, compared=count)


def figures_of(
    unit: Unit, usual: Mapping[str, tuple[float, float]] | None = None, out: Collection[str] = ()
) -> tuple[FigureVerdict, ...]:
    """What is said of each of its figures. usual: of those that could be judged; out: those that are unlike."""
    known = usual or {}
    return tuple(
        FigureVerdict(
            figure=name,
            value=float(np.median(values)),
            usual=known.get(name),
            out=name in out if name in known else None,
        )
        for name, values in unit.values.items()
    )


def _judged(figure: str, mine: np.ndarray, others: Reference) -> list[Unusual]:
    """What the three questions say of one figure; nothing where too few units state it."""
    norm = others.norm(figure, len(mine)) if len(mine) >= FEWEST_VALUES else None
    if norm is None:
        return []
    least, value = FIGURES[figure].least, float(np.median(mine))
    furthest = np.abs(np.searchsorted(mine, norm.grid, "right") / len(mine) - norm.mean).max()
    asked = {
        LEVEL: _p(value, norm.medians, least),
        SPREAD: _p(_spread(mine, least), norm.spreads, WIDER) if len(mine) >= FEWEST_SPREAD else (0.0, 1.0),
        # another distribution about the same median is what the spread tells
        SHAPE: _p(float(_shape(furthest)), norm.shapes, 0.1, one_sided=True)
        if abs(value - float(np.median(norm.medians))) >= least
        else (0.0, 1.0),
    }
    low, high = (float(found) for found in np.quantile(norm.medians, (0.1, 0.9)))
    return [
        Unusual(figure=figure, sort=sort, value=value, usual=(low, high), score=score, p=p)
        for sort, (score, p) in asked.items()
    ]


def _spread(values: np.ndarray, least: float) -> float:
    """ln of the standard deviation; least keeps figures that hardly vary from varying wildly in it."""
    return float(np.log(values.std() + least))


def _shape(distance: np.ndarray | float) -> np.ndarray:
    """ln of a distance between distributions, 0..1: so it is about normal."""
    return np.log(np.asarray(distance) + 0.05)


def _p(value: float, usual: np.ndarray, least: float, one_sided: bool = False) -> tuple[float, float]:
    """Deviations from the centre, and how often units of which nothing is wrong lie so far out (Student's t)."""
    from scipy.stats import t

    centre = float(np.median(usual))
    if abs(value - centre) < least:
        return 0.0, 1.0
    count = len(usual)
    robust = 1.4826 * float(np.median(np.abs(usual - centre)))
    scale = max(robust, 0.8 * float(usual.std(ddof=1)), least / 4) * np.sqrt(1 + 1 / count)
    score = (value - centre) / scale
    tail = float(t.sf(score if one_sided else abs(score), count - 1))
    return float(score), min(1.0, tail if one_sided else 2 * tail)


def _discoveries(ps: Sequence[float], rate: float) -> np.ndarray:
    """Benjamini and Hochberg: which of many answers are taken, so that a share of `rate` of them is wrong at most."""
    order = np.argsort(ps)
    ranked = np.asarray(ps, float)[order]
    good = np.flatnonzero(ranked <= rate * np.arange(1, len(ranked) + 1) / len(ranked))
    taken = np.zeros(len(ranked), bool)
    if len(good):
        taken[order[: good[-1] + 1]] = True
    return taken


def most_unusual(
    blocks: Mapping[str, Mapping[str, float]], verdict: Likeness, reference: Reference, most: int = 3
) -> list[str]:
    """Names of the blocks that differ most in the figures that are out; of a clean unit, in all figures."""
    figures = list(dict.fromkeys(one.figure for one in verdict.unusual)) or list(FIGURES)
    usual = {}
    for figure in figures:
        found = [unit.values[figure] for unit in reference.units if figure in unit.values]
        if found:
            low, middle, high = np.quantile(np.concatenate(found), (0.25, 0.5, 0.75))
            usual[figure] = middle, high - low + FIGURES[figure].least

    def distance(name: str) -> float:
        here = [abs(blocks[name][figure] - m) / s for figure, (m, s) in usual.items() if figure in blocks[name]]
        return float(np.mean(here)) if here else 0.0

    return sorted(blocks, key=lambda name: (-distance(name), name))[:most]


CAUSES: tuple[tuple[frozenset[Sort], str], ...] = (
    (frozenset({Sort.COMPRESSION}), "stronger compression than before: ask for the original files"),
    (frozenset({Sort.DETAIL}), "less or more detail: blur, another resolution, or resampling on the way"),
    (frozenset({Sort.COLOUR}), "other colours: camera, season, or white balance"),
    (frozenset({Sort.LIGHT}), "other light: exposure, gamma, time of day, or haze"),
)
OF_MODEL = (
    "the imagery is as before and the predictions are not: the model, its weights or its settings; or the ground itself"
)
OF_BUILDINGS = "the imagery is as before and the buildings are not: the settings of footprints, or the ground itself"


def likely_cause(figures: Sequence[str], scores: Sequence[float]) -> str:
    """In words, from which kinds of figures are out; the kind with the greatest deviation is named first."""
    strength: dict[Sort, float] = {}
    for figure, score in zip(figures, scores, strict=True):
        kind = FIGURES[figure].kind
        strength[kind] = max(strength.get(kind, 0.0), abs(score))
    inputs = [kind for kind in strength if kind not in (Sort.PREDICTION, Sort.BUILDINGS)]
    if not strength:
        return ""
    if not inputs:
        return OF_MODEL if Sort.PREDICTION in strength else OF_BUILDINGS
    if len(inputs) == 4:
        return "all about the imagery differs: another camera, or another kind of place"
    words = [text for kinds, text in CAUSES if kinds & set(inputs)]
    ranked = sorted(
        words, key=lambda text: -max(strength.get(k, 0.0) for kinds, t in CAUSES if t == text for k in kinds)
    )
    return "; ".join(ranked)


# ---------------------------------------------------------------------------------------------------- the alarm


def alarming(last: Sequence[bool], night: Sequence[bool], share: float = 0.1) -> str:
    """Why an alarm is due; '' where it is not. last: of units judged lately, in order; night: of those of one night.

    Two of the last three, or more than a share of a night's.
    """
    recent = list(last)[-3:]
    if sum(recent) >= 2:
        return f"{sum(recent)} of the last {len(recent)} are unlike the reference"
    if night and sum(night) > share * len(night):
        return f"{sum(night)} of the night's {len(night)} are unlike the reference"
    return ""
