"""`groundplan database`: the copy of the results that the API asks, and its tables.

Here: options, words, exit codes. Not here: loading and comparing (groundplan/database).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from orchestration.cli.terminal import AsJson, Home, Region, Year, hints, open_home, out

if TYPE_CHECKING:
    from groundplan.database.load import Loaded

database = typer.Typer(no_args_is_help=True, help="The database that holds results for those who ask.")


@database.command()
def migrate(
    to: Annotated[str, typer.Option(help="version of the tables: 'head', a number, or 'base' for none")] = "head",
    yes: Annotated[
        bool, typer.Option("--yes", help="also to an older version, which may drop what it cannot hold")
    ] = False,
    home: Home = None,
) -> None:
    """Make the tables, or bring them to the version that this program knows."""
    from groundplan.database import connect

    if to != "head" and not yes:
        raise BadConfig("--to", "an older version may not hold all that is there", "Add --yes, with a backup at hand")
    engine = connect.engine(connect.address(open_home(home)))
    connect.migrate(engine, to)
    out.print(f"tables of version {connect.version(engine) or 'none'}", highlight=False)


@database.command()
def sync(home: Home = None) -> None:
    """Copy into the database what is missing or was made anew, and remove what is no longer in the store."""
    from groundplan.database import load

    project = open_home(home)
    done, failed = load.sync(_engine(project), project, _say)
    out.print(f"{len(done)} regions and years written, {len(failed)} failed", highlight=False)
    for partition, reason in failed:
        out.print(hints(f"failed  {partition}: {reason}"), highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@database.command()
def check(home: Home = None, as_json: AsJson = False) -> None:
    """Compare the database with the manifests and count its rows; exit code 1 where they differ."""
    import json

    from groundplan.database import load

    project = open_home(home)
    found = load.state(_engine(project), project)
    words = {
        "current": found.current,
        "missing": found.missing,
        "made anew since": found.stale,
        "no longer in the store": found.gone,
        "of a wrong number of rows": found.wrong,
    }
    if as_json:
        typer.echo(json.dumps({word: [one.path for one in listed] for word, listed in words.items()}))
    else:
        for word, listed in words.items():
            out.print(f"{len(listed):6} {word}{_named(listed) if word != 'current' else ''}", highlight=False)
    if not found.whole:
        out.print(hints("Run `groundplan database sync`"), highlight=False) if not as_json else None
        raise typer.Exit(1)


@database.command()
def drop(
    region: Region = None,
    year: Year = None,
    yes: Annotated[bool, typer.Option("--yes", help="do it")] = False,
    home: Home = None,
) -> None:
    """Remove footprints from the database, of all regions and years or of one. The store keeps them."""
    from groundplan.database import load

    project = open_home(home)
    engine = _engine(project)
    chosen = [one for one in load.listed(engine) if region in (None, one.region) and year in (None, one.year)]
    if not yes:
        out.print(f"{len(chosen)} regions and years would be removed; add --yes", highlight=False)
        return
    rows = sum(load.drop_partition(engine, one) for one in chosen)
    out.print(f"{len(chosen)} regions and years removed, {rows} rows", highlight=False)


def _engine(project: Any) -> Any:
    from groundplan.database.connect import open_database

    return open_database(project)


def _say(done: Loaded) -> None:
    out.print(f"loaded  {done.partition}  {done.rows} buildings", highlight=False)


def _named(partitions: Sequence[Partition]) -> str:
    if not partitions:
        return ""
    more = f" and {len(partitions) - 8} more" if len(partitions) > 8 else ""
    return f": {', '.join(map(str, partitions[:8]))}{more}"
