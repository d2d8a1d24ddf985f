"""The country by year: which region is done, missing or failed, how good it is, and where it lies.

Here: the data of the map page and of the map's picture, gathered from listings of the store and from what changed since
they were last gathered. Not here: HTTP and JavaScript (serving/), Dagster's own record of runs (assets/).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.geographic import box_of, geographic, unwrapped
from groundplan.core.manifest import committed, failure_key, manifest_key
from groundplan.core.partition import Partition
from groundplan.core.store import Found, Store
from groundplan.errors import MissingInput
from groundplan.footprints import footprints, national
from groundplan.imagery import catalog
from groundplan.imagery.landing import delivered_partitions
from groundplan.imagery.regions import readable_polygons
from groundplan.pipeline import ALWAYS, ASSETS, STEPS
from groundplan.project import Project
from groundplan.quality.verdict import verdict_key
from groundplan.step import Scope

if TYPE_CHECKING:
    from shapely import Geometry


DONE, PARTLY, MISSING, FAILED = "done", "partly", "missing", "failed"
QUALITY = "footprints_quality"
MOST_READS = 4000  # small objects read at one gathering; the rest at the next ones
READERS = 16  # requests in flight
READ = "maps/read.json"
DETAIL = 4000  # a shape is simplified to about this many steps across the country: finer is below a pixel
BY_REGION = tuple(name for name in ASSETS if STEPS[name].scope is Scope.REGION)
NEEDED = tuple(name for name in BY_REGION if name in ALWAYS)
"""Without these a region is not done; the others a project may do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionYear:
    """A region in a year as the map shows it."""

    region: str
    year: int
    state: str
    """done: footprints are made and nothing failed; partly; missing: nothing is made; failed: some dataset failed."""
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    buildings: int | None = None
    iou: float | None = None
    f1: float | None = None
    ground: str = ""
    """On which ground the scores were taken: test, or all where the model did not learn from the region."""
    changed: str = ""
    """When something was last committed of it, or failed, as the store says: UTC, ISO 8601; '' where nothing was."""


@dataclass
class Known:
    """Small objects that were read before, by key, with the tag they had. Give it to the next `gather`."""

    texts: dict[str, tuple[str, Any]] = field(default_factory=dict)


def gather(project: Project, known: Known | None = None, most: int | None = MOST_READS) -> list[RegionYear]:
    """Every delivered region and year, sorted. Four listings, and a read of each object that changed since.

    most: reads now, scores before counts; what is left out is read by the next calls. None: all of them.
    Raises StoreFailed: a failed listing is not an empty country.
    """
    known = known if known is not None else Known()
    made = {one.found.key: one.found for one in committed(project.store)}
    failed = {item.key: item for item in project.store.list("failures")}
    verdicts = {item.key: item for item in project.store.list(f"verdicts/{QUALITY}")}
    delivered = delivered_partitions(project)
    wanted = [verdicts[key] for p in delivered if (key := verdict_key(QUALITY, p)) in verdicts]
    wanted += [made[key] for p in delivered if (key := manifest_key(footprints.DATASET, p)) in made]
    told = _read(project.store, wanted, known, most)
    return [_place(partition, made, failed, told) for partition in delivered]


def _place(
    partition: Partition, made: Mapping[str, Found], failed: Mapping[str, Found], told: Mapping[str, Any]
) -> RegionYear:
    lacking = tuple(name for name in NEEDED if manifest_key(name, partition) not in made)
    broken = tuple(name for name in BY_REGION if failure_key(name, partition) in failed)
    if broken:
        state = FAILED
    elif footprints.DATASET not in lacking:
        state = DONE
    else:
        state = MISSING if len(lacking) == len(NEEDED) else PARTLY
    facts = told.get(verdict_key(QUALITY, partition)) or {}
    counts = told.get(manifest_key(footprints.DATASET, partition)) or {}
    return RegionYear(
        region=partition.region,
        year=partition.year,
        state=state,
        missing=lacking,
        failed=broken,
        buildings=_number(counts.get("buildings")),
        iou=_number(facts.get("iou")),
        f1=_number(facts.get("object_f1")),
        ground=str(facts.get("ground", "")).encode(errors="replace").decode(),
        changed=_changed(partition, made, failed),
    )


