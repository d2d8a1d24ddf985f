"""The arms of one process: how long each may learn, what is kept of it.

Here: turning seconds into steps by the machine's own pace, the queue that processes share, and an arm's files. Not
here: which arms (starter.py), learning (groundplan/training/pooled.py). Started by `starter.py learn` and `tune`;
torch, numpy and OpenCV are enough.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from groundplan.training import pack, pooled
from groundplan.training.pack import Ground
from groundplan.training.pooled import Arm, LearnedArm
from groundplan.training.settings import TrainSettings
from groundplan.training.split import SPLITS, split_of_number

WAIT = 60.0
"""Seconds that a process waits for the others, so that the pace is that of a machine at work."""
PACED = 4.0
"""Seconds for which the pace is measured."""
KEEPING = 6.0
"""Seconds that are kept free for predicting and writing, of each arm."""
TELL = 10.0
LEVEL = 5
"""Steps of a tuned bank's probabilities, of 255: a fiftieth."""
LEAST = 40.0
"""Seconds under which an arm that learns until the end is not begun."""
SEEN = (0, 2)
"""Quarter turns by which ground is seen: those of the product."""


def main(task: dict[str, Any]) -> None:
    import torch

    torch.backends.cudnn.benchmark = True
    grounds = pack.read(Path(task["pack"]).read_bytes())
    steps = task["steps"] or (None if task["queue"] else 1000)
    settings = TrainSettings(minutes=60.0, steps=steps, **task["settings"])
    arms = [Arm(**{**one, "without": frozenset(one["without"])}) for one in task["arms"]]
    scratch = Path(task["scratch"])
    if task["queue"]:
        _queue(grounds, arms, settings, scratch, task["until"])
        return
    pace = 0.0 if task["steps"] else _pace(grounds, arms[0], settings, scratch, task["workers"])
    for number, arm in enumerate(arms):
        budget = settings
        if not task["steps"]:
            left = task["until"] - time.time() - KEEPING * (len(arms) - number)
            seconds = max(3.0, left * arm.worth / sum(one.worth for one in arms[number:]))
            budget = replace(settings, minutes=seconds / 60, steps=max(20, int(pace * seconds)))
        pace = _arm(grounds, arm, _smoothed(budget), scratch)


def _queue(grounds: list[Ground], arms: list[Arm], settings: TrainSettings, scratch: Path, until: float) -> None:
    """Take arms off a queue that all processes share: the first that nobody has begun and that still can end in time.

    An arm that names its steps learns those; any other learns until the end.
    """
    pace: dict[Any, float] = {}
    with ThreadPoolExecutor(1) as keeping:
        for arm in arms:
            mine = replace(settings, **arm.settings)
            left = until - time.time() - KEEPING
            size = (mine.batch, mine.crop)
            needed = mine.steps / pace[size] if mine.steps and size in pace else LEAST if mine.steps is None else 0.0
            if needed > left or not _claimed(scratch / f"{arm.name}.claim"):
                continue
            _say(f"{arm.name}: begun, {left:.0f} s are left")
            begun = time.monotonic()
            keep, learned = _learned(grounds, arm, _smoothed(replace(mine, minutes=max(left, 5.0) / 60)), scratch)
            pace[size] = learned.steps / (time.monotonic() - begun)
            keeping.submit(_aloud, keep)


def _aloud(keep: Callable[[], None]) -> None:
    try:
        keep()
    except Exception:
        traceback.print_exc()
        raise


