"""`groundplan forget`: images of a collection that somebody has a right to have removed, or that were kept long enough.

Here: options, which images are meant, the copies of reports in the home, and a table of what went. Not here: what came
from an image, and removing it (groundplan/collections/forget.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundplan.errors import BadConfig, MissingInput, StoreFailed
from orchestration.cli.terminal import Home, hints, open_home, out

if TYPE_CHECKING:
    from groundplan.project import Project


SHOWN = 20  # images that are named in a list


def forget(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", help="images: CLASS/FILE, or the catalogue's key")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="the collection that they are in")] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="all that is older than collections.retention_days")
    ] = False,
    copies: Annotated[
        bool, typer.Option("--copies", help="also images of the same bytes under other names, in all collections")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="remove them; this cannot be undone")] = False,
    home: Home = None,
) -> None:
    """List, and with --yes remove, images of a collection and all that came from them."""
    from groundplan.collections import forget as privacy

    project = open_home(home)
    found, unknown = _meant(project, keys or [], collection, expired)
    for key in unknown:
        typer.echo(f"not there   {key}: nothing in the collection has that key")
    if not found and unknown:
        raise MissingInput(
            f"{len(unknown)} images",
            "the collection has none of them, and nothing was removed",
            "Give keys as the catalogue and the report have them: CLASS/FILE",
        )
    if not found:
        typer.echo("Nothing to forget: no image is that old.")
        return
    found += _others(project, found, copies)
    names = sorted({key.split("/")[1] for key in found})
    if not yes:
        images, derived = privacy.what_goes(project, found)
        _list(images)
        _table(len(images), privacy.rooms_of(derived), len(_reports(project, names)))
        typer.echo("Nothing was removed. Add --yes to remove all of this; it cannot be undone")
    else:
        reports = _remove_reports(project, names)  # first: a copy outlives a kill no longer than its image does
        done = privacy.forget(project, found)
        _table(done.images, done.rooms, reports)
        typer.echo(f"Removed. The log, by digests: {project.store.uri(done.log)}")
        for name in names:
            text = hints(f"What is left is made anew by `groundplan build --collection {name}`")
            out.print(text, highlight=False, soft_wrap=True)
    if unknown:
        raise typer.Exit(1)


def _others(project: Project, found: Sequence[str], copies: bool) -> list[str]:
    """Say which images hold the same bytes, and which look alike; those of the same bytes, where they are to go too."""
    from groundplan.collections import forget as privacy

    same = privacy.copies_of(project, found)
    for key in same:
        typer.echo(f"copy        {key}: the same bytes" + ("" if copies else "; it stays unless you add --copies"))
    hint = [key for key in privacy.alike(project, [*found, *same]) if key not in same]
    if hint:
        more = f", and {len(hint) - SHOWN} more" if len(hint) > SHOWN else ""
        typer.echo(f"hint        these look alike or are of one series, look at them: {', '.join(hint[:SHOWN])}{more}")
    return same if copies else []


def _meant(project: Project, keys: Sequence[str], collection: str | None, expired: bool) -> tuple[list[str], list[str]]:
    """Keys of the images that are meant, and those given that the collection knows nothing of."""
    from groundplan.collections import forget as privacy
    from groundplan.collections.files import ROOM
    from orchestration.cli.known import check_collection

    if collection is not None:
        check_collection(project, collection)
    if expired:
        if keys:
            raise BadConfig("forget", "it got images and --expired", "Give one or the other")
        if project.settings.collections.retention_days is None:
            raise BadConfig("forget --expired", "collections.retention_days is not set", "Set it in groundplan.toml")
        old = privacy.expired(project, datetime.now(UTC))
        return [key for key in old if collection is None or key.split("/")[1] == collection], []
    if not keys or collection is None:
        raise BadConfig("forget", "it needs images and their collection", "Give KEY... --collection NAME, or --expired")
    room = f"{ROOM}/{collection}/"
    whole = list(dict.fromkeys(key if key.startswith(room) else room + key for key in keys))
    known = _known(project, [key for key in whole if not {"", ".", ".."} & set(key.split("/"))])
    return [key for key in whole if key in known], [key for key in whole if key not in known]


def _known(project: Project, keys: Sequence[str]) -> set[str]:
    """Those of which anything is left: the image, or a word of it where a forgetting was killed half-way.

    A slip in a name must not remove a collection's classifier, which it would if any key were taken.
    """
    from groundplan.collections import catalog
    from groundplan.collections.files import delivered, images_prefix, partition_of, read_memory, read_refused

    known: set[str] = set()
    for partition in {partition_of(key) for key in keys if key.count("/") >= 3}:
        known |= {item.key for item in delivered(project, partition)} | set(read_memory(project, partition))
        known |= {f"{images_prefix(partition)}/{item.name}" for item in read_refused(project, partition)}
        try:
            known |= set(catalog.load(project, partition)["key"])
        except MissingInput:
            continue
    return known


def _reports(project: Project, names: Sequence[str]) -> list[Path]:
    """Copies of the collections' reports in the home, whole or half-written: they show the images."""
    places = [project.home / "reports" / f"{name}{ending}" for name in names for ending in (".html", ".part")]
    return [path for path in places if path.is_file()]


def _remove_reports(project: Project, names: Sequence[str]) -> int:
    found = _reports(project, names)
    for path in found:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            reason = f"the report cannot be removed ({error.strerror}), and nothing else was"
            raise StoreFailed(str(path), reason, "Free the place, then run this again") from error
    return len(found)


def _list(images: Sequence[str]) -> None:
    for key in images[:SHOWN]:
        typer.echo(f"image       {key}")
    if len(images) > SHOWN:
        typer.echo(f"... and {len(images) - SHOWN} more")


def _table(images: int, rooms: dict[str, int], reports: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "objects")
    for name, count in {"images": images, **rooms, "reports in the home": reports}.items():
        table.add_row(name, str(count))
    Console().print(table)
