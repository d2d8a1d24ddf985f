"""Exact principal components from merged sums: many partitions, the result of one machine with all data.

Here: count, mean and scatter of a part, merging parts, the components that follow, and their bytes. Not here: which
parts there are and where they lie (reduced.py), or pictures (collections/report/figures.py).

Parts are merged by the pairwise formula of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances", 1979), for whole scatter matrices and in float64. Whatever the parts and their order, the
result is the same to rounding; in the same order it is the same to the bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

MOST_FEATURES = 8192  # of one image: a scatter matrix of that side is half a gigabyte
NEAR = 1e-6  # relative: loadings so near to the largest count as equal when a sign is chosen
CHUNK = 4096  # rows in float64 at a time
# NumPy reads an array's header by Python's own parser, which in CPython 3.11 keeps one depth for all threads: two that
# parse at the same moment end in a SystemError (python/cpython issue 106905).
ONE_PARSER = Lock()


@dataclass(frozen=True)
class Sums:
    """Sufficient statistics of a part. count: rows; mean: (D,); scatter: (D, D), sum of (x-mean)(x-mean)^T. float64."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Principal axes. mean: (D,); components: (k, D), unit rows, by falling variance; variance: (r,) of all r axes that
    have any, unbiased (n - 1); total: variance of all features together; count: rows they come from. All float64.
    """

    count: int
    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    total: float

    @property
    def kept(self) -> int:
        return len(self.components)

    @property
    def ratio(self) -> np.ndarray:
        """Share of the whole variance on each axis, (r,)."""
        return self.variance / self.total if self.total > 0 else np.zeros_like(self.variance)

    @property
    def explained(self) -> float:
        """Share of the variance on the kept components together."""
        return float(self.ratio[: self.kept].sum())


def no_sums(width: int) -> Sums:
    """Sums of nothing: merging them changes nothing."""
    return Sums(0, np.zeros(width), np.zeros((width, width)))


def sums_of(features: np.ndarray) -> Sums:
    """Sums of rows (N, D) of any float type; N may be 0. Raises ValueError for what is not finite or too wide."""
    _check(features)
    count, width = features.shape
    if not count:
        return no_sums(width)
    mean = features.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((width, width))
    for start in range(0, count, CHUNK):
        centered = features[start : start + CHUNK].astype(np.float64) - mean
        scatter += centered.T @ centered
    return Sums(count, mean, scatter)


def _check(features: np.ndarray) -> None:
    if features.shape[1] > MOST_FEATURES:
        raise ValueError(f"{features.shape[1]} features of an image; at most {MOST_FEATURES} can be reduced")
    if not np.isfinite(features).all():
        raise ValueError("a feature is not a finite number")


def merge(first: Sums, second: Sums) -> Sums:
    """Sums of two parts together."""
    if not first.count or not second.count:
        return second if not first.count else first
    count = first.count + second.count
    apart = second.mean - first.mean
    mean = first.mean + apart * (second.count / count)
    scatter = first.scatter + second.scatter
    scatter += np.outer(apart, apart) * (first.count * second.count / count)
    return Sums(count, mean, scatter)


def merge_all(parts: Iterable[Sums]) -> Sums:
    """Sums of all parts, one after the other; at most three are in memory. Raises ValueError when there is none."""
    whole: Sums | None = None
    for part in parts:
        if whole is not None and len(whole.mean) != len(part.mean):
            raise ValueError(f"a part has {len(part.mean)} features and another {len(whole.mean)}")
        whole = part if whole is None else merge(whole, part)
    if whole is None:
        raise ValueError("there is nothing to merge")
    return whole


def axes_of(sums: Sums, share: float) -> Axes:
    """Principal axes; as many components as it takes for more than `share` (0, 1] of the variance, all for 1.

    The sign of a component is such that its largest loading is positive. Raises ValueError below two rows.
    """
    if sums.count < 2:
        raise ValueError(f"components need two images or more, not {sums.count}")
    width = len(sums.mean)
    values, vectors = np.linalg.eigh(sums.scatter / (sums.count - 1))
    values, vectors = np.clip(values[::-1], 0.0, None), vectors[:, ::-1]
    total = float(np.trace(sums.scatter)) / (sums.count - 1)
    rank = min(width, sums.count - 1)  # what lies beyond is rounding
    values = values[:rank]
    if total <= 0:  # all images are the same: one axis without variance keeps the tables' form
        return Axes(count=sums.count, mean=sums.mean, components=np.eye(1, width), variance=np.zeros(1), total=0.0)
    kept = rank if share >= 1 else min(rank, int(np.searchsorted(np.cumsum(values / total), share, side="right")) + 1)
    return Axes(
        count=sums.count, mean=sums.mean, components=with_signs(vectors[:, :kept].T), variance=values, total=total
    )


def with_signs(components: np.ndarray) -> np.ndarray:
    """Rows turned so that the first of the largest loadings (by size, to a millionth) is positive."""
    size = np.abs(components)
    first = np.argmax(size >= size.max(axis=1, keepdims=True) * (1 - NEAR), axis=1)
    turned = components[np.arange(len(components)), first] < 0
    return np.ascontiguousarray(np.where(turned[:, None], -components, components))


def project(axes: Axes, features: np.ndarray) -> np.ndarray:
    """Rows (N, D) on the kept components: float32 (N, k)."""
    reduced = [
        (features[start : start + CHUNK].astype(np.float64) - axes.mean) @ axes.components.T
        for start in range(0, len(features), CHUNK)
    ]
    return np.concatenate(reduced).astype(np.float32) if reduced else np.empty((0, axes.kept), np.float32)


def pack(arrays: dict[str, Any]) -> bytes:
    """Arrays as an .npz without times: the same arrays, the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """What `pack` wrote. Raises ValueError for anything else."""
    with ONE_PARSER, np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def sums_to_bytes(sums: Sums) -> bytes:
    """Half of the scatter matrix is enough: it is symmetric."""
    triangle = sums.scatter[np.triu_indices(len(sums.mean))]
    return pack({"count": np.array(sums.count), "mean": sums.mean, "triangle": triangle})


def part_to_bytes(rows: np.ndarray) -> bytes:
    """Sums of rows, float32 (N, D), in the smaller of two forms: what `sums_to_bytes` writes, or the rows themselves.

    Up to D rows are smaller than their scatter matrix. Both are read as the same sums, to the bit.
    """
    _check(rows)
    return pack({"rows": rows}) if len(rows) <= rows.shape[1] else sums_to_bytes(sums_of(rows))


def sums_from_bytes(data: bytes) -> Sums:
    """What `part_to_bytes` or `sums_to_bytes` wrote."""
    arrays = unpack(data)
    if "rows" in arrays:
        return sums_of(arrays["rows"])
    width = len(arrays["mean"])
    scatter = np.zeros((width, width))
    scatter[np.triu_indices(width)] = arrays["triangle"]
    scatter += np.triu(scatter, 1).T
    return Sums(int(arrays["count"]), arrays["mean"], scatter)


def axes_to_bytes(axes: Axes) -> bytes:
    return pack(
        {
            "count": np.array(axes.count),
            "mean": axes.mean,
            "components": axes.components,
            "variance": axes.variance,
            "total": np.array(axes.total),
        }
    )


def axes_from_bytes(data: bytes) -> Axes:
    arrays = unpack(data)
    return Axes(
        count=int(arrays["count"]),
        mean=arrays["mean"],
        components=arrays["components"],
        variance=arrays["variance"],
        total=float(arrays["total"]),
    )
