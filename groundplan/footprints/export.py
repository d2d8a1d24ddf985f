"""Export: a region's footprints as a file of the user's format.

Here: writing it whole or not at all. Not here: the dataset (footprints.py).
"""

from __future__ import annotations

from pathlib import Path

from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.footprints import footprints
from groundplan.polygons.geoparquet import to_parquet
from groundplan.project import Project

FORMATS = {".parquet": "", ".fgb": "FlatGeobuf", ".gpkg": "GPKG", ".geojson": "GeoJSON"}


def export(project: Project, target: Path, region: str, year: int) -> int:
    """Write a region's footprints in the format of the file's ending, whole or not at all. Returns their number."""
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
        elif suffix == ".geojson":  # the format is defined in longitude and latitude
            frame.to_crs("EPSG:4326").to_file(temporary, driver="GeoJSON", engine="pyogrio")
        else:
            frame.to_file(temporary, driver=FORMATS[suffix], layer="footprints", engine="pyogrio")
        temporary.replace(target)
    except OSError as error:
        raise BadConfig(str(target), f"it cannot be written ({error.strerror})", "Choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)
    return len(frame)