def _changed(partition: Partition, made: Mapping[str, Found], failed: Mapping[str, Found]) -> str:
    """When the last of its manifests or failures was written."""
    written = [made.get(manifest_key(name, partition)) for name in BY_REGION]
    written += [failed.get(failure_key(name, partition)) for name in BY_REGION]
    times = [found.modified.astimezone(UTC) for found in written if found]
    return max(times).isoformat(timespec="seconds") if times else ""


def _number(value: Any) -> Any:
    """A number that a browser can read, None for anything else: what a text of the store says may be spoiled."""
    return value if isinstance(value, (int, float)) and abs(value) < 1e15 else None


def remembered(store: Store) -> Known:
    """What the last `remember` kept; nothing where there is none."""
    try:
        return Known({key: (str(tag), _dict(facts)) for key, (tag, facts) in json.loads(store.get(READ)).items()})
    except (MissingInput, ValueError, TypeError, AttributeError, RecursionError):
        return Known()


def remember(store: Store, known: Known) -> None:
    """Keep what was read, so that a server that starts has not to read a country again. Losing it costs only time."""
    store.put(READ, json.dumps(known.texts, ensure_ascii=False).encode())


def _read(store: Store, wanted: list[Found], known: Known, most: int | None = MOST_READS) -> dict[str, Any]:
    """Facts of small JSON objects by key; those whose tag is the same as before are not read again."""
    stale = [item for item in wanted if known.texts.get(item.key, ("", None))[0] != item.tag][:most]

    def facts_of(item: Found) -> tuple[str, tuple[str, Any]]:
        try:
            raw = json.loads(store.get(item.key))
            facts = raw.get("facts") or next((one.get("facts") for one in raw.get("objects", {}).values()), None)
        except (MissingInput, ValueError, AttributeError, RecursionError):  # removed or replaced since, or broken
            return item.key, ("", None)
        return item.key, (item.tag, _dict(facts))

    with ThreadPoolExecutor(READERS) as pool:
        known.texts.update(pool.map(facts_of, stale))
    return {item.key: known.texts[item.key][1] for item in wanted if item.key in known.texts}


def _dict(facts: Any) -> dict[str, Any] | None:
    return facts if isinstance(facts, dict) else None


# ------------------------------------------------------------------------------------------------ where they lie


def shapes(project: Project, regions: list[str], known: Known | None = None) -> dict[str, Geometry]:
    """Name to outline in EPSG:4326, simplified for a map; without a polygon file the box around a region's sheets."""
    polygons = dict(readable_polygons(project))
    lost = [name for name in regions if name not in polygons]
    if lost:
        polygons |= _boxes(project, lost, known if known is not None else Known())
    return _geographic(polygons, project.grid.crs) if polygons else {}


def _boxes(project: Project, regions: list[str], known: Known) -> dict[str, Geometry]:
    import shapely

    found: dict[str, Found] = {}
    for one in committed(project.store, catalog.DATASET):  # years ascend: the newest stays
        if one.year and one.partition.region in regions:
            found[one.partition.region] = one.found
    told = _read(project.store, list(found.values()), known)
    boxes = {name: (told.get(item.key) or {}).get("bounds") for name, item in found.items()}
    return {name: shapely.box(*bounds) for name, bounds in boxes.items() if bounds}


def _geographic(polygons: Mapping[str, Geometry], crs: str) -> dict[str, Geometry]:
    import shapely

    shapes_ = np.array(list(polygons.values()))
    left, bottom, right, top = shapely.total_bounds(shapes_)
    tolerance = max(right - left, top - bottom) / DETAIL
    simple = shapely.coverage_simplify(shapes_, tolerance)  # neighbours keep one border between them
    simple = np.where(shapely.is_empty(simple) | ~shapely.is_valid(simple), shapes_, simple)
    there = geographic(shapely.segmentize(simple, max(right - left, top - bottom) / 40), crs)
    return dict(zip(polygons, shapely.set_precision(there, 1e-6), strict=True))


def page_data(project: Project, known: Known | None = None) -> dict[str, Any]:
    """What the map page asks for, as JSON-ready values: years, bounds, regions as GeoJSON, and every place.

    merged: years of which all regions are in one set of files.
    """
    import shapely

    places = gather(project, known)
    names = sorted({place.region for place in places})
    outlines = shapes(project, names, known)
    features = [
        {
            "type": "Feature",
            "id": number,
            "geometry": shapely.geometry.mapping(shape),
            "properties": {"name": name, "at": shapely.get_coordinates(shapely.point_on_surface(shape))[0].tolist()},
        }
        for number, (name, shape) in enumerate(sorted(outlines.items()))
    ]
    box = box_of(list(outlines.values()))
    bounds = list(unwrapped(box)) if box else None
    return {
        "years": sorted({place.year for place in places}),
        "bounds": bounds,
        "regions": {"type": "FeatureCollection", "features": features},
        "places": [asdict(place) for place in places],
        "merged": sorted({one.year for one in committed(project.store, national.DATASET) if one.year}),
        "crs": project.grid.crs,
    }


