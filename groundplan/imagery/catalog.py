"""Sheet catalog: image files as delivered, checked and listed.

Here: the step from a landing folder to its catalogue (STAC items in GeoParquet), and what a sheet's neighbours say of
its place. Not here: checking one (validation.py), opening and reading it (sheet.py), a block's sheets (tiles.py).
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

import numpy as np

from groundplan.core.datum import grids_in_fingerprint, lacking_grid, place_of
from groundplan.core.geographic import box_of, geographic
from groundplan.core.manifest import Dataset, Planned, fingerprint, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.progress import counted
from groundplan.errors import BadSheet, GroundplanError, MissingInput
from groundplan.foreign_text import crs_in_words
from groundplan.imagery.appearance import looks_of, named
from groundplan.imagery.inspectors import Look, Spent, facts_of, looked_at, sheet_of
from groundplan.imagery.landing import BESIDE_ENDINGS, REFERENCE, WORLD_ENDINGS, landing_prefix, sheet_digests
from groundplan.imagery.placement import read_onto
from groundplan.imagery.regions import region_polygons
from groundplan.imagery.sheet import Sheet, check_unchanged, opened, referred_beside, referred_state
from groundplan.imagery.validation import inspect
from groundplan.project import Project
from groundplan.step import LANDING, About, Scope, Step, Work

if TYPE_CHECKING:
    from shapely import Polygon

__all__ = ["Catalog", "Quarantined", "Sheet", "from_parquet", "opened", "read_onto", "to_parquet"]


class Facts(TypedDict):
    """What a manifest says of an object."""

    sheets: int
    quarantined: list[dict[str, str]]  # file, reason, remedy
    bounds: list[float]  # of the ground that sheets show, in the grid's CRS
    notes: NotRequired[list[str]]  # what of the usable sheets is not as it should be
    looks: NotRequired[list[str]]  # what they show that may be no imagery: a person should look


DATASET: Dataset[Facts] = Dataset("sheets")
VERSION = "2"
FAR = 100_000.0  # metres from the region's other sheets at which a sheet cannot belong to it

Digests = Mapping[str, tuple[str, int]]  # key of a delivered file to its SHA-256 and bytes


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A delivered file that cannot be used, and what to do about it."""

    key: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """Catalog of a region and year: all that was delivered for it."""

    sheets: tuple[Sheet, ...]
    quarantined: tuple[Quarantined, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    """What of the usable sheets is not as it should be, each with its remedy."""


# ---------------------------------------------------------------------------------------------------- the step


Needs: TypeAlias = "tuple[Partition, dict[str, tuple[str, int]]]"
"""What an object is made from."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One catalogue, decided by the delivered files' contents and by how imagery is to be read."""
    digests = sheet_digests(project, partition)
    if not digests:
        raise MissingInput(
            f"imagery of {partition}",
            f"nothing lies in {project.store.uri(landing_prefix(partition))}",
            f"Run `groundplan add-imagery FILE... {partition.options}`",
        )
    polygon = region_polygons(project).get(partition.region)
    imagery = project.settings.imagery
    digest = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        files=sorted([key, digest] for key, (digest, _) in digests.items()),
        referred=[[key, *_referred(project, key)] for key in sorted(digests) if key.endswith(REFERENCE)],
        bands=imagery.bands,
        scale=imagery.uint16_range,
        assume=imagery.assume_crs,
        limits=[imagery.max_pixels, imagery.max_bytes],
        roots=imagery.reference_roots,
        region=polygon.wkb_hex if polygon is not None else "",
        **_of_datum_shifts(project),
        **imagery.no_imagery,
    )
    key = object_key(DATASET, partition, "catalogue", digest, ".parquet")
    return [
        Planned(name="catalogue", fingerprint=digest, key=key, inputs=tuple(sorted(digests)), args=(partition, digests))
    ]


def _of_datum_shifts(project: Project) -> dict[str, Any]:
    """What of a project's datum shifts is not as most have it: of those, the fingerprint stays what it was."""
    tolerance = project.settings.quality.datum_tolerance
    return grids_in_fingerprint(project.grids) | ({} if tolerance is None else {"tolerance": tolerance})


