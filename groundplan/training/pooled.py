"""Pooled training: one network learned from the labeled ground of many regions and years.

Here: arms (what is left out), the windows and batches of an arm, its loop, prediction of whole rasters, pixel figures.
Not here: the network's step and loss (loop.py), the packed file (pack.py), polygons (thresholds.py). Needs torch, numpy
and OpenCV alone, so that it runs on a machine that has no more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.labels.classes import BUILDING, GAP, IGNORE, INNER_EDGE
from groundplan.training import device_augment
from groundplan.training.augment import CropSource
from groundplan.training.device import device, half_precision, idle_threads
from groundplan.training.device_augment import Boxes, Canvas, Draws
from groundplan.training.loop import descend, initial_state
from groundplan.training.pack import Ground
from groundplan.training.sampling import Order, Places, shares
from groundplan.training.scene import Scene
from groundplan.training.schedule import fraction, takeover
from groundplan.training.split import SPLITS, TURNS, split_of_number

if TYPE_CHECKING:
    import torch

    from groundplan.training.checkpoint import TrainingState
    from groundplan.training.network import Scale
from groundplan.training.settings import TrainSettings

WINDOW = 256
"""Pixels of the lattice of windows that crops are centered in."""
CALIBRATED = 3
"""Batches before the first step, by which the norms of given weights are calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One training of several: which ground it learns from."""

    name: str
    without: frozenset[str] = frozenset()
    """Regions that are left out."""
    turn: int | None = 0
    """Of the split, whose training cells it learns from; None: from all cells."""
    worth: float = 1.0
    """Its share of a budget, against the other arms."""
    home: str | None = None
    """The region that a network is tuned to; None: all regions are alike."""
    others: float = 0.0
    """Share of crops that comes from the other regions when there is a home."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What of the training settings is the arm's own."""

    def sees(self, region: str) -> bool:
        """Whether it learns from a region."""
        return region not in self.without and (self.home is None or self.others > 0 or region == self.home)


def all_but_one(regions: Sequence[str]) -> list[Arm]:
    """An arm for each region, which learns from all the others."""
    return [Arm(name=f"without-{region}", without=frozenset({region}), turn=0) for region in regions]


def turns() -> list[Arm]:
    """An arm for each turn of the split: together they see all ground as ground that none of them learned from."""
    return [Arm(name=f"turn-{turn}", turn=turn) for turn in range(TURNS)]


# --- the ground of an arm ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What an arm learns from, ready for batches."""

    sources: list[CropSource]
    known: list[np.ndarray]
    boxes: Boxes
    share: np.ndarray
    """How much of all crops comes from each window."""
    places: Places


def material(grounds: Sequence[Ground], arm: Arm, settings: TrainSettings) -> Material:
    """The ground that an arm may see; all other pixels are blank and unknown. Raises ValueError when there is none."""
    chosen = [ground for ground in grounds if arm.sees(ground.region)]
    scenes = [_visible(ground, arm) for ground in chosen]
    sources = [
        CropSource.of(scene, replace(settings, grid_resolution=ground.resolution))
        for scene, ground in zip(scenes, chosen, strict=True)
    ]
    windows = [_windows(index, scene) for index, scene in enumerate(scenes)]
    columns = {key: np.concatenate([found[key] for found in windows]) for key in windows[0]} if windows else {}
    if not columns:
        raise ValueError(f"arm {arm.name} has no ground")
    raster = columns["raster"]
    places = Places(
        region=np.array([ground.region for ground in chosen])[raster],
        year=np.array([ground.year for ground in chosen])[raster],
        building=columns["building"],
        weight=columns["weight"],
    )
    return Material(
        sources=sources,
        known=[device_augment.labeled(source.label) for source in sources],
        boxes=Boxes(raster=raster, left=columns["left"], top=columns["top"], side=columns["side"]),
        share=_at_home(shares(places, {ground.region: ground.trust for ground in chosen}), places.region, arm),
        places=places,
    )


def _at_home(share: np.ndarray, region: np.ndarray, arm: Arm) -> np.ndarray:
    """Shares of windows, of which the other regions together have what the arm leaves them."""
    if arm.home is None or not arm.others:
        return share
    home = region == arm.home
    return np.where(home, share / share[home].sum() * (1 - arm.others), share / share[~home].sum() * arm.others)


def _visible(ground: Ground, arm: Arm) -> Scene:
    if arm.turn is None:
        return Scene(ground.image, ground.label)
    train = split_of_number(ground.number, arm.turn) == SPLITS.index("train")
    return Scene(ground.image * train, np.where(train, ground.label, np.uint8(IGNORE)))


def _windows(raster: int, scene: Scene) -> dict[str, np.ndarray]:
    """Windows of a lattice over a scene, weighted as training windows are: columns by name."""
    known = scene.label != IGNORE
    building = (scene.label == BUILDING) | (scene.label == INNER_EDGE)
    rows = []
    for top in range(0, scene.label.shape[0], WINDOW):
        for left in range(0, scene.label.shape[1], WINDOW):
            place = slice(top, top + WINDOW), slice(left, left + WINDOW)
            rows.append((left, top, known[place].sum() / WINDOW**2, building[place].sum() / WINDOW**2))
    lefts, tops, labeled, built = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "raster": np.full(len(rows), raster),
        "left": lefts,
        "top": tops,
        "side": np.full(len(rows), WINDOW),
        "building": built,
        "weight": labeled * (0.25 + np.sqrt(built)),
    }


