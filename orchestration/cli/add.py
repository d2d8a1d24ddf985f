"""What comes into a project: a new one, its sheets, its registers, its image collections.

Here: the options and words of `init`, `add-imagery`, `add-register` and `add-collection`. Not here: copying and
checking (groundplan/ingest/, groundplan/labels/registers.py), nor making anything of it (build.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from groundplan import config
from groundplan.core.partition import Partition
from groundplan.core.progress import counted, going_on
from groundplan.errors import BadConfig, GroundplanError
from orchestration.cli import collections as of_images
from orchestration.cli.terminal import (
    ExtentLayer,
    Home,
    Layer,
    OneRegion,
    OneYear,
    Where,
    bars,
    hints,
    open_home,
    out,
    plain,
    print_next,
    print_notes,
)

if TYPE_CHECKING:
    from groundplan.ingest.add_imagery import Delivered
    from groundplan.project import Project

SHOWN = 20  # sheets of a delivery whose headers are shown


def init(
    words: Annotated[list[Path], typer.Argument(metavar="HOME", help="folder to make")],
    like: Annotated[
        list[Path] | None, typer.Option(help="sheets, as in --like sheets/*.tif: CRS and resolution are theirs")
    ] = None,
    crs: Annotated[str, typer.Option(help="projected CRS in metres, such as EPSG:28992")] = "",
    resolution: Annotated[float, typer.Option(help="metres per pixel of the grid")] = 0.0,
    block_size: Annotated[int, typer.Option(help="pixels per block side")] = 8192,
    regions: Annotated[Path | None, typer.Option(help="polygon file with a column `name`")] = None,
    layer: Annotated[str | None, typer.Option(help="layer of the regions' file, where it holds several")] = None,
    store: Annotated[str, typer.Option(help="URL of the object store; default is a folder in HOME")] = "",
    collection: Annotated[bool, typer.Option("--collection", help="for image collections, without a grid")] = False,
    weights: of_images.Weights = None,
) -> None:
    """Make a project: its folder, its grid and its settings file."""
    from groundplan.core import grid
    from groundplan.core.capabilities import notes_on
    from groundplan.ingest.first_look import grid_like

    home, sheets = _home_and_sheets(words, like or [])
    if collection:
        made = of_images.init_collections(home, store, weights)
        out.print(f"Made [bold]{plain(str(made))}[/] for image collections", soft_wrap=True)
        print_notes(notes_on(open_home(home).store))
        print_next("add-collection FOLDER --name NAME")
        return
    model = grid_like(sheets, crs, resolution) if sheets else None
    if model:
        crs, resolution = model.crs, model.resolution
    if not crs or not resolution:
        remedy = "Give both, or --like with some sheets, or --collection, which has no grid"
        raise BadConfig("init", "a grid needs --crs and --resolution", remedy)
    probe = {"crs": crs, "resolution": resolution, "block_size": block_size, "origin": (0.0, 0.0)}
    config.parse({"grid": probe}, "the given options")
    origin = grid.default_origin(crs, resolution, block_size)
    probe["origin"] = model.origin(origin) if model and crs == model.crs else origin
    _make(home, probe, store, regions, layer)


def _home_and_sheets(words: list[Path], like: list[Path]) -> tuple[Path, list[Path]]:
    """The folder to make, and sheets: a shell writes `--like *.tif` out, and all but the first stand by themselves."""
    if not like:
        if len(words) > 1:
            raise BadConfig("init", f"it got {len(words)} folders", "Give one; sheets stand after --like")
        return words[0], []
    sheets = [file for pattern in like for file in _matching(pattern)]
    sheets += [word for word in words if word.is_file()]
    homes = [word for word in words if not word.is_file()]
    if len(homes) != 1:
        named = ", ".join(map(str, homes)) or "none"
        raise BadConfig(
            "init", f"one folder is to be made, and it got {named}", "Give it first: init HOME --like FILE..."
        )
    return homes[0], sheets


def _matching(pattern: Path) -> list[Path]:
    """The files of a pattern between quotes, which no shell wrote out; a plain path as it is."""
    from glob import glob

    return [pattern] if pattern.exists() else [Path(name) for name in sorted(glob(str(pattern)))] or [pattern]


def _make(home: Path, grid: dict[str, Any], store: str, regions: Path | None, layer: str | None) -> None:
    """Write the project and say what was made; nothing stays where its regions cannot be used."""
    from groundplan.core.capabilities import notes_on
    from groundplan.imagery.regions import add_regions
    from groundplan.project import open_project

    path = config.write(home, grid, store, "starter")
    try:
        project = open_project(home)
        notes: list[str] = []
        names = add_regions(project, regions, layer, notes) if regions else []
    except GroundplanError:
        path.unlink()
        raise
    span, where = project.grid.span, f"{grid['crs']}, {grid['resolution']} m per pixel"
    told = f"Made [bold]{plain(str(path))}[/]: {where}, blocks of {span:.1f} m, store {project.store.url}"
    out.print(told, soft_wrap=True)
    if names:
        out.print(f"Regions: {plain(', '.join(names))}")
    print_notes([*notes, *notes_on(project.store)])
    open_home(home)
    print_next("add-imagery FILE... --region NAME --year YEAR")


def add_imagery(
    files: Annotated[list[Path], typer.Argument(help="sheets and the files beside them")],
    region: OneRegion,
    year: OneYear,
    home: Home = None,
    reference: Annotated[bool, typer.Option(help="refer to the files instead of copying them")] = False,
) -> None:
    """Deliver sheets: copy them into the landing folder, or refer to them where they lie; say what they are."""
    from groundplan.ingest.add_imagery import deliver

    project = open_home(home)
    with bars(quiet=False):
        delivered = deliver(project, files, region, year, reference)
    table = Table("file", "MB", "state")
    for item in delivered:
        table.add_row(plain(item.name), f"{item.bytes / 1e6:.1f}", item.state)
    out.print(table)
    for item in delivered:
        if item.replaced:
            out.print(f"{plain(item.name)} replaces {item.replaced}", highlight=False, soft_wrap=True)
    if notes := {item.hint for item in delivered if item.hint}:
        out.print(hints("\n".join(sorted(notes))), highlight=False, soft_wrap=True)
    _say_what_is_seen(project, Partition(year, region), delivered)


def _say_what_is_seen(project: Project, partition: Partition, delivered: Sequence[Delivered]) -> None:
    """What the sheets themselves say; beside what cannot be used, why."""
    from groundplan.imagery.catalog import is_beside
    from groundplan.ingest.first_look import look_at_sheets

    keys = [item.key for item in delivered if not is_beside(item.key)]
    looks = look_at_sheets(project, partition, keys)
    with bars(quiet=False), counted("looking at the sheets", looks, len(keys)) as looking:
        seen = list(looking)
    table = Table("sheet", "CRS", "bands", "pixels", "pixel size", "date", "nodata")
    for one in seen[:SHOWN]:
        row = (one.name, one.crs, one.bands, one.size, one.pixel, one.date, one.nodata)
        table.add_row(*(plain(text) for text in row))
    if seen:
        out.print(table)
    if len(seen) > SHOWN:
        out.print(f"... and {len(seen) - SHOWN} more")
    for one in seen:
        if one.problem:
            why = f"[yellow]cannot be used[/] {plain(one.name)}: {hints(one.problem)}"
            out.print(why, highlight=False, soft_wrap=True)
    if seen and not all(one.problem for one in seen):
        print_next(f"build {partition.options}")


def add_register(
    file: Path,
    year: OneYear,
    home: Home = None,
    extent: Annotated[Path | None, typer.Option(help="polygons inside which the register is complete")] = None,
    layer: Layer = None,
    where: Where = None,
    extent_layer: ExtentLayer = None,
    empty: Annotated[bool, typer.Option("--empty", help="the polygons are ground on which no building stands")] = False,
    day: Annotated[datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="day at which it was so")] = None,
) -> None:
    """Take a register of building polygons, or ground known to hold none, into the project, for one year."""
    from groundplan.labels.empty_ground import add_empty_ground
    from groundplan.labels.registers import FeatureChoice
    from groundplan.labels.registers import add_register as add

    when = day.date() if day else None
    if empty and (extent or extent_layer or where):
        raise BadConfig("--empty", "the polygons themselves are the ground", "Leave --extent and --where out")
    choice = FeatureChoice(layer=layer, where=where, extent_layer=extent_layer)
    with bars(quiet=False), going_on(f"reading {file.name}"):
        if empty:
            register, notes = add_empty_ground(open_home(home), file, year, layer, when)
        else:
            register, notes = add(open_home(home), file, year, extent, choice, when)
    out.print(f"Added {'empty ground' if empty else 'register'} [bold]{plain(register.name)}[/] for {year}")
    print_notes(notes)


def add_collection(
    folder: Annotated[Path, typer.Argument(help="a folder of class folders with images")],
    name: of_images.Name,
    home: Home = None,
    weights: of_images.Weights = None,
) -> None:
    """Deliver an image collection: a folder for each class, metadata stripped from the images."""
    if weights is not None:
        of_images.set_weights(open_home(home).home, weights)
    with bars(quiet=False):
        of_images.add_collection(open_home(home), folder, name, out)
