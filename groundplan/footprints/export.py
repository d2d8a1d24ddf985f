"""Export: footprints of regions and years as a file of the user's format.

Here: what such a file holds and says of itself, and that readers see all of it or nothing. Not here: the dataset
(footprints.py), the formats (layer_files.py), QGIS's styles (styles.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groundplan.core.datum import shift_notes
from groundplan.core.geographic import WGS84
from groundplan.core.manifest import committed
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.footprints import footprints
from groundplan.footprints.layer_files import FORMATS, LayerWords, knows_only_degrees, write_layer
from groundplan.imagery.credits import Credits, credits_of
from groundplan.project import Project

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["FORMATS", "LayerWords", "export", "export_all", "layer", "layer_words", "write"]

FIRST = ("id", "region", "year", "confidence", "area_m2", "image_date")  # columns that a person looks at


def export(project: Project, target: Path, region: str, year: int, notes: list[str] | None = None) -> int:
    """Write a region's footprints in the format of the file's ending, whole or not at all. Returns their number.

    notes: gets what a person should know of the file.
    """
    return export_all(project, target, [Partition(year, region)], notes)[0]


def export_all(
    project: Project,
    target: Path,
    partitions: Sequence[Partition],
    notes: list[str] | None = None,
    crs: str | None = None,
) -> tuple[int, list[Partition]]:
    """Write the footprints of several regions and years to one file, with columns that say which is whose.

    crs: of the file, the grid's if None; GeoJSON is in longitude and latitude always. Areas stay those of the grid.
    Returns the number of buildings, and what is not in it since it was not made yet. Raises MissingInput where nothing
    was, BadConfig.
    """
    import geopandas as gpd
    import pandas as pd

    check_target(target, crs)
    made = {one.partition for one in committed(project.store, footprints.DATASET)}
    there = [partition for partition in partitions if partition in made] or list(partitions)
    frames = [layer(footprints.load(project, partition), partition) for partition in there]
    # only what holds buildings: the types of an empty table's columns would spoil the others'
    full = [frame for frame in frames if len(frame)] or frames[:1]
    frame = gpd.GeoDataFrame(pd.concat(full, ignore_index=True), crs=project.grid.crs)
    write(frame if crs is None else frame.to_crs(crs), target, layer_words(project, there))
    to = WGS84 if target.suffix.lower() == ".geojson" else crs
    if to is not None and notes is not None and len(frame):
        notes += shift_notes(project.grid.crs, to, frame.total_bounds, project.datum_tolerance)
    return len(frame), [partition for partition in partitions if partition not in made]


def layer(frame: gpd.GeoDataFrame, partition: Partition) -> gpd.GeoDataFrame:
    """Stored footprints as they are given on: with region and year, dates as dates, units in the names."""
    given = frame.rename(columns={"area": "area_m2"})
    given["region"], given["year"] = partition.region, partition.year
    given["year"] = given["year"].astype("int32")
    for name in ("confidence", *(name for name in footprints.PROBABILITIES if name in given)):
        given[name] = given[name].astype("float64").round(4)  # 0.835, not 0.83499998
    given["image_date"] = dates(given["image_date"])
    first = [name for name in FIRST if name in given]
    return given[[*first, *(name for name in given.columns if name not in first)]]


def dates(texts: Iterable[str | None]) -> object:
    """ISO dates as a type that formats know as a day; null stays null."""
    from datetime import date

    import pandas as pd
    import pyarrow as pa

    days = [date.fromisoformat(text) if isinstance(text, str) else None for text in texts]
    return pd.array(days, dtype=pd.ArrowDtype(pa.date32()))


def layer_words(project: Project, partitions: Sequence[Partition]) -> LayerWords:
    """Title, description, attribution and licence of a file with the footprints of regions and years."""
    told = [credits_of(project, partition) for partition in partitions]
    regions = sorted({partition.region for partition in partitions})
    years = sorted({partition.year for partition in partitions})
    of = regions[0] if len(regions) == 1 else f"{len(regions)} regions"
    when = str(years[0]) if len(years) == 1 else f"{years[0]} to {years[-1]}"
    return LayerWords(
        title=f"Building footprints of {of}, {when}",
        description="Buildings found in aerial imagery by Groundplan. confidence: mean building probability, 0 to 1. "
        f"area_m2: square metres in {project.grid.crs}. image_date: day of the imagery, null where only its year is "
        "known.",
        attribution=_distinct([credits.line for credits in told]),
        licence=_distinct([_licence(credits) for credits in told]),
    )


def _licence(credits: Credits) -> str | None:
    """Of the footprints, where it is stated; that of the imagery is named beside it and no licence of theirs."""
    return credits.footprints.licence


def _distinct(texts: Sequence[str | None]) -> str | None:
    return "; ".join(dict.fromkeys(text for text in texts if text)) or None


def check_target(target: Path, crs: str | None = None) -> None:
    """Raise BadConfig for a file that cannot be written, before anything is read."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise BadConfig(str(target), f"'{suffix}' is no format", f"End the name with one of {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise BadConfig(str(target), "its folder does not exist", "Make it first")
    if crs is None:
        return
    try:
        CRS.from_user_input(crs)
    except CRSError as error:
        raise BadConfig(f"crs '{crs}'", "PROJ knows none of that name", "Give one such as EPSG:28992") from error
    if knows_only_degrees(suffix, crs):
        raise BadConfig(
            str(target), "GeoJSON is in longitude and latitude (RFC 7946)", "Leave out --crs, or take .gpkg"
        )


def write(frame: gpd.GeoDataFrame, target: Path, words: LayerWords | None = None, styled: bool = True) -> Path:
    """Write buildings in the format of the file's ending, with a style for QGIS beside it if they are `styled`.

    A file is whole or not there; of one in several parts, the part that is named comes last. A style that lies there
    already is somebody's own, and stays. Raises BadConfig.
    """
    check_target(target)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".groundplan-", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        for part in write_layer(frame, folder / target.name, words, styled):
            place = target.with_name(part.name)
            if part.suffix != ".qml" or not place.exists():
                part.replace(place)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def _unwritable(target: Path, error: OSError) -> BadConfig:
    return BadConfig(str(target), f"it cannot be written ({error.strerror})", "Choose another place")
