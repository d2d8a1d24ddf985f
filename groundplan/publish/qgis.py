"""A QGIS project of a home: its images, labels and probabilities from the map server, footprints and register as files.

Here: the folder with the project (.qgz, the XML of QGIS 3) and the GeoPackages that it shows. Not here: how footprints
are drawn (footprints/styles.py), the server (serving/maps).
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as Xml

from groundplan.core.manifest import committed, need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, MissingInput
from groundplan.footprints import export, footprints, predictions, styles
from groundplan.imagery import tiles
from groundplan.imagery.credits import credits_of
from groundplan.labels import masks, registers
from groundplan.project import Project

PROJECT = "groundplan.qgz"
SERVER = "http://127.0.0.1:3001"  # where `groundplan serve` listens, if nothing else is set
DEEPEST = 22  # zoom
TILES = "EPSG:3857"  # CRS of the server's tiles
PICTURES: dict[str, str] = {
    tiles.DATASET: "imagery",
    predictions.DATASET: "building probability",
    masks.DATASET: "labels",
}
SHOWN = "imagery"
REGISTER = "register"


@dataclass(frozen=True, slots=True, kw_only=True)
class QgisLayer:
    """A layer of the project. source: in QGIS's words. year: of the group that it stands in."""

    name: str
    source: str
    provider: str
    year: int
    shown: bool
    crs: str
    credit: str = ""
    renderer: Xml.Element | None = None

    def key(self, index: int) -> str:
        return f"layer_{index}"


def write_qgis(project: Project, folder: Path) -> Path:
    """Write the project and its GeoPackages into a folder, made if it lacks. Returns the project file.

    Raises MissingInput where no region has imagery yet, BadConfig where the folder cannot be written.
    """
    imaged = [one.partition for one in committed(project.store, tiles.DATASET)]
    if not imaged:
        raise MissingInput(str(project.home), "no imagery is made yet", "Run `groundplan build` first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".groundplan-", dir=folder) as made:
            part = Path(made)
            layers = [*_vectors(project, part), *_pictures(project)]
            bounds = _bounds(project, max(partition.year for partition in imaged))
            with zipfile.ZipFile(part / PROJECT, "w", zipfile.ZIP_DEFLATED) as packed:
                name = PROJECT.replace(".qgz", ".qgs")
                packed.writestr(zipfile.ZipInfo(name), document(project, layers, bounds), zipfile.ZIP_DEFLATED)
            for path in sorted(part.iterdir(), key=lambda path: path.name == PROJECT):  # the project last
                shutil.move(path, folder / path.name)
    except OSError as error:
        raise BadConfig(str(folder), f"it cannot be written ({error.strerror})", "Choose another folder") from error
    return folder / PROJECT


def _vectors(project: Project, folder: Path) -> Iterator[QgisLayer]:
    """Footprints and registers as files in the folder; a layer for each year of them."""
    crs, made = project.grid.crs, [one.partition for one in committed(project.store, footprints.DATASET)]
    if made:
        export.export_all(project, folder / "footprints.gpkg", made)
        (folder / "footprints.qml").unlink()  # the project draws them
    given = _register(project, folder / "register.gpkg")
    for kind, partitions in (("footprints", made), (REGISTER, given)):
        for year in sorted({partition.year for partition in partitions}, reverse=True):
            words = export.layer_words(project, [partition for partition in partitions if partition.year == year])
            yield QgisLayer(
                name=f"{kind} {year}",
                source=f'./{kind}.gpkg|layername={kind}|subset="year" = {year}',
                provider="ogr",
                year=year,
                shown=kind == "footprints",
                crs=crs,
                credit=words.attribution or "",
                renderer=styles.renderer() if kind == "footprints" else _outlines(),
            )


def _register(project: Project, target: Path) -> list[Partition]:
    """Write all regions' registers as one layer. Returns the partitions that have one."""
    import geopandas as gpd
    import pandas as pd

    frames, given = [], []
    for one in committed(project.store, registers.DATASET):
        frame = registers.load(project, one.partition)[0][["geometry"]]
        if len(frame):
            frames.append(frame.assign(region=one.partition.region, year=one.partition.year))
            given.append(one.partition)
    if frames:
        whole = gpd.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=project.grid.crs)
        whole.to_file(target, driver="GPKG", layer=REGISTER, engine="pyogrio")
    return given


def _outlines() -> Xml.Element:
    top = Xml.Element("renderer-v2", type="singleSymbol", symbollevels="0", enableorderby="0", forceraster="0")
    Xml.SubElement(top, "symbols").append(styles.fill("0", (38, 110, 190), 0))
    return top