# ---------------------------------------------------------------------------------------------------- the picture

COLORS = {DONE: (46, 125, 87), PARTLY: (233, 180, 76), MISSING: (168, 176, 186), FAILED: (197, 58, 50)}
UNSCORED = (92, 148, 172)  # done, and no register to compare with
NOWHERE = (232, 235, 239)  # a region for which nothing was delivered that year
PANEL, GAP, HEAD = 300, 18, 34  # pixels


def picture(places: list[RegionYear], outlines: Mapping[str, Geometry], crs: str) -> bytes:
    """PNG: the country once per year, its regions coloured by state; the better the score, the darker the green."""
    from PIL import Image, ImageDraw

    years = sorted({place.year for place in places})[-12:]
    columns = max(1, min(4, len(years)))
    lines = max(1, -(-len(years) // columns))
    wide, high = columns * (PANEL + GAP) + GAP, lines * (PANEL + HEAD + GAP) + GAP + 26
    image = Image.new("RGB", (wide * 2, high * 2), "white")  # twice as large, then halved: smooth edges
    draw = ImageDraw.Draw(image)
    rings, border = _rings(outlines, crs), 3 if len(outlines) < 100 else 1
    by_place = {(place.region, place.year): place for place in places}
    for number, year in enumerate(years):
        corner = (GAP + (number % columns) * (PANEL + GAP)) * 2, (GAP + (number // columns) * (PANEL + HEAD + GAP)) * 2
        draw.text(corner, str(year), fill=(32, 38, 46), font=_font(44))
        for region, parts in rings.items():
            color = color_of(by_place.get((region, year)))
            for part in parts:
                points = [(corner[0] + px * 2, corner[1] + (HEAD + py) * 2) for px, py in part]
                draw.polygon(points, fill=color, outline="white", width=border)
    _legend(draw, high)
    buffer = io.BytesIO()
    # all colours stay: a palette made by counting would drop the red of the one region that failed
    image.resize((wide, high), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def color_of(place: RegionYear | None) -> tuple[int, int, int]:
    """Failed red, missing grey, partly amber, done green, paler below F1 0.9, and blue where nothing was scored."""
    if place is None:
        return NOWHERE
    red, green, blue = COLORS[place.state]
    if place.state != DONE:
        return red, green, blue
    if place.f1 is None:
        return UNSCORED
    light = min(1.0, max(0.0, (0.9 - place.f1) / 0.5))
    return tuple(round(part + (225 - part) * 0.7 * light) for part in (red, green, blue))  # type: ignore[return-value]


def _rings(outlines: Mapping[str, Geometry], crs: str) -> dict[str, list[np.ndarray]]:
    """Outer rings in pixels of a panel, north up, in the grid's CRS so that the country has its usual shape."""
    import geopandas as gpd
    import shapely

    if not outlines:
        return {}
    series = gpd.GeoSeries(list(outlines.values()), crs=4326).to_crs(crs)
    left, bottom, right, top = series.total_bounds
    scale = PANEL / max(right - left, top - bottom, 1e-9)
    left, top = left - (PANEL / scale - (right - left)) / 2, top + (PANEL / scale - (top - bottom)) / 2  # in the middle
    found = {}
    for name, shape in zip(outlines, series.values, strict=True):
        outer = [shapely.get_coordinates(part.exterior) for part in shapely.get_parts(shape)]
        found[name] = [(ring - (left, top)) * (scale, -scale) for ring in outer]
    return found


def _legend(draw: Any, high: int) -> None:
    at = GAP * 2
    for name, color in ({DONE: COLORS[DONE], "done, not scored": UNSCORED} | COLORS).items():
        draw.rectangle((at, (high - 28) * 2, at + 28, (high - 28) * 2 + 28), fill=color)
        draw.text((at + 40, (high - 31) * 2), name, fill=(32, 38, 46), font=_font(28))
        at += round(80 + draw.textlength(name, font=_font(28)))


@lru_cache(maxsize=4)
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
