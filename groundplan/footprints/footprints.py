"""Building footprints: from probability blocks to polygons that carry where they come from.

Here: two steps of one dataset. `building_outlines` outlines each block by itself, so that a kill costs one block;
`building_footprints` merges across borders, then simplifies, and gives every building its columns. Not here: how
buildings are told apart (polygons/outlines.py) or squared (polygons/regularize.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.core.grid import Block
from groundplan.core.manifest import (
    Dataset,
    Made,
    Planned,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.progress import counted, going_on
from groundplan.imagery import tiles
from groundplan.imagery.ownership import region_area
from groundplan.imagery.regions import other_regions
from groundplan.polygons import outlines
from groundplan.project import Project
from groundplan.step import BBOX, GEOPARQUET, About, Scope, Step, Work
from groundplan.training import models

if TYPE_CHECKING:
    from collections.abc import Mapping

    import geopandas as gpd

    from groundplan.imagery.catalog import Sheet
from groundplan.footprints import predictions
from groundplan.footprints.outlines import OUTLINES
from groundplan.labels import registers
from groundplan.polygons.geoparquet import read, to_parquet


class Facts(TypedDict):
    """What a manifest says of an object."""

    buildings: int
    area_m2: float
    confidence: float | None
    vertices: float


DATASET: Dataset[Facts] = Dataset("building_footprints")
VERSION = "1"
WALLS_VERSION = 2  # of squaring touching buildings together (walls.py)
TEXTS = ("id", "image_date", "sheet", "model", "block", "fingerprint")
PROBABILITIES = ("p_building", "p_outline")


Needs: TypeAlias = "tuple[Partition, tuple[Made[Any], ...], Any, list[Sheet], dict[str, str]]"
"""What an object is made from."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One file of footprints."""
    pieces = need_manifest(project.store, OUTLINES, partition)
    model = models.model_for(project, partition.year)
    settings = project.settings.footprints
    sheet_catalog = tiles.catalog_of(project, partition)
    own = need_manifest(project.store, tiles.DATASET, partition).objects
    area = region_area(project, partition.region, sheet_catalog, [Block.parse(name) for name in own])
    sheets = tiles.sheets_around(project, partition)
    digest = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        pieces=pieces.identity(),
        model=model.facts["sha256"],
        ground=area.normalize().wkb_hex,
        sheets=[[sheet.sha256, sheet.name, sheet.day] for sheet in sheets],
        tiles=sorted([name, made.fingerprint] for name, made in own.items()),
        simplify=settings.simplify,
        regularise=settings.regularise,
        # Only where it is on: footprints of projects that do not know the setting stay as they are.
        **({"shared_walls": WALLS_VERSION} if settings.shared_walls else {}),
    )
    key = object_key(DATASET, partition, "footprints", digest, ".parquet")
    inputs = tuple(made.key for made in pieces.objects.values())
    args = (
        partition,
        tuple(pieces.objects.values()),
        area,
        sheets,
        {name: made.fingerprint for name, made in own.items()},
    )
    return [Planned(name="footprints", fingerprint=digest, key=key, inputs=inputs, args=args)]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Building footprints of a region: merged, squared, apart from each other, with their provenance."""
    import shapely

    partition, pieces, area, sheets, fingerprints = planned.needs
    model = models.load(project, partition.year)

    def frames() -> Any:
        for made in listed:
            check()
            yield load_object(project.store, made, read)

    with counted(f"joining outlines of {partition}", pieces, len(pieces)) as listed:
        whole = outlines.merge_outlines(frames(), model.thresholds, project.grid.resolution)
    check()
    with going_on(f"squaring {len(whole)} buildings"):
        frame = shape(whole, project, model.card)
    own = shapely.intersects_xy(area, frame["x"].to_numpy(), frame["y"].to_numpy())
    frame = frame[own].reset_index(drop=True)
    return Output(to_parquet(provenance(frame, project, sheets, model.name, fingerprints)))


def describe(data: bytes) -> Facts:
    import shapely

    frame = read(data)
    return {
        "buildings": len(frame),
        "area_m2": round(float(frame["area"].sum()), 1),
        "confidence": round(float(frame["confidence"].mean()), 4) if len(frame) else None,
        "vertices": round(float(shapely.get_num_coordinates(frame.geometry.values).mean()) - 1, 2) if len(frame) else 0,
    }


def shape(whole: gpd.GeoDataFrame, project: Project, card: Mapping[str, Any]) -> gpd.GeoDataFrame:
    """Pixel outlines to squared polygons in the grid's CRS, none overlapping; `anchor` is a point in each.

    With columns of how sure each is where the model's card says something of that, if only that nothing is known.
    """
    import geopandas as gpd
    import shapely

    from groundplan.polygons.drawing import Drawing, drawn

    grid = project.grid

    def place(points: np.ndarray) -> np.ndarray:
        return np.column_stack(
            [grid.origin[0] + points[:, 0] * grid.resolution, grid.origin[1] - points[:, 1] * grid.resolution]
        )

    raw = shapely.transform(whole.geometry.values, place)
    settings = project.settings.footprints
    drawing = Drawing(settings.simplify, settings.regularise, settings.shared_walls)
    polygons = drawn(raw, drawing, grid.resolution)
    anchors = place(whole[["anchor_x", "anchor_y"]].to_numpy(float) + 0.5)
    columns = {
        "confidence": whole["confidence"].round(4).to_numpy(),
        "pixel_x": whole["anchor_x"].to_numpy(),
        "pixel_y": whole["anchor_y"].to_numpy(),
        "x": anchors[:, 0],
        "y": anchors[:, 1],
    }
    if "certainty" in card:
        columns |= _probabilities(raw, whole["confidence"].to_numpy(), card["certainty"])
    return gpd.GeoDataFrame(columns, geometry=polygons, crs=grid.crs)


def _probabilities(raw: np.ndarray, confidence: np.ndarray, certainty: Mapping[str, Any] | None) -> dict[str, Any]:
    """Columns PROBABILITIES, float32; NaN, a null in the file, where the model knows of none."""
    from groundplan.polygons.certainty import Certainty, evidence
    from groundplan.polygons.walls import contacts

    weights = Certainty.of(certainty)
    if weights is None:
        found = np.full((2, len(raw)), np.nan)
    else:
        found = np.stack(weights.probabilities(evidence(raw, confidence, contacts(raw))))
    return dict(zip(PROBABILITIES, found.round(4).astype("float32"), strict=True))


def provenance(
    frame: gpd.GeoDataFrame, project: Project, sheets: list[Sheet], model: str, fingerprints: dict[str, str]
) -> gpd.GeoDataFrame:
    """Provenance columns: what a building is made from. Its id follows from its ground, not from the run."""
    import geopandas as gpd
    import pandas as pd
    import shapely

    tree = shapely.STRtree([sheet.polygon for sheet in sheets])
    points = shapely.points(frame["x"].to_numpy(), frame["y"].to_numpy())
    point, sheet = tree.query(points, predicate="intersects")
    top = np.full(len(frame), -1)
    np.maximum.at(top, point, sheet)  # sheets are in the order in which they are laid: the last one is seen
    topmost = [sheets[index] if index >= 0 else None for index in top]
    blocks = [project.grid.at(x, y).name for x, y in zip(frame["x"], frame["y"], strict=True)]
    columns = {
        "id": [_identity(project, x, y) for x, y in zip(frame["pixel_x"], frame["pixel_y"], strict=True)],
        "confidence": frame["confidence"].astype("float32"),
        **{name: frame[name] for name in PROBABILITIES if name in frame},
        "area": frame.geometry.area.round(2),
        "image_date": [sheet.acquired if sheet else None for sheet in topmost],
        "sheet": [sheet.name if sheet else None for sheet in topmost],
        "model": [model] * len(frame),
        "block": blocks,
        "fingerprint": [fingerprints.get(name, "") for name in blocks],
    }
    # types of their own: a column of nothing, or of nothing but nulls, would have none
    columns |= {name: pd.array(columns[name], dtype="str") for name in TEXTS}
    built = gpd.GeoDataFrame(columns, geometry=frame.geometry, crs=frame.crs)
    return built.sort_values("id").reset_index(drop=True)


def _identity(project: Project, x: int, y: int) -> str:
    """Building id, stable for the same ground and inputs: the grid and a pixel inside the building."""
    return fingerprint(grid=project.grid.identity(), x=int(x), y=int(y))


def load(project: Project, partition: Partition) -> gpd.GeoDataFrame:
    """The committed footprints of a region. Raises MissingInput."""
    return load_object(project.store, need_manifest(project.store, DATASET, partition).objects["footprints"], read)


def load_around(project: Project, partition: Partition) -> gpd.GeoDataFrame:
    """The region's footprints and those of the other regions that touch its ground, each building once."""
    import pandas as pd

    frames = [load(project, partition)]
    for region in other_regions(project, DATASET, partition):
        frames.append(load(project, Partition(partition.year, region)))
    return pd.concat(frames).drop_duplicates("id").reset_index(drop=True) if len(frames) > 1 else frames[0]


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(predictions.DATASET, tiles.DATASET),
    reads_around=(tiles.DATASET, predictions.DATASET),
    compared_with=(registers.DATASET,),
    automated=True,
    starts_when="new predictions; neighbours are done",
    work=Work(short="footprints", objects="region", of=OUTLINES, per="km2"),
    about=About(
        title="Building footprints with confidence, image date and model",
        description="The result: a polygon per building, touching buildings apart, merged across block and region "
        "borders, right-angled where the building is, with confidence, image date, sheet and model. GeoParquet 1.1 in "
        "the grid's CRS; `groundplan export` writes other formats.",
        group="footprints",
        kinds=frozenset({"geoparquet"}),
        format=GEOPARQUET,
        page="docs/architecture.md",
        columns=(
            ("id", "string", "stable for the same ground and inputs"),
            ("confidence", "float", "mean building probability inside [0..1]"),
            ("p_building", "float", "probability that it lies on a building; null without labels to know by [0..1]"),
            ("p_outline", "float", "probability that it is the outline of one, at IoU 0.5; null likewise [0..1]"),
            ("area", "double", "footprint [m2, in the grid's CRS]"),
            ("image_date", "string", "date of the imagery; null where only its year is known [ISO 8601]"),
            ("sheet", "string", "delivered file that shows the building"),
            ("model", "string", "year and identity of the model"),
            ("block", "string", "block that the building's anchor lies in"),
            ("fingerprint", "string", "fingerprint of that image block"),
            ("geometry", "polygon", "footprint [m, the grid's CRS]"),
            BBOX,
        ),
    ),
)
