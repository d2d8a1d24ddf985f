"""Footprints as vector tiles of WebMercatorQuad, out of either database.

Here: which footprints lie on a tile, and where. Not here: the encoding (PostGIS's ST_AsMVT, mvt.py), HTTP.
A tile is small: on it the way from the grid to the web map is a straight one (an affine map) to less than half a
tile's unit, which PostGIS computes at a fraction of the cost of asking PROJ for each corner, in any CRS, and with the
datum shift that the project has grids for. Where it is not straight enough, each corner is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from groundplan.core.datum import transformer
from groundplan.core.geographic import WGS84
from groundplan.core.grid import Bounds
from groundplan.database import queries
from groundplan.database.tables import footprint
from groundplan.previews.web_tiles import tile_bounds
from serving.ogc import asked, mvt
from serving.ogc.documents import LEAST_ZOOM
from serving.ogc.results import Collection, Results

LAYER = "footprints"
WEB = "EPSG:3857"
BUFFER = 64  # of a tile's units around it, so that lines at its edge are whole
MOST = 30_000  # buildings of one tile
PIXELS = 512  # that a tile is drawn with
UNSEEN = 0.5  # pixels; a building of a smaller side is left out
COLUMNS = (
    footprint.c.id,
    footprint.c.region,
    footprint.c.confidence,
    footprint.c.area,
    footprint.c.image_date,
)


def tile(results: Results, collection: Collection, query: asked.Query, place: tuple[int, int, int]) -> bytes:
    """The tile z, x, y; b'' where nothing lies on it, and further out than LEAST_ZOOM.

    Raises ValueError for a tile that is none, Problem.
    """
    bounds = tile_bounds(*place)
    selection = asked.selection_of(results, collection, query)
    if selection is None or collection.box is None or place[0] < LEAST_ZOOM:
        return b""
    area = _area(results, bounds, collection)
    if not area:
        return b""
    selection = queries.Selection(
        year=selection.year,
        srid=selection.srid,
        region=selection.region,
        area=area,
        where=(*selection.where, *_large(bounds), *_also(results, selection)),
    )
    straight = _affine(results, bounds)
    with results.reading() as connection:
        if connection.dialect.name == "postgresql" and straight is not None:
            return _by_postgis(connection, selection, bounds, straight)
        rows = connection.execute(queries.select(connection, selection, *COLUMNS, footprint.c.geom).limit(MOST)).all()
    return _encoded(results, rows, bounds)


def _area(results: Results, bounds: Bounds, collection: Collection) -> bytes:
    """WKB of a tile and its buffer in the grid's CRS, as far as there are buildings; b'' without any."""
    import shapely

    edge = (bounds[2] - bounds[0]) * BUFFER / mvt.EXTENT
    left, bottom, right, top = bounds[0] - edge, bounds[1] - edge, bounds[2] + edge, bounds[3] + edge
    box = transformer(WEB, WGS84).transform_bounds(left, bottom, right, top)
    west, south, east, north = collection.box or box
    near = shapely.box(west - 1e-6, south - 1e-6, east + 1e-6, north + 1e-6)
    return asked.in_grid(results, shapely.intersection(shapely.box(*box), near))


def _also(results: Results, selection: queries.Selection) -> tuple[queries.Condition, ...]:
    """The box of a request beside the tile's own."""
    if selection.area is None:
        return ()
    return queries.meets(results.engine.dialect.name, selection.area, selection.year, selection.srid)


def _large(bounds: Bounds) -> tuple[queries.Condition, ...]:
    """Buildings that would be seen."""
    middle = (bounds[1] + bounds[3]) / 2 / 6378137.0
    pixel = (bounds[2] - bounds[0]) / PIXELS / np.cosh(middle)
    return (footprint.c.area >= float((UNSEEN * pixel) ** 2),) if pixel > 2 else ()


def _affine(results: Results, bounds: Bounds) -> np.ndarray | None:
    """a, b, d, e, x, y from the grid's CRS to the web map's, on a tile; None where that is off by half a unit."""
    x, y = (
        axis.ravel() for axis in np.meshgrid(np.linspace(bounds[0], bounds[2], 5), np.linspace(bounds[1], bounds[3], 5))
    )
    across, along = transformer(WEB, results.project.grid.crs).transform(x, y)
    if not (np.isfinite(across).all() and np.isfinite(along).all()):
        return None
    middle = across.mean(), along.mean()
    known = np.column_stack([across - middle[0], along - middle[1], np.ones_like(across)])
    solved = np.linalg.lstsq(known, np.column_stack([x - bounds[0], y - bounds[1]]), rcond=None)[0]
    off = np.abs(known @ solved - np.column_stack([x - bounds[0], y - bounds[1]])).max()
    if off > 0.5 * (bounds[2] - bounds[0]) / mvt.EXTENT:
        return None
    (a, d), (b, e), (right, up) = solved
    return np.array(
        [a, b, d, e, right + bounds[0] - a * middle[0] - b * middle[1], up + bounds[1] - d * middle[0] - e * middle[1]]
    )


def _by_postgis(connection: Connection, selection: queries.Selection, bounds: Bounds, straight: np.ndarray) -> bytes:
    placed = sa.func.ST_Affine(footprint.c.geom, *map(float, straight))
    box = sa.func.ST_MakeBox2D(sa.func.ST_Point(bounds[0], bounds[1]), sa.func.ST_Point(bounds[2], bounds[3]))
    cut = sa.func.ST_AsMVTGeom(placed, box, mvt.EXTENT, BUFFER, True).label("geom")
    rows = queries.select(connection, selection, *COLUMNS, cut).limit(MOST).subquery("rows")
    row: Any = sa.literal_column("rows")
    made = sa.func.ST_AsMVT(row, LAYER, mvt.EXTENT, "geom")
    return bytes(connection.scalar(sa.select(made).select_from(rows).where(rows.c.geom.is_not(None))) or b"")


def _encoded(results: Results, rows: Any, bounds: Bounds) -> bytes:
    """Rows as a tile, each corner placed by PROJ."""
    import shapely

    to, unit = transformer(results.project.grid.crs, WEB), mvt.EXTENT / (bounds[2] - bounds[0])

    def place(points: np.ndarray) -> np.ndarray:
        x, y = to.transform(points[:, 0], points[:, 1])
        return np.column_stack([(x - bounds[0]) * unit, (bounds[3] - y) * unit])

    shapes = shapely.transform(shapely.from_wkb(np.array([bytes(row.geom) for row in rows], object)), place)
    end = mvt.EXTENT + BUFFER
    shapes = shapely.clip_by_rect(shapes, -BUFFER, -BUFFER, end, end) if len(shapes) else shapes
    names = [column.name for column in COLUMNS]
    return mvt.layer(
        LAYER, ((shape, {name: getattr(row, name) for name in names}) for shape, row in zip(shapes, rows, strict=True))
    )
