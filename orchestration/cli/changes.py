"""`groundplan changes`: what became of the buildings of a region since the year before.

Here: the command's options and tables. Not here: the comparison (groundplan/changes/), making it (build).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from groundplan.core.partition import Partition
from orchestration.cli.terminal import AsJson, Home, OneRegion, OneYear, open_home, out, plain

if TYPE_CHECKING:
    import geopandas as gpd

    from groundplan.changes import changes as dataset
    from groundplan.changes import null

SHOWN = 10  # changes in the table


def changes(
    region: OneRegion,
    year: OneYear,
    output: Annotated[
        Path | None, typer.Option("--out", "--output", "-o", help="file to write all of them to, such as .gpkg")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say which buildings are new, gone or changed since the region's year before, as `building_changes` holds it."""
    from groundplan.changes import changes as dataset
    from groundplan.changes import null
    from groundplan.changes.export import export
    from groundplan.changes.years import need_before
    from groundplan.core.manifest import need_manifest
    from groundplan.footprints.export import check_target
    from orchestration.cli.known import check_place

    project, partition = open_home(home), Partition(year, region)
    if output is not None:
        check_target(output)
    check_place(project, region, year)
    before = need_before(project, partition)
    facts = need_manifest(project.store, dataset.DATASET, partition).objects["changes"].facts
    tested = null.facts_of(project, partition)
    if as_json:
        out.print_json(json.dumps({"before": before.year, **facts, "null": tested}))
    else:
        _show(dataset.load(project, partition), facts, f"{region}: {year} against {before.year}", tested)
    if output is not None:
        count = export(project, output, partition)
        out.print(f"Wrote {count} rows to [bold]{plain(str(output))}[/]", soft_wrap=True)


def _show(frame: gpd.GeoDataFrame, facts: dataset.Facts, title: str, tested: null.Facts | None) -> None:
    """Counts by state, the most certain changes with their areas, and how many may be false."""
    from groundplan.changes.states import STATES
    from groundplan.previews.chips import most_certain

    counts = Table(title=title, title_justify="left")
    for state in STATES:
        counts.add_column(state, justify="right")
    counts.add_row(*(f"{facts[state]:,}" for state in STATES))  # type: ignore[literal-required]
    out.print(counts)
    if tested and tested["at_most"] is not None:
        wrong = tested["false_new"] + tested["false_gone"]
        out.print(
            f"Of {tested['unchanged']} unchanged buildings of the null set {wrong} are called new or gone: "
            f"at most {tested['at_most']:.1f} in 100 (95 %).",
            highlight=False,
        )
    rows = Table(title="the most certain changes", title_justify="left")
    for name, side in (("state", "left"), ("area [m2]", "right"), ("q", "right"), ("q before", "right")):
        rows.add_column(name, justify=side)  # type: ignore[arg-type]
    rows.add_column("building_id")
    rows.add_column("why")
    for row in most_certain(frame, SHOWN).itertuples():
        figures = f"{row.area_m2:.0f}", f"{row.q:.2f}", f"{row.q_before:.2f}"
        rows.add_row(row.state, *figures, row.building_id, plain(row.reason))
    if rows.row_count:
        out.print(rows)
