"""A model to start from: learned from all labeled towns, without each of them in turn, and on each turn of the split.

    python -m benchmarks.starter prepare --data ../shared/data/aerial --pack FILE     where the project runs
    python -m benchmarks.starter learn --pack FILE --weights FILE --out FOLDER        where a GPU is; torch is enough
    python -m benchmarks.starter tune --pack FILE --weights FILE --start FILE --out FOLDER      likewise
    python -m benchmarks.starter score --pack FILE --result FOLDER                    where the project runs

Here: the commands, and sharing a budget of minutes among arms and processes. Not here: cutting ground
(starter_ground.py), one arm's work (starter_arm.py), scores (starter_score.py), learning itself
(groundplan/training/pooled.py).

The result is an archive in parts of at most 15 MiB, since machines with a GPU are often asked for small files:
states in float16, probabilities of each turn's test cells, and beside it figures.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groundplan.core.archive import packed
from groundplan.training.pooled import Arm, all_but_one, turns

PART = 15 * 2**20
MOST = 62 * 2**20
"""Bytes of a part of the result, and of all parts; what does not fit is left out, the least wanted first."""
PAUSE = 10.0
"""Seconds between two writings of the result."""
LATE = 25.0
"""Seconds after the budget's end at which processes that are still at work are ended."""
HELD_OUT = ("banepa", "kampala", "zanzibar", "catanduanes")


def arms_of(names: Sequence[str]) -> list[Arm]:
    """Arms by the words of the command line, the most wanted first."""
    known = {
        "all": [Arm(name="all", without=frozenset({"drawn"}), worth=3.0)],
        "drawn": [Arm(name="all-and-drawn", worth=3.0)],
        "whole": [Arm(name="whole", turn=None, worth=3.0)],
        "loo": [_without_drawn(arm, 2.0 if arm.name == "without-banepa" else 1.0) for arm in all_but_one(HELD_OUT)],
        "turns": [_without_drawn(arm, 1.0) for arm in turns()],
    }
    return [arm for name in names for arm in known[name]]


def _without_drawn(arm: Arm, worth: float) -> Arm:
    return Arm(name=arm.name, without=arm.without | {"drawn"}, turn=arm.turn, worth=worth)


def shared_out(arms: Sequence[Arm], processes: int) -> list[list[Arm]]:
    """Arms by process, of about equal worth; each process has its most wanted first."""
    bins: list[list[Arm]] = [[] for _ in range(min(processes, len(arms)))]
    for arm in sorted(arms, key=lambda arm: -arm.worth):
        min(bins, key=lambda found: sum(one.worth for one in found)).append(arm)
    return [sorted(found, key=arms.index) for found in bins]


# --- tune -------------------------------------------------------------------------------------------------------------

RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "mix": {"others": 0.5},
    "gaps": {"inner_edge_weight": 3.0, "gap_weight": 12.0, "edge_weight": 5.0},
    "slow": {"learning_rate": 3e-4},
    "fine": {"resolution": 0.15},
    "imagenet": {"start": None},
    "fine-imagenet": {"start": None, "resolution": 0.15},
    "finer-imagenet": {"start": None, "resolution": 0.10},
    "finer": {"resolution": 0.10},
}
"""Ways to learn a region's own ground. `plain`: on from a state of other regions, by the settings as shipped."""
SCREENED, LATER = (0, 2, 4), (1, 3, 5, 6)
"""Turns that every recipe is tried on, and those that follow."""


def tuned_arms(home: str, start: Path, steps: int) -> list[Arm]:
    """Arms of all recipes and turns, and of longer pooled trainings, the most wanted first."""

    def arms(names: str, turns: Sequence[int]) -> list[Arm]:
        return [_tuned(name, home, turn, start, steps) for name in names.split() for turn in turns]

    nothing = frozenset({"drawn"})
    return [
        *arms("plain mix gaps", SCREENED),
        *arms("plain mix", LATER),
        *arms("slow fine imagenet", SCREENED),
        *arms("gaps", LATER),
        Arm(name=f"long-without-{home}", without=nothing | {home}, settings=LONG),
        Arm(name="long-all", without=nothing, settings=LONG),
        *arms("slow fine imagenet", LATER),
        *arms("fine-imagenet finer-imagenet finer", range(7)),
    ]


LONG: dict[str, Any] = {"batch": 16, "crop": 320, "steps": None}
"""Of a training that goes on until the end."""


