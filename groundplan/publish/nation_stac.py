"""A STAC catalogue of a country's publication: a collection for each year, an item for each part.

Here: the JSON documents, with relative links. Not here: the files that they lead to (nation.py), the catalogue of a
whole home (stac.py). https://github.com/radiantearth/stac-spec/tree/v1.1.0
Models are told by the MLM extension: https://github.com/stac-extensions/mlm
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.core.geographic import box_of, geographic
from groundplan.core.manifest import Made
from groundplan.errors import GroundplanError
from groundplan.footprints.layer_files import LayerWords
from groundplan.project import Project
from groundplan.publish.stac import PARQUET_TYPE, PROJECTION, ROOT, spdx
from groundplan.training import models

if TYPE_CHECKING:
    import pystac

COLLECTION = "collection.json"
KIND = "groundplan:kind"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
TABLE = "https://stac-extensions.github.io/table/v1.2.0/schema.json"
PMTILES_TYPE = "application/vnd.pmtiles"
SHA256 = "1220"  # how a multihash says that it is one, of 32 bytes
ASSETS = {
    "tiles": ("tiles.pmtiles", PMTILES_TYPE, "Vector tiles: density at zooms 6 to 11, footprints from 12"),
    "bridge": ("bridge.parquet", PARQUET_TYPE, "Which footprint is which building of a register"),
    "changes": ("changes.json", "application/json", "Buildings that are new, gone, changed or the same, by region"),
}


def write_collection(
    project: Project, year: int, folder: Path, parts: Mapping[str, Made[Any]], words: LayerWords
) -> list[str]:
    """Write a year's collection and items into its folder, whose files are there. Returns what a person should know."""
    import pystac

    notes: list[str] = []
    items = [_part_item(project, year, name, made) for name, made in sorted(parts.items())]
    licence = spdx(words.licence) if words.licence else "other"
    buildings = sum(one.facts["buildings"] for one in parts.values())
    collection = pystac.Collection(
        id=f"building-footprints-{year}",
        title=words.title,
        description=words.whole,
        extent=pystac.Extent.from_items(items),
        license=licence,
        providers=[pystac.Provider(words.attribution)] if words.attribution else None,
        extra_fields={"groundplan:year": year, "table:row_count": buildings},
        stac_extensions=[TABLE],
    )
    for key, (name, kind, title) in ASSETS.items():
        if (folder / name).exists():
            collection.add_asset(key, pystac.Asset(f"./{name}", title=title, media_type=kind, roles=["data"]))
    model = _model_item(project, year, parts, collection, notes)
    items += [model] if model else []
    for item in items:
        collection.add_item(item)
        if model and item is not model:
            item.add_link(pystac.Link("derived_from", model))
    _save(collection, items, folder)
    return notes


def _save(collection: pystac.Collection, items: Sequence[pystac.Item], folder: Path) -> None:
    """With links from file to file, so that the folder can be moved; the root lies above."""
    import pystac

    root = pystac.Catalog("root", "the publication", catalog_type=pystac.CatalogType.SELF_CONTAINED)
    root.set_self_href(str(folder.parent / ROOT))
    root.add_child(collection)
    collection.set_self_href(str(folder / COLLECTION))
    (folder / "items").mkdir()
    for item in items:
        item.set_self_href(str(folder / "items" / f"{item.id}.json"))
    for item in items:
        item.save_object(include_self_link=False)
    collection.save_object(include_self_link=False)


def write_root(folder: Path, name: str) -> Path:
    """Write the catalogue that leads to the collections of all years in the folder."""
    import pystac

    root = pystac.Catalog(re.sub(r"[^A-Za-z0-9._-]+", "-", name), f"Building footprints of {name}, by year", name)
    root.extra_fields[KIND] = "publication"
    root.set_self_href(str(folder / ROOT))
    for path in sorted(folder.glob(f"year=*/{COLLECTION}")):
        title = json.loads(path.read_text("utf-8")).get("title")
        href = f"./{path.parent.name}/{COLLECTION}"
        root.add_link(pystac.Link("child", href, media_type="application/json", title=title))
    waiting = folder / f".{ROOT}"
    waiting.write_text(json.dumps(root.to_dict(include_self_link=False), indent=2, ensure_ascii=False), "utf-8")
    return waiting.replace(folder / ROOT)


