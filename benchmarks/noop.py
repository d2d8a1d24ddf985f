"""No-op: what it costs to find out that 1,000 blocks are all there.

    python -m benchmarks.noop [--blocks 1000] [--repeats 5] [--small]

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
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, fresh, medians, show, watched
from benchmarks.ground import PARTITION, YEAR, commit, lay_sheets, new_project, picture, scratch
from groundplan.core.grid import Block
from groundplan.core.manifest import Planned, need_manifest
from groundplan.pipeline import ALWAYS, STEPS, asset_state, run_step
from groundplan.polygons.instances import Thresholds
from groundplan.raster import cog
from groundplan.raster.halo import edge_digests
from groundplan.training import models
from orchestration.cli.build import build, wanted

SIDE = 256
BLOCKWISE = ("aerial_tiles", "labels", "predictions", "building_outlines")


def filled(home: Path, blocks: int) -> Any:
    """A project in which everything is current."""
    project = new_project(home, SIDE)
    across = round(math.sqrt(blocks))
    lay_sheets(project, picture(), (0, 0, across * SIDE, -(-blocks // across) * SIDE), (20_000, 20_000))
    empty = np.zeros((1, SIDE, SIDE), np.uint8)
    data = cog.write(empty, None, project.grid.transform(Block(0, 0)), project.grid.crs, cog.Encoding())
    edges = edge_digests(data)
    model = {"sha256": "0" * 64, "settings": models.settings_fingerprint(project), "thresholds": asdict(Thresholds())}
    facts: dict[str, dict[str, Any]] = {
        "aerial_tiles": {"covered": 1.0, "edges": edges},
        "labels": {"known": SIDE**2, "building": SIDE},
        "trained_model": model,
        "predictions": {"building": 0.0, "edges": edges},
    }
    for name, step in STEPS.items():
        if name not in (*ALWAYS, *BLOCKWISE):
            continue  # no build makes it where a project asks for nothing more
        if name in ("sheets", "register_buildings"):
            run_step(project, name, PARTITION)
            continue
        if name == "trained_model":
            planned = [Planned(name="model", fingerprint="stand-in", key=f"trained_model/{YEAR}/model-stand-in.zip")]
        else:
            planned = step.plan(project, PARTITION if not step.scope.wide else type(PARTITION)(YEAR))
        said = facts.get(name, {"stand-in": True})
        commit(project, name, planned, lambda _, said=said: (data, dict(said)))  # type: ignore[misc]
    return project


def least(project: Any, name: str) -> None:
    """The fewest requests that tell whether a partition is complete."""
    project.store.list(f"{name}/{PARTITION.path}")
    need_manifest(project.store, name, PARTITION)


def again(project: Any, name: str) -> None:
    if run_step(project, name, PARTITION).made:
        raise RuntimeError(f"{name} was not current")


def rebuild(project: Any) -> None:
    odd = [(done.asset, done.outcome, done.message) for done in build(project) if done.outcome != "current"]
    if odd:
        raise RuntimeError(f"not current: {odd}")


def states(project: Any) -> None:
    for name, partition in wanted(project, None, None, None):
        asset_state(project, name, partition)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    given = arguments(parser, blocks=20, repeats=1)
    with scratch() as home:
        project = filled(home / "gp", given.blocks)
        blocks = len(need_manifest(project.store, "aerial_tiles", PARTITION).objects)
        works: dict[str, Callable[[Any], None]] = {
            **{f"{name}, step again": partial(again, name=name) for name in BLOCKWISE},
            f"build, all {len(ALWAYS)} assets": rebuild,
            "status": states,
        }
        cost = medians(given.repeats, **{name: partial(work, project) for name, work in works.items()})
        floor = medians(given.repeats, **{name: partial(least, project, name) for name in BLOCKWISE})
        together = sum(one.cpu for one in floor.values())
        rows: list[tuple[Any, ...]] = []
        for name, work in works.items():
            seen, requests = watched(project)
            work(seen)
            limit = floor[name.split(",")[0]].cpu if name.endswith("again") else together
            verbs = ", ".join(f"{count} {verb}" for verb, count in sorted(requests.count.items()))
            cpu, wall = cost[name].cpu, cost[name].wall
            asked = requests.count.total()
            rows.append((name, cpu, 1e6 * cpu / blocks, f"{cpu / limit:.1f}", asked, verbs, wall))
        for word in ("build", "status"):
            one = fresh(given.repeats, "-m", "orchestration.cli.main", word, "--home", str(project.home))
            title = f"groundplan {word}, fresh process"
            rows.append((title, one.cpu, 1e6 * one.cpu / blocks, f"{one.cpu / together:.1f}", "", "", one.wall))
    columns = ("work", "cpu-s", "us / block", "x list + manifest", "requests", "of which", "wall s")
    note = f"median of {given.repeats}; list + manifest of the four block-wise datasets: {together:.3f} cpu-s"
    show(f"Nothing to do: {blocks} blocks", columns, rows, [note])


if __name__ == "__main__":
    main()
