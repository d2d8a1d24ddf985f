"""Export: a region's footprints as a file of the user's format.

Here: writing it whole or not at all. Not here: the dataset (footprints.py).
"""

from __future__ import annotations

from pathlib import Path

from groundplan.core.datum import shift_notes
from groundplan.core.geographic import DIGITS, WGS84
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.footprints import footprints
from groundplan.polygons.geoparquet import to_parquet
from groundplan.project import Project

LAYER = "footprints"
# RFC 7946: longitude and latitude without a `crs`, rings by the right hand, cut at the 180th meridian. GDAL transforms.
GEOJSON = {"RFC7946": "YES", "COORDINATE_PRECISION": str(DIGITS)}
FORMATS = {".parquet": "", ".fgb": "FlatGeobuf", ".gpkg": "GPKG", ".geojson": "GeoJSON"}


def export(project: Project, target: Path, region: str, year: int, notes: list[str] | None = None) -> int:
    """Write a region's footprints in the format of the file's ending, whole or not at all. Returns their number.

    notes: gets what a person should know of the file.
    """
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise BadConfig(str(target), f"'{suffix}' is no format", f"End the name with one of {', '.join(FORMATS)}")
    partition = Partition(year, region)
    frame = footprints.load(project, partition)
    if not target.parent.is_dir():
        raise BadConfig(str(target), "its folder does not exist", "Make it first")
    temporary = target.with_name(f".{target.stem}.part{suffix}")
    try:
        if suffix == ".parquet":
            temporary.write_bytes(to_parquet(frame))
        else:
            options = GEOJSON if suffix == ".geojson" else {}
            frame.to_file(temporary, driver=FORMATS[suffix], layer=LAYER, engine="pyogrio", **options)
        temporary.replace(target)
    except OSError as error:
        raise BadConfig(str(target), f"it cannot be written ({error.strerror})", "Choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)
    if suffix == ".geojson" and notes is not None and len(frame):
        tolerance = project.datum_tolerance
        notes += shift_notes(project.grid.crs, WGS84, frame.total_bounds, tolerance)
    return len(frame)