def _tuned(recipe: str, home: str, turn: int, start: Path, steps: int) -> Arm:
    own = {"start": str(start), "steps": steps, **RECIPES[recipe]}
    others = own.pop("others", 0.0)
    without = frozenset({"drawn"})
    return Arm(name=f"{recipe}-{turn}", without=without, turn=turn, home=home, others=others, settings=own)


def tune(options: argparse.Namespace) -> None:
    """A region's own ground, by several recipes on all turns, learned on from a state of other regions."""
    until = time.time() + 60 * options.minutes
    arms = tuned_arms(options.home, options.start, options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only:
        arms = [arm for arm in arms if arm.name in options.only.split(",")]
    with tempfile.TemporaryDirectory(prefix="groundplan-arms-") as folder:
        workers = [
            _started(options, Path(folder), arms, until, options.processes, queue=True)
            for _ in range(options.processes)
        ]
        _watched(workers, Path(folder), arms, options.out, until)


# --- learn ------------------------------------------------------------------------------------------------------------


def learn(options: argparse.Namespace) -> None:
    """All arms, in several processes, within the minutes."""
    until = time.time() + 60 * options.minutes
    arms = arms_of(options.arms.split(","))
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="groundplan-arms-") as folder:
        scratch = Path(folder)
        bins = shared_out(arms, options.processes)
        workers = [_started(options, scratch, bin_, until, len(bins)) for bin_ in bins]
        _watched(workers, scratch, arms, options.out, until)


def _watched(workers: Sequence[Any], scratch: Path, arms: Sequence[Arm], out: Path, until: float) -> None:
    """Collect what processes make until they are done, or late."""
    seen, at = -1, 0.0
    while any(worker.poll() is None for worker in workers):
        if time.time() > until + LATE:
            say("late: what is still at work is ended")
            for worker in workers:
                worker.kill()
                worker.wait()
        found = len(list(scratch.glob("*.json")))
        if found != seen and time.monotonic() - at >= PAUSE:
            collect(scratch, arms, out)
            seen, at = found, time.monotonic()
        time.sleep(0.5)
    collect(scratch, arms, out)
    say(f"done: {[worker.returncode for worker in workers]}")


def _started(
    options: argparse.Namespace, scratch: Path, arms: list[Arm], until: float, workers: int, queue: bool = False
) -> Any:
    task = {
        "pack": str(options.pack),
        "scratch": str(scratch),
        "until": until,
        "workers": workers,
        "queue": queue,
        "arms": [{**asdict(arm), "without": sorted(arm.without)} for arm in arms],
        "settings": {
            "encoder_weights": str(options.weights),
            "resolution": options.resolution,
            "batch": options.batch,
            "crop": options.crop,
            "seed": options.seed,
        },
        "steps": None if queue else options.steps,
    }
    return subprocess.Popen([sys.executable, "-m", "benchmarks.starter_arm", json.dumps(task)])


def collect(scratch: Path, arms: Sequence[Arm], out: Path) -> None:
    """Write all that is there so far: figures.json, and parts of the archive, the most wanted first."""
    figures = {arm.name: json.loads((scratch / f"{arm.name}.json").read_text()) for arm in arms if _is(scratch, arm)}
    main = [arm.name for arm in arms if arm.home is None and not arm.name.startswith("turn-")]
    tuned = [arm.name for arm in arms if arm.home is not None and arm.name in figures]
    rest = [*main[2:], *sorted(tuned, key=lambda name: -watched(figures[name])), *(arm.name for arm in arms)]
    states = list(dict.fromkeys([*main[:2], *rest]))
    order = [f"{name}.safetensors.z" for name in states]
    order[2 + bool(tuned) : 2 + bool(tuned)] = [f"{arm.name}.bank.zip" for arm in arms]
    parts: dict[str, bytes] = {"figures.json": json.dumps(figures, indent=1).encode()}
    room, left_out = MOST, []
    for path in (scratch / name for name in order):
        if not path.is_file():
            continue
        if path.stat().st_size > room:
            left_out.append(path.name)
            continue
        room -= path.stat().st_size
        parts[path.name] = path.read_bytes()
    data = packed(parts)
    pieces = [data[start : start + PART] for start in range(0, len(data), PART)]
    for number, piece in enumerate(pieces):
        (out / f"part.{number}").write_bytes(piece)
    for number in range(len(pieces)):  # at once, so that what is cut off leaves a whole result
        (out / f"part.{number}").replace(out / f"result.zip.{number}")
    for old in out.glob("result.zip.*"):  # of an earlier, longer one
        if int(old.suffix[1:]) * PART >= len(data):
            old.unlink()
    (out / "figures.json").write_text(json.dumps({"left_out": left_out, "arms": figures}, indent=1))
    say(f"kept {len(parts) - 1} files, {len(data) / 2**20:.1f} MiB; left out {left_out}")


