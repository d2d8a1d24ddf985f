"""Keys of the API: who may ask from elsewhere than this machine.

Here: the options and words of `keys add`, `keys list`, `keys revoke`. Not here: what a key is (serving/api/keys.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.cli.terminal import Home, open_home, out, plain

if TYPE_CHECKING:
    from sqlalchemy import Engine

keys = typer.Typer(no_args_is_help=True, help="Keys of the API: who may ask from elsewhere than this machine.")


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="whose it is, such as 'field app'")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, predict, review or admin; may be given several times")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, max=100_000, help="requests a second; else `api.rate`")
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="after which it expires; else never")
    ] = None,
    home: Home = None,
) -> None:
    """Make a key and print it, this once: the database holds only its hash."""
    from serving.api.keys import make_key

    text = make_key(_database(home), name, scope or ["read", "predict"], rate, days)
    typer.echo(text)


@keys.command("list")
def list_all(home: Home = None) -> None:
    """Names, scopes and states of all keys; not the keys."""
    from datetime import UTC, datetime

    from rich.table import Table

    from serving.api.keys import list_keys

    table = Table("name", "scopes", "rate", "made", "expires", "state")
    for key in list_keys(_database(home)):
        state = "revoked" if key.revoked else "good" if key.valid(datetime.now(UTC)) else "expired"
        made, expires = (f"{when:%Y-%m-%d}" if when else "" for when in (key.made, key.expires))
        rate = "" if key.rate is None else f"{key.rate:g}/s"
        table.add_row(plain(key.name), ", ".join(sorted(key.scopes)), rate, made, expires, state)
    out.print(table)


@keys.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="as `keys list` shows it")], home: Home = None) -> None:
    """Refuse a key from now on; running services know within seconds."""
    from serving.api.keys import revoke_key

    revoke_key(_database(home), name)
    out.print(f"The key '{plain(name)}' is refused from now on.")


def _database(home: object) -> Engine:
    from pathlib import Path

    from groundplan.database.connect import open_database

    return open_database(open_home(home if isinstance(home, Path) else None))
