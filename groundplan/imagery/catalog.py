"""Sheet catalog: image files as delivered, checked and listed.

Here: the step from a landing folder to its catalogue (STAC items in GeoParquet), and what a sheet's neighbours say of
its place. Not here: checking one file (validation.py), opening and reading one (sheet.py), which sheets make up
a block (tiles.py).
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.core.manifest import Dataset, Planned, fingerprint, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.errors import BadSheet, GroundplanError, MissingInput
from groundplan.imagery.landing import BESIDE_ENDINGS, REFERENCE, WORLD_ENDINGS, landing_prefix, sheet_digests
from groundplan.imagery.regions import region_polygons
from groundplan.imagery.sheet import Sheet, check_unchanged, opened, read_onto, referred_beside, referred_state
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
            f"Run `groundplan add-imagery FILE... --region '{partition.region}' --year {partition.year}`",
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
    )
    key = object_key(DATASET, partition, "catalogue", digest, ".parquet")
    return [
        Planned(name="catalogue", fingerprint=digest, key=key, inputs=tuple(sorted(digests)), args=(partition, digests))
    ]


def _referred(project: Project, key: str) -> list[Any]:
    """State of what lies behind a reference; it may change while the reference does not."""
    try:
        return [referred_state(project, key)[0], referred_beside(project, key)]
    except BadSheet as error:
        return [error.reason]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Open every delivered file; the good ones become STAC items, the others say why not."""
    partition, digests = planned.needs
    good: list[Sheet] = []
    bad: list[Quarantined] = []
    for key in sorted(digests):
        check()
        if is_beside(key):
            continue
        try:
            good.append(_inspected(project, partition, key, digests))
        except BadSheet as error:
            bad.append(Quarantined(key, error.reason, error.remedy))
    good, misplaced = _without_misplaced(project, partition, good)
    bad = sorted([*bad, *misplaced], key=lambda item: item.key)
    if not good:
        first = bad[0] if bad else None
        raise BadSheet(
            f"imagery of {partition}",
            "no delivered file can be used" + (f"; {first.key.rsplit('/', 1)[-1]}: {first.reason}" if first else ""),
            first.remedy if first else "Deliver GeoTIFF, COG, JP2, PNG or JPEG sheets",
        )
    return Output(to_parquet(Catalog(tuple(good), tuple(bad))))


def describe(data: bytes) -> Facts:
    sheet_catalog = from_parquet(data)
    outlines = np.array([point for sheet in sheet_catalog.sheets for point in sheet.outline])
    return {
        "sheets": len(sheet_catalog.sheets),
        "quarantined": [
            {"file": item.key.rsplit("/", 1)[-1], "reason": item.reason, "remedy": item.remedy}
            for item in sheet_catalog.quarantined
        ],
        "bounds": [*outlines.min(axis=0).round(3).tolist(), *outlines.max(axis=0).round(3).tolist()],
    }


def is_beside(key: str) -> bool:
    """Whether a file only comes with sheets: world files, projections, overviews and papers are no sheets."""
    return key.lower().endswith(BESIDE_ENDINGS) or key.rsplit("/", 1)[-1].startswith(".")


def beside_of(key: str, digests: Digests) -> list[tuple[str, str]]:
    """Name and digest of the files that GDAL reads together with a sheet, sorted."""
    folder, name = key.rsplit("/", 1)
    stem, low = name.lower().rpartition(".")[0], name.lower()
    kin = {*(stem + end for end in WORLD_ENDINGS), *(low + end for end in (".aux.xml", ".msk", ".ovr", ".wld"))}
    return sorted(
        (other.removeprefix(folder + "/"), digest)
        for other, (digest, _) in digests.items()
        if other.startswith(folder + "/") and other.removeprefix(folder + "/").lower() in kin
    )


def _inspected(project: Project, partition: Partition, key: str, digests: Digests) -> Sheet:
    """The sheet, or BadSheet for whatever is wrong with the file; StoreFailed when it is not the file."""
    referred = key.endswith(REFERENCE)
    try:
        beside = referred_beside(project, key) if referred else beside_of(key, digests)
        return inspect(project, partition, key, *digests[key], beside)
    except BadSheet:
        if not referred:
            check_unchanged(project, key, digests[key][0])
        raise
    except (GroundplanError, MemoryError):
        raise
    except Exception as error:  # a file can trip a library in any way; the other sheets go on
        reason = f"it cannot be looked at ({type(error).__name__}: {str(error)[:120]})"
        raise BadSheet(key, reason, "Write it again as a GeoTIFF, such as `gdal_translate -of COG`") from error


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
        Quarantined(sheet.key, f"it lies {where} (its CRS is {sheet.crs})", remedy)
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

    table = stac.parse_stac_items_to_arrow([_item(sheet) for sheet in sheet_catalog.sheets]).read_all()
    with tempfile.TemporaryDirectory() as folder:  # the library writes to paths only
        stac.to_parquet(table, f"{folder}/items.parquet")
        table = pq.read_table(f"{folder}/items.parquet")
    bad = json.dumps([[item.key, item.reason, item.remedy] for item in sheet_catalog.quarantined], ensure_ascii=False)
    table = table.replace_schema_metadata({**table.schema.metadata, b"groundplan:quarantined": bad.encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> Catalog:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    sheets = []
    for row in table.to_pylist():
        facts = json.loads(row["groundplan:sheet"])
        tuples = {name: tuple(tuple(pair) for pair in facts[name]) for name in ("outline", "beside")}
        sheets.append(Sheet(**{**facts, **tuples, "transform": tuple(facts["transform"])}))
    bad = json.loads(table.schema.metadata[b"groundplan:quarantined"])
    return Catalog(tuple(sheets), tuple(Quarantined(*item) for item in bad))


def _item(sheet: Sheet) -> dict[str, Any]:
    import pystac

    place = _geographic(sheet)
    item = pystac.Item(
        id=sheet.name,
        geometry=place["geometry"],
        bbox=place["bbox"],
        datetime=datetime.fromisoformat(sheet.acquired).replace(tzinfo=UTC),
        properties={
            "proj:code": sheet.crs,
            "proj:shape": [sheet.height, sheet.width],
            "proj:transform": list(sheet.transform),
            "gsd": sheet.gsd,
            "groundplan:sheet": json.dumps(asdict(sheet)),
        },
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
    )
    item.add_asset("image", pystac.Asset(sheet.key, roles=["data"], extra_fields={"file:size": sheet.bytes}))
    return item.to_dict(include_self_link=False)


def _geographic(sheet: Sheet) -> dict[str, Any]:
    import pyproj
    from affine import Affine

    to = pyproj.Transformer.from_crs(sheet.crs, "EPSG:4326", always_xy=True)
    transform = Affine(*sheet.transform)
    corners = [(0, 0), (0, sheet.height), (sheet.width, sheet.height), (sheet.width, 0), (0, 0)]
    ring = [[round(value, 9) for value in to.transform(*(transform @ corner))] for corner in corners]
    xs, ys = zip(*ring, strict=True)
    return {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [min(xs), min(ys), max(xs), max(ys)]}


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
            ("datetime", "timestamp", "when it was flown, as far as is known [UTC]"),
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
