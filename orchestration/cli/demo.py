"""`groundplan demo`: a synthetic country through the whole chain, and how good the result is.

Here: delivering the drawn country to a project and summing up. Not here: drawing it (groundplan/synthetic/country.py),
or any step: the demo runs what every project runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from groundplan.core.partition import Partition
from groundplan.core.progress import current_progress
from groundplan.errors import GroundplanError
from groundplan.imagery.landing import delivered_partitions
from groundplan.ingest.add_imagery import deliver
from groundplan.project import Project, open_project
from groundplan.quality.scores import compare_with_truth
from groundplan.synthetic.place import ZANZIBAR

BLOCK = 512  # pixels; small, so that there are blocks to look at
RESOLUTION = 0.24  # metres that the network sees: a little coarser than the starter model learned at, for speed
CROP = 192
STEPS_PER_MINUTE = 80  # on two processors
MEANING = (
    "Invented houses, found by a network that began as the starter model, which has seen such houses of another "
    "country, and learned of these for a minute: this shows that the chain works, not how well. What it finds in real "
    "towns: docs/accuracy.md."
)


def demo(home: Path, seed: int, minutes: float, say: Callable[[str], None], done: Callable[[Any], None]) -> Table:
    """Draw, deliver, build, compare with the truth. A second call on the same folder only makes what is missing."""
    from orchestration.cli.build import build, make_country_pages

    truth = home / "delivery"
    project = open_project(home) if (home / "groundplan.toml").is_file() else _start(home, truth, seed, minutes, say)
    failed = made = 0
    for item in build(project):
        if item.outcome != "current":
            done(item)
        failed += item.outcome in ("failed", "waiting")
        made += item.outcome == "made"
    if failed:
        raise GroundplanError("demo", f"{failed} partitions could not be made", "See `groundplan status` of its folder")
    if (made or not project.store.list("previews/country_map")) and (why := make_country_pages(project)):
        raise GroundplanError("demo", f"the country's pages could not be made ({why})", "Run the same command again")
    with current_progress().task("comparing with the truth", 0, 0):
        return _quality(project, truth)


def _start(home: Path, folder: Path, seed: int, minutes: float, say: Callable[[str], None]) -> Project:
    """Draw the country and deliver it as an agency would: regions, sheets, a register a year."""
    from groundplan import config
    from groundplan.core import grid
    from groundplan.imagery.regions import add_regions
    from groundplan.labels.registers import add_register
    from groundplan.synthetic import country as synthetic

    say(f"Drawing a country (seed {seed}) in [bold]{folder}[/]")
    with current_progress().task("drawing", 0, 0):
        country = synthetic.draw(folder, seed, location=ZANZIBAR)  # where real imagery can be dropped beside it
    origin = grid.default_origin(country.crs, country.resolution, BLOCK)
    path = config.write(
        home, {"crs": country.crs, "resolution": country.resolution, "block_size": BLOCK, "origin": origin}, ""
    )
    first = min(country.years)
    # one model, learned from the first year, from what ships with the project: the demo needs no download
    settings = """
[labels]
inner_edge = 0.6
gap = 0.9

[arrivals]
quiet_seconds = 5.0
"""
    model = f"""[model]
start = "starter"
steps = {round(minutes * STEPS_PER_MINUTE)}
minutes = {minutes}
resolution = {RESOLUTION}
batch = 8
crop = {CROP}
"""
    text = path.read_text("utf-8").replace('[model]\n# start = ""\n', model) + settings
    path.write_text(text.replace("[predict]\n", f"[predict]\nmodel_year = {first}\n"), "utf-8")
    project = open_project(home)
    add_regions(project, country.regions)
    for (region, year), sheets in sorted(country.sheets.items()):
        deliver(project, sheets, region, year)
    for year, (register, extent) in sorted(country.registers.items()):
        add_register(project, register, year, extent)
    say(f"Delivered {sum(map(len, country.sheets.values()))} sheets and {len(country.registers)} registers")
    return project


def _quality(project: Project, folder: Path) -> Table:
    table = Table(
        "region",
        "year",
        "ground",
        "buildings",
        "found",
        "pixel IoU",
        "boundary IoU",
        "F1 at IoU 0.5",
        title="Footprints against the true buildings",
        caption=MEANING,
    )
    for partition in delivered_partitions(project):
        truth = folder / f"truth_{partition.year}.parquet"
        for ground, s in _scores(project, partition, truth).items():
            if ground in ("all", "test"):
                table.add_row(
                    partition.region,
                    str(partition.year),
                    ground,
                    str(s.buildings),
                    str(s.matched),
                    f"{s.iou:.3f}",
                    f"{s.boundary_iou:.3f}",
                    f"{s.object_f1:.3f}",
                )
    return table


def _scores(project: Project, partition: Partition, truth: Path) -> dict[str, Any]:
    return compare_with_truth(project, partition.region, partition.year, truth, None, None)
