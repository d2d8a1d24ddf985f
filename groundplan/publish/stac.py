"""A static STAC catalogue of a home: sheets, tiles and footprints as items, with links that go along when it is moved.

Here: the folder of JSON files. Not here: the catalogue that the steps work with (imagery/catalog.py), a STAC server.
https://github.com/radiantearth/stac-spec/tree/v1.1.0
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.core.geographic import box_of, geographic
from groundplan.core.grid import Block
from groundplan.core.manifest import Made, committed, need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, BadSheet, MissingInput
from groundplan.footprints import footprints
from groundplan.imagery import catalog, tiles
from groundplan.imagery.credits import Credit, Credits, credits_of
from groundplan.imagery.sheet import Sheet, located
from groundplan.project import Project

if TYPE_CHECKING:
    import pystac

ROOT = "catalog.json"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
PARQUET_TYPE = "application/vnd.apache.parquet"
MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff",
    ".tiff": "image/tiff; application=geotiff",
    ".jp2": "image/jp2",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
DESCRIBED = {
    "sheets": "Aerial images as they were delivered.",
    "aerial_tiles": "Aerial imagery on the project's grid, a cloud-optimised GeoTIFF for each block.",
    "building_footprints": "Building footprints, a GeoParquet file for each region and year.",
}
LICENCES = re.compile(r"(CC)[ -](BY(?:-SA|-NC|-ND|-NC-SA|-NC-ND)?)[ -](\d\.\d)|(CC0|ODbL|ODC-By|PDDL)[ -](1\.0)", re.I)
SPELLED = {"cc0": "CC0", "odbl": "ODbL", "odc-by": "ODC-By", "pddl": "PDDL"}


def write_stac(project: Project, folder: Path) -> Path:
    """Write the catalogue into a folder, in place of what was written there before. Returns its root file.

    Raises MissingInput where nothing is made, BadConfig where the folder holds something else or cannot be written.
    """
    import pystac

    if folder.exists() and any(folder.iterdir()) and not (folder / ROOT).is_file():
        raise BadConfig(str(folder), "it holds something else than a STAC catalogue", "Give an empty or a new folder")
    root = pystac.Catalog(_name(project.home.name), f"Made by Groundplan from {project.home.name}", project.home.name)
    for dataset in DESCRIBED:
        items = [*_items(project, dataset)]
        if items:
            root.add_child(_collection(dataset, items))
    if not [*root.get_children()]:
        raise MissingInput(str(project.home), "nothing is made yet", "Run `groundplan build` first")
    try:
        _write(root, folder.absolute())
    except OSError as error:
        raise BadConfig(str(folder), f"it cannot be written ({error.strerror})", "Choose another folder") from error
    return folder / ROOT


def _write(root: pystac.Catalog, folder: Path) -> None:
    """Beside the folder first, at the same depth, so that links to the store stay right; then in its place."""
    import pystac

    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".groundplan-", dir=folder.parent))
    try:
        root.normalize_hrefs(str(made))
        root.make_all_asset_hrefs_relative()
        root.save(pystac.CatalogType.SELF_CONTAINED)
        made.chmod(0o755)  # a temporary folder is for its maker alone
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _collection(dataset: str, items: list[pystac.Item]) -> pystac.Collection:
    import pystac

    licences = {item.properties.get("license") for item in items}
    (licence,) = licences if len(licences) == 1 else (None,)
    told = "" if licence else " Licence: not stated for all of it; see the items."
    collection = pystac.Collection(
        id=dataset,
        description=DESCRIBED[dataset] + told,
        extent=pystac.Extent.from_items(items),
        title=dataset.replace("_", " ").capitalize(),
        license=licence or "other",
    )
    names = {provider["name"] for item in items for provider in item.properties.get("providers", ())}
    collection.providers = [pystac.Provider(name) for name in sorted(names)] or None
    collection.add_items(items)
    return collection


def _items(project: Project, dataset: str) -> Iterator[pystac.Item]:
    of = {"sheets": _sheets, "aerial_tiles": _tiles, "building_footprints": _footprints}[dataset]
    for one in sorted(committed(project.store, dataset), key=lambda one: one.partition):
        credits = credits_of(project, one.partition)
        yield from of(project, one.partition, credits)


def _sheets(project: Project, partition: Partition, credits: Credits) -> Iterator[pystac.Item]:
    import pystac

    for sheet in tiles.catalog_of(project, partition).sheets:
        item = pystac.Item.from_dict(catalog.stac_item(sheet))
        item.id = _name(f"{partition.region}-{partition.year}-{sheet.name}")
        del item.properties["groundplan:sheet"]  # for the steps alone
        href, kind = _where(project, sheet)
        item.assets["image"].href = href
        item.assets["image"].media_type = kind
        yield _credited(item, credits.imagery)


def _where(project: Project, sheet: Sheet) -> tuple[str, str | None]:
    """Address and media type of a delivered file, also of one that is only referred to."""
    store, path = project.store, sheet.key
    try:
        store, path = located(project, sheet.key)
    except BadSheet:  # gone since: what refers to it is still here
        return _href(project, sheet.key), "application/json"
    local = store.local_path(path)
    return str(local) if local else store.uri(path), MEDIA_TYPES.get(f".{path.rpartition('.')[2].lower()}")


def _tiles(project: Project, partition: Partition, credits: Credits) -> Iterator[pystac.Item]:
    days = {sheet.key: sheet.acquired for sheet in tiles.sheets_around(project, partition)}
    for name, made in need_manifest(project.store, tiles.DATASET, partition).objects.items():
        block = Block.parse(name)
        shown = [days.get(key) for key in made.inputs]
        more = {
            "proj:shape": [project.grid.block_size] * 2,
            "proj:transform": list(project.grid.transform(block))[:6],
            "gsd": project.grid.resolution,
        }
        ground = [project.grid.polygon(block)]
        item = _item(project, partition, name, ground, _time(partition, shown), more)
        yield _credited(_with_asset(item, project, "image", made, COG_TYPE), credits.imagery)


def _footprints(project: Project, partition: Partition, credits: Credits) -> Iterator[pystac.Item]:
    made = need_manifest(project.store, footprints.DATASET, partition).objects["footprints"]
    blocks = need_manifest(project.store, tiles.DATASET, partition).objects
    ground = [project.grid.polygon(Block.parse(name)) for name in blocks]
    days = [sheet.acquired for sheet in tiles.catalog_of(project, partition).sheets]
    item = _item(project, partition, "footprints", ground, _time(partition, days), {})
    said = credits.footprints if credits.footprints.attribution or credits.footprints.licence else None
    item = _with_asset(item, project, "data", made, PARQUET_TYPE)
    yield _credited(item, said) if said else item


def _item(
    project: Project, partition: Partition, name: str, ground: list[Any], time: dict[str, Any], more: dict[str, Any]
) -> pystac.Item:
    """An item on the ground of polygons in the grid's CRS."""
    import pystac
    import shapely

    place = geographic([shapely.union_all(ground)], project.grid.crs)[0]
    crs = project.grid.crs
    code = {"proj:code": crs} if re.fullmatch(r"[A-Z]+:\w+", crs) else {"proj:wkt2": crs}
    return pystac.Item(
        id=_name(f"{partition.region}-{partition.year}-{name}"),
        geometry=shapely.geometry.mapping(place),
        bbox=list(box_of([place]) or ()),
        properties={**code, **more, "groundplan:region": partition.region, "groundplan:year": partition.year},
        stac_extensions=[PROJECTION],
        **time,
    )


