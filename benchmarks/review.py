"""Whether reviews of the most useful polygons help more than as many drawn by chance.

    python -m benchmarks.review [--minutes 2.5] [--size 400] [--reviews 200] [--small]

A drawn country of two regions, whose register has the errors of real ones and leaves out a strip; a model learns from
it. An oracle that knows the truth, and is wrong in 5 of 100, judges polygons: once the most useful ones, once as many
by chance, each in a copy of the project. Both learn anew from the same labels and those verdicts.
Against: the bar, object F1 on the test split's ground after useful reviews above that after random ones. --small runs
the way with a training of seconds and tells nothing.
Bound by: three trainings and predictions.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from groundplan.core.partition import Partition
from groundplan.project import Project, open_project
from groundplan.reviews import verdicts as say
from groundplan.reviews.tasks import ReviewTask, best_iou, choose

WRONG = 0.05
NOW = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = 2024


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="groundplan-review-") as made:
        yield Path(made)


def project_of(home: Path, minutes: float, small: bool) -> Project:
    """Settings of the demo; `small`: a training of a few steps."""
    home.mkdir()
    steps = "steps = 4\nbatch = 2\ncrop = 64\n" if small else ""
    (home / "groundplan.toml").write_text(
        '[grid]\ncrs = "EPSG:28992"\nresolution = 0.3\nblock_size = 512\norigin = [182361.0, 448771.0]\n'
        f'[model]\nminutes = {minutes}\nencoder_weights = "none"\n{steps}'
    )
    return open_project(home)


def build(project: Project, retrain: bool = False) -> None:
    from groundplan.pipeline import ASSETS, partitions_of, run_asset

    for name in ASSETS:
        options = {"retrain": True} if retrain and name == "trained_model" else {}
        for partition in partitions_of(project, name):
            run_asset(project, name, partition, **options)


def deliver(project: Project, drawn: Any) -> None:
    from groundplan.ingest.add_imagery import deliver as add
    from groundplan.labels.registers import add_register

    for (region, year), sheets in drawn.sheets.items():
        add(project, sheets, region, year)
    for year, (register, extent) in drawn.registers.items():
        add_register(project, register, year, extent)


def judge(project: Project, task: ReviewTask, truth: np.ndarray, rng: np.random.Generator) -> None:
    """The oracle's verdict: the true polygon where there is one, else that there is none; wrong in WRONG of all."""
    import geopandas as gpd
    from shapely.geometry import shape

    polygon = gpd.GeoSeries([shape(task.geometry)], crs=4326).to_crs(project.grid.crs).values.to_numpy()
    ious = best_iou(polygon, truth)
    real = bool(ious[0] >= 0.3)
    if rng.random() < WRONG:
        real = not real
    drawn = None
    if real and ious[0] >= 0.3:
        near = max(truth, key=lambda one: one.intersection(polygon[0]).area)
        drawn = gpd.GeoSeries([near], crs=project.grid.crs).to_crs(4326).iloc[0].__geo_interface__
    verdict = say.REDRAW if drawn else say.ACCEPT if real else say.REJECT
    names = ("region", "year", "block", "footprint", "fingerprint", "reason", "geometry", "facts")
    about = {name: getattr(task, name) for name in names}
    said = {"task": task.id, "person": "oracle", "verdict": verdict, "geometry": drawn, "seconds": None, "at": NOW}
    say.keep(project.store, say.Review(id=task.id, about=about, **said))


def reviewed(base: Path, home: Path, count: int, share: float, truth: np.ndarray) -> Project:
    """A copy of the project with `count` verdicts, learned from. share: of them drawn by chance."""
    shutil.copytree(base, home)
    text = (home / "groundplan.toml").read_text()
    text += f"[review]\ntasks = {count}\nrandom_share = {share}\n"
    (home / "groundplan.toml").write_text(text)
    project = open_project(home)
    found = [task for region in regions(project) for task in choose(project, Partition(YEAR, region))]
    rng = np.random.default_rng(5)
    for task in sorted(found, key=lambda task: -task.priority)[:count]:
        judge(project, task, truth, rng)
    from groundplan.reviews.register import write_reviews

    write_reviews(project, YEAR)
    build(project, retrain=True)
    return project


def regions(project: Project) -> list[str]:
    from groundplan.imagery.landing import delivered_partitions

    return sorted({partition.region for partition in delivered_partitions(project)})


def object_f1(project: Project, truth: Any) -> float:
    """On the ground of the test split of all regions: the mean of the regions'."""
    from groundplan.core.grid import Block
    from groundplan.core.manifest import need_manifest
    from groundplan.imagery import tiles
    from groundplan.quality.scores import score_region
    from groundplan.training.split import split_area

    found = []
    for region in regions(project):
        partition = Partition(YEAR, region)
        blocks = need_manifest(project.store, tiles.DATASET, partition).objects
        import shapely

        cell = project.settings.split.cell
        area = shapely.union_all([split_area(project.grid, Block.parse(name), "test", cell) for name in blocks])
        found.append(score_region(project, partition, truth, area).object_f1)
    return float(np.mean(found))


def main() -> None:
    import geopandas as gpd

    from groundplan.synthetic.country import draw

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--size", type=float, default=400.0)
    parser.add_argument("--reviews", type=int, default=200)
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args()
    size, count = (90.0, 12) if chosen.small else (chosen.size, chosen.reviews)
    with folder() as place:
        drawn = draw(place / "country", size_m=size, years=(YEAR,))
        base = project_of(place / "base", chosen.minutes, chosen.small)
        deliver(base, drawn)
        build(base)
        truth = gpd.read_parquet(drawn.truth[YEAR])
        polygons = truth.geometry.values.to_numpy()
        before = object_f1(base, truth)
        useful = object_f1(reviewed(base.home, place / "useful", count, 0.1, polygons), truth)
        random = object_f1(reviewed(base.home, place / "random", count, 1.0, polygons), truth)
    print(f"object F1 on test ground: before {before:.3f}, {count} useful {useful:.3f}, {count} by chance {random:.3f}")
    if not chosen.small:
        print(f"useful above random: {'met' if useful > random else 'NOT MET'}")


if __name__ == "__main__":
    main()