def _referred(project: Project, key: str) -> list[Any]:
    """State of what lies behind a reference; it may change while the reference does not."""
    try:
        return [referred_state(project, key)[0], referred_beside(project, key)]
    except BadSheet as error:
        return [error.reason]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Open every delivered file; the good ones become STAC items, the others say why not."""
    partition, digests = planned.needs
    beside, spent, began = beside_by_name(digests), Spent(), time.thread_time()
    jobs = [(key, digests[key], beside(key)) for key in sorted(digests) if not is_beside(key)]
    found = looked_at(project, partition, jobs, looker(project, partition), check, spent)
    with counted(f"sheets of {partition}", zip(jobs, found, strict=True), len(jobs)) as looks:
        answers = [(key, one) for (key, _, _), one in looks]
    good = [one for _, one in answers if not isinstance(one, BadSheet)]
    bad = [Quarantined(key, one.reason, one.remedy) for key, one in answers if isinstance(one, BadSheet)]
    good, misplaced = _without_misplaced(project, partition, good)
    bad = sorted([*bad, *misplaced], key=lambda item: item.key)
    if not good:
        first = bad[0] if bad else None
        raise BadSheet(
            f"imagery of {partition}",
            "no delivered file can be used" + (f"; {first.key.rsplit('/', 1)[-1]}: {first.reason}" if first else ""),
            first.remedy if first else "Deliver GeoTIFF, COG, JP2, PNG or JPEG sheets",
        )
    data = to_parquet(Catalog(tuple(good), tuple(bad), tuple(_shift_notes(project, good))))
    cost = {"cpu_seconds": spent.seconds + time.thread_time() - began} if spent.seconds else {}
    return Output(data, cost)


def describe(data: bytes) -> Facts:
    sheet_catalog = from_parquet(data)
    outlines = np.array([point for sheet in sheet_catalog.sheets for point in sheet.outline])
    facts: Facts = {
        "sheets": len(sheet_catalog.sheets),
        "quarantined": [
            {"file": item.key.rsplit("/", 1)[-1], "reason": item.reason, "remedy": item.remedy}
            for item in sheet_catalog.quarantined
        ],
        "bounds": [*outlines.min(axis=0).round(3).tolist(), *outlines.max(axis=0).round(3).tolist()],
    }
    if sheet_catalog.notes:
        facts["notes"] = list(sheet_catalog.notes)
    if looks := looks_of(sheet_catalog.sheets):
        facts["looks"] = looks
    return facts


def is_beside(key: str) -> bool:
    """Whether a file only comes with sheets: world files, projections, overviews and papers are no sheets."""
    return key.lower().endswith(BESIDE_ENDINGS) or key.rsplit("/", 1)[-1].startswith(".")


BesideOf: TypeAlias = "Callable[[str], list[tuple[str, str]]]"
"""Key of a sheet to name and digest of the files that GDAL reads together with it, sorted."""


def beside_by_name(digests: Digests) -> BesideOf:
    """What lies beside each of many sheets: files are indexed once, since a walk per sheet grows with the square."""
    index: dict[str, list[tuple[str, str]]] = {}
    for key, (digest, _) in digests.items():
        folder, _, name = key.rpartition("/")
        index.setdefault(f"{folder}/{name.lower()}", []).append((name, digest))

    def of(key: str) -> list[tuple[str, str]]:
        folder, _, name = key.rpartition("/")
        return sorted(found for kin in _kin(name) for found in index.get(f"{folder}/{kin}", ()))

    return of


def beside_of(key: str, digests: Digests) -> list[tuple[str, str]]:
    """Name and digest of the files that GDAL reads together with one sheet, sorted. Of many: `beside_by_name`."""
    return beside_by_name(digests)(key)


def _kin(name: str) -> set[str]:
    """Names, in lower case, of what may lie beside a sheet."""
    low = name.lower()
    stem = low.rpartition(".")[0]
    return {*(stem + end for end in WORLD_ENDINGS), *(low + end for end in (".aux.xml", ".msk", ".ovr", ".wld"))}


def looker(project: Project, partition: Partition) -> Look:
    """What looks at one file after the other of a partition."""
    return lambda job: _inspected(project, partition, *job)


def _inspected(
    project: Project, partition: Partition, key: str, digest: tuple[str, int], beside: list[tuple[str, str]]
) -> Sheet:
    """The sheet, or BadSheet for whatever is wrong with the file; StoreFailed when it is not the file."""
    referred = key.endswith(REFERENCE)
    try:
        beside = referred_beside(project, key) if referred else beside
        return inspect(project, partition, key, *digest, beside)
    except BadSheet:
        if not referred:
            check_unchanged(project, key, digest[0])
        raise
    except (GroundplanError, MemoryError):
        raise
    except Exception as error:  # a file can trip a library in any way; the other sheets go on
        reason = f"it cannot be looked at ({type(error).__name__}: {str(error)[:120]})"
        raise BadSheet(key, reason, "Write it again as a GeoTIFF, such as `gdal_translate -of COG`") from error


def _shift_notes(project: Project, sheets: list[Sheet]) -> list[str]:
    """A sentence for each CRS whose way to the grid lacks a grid of PROJ's."""
    grid, notes = project.grid.crs, []
    for crs in sorted({sheet.crs for sheet in sheets}):
        of_it = [sheet for sheet in sheets if sheet.crs == crs]
        corners = np.array([point for sheet in of_it for point in sheet.outline])
        place = place_of(grid, (*corners.min(axis=0), *corners.max(axis=0)))
        lack = lacking_grid(crs, grid, place, project.datum_tolerance)
        if lack:
            notes.append(f"{named(of_it)}: {lack}")
    return notes


