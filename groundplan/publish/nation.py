"""The publication of a country: all that others need to use a year's footprints, in one folder that can be moved.

Here: which files there are, and that readers see a year's whole or nothing of it. Not here: each kind of file
(nation_tiles.py, nation_stac.py, nation_changes.py, bridge.py, footprints/export.py).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundplan.core.manifest import Manifest, need_manifest, read_object
from groundplan.core.partition import Partition
from groundplan.core.progress import counted, going_on
from groundplan.errors import BadConfig, GroundplanError, MissingInput
from groundplan.footprints import national, styles
from groundplan.footprints.export import export, layer_words
from groundplan.project import Project
from groundplan.publish.bridge import RegisterIds, write_bridge
from groundplan.publish.nation_changes import Changes, changes_of
from groundplan.publish.nation_stac import ASSETS, is_publication, write_collection, write_root
from groundplan.publish.nation_tiles import Written, write_tiles
from groundplan.training import models

NOT_STATED = "not stated"


@dataclass(slots=True, kw_only=True)
class Published:
    """What a publication holds. regions: buildings by region; bridged: of them, matched with a register's."""

    catalog: Path
    folder: Path
    parts: int
    regions: dict[str, int]
    bridged: dict[str, int]
    changes: Changes
    tiles: Written
    bytes: int = 0
    notes: list[str] = field(default_factory=list)


def publish(project: Project, year: int, folder: Path, register: RegisterIds | None = None) -> Published:
    """Write a year of the country into `folder/year=YEAR`, in place of what was there, and the catalogue of all years.

    register: with its own ids, for the bridge file. Raises MissingInput where the country is not merged, or was before
    its regions changed; BadConfig where the folder holds something else or cannot be written; Damaged.
    """
    partition = Partition(year)
    manifest = need_manifest(project.store, national.DATASET, partition)
    notes = _checked(project, partition)
    _check_folder(folder)
    made = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".groundplan-", dir=folder))
        inside = made / f"year={year}"
        inside.mkdir()
        found = _write(project, manifest, inside, register)
        _replace(inside, folder / inside.name, made / "before")
        found.catalog, found.folder = write_root(folder, project.home.name), folder / inside.name
    except OSError as error:
        raise BadConfig(str(folder), f"it cannot be written ({error.strerror})", "Choose another folder") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    found.notes = [*notes, *found.notes]
    return found


def _checked(project: Project, partition: Partition) -> list[str]:
    """What a person should know before others do. Raises MissingInput where the merge is older than its regions."""
    lacking = national.lacking(project, partition)
    if old := (*lacking.gone, *lacking.late):
        raise MissingInput(
            f"{national.DATASET} of {partition}",
            f"it is older than the footprints of {national.few(tuple(sorted(set(old))))}",
            f"Run `groundplan build {partition.options} --select {national.DATASET}`",
        )
    return [f"regions {sentence}" for sentence in lacking.sentences()]


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadConfig(str(folder), "it is a file", "Give an empty or a new folder")
    if folder.is_dir() and any(folder.iterdir()) and not is_publication(folder):
        raise BadConfig(str(folder), "it holds something else than a publication", "Give an empty or a new folder")


def _replace(made: Path, place: Path, before: Path) -> None:
    made.chmod(0o755)  # a temporary folder is for its maker alone
    if place.exists():
        place.rename(before)
    made.rename(place)


def _write(project: Project, manifest: Manifest[Any, Any], folder: Path, register: RegisterIds | None) -> Published:
    year = manifest.partition.year
    parts = dict(sorted(manifest.objects.items()))
    objects = list(parts.values())
    regions = national.by_region(objects)
    partitions = [Partition(year, name) for name in regions]
    words = layer_words(project, partitions)
    _copy_parts(project, parts, folder / "parts")
    _write_regions(project, partitions, folder / "regions")
    with going_on("drawing tiles"):
        tiles = write_tiles(project, objects, folder / ASSETS["tiles"][0], words.title, words.attribution or NOT_STATED)
    with going_on("matching with registers"):
        bridged = write_bridge(project, folder / ASSETS["bridge"][0], partitions, register)
    changes = changes_of(project, partitions)
    text = json.dumps(changes.as_json(year), indent=1, ensure_ascii=False)
    (folder / ASSETS["changes"][0]).write_text(text, "utf-8")
    notes = [*_copy_model(project, year, folder / "model"), *write_collection(project, year, folder, parts, words)]
    return Published(
        catalog=folder,
        folder=folder,
        parts=len(parts),
        regions=regions,
        bridged=bridged,
        changes=changes,
        tiles=tiles,
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        notes=[*notes, *_notes(tiles, bridged, changes, register)],
    )


def _copy_parts(project: Project, parts: dict[str, Any], folder: Path) -> None:
    folder.mkdir()
    with counted("copying parts", parts.items(), len(parts)) as listed:
        for name, made in listed:
            (folder / f"{name}.parquet").write_bytes(read_object(project.store, made))
            (folder / f"{name}.qml").write_text(styles.qml(), "utf-8")


def _write_regions(project: Project, regions: list[Partition], folder: Path) -> None:
    """A FlatGeobuf for each region, a style beside it."""
    folder.mkdir()
    with counted("writing regions", regions, len(regions)) as listed:
        for region in listed:
            export(project, folder / f"{region.region}.fgb", region.region, region.year)


def _copy_model(project: Project, year: int, folder: Path) -> list[str]:
    """The network's graph, so that the catalogue leads to it; nothing where the project no longer has it."""
    try:
        model = models.load(project, year)
    except GroundplanError:
        return []  # the catalogue says so
    folder.mkdir()
    (folder / f"{model.name}.onnx").write_bytes(model.onnx)
    (folder / f"{model.name}.json").write_text(json.dumps(model.card, indent=1, sort_keys=True), "utf-8")
    return []


def _notes(tiles: Written, bridged: dict[str, int], changes: Changes, register: RegisterIds | None) -> list[str]:
    notes = [
        f"tiles of zoom {zoom} leave out {count} buildings that are too small there, or too many for a tile"
        for zoom, count in sorted(tiles.left_out.items())
        if count
    ]
    if not bridged:
        notes.append("no register covers any region: the bridge file is empty")
    elif register is None:
        notes.append("the project keeps no ids of registers: give the register with --register and --register-id")
    if changes.unknown:
        notes.append(f"what changed is unknown of {national.few(changes.unknown)}")
    return notes