def _with_asset(item: pystac.Item, project: Project, key: str, made: Made, kind: str) -> pystac.Item:
    import pystac

    asset = pystac.Asset(_href(project, made.key), media_type=kind, roles=["data"])
    asset.extra_fields["file:size"] = made.bytes
    item.add_asset(key, asset)
    return item


def _href(project: Project, key: str) -> str:
    """A path, which becomes a relative link; an address where the store is no folder."""
    local = project.store.local_path(key)
    return str(local) if local else project.store.uri(key)


def _time(partition: Partition, days: Iterable[str | None]) -> dict[str, Any]:
    """STAC's times: a day or the days between which it was flown; where one is not known, the year."""
    given = list(days)
    known = sorted(day for day in given if day)
    if not known or len(known) < len(given):
        first, last = f"{partition.year}-01-01", f"{partition.year}-12-31"
    else:
        first, last = known[0], known[-1]
    begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (first, last))
    if first == last:
        return {"datetime": begin}
    return {"datetime": None, "start_datetime": begin, "end_datetime": end.replace(hour=23, minute=59, second=59)}


def _credited(item: pystac.Item, credit: Credit) -> pystac.Item:
    """With what is known of attribution and licence; nothing where nothing is."""
    if credit.licence:
        item.properties["license"] = spdx(credit.licence)
        item.properties["groundplan:licence"] = credit.licence
    if credit.attribution:
        item.properties["providers"] = [{"name": credit.attribution}]
    return item


def spdx(licence: str) -> str:
    """The SPDX identifier of a licence that states its version, such as CC-BY-4.0; else `other`, as STAC wants it."""
    found = LICENCES.fullmatch(licence.strip())
    if found is None:
        return "other"
    if found[1]:
        return f"CC-{found[2].upper()}-{found[3]}"
    return f"{SPELLED[found[4].lower()]}-{found[5]}"


def _name(text: str) -> str:
    """An id that is a file's name everywhere; of a text with other signs, with a mark so that two stay apart."""
    import hashlib

    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