def _without_misplaced(
    project: Project, partition: Partition, sheets: list[Sheet]
) -> tuple[list[Sheet], list[Quarantined]]:
    """Sheets on the region's ground, and those set aside because they lie elsewhere."""
    region = region_polygons(project).get(partition.region)
    if not sheets:
        return [], []
    if region is None:
        centers = np.array([sheet.polygon.centroid.coords[0] for sheet in sheets]).reshape(-1, 2)
        middle = np.median(centers, axis=0)
        near = [bool(np.hypot(*(center - middle)) <= FAR) for center in centers]
        where = f"more than {FAR / 1000:.0f} km from the region's other sheets"
    else:
        near = [bool(sheet.polygon.intersects(region)) for sheet in sheets]
        where = f"outside the region's polygon by {_distance(sheets, near, region)}"
    remedy = "Check its CRS and georeferencing, or deliver it for the region where it lies"
    away = [
        Quarantined(sheet.key, f"it lies {where} (its CRS is {crs_in_words(sheet.crs)})", remedy)
        for sheet, here in zip(sheets, near, strict=True)
        if not here
    ]
    return [sheet for sheet, here in zip(sheets, near, strict=True) if here], away


def _distance(sheets: list[Sheet], near: list[bool], region: Polygon) -> str:
    away = [sheet.polygon.distance(region) for sheet, here in zip(sheets, near, strict=True) if not here]
    return f"{max(away) / 1000:.1f} km" if away else ""


# -------------------------------------------------------------------------------------------- the catalogue


def to_parquet(sheet_catalog: Catalog) -> bytes:
    """GeoParquet of STAC items; what was quarantined is in the file's metadata, since it has no place."""
    import pyarrow.parquet as pq
    import stac_geoparquet.arrow as stac

    table = stac.parse_stac_items_to_arrow([stac_item(sheet) for sheet in sheet_catalog.sheets]).read_all()
    with tempfile.TemporaryDirectory() as folder:  # the library writes to paths only
        stac.to_parquet(table, f"{folder}/items.parquet")
        table = pq.read_table(f"{folder}/items.parquet")
    bad = json.dumps([[item.key, item.reason, item.remedy] for item in sheet_catalog.quarantined], ensure_ascii=False)
    more = {b"groundplan:quarantined": bad.encode()}
    if sheet_catalog.notes:
        more[b"groundplan:notes"] = json.dumps(sheet_catalog.notes, ensure_ascii=False).encode()
    table = table.replace_schema_metadata({**table.schema.metadata, **more})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> Catalog:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    sheets = [_sheet(json.loads(text)) for text in table["groundplan:sheet"].to_pylist()]
    bad = json.loads(table.schema.metadata[b"groundplan:quarantined"])
    notes = json.loads(table.schema.metadata.get(b"groundplan:notes", b"[]"))
    return Catalog(tuple(sheets), tuple(Quarantined(*item) for item in bad), tuple(notes))


