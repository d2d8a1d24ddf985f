"""A layer of buildings as files of the formats that others read: their types, names, words and limits.

Here: one format after the other. Not here: what is exported, and that readers see all of it or nothing (export.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.core.geographic import WGS84
from groundplan.errors import BadConfig
from groundplan.footprints import styles
from groundplan.polygons.geoparquet import to_parquet

if TYPE_CHECKING:
    import geopandas as gpd

LAYER = "footprints"
DEGREE_DIGITS = 7  # of a degree: a centimetre, as RFC 7946 advises
METRE_DIGITS = 3
MOST_IN_NAME = 10  # characters of a Shapefile's column
MOST_SHAPEFILE = 2**31 - 1  # bytes of each of a Shapefile's parts
NOT_STATED = "not stated"
FORMATS = {
    ".parquet": "",
    ".fgb": "FlatGeobuf",
    ".gpkg": "GPKG",
    ".geojson": "GeoJSON",
    ".shp": "ESRI Shapefile",
    ".csv": "CSV",
}
WORDLESS = (".shp", ".csv")  # no room in them for a title or a licence


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWords:
    """What a file says of itself. None: not known."""

    title: str
    description: str
    attribution: str | None = None
    licence: str | None = None

    @property
    def whole(self) -> str:
        """All of it in one text, for formats with one place for words."""
        return f"{self.description} Attribution: {self.told['attribution']}. Licence: {self.told['licence']}."

    @property
    def told(self) -> dict[str, str]:
        return {
            "title": self.title,
            "description": self.description,
            "attribution": self.attribution or NOT_STATED,
            "licence": self.licence or NOT_STATED,
        }


def write_layer(frame: gpd.GeoDataFrame, file: Path, words: LayerWords | None, styled: bool = True) -> list[Path]:
    """Write buildings to a new file in the format of its ending. Returns the file's parts, itself as the last.

    styled: whether a style of footprints goes with it; it colours them by their confidence.
    Raises OSError, BadConfig where the format cannot hold them.
    """
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        file.write_bytes(to_parquet(frame, words.told if words else {}))
    else:
        _write_by_gdal(frame, file, suffix, words, styled)
    beside = [file.with_suffix(".qml")] if styled else []
    for path in beside:
        path.write_text(styles.qml(), "utf-8")
    if words and suffix in WORDLESS:
        beside.append(file.with_suffix(".qmd"))
        beside[-1].write_text(styles.qmd(**words.told), "utf-8")
    parts = [path for path in file.parent.glob(f"{_literally(file.stem)}.*") if path not in (file, *beside)]
    return [*beside, *sorted(parts), file]


def _write_by_gdal(frame: gpd.GeoDataFrame, file: Path, suffix: str, words: LayerWords | None, styled: bool) -> None:
    import warnings

    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

    shaped = {".shp": short_named, ".csv": with_place}.get(suffix, lambda given: given)(frame)
    layer = {} if suffix in WORDLESS else {"layer": LAYER}  # the file's name is that of the layer
    more = {"layer_metadata": words.told} if words and suffix in (".gpkg", ".fgb") else {}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")
            pyogrio.write_dataframe(
                shaped,
                file,
                driver=FORMATS[suffix],
                use_arrow=True,  # the other way knows no dates
                layer_options=_options(suffix, words),
                **layer,
                **more,
            )
    except (DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError) as error:
        raise _refusal(file, suffix, error) from error
    if suffix == ".gpkg" and styled:
        styles.add_style(file, LAYER)


def _refusal(file: Path, suffix: str, error: Exception) -> Exception:
    told = str(error).splitlines()[0][:160]
    if suffix == ".shp" and "2GB" in told.replace(" ", ""):
        return BadConfig(file.name, "a Shapefile holds 2 GB at most", "Take .gpkg, .fgb or .parquet, or fewer regions")
    return OSError(0, told)


def _options(suffix: str, words: LayerWords | None) -> dict[str, str]:
    """GDAL's options for a new layer."""
    if suffix == ".geojson":
        # longitude and latitude without a `crs`, rings by the right hand, cut at the 180th meridian: GDAL transforms
        options = {"RFC7946": "YES", "COORDINATE_PRECISION": str(DEGREE_DIGITS)}
        if words:
            members = {"title": words.title, "attribution": words.attribution, "licence": words.licence}
            data = json.dumps({"type": "FeatureCollection", **members}, ensure_ascii=False)
            options |= {"NATIVE_DATA": data, "NATIVE_MEDIA_TYPE": "application/vnd.geo+json"}
            options |= {"DESCRIPTION": words.description}
        return options
    fixed: dict[str, dict[str, str]] = {
        ".shp": {"ENCODING": "UTF-8", "2GB_LIMIT": "YES"},
        ".csv": {"GEOMETRY": "AS_WKT"},
        ".gpkg": {"IDENTIFIER": words.title, "DESCRIPTION": words.whole} if words else {},
        ".fgb": {"TITLE": words.title, "DESCRIPTION": words.whole} if words else {},
    }
    return fixed[suffix]


def short_names(columns: Iterable[str]) -> dict[str, str]:
    """Names for a Shapefile: at most 10 characters, each once, also without regard to case; numbered where needed."""
    given: dict[str, str] = {}
    taken: set[str] = set()
    for column in columns:
        name, number = column[:MOST_IN_NAME], 1
        while name.lower() in taken:
            number += 1
            name = f"{column[: MOST_IN_NAME - len(str(number)) - 1]}_{number}"
        taken.add(name.lower())
        given[column] = name
    return given


def short_named(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    return frame.rename(columns=short_names(columns))


def with_place(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """With a point inside each building, and the CRS by name: a table has no other place for them."""
    import shapely

    points = shapely.point_on_surface(frame.geometry.values)
    digits = DEGREE_DIGITS if frame.crs is not None and frame.crs.is_geographic else METRE_DIGITS
    name = "" if frame.crs is None else frame.crs.to_string()
    added: dict[str, Any] = {"x": shapely.get_x(points).round(digits), "y": shapely.get_y(points).round(digits)}
    return frame.assign(**added, crs_name=name)


def _literally(stem: str) -> str:
    import glob

    return glob.escape(stem)


def knows_only_degrees(suffix: str, crs: str | None) -> bool:
    """Whether a CRS is asked for that the format has no word for: GeoJSON is in longitude and latitude."""
    from pyproj import CRS

    return suffix == ".geojson" and crs is not None and CRS.from_user_input(crs) != CRS.from_user_input(WGS84)
