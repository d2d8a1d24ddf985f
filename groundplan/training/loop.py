"""Training loop: from scenes, held in memory or streamed, to the state of a network, within a budget and through kills.

Here: the loss, the loop with its schedule, moving average, validation and checkpoints.
Not here: where scenes come from and where checkpoints are kept (the caller hands over `load` and `save`), what the
network is (`network`), how it is applied (`runtime`), and how polygons are drawn and scored.

Everything random is drawn from (seed, step), so a resumed run sees the crops that an undisturbed one would have seen.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.progress import TrainingStep
from groundplan.errors import MissingInput
from groundplan.labels.classes import BUILDING, GAP, IGNORE, INNER_EDGE
from groundplan.training.augment import CropSource, batches, make_batch
from groundplan.training.scene import Scene
from groundplan.training.schedule import fraction, learning_rate, takeover

if TYPE_CHECKING:
    import torch
from groundplan.training.checkpoint import TrainingState, restore, state_of, to_bytes
from groundplan.training.device import device, half_precision, hands, idle_threads, repeatable
from groundplan.training.settings import TrainSettings
from groundplan.training.stream import Stream

SAVE_EVERY = 60.0
"""Seconds between checkpoints: what a kill can cost."""
NOISE = 0.02
"""Two scores on one or two hundred validation buildings that differ by less say nothing about which model is better."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Result of a training."""

    state: dict[str, torch.Tensor]
    """The averaged weights (float32, CPU) of the end, or of the best validation when the end is clearly worse."""
    history: list[dict[str, float]]
    """One row per validation: step, seconds, loss, rate, iou, cores, score."""
    steps: int
    seconds: float


