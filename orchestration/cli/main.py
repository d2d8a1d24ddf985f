"""The command line: two commands from imagery to footprints, and what surrounds them.

Here: options, tables, progress bars, exit codes. Not here: what the commands do; each calls one or two functions of the
library or of build.py. Imports happen inside commands, so that `--help` is instant.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table

from groundplan.errors import BadConfig, GroundplanError, Stopped, StoreFailed
from groundplan.imagery.landing import links, misnamed_folders, usable_region, why_unusable
from orchestration.cli import collections as of_images
from orchestration.cli.add import add_collection, add_imagery, add_register, init
from orchestration.cli.forget import forget
from orchestration.cli.plan import plan
from orchestration.cli.serve import serve
from orchestration.cli.terminal import (
    AsJson,
    ExtentLayer,
    Home,
    Layer,
    OneRegion,
    OneYear,
    Region,
    Where,
    Year,
    err,
    open_home,
    out,
    plain,
    print_notes,
)
from orchestration.cli.verify import verify

if TYPE_CHECKING:
    from groundplan.core.partition import Partition
    from groundplan.project import Project
    from groundplan.step import State


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Yearly aerial imagery in, building footprints out: every block made once.",
)
A_LINK = "it is a link or no file, and none is followed. Put the file itself there, or add it with --reference"


def main() -> NoReturn:
    """Entry point: errors that a user can act on are one line, not a traceback; any failure exits with 1."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)  # typer would end in silence
    # threads that wait must not spin: with other work on the machine, spinning made a training step 3 times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # rasterio says this of the array in memory that labels are drawn into; it is true, and means nothing
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    try:
        _check_words(sys.argv[1:])
        sys.exit(app(standalone_mode=False) or 0)
    except GroundplanError as error:
        err.print(f"[bold red]error[/] {plain(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except Stopped:
        err.print("stopped: finished blocks are kept, run the same command again to go on")
        sys.exit(143)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        if error.__class__.__module__.startswith(("click", "typer")):
            error.show()  # type: ignore[attr-defined]
            sys.exit(1)
        raise


def _check_words(words: list[str]) -> None:
    """Nothing given here may hold a secret: it stands in the shell's history and in the list of processes.

    Raises BadConfig, naming the word by its option or its place.
    """
    from groundplan.addresses import REMEDY, secret_in

    for place, word in enumerate(words, 1):
        option, _, value = word.partition("=") if word.startswith("--") else ("", "", word)
        before = words[place - 2] if place > 1 and words[place - 2].startswith("--") else ""
        if secret := secret_in(value):
            raise BadConfig(option or before or f"word {place} of the command", secret, REMEDY)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Stopped("the process was told to stop")


for command in (init, add_imagery, add_register, add_collection):
    app.command()(command)


@app.command()
def build(
    region: Region = None,
    year: Year = None,
    select: Annotated[str | None, typer.Option(help="only this asset")] = None,
    retrain: Annotated[bool, typer.Option(help="train anew although the settings are the same")] = False,
    collection: Annotated[str | None, typer.Option(help="this image collection, and no imagery")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Materialize with Dagster what is missing or stale, in order, and say what was done."""
    from groundplan.pipeline import ASSETS
    from orchestration.cli.build import build as run

    project = open_home(home)
    if collection is not None:
        with _bars(as_json):
            raise typer.Exit(of_images.build_collection(project, collection, select, as_json, out))
    if select is not None and select not in ASSETS:
        raise BadConfig(f"asset '{select}'", "there is none of that name", f"Choose from: {', '.join(ASSETS)}")
    done = []
    with _bars(as_json):
        for item in run(project, region, year, select, retrain):
            done.append(item)
            if not as_json and (item.outcome != "current" or item.checks):
                _say(item)
    misnamed = misnamed_folders(project)
    linked = links(project)
    for key in linked:
        err.print(f"[yellow]left alone[/] {plain(key)}: {A_LINK}", highlight=False, soft_wrap=True)
    for folder in misnamed:
        err.print(f"[yellow]left alone[/] {plain(_misnamed(folder))}", highlight=False, soft_wrap=True)
    if not done:
        raise BadConfig("build", "nothing was delivered for that choice", "See `groundplan status`, or add imagery")
    if as_json:
        out.print_json(json.dumps([_as_dict(item) for item in done]))
    else:
        _summary(done)
    if misnamed or linked or any(item.outcome in ("failed", "waiting") or item.checks for item in done):
        raise typer.Exit(1)


def _misnamed(folder: str) -> str:
    region = folder.split("/")[1]
    why = "" if usable_region(region) else f" ({why_unusable(region)})"
    return f"{folder}: no region and year can be made of that name{why}. Rename it to landing/REGION/YEAR"


def _say(item: Any) -> None:
    color = {"made": "green", "current": "green", "failed": "red", "waiting": "yellow"}[item.outcome]
    what = f"{item.made} made, {item.kept} kept, {item.seconds:.1f} s" if item.outcome == "made" else item.message
    if item.outcome == "made" and item.message:
        what += f"; it was {item.message}"
    out.print(f"[{color}]{item.outcome:8}[/] {item.asset:20} {item.partition!s:18} {plain(what)}", soft_wrap=True)
    for name, message in item.checks.items():
        out.print(f"[yellow]check[/]    {name}: {plain(message)}", soft_wrap=True)


def _summary(done: list[Any]) -> None:
    counts = {
        outcome: sum(item.outcome == outcome for item in done) for outcome in ("made", "current", "failed", "waiting")
    }
    blocks = sum(item.made for item in done)
    if counts["current"] == len(done):
        out.print(f"Nothing to do: all {len(done)} partitions are current.")
        return
    out.print(
        ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) + f"; {blocks} objects made"
    )


@app.command()
def sync(home: Home = None) -> None:
    """Show Dagster every delivered region, and the project's years: those delivered, the coming one, imagery.years."""
    from orchestration.cli.build import sync as run

    regions, years = run(open_home(home))
    out.print(f"Dagster knows {regions} regions and the years {', '.join(map(str, years))}.", highlight=False)


@app.command()
def status(region: Region = None, year: Year = None, home: Home = None, as_json: AsJson = False) -> None:
    """Every asset by region and year: blocks done, missing, failed, when, how long."""
    from orchestration.cli.build import wanted

    project = open_home(home)
    states = [_state(project, name, partition) for name, partition in wanted(project, region, year, None)]
    if as_json:
        out.print_json(json.dumps([_as_dict(state) for state in states]))
        return
    table = Table("asset", "region", "year", "state", "done", "missing", "failed", "MB", "when (UTC)", "seconds")
    colors = {
        "current": "green",
        "failed": "red",
        "damaged": "red",
        "stale": "yellow",
        "missing": "cyan",
        "waiting": "dim",
    }
    for state in states:
        manifest = state.manifest
        color = colors[state.state]
        table.add_row(
            state.dataset,
            state.partition.region or "all",
            str(state.partition.year),
            f"[{color}]{state.state}[/]",
            str(state.done),
            str(max(0, state.planned - state.done)),
            str(state.failed or ""),
            f"{manifest.total_bytes / 1e6:.1f}" if manifest else "",
            manifest.committed[:19].replace("T", " ") if manifest else "",
            f"{manifest.seconds:.1f}" if manifest else "",
        )
    out.print(table)
    for folder in misnamed_folders(project):
        out.print(plain(_misnamed(folder)), soft_wrap=True)
    for key in links(project):
        out.print(f"{plain(key)}: {A_LINK}", soft_wrap=True)
    for state in states:
        if state.note:
            out.print(f"{state.dataset} {state.partition}: {plain(state.note)}", soft_wrap=True)


def _state(project: Project, name: str, partition: Partition) -> State[Partition]:
    """How a partition stands; what is wrong with what it reads is said of it, and the others go on."""
    from groundplan.pipeline import asset_state
    from groundplan.step import State, Status

    try:
        return asset_state(project, name, partition)
    except StoreFailed:
        raise
    except GroundplanError as error:
        return State(dataset=name, partition=partition, state=Status.WAITING, note=str(error))


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="file to write: .parquet, .fgb, .gpkg or .geojson")],
    region: OneRegion,
    year: OneYear,
    home: Home = None,
) -> None:
    """Write a region's footprints to a file."""
    from groundplan.footprints.export import export as write

    notes: list[str] = []
    count = write(open_home(home), target, region, year, notes)
    out.print(f"Wrote {count} buildings to [bold]{target}[/]")
    print_notes(notes)


