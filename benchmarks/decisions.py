"""What prediction on processors decides, and what that costs: views, widths of numbers, windows that are not run.

    python -m benchmarks.decisions --data FOLDER [--model FILE] [--int8] [--small]

FOLDER, or GROUNDPLAN_TOWNS, holds labeled towns (starter_ground.py). Every arm predicts all of them by the product's
own runtime and windows, with the model's own thresholds; the starter model where none is named. Figures are of the
cells of the split that the starter did not learn from (validation, which chose its thresholds, and test), and of all
cells, which say more about small differences and nothing about new ground. --int8: also the graph quantised after
training by NNCF (package `nncf`, which the project does not need), with windows of training cells.

Without a folder, or with --small, a drawn street that shows only that all runs.
Bars: by need at most 1.3 x one view; its IoU and boundary IoU at least those of two views less 0.005, its F1 less 0.02,
which is chance; what new projects have ("auto", by need) the same, against two views in float32; a window that a coarse
pass finds empty holds no building.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, show
from groundplan.inference.precision import Precision
from groundplan.inference.runtime import OpenVinoRuntime, load
from groundplan.inference.second_view import Views
from groundplan.training.pack import Ground

MARGIN, CORE = 128, 1024
UNSEEN = ("validation", "test")
CHEAP, CLOSE, CHANCE = 1.3, 0.005, 0.02
Arm = tuple[str, Views]
ONE: Arm = ("f32", 1)
TWO: Arm = ("f32", 2)
NEED: Arm = ("f32", "unsure")
NEW: Arm = ("auto", "unsure")
ARMS: tuple[Arm, ...] = (ONE, TWO, NEED, ("bf16", 1), ("bf16", 2), ("bf16", "unsure"), ("auto", 1), ("auto", 2), NEW)
LATTICES = ((1024, 256), (1024, 128), (2048, 128), (1024, 64))  # core and margin, pixels; the first is compared with
BLOCKS = (512, 1024)  # cores of the windows that a coarse pass may skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an arm said of every ground, and its processor-seconds."""

    rasters: dict[str, np.ndarray]
    seconds: dict[str, float]
    precision: str

    def cost(self) -> float:
        return sum(self.seconds.values())


def predicted(runtime: OpenVinoRuntime, grounds: Sequence[Ground], core: int = CORE, margin: int = MARGIN) -> Found:
    """Every ground by the product's windows."""
    from groundplan.inference.sliding_window import predict_canvas

    side = core + 2 * margin
    runtime.predict(np.zeros((runtime.bands, side, side), np.uint8))  # compiling is not the work
    rasters, seconds = {}, {}
    for ground in grounds:
        canvas = np.pad(ground.image, ((0, 0), (margin, margin), (margin, margin)))
        begin = time.process_time()
        rasters[ground.name] = predict_canvas(runtime, canvas, np.ones(canvas.shape[1:], bool), core, margin)
        seconds[ground.name] = time.process_time() - begin
    return Found(rasters=rasters, seconds=seconds, precision=runtime.metadata["precision"])


# --- figures ----------------------------------------------------------------------------------------------------------


def figures(found: Found, grounds: Sequence[Ground], thresholds: Any, splits: Sequence[str] | None) -> dict[str, Any]:
    """Scores by ground and of "all"; splits: of turn 0, None for all cells."""
    from benchmarks.starter_score import CellScenes
    from groundplan.training.thresholds import found_in, scores_from

    cells, scenes, outlines, told = CellScenes(), [], [], {}
    for ground in grounds:
        own = [s for split in splits or (None,) for s in cells.of(ground, found.rasters[ground.name], split, 0)]
        drawn = [found_in(scene, thresholds, ground.resolution) for scene in own]
        if own:
            told[ground.name] = scores_from(own, drawn, ground.resolution)
        scenes, outlines = scenes + own, outlines + drawn
    return told | {"all": scores_from(scenes, outlines, grounds[0].resolution)}


def same_side(one: Found, other: Found, thresholds: Any) -> tuple[float, float]:
    """Shares of pixels that both put on the same side of the mask's and of the seeds' threshold."""
    hits, count = np.zeros(2), 0
    for name, raster in one.rasters.items():
        pair = [(r[0] > 255 * thresholds.mask, inside(r) > thresholds.seed) for r in (raster, other.rasters[name])]
        hits += [(a == b).sum() for a, b in zip(*pair, strict=True)]
        count += raster[0].size
    return float(hits[0] / count), float(hits[1] / count)


def inside(raster: np.ndarray) -> np.ndarray:
    """Probability of the inside of a building, 0..1."""
    return raster[0].astype(np.float32) * (255 - raster[1]) / 255**2


def title(arm: Arm, found: Found) -> str:
    views = {1: "one view", 2: "two views", "unsure": "a second by need"}[arm[1]]
    return f"{arm[0]}{f' ({found.precision} here)' if arm[0] == 'auto' else ''}, {views}"


