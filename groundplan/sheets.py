"""Sheets: image files as delivered, checked, catalogued and opened.

Here: what a usable sheet is, the catalogue (STAC items in GeoParquet), and reading a sheet's pixels onto a piece of the
grid. Not here: which sheets make up a block (tiles.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.blocks import Check, Output, Partition, Planned, fingerprint, object_key
from groundplan.config import ImagerySettings
from groundplan.errors import BadSheet, GroundplanError, MissingInput
from groundplan.grid import Bounds, Grid, area_of_use
from groundplan.project import BESIDE_ENDINGS, REFERENCE, SHEET_ENDINGS, Project, landing_prefix, sheet_digests
from groundplan.regions import region_polygons
from groundplan.store import Store, open_store

if TYPE_CHECKING:
    import rasterio
    from shapely import Polygon

DATASET = "sheets"
VERSION = "1"
# What a file is follows from how it begins, not from its name. VRT and the like can name other files: they are not read.
BEGINNINGS = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG", b"\xff\x4f\xff\x51": "JP2OpenJPEG", b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG",
}  # fmt: skip
MOST_CHECKED = 20_000  # tiles of a sheet whose place in the file is looked at
FAR = 100_000.0  # metres from the region's other sheets at which a sheet cannot belong to it


@dataclass(frozen=True, slots=True)
class Sheet:
    """A usable sheet. outline: its ground, in the grid's CRS, upper left corner first, then clockwise."""

    key: str
    sha256: str
    bytes: int
    width: int
    height: int
    crs: str
    transform: tuple[float, ...]
    bands: int
    dtype: str
    gsd: float  # metres on the ground
    acquired: str  # ISO date; the year's first day when the file does not say
    outline: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        return self.key.rsplit("/", 1)[-1]

    @property
    def polygon(self) -> Polygon:
        from shapely import Polygon

        return Polygon(self.outline)

    def order(self) -> tuple[str, str, str]:
        """Overlapping sheets are laid in this order, the last on top: by date, then by file name."""
        return self.acquired, self.name, self.sha256


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A delivered file that cannot be used, and what to do about it."""

    key: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that was delivered for a region and year."""

    sheets: tuple[Sheet, ...]
    quarantined: tuple[Quarantined, ...] = field(default=())


# ---------------------------------------------------------------------------------------------------- the step


def plan(project: Project, partition: Partition) -> list[Planned]:
    """One catalogue, decided by the delivered files' contents and by how imagery is to be read."""
    digests = sheet_digests(project, partition)
    if not digests:
        raise MissingInput(
            f"imagery of {partition}",
            f"nothing lies in {project.store.uri(landing_prefix(partition))}",
            f"Run `groundplan add-imagery FILE... --region '{partition.region}' --year {partition.year}`",
        )
    polygon = region_polygons(project).get(partition.region)
    mark = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        files=sorted([key, digest] for key, (digest, _) in digests.items()),
        bands=project.settings.imagery.bands,
        scale=project.settings.imagery.uint16_range,
        assume=project.settings.imagery.assume_crs,
        limits=[project.settings.imagery.max_pixels, project.settings.imagery.max_bytes],
        region=polygon.wkb_hex if polygon is not None else "",
    )
    key = object_key(DATASET, partition, "catalogue", mark, ".parquet")
    return [Planned("catalogue", mark, key, tuple(sorted(digests)), (partition, digests))]


def make(project: Project, planned: Planned, check: Check) -> Output:
    """Open every delivered file; the good ones become STAC items, the others say why not."""
    partition, digests = planned.args
    good: list[Sheet] = []
    bad: list[Quarantined] = []
    names = set(digests)
    for key in sorted(digests):
        check()
        if _beside(key, names):
            continue
        try:
            good.append(inspect(project, partition, key, *digests[key]))
        except GroundplanError as error:
            bad.append(Quarantined(key, error.reason, error.remedy))
    good, misplaced = _together(project, partition, good)
    bad = sorted([*bad, *misplaced], key=lambda item: item.key)
    if not good:
        first = bad[0] if bad else None
        raise BadSheet(
            f"imagery of {partition}",
            "no delivered file can be used" + (f"; {first.key.rsplit('/', 1)[-1]}: {first.reason}" if first else ""),
            first.remedy if first else "Deliver GeoTIFF, COG, JP2, PNG or JPEG sheets",
        )
    return Output(to_parquet(Catalogue(tuple(good), tuple(bad))))


