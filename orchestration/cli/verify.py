"""`groundplan verify`: whether the store still holds what was made, now, and not when the week's turn comes.

Here: options, a table of what is wrong, the exit code. Not here: looking (groundplan/operations/store_audit.py).
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.cli.terminal import AsJson, Home, bars, hints, open_home, out

if TYPE_CHECKING:
    from groundplan.operations.store_audit import Agreement


def verify(
    everything: Annotated[bool, typer.Option("--all", help="read all objects, not this week's share of them")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="write down the SHA-256 of objects of older versions, as they are now")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare the store with its manifests: sizes of all objects, contents of this week's share, or of all."""
    from groundplan.operations import store_audit

    project = open_home(home)
    turn = (lambda _key: True) if everything else store_audit.turn_of(store_audit.week_of(datetime.now(UTC)))
    started = time.monotonic()
    with bars(as_json):
        found = store_audit.check(project, turn, adopt)
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False))
    else:
        _say(found, time.monotonic() - started)
    if found.wrong:
        raise typer.Exit(1)


def _say(found: Agreement, seconds: float) -> None:
    for finding in found.findings:  # lines, not a table: a key that is cut is no key
        text = hints(f"damaged  {finding.key}\n         {finding.reason}. {finding.remedy}")
        out.print(text, highlight=False, soft_wrap=True)
    if found.wrong > len(found.findings):
        typer.echo(f"... and {found.wrong - len(found.findings)} more")
    size = found.read_bytes / 1e6
    typer.echo(f"{found.objects} objects of {found.manifests} manifests: {found.wrong} wrong")
    typer.echo(f"{found.read} contents read: {size:.1f} MB in {seconds:.1f} s, {size / max(seconds, 1e-3):.1f} MB/s")
    if found.unknown:
        text = (
            f"{found.unknown} objects have no digest, as an older version made them: their sizes were compared. "
            "`groundplan verify --all --adopt` writes their digests down, as they are now"
        )
        out.print(hints(text), highlight=False, soft_wrap=True)
