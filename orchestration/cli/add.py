"""What comes into a project: a new one, its sheets, its registers, its image collections.

Here: the options and words of `init`, `add-imagery`, `add-register` and `add-collection`. Not here: copying and
checking (groundplan/ingest/, groundplan/labels/registers.py), nor making anything of it (build.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from groundplan.errors import BadConfig, GroundplanError
from orchestration.cli import collections as of_images
from orchestration.cli.terminal import (
    ExtentLayer,
    Home,
    Layer,
    OneRegion,
    OneYear,
    Where,
    open_home,
    out,
    plain,
    print_notes,
)


def init(
    home: Annotated[Path, typer.Argument(help="folder to make")],
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
    from groundplan import config
    from groundplan.core import grid
    from groundplan.imagery.regions import add_regions
    from groundplan.project import open_project

    if collection:
        made = of_images.init_collections(home, store, weights)
        out.print(f"Made [bold]{made}[/] for image collections; add one with `groundplan add-collection`")
        return
    if not crs or not resolution:
        raise BadConfig("init", "a grid needs --crs and --resolution", "Give both, or --collection, which has no grid")
    probe = {"crs": crs, "resolution": resolution, "block_size": block_size, "origin": (0.0, 0.0)}
    config.parse({"grid": probe}, "the given options")
    probe["origin"] = grid.default_origin(crs, resolution, block_size)
    path = config.write(home, probe, store)
    try:
        project = open_project(home)
        notes: list[str] = []
        names = add_regions(project, regions, layer, notes) if regions else []
    except GroundplanError:
        path.unlink()
        raise
    span = project.grid.span
    out.print(
        f"Made [bold]{path}[/]: {crs}, {resolution} m per pixel, blocks of {span:.1f} m, store {project.store.url}"
    )
    if names:
        out.print(f"Regions: {plain(', '.join(names))}")
    print_notes(notes)


def add_imagery(
    files: Annotated[list[Path], typer.Argument(help="sheets and the files beside them")],
    region: OneRegion,
    year: OneYear,
    home: Home = None,
    reference: Annotated[bool, typer.Option(help="refer to the files instead of copying them")] = False,
) -> None:
    """Deliver sheets: copy them into the landing folder, or refer to them where they lie."""
    from groundplan.ingest.add_imagery import deliver

    project = open_home(home)
    delivered = deliver(project, files, region, year, reference)
    table = Table("file", "MB", "state")
    for item in delivered:
        table.add_row(plain(item.name), f"{item.bytes / 1e6:.1f}", item.state)
    out.print(table)
    for item in delivered:
        if item.replaced:
            out.print(f"{plain(item.name)} replaces {item.replaced}", highlight=False, soft_wrap=True)
    if hints := {item.hint for item in delivered if item.hint}:
        out.print(plain("\n".join(sorted(hints))), highlight=False, soft_wrap=True)


def add_register(
    file: Path,
    year: OneYear,
    home: Home = None,
    extent: Annotated[Path | None, typer.Option(help="polygons inside which the register is complete")] = None,
    layer: Layer = None,
    where: Where = None,
    extent_layer: ExtentLayer = None,
) -> None:
    """Take a register of building polygons into the project, for one year."""
    from groundplan.labels.registers import FeatureChoice
    from groundplan.labels.registers import add_register as add

    choice = FeatureChoice(layer=layer, where=where, extent_layer=extent_layer)
    register, notes = add(open_home(home), file, year, extent, choice)
    out.print(f"Added register [bold]{plain(register.name)}[/] for {year}")
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
    of_images.add_collection(open_home(home), folder, name, out)