def _sheet(facts: dict[str, Any]) -> Sheet:
    if "date_source" not in facts and facts["acquired"].endswith("-01-01"):
        facts["acquired"] = None  # older catalogues wrote the year's first day for an unknown one
    return sheet_of(facts)


def stac_item(sheet: Sheet) -> dict[str, Any]:
    """A sheet as a STAC item; its asset is the key in the store."""
    import pystac
    import shapely

    place = geographic([shapely.Polygon(_corners(sheet))], sheet.crs)[0]
    code = {"proj:code": sheet.crs} if sheet.crs.startswith("EPSG:") else {"proj:wkt2": sheet.crs}
    item = pystac.Item(
        id=sheet.name,
        geometry=shapely.geometry.mapping(place),
        bbox=list(box_of([place]) or ()),
        properties={
            **code,
            "proj:shape": [sheet.height, sheet.width],
            "proj:transform": list(sheet.transform),
            "gsd": sheet.gsd,
            "groundplan:date_source": sheet.date_source,
            "groundplan:sheet": json.dumps(facts_of(sheet)),
        },
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        **_when(sheet),
    )
    item.add_asset("image", pystac.Asset(sheet.key, roles=["data"], extra_fields={"file:size": sheet.bytes}))
    return item.to_dict(include_self_link=False)


def _when(sheet: Sheet) -> dict[str, Any]:
    """STAC's times: the day that is known, else null and the year from its beginning to its end."""
    day = datetime.fromisoformat(sheet.day).replace(tzinfo=UTC)
    if sheet.acquired is not None:
        return {"datetime": day}
    end = day.replace(month=12, day=31, hour=23, minute=59, second=59)
    return {"datetime": None, "start_datetime": day, "end_datetime": end}


def _corners(sheet: Sheet) -> list[tuple[float, float]]:
    """The sheet's corners in its own CRS, upper left first, then counter-clockwise for one with north up."""
    from affine import Affine

    transform = Affine(*sheet.transform)
    return [transform @ corner for corner in ((0, 0), (0, sheet.height), (sheet.width, sheet.height), (sheet.width, 0))]


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(LANDING,),
    work=Work(short="sheets", objects="region", of=LANDING),
    profile="io",
    about=About(
        title="Delivered sheets of a region and year, as STAC items in GeoParquet",
        description="The image files that were delivered for a region and year, checked without decoding all of them "
        "and listed with place, date and size as STAC items in GeoParquet. Look here first when a region lacks "
        "imagery: a file that cannot be used is set aside with the reason and the remedy. The picture shows where the "
        "sheets lie.",
        group="imagery",
        kinds=frozenset({"stac", "geoparquet"}),
        format="https://github.com/stac-utils/stac-geoparquet/blob/main/spec/stac-geoparquet-spec.md",
        page="docs/bad-input.md",
        columns=(
            ("id", "string", "the delivered file's name"),
            ("geometry", "polygon", "the sheet's corners [degrees, EPSG:4326]"),
            ("bbox", "struct<xmin, ymin, xmax, ymax: double>", "bounds [degrees, EPSG:4326]"),
            ("datetime", "timestamp", "day on which it was flown; null where only the year is known [UTC]"),
            ("start_datetime", "timestamp", "beginning of the year, where the day is not known [UTC]"),
            ("end_datetime", "timestamp", "end of that year [UTC]"),
            (
                "groundplan:date_source",
                "string",
                "what names the day: name, a TIFF tag; delivery: only its year is known",
            ),
            ("gsd", "double", "ground sampling distance [m per pixel]"),
            ("proj:code", "string", "CRS of the file"),
            ("proj:shape", "list<int64>", "rows, columns [pixels]"),
            ("proj:transform", "list<double>", "pixel to coordinates [CRS units]"),
            ("assets", "struct<image>", "key in the store, size [bytes]"),
            ("groundplan:sheet", "string", "JSON: content digest, bands, files beside it, order in the mosaic"),
            ("type", "string", "Feature, as STAC wants it"),
            ("stac_version", "string", "version of STAC"),
            ("stac_extensions", "list<string>", "extensions of STAC that are used"),
            ("links", "list", "empty"),
        ),
    ),
)
