"""What each dataset is, for a reader of the web UI: columns with units, bands, documents, how fresh it should be.

Here: words and tables that do not change from run to run. Not here: what a run says of its partition (report.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

COG = "https://docs.ogc.org/is/21-026/21-026.html"
GEOPARQUET = "https://geoparquet.org/releases/v1.1.0/"
STAC = "https://github.com/stac-utils/stac-geoparquet/blob/main/spec/stac-geoparquet-spec.md"
ONNX = "https://onnx.ai/onnx/intro/concepts.html"

# name, type, what it is [unit]
Column = tuple[str, str, str]
BOX: Column = ("bbox", "struct<xmin, ymin, xmax, ymax: double>", "bounds of the geometry [its CRS]; lets readers skip")

TABLES: Mapping[str, tuple[Column, ...]] = {
    "sheets": (
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
    "register_buildings": (
        ("register", "string", "name of the register that the polygon comes from"),
        ("geometry", "polygon", "building, repaired [m, the grid's CRS]"),
        BOX,
    ),
    "training_windows": (
        ("col", "int64", "left edge, counted on the whole grid [pixels]"),
        ("row", "int64", "upper edge, counted on the whole grid [pixels]"),
        ("size", "int64", "side [pixels]"),
        ("train", "double", "share of the window that is labelled training ground [0..1]"),
        ("validation", "double", "the same of validation ground [0..1]"),
        ("test", "double", "the same of test ground [0..1]"),
        ("building", "double", "share that is building on training ground [0..1]"),
        ("weight", "double", "how often it is learned from, relative to others [1]"),
        ("geometry", "polygon", "the window on the ground [m, the grid's CRS]"),
        BOX,
    ),
    "building_footprints": (
        ("id", "string", "stable for the same ground and inputs"),
        ("confidence", "float", "mean building probability inside [0..1]"),
        ("area", "double", "footprint [m2, in the grid's CRS]"),
        ("image_date", "string", "date of the imagery [ISO 8601]"),
        ("sheet", "string", "delivered file that shows the building"),
        ("model", "string", "year and identity of the model"),
        ("block", "string", "block that the building's anchor lies in"),
        ("fingerprint", "string", "fingerprint of that image block"),
        ("geometry", "polygon", "footprint [m, the grid's CRS]"),
        BOX,
    ),
}

BANDS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "aerial_tiles": (
        ("1 to 3 (imagery.bands)", "uint8", "red, green, blue as delivered; 16 bits scaled by imagery.uint16_range"),
        ("mask", "1 bit", "1 where there is imagery"),
    ),
    "labels": (
        ("1", "uint8", "0 ground, 1 building, 2 inner edge of a building, 3 gap between two buildings, 255 unknown"),
    ),
    "predictions": (
        ("1 building", "uint8", "probability of a building, 0..255 for 0..1"),
        ("2 edge", "uint8", "probability of an edge between buildings, 0..255 for 0..1"),
    ),
}

DOCUMENTS: Mapping[str, tuple[str, str]] = {
    "sheets": (STAC, "docs/bad-input.md"),
    "aerial_tiles": (COG, "docs/architecture.md"),
    "register_buildings": (GEOPARQUET, "docs/bad-input.md"),
    "labels": (COG, "docs/architecture.md"),
    "training_windows": (GEOPARQUET, "docs/architecture.md"),
    "trained_model": (ONNX, "docs/architecture.md"),
    "predictions": (COG, "docs/architecture.md"),
    "building_footprints": (GEOPARQUET, "docs/architecture.md"),
    "country_status": ("", "docs/kubernetes.md"),
    "country_map": ("", "docs/web-ui.md"),
    "operations_catalogue": ("", "docs/web-ui.md"),
}


def about(dataset: str) -> dict[str, Any]:
    """Metadata of an asset's definition: columns or bands, the format's specification, the page of our documents."""
    standard, page = DOCUMENTS[dataset]
    metadata: dict[str, Any] = {"documents": dg.MetadataValue.path(page)}
    if standard:
        metadata["format"] = dg.MetadataValue.url(standard)
    if dataset in TABLES:
        columns = [dg.TableColumn(name, kind, text) for name, kind, text in TABLES[dataset]]
        metadata["dagster/column_schema"] = dg.TableSchema(columns)
    if dataset in BANDS:
        lines = ["| band | type | holds |", "|---|---|---|", *(f"| {' | '.join(band)} |" for band in BANDS[dataset])]
        metadata["bands"] = dg.MetadataValue.md("\n".join(lines))
    return metadata


# imagery comes once a year: a dataset in which nothing was made for longer than that has missed a flight
YEARLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=460), warn_window=timedelta(days=400))
# what tells of the whole country is out of date sooner; weekly care makes it anew
WEEKLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8))

OWNERS = ["team:groundplan"]

PROFILE_TAG = "groundplan/profile"
DEFAULT = "io"  # of what says nothing