def describe(data: bytes) -> dict[str, Any]:
    catalogue = from_parquet(data)
    outlines = np.array([point for sheet in catalogue.sheets for point in sheet.outline])
    return {
        "sheets": len(catalogue.sheets),
        "quarantined": [
            {"file": item.key.rsplit("/", 1)[-1], "reason": item.reason, "remedy": item.remedy}
            for item in catalogue.quarantined
        ],
        "bounds": [*outlines.min(axis=0).round(3).tolist(), *outlines.max(axis=0).round(3).tolist()],
    }


def _beside(key: str, names: set[str]) -> bool:
    """World files, projections, overviews and papers that come with sheets are no sheets."""
    low = key.lower()
    return low.endswith(BESIDE_ENDINGS) or key.rsplit("/", 1)[-1].startswith(".")


def _together(project: Project, partition: Partition, sheets: list[Sheet]) -> tuple[list[Sheet], list[Quarantined]]:
    """Set aside what lies on other ground than the region."""
    region = region_polygons(project).get(partition.region)
    if region is None:
        centres = np.array([sheet.polygon.centroid.coords[0] for sheet in sheets]).reshape(-1, 2)
        middle = np.median(centres, axis=0)
        near = [bool(np.hypot(*(centre - middle)) <= FAR) for centre in centres]
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


# ------------------------------------------------------------------------------------------------ one sheet


def inspect(project: Project, partition: Partition, key: str, sha256: str, size: int) -> Sheet:
    """Check one delivered file without decoding all of it. Raises BadSheet with the reason and the remedy."""
    settings = project.settings.imagery
    if not key.lower().endswith((*SHEET_ENDINGS, REFERENCE)):
        raise BadSheet(key, "its ending is not one of a sheet", f"Use one of {', '.join(SHEET_ENDINGS)}, or remove it")
    if size == 0:
        raise BadSheet(key, "it is empty (0 bytes)", "Deliver it again; the transfer was cut")
    if size > settings.max_bytes:
        raise BadSheet(key, f"it has {size / 2**30:.1f} GiB", "Cut it into smaller sheets or raise imagery.max_bytes")
    with opened(project.store, project, key) as source:
        _check_pixels(source, key, settings)
        crs, transform = _check_place(source, key, project)
        _check_whole(source, key, size)
        _check_data(source, key)
        outline = _outline(source, crs, transform, project.grid, key)
        return Sheet(
            key, sha256, size, source.width, source.height, _crs_name(crs), tuple(transform)[:6], source.count,
            source.dtypes[0], _gsd(outline, source.width, source.height), _acquired(source, partition.year), outline,
        )  # fmt: skip


@contextmanager
def opened(store: Store, project: Project, key: str) -> Iterator[rasterio.DatasetReader]:
    """A delivered file as a rasterio dataset, wherever it lies. Raises BadSheet when it is no image."""
    import rasterio
    from rasterio.errors import RasterioError, RasterioIOError

    if key.endswith(REFERENCE):
        store, path = _referenced(project, key)
    else:
        path = key
    start = store.begin(path, 8)
    driver = next((name for begin, name in BEGINNINGS.items() if start.startswith(begin)), None)
    if driver is None:
        raise BadSheet(
            key, f"it is no image (it begins with {start!r})", "Deliver GeoTIFF, COG, JP2, PNG or JPEG"
        )
    local = store.local_path(path)
    try:
        if local is not None:
            source = rasterio.open(local, driver=driver)
        else:
            from groundplan.remote import StoreFiles

            source = rasterio.open(path, driver=driver, opener=StoreFiles(store))
    except (RasterioIOError, RasterioError) as error:
        raise BadSheet(
            key, f"no image can be read from it ({_short(error)})", "Deliver GeoTIFF, COG, JP2, PNG or JPEG again"
        ) from error
    with source:
        yield source