def watched(facts: Mapping[str, Any]) -> float:
    """What training watches, on an arm's validation cells: mean of the IoU of buildings and of their insides."""
    counts = [one["validation"] for one in facts["pixels"].values()]
    return sum(
        sum(one[f"{kind}_hit"] for one in counts) / max(1, sum(one[f"{kind}_union"] for one in counts)) / 2
        for kind in ("building", "core")
    )


def _is(scratch: Path, arm: Arm) -> bool:
    return (scratch / f"{arm.name}.json").is_file()


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


# --- commands ---------------------------------------------------------------------------------------------------------


def prepare(options: argparse.Namespace) -> None:
    """Cut and pack the ground of all towns."""
    from benchmarks.starter_ground import drawn, grounds
    from groundplan.training import pack

    found = []
    for ground in (*grounds(options.data), *(drawn() if options.drawn else ())):
        found.append(ground)
        say(f"{ground.name}: {ground.label.shape[1]} x {ground.label.shape[0]} pixels of {ground.resolution} m")
    data = pack.write(found)
    options.pack.parent.mkdir(parents=True, exist_ok=True)
    options.pack.write_bytes(data)
    say(f"{options.pack}: {len(data) / 2**20:.1f} MiB")


def score(options: argparse.Namespace) -> None:
    """Figures of polygons for every state and for the bank."""
    from benchmarks.starter_score import scores

    scores(options.pack, options.result, options.out, options.only.split(",") if options.only else None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starter", description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("prepare", help=prepare.__doc__)
    one.add_argument("--data", type=Path, required=True, help="folder with the towns")
    one.add_argument("--pack", type=Path, required=True)
    one.add_argument("--drawn", action="store_true", help="with the synthetic country")
    one.set_defaults(run=prepare)
    one = commands.add_parser("learn", help=learn.__doc__)
    one.add_argument("--pack", type=Path, required=True)
    one.add_argument("--weights", type=Path, required=True, help=".safetensors that the encoder starts from")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--arms", default="all,loo,turns", help="of all, drawn, whole, loo, turns; the most wanted first")
    one.add_argument("--minutes", type=float, default=5.5)
    one.add_argument("--processes", type=int, default=3)
    one.add_argument("--resolution", type=float, default=0.20, help="metres per pixel that the network sees")
    one.add_argument("--batch", type=int, default=16)
    one.add_argument("--crop", type=int, default=320)
    one.add_argument("--seed", type=int, default=7)
    one.add_argument("--steps", type=int, help="of every arm, whatever the minutes: to try it")
    one.set_defaults(run=learn)
    one = commands.add_parser("tune", help=tune.__doc__)
    one.add_argument("--pack", type=Path, required=True)
    one.add_argument("--weights", type=Path, required=True, help=".safetensors that the encoder starts from")
    one.add_argument("--start", type=Path, required=True, help=".safetensors of a state that never saw the region")
    one.add_argument("--home", default="banepa", help="the region")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--steps", type=int, default=700)
    one.add_argument("--minutes", type=float, default=8.0)
    one.add_argument("--processes", type=int, default=7)
    one.add_argument("--only", help="names of arms, by commas")
    one.add_argument("--resolution", type=float, default=0.20, help="metres per pixel that the network sees")
    one.add_argument("--batch", type=int, default=8)
    one.add_argument("--crop", type=int, default=256)
    one.add_argument("--seed", type=int, default=7)
    one.set_defaults(run=tune)
    one = commands.add_parser("score", help=score.__doc__)
    one.add_argument("--pack", type=Path, required=True)
    one.add_argument("--result", type=Path, required=True, help="folder that learn wrote")
    one.add_argument("--out", type=Path, required=True, help="JSON of figures")
    one.add_argument("--only", help="names of arms, or bank, by commas")
    one.set_defaults(run=score)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