@app.command()
def evaluate(
    region: OneRegion,
    year: OneYear,
    truth: Annotated[Path, typer.Option(help="true building polygons")],
    extent: Annotated[Path | None, typer.Option(help="polygons inside which the truth is complete")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of what was found, missed and invented")] = None,
    layer: Layer = None,
    where: Where = None,
    extent_layer: ExtentLayer = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Score a region's footprints against true buildings, also on each split if the model learned there."""
    from groundplan.labels.registers import FeatureChoice
    from groundplan.polygons.metrics import table as lines
    from groundplan.quality.scores import compare_with_truth

    choice = FeatureChoice(layer=layer, where=where, extent_layer=extent_layer)
    notes: list[str] = []
    scores = compare_with_truth(open_home(home), region, year, truth, extent, picture, choice, notes)
    if as_json:
        out.print_json(json.dumps({name: _as_dict(score) for name, score in scores.items()}))
        return
    columns = {name: dict(lines(score)) for name, score in scores.items()}
    table = Table("figure", *(f"{name} ground" for name in columns))
    for figure in next(iter(columns.values())):
        table.add_row(figure, *(column[figure] for column in columns.values()))
    out.print(table)
    print_notes(notes)


@app.command()
def gc(
    home: Home = None,
    yes: Annotated[bool, typer.Option("--yes", help="remove them")] = False,
    hours: Annotated[
        float, typer.Option(min=0, help="keep objects younger than this: a run may be making them")
    ] = 24.0,
) -> None:
    """List, and with --yes remove, objects that no manifest names."""
    from groundplan.operations.store_audit import garbage

    project = open_home(home)
    found = garbage(project, hours)
    for item in found:
        out.print(f"{item.size / 1e6:9.2f} MB  {item.key}", highlight=False, soft_wrap=True)
    size = sum(item.size for item in found) / 1e6
    if yes:
        project.store.delete([item.key for item in found])
    out.print(f"{len(found)} objects, {size:.1f} MB, {'removed' if yes else 'could be removed with --yes'}")


@app.command()
def demo(
    home: Annotated[Path, typer.Argument(help="folder to make")] = Path("demo"),
    seed: int = 7,
    minutes: Annotated[float, typer.Option(help="training budget")] = 2.5,
) -> None:
    """Draw a synthetic country, run the whole chain, and say how good the result is."""
    from orchestration.cli.demo import demo as run

    with _bars(False):
        table = run(home, seed, minutes, lambda text: out.print(text, soft_wrap=True), _say)
    out.print(table)
    out.print(f"Look around: GROUNDPLAN_HOME={home.absolute()} groundplan status, or `make dev`")


app.command()(forget)
app.command()(plan)
app.command()(serve)
app.command()(verify)


def _as_dict(item: Any) -> dict[str, Any]:
    from dataclasses import asdict

    row = asdict(item)
    row.pop("manifest", None)
    return row


def _bars(quiet: bool) -> AbstractContextManager[None]:
    from orchestration.cli.progress_bars import bars

    return bars(err, quiet)


if __name__ == "__main__":
    main()