def _claimed(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _smoothed(settings: TrainSettings) -> TrainSettings:
    """With the moving average that the product takes for so many steps."""
    return replace(settings, average=min(0.995, max(0.9, 1 - 5 / settings.steps)) if settings.steps else 0.995)


def _pace(grounds: list[Ground], arm: Arm, settings: TrainSettings, scratch: Path, workers: int) -> float:
    """Steps a second, while all processes are at work."""
    drawn, state = pooled.begin(pooled.material(grounds, arm, settings), settings)

    def steps(count: int) -> None:
        for _ in range(count):
            loss = pooled.descend(state, *next(drawn), settings)
            state.step += 1
        float(loss)

    steps(12)
    (scratch / f"ready-{os.getpid()}").touch()
    begun = time.monotonic()
    while len(list(scratch.glob("ready-*"))) < workers and time.monotonic() - begun < WAIT:
        time.sleep(0.05)
    begun, done = time.monotonic(), 0
    while time.monotonic() - begun < PACED:
        steps(8)
        done += 8
    pace = done / (time.monotonic() - begun)
    _say(f"{pace:.1f} steps a second")
    return pace


def _arm(grounds: list[Ground], arm: Arm, settings: TrainSettings, scratch: Path) -> float:
    """Learn an arm and keep its files; returns its steps a second."""
    keep, learned = _learned(grounds, arm, settings, scratch)
    keep()
    return learned.steps / learned.seconds


def _learned(
    grounds: list[Ground], arm: Arm, settings: TrainSettings, scratch: Path
) -> tuple[Callable[[], None], LearnedArm]:
    """Learn an arm; returns what keeps its files, and the arm."""
    told = begun = time.monotonic()

    def tell(step: int, loss: float) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL:
            told = time.monotonic()
            _say(f"{arm.name}: {step} of {settings.steps}, loss {loss:.3f}, {step / (told - begun):.1f} a second")

    learned = pooled.learn(pooled.material(grounds, arm, settings), settings, tell)
    judged = [ground for ground in grounds if arm.home in (None, ground.region)]
    found = {g.name: pooled.predict(learned.network, g, settings, turned=SEEN) for g in judged}
    return lambda: _kept(judged, arm, settings, learned, found, scratch), learned


def _kept(
    judged: list[Ground],
    arm: Arm,
    settings: TrainSettings,
    learned: LearnedArm,
    found: dict[str, np.ndarray],
    scratch: Path,
) -> None:
    figures = {ground.name: _figures(found[ground.name], ground, arm) for ground in judged}
    if arm.home is None or arm.turn == 0:
        _keep(scratch / f"{arm.name}.safetensors.z", zlib.compress(_half(learned.state), 6))
    if arm.home is not None or arm.name.startswith("turn-"):
        _keep(scratch / f"{arm.name}.bank.zip", _bank(judged, arm, found))
    facts = {
        "without": sorted(arm.without),
        "turn": arm.turn,
        "home": arm.home,
        "others": arm.others,
        "own": {key: value if key != "start" else value and Path(value).name for key, value in arm.settings.items()},
        "steps": learned.steps,
        "planned": settings.steps,
        "seconds": round(learned.seconds, 1),
        "batch": settings.batch,
        "crop": settings.crop,
        "resolution": settings.resolution,
        "seed": settings.seed,
        "average": settings.average,
        "losses": [[step, round(loss, 4)] for step, loss in learned.losses],
        "pixels": figures,
    }
    _keep(scratch / f"{arm.name}.json", json.dumps(facts).encode())
    _say(f"{arm.name}: kept, {learned.steps} steps in {learned.seconds:.1f} s; test IoU {_told(figures)}")


def _figures(probability: np.ndarray, ground: Ground, arm: Arm) -> dict[str, dict[str, int]]:
    """Counts of pixels on the arm's validation and test cells, and on all."""
    split = split_of_number(ground.number, arm.turn or 0)
    counts = {"everywhere": pooled.pixel_figures(probability, ground.label)}
    for name in ("validation", "test"):
        label = np.where(split == SPLITS.index(name), ground.label, np.uint8(255))
        counts[name] = pooled.pixel_figures(probability, label)
    return counts


def _told(figures: dict[str, Any]) -> str:
    pairs = ((name, one["test"]["building_hit"], one["test"]["building_union"]) for name, one in figures.items())
    return ", ".join(f"{name} {hit / max(union, 1):.3f}" for name, hit, union in pairs)


def _half(state: dict[str, Any]) -> bytes:
    """Float16 is how a state travels; networks are computed in float32."""
    from safetensors.torch import save

    return save({k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()})


def _bank(grounds: list[Ground], arm: Arm, found: dict[str, np.ndarray]) -> bytes:
    """Probabilities of the turn's test cells, 0 elsewhere: GROUND.building.png and GROUND.edge.png.

    With a home, of its validation cells too, so that thresholds can be settled by the same network, and in levels of
    LEVEL, so that many recipes find room.
    """
    jobs = {}
    for ground in grounds:
        split = split_of_number(ground.number, arm.turn or 0)
        tested = (split == SPLITS.index("test")) | ((arm.home is not None) & (split == SPLITS.index("validation")))
        for band, name in enumerate(("building", "edge")):
            if ground.region not in arm.without:
                said = found[ground.name][band] * tested
                jobs[f"{ground.name}.{name}.png"] = said if arm.home is None else leveled(said)
    with ThreadPoolExecutor(4) as pool:
        encoded = dict(zip(jobs, pool.map(pack.png, jobs.values()), strict=True))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in encoded.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def leveled(said: np.ndarray) -> np.ndarray:
    """Probabilities uint8, to the nearest level."""
    return ((said.astype(np.uint16) + LEVEL // 2) // LEVEL * LEVEL).astype(np.uint8)


def _keep(path: Path, data: bytes) -> None:
    path.with_suffix(".part").write_bytes(data)
    path.with_suffix(".part").rename(path)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} [{os.getpid()}] {text}", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
