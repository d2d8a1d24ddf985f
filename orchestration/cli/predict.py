"""Models beside the pipeline: footprints of one image, and model files in and out.

Here: the options and words of `predict`, `model add` and `model export`. Not here: predicting (groundplan/api.py), what
a model's file must keep to (groundplan/training/model_files.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from groundplan.config import FILE
from groundplan.core.partition import FIRST_YEAR, LAST_YEAR
from groundplan.errors import BadConfig
from orchestration.cli.terminal import Home, err, open_home, out, plain, print_notes

ModelYear = Annotated[
    int | None, typer.Option("--year", min=FIRST_YEAR, max=LAST_YEAR, help="year of the model; by default the newest")
]


def predict(
    sheet: Annotated[str, typer.Argument(metavar="ORTHO", help="georeferenced image: a path, or s3://, az://, gs://")],
    output: Annotated[
        Path, typer.Option("--output", "--out", "-o", help="file to write, such as .gpkg, .parquet or .geojson")
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="a model's .zip, .onnx with its card, or 'starter'; by default the project's newest"),
    ] = None,
    project: Annotated[Path | None, typer.Option(help="folder of a project whose grid and settings are taken")] = None,
    year: Annotated[
        int | None, typer.Option(min=FIRST_YEAR, max=LAST_YEAR, help="year of the imagery, where it does not say")
    ] = None,
    crs: Annotated[str | None, typer.Option(help="CRS of an image that states none, such as EPSG:28992")] = None,
) -> None:
    """Find the buildings in one image, without adding it to a project."""
    from groundplan import api
    from groundplan.footprints.export import check_target
    from orchestration.cli.progress_bars import bars

    check_target(output, None)
    if model is None and project is None:
        project = _project_here()
    with bars(err, False):
        found = api.predict(sheet, model=model, project=project, year=year, crs=crs)
    api.export(found, output)
    out.print(f"Wrote {len(found)} buildings to [bold]{plain(str(output))}[/]")
    print_notes(found.attrs["notes"])


def _project_here() -> Path | None:
    """The project that is meant where none is named, None where there is none: then the starter model is taken."""
    if stated := os.environ.get("GROUNDPLAN_HOME"):
        return open_home(Path(stated)).home
    here = Path.cwd()
    some = any((folder / FILE).is_file() for folder in (here, *here.parents)) or any(here.glob(f"*/{FILE}"))
    return open_home(None).home if some else None


models = typer.Typer(no_args_is_help=True, help="Model files: out to other programs, and in from elsewhere.")


@models.command("export")
def export_model(
    target: Annotated[Path, typer.Argument(help="file to write: NAME.onnx, its card comes beside it; or a new folder")],
    year: ModelYear = None,
    layout: Annotated[str, typer.Option(help="of a folder: huggingface or mlflow; else one file and its card")] = "",
    model: Annotated[str, typer.Option(help="with a layout: NAME or NAME@VERSION")] = "footprints",
    home: Home = None,
) -> None:
    """Write the project's model as a plain ONNX file with its card beside it, or in another registry's layout."""
    from groundplan.training import model_files

    project = open_home(home)
    if layout:
        from groundplan.promotion import discover
        from groundplan.promotion import export_model as write_layout
        from groundplan.single.registered import resolve

        discover(project)
        files = write_layout(project.store, resolve(project, model), target, layout)
        out.print(f"Wrote {len(files)} files into [bold]{plain(str(target))}[/]")
        return
    graph, card = model_files.export_model(project, model_files.newest_year(project, year), target)
    out.print(f"Wrote [bold]{plain(str(graph))}[/] and its card {plain(str(card))}")


@models.command("add")
def add_model(
    file: Annotated[Path, typer.Argument(help="a model's .zip, or an .onnx that keeps to docs/models.md")],
    year: Annotated[
        int | None, typer.Option(min=FIRST_YEAR, max=LAST_YEAR, help="year it is for; by default the newest imagery's")
    ] = None,
    card: Annotated[Path | None, typer.Option(help="card of an .onnx; by default NAME.card.json beside it")] = None,
    home: Home = None,
) -> None:
    """Use a model that was made elsewhere as a year's, in place of one trained here. It is tried first."""
    from groundplan.imagery.landing import delivered_partitions
    from groundplan.training import model_files

    project = open_home(home)
    chosen = year or max((one.year for one in delivered_partitions(project)), default=None)
    if chosen is None:
        raise BadConfig("--year", "no imagery was delivered yet, so no year follows from it", "Give a year")
    data = model_files.read_model(file, card)
    model = model_files.add_model(project, data, chosen, file.name)
    out.print(
        f"Model [bold]{plain(model.name)}[/] is the one of {chosen}: {plain(model.card['source'])}", soft_wrap=True
    )
    if project.settings.predict.model_year is None:
        out.print(f"To use it for all years set `model_year = {chosen}` in \\[predict] of groundplan.toml.")
    elif project.settings.predict.model_year != chosen:
        out.print(f"It is not used: predict.model_year is {project.settings.predict.model_year}.")
