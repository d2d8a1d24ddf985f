"""The command line: two commands from imagery to footprints, and what surrounds them.

Here: options, tables, progress bars, exit codes. Not here: what the commands do; each calls one or two functions of the
library or of build.py. Imports happen inside commands, so that `--help` is instant.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from groundplan.commands import PROGRAM, shortest
from groundplan.errors import BadConfig, GroundplanError, Stopped
from orchestration.cli.add import add_collection, add_imagery, add_register, init
from orchestration.cli.backup import backup, restore
from orchestration.cli.build_command import build, say
from orchestration.cli.changes import changes
from orchestration.cli.costs import costs
from orchestration.cli.database import database
from orchestration.cli.dev import dev
from orchestration.cli.doctor import doctor
from orchestration.cli.drift import drift
from orchestration.cli.forget import forget
from orchestration.cli.keys import keys
from orchestration.cli.leave_one_out import leave_one_out
from orchestration.cli.mine import mine
from orchestration.cli.nation import nation
from orchestration.cli.plan import plan
from orchestration.cli.predict import predict
from orchestration.cli.publish import qgis, stac
from orchestration.cli.registry import models
from orchestration.cli.results import compare, evaluate, export
from orchestration.cli.review import review
from orchestration.cli.serve import open_pages, serve
from orchestration.cli.status import status
from orchestration.cli.store_copy import store
from orchestration.cli.terminal import Home, bars, begin, called, err, hints, open_home, out, pasted, plain
from orchestration.cli.verify import verify
from orchestration.cli.work import messages, relay, work

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Yearly aerial imagery in, building footprints out: every block made once.",
)


def _version(wanted: bool) -> None:
    if wanted:
        import groundplan

        typer.echo(f"{PROGRAM} {groundplan.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and end")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Entry point: errors that a user can act on are one line, not a traceback; any failure exits with 1."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)  # typer would end in silence
    # threads that wait must not spin: with other work on the machine, spinning made a training step 3 times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    begin()
    try:
        _check_words(sys.argv[1:])
        # completion is installed for the name; all else is said as this program is called
        completing = "_GROUNDPLAN_COMPLETE" in os.environ or any("-completion" in word for word in sys.argv[1:])
        sys.exit(app(standalone_mode=False, prog_name=PROGRAM if completing else called()) or 0)
    except GroundplanError as error:
        err.print(f"[bold red]error[/] {hints(str(error))}", highlight=False, soft_wrap=True)
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


FIRST: tuple[Callable[..., None], ...] = (
    init,
    add_imagery,
    add_register,
    add_collection,
    build,
    status,
    export,
    evaluate,
    compare,
)
for command in FIRST:
    app.command()(command)


@app.command()
def sync(
    home: Home = None,
    made: Annotated[
        bool, typer.Option("--made", help="also what is made, by the store's manifests, where Dagster lost its record")
    ] = False,
) -> None:
    """Show Dagster every delivered region, and the project's years: those delivered, the coming one, imagery.years."""
    from orchestration.cli.build import show_partitions
    from orchestration.cli.in_process import open_instance
    from orchestration.cli.recall import recall

    project = open_home(home)
    with open_instance(project) as instance:
        regions, years = show_partitions(project, instance)
        out.print(f"Dagster knows {regions} regions and the years {', '.join(map(str, years))}.", highlight=False)
        if made:
            partitions, checks = recall(project, instance)
            out.print(f"Told of {partitions} partitions that are made, and of {checks} verdicts.", highlight=False)


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
    minutes: Annotated[float, typer.Option(help="training budget")] = 1.0,
) -> None:
    """Draw a synthetic country, run the whole chain, and say how good the result is."""
    from orchestration.cli.demo import demo as run

    with bars(False):
        table = run(home, seed, minutes, lambda text: out.print(text, soft_wrap=True), say)
    out.print(table)
    _look_around(home)


def _look_around(home: Path) -> None:
    """What to do next, in lines that can be pasted."""
    open_home(home)
    lines = [f"{pasted('status')}    # every asset by region and year"]
    if Path("Makefile").is_file():
        folder = "" if home == Path("demo") else f" HOME_FOLDER={shortest(Path.cwd(), home.absolute())}"
        lines.append(f"make dev{folder}    # the map and Dagster's web UI, until Ctrl-C")
    lines.append(f"{pasted('open')}    # shows the map, while that runs")
    out.print("\n".join(["", "Look around, each line as it stands:", *(f"  {plain(line)}" for line in lines)]))
    if called() != PROGRAM and (activate := Path(".venv/bin/activate")).is_file():
        out.print(f"  . {activate}    # from then on, in this terminal, the program is called `{PROGRAM}` alone")


for command in (
    predict,
    changes,
    nation,
    qgis,
    stac,
    mine,
    drift,
    costs,
    forget,
    plan,
    dev,
    serve,
    verify,
    backup,
    restore,
    doctor,
    work,
    relay,
):
    app.command()(command)
app.command("leave-one-out")(leave_one_out)
app.add_typer(models, name="model")
app.add_typer(review, name="review")
app.add_typer(keys, name="keys")
app.add_typer(messages, name="messages")
app.add_typer(database, name="database")
app.add_typer(store, name="store")
app.command("open")(open_pages)


if __name__ == "__main__":
    main()
