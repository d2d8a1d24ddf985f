"""Whether reviews of the most useful polygons help more than as many drawn by chance.

    python -m benchmarks.review [--steps 120] [--weights FILE] [--reviews 200] [--seed 7] [--seeds 1] [--small]

A drawn country of two regions with about 600 buildings. Its register is a poor one, as where people are asked at all:
a third of the buildings was never entered, and a tenth of its entries stands no more. A model learns from it. An oracle
that knows the truth, and is wrong in 5 of 100, judges polygons: once the most useful ones, once as many by chance, each
in a copy of the project. Both learn anew, from the same first weights and for as many steps, from labels with those
verdicts. --weights: an encoder's .safetensors to begin with, else random ones. Told too: how many labels are mended.
Against: the bar, object F1 on the test split's ground after useful reviews above that after random ones, as the mean of
the seeds. --small runs the way with a training of seconds and tells nothing.
Bound by: three trainings and predictions a seed; steps, not minutes, so that a busy machine gives the same.
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
LEFT_OUT, GONE = 1 / 3, 0.1  # of the register: buildings it lacks, and entries without a building


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="groundplan-review-") as made:
        yield Path(made)


def project_of(home: Path, seed: int, chosen: argparse.Namespace) -> Project:
    """Settings of the demo, but smaller batches and crops, and no clock; --small: a training of a few steps."""
    home.mkdir()
    size = "steps = 4\nbatch = 2\ncrop = 64\n" if chosen.small else f"steps = {chosen.steps}\nbatch = 4\ncrop = 128\n"
    (home / "groundplan.toml").write_text(
        '[grid]\ncrs = "EPSG:28992"\nresolution = 0.3\nblock_size = 512\norigin = [182361.0, 448771.0]\n'
        f'[predict]\nviews = 1\n[model]\nminutes = 1000\nseed = {seed}\nencoder_weights = "{chosen.weights}"\n{size}'
    )
    return open_project(home)


def poorer(register: Path, truth: Path, seed: int) -> None:
    """The register without a part of its buildings, and with entries where nothing stands any more; in its place."""
    import geopandas as gpd
    import pandas as pd
    import shapely

    rng = np.random.default_rng([seed, 13])
    frame, standing = gpd.read_file(register), gpd.read_parquet(truth).geometry.values.to_numpy()
    kept = frame[rng.random(len(frame)) >= LEFT_OUT]
    moved = []
    for shape in frame.geometry.sample(frac=1, random_state=seed):
        turn, far = rng.uniform(0, 2 * np.pi), rng.uniform(15, 40)
        there = shapely.affinity.translate(shape, far * np.cos(turn), far * np.sin(turn))
        if len(moved) < GONE * len(frame) and not shapely.intersects(standing, there.buffer(1.0)).any():
            moved.append(there)
    gone = gpd.GeoDataFrame(geometry=moved, crs=frame.crs)
    register.unlink()
    pd.concat([kept, gone], ignore_index=True).to_file(register, driver="GPKG")


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
        poorer(register, drawn.truth[year], drawn.seed)
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


def reviewed(base: Path, home: Path, count: int, share: float, truth: np.ndarray) -> tuple[Project, int]:
    """A copy of the project with `count` verdicts, learned from, and how many errors of labels they mend.

    share: of them drawn by chance. As many as may be lie in one block: the country has only a few.
    """
    shutil.copytree(base, home)
    text = (home / "groundplan.toml").read_text()
    text += f"[review]\ntasks = {count}\nrandom_share = {share}\nmost_of_block = {count}\n"
    (home / "groundplan.toml").write_text(text)
    project = open_project(home)
    found = [task for region in regions(project) for task in choose(project, Partition(YEAR, region))]
    rng, before = np.random.default_rng(5), wrong_labels(project, truth)
    for task in sorted(found, key=lambda task: -task.priority)[:count]:
        judge(project, task, truth, rng)
    from groundplan.reviews.register import write_reviews

    write_reviews(project, YEAR)
    build(project, retrain=True)
    return project, before - wrong_labels(project, truth)


def wrong_labels(project: Project, truth: np.ndarray) -> int:
    """Buildings that the labels lack where they claim to be complete, and those that do not stand."""
    import shapely

    from groundplan.labels import registers

    wrong = 0
    for region in regions(project):
        frame, complete = registers.load(project, Partition(YEAR, region))
        here = truth[shapely.contains(complete, shapely.point_on_surface(truth))]
        shapes = frame.geometry.values.to_numpy()
        shapes = shapes[shapely.contains(complete, shapely.point_on_surface(shapes))]
        wrong += int((best_iou(here, shapes) < 0.3).sum() + (best_iou(shapes, truth) < 0.3).sum())
    return wrong


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


def compare(place: Path, seed: int, chosen: argparse.Namespace) -> tuple[float, float, float]:
    """Object F1 before, after useful, and after random reviews of one country."""
    import geopandas as gpd

    from groundplan.synthetic.country import draw

    size, count = (90.0, 12) if chosen.small else (chosen.size, chosen.reviews)
    drawn = draw(place / "country", seed=seed, size_m=size, years=(YEAR,))
    base = project_of(place / "base", seed, chosen)
    deliver(base, drawn)
    build(base)
    truth = gpd.read_parquet(drawn.truth[YEAR])
    polygons = truth.geometry.values.to_numpy()
    before = object_f1(base, truth)
    print(
        f"seed {seed}: {len(truth)} buildings, {wrong_labels(base, polygons)} labels are wrong, F1 {before:.3f}",
        flush=True,
    )
    found = []
    for name, share in (("useful", 0.1), ("random", 1.0)):
        project, mended = reviewed(base.home, place / name, count, share, polygons)
        found.append(object_f1(project, truth))
        print(f"seed {seed}: {count} {name}: {mended} labels mended, F1 {found[-1]:.3f}", flush=True)
    return before, found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--weights", default="none")
    parser.add_argument("--size", type=float, default=400.0)
    parser.add_argument("--reviews", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7, help="of the first country")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args()
    told = []
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        with folder() as place:
            told.append(compare(place, seed, chosen))
    before, useful, random = np.mean(told, axis=0)
    print(f"object F1 on test ground: before {before:.3f}, useful {useful:.3f}, by chance {random:.3f}")
    if not chosen.small:
        print(f"useful above random: {'met' if useful > random else 'NOT MET'}")


if __name__ == "__main__":
    main()
