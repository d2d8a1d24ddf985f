"""No-op: what it costs to find out that 1,000 blocks are all there.

    python -m benchmarks.noop [--blocks 1000] [--repeats 5]

A region of 1,000 blocks of 256 pixels. Its sheet and catalogue are real; the blocks' bytes are stand-ins, committed
under the keys that each step plans, so that every later run finds all of them current. Measured: each block-wise step
run again, `build` and `status` as functions, and both commands as fresh processes.
Against: the requests that no rebuild can do without (list the dataset, read its manifest and parse it), on the same
folder. Requests are counted at the store; on S3 a listing takes one request per 1,000 objects.
Bound by: planning (fingerprints of all blocks, and manifests parsed again by each step that reads them); over a network
by the number of requests.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    REGION, YEAR, Cost, commit, lay_sheets, medians, new_project, picture, scratch, show, watched,
)  # fmt: skip
from groundplan import cog, models
from groundplan.blocks import Partition, Planned, read_manifest
from groundplan.outlines import Thresholds
from groundplan.steps import ASSETS, STEPS, run_step

SIDE = 256
BLOCKWISE = ("aerial_tiles", "labels", "predictions", "building_outlines")
PARTITION = Partition(YEAR, REGION)


def filled(home: Path, blocks: int) -> Any:
    """A project in which everything is current."""
    from dataclasses import asdict

    project = new_project(home, SIDE)
    across = round(math.sqrt(blocks))
    lay_sheets(project, picture(), (0, 0, across * SIDE, -(-blocks // across) * SIDE), (20_000, 20_000))
    data = cog.write(np.zeros((1, SIDE, SIDE), np.uint8), None, project.grid.transform(_first()), project.grid.crs, cog.Encoding())
    edges = cog.edge_digests(data)
    facts: dict[str, dict[str, Any]] = {
        "aerial_tiles": {"covered": 1.0, "edges": edges},
        "labels": {"known": SIDE**2, "building": SIDE},
        "training_windows": {"windows": 1},
        "trained_model": {"sha256": "0" * 64, "settings": models.settings_print(project), "thresholds": asdict(Thresholds())},
        "predictions": {"building": 0.0, "edges": edges},
    }
    for name, step in STEPS.items():
        partition = PARTITION if step.by_region else Partition(YEAR)
        if name in ("sheets", "register_buildings"):
            run_step(project, name, partition)
        elif name == "trained_model":
            planned = [Planned("model", "stand-in", f"trained_model/{YEAR}/model-stand-in.zip")]
            commit(project, name, partition, planned, lambda _, name=name: (data, dict(facts[name])))
        else:
            said = facts.get(name, {"stand-in": True})
            commit(project, name, partition, step.plan(project, partition), lambda _, said=said: (data, dict(said)))
    return project


def _first() -> Any:
    from groundplan.grid import Block

    return Block(0, 0)


def command(home: Path, *words: str) -> Cost:
    """A fresh process of the command line: user + system, and wall."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    words = (sys.executable, "-m", "orchestration.cli", *words, "--home", str(home))
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, time.perf_counter() - begin)


def least(project: Any, name: str) -> None:
    """The fewest requests that tell whether a partition is complete."""
    project.store.list(f"{name}/{PARTITION.path}")
    read_manifest(project.store, name, PARTITION)


def main() -> None:
    from orchestration.build import build, wanted

    from groundplan.steps import asset_state

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with scratch() as home:
        project = filled(home / "gp", given.blocks)
        blocks = len(read_manifest(project.store, "aerial_tiles", PARTITION).objects)

        def again(on: Any, name: str) -> None:
            assert not run_step(on, name, PARTITION).made, f"{name} was not current"

        def rebuild(on: Any) -> None:
            odd = [(done.asset, done.outcome, done.message) for done in build(on) if done.outcome != "current"]
            assert not odd, odd

        def states(on: Any) -> None:
            for name, partition in wanted(on, None, None, None):
                asset_state(on, name, partition)

        works: dict[str, Any] = {f"{name}, step again": lambda on, name=name: again(on, name) for name in BLOCKWISE}
        works |= {f"build, all {len(ASSETS)} assets": rebuild, "status": states}
        cost = medians(given.repeats, **{name: lambda work=work: work(project) for name, work in works.items()})
        floor = medians(given.repeats, **{name: lambda name=name: least(project, name) for name in BLOCKWISE})
        all_floor = sum(part.cpu for part in floor.values())
        rows: list[tuple[Any, ...]] = []
        for name, work in works.items():
            seen, requests = watched(project)
            work(seen)
            limit = floor[name.split(",")[0]].cpu if "again" in name else all_floor
            asked = sum(requests.count.values())
            verbs = ", ".join(f"{count} {verb}" for verb, count in sorted(requests.count.items()))
            rows.append((name, cost[name].cpu, 1e6 * cost[name].cpu / blocks, f"{cost[name].cpu / limit:.1f}", asked, verbs,
                         cost[name].wall))  # fmt: skip
        for words in (("build",), ("status",)):
            runs = sorted((command(project.home, *words) for _ in range(given.repeats)), key=lambda run: run.cpu)
            middle = runs[len(runs) // 2]
            rows.append((f"groundplan {words[0]}, fresh process", middle.cpu, 1e6 * middle.cpu / blocks, "", "", "", middle.wall))
    columns = ("work", "cpu-s", "us / block", "x list + manifest", "requests", "of which", "wall s")
    show(f"Nothing to do: {blocks} blocks", columns, rows,
         [f"median of {given.repeats}; list + manifest of the four block-wise datasets: {all_floor:.3f} cpu-s"])  # fmt: skip


if __name__ == "__main__":
    main()
