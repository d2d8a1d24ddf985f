"""The registry on the command line: which versions there are, which is used, and changing that.

Here: the options and words of `model list`, `show`, `promote` and `rollback`. Not here: items and aliases
(groundplan/registry), the gate (groundplan/promotion).
"""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.cli.predict import models
from orchestration.cli.terminal import AsJson, Home, open_home, out, plain

if TYPE_CHECKING:
    from groundplan.project import Project
    from groundplan.promotion import Judgement
    from groundplan.registry import ModelEntry

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="such as footprints, or a collection's")]
Word = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="a version or alias after @; else what is used")]
Alias = Annotated[str, typer.Option(help="the alias that is changed")]


@models.command("list")
def list_models(home: Home = None, as_json: AsJson = False) -> None:
    """All models and versions, with their figures on test ground and the aliases that mean them."""
    from rich.table import Table

    from groundplan.promotion import discover
    from groundplan.registry import entries, names, read_aliases

    project = open_home(home)
    discover(project)
    rows: list[tuple[ModelEntry, list[str]]] = []
    for name in names(project.store):
        aliases = read_aliases(project.store, name).versions
        for entry in entries(project.store, name):
            rows.append((entry, sorted(alias for alias, version in aliases.items() if version == entry.version)))
    if as_json:
        typer.echo(json.dumps([{**_told(entry), "aliases": meant} for entry, meant in rows]))
        return
    table = Table("model", "version", "aliases", "test ground", "made")
    for entry, meant in rows:
        table.add_row(entry.name, entry.version, ", ".join(meant), _figures(entry.card.get("test")), entry.made[:16])
    out.print(table)


@models.command("show")
def show_model(word: Word, home: Home = None) -> None:
    """A version as a STAC item, with the extension for machine learning."""
    from groundplan.promotion import discover
    from groundplan.registry.entries import as_item
    from groundplan.single.registered import resolve

    project = open_home(home)
    discover(project)
    item = as_item(resolve(project, word)).to_dict(include_self_link=False, transform_hrefs=False)
    typer.echo(json.dumps(item, indent=1, ensure_ascii=False))


@models.command("promote")
def promote_model(
    name: ModelName,
    version: Annotated[str, typer.Argument(help="a version, or an alias such as candidate")] = "candidate",
    alias: Alias = "production",
    anyway: Annotated[str, typer.Option(help="why, though the gate holds it back; the history keeps it")] = "",
    home: Home = None,
) -> None:
    """Use a version, if it is not worse on held-out ground than the one in use, and its usual figures are known."""
    from groundplan.promotion import discover, promote
    from groundplan.promotion.gate import check_alias

    project = open_home(home)
    check_alias(alias)
    discover(project)
    entry, judged, _ = promote(project, name, version, who=getpass.getuser(), alias=alias, anyway=anyway)
    _tell(project)
    _say(judged)
    out.print(f"[bold]{plain(name)}@{alias}[/] is {entry.version} from now on; services follow within seconds.")


@models.command("rollback")
def roll_back_model(name: ModelName, alias: Alias = "production", home: Home = None) -> None:
    """Use again what was used before. Without a gate: it was good enough then."""
    from groundplan.registry import roll_back

    project = open_home(home)
    changed = roll_back(project.store, name, alias, who=getpass.getuser())
    _tell(project)
    out.print(f"[bold]{plain(name)}@{plain(alias)}[/] is {changed.versions[alias]} again.")


def _tell(project: Project) -> None:
    """Write the event of a move; the alias is moved in any case, and `groundplan work` tells what could not be told."""
    from sqlalchemy.exc import DBAPIError

    from groundplan.errors import GroundplanError
    from resources.moved_aliases import tell_moves_where_used

    try:
        tell_moves_where_used(project)
    except (DBAPIError, GroundplanError) as error:
        out.print(f"[yellow]Nobody is told of it yet[/]: {plain(str(error).splitlines()[0])}")


def _say(judged: Judgement) -> None:
    for one in judged.conditions:
        out.print(f"{'[green]holds[/]' if one.holds else '[red]not[/]  '} {one.name}: {plain(one.words)}")


def _told(entry: ModelEntry) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(entry)


def _figures(found: Any) -> str:
    shown = {name: value for name, value in (found or {}).items() if isinstance(value, float)}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