def train(
    scenes: Sequence[Scene] | Stream,
    validation: Sequence[Scene],
    settings: TrainSettings,
    *,
    load: Callable[[], bytes | None],
    save: Callable[[bytes], None],
    progress: Callable[[TrainingStep], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Trained:
    """Learn from `scenes`, or from a stream of them, watch on `validation`, stop at the end of the budget.

    `load` gives the last checkpoint or None, `save` keeps one (and must do so atomically); one is saved about every
    minute and when `check`, which is called before every step, raises. `progress` gets the figures of every step,
    those of the latest validation among them. A resumed run continues step and budget where the checkpoint left them.

    Raises:
        MissingInput: no scene has a known label.
        ModelMismatch: starting weights or a checkpoint that do not fit the settings.
        Whatever `check` raises, after a checkpoint.
    """
    idle_threads()
    import torch

    sources = scenes.sources(settings) if isinstance(scenes, Stream) else _held(scenes, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        calibration = (
            [make_batch(sources(step), settings, step)[0] for step in (-1, -2, -3)] if _folded(settings) else []
        )
        state = initial_state(settings, np.concatenate(calibration) if calibration else None)
        restore(state, settings, load())
        with repeatable(device()), contextlib.closing(batches(sources, settings, state.step, hands())) as drawn:
            _learn(state, drawn, validation, settings, save, progress, check)
    state.network = state.network.cpu()
    return Trained(_selected_weights(state), state.history, state.step, state.seconds)


def _held(scenes: Sequence[Scene], settings: TrainSettings) -> Callable[[int], list[CropSource]]:
    """All scenes, for every step. Raises MissingInput."""
    sources = [CropSource.of(scene, settings) for scene in scenes if (scene.label != IGNORE).any()]
    if not sources:
        raise MissingInput("training scenes", "none has a known label", "Check that labels and imagery overlap.")
    return lambda _: sources


def _learn(
    state: TrainingState,
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
    validation: Sequence[Scene],
    settings: TrainSettings,
    save: Callable[[bytes], None],
    progress: Callable[[TrainingStep], None],
    check: Callable[[], None],
) -> None:
    """The loop. Between two steps `state` is whole, so that is where it is checked, saved and stopped."""
    before, began = state.seconds, time.monotonic()
    saved, first = began, _fraction(state, settings)
    while not _finished(state, settings):
        try:
            check()
        except BaseException:  # a told stop is not an Exception, and its work is worth keeping
            save(to_bytes(state, settings))
            raise
        loss = _step(state, *next(batches), settings)
        state.step += 1
        state.losses.append(loss)
        state.seconds = before + time.monotonic() - began
        state.late = state.late or takeover(settings, state.step, state.seconds)
        done = _fraction(state, settings)
        if validation and done >= (len(state.history) + 1) / settings.validations:
            state.losses = _validate(state, validation, settings)
            state.seconds = before + time.monotonic() - began
        progress(_figures(state, settings, loss, first, before))
        if time.monotonic() - saved >= SAVE_EVERY:
            save(to_bytes(state, settings))
            saved = time.monotonic()
    save(to_bytes(state, settings))


def _figures(state: TrainingState, settings: TrainSettings, loss: float, first: float, before: float) -> TrainingStep:
    """What is known after a step. first, before: share of the budget and seconds used when this run began."""
    done = _fraction(state, settings)
    pace = (state.seconds - before) / max(done - first, 1e-9)
    return TrainingStep(
        step=state.step,
        steps=max(state.step, round(state.step / max(done, 1e-9))),
        seconds=state.seconds,
        done=min(done, 1.0),
        left=max(0.0, min((1 - done) * pace, 60 * settings.minutes - state.seconds)),
        rate=state.optimizer.param_groups[-1]["lr"],
        loss=loss,
        validation=dict(state.history[-1]) if state.history else {},
    )


def _fraction(state: TrainingState, settings: TrainSettings) -> float:
    return fraction(settings, state.step, state.seconds, state.late)


def _finished(state: TrainingState, settings: TrainSettings) -> bool:
    scores = [row["score"] for row in state.history]
    worse = next((i for i, score in enumerate(reversed(scores)) if score >= max(scores) - NOISE), 0)
    return _fraction(state, settings) >= 1 or worse >= settings.patience


def _selected_weights(state: TrainingState) -> dict[str, torch.Tensor]:
    """Checkpoint selection: the end, where the rate is down to nothing; the best only if the end is clearly worse.

    To take the best of ten validations of a hundred buildings is to take one by luck, in the middle of the schedule.
    """
    scores = [row["score"] for row in state.history]
    return state.best if scores and state.best and scores[-1] < max(scores) - NOISE else state_of(state.average)


# --- one step ---------------------------------------------------------------------------------------------------------


def _folded(settings: TrainSettings) -> bool:
    """Whether the encoder starts from given weights, whose norms may be folded."""
    return settings.start is None and settings.encoder_weights != "none"


def initial_state(settings: TrainSettings, images: np.ndarray | None) -> TrainingState:
    """Network, moving average and optimizer before the first step.

    images: uint8 (N, C, crop, crop), by which the norms of given weights are calibrated.
    """
    import torch

    from groundplan.training.network import build

    network: Any = build(settings)
    given = settings.start is not None or settings.encoder_weights != "none"
    if _folded(settings) and images is not None:
        _unfold_norms(network, torch.from_numpy(images).float())
    network = network.to(device(), memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).eval().requires_grad_(False)
    encoder = [p for p in network[1].encoder.parameters() if p.requires_grad]
    rest = [p for name, p in network[1].named_parameters() if not name.startswith("encoder.")]
    groups = [
        {"params": encoder, "share": 0.5 if given else 1.0},  # what is known already should move less
        {"params": rest, "share": 1.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    if device() == "cpu":
        _strided_in_f32(network)
    return TrainingState(network=network, average=average, optimizer=optimizer)


def _strided_in_f32(network: torch.nn.Module) -> None:
    """Let depthwise convolutions with a stride compute in float32 inside autocast.

    On a CPU with AVX-512 their bfloat16 gradient took six times as long as the float32 one by itself (torch 2.15), but
    a MobileNetV2's whole step gained only about 3 %: within the noise of one run.
    """
    import types

    import torch

    def forward(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return torch.nn.Conv2d.forward(self, x.float())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.groups > 1 and module.stride != (1, 1):
            module.forward = types.MethodType(forward, module)  # type: ignore[method-assign]


def _unfold_norms(network: Any, images: torch.Tensor) -> None:
    """Unfolding of batch norms that were folded into their convolutions (mean 0, variance 1): real statistics again.

    Folded norms are right in evaluation, but in training they would divide by the batch's deviation, which the folded
    weights do not expect. The function of the encoder does not change: only how it is written.
    """
    import torch

    modules: list[Any] = [m for m in network[1].encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    norms = [m for m in modules if not m.running_mean.any() and (m.running_var == 1).all()]
    statistics: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(norm: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].float()
        statistics[norm] = (x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3)))

    handles = [norm.register_forward_pre_hook(watch) for norm in norms]
    with torch.no_grad():
        network[1].encoder.eval()(network[0](images))
        for handle in handles:
            handle.remove()
        for norm, (mean, var) in statistics.items():
            slope = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            norm.bias += slope * mean
            norm.weight.copy_(slope * torch.sqrt(var + norm.eps))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)


def _step(state: TrainingState, image: np.ndarray, label: np.ndarray, settings: TrainSettings) -> float:
    """One optimization step; returns the loss."""
    import torch

    target = device()
    return float(descend(state, torch.from_numpy(image).to(target), torch.from_numpy(label).to(target), settings))


def descend(state: TrainingState, image: torch.Tensor, label: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """One optimization step on a batch that is on the device; its loss stays there, so that nothing waits for it.

    image: (N, C, crop, crop), values 0 to 255. label: uint8 (N, crop, crop).
    """
    import torch

    rate = learning_rate(settings, _fraction(state, settings))
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["share"]
    with half_precision(device()):
        logits = state.network(image.float().contiguous(memory_format=torch.channels_last))
    loss = loss_of(logits.float(), label, settings)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    state.optimizer.step()
    _average(state, settings.average)
    return loss.detach()


def loss_of(logits: torch.Tensor, label: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """Cross-entropy and Dice of building and of edge, with the weights of pixels that `settings` name.

    `logits` float (N, 2, h, w), `label` uint8 (N, h, w). Edge is a building's inner edge and the gap between two
    buildings. Pixels of unknown label count for nothing.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    known = (label != IGNORE).float()
    building = ((label == BUILDING) | (label == INNER_EDGE)).float()
    edge = ((label == INNER_EDGE) | (label == GAP)).float()
    inner, gap = (settings.inner_edge_weight - 1) * (label == INNER_EDGE), (settings.gap_weight - 1) * (label == GAP)
    weight = known * (1 + inner + gap)
    count = known.sum().clamp(min=1)
    first = (cross_entropy(logits[:, 0], building, reduction="none") * weight).sum() / count
    weight = known * (1 + (settings.edge_weight - 1) * edge)
    second = (cross_entropy(logits[:, 1], edge, reduction="none") * weight).sum() / count
    probability = torch.sigmoid(logits) * known[:, None]
    return first + _dice(probability[:, 0], building) + second + 0.5 * _dice(probability[:, 1], edge)


def _dice(probability: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Dice loss over the whole batch: a crop without buildings has none of its own."""
    return 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)


def _average(state: TrainingState, decay: float) -> None:
    """Exponential moving average of the weights. Young averages follow faster, or they would remember the start."""
    import torch

    decay = min(decay, (1 + state.step) / (10 + state.step))
    if state.pairs is None:  # the tensors stay the same ones, and to list them takes as long as a tenth of a GPU's step
        old, new = state.average.state_dict(), state.network.state_dict()
        real = [key for key, value in old.items() if value.is_floating_point()]
        state.pairs = [old[key] for key in real], [new[key].detach() for key in real]
    torch._foreach_lerp_(*state.pairs, 1 - decay)


# --- validation -------------------------------------------------------------------------------------------------------


def _validate(state: TrainingState, validation: Sequence[Scene], settings: TrainSettings) -> list[float]:
    """Add a row to the history, keep the average if it is the best so far; returns an emptied list of losses."""
    row = {
        "step": float(state.step),
        "seconds": state.seconds,
        "loss": float(np.mean(state.losses)) if state.losses else math.nan,
        "rate": learning_rate(settings, _fraction(state, settings)),
        **validate(state.average, validation, settings),
    }
    if all(row["score"] > old["score"] for old in state.history):
        state.best = state_of(state.average)
    state.history.append(row)
    return []


def validate(network: torch.nn.Module, validation: Sequence[Scene], settings: TrainSettings) -> dict[str, float]:
    """Intersection over union on known pixels: `iou` of buildings, `cores` of their insides, `score` their mean.

    The inside is what stays of a building without its edge: it is what separates touching buildings, so it stands for
    the score of objects at a fraction of the cost of drawing them.
    """
    import torch

    counts = np.zeros((2, 2), np.int64)
    with torch.inference_mode(), half_precision(device()):
        for image, label in _known_windows(validation, settings):
            probability = _probability(network, image, settings)
            known = label != IGNORE
            pairs = (
                (probability[0] > 0.5, (label == BUILDING) | (label == INNER_EDGE)),
                (probability[0] * (1 - probability[1]) > 0.35, label == BUILDING),
            )
            for row, (found, truth) in zip(counts, pairs, strict=True):
                row += (int((found & truth & known).sum()), int(((found | truth) & known).sum()))
    iou, cores = (float(hit / max(union, 1)) for hit, union in counts)
    return {"iou": iou, "cores": cores, "score": (iou + cores) / 2}


def _probability(network: torch.nn.Module, image: np.ndarray, settings: TrainSettings) -> np.ndarray:
    """float32 (2, H, W) of a window whose sides are multiples of the scale's step."""
    import torch

    from groundplan.training.network import scale_of, to_grid, to_network

    scale = scale_of(settings)
    window = torch.from_numpy(image[None]).to(device()).float()
    pixels = to_network(window, scale).contiguous(memory_format=torch.channels_last)
    logits = to_grid(network.eval()(pixels).float(), scale, window.shape[2:])
    return torch.sigmoid(logits)[0].cpu().numpy()


def _known_windows(validation: Sequence[Scene], settings: TrainSettings) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Labeled box of each scene, widened to whole steps (with ground outside where there is some)."""
    from groundplan.training.network import scale_of

    step = scale_of(settings).step
    for scene in validation:
        rows, columns = np.nonzero(scene.label != IGNORE)
        if not len(rows):
            continue
        high, wide = scene.label.shape
        top, left = max(0, rows.min() - 64), max(0, columns.min() - 64)
        bottom, right = min(high, rows.max() + 65), min(wide, columns.max() + 65)
        pad = ((0, -(bottom - top) % step), (0, -(right - left) % step))
        image = np.pad(scene.image[:, top:bottom, left:right], ((0, 0), *pad))
        yield image, np.pad(scene.label[top:bottom, left:right], pad, constant_values=IGNORE)


def describe(trained: Trained) -> Mapping[str, float]:
    """The figures of a training for a report."""
    last = max(trained.history, key=lambda row: row["score"], default={})
    return {**last, "steps": float(trained.steps), "seconds": trained.seconds}