def _referenced(project: Project, key: str) -> tuple[Store, str]:
    """Where a reference points: `.ref` objects hold {"url": ...} below one of the allowed roots."""
    url = str(json.loads(project.store.get(key)).get("url", ""))
    roots = project.settings.imagery.reference_roots
    if not any(url.startswith(root.rstrip("/") + "/") for root in roots) or ".." in url:
        raise BadSheet(key, f"it refers to {url}, which no allowed root holds", "Set imagery.reference_roots")
    folder, name = url.rsplit("/", 1)
    return open_store(folder, retries=project.settings.run.retries), name


def _check_pixels(source: rasterio.DatasetReader, key: str, settings: ImagerySettings) -> None:
    pixels = source.width * source.height
    if pixels > settings.max_pixels:
        raise BadSheet(
            key,
            f"it declares {source.width} x {source.height} pixels, more than {settings.max_pixels:,}",
            "Cut it into smaller sheets, or raise imagery.max_pixels if it is meant",
        )
    dtypes = set(source.dtypes)
    if dtypes == {"uint16"}:
        if settings.uint16_range is None:
            raise BadSheet(
                key, "it has 16 bits and no scaling is stated", "Set imagery.uint16_range = [low, high] or deliver 8 bits"
            )
    elif dtypes != {"uint8"}:
        raise BadSheet(key, f"its pixels are {', '.join(sorted(dtypes))}", "Deliver uint8, or uint16 with uint16_range")
    need = max(settings.bands)
    colours = _colour_bands(source)
    if colours < need and colours != 1:
        raise BadSheet(
            key, f"it has {colours} bands and band {need} is wanted", "Deliver all bands or change imagery.bands"
        )


def _check_place(source: rasterio.DatasetReader, key: str, project: Project) -> tuple[Any, Any]:
    from rasterio.crs import CRS

    crs = source.crs
    if crs is None:
        assumed = project.settings.imagery.assume_crs
        if assumed is None:
            raise BadSheet(key, "it states no CRS", "Deliver it with one, or set imagery.assume_crs")
        crs = CRS.from_user_input(assumed)
    transform = source.transform
    if transform.is_identity or not all(math.isfinite(value) for value in tuple(transform)[:6]):
        raise BadSheet(key, "it states no position (no geotransform)", "Deliver it georeferenced or with a world file")
    if abs(transform.determinant) < 1e-18:
        raise BadSheet(key, "its geotransform has pixels of no size", "Georeference it again")
    pixel = math.sqrt(abs(transform.determinant)) * (111_320.0 if crs.is_geographic else 1.0)
    if not project.grid.resolution / 50 <= pixel <= project.grid.resolution * 50:
        raise BadSheet(
            key,
            f"its pixels measure {pixel:g} m, far from the grid's {project.grid.resolution:g} m",
            "Check its geotransform and CRS",
        )
    return crs, transform


def _check_whole(source: rasterio.DatasetReader, key: str, size: int) -> None:
    """Find a cut transfer without decoding: every tile or strip of a TIFF must end inside the file."""
    if source.driver != "GTiff":
        return
    high, wide = source.block_shapes[0]
    cols, rows = math.ceil(source.width / wide), math.ceil(source.height / high)
    step = max(1, cols * rows // MOST_CHECKED)
    for index in {*range(0, cols * rows, step), cols * rows - 1}:
        y, x = divmod(index, cols)
        offset = source.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=1)
        length = source.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=1)
        if offset and length and int(offset) + int(length) > size and not key.endswith(REFERENCE):
            raise BadSheet(key, f"it is cut short: pixels should lie beyond its {size:,} bytes", "Deliver it again")


