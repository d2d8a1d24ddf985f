"""Mined windows: places on empty ground where a model saw buildings, and their part in what is learned.

Here: the record that a year's model learns from them, `mined/YEAR.json`, and their weight. Not here: finding such
places and proving that they pay (groundplan/mining).

The record is given as a register is: nothing makes it but `groundplan mine`, so windows do not depend on predictions,
which depend on them.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.manifest import Content, checked, content_of
from groundplan.core.records import read_record, write_record
from groundplan.errors import Damaged, MissingInput
from groundplan.project import Project

if TYPE_CHECKING:
    import geopandas as gpd

AGAIN = "Mine again: `groundplan mine --year YEAR`, or take it back with --rounds 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """What a year's model learns from besides: how often it was mined, the file of windows, and what it holds."""

    generation: int
    key: str
    windows: int
    bytes: int
    sha256: str


def record_key(year: int) -> str:
    return f"mined/{year}.json"


def read_mined(project: Project, year: int) -> Mined | None:
    """What was mined for a year's model; None where nothing was. Raises Damaged."""
    try:
        raw = read_record(project.store, record_key(year), AGAIN)
    except MissingInput:
        return None
    raw.pop("format", None)
    try:
        return Mined(**raw)
    except TypeError as error:
        raise Damaged(project.store.uri(record_key(year)), f"it cannot be read ({error})", AGAIN) from error


def adopt(project: Project, year: int, data: bytes, generation: int, windows: int) -> Mined:
    """Have a year's model learn from mined windows: first the file, then the record that names it."""
    content = content_of(data)
    key = f"mined/{year}/generation-{generation}-{content.sha256[:16]}.parquet"
    mined = Mined(generation=generation, key=key, windows=windows, bytes=content.bytes, sha256=content.sha256)
    project.store.put(key, data)
    write_record(project.store, record_key(year), asdict(mined))
    return mined


def take_back(project: Project, year: int) -> bool:
    """Have a year's model learn from no mined window any more; whether it did."""
    if not project.store.exists(record_key(year)):  # a broken one is taken back too
        return False
    project.store.delete([record_key(year)])
    return True


def identity(mined: Mined | None) -> dict[str, Any]:
    """As part of a fingerprint: nothing where nothing was mined, so that other models stay as they are."""
    return {} if mined is None else {"mined": mined.sha256, "generation": mined.generation}


def load_mined(project: Project, mined: Mined) -> gpd.GeoDataFrame:
    """The windows, checked to be what was mined. Raises MissingInput, Damaged."""
    import geopandas as gpd

    content = Content(bytes=mined.bytes, sha256=mined.sha256)
    data = checked(project.store.get(mined.key), content, project.store.uri(mined.key), AGAIN)
    return gpd.read_parquet(io.BytesIO(data))


def with_mined(frame: gpd.GeoDataFrame, mined: gpd.GeoDataFrame, share: float) -> gpd.GeoDataFrame:
    """An index of windows with mined ones behind it, of at most `share` of all weight.

    mined: windows with col, row, size, geometry, and region and year where the index has them.
    """
    import pandas as pd

    if not len(mined):
        return frame
    rows = mined.assign(train=1.0, validation=0.0, test=0.0, building=0.0, mined=np.int64(1))
    weight = frame["weight"].to_numpy()
    total = max(float(weight.sum()), 1e-12)
    left, each = shares_of(weight / total, len(mined), share)
    each *= total / max(float(left.sum()), 1e-12)  # the others keep their weight, so theirs is measured by it
    rows = rows.assign(weight=round(float(each), 5))[[*frame.columns, "mined"]]
    both = pd.concat([frame.assign(mined=np.int64(0)), rows], ignore_index=True)
    return both.set_geometry("geometry").set_crs(frame.crs, allow_override=True)


def shares_of(share: np.ndarray, count: int, most: float) -> tuple[np.ndarray, float]:
    """Shares of all crops (sum 1) beside `count` mined windows: what stays for each, and what each mined one gets.

    Together the mined ones get at most `most`; none gets more than the window that is learned from most.
    """
    together = min(most, count * float(share.max(initial=0.0)))
    return share * (1 - together), together / max(count, 1)
