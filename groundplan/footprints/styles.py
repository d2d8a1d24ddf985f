"""How QGIS draws footprints: a style by confidence, and a page of facts, for the files beside an export.

Here: the XML that QGIS 3 reads (.qml, .qmd, the table `layer_styles` of a GeoPackage). Not here: the features
(layer_files.py), a whole project (publish/qgis.py).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as Xml

QGIS = "3.22.0"  # the version whose XML this is; later ones read it
DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
CLASSES = (  # of the confidence, the surer the redder, as on the map: from, to, colour
    (0.0, 0.5, (255, 211, 77)),
    (0.5, 0.7, (255, 175, 69)),
    (0.7, 0.85, (255, 139, 61)),
    (0.85, 1.0, (255, 46, 77)),
)
STYLE = "confidence"


def renderer() -> Xml.Element:
    """QGIS's element of a graduated style: classes of confidence, filled thinly, so that the image shows through."""
    top = Xml.Element(
        "renderer-v2",
        type="graduatedSymbol",
        attr="confidence",
        graduatedMethod="GraduatedColor",
        symbollevels="0",
        enableorderby="0",
        forceraster="0",
    )
    ranges, symbols = Xml.SubElement(top, "ranges"), Xml.SubElement(top, "symbols")
    for index, (low, high, color) in enumerate(CLASSES):
        label = f"{low:g} - {high:g}"
        Xml.SubElement(ranges, "range", symbol=str(index), lower=f"{low}", upper=f"{high}", label=label, render="true")
        symbols.append(fill(str(index), color, 90))
    return top


def fill(name: str, color: tuple[int, int, int], opacity: int) -> Xml.Element:
    """QGIS's element of a filled polygon with an outline of the same colour. opacity of the filling: 0 to 255."""
    red, green, blue = color
    options = {
        "color": f"{red},{green},{blue},{opacity}",
        "outline_color": f"{red},{green},{blue},255",
        "outline_style": "solid",
        "outline_width": "0.4",
        "outline_width_unit": "MM",
        "style": "solid" if opacity else "no",
    }
    symbol = Xml.Element("symbol", name=name, type="fill", alpha="1", clip_to_extent="1", force_rhr="0")
    layer = Xml.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
    told = Xml.SubElement(layer, "Option", type="Map")
    for key, value in options.items():
        Xml.SubElement(told, "Option", name=key, type="QString", value=value)
    return symbol


def qml() -> str:
    """A .qml file: QGIS takes it for the layer of the same name beside it."""
    top = Xml.Element("qgis", version=QGIS, styleCategories="Symbology")
    top.append(renderer())
    Xml.SubElement(top, "blendMode").text = "0"
    Xml.SubElement(top, "featureBlendMode").text = "0"
    Xml.SubElement(top, "layerOpacity").text = "1"
    Xml.SubElement(top, "layerGeometryType").text = "2"
    return document(top)


def qmd(title: str, description: str, attribution: str, licence: str) -> str:
    """A .qmd file: what QGIS shows of a layer whose format has no room for words, such as a Shapefile."""
    top = Xml.Element("qgis", version=QGIS)
    words = {"type": "dataset", "title": title, "abstract": description, "rights": attribution, "license": licence}
    for name, text in words.items():
        Xml.SubElement(top, name).text = text
    return document(top)


def document(top: Xml.Element) -> str:
    Xml.indent(top)
    return DOCTYPE + Xml.tostring(top, encoding="unicode") + "\n"


def add_style(file: Path, layer: str) -> None:
    """Put the style into a GeoPackage, in the table that QGIS looks for, as the layer's default."""
    with closing(sqlite3.connect(file)) as database, database:
        (geometry,) = database.execute(
            "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
        ).fetchone()
        database.execute(
            "CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT, f_table_catalog TEXT, "
            "f_table_schema TEXT, f_table_name TEXT, f_geometry_column TEXT, styleName TEXT, styleQML TEXT, "
            "styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT, ui TEXT, update_time DATETIME "
            "DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))"
        )
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, ?, ?, '', 1, ?, '')",
            (layer, geometry, STYLE, qml(), "the surer, the redder"),
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('layer_styles', 'attributes', "
            "'layer_styles')"
        )
