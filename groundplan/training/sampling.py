"""Sampling by strata: which window each crop is drawn from, in an order that a resumed training repeats.

Here: strata, their shares, and the order. Not here: pixels, and how a crop lies in its window (augment.py,
device_augment.py). numpy alone, so that the order is the same wherever the pixels are.

A country's windows do not fit into memory, and its heaviest ones are its densest corners. So windows are drawn by
strata of region, year and density, in chunks: within a chunk of steps only its own few windows are needed, and each
chunk follows from the seed and its number alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DENSITIES = (0.03, 0.2)
"""Shares of a window that is building, at which one class of density ends and the next begins: empty, sparse, dense."""
LEAST = 0.1
"""Least share of a class of density in its region and year, where there is any of it: empty ground teaches too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What sampling needs to know of windows; all arrays have one entry per window."""

    region: np.ndarray
    """Names of regions."""
    year: np.ndarray
    building: np.ndarray
    """Share that is building, 0 to 1."""
    weight: np.ndarray
    """How much a window teaches against others of its stratum; 0: nothing."""


def density(building: np.ndarray) -> np.ndarray:
    """Class of density by the share of building, 0 to 2."""
    return np.digitize(building, DENSITIES)


def shares(places: Places, trust: Mapping[str, float], age: Mapping[int, float] | None = None) -> np.ndarray:
    """Share of all crops that comes from each window, float64, of sum 1.

    Regions by the root of what they teach and by trust in their labels, so that a small one is not drowned in a large
    one; the years of a region alike, or as `age` weights them; in a year, classes of density by what they teach, but
    none below LEAST; in a stratum, windows by weight. A region without trust is left out.

    Raises:
        ValueError: no window has any weight.
    """
    found = np.zeros(len(places.weight))
    for region in np.unique(places.region):
        here = (places.region == region) & (places.weight > 0)
        years = np.unique(places.year[here])
        worth = trust.get(str(region), 1.0) * np.sqrt(places.weight[here].sum() / max(len(years), 1))
        parts = np.array([1.0 if age is None else age[int(year)] for year in years])
        for year, part in zip(years, parts / parts.sum(), strict=True):
            found += worth * part * _in_year(places, here & (places.year == year))
    if not found.any():
        raise ValueError("no window has any weight")
    return found / found.sum()


def _in_year(places: Places, here: np.ndarray) -> np.ndarray:
    weight = np.where(here, places.weight, 0.0)
    classes = density(places.building)
    sums = np.array([weight[classes == each].sum() for each in range(len(DENSITIES) + 1)])
    part = np.where(sums > 0, np.maximum(sums / sums.sum(), LEAST), 0)
    return weight * (part / part.sum() / np.maximum(sums, 1e-12))[classes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The endless order of windows. Chunk k draws `held` windows, and uses each `uses` times, shuffled.

    Systematic draws: in each chunk every stratum has its share to within one window.
    """

    share: np.ndarray
    """Of all crops, by window; sum 1."""
    seed: int
    batch: int
    held: int = 1024
    uses: int = 1

    def __post_init__(self) -> None:
        if self.held * self.uses % self.batch:
            raise ValueError(f"{self.held} windows used {self.uses} times are no whole batches of {self.batch}")

    @property
    def steps(self) -> int:
        """Steps of a chunk."""
        return self.held * self.uses // self.batch

    def chunk(self, number: int) -> np.ndarray:
        """Windows of a chunk, as indices, in the order of their use: int64 (steps * batch,)."""
        rng = np.random.default_rng([self.seed, 1, number])
        ends = np.cumsum(self.share)
        drawn = np.searchsorted(ends / ends[-1], (rng.random() + np.arange(self.held)) / self.held, side="right")
        return rng.permutation(np.repeat(np.minimum(drawn, len(self.share) - 1), self.uses))

    def of_step(self, step: int) -> np.ndarray:
        """Windows of a step's crops, as indices: int64 (batch,)."""
        number, within = divmod(step, self.steps)
        return self.chunk(number)[within * self.batch : (within + 1) * self.batch]


def stratum_names(places: Places) -> Sequence[str]:
    """Name of each window's stratum, for reports: region, year, class of density."""
    classes = density(places.building)
    names = ("empty", "sparse", "dense")
    return [f"{r}-{y}-{names[d]}" for r, y, d in zip(places.region, places.year, classes, strict=True)]