def _check_data(source: rasterio.DatasetReader, key: str) -> None:
    """Decode a coarse picture; a file that cannot be decoded or holds nothing is no sheet."""
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    try:
        for col, row in ((0, 0), (source.width - 1, source.height - 1), (source.width // 2, source.height // 2)):
            source.read(1, window=Window(col, row, 1, 1))
        scale = max(1, max(source.shape) // 512)
        mask = source.dataset_mask(out_shape=(max(1, source.height // scale), max(1, source.width // scale)))
    except RasterioError as error:
        raise BadSheet(key, f"its pixels cannot be decoded ({_short(error)})", "Deliver it again") from error
    if not mask.any():
        raise BadSheet(key, "it holds no imagery: all of it is nodata", "Deliver it again or remove it")


def _outline(source: rasterio.DatasetReader, crs: Any, transform: Any, grid: Grid, key: str) -> tuple[tuple[float, float], ...]:
    """The sheet's border in the grid's CRS, with points between the corners, since straight lines bend."""
    import pyproj

    w, h = source.width, source.height
    along = np.linspace(0, 1, 9)[:-1]
    cols = np.concatenate([along * w, np.full(8, w), (1 - along) * w, np.zeros(8)])
    rows = np.concatenate([np.zeros(8), along * h, np.full(8, h), (1 - along) * h])
    xs, ys = transform * (cols, rows)
    x, y = pyproj.Transformer.from_crs(crs, grid.crs, always_xy=True).transform(xs, ys)
    use = area_of_use(grid.crs)
    if not np.isfinite(x).all() or not np.isfinite(y).all() or (use and not _near(use, x, y)):
        raise BadSheet(
            key,
            f"its place is nowhere near the area where {grid.crs} is used (its CRS is {_crs_name(crs)})",
            "Check its CRS and georeferencing, or the project's CRS",
        )
    return tuple((round(float(a), 4), round(float(b), 4)) for a, b in zip(x, y, strict=True))


def _near(use: Bounds, x: np.ndarray, y: np.ndarray) -> bool:
    wide, high = use[2] - use[0], use[3] - use[1]
    return bool(
        (x > use[0] - wide).all() and (x < use[2] + wide).all() and (y > use[1] - high).all() and (y < use[3] + high).all()
    )


def _gsd(outline: tuple[tuple[float, float], ...], width: int, height: int) -> float:
    from shapely import Polygon

    return round(math.sqrt(abs(Polygon(outline).area) / (width * height)), 4)


def _acquired(source: rasterio.DatasetReader, year: int) -> str:
    """TIFF's own date where it names the delivery's year; scanners and converters write others."""
    text = source.tags().get("TIFFTAG_DATETIME", "")
    try:
        date = datetime.strptime(text[:10], "%Y:%m:%d").date()
    except ValueError:
        return f"{year}-01-01"
    return date.isoformat() if date.year == year else f"{year}-01-01"


def _colour_bands(source: rasterio.DatasetReader) -> int:
    from rasterio.enums import ColorInterp

    return sum(1 for kind in source.colorinterp if kind != ColorInterp.alpha)


def _crs_name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()


def _short(error: BaseException) -> str:
    return (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0][:160]


# ------------------------------------------------------------------------------------- pixels onto the grid


def read_onto(
    project: Project, sheet: Sheet, bounds: Bounds, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """A sheet's pixels on a piece of the grid: uint8 (bands, h, w) and mask bool (h, w); None where it has none.

    A sheet aligned with the grid is copied, any other is warped with the configured kernel. Raises BadSheet when its
    pixels cannot be decoded after all.
    """
    from rasterio.errors import RasterioError

    try:
        with opened(project.store, project, sheet.key) as source:
            if sheet.crs == _grid_crs_name(project.grid.crs) and project.grid.aligned(source.transform):
                return _copy(project, source, bounds, shape)
            return _warp(project, sheet, source, bounds, shape)
    except RasterioError as error:
        raise BadSheet(
            sheet.key, f"its pixels cannot be decoded ({_short(error)})", "Deliver it again or remove it"
        ) from error


def _grid_crs_name(crs: str) -> str:
    from rasterio.crs import CRS

    return _crs_name(CRS.from_user_input(crs))


def _copy(project: Project, source: rasterio.DatasetReader, bounds: Bounds, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    from rasterio.windows import Window

    col = round((bounds[0] - source.transform.c) / project.grid.resolution)
    row = round((source.transform.f - bounds[3]) / project.grid.resolution)
    left, top = max(col, 0), max(row, 0)
    right, bottom = min(col + shape[1], source.width), min(row + shape[0], source.height)
    if left >= right or top >= bottom:
        return None
    window = Window(left, top, right - left, bottom - top)
    bands = len(project.settings.imagery.bands)
    pixels, mask = np.zeros((bands, *shape), np.uint8), np.zeros(shape, bool)
    part = (slice(top - row, bottom - row), slice(left - col, right - col))
    data = source.read(_indexes(source, project.settings.imagery), window=window)
    pixels[(slice(None), *part)] = _to_uint8(data, project.settings.imagery)
    mask[part] = source.dataset_mask(window=window) > 0
    return pixels, mask


def _warp(project: Project, sheet: Sheet, source: rasterio.DatasetReader, bounds: Bounds, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    from affine import Affine
    from rasterio.crs import CRS
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.vrt import WarpedVRT

    settings, grid = project.settings.imagery, project.grid
    alpha = {} if ColorInterp.alpha in source.colorinterp else {"add_alpha": True}
    with WarpedVRT(
        source,
        src_crs=source.crs or CRS.from_user_input(sheet.crs),
        crs=CRS.from_user_input(grid.crs),
        transform=Affine(grid.resolution, 0, bounds[0], 0, -grid.resolution, bounds[3]),
        width=shape[1],
        height=shape[0],
        resampling=Resampling[settings.resampling],
        warp_mem_limit=128,
        **alpha,
    ) as warped:
        mask = warped.dataset_mask() > 0
        if not mask.any():
            return None
        return _to_uint8(warped.read(_indexes(source, settings)), settings), mask


def _indexes(source: rasterio.DatasetReader, settings: ImagerySettings) -> list[int]:
    """Bands to read; a sheet of one grey band stands in for all."""
    return [1] * len(settings.bands) if _colour_bands(source) == 1 else list(settings.bands)


def _to_uint8(data: np.ndarray, settings: ImagerySettings) -> np.ndarray:
    if data.dtype == np.uint8:
        return data
    assert settings.uint16_range is not None  # _check_pixels refused the sheet otherwise
    low, high = settings.uint16_range
    scaled = (data.astype(np.float32) - low) * (255.0 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


# -------------------------------------------------------------------------------------------- the catalogue


def to_parquet(catalogue: Catalogue) -> bytes:
    """GeoParquet of STAC items; what was quarantined is in the file's metadata, since it has no place."""
    import io
    import tempfile

    import pyarrow.parquet as pq
    import stac_geoparquet.arrow as stac

    table = stac.parse_stac_items_to_arrow([_item(sheet) for sheet in catalogue.sheets]).read_all()
    with tempfile.TemporaryDirectory() as folder:  # the library writes to paths only
        stac.to_parquet(table, f"{folder}/items.parquet")
        table = pq.read_table(f"{folder}/items.parquet")
    bad = json.dumps([[item.key, item.reason, item.remedy] for item in catalogue.quarantined], ensure_ascii=False)
    table = table.replace_schema_metadata({**table.schema.metadata, b"groundplan:quarantined": bad.encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> Catalogue:
    import io

    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    sheets = []
    for row in table.to_pylist():
        facts = json.loads(row["groundplan:sheet"])
        outline = tuple((x, y) for x, y in facts.pop("outline"))
        sheets.append(Sheet(**{**facts, "outline": outline, "transform": tuple(facts["transform"])}))
    bad = json.loads(table.schema.metadata[b"groundplan:quarantined"])
    return Catalogue(tuple(sheets), tuple(Quarantined(*item) for item in bad))


def _item(sheet: Sheet) -> dict[str, Any]:
    import pystac
    from dataclasses import asdict

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
    ring = [[round(value, 9) for value in to.transform(*(transform * corner))] for corner in corners]
    xs, ys = zip(*ring, strict=True)
    return {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [min(xs), min(ys), max(xs), max(ys)]}
