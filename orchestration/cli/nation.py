"""`groundplan nation`: a year of the whole country, given on: files, tiles, catalogue, bridge, changes.

Here: options and the table. Not here: writing (groundplan/publish/nation.py), merging (`groundplan build`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from orchestration.cli.terminal import AsJson, Home, OneYear, bars, open_home, out, plain, print_notes

MOST = 60  # regions in the table; --json has all


def nation(
    year: OneYear,
    target: Annotated[Path, typer.Option("--out", help="folder to write; other years in it stay")],
    register: Annotated[Path | None, typer.Option(help="register with ids of its own, for the bridge file")] = None,
    register_id: Annotated[str | None, typer.Option(help="column of the register that holds its ids")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Give on a year of the whole country: GeoParquet, tiles, a file per region, a STAC catalogue, what changed."""
    from groundplan.errors import BadConfig
    from groundplan.publish.bridge import read_ids
    from groundplan.publish.nation import publish

    if (register is None) != (register_id is None):
        raise BadConfig("--register", "it and --register-id belong together", "Give both, or neither")
    project = open_home(home)
    with bars(as_json):
        ids = read_ids(project, register, register_id) if register and register_id else None
        found = publish(project, year, target, ids)
    if as_json:
        told = {
            "catalog": str(found.catalog),
            "parts": found.parts,
            "regions": found.regions,
            "bridged": found.bridged,
            "changes": found.changes.as_json(year)["regions"],
            "bytes": found.bytes,
            "notes": found.notes,
        }
        out.print_json(json.dumps(told))
        return
    table = Table("region", "buildings", "matched with a register", "new", "gone", title=f"The country in {year}")
    for column in table.columns[1:]:
        column.justify = "right"
    for region, count in list(found.regions.items())[:MOST]:
        changed = found.changes.regions.get(region)
        new, gone = (str(changed[state]) for state in ("new", "gone")) if changed else ("unknown", "unknown")
        table.add_row(plain(region), str(count), str(found.bridged.get(region, "-")), new, gone)
    if len(found.regions) > MOST:
        table.add_row(f"{len(found.regions) - MOST} more", "", "", "", "")
    out.print(table)
    told_ = f"{sum(found.regions.values())} buildings in {found.parts} parts, {found.tiles.tiles} tiles"
    out.print(f"{told_}, {found.bytes / 1e6:.1f} MB: [bold]{plain(str(found.catalog))}[/]", soft_wrap=True)
    print_notes(found.notes)