def row(name: str, found: Found, against: tuple[Found, Found], told: Sequence[Any], thresholds: Any) -> tuple[Any, ...]:
    """against: one view, whose cost is 1, and two views, with whose decisions it is compared."""
    pixels = sum(raster[0].size for raster in found.rasters.values())
    mask, seed = same_side(found, against[1], thresholds)
    parts = [f"{one.iou:.3f} {one.boundary_iou:.3f} {one.object_f1:.3f}" for one in told]
    cost = found.cost() / against[0].cost()
    return (name, pixels / 1e6 / found.cost(), f"{cost:.2f}", *parts, f"{mask:.2%} {seed:.2%}")


# --- what else is tried -----------------------------------------------------------------------------------------------


def quantised(onnx: bytes, grounds: Sequence[Ground], threads: int, windows: int = 48, side: int = 512) -> Any:
    """A runtime of the graph with 8 bit numbers, by NNCF with windows of training cells."""
    import nncf

    from groundplan.foreign_reports import silent_openvino
    from groundplan.inference.precision import Way
    from groundplan.training.split import split_of_number

    core, rng, taken = silent_openvino().Core(), np.random.default_rng(1), list[np.ndarray]()
    while len(taken) < windows:
        ground = grounds[rng.integers(len(grounds))]
        row, col = (int(rng.integers(max(1, length - side))) for length in ground.label.shape)
        part = np.s_[row : row + side, col : col + side]
        if ground.label[part].shape == (side, side) and (split_of_number(ground.number[part]) == 0).mean() > 0.6:
            taken.append(np.ascontiguousarray(ground.image[None, :, *part]))
    model = core.read_model(onnx)
    facts = {key: str(value) for key, value in dict(model.get_rt_info("framework").value).items()}
    small = nncf.quantize(model, nncf.Dataset(taken), preset=nncf.QuantizationPreset.MIXED, subset_size=windows)

    def runtime(views: Views) -> OpenVinoRuntime:
        return OpenVinoRuntime(
            bands=int(facts["bands"]),
            step=int(facts["step"]),
            grid_resolution=float(facts["grid_resolution"]),
            metadata=facts | {"precision": "int8"},
            views=views,
            _model=small,
            _compile=lambda shaped: Way("f32").compile(core, shaped, threads),
        )

    return runtime


def skipped(onnx: bytes, grounds: Sequence[Ground], whole: Found, threads: int, core: int) -> tuple[Any, ...]:
    """Windows that a coarse pass finds empty: how many, and what of buildings they hold."""
    found = predicted(load(onnx, threads=threads, skip_empty=True), grounds, core)
    count = empty = lost = held = 0
    for name, raster in found.rasters.items():
        for top in range(0, raster.shape[1], core):
            for left in range(0, raster.shape[2], core):
                part = np.s_[top : top + core, left : left + core]
                count += 1
                held += int((whole.rasters[name][0][part] > 127).sum())
                if not raster[0][part].any():
                    empty += 1
                    lost += int((whole.rasters[name][0][part] > 127).sum())
    return f"windows of {core} pixels", count, empty, lost, f"{lost / max(1, held):.4%}", found.cost()


# --- ground -----------------------------------------------------------------------------------------------------------


def towns(data: Path | None) -> list[Ground]:
    """Towns of one year whose labels are trusted; a drawn street where there is no folder."""
    if data is None:
        return [street()]
    from benchmarks.starter_ground import TOWNS, grounds

    judged = tuple(town for town in TOWNS if town.trust == 1)
    return [ground for ground in grounds(data, judged) if ground.year == 2022]