def batches(found: Material, settings: TrainSettings, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches from `step` on, on the device; the same ones whenever a training is taken up at that step."""
    import torch

    target = device()
    canvas = Canvas.of(found.sources, target)
    order = Order(share=found.share, seed=settings.seed, batch=settings.batch, held=64 * settings.batch)
    generator = torch.Generator(target)
    while True:
        number, within = divmod(step, order.steps)
        drawn = _draws(found, order, number, settings).on(target)
        for at in range(within, order.steps):
            generator.manual_seed(settings.seed * 1_000_003 + step)
            part = drawn.part(at * settings.batch, (at + 1) * settings.batch)
            yield device_augment.crops(canvas, part, settings.crop, generator)
            step += 1


def _draws(found: Material, order: Order, chunk: int, settings: TrainSettings) -> Draws:
    seed = [settings.seed, 2, chunk]
    return device_augment.draw(found.boxes, order.chunk(chunk), found.sources, found.known, settings.crop, seed)


# --- learning ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedArm:
    """Result of an arm."""

    state: dict[str, torch.Tensor]
    """The averaged weights, float32, on the CPU."""
    network: torch.nn.Module
    """The same, on the device."""
    losses: list[tuple[int, float]]
    """Steps done, and the mean loss since the last entry."""
    steps: int
    seconds: float


def learn(
    found: Material,
    settings: TrainSettings,
    say: Callable[[int, float], None] = lambda step, loss: None,
    every: int = 50,
) -> LearnedArm:
    """Learn `settings.steps` steps, or fewer where the machine proves too slow for `settings.minutes`.

    `say` gets the steps done and the mean loss of the last `every`.
    """
    idle_threads()
    import torch

    from groundplan.training.checkpoint import state_of

    begun = time.monotonic()
    drawn, state = begin(found, settings)
    losses: list[tuple[int, float]] = []
    recent: list[torch.Tensor] = []
    while fraction(settings, state.step, state.seconds, state.late) < 1:
        recent.append(descend(state, *next(drawn), settings))
        state.step += 1
        state.seconds = time.monotonic() - begun
        state.late = state.late or takeover(settings, state.step, state.seconds)
        if state.step % every == 0:
            losses.append((state.step, float(torch.stack(recent).mean())))
            say(*losses[-1])
            recent.clear()
    return LearnedArm(
        state=state_of(state.average),
        network=state.average,
        losses=losses,
        steps=state.step,
        seconds=time.monotonic() - begun,
    )


def begin(found: Material, settings: TrainSettings) -> tuple[Iterator[tuple[Any, Any]], TrainingState]:
    """Batches and the state before the first step."""
    idle_threads()
    import torch

    torch.manual_seed(settings.seed)
    drawn = batches(found, settings, 0)
    images = torch.cat([next(drawn)[0] for _ in range(CALIBRATED)]).to(torch.uint8).cpu().numpy()
    return drawn, initial_state(settings, images)


# --- the rasters of a network -----------------------------------------------------------------------------------------


def predict(
    network: torch.nn.Module,
    ground: Ground,
    settings: TrainSettings,
    core: int = 1024,
    margin: int = 128,
    turned: Sequence[int] = (0,),
) -> np.ndarray:
    """Probabilities uint8 (2, H, W) of building and edge over a whole raster, by windows with a margin.

    turned: by how many quarter turns a window is seen each time; the answers are averaged, as `Runtime.predict` does.
    """
    import torch

    from groundplan.training.network import scale_of

    scale = scale_of(replace(settings, grid_resolution=ground.resolution))
    side = -(-(core + 2 * margin) // scale.step) * scale.step
    high, wide = ground.label.shape
    around = np.pad(ground.image, ((0, 0), (margin, side), (margin, side)))
    found = np.zeros((2, high, wide), np.uint8)
    with torch.inference_mode(), half_precision(device()), _untuned():
        for top in range(0, high, core):
            for left in range(0, wide, core):
                window = torch.from_numpy(around[None, :, top : top + side, left : left + side]).to(device())
                views = torch.stack([_said(network.eval(), window.float(), scale, turns) for turns in turned])
                said = ((views.sum(dim=0) + len(views) // 2) // len(views)).to(torch.uint8).cpu().numpy()
                kept = found[:, top : top + core, left : left + core]
                kept[:] = said[:, margin:, margin:][:, : kept.shape[1], : kept.shape[2]]
    return found


def _said(network: torch.nn.Module, window: torch.Tensor, scale: Scale, turns: int) -> torch.Tensor:
    """Probabilities int32 (2, H, W), 0 to 255, of a window (1, C, H, W) seen by so many quarter turns."""
    import torch

    from groundplan.training.network import to_grid, to_network

    window = torch.rot90(window, turns, (2, 3))
    pixels = to_network(window, scale).contiguous(memory_format=torch.channels_last)
    logits = to_grid(network(pixels).float(), scale, window.shape[2:])
    return torch.rot90(torch.round(torch.sigmoid(logits[0]) * 255).int(), -turns, (1, 2))


@contextlib.contextmanager
def _untuned() -> Iterator[None]:
    """Without the search for the fastest convolutions, which pays for sizes that come again thousands of times."""
    import torch

    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def pixel_figures(probability: np.ndarray, label: np.ndarray) -> dict[str, int]:
    """Counts of pixels on known ground: of `buildings` and of their `cores`, hits and unions (see loop.validate)."""
    known = label != IGNORE
    building, edge = probability.astype(np.float32) / 255
    pairs = {
        "building": (building > 0.5, (label == BUILDING) | (label == INNER_EDGE)),
        "core": (building * (1 - edge) > 0.35, label == BUILDING),
        "edge": (edge > 0.5, (label == INNER_EDGE) | (label == GAP)),
    }
    counts = {}
    for name, (found, truth) in pairs.items():
        counts[f"{name}_hit"] = int((found & truth & known).sum())
        counts[f"{name}_union"] = int(((found | truth) & known).sum())
    return counts
