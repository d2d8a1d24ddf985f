"""What comes out of a project: `export` writes footprints to a file, `evaluate` scores them against a truth, `compare`
says which of two results is better.

Here: options, tables and notes. Not here: writing (groundplan/footprints/export.py), scoring
(groundplan/quality/scores.py), comparing (groundplan/quality/comparison.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from groundplan.core.partition import Partition
from groundplan.core.progress import going_on
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
    as_dict,
    bars,
    open_home,
    out,
    plain,
    print_notes,
)


def export(
    target: Annotated[Path, typer.Argument(help="file to write: .gpkg, .parquet, .fgb, .geojson, .shp or .csv")],
    region: Region = None,
    year: Year = None,
    crs: Annotated[str | None, typer.Option(help="CRS of the file, such as EPSG:4326; the grid's by default")] = None,
    home: Home = None,
) -> None:
    """Write footprints to a file: of a region and year, of all regions of a year, or all years of a region."""
    from groundplan.footprints import footprints
    from groundplan.footprints.export import check_target, export_all
    from orchestration.cli.known import check_place

    project = open_home(home)
    check_target(target, crs)
    chosen = check_place(project, region, year, made=footprints.DATASET)
    notes: list[str] = []
    with bars(quiet=False), going_on(f"writing {target.name}"):
        count, left_out = export_all(project, target, chosen, notes, crs)
    of = f" of {len(chosen) - len(left_out)} regions and years" if len(chosen) > 1 else ""
    out.print(f"Wrote {count} buildings{of} to [bold]{plain(str(target))}[/]", soft_wrap=True)
    notes += [f"{partition} is not in it: its footprints have not been made yet" for partition in left_out]
    print_notes(notes)


def evaluate(
    region: OneRegion,
    year: OneYear,
    truth: Annotated[Path, typer.Option(help="true building polygons")],
    extent: Annotated[Path | None, typer.Option(help="polygons inside which the truth is complete")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of what was found, missed and invented")] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML page in the words of mapping agencies, with pictures")
    ] = None,
    layer: Layer = None,
    where: Where = None,
    extent_layer: ExtentLayer = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Score a region's footprints against true buildings, also on each split if the model learned there."""
    from groundplan.footprints import footprints
    from groundplan.labels.registers import FeatureChoice
    from groundplan.polygons.metrics import table as lines
    from groundplan.quality.report import write_report
    from groundplan.quality.scores import compare_with_truth, read_truth
    from orchestration.cli.known import check_place

    project = open_home(home)
    check_place(project, region, year, made=footprints.DATASET)
    choice = FeatureChoice(layer=layer, where=where, extent_layer=extent_layer)
    notes: list[str] = []
    with bars(as_json), going_on(f"comparing with {truth.name}"):
        scores = compare_with_truth(project, region, year, truth, extent, picture, choice, notes)
        if report is not None:
            partition = Partition(year, region)
            real, complete = read_truth(project, partition, truth, extent, choice)
            write_report(project, partition, real, complete, scores, report)
    if as_json:
        out.print_json(json.dumps({name: as_dict(score) for name, score in scores.items()}))
        return
    columns = {name: dict(lines(score)) for name, score in scores.items()}
    table = Table("figure", *(f"{name} ground" for name in columns))
    for figure in next(iter(columns.values())):
        table.add_row(figure, *(column[figure] for column in columns.values()))
    out.print(table)
    if picture is not None:
        out.print(f"Picture: {plain(str(picture))} (found, missed, invented)", highlight=False, soft_wrap=True)
    print_notes(notes)


def compare(
    a: Annotated[Path, typer.Argument(help="footprints, such as .parquet or .gpkg")],
    b: Annotated[Path, typer.Argument(help="footprints of the same ground, made otherwise")],
    truth: Annotated[Path, typer.Option(help="true building polygons")],
    extent: Annotated[Path | None, typer.Option(help="polygons inside which the truth is complete")] = None,
    cell: Annotated[float, typer.Option(min=8, help="metres: buildings of one cell count as one draw")] = 64.0,
    as_json: AsJson = False,
) -> None:
    """Compare two results on the same ground: which is better, and is the difference more than chance?"""
    from groundplan import api
    from groundplan.polygons.vector_files import read_vector

    frames = {path: read_vector(path) for path in (a, b, truth, extent) if path is not None}
    with bars(as_json), going_on(f"comparing {a.name} with {b.name}"):
        rows = api.compare(frames[a], frames[b], frames[truth], frames[extent] if extent else None, cell=cell)
    if as_json:
        out.print_json(json.dumps([as_dict(row) | {"verdict": row.verdict} for row in rows]))
        return
    title = f"A: {a.name}, B: {b.name}; {rows[0].cells} cells of {cell:g} m"
    table = Table("figure", "A", "B", "B - A", "95 % interval", "verdict", title=plain(title))
    for row in rows:
        interval = f"{row.low:+.3f} to {row.high:+.3f}"
        table.add_row(row.figure, f"{row.a:.3f}", f"{row.b:.3f}", f"{row.b - row.a:+.3f}", interval, row.verdict)
    out.print(table)