def street(side: int = 1024) -> Ground:
    """A corner of the invented town at 0.15 m, with its exact labels."""
    import cv2
    import shapely

    from benchmarks.ground import YEAR, town
    from groundplan.config import LabelSettings
    from groundplan.core.grid import Block, Grid
    from groundplan.labels.masks import draw
    from groundplan.training.split import number_mask

    pixels, place = town()
    half = np.ascontiguousarray(pixels[:, : side // 2, : side // 2].transpose(1, 2, 0))
    image = cv2.resize(half, (side, side), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    grid = Grid(place_crs(), place.frame.resolution / 2, side, (place.frame.left, place.frame.top))
    buildings = np.array([building.footprint() for building in place.buildings if building.stands(YEAR)])
    label = draw(buildings, shapely.box(*grid.bounds(Block(0, 0))), grid, Block(0, 0), LabelSettings())
    number = number_mask(grid, 0, 0, side, side, 64.0)
    return Ground(
        region="street", year=YEAR, image=np.ascontiguousarray(image), label=label, number=number, resolution=0.15
    )


def place_crs() -> str:
    from benchmarks.ground import CRS

    return CRS


# --- the command ------------------------------------------------------------------------------------------------------


def bars(found: dict[Arm, Found], told: dict[Arm, Sequence[Any]]) -> Iterator[str]:
    def line(what: str, value: float, bar: float, fits: bool) -> str:
        return f"bar: {what}: {value:.3f} ({bar:.3f}), {_met(fits)}"

    cost = found[NEED].cost() / found[ONE].cost()
    yield line("by need, cost of one view at most", cost, CHEAP, cost <= CHEAP)
    for arm, name in ((NEED, "by need"), (NEW, "new projects")):
        for where, here, there in zip(("unseen", "all"), told[arm], told[TWO], strict=True):
            for key, slack in (("iou", CLOSE), ("boundary_iou", CLOSE), ("object_f1", CHANCE)):
                value, bar = getattr(here, key), getattr(there, key) - slack
                yield line(f"{name}, {key} of {where} cells at least", value, bar, value >= bar)


def arms(model: Any, grounds: Sequence[Ground], threads: int, int8: bool) -> dict[Any, Found]:
    """Every arm over all grounds."""
    found: dict[Any, Found] = {}
    for arm in ARMS:
        precision: Precision = arm[0]  # type: ignore[assignment]
        found[arm] = predicted(load(model.onnx, threads=threads, precision=precision, views=arm[1]), grounds)
    if int8:
        small = quantised(model.onnx, grounds, threads)
        found |= {("int8", views): predicted(small(views), grounds) for views in (1, 2, "unsure")}
    return found


def lattices(model: Any, grounds: Sequence[Ground], threads: int) -> None:
    """Print what context around a window is worth, and what wider windows decide, in the numbers of new projects.

    Towns are smaller than a few windows, so costs of wide ones say nothing here (benchmarks/prediction.py).
    """
    runtime = load(model.onnx, threads=threads, precision=NEW[0], views=NEW[1])  # type: ignore[arg-type]
    found = {lattice: predicted(runtime, grounds, *lattice) for lattice in LATTICES}
    widest, usual = found[LATTICES[0]], found[CORE, MARGIN]
    rows = []
    for (core, margin), one in found.items():
        told = [figures(one, grounds, model.thresholds, splits)["all"] for splits in (UNSEEN, None)]
        rows.append(row(f"core {core}, margin {margin}", one, (usual, widest), told, model.thresholds))
    columns = ("prediction", "MPx / cpu-s", "cost", *(f"{w}: IoU, boundary IoU, F1" for w in ("unseen", "all")), "same")
    show("Windows, and what the network sees around them", columns, rows, ["same: as in the first row"])


def tables(model: Any, grounds: Sequence[Ground], found: dict[Any, Found]) -> None:
    """Print what all arms cost and decide, together and by town."""
    told: dict[Any, list[Any]] = {}
    by_town, rows = [], []
    for arm, one in found.items():
        scores = [figures(one, grounds, model.thresholds, splits) for splits in (UNSEEN, None)]
        told[arm] = [each["all"] for each in scores]
        rows.append(row(title(arm, one), one, (found[ONE], found[TWO]), told[arm], model.thresholds))
        if arm in (ONE, TWO, NEED, NEW):
            by_town += [_of_town(title(arm, one), name, one, found[ONE], scores) for name in one.rasters]
    unseen, every = (scores.buildings for scores in told[ONE])
    notes = [
        f"{len(grounds)} towns, {sum(g.label.size for g in grounds) / 1e6:.1f} MPx, {unseen} and {every} buildings",
        f"model {model.name}; same: of pixels, those on the same side of the thresholds of mask and seeds as {TWO}",
    ]
    columns = ("prediction", "MPx / cpu-s", "cost", *(f"{w}: IoU, boundary IoU, F1" for w in ("unseen", "all")), "same")
    show("Prediction on processors: what it costs and decides", columns, rows, [*notes, *bars(found, told)])
    show("By town: cost of one view, IoU, boundary IoU, F1", ("prediction", "town", "cost", "unseen", "all"), by_town)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    folder = os.environ.get("GROUNDPLAN_TOWNS")
    parser.add_argument("--data", type=Path, default=Path(folder) if folder else None)
    parser.add_argument("--model", type=Path, help="zip of a trained model, by default the starter")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--int8", action="store_true", help="also with 8 bit numbers, by the package nncf")
    given = arguments(parser)
    from groundplan import starter
    from groundplan.training.packed_model import unpack

    grounds = towns(None if given.small else given.data)
    model = unpack((given.model or starter.FILE).read_bytes())
    lattices(model, grounds, given.threads)
    found = arms(model, grounds, given.threads, given.int8)
    tables(model, grounds, found)
    lost = [skipped(model.onnx, grounds, found[ONE], given.threads, core) for core in BLOCKS]
    notes = [f"bar: building pixels in {one[0]} that are skipped: {one[3]} (0), {_met(not one[3])}" for one in lost]
    columns = ("skipped by a coarse pass", "windows", "empty", "building pixels in them", "of all", "cpu-s")
    show("Windows that are not run", columns, lost, notes)


def _met(fits: bool) -> str:
    return "met" if fits else "not met"


def _of_town(name: str, town: str, one: Found, first: Found, scores: Sequence[Any]) -> tuple[Any, ...]:
    parts = [
        f"{s[town].iou:.3f} {s[town].boundary_iou:.3f} {s[town].object_f1:.3f} of {s[town].buildings}"
        if town in s
        else "-"
        for s in scores
    ]
    return (name, town, f"{one.seconds[town] / first.seconds[town]:.2f}", *parts)


if __name__ == "__main__":
    main()