def _pictures(project: Project) -> Iterator[QgisLayer]:
    """The server's tiles: a layer for each region and year of what can be looked at; imagery is shown."""
    root = project.settings.serving.url.rstrip("/") or SERVER
    for dataset, kind in PICTURES.items():
        for partition in sorted((one.partition for one in committed(project.store, dataset)), key=_newest):
            address = f"{root}/tiles/{dataset}/{quote(partition.region)}/{partition.year}/{{z}}/{{x}}/{{y}}.png"
            yield QgisLayer(
                name=f"{kind} {partition}",
                source=f"type=xyz&url={quote(address, safe=':/{}')}&zmin=0&zmax={DEEPEST}",
                provider="wms",
                year=partition.year,
                shown=kind == SHOWN,
                crs=TILES,
                credit=credits_of(project, partition).imagery_line or "",
            )


def _newest(partition: Partition) -> tuple[int, str]:
    return -partition.year, partition.region


def _bounds(project: Project, year: int) -> tuple[float, ...]:
    """Bounds of the year's blocks, in the grid's CRS."""
    from groundplan.core.grid import Block

    partitions = [one.partition for one in committed(project.store, tiles.DATASET, year)]
    names = [name for one in partitions for name in need_manifest(project.store, tiles.DATASET, one).objects]
    left, bottom, right, top = zip(*(project.grid.bounds(Block.parse(name)) for name in names), strict=True)
    return min(left), min(bottom), max(right), max(top)


# ------------------------------------------------------------------------------------------------------------ XML


def document(project: Project, layers: Sequence[QgisLayer], bounds: Sequence[float]) -> str:
    """The project as QGIS reads it: a group for each year, the newest open and shown."""
    title = f"Groundplan: {project.home.name}"
    top = Xml.Element("qgis", projectname=title, version=styles.QGIS)
    Xml.SubElement(top, "title").text = title
    Xml.SubElement(top, "projectCrs").append(_crs(project.grid.crs))
    tree = Xml.SubElement(top, "layer-tree-group")
    kept = Xml.SubElement(top, "projectlayers")
    order = Xml.SubElement(top, "layerorder")
    newest = max(layer.year for layer in layers)
    groups: dict[int, Xml.Element] = {}
    for index, layer in sorted(enumerate(layers), key=lambda pair: (-pair[1].year, pair[0])):
        seen = "Qt::Checked" if layer.year == newest else "Qt::Unchecked"
        if layer.year not in groups:
            opened = str(int(layer.year == newest))
            groups[layer.year] = Xml.SubElement(
                tree, "layer-tree-group", name=str(layer.year), checked=seen, expanded=opened
            )
        Xml.SubElement(
            groups[layer.year],
            "layer-tree-layer",
            id=layer.key(index),
            name=layer.name,
            source=layer.source,
            providerKey=layer.provider,
            checked="Qt::Checked" if layer.shown else "Qt::Unchecked",
            expanded="0",
        )
        kept.append(_layer(layer, layer.key(index)))
        Xml.SubElement(order, "layer", id=layer.key(index))
    _canvas(top, project.grid.crs, bounds)
    told = Xml.SubElement(Xml.SubElement(top, "properties"), "SpatialRefSys")
    Xml.SubElement(told, "ProjectionsEnabled", type="int").text = "1"  # else QGIS passes over the project's CRS
    return styles.document(top)


def _layer(layer: QgisLayer, key: str) -> Xml.Element:
    vector = layer.provider == "ogr"
    kind = {"type": "vector", "geometry": "Polygon"} if vector else {"type": "raster"}
    top = Xml.Element("maplayer", kind)
    Xml.SubElement(top, "id").text = key
    Xml.SubElement(top, "datasource").text = layer.source
    Xml.SubElement(top, "layername").text = layer.name
    Xml.SubElement(top, "srs").append(_crs(layer.crs))
    Xml.SubElement(top, "provider").text = layer.provider
    if layer.credit:
        Xml.SubElement(top, "attribution").text = layer.credit
        Xml.SubElement(Xml.SubElement(top, "resourceMetadata"), "rights").text = layer.credit
    if layer.renderer is not None:
        top.append(layer.renderer)
    return top


def _canvas(top: Xml.Element, crs: str, bounds: Sequence[float]) -> None:
    canvas = Xml.SubElement(top, "mapcanvas", name="theMapCanvas", annotationsVisible="1")
    Xml.SubElement(canvas, "units").text = "meters"
    extent = Xml.SubElement(canvas, "extent")
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        Xml.SubElement(extent, name).text = repr(value)
    Xml.SubElement(canvas, "rotation").text = "0"
    Xml.SubElement(canvas, "destinationsrs").append(_crs(crs))


def _crs(text: str) -> Xml.Element:
    """QGIS's element of a CRS: its code where it has one, and WKT, which it goes by where it knows the code not."""
    from pyproj import CRS

    crs = CRS.from_user_input(text)
    authority = crs.to_authority()
    top = Xml.Element("spatialrefsys", nativeFormat="Wkt")
    Xml.SubElement(top, "wkt").text = crs.to_wkt()
    Xml.SubElement(top, "authid").text = ":".join(authority) if authority else ""
    Xml.SubElement(top, "description").text = crs.name
    Xml.SubElement(top, "geographicflag").text = str(crs.is_geographic).lower()
    return top
