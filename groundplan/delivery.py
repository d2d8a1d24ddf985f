"""Files in and out: delivering sheets, exporting footprints, comparing with a truth, clearing what nobody names.

Here: what a person does with files around a project. Not here: registers (registers.py) and regions (regions.py), which
have their own modules, or anything a run does.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from groundplan import evaluate, footprints, quality, registers, sheets, tiles
from groundplan.blocks import Manifest, Partition, need_manifest
from groundplan.errors import BadConfig, BadRegister, BadSheet
from groundplan.project import (
    BESIDE_ENDINGS,
    REFERENCE,
    SHEET_ENDINGS,
    Project,
    check_region_name,
    landed_files,
    landing_prefix,
)
from groundplan.regions import check_known
from groundplan.steps import STEPS
from groundplan.store import Found

MOST_NAME = 200  # bytes of a file's name: file systems allow 255, and endings are added
FORMATS = {".parquet": "", ".fgb": "FlatGeobuf", ".gpkg": "GPKG", ".geojson": "GeoJSON"}


@dataclass(frozen=True, slots=True)
class Delivered:
    """A file that was copied or referred to."""

    name: str
    bytes: int
    state: str
    hint: str = ""


def deliver(project: Project, files: list[Path], region: str, year: int, reference: bool = False) -> list[Delivered]:
    """Copy sheets, and the files beside them, into the landing folder, or refer to them where they lie.

    Nothing is copied unless all can be. Raises BadConfig, BadSheet.
    """
    check_region_name(region)
    check_known(project, region)
    partition = Partition(year, region)
    for file in files:
        _check_file(project, file, reference)
    there = {item.key: item.size for item in landed_files(project, partition)}
    done = []
    for file in files:
        key = f"{landing_prefix(partition)}/{file.name}{REFERENCE if reference else ''}"
        state = "replaced" if key in there else ("referred to" if reference else "copied")
        if reference:
            project.store.put(key, json.dumps({"url": file.resolve().as_uri()}).encode())
        else:
            project.store.put_file(key, file)
        done.append(Delivered(file.name, file.stat().st_size, state, _alignment_hint(project, key)))
    return done


def _check_file(project: Project, file: Path, reference: bool) -> None:
    if not file.is_file():
        raise BadSheet(str(file), "there is no such file", "Check the path; nothing was copied")
    if not file.name.lower().endswith((*SHEET_ENDINGS, *BESIDE_ENDINGS)):
        raise BadSheet(str(file), "it is no image by its name", f"Give files of {', '.join(SHEET_ENDINGS)}")
    if not file.name.isprintable() or len(file.name.encode()) > MOST_NAME:
        raise BadSheet(
            repr(file.name), "no store can hold a file of that name", f"Rename it: printable, at most {MOST_NAME} bytes"
        )
    if reference:
        url = file.resolve().as_uri()
        roots = project.settings.imagery.reference_roots
        if not any(url.startswith(root.rstrip("/") + "/") for root in roots):
            raise BadConfig(
                str(file),
                "it lies below none of the folders that may be referred to",
                f'Set imagery.reference_roots = ["{file.resolve().parent.as_uri()}"]',
            )


def _alignment_hint(project: Project, key: str) -> str:
    """Say once when sheets are off the grid by a fraction of a pixel: another origin would spare resampling."""
    from rasterio.crs import CRS

    try:
        with sheets.opened(project, key) as source:
            transform, crs = source.transform, source.crs
    except BadSheet:
        return ""  # the build says it, with the reason, and sets the sheet aside
    same = crs is not None and crs == CRS.from_user_input(project.grid.crs)
    if not same or project.grid.aligned(transform) or not abs(transform.a / project.grid.resolution - 1) <= 1e-6:
        return ""
    x, y = project.grid.pixel(transform.c, transform.f)
    if not (math.isfinite(x) and math.isfinite(y)):
        return ""
    return (
        f"Sheets lie {x % 1:.3f}, {y % 1:.3f} pixels off the grid and will be resampled; "
        "move grid.origin by that much to avoid it (before blocks exist)."
    )


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
            temporary.write_bytes(footprints.to_parquet(frame))
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


def compare(
    project: Project, region: str, year: int, truth: Path, extent: Path | None, picture: Path | None
) -> dict[str, evaluate.Scores]:
    """Scores of a region's footprints by split: 'all' first, and each split where the model learned here."""
    import shapely

    partition = Partition(year, region)
    real = registers.read_vector(truth).to_crs(project.grid.crs)
    real = real[real.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    real = real.set_geometry(real.geometry.make_valid()).explode(index_parts=False)
    real = real[real.geometry.geom_type == "Polygon"].reset_index(drop=True)
    if extent is not None:
        area = shapely.union_all(registers.read_vector(extent).to_crs(project.grid.crs).geometry.make_valid().values)
    else:
        area = shapely.convex_hull(shapely.union_all(real.geometry.values))
    scores = quality.score_splits(project, partition, real, area)
    if not scores:
        raise BadRegister(
            str(extent or truth), f"it covers no imaged ground of {partition}", "Check its CRS, the region and the year"
        )
    if picture is not None:
        picture.write_bytes(_picture(project, partition, real))
    return scores


def _picture(project: Project, partition: Partition, real: Any) -> bytes:
    from affine import Affine

    from groundplan.pictures import overview, rgb

    objects = need_manifest(project.store, tiles.DATASET, partition).objects
    canvas, (left, top, pixel) = overview(project, objects, 1600)
    frame = footprints.load_around(project, partition)
    transform = Affine(pixel, 0, left, 0, -pixel, top)
    return evaluate.compare_picture(rgb(canvas), frame, real, transform, side=1600, limit=2_000_000)


def garbage(project: Project, hours: float) -> list[Found]:
    """Objects of datasets that no manifest names, journals and checkpoints of what is committed; sorted by key."""
    from groundplan.collections import steps as collections

    objects = project.store.list()
    named: set[str] = set()
    for item in objects:
        if item.key.startswith("manifests/"):
            manifest = Manifest.from_json(project.store.get(item.key))
            named |= {made.key for made in manifest.objects.values()}
    young = datetime.now(UTC) - timedelta(hours=hours)
    rooms = {*STEPS, *collections.STEPS, "checkpoints", "journal"}
    return [
        item
        for item in objects
        if item.key.split("/", 1)[0] in rooms and item.key not in named and item.modified <= young
    ]
