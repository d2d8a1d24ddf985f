"""`groundplan store copy`: a store, or a part of it, into another one, and what is said of where things go.

Here: options, opening both sides, the table, the exit code. Not here: copying (groundplan/operations/store_copy.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.table import Table

from groundplan.collections.residency import bucket_region, check_place
from groundplan.core.endpoints import endpoint_of, environment_of
from groundplan.core.store import open_store
from groundplan.errors import BadConfig, GroundplanError
from orchestration.cli.terminal import AsJson, Region, Year, bars, hints, out, plain

if TYPE_CHECKING:
    from groundplan.core.store import Store
    from groundplan.operations.store_copy import CopyResult, Volume

store = typer.Typer(no_args_is_help=True, help="The object store: copy it to another place.")
Variables = Annotated[str, typer.Option(help="what its variables begin with: TO_ reads TO_AWS_REGION as AWS_REGION")]


@store.callback()
def together() -> None:
    """So that `copy` keeps its name while it is the only one."""


@store.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="address of a store, or a project's home folder")],
    target: Annotated[str, typer.Argument(metavar="TO", help="address of a store")],
    region: Region = None,
    year: Year = None,
    prefix: Annotated[
        list[str] | None, typer.Option(help="only keys that begin so; may be given several times")
    ] = None,
    from_env: Variables = "",
    to_env: Variables = "",
    at_once: Annotated[int, typer.Option(min=1, max=64, help="objects on their way")] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what TO has otherwise")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go where")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a store into another, verified by SHA-256; broken off, the same command goes on. Manifests come last."""
    from groundplan.operations.store_copy import StorePair, forgotten_of, survey
    from groundplan.operations.store_copy import copy as run
    from groundplan.operations.store_rooms import Chosen

    with environment_of(from_env):
        begin, allowed = _source(source)
        place = _region(begin.url)
    with environment_of(to_env):
        address = _address(target)
        check_place(allowed or (), address)
        where = _region(address)
    chosen = Chosen(year=year, region=region, prefixes=tuple(prefix or ()))
    with bars(as_json):
        volumes = survey(begin, chosen)
    _check_images(begin, allowed, volumes)
    if not as_json:
        _say_where(f"{begin.url} ({place})", f"{address} ({where})", volumes)
    result = None
    if not dry_run:
        with environment_of(to_env):
            end = open_store(address)
        with bars(as_json):
            forgotten = forgotten_of(end)
            result = run(
                StorePair(
                    source=begin,
                    target=end,
                    chosen=chosen,
                    at_once=at_once,
                    overwrite=overwrite,
                    forgotten=forgotten,
                ),
                volumes,
            )
    _say(result, volumes, as_json)
    if result and result.wrong:
        raise typer.Exit(1)


def _source(words: str) -> tuple[Store, list[str] | None]:
    """The store of an address or of a project's home, and where images may lie; None where no project says so."""
    from groundplan import config
    from groundplan.project import open_project

    if "://" not in words and (Path(words) / config.FILE).is_file():
        project = open_project(words)
        return project.store, list(project.settings.collections.region)
    if "://" not in words and not Path(words).is_dir():
        raise BadConfig(words, "there is no such folder", "Give a store's address or a project's home folder")
    return open_store(_address(words), make=False), None


def _address(words: str) -> str:
    """A store's address, or a folder's by its path. Raises BadConfig for a project's home."""
    from groundplan import config

    if "://" in words:
        return words
    if (Path(words) / config.FILE).is_file():
        raise BadConfig(words, "it is a project's home, not a store", "Give the address of a store, or an empty folder")
    return Path(words).absolute().as_uri()


def _region(address: str) -> str:
    """Where a store is, as far as anybody says."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return "a folder of this machine"
    if named := endpoint_of(parts.scheme):
        return f"at {urlsplit(named.url).hostname}, as {named.variable} says"
    if parts.scheme != "s3":
        return "its region is the account's or bucket's"
    try:
        return f"in {bucket_region(parts.netloc)}"
    except GroundplanError:
        return "its region does not tell"


def _check_images(begin: Store, allowed: list[str] | None, volumes: list[Volume]) -> None:
    """Raises BadConfig where images of collections would be copied, and no project says where they may lie."""
    if allowed is None and any(one.room == "collections" for one in volumes):
        remedy = "Name the project's home folder instead of its store, or choose other keys by --prefix"
        raise BadConfig(begin.url, "it holds images of collections, and nobody says where those may lie", remedy)


def _say_where(begin: str, end: str, volumes: list[Volume]) -> None:
    table = Table("what", "year", "objects", "MB")
    for column in table.columns[2:]:
        column.justify = "right"
    for one in volumes:
        table.add_row(plain(one.room), str(one.year or ""), str(one.objects), f"{one.bytes / 1e6:.1f}")
    total = sum(one.bytes for one in volumes) / 1e6
    out.print(table)
    text = f"{sum(one.objects for one in volumes)} objects, {total:.1f} MB\nfrom {begin}\nto   {end}"
    out.print(plain(text), highlight=False, soft_wrap=True)


def _say(result: CopyResult | None, volumes: list[Volume], as_json: bool) -> None:
    if as_json:
        told = {name: value for name, value in asdict(result).items() if name != "failed"} if result else None
        typer.echo(json.dumps({"volumes": [asdict(one) for one in volumes], "result": told}, ensure_ascii=False))
    elif result:
        for key, reason in result.left:
            out.print(hints(f"left  {key}\n      {reason}"), highlight=False, soft_wrap=True)
        size = result.copied_bytes / 1e6
        typer.echo(f"{result.copied} copied, {size:.1f} MB; {result.there} were there; {result.wrong} left out")