def is_publication(folder: Path) -> bool:
    """Whether a folder's catalogue is one of these: another is somebody's own."""
    try:
        root = json.loads((folder / ROOT).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(root, dict) and root.get(KIND) == "publication"


def _part_item(project: Project, year: int, name: str, made: Made[Any]) -> pystac.Item:
    import pystac
    import shapely

    facts = made.facts
    place = geographic([shapely.segmentize(shapely.box(*facts["bounds"]), 2000.0)], project.grid.crs)[0]
    crs = project.grid.crs
    code = {"proj:code": crs} if re.fullmatch(r"[A-Z]+:\w+", crs) else {"proj:wkt2": crs}
    item = pystac.Item(
        id=name,
        geometry=shapely.geometry.mapping(place),
        bbox=list(box_of([place]) or ()),
        stac_extensions=[PROJECTION, FILE, TABLE],
        properties={
            **code,
            "proj:bbox": facts["bounds"],
            "table:row_count": facts["buildings"],
            "table:primary_geometry": "geometry",
            "groundplan:year": year,
            "groundplan:regions": facts["regions"],
            "groundplan:models": facts["models"],
        },
        **_time(year, facts),
    )
    asset = pystac.Asset(f"../parts/{name}.parquet", media_type=PARQUET_TYPE, roles=["data"])
    asset.extra_fields |= {"file:size": made.bytes, "file:checksum": SHA256 + made.sha256}
    item.add_asset("data", asset)
    return item


def _time(year: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """First and last day of the imagery; the year where a building's day is not known."""
    known = facts["first_day"] if not facts["undated"] else None
    first, last = (facts["first_day"], facts["last_day"]) if known else (f"{year}-01-01", f"{year}-12-31")
    begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (first, last))
    if first == last:
        return {"datetime": begin}
    return {"datetime": None, "start_datetime": begin, "end_datetime": end.replace(hour=23, minute=59, second=59)}


def _model_item(
    project: Project, year: int, parts: Mapping[str, Made[Any]], collection: pystac.Collection, notes: list[str]
) -> pystac.Item | None:
    """The model that the footprints say they come from, where the project still has it."""
    named = sorted({name for made in parts.values() for name in made.facts["models"]})
    try:
        model = models.load(project, year)
    except GroundplanError as error:
        notes.append(f"the catalogue does not describe the model {', '.join(named)}: {error}")
        return None
    if others := [name for name in named if name != model.name]:
        notes.append(f"footprints of the model {', '.join(others)} are in it, which the project no longer uses")
    if model.name not in named:
        return None
    return _described(project, model, collection)


def _described(project: Project, model: models.Model, collection: pystac.Collection) -> pystac.Item:
    import pystac
    import shapely
    from pystac.extensions import mlm

    card, bands = model.card, len(model.card["bands"])
    west, south, east, north = collection.extent.spatial.bboxes[0][:4]
    year = int(card.get("year", collection.extra_fields["groundplan:year"]))
    item = pystac.Item(
        id=f"model-{model.name}",
        geometry=shapely.geometry.mapping(shapely.box(west, south, east, north)),
        bbox=[west, south, east, north],
        datetime=None,
        start_datetime=datetime(year, 1, 1, tzinfo=UTC),
        end_datetime=datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC),
        properties={"gsd": card["resolution"], "groundplan:sha256": model.sha256},
    )
    tasks = [mlm.TaskType.SEMANTIC_SEGMENTATION, mlm.TaskType.INSTANCE_SEGMENTATION]
    shape = mlm.InputStructure.create([-1, bands, -1, -1], ["batch", "channel", "height", "width"], mlm.DataType.UINT8)
    result = mlm.ResultStructure.create([-1, 2, -1, -1], ["batch", "channel", "height", "width"], mlm.DataType.FLOAT32)
    mlm.MLMExtension.ext(item, add_if_missing=True).apply(
        name=model.name,
        architecture=_architecture(card),
        tasks=tasks,
        input=[mlm.ModelInput.create("aerial image", [str(band) for band in card["bands"]], shape)],
        output=[mlm.ModelOutput.create("probabilities of building and edge", tasks, result)],
        framework="ONNX",
    )
    asset = pystac.Asset(f"../model/{model.name}.onnx", media_type="application/octet-stream", roles=["mlm:model"])
    item.add_asset("model", asset)
    return item


def _architecture(card: Mapping[str, Any]) -> str:
    """In words; of a network that came from elsewhere nobody knows it."""
    encoder = (card.get("settings") or {}).get("encoder")
    return f"U-Net, encoder {encoder}" if encoder else "not stated"
