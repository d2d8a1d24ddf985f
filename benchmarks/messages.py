"""The asynchronous path against a bare loop, in one run: python -m benchmarks.messages HOME [--small]

The same image, a comment of its own in each copy, through the same model in this process: in a loop that only analyses,
and as durable messages of the table (SQLite, every commit on the disk): prepare, analyse, transform, both objects
stored, one transaction for up to 16, the queue. In turns, so that a busy minute falls on both; benchmarks.serving calls
`rows` for its table. Bars: >= 0.8 of the bare rate of analysing; the queue's own cost <= 2 ms of an image's processor
time (on the disk it waits besides, once for each batch).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, clock, show
from benchmarks.ground import scratch
from groundplan.database import connect
from groundplan.project import Project, open_project
from groundplan.single.analyse import SingleModel, analyse
from groundplan.single.prepare import prepare
from resources.brokers.table import TableBroker
from serving.metrics import Meters

Row = tuple[str, Any, Any, str]
LEAST, QUEUE_MS = 0.8, 2.0


def rows(home: Path, data: bytes, once: Callable[[], None], given: argparse.Namespace) -> list[Row]:
    """Rows for benchmarks.serving. home: with a project in `gp`; once: decoding and inferring, and nothing else."""
    project = copied(home / "gp", home / "messages")
    count, rounds = (6, 1) if given.small else (32, 3)
    return measured(project, data, once, count, rounds)


def measured(project: Project, data: bytes, once: Callable[[], None], count: int, rounds: int) -> list[Row]:
    from serving.work.intake import upload
    from serving.work.process import process_of

    broker = TableBroker(connect.open_database(project))
    worker = process_of(project, Meters(), relay=False).worker
    model = worker.shop.models.need("footprints")
    bare, analysed, ours = [], [], []
    for number in range(rounds + 1):  # the first warms up
        for image in copies(data, count, number):
            upload(project, broker, image, ["footprints"])
        bare.append(rate_of(once, count))
        analysed.append(rate_of(lambda: in_a_loop(data, model), count))
        began = time.perf_counter()
        worker.run(until_empty=True)
        ours.append(count / (time.perf_counter() - began))
    plain, whole, rate = (statistics.median(some[1:]) for some in (bare, analysed, ours))
    share = statistics.median(mine / loop for mine, loop in zip(ours[1:], analysed[1:], strict=True))
    queue = queue_cost(project)
    return [
        ("bare decode + infer, images/s", plain, "", ""),
        ("bare prepare + analyse (polygons too), images/s", whole, "", ""),
        ("asynchronous, durable, images/s", rate, f"{rate / plain:.2f} x decode + infer", ""),
        ("  of the bare rate of analysing", share, f">= {LEAST}", "met" if share >= LEAST else "NOT MET"),
        ("  queue's own CPU, ms an image", queue, f"<= {QUEUE_MS:g}", "met" if queue <= QUEUE_MS else "NOT MET"),
    ]


def copies(data: bytes, count: int, turn: int) -> list[bytes]:
    """The JPEG so often, each with another comment behind its first marker: other bytes, the same pixels."""
    comments = [f"{turn} {number}".encode().rjust(16) for number in range(count)]
    return [data[:2] + b"\xff\xfe" + (2 + len(text)).to_bytes(2, "big") + text + data[2:] for text in comments]


def in_a_loop(data: bytes, model: SingleModel) -> None:
    analyse(prepare(data), model)


def rate_of(work: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        work()
    return count / (time.perf_counter() - began)


def queue_cost(project: Project, count: int = 256, batch: int = 16) -> float:
    """Milliseconds of processor time for one message: sent, taken and forgotten, in batches."""
    from serving.work.intake import uploaded_event

    broker = TableBroker(connect.open_database(project))
    events = [uploaded_event(project, f"{number:064}", "nobody") for number in range(count)]

    def through() -> None:
        for start in range(0, count, batch):
            broker.send(events[start : start + batch])
        while held := broker.receive(batch, 60.0):
            broker.done(held)

    return 1000 * clock(through).cpu / count


def copied(home: Path, to: Path) -> Project:
    """A project with the home's settings and models alone: nothing is written into the home."""
    source = open_project(home)
    to.mkdir(parents=True)
    shutil.copy(home / "groundplan.toml", to)
    target = open_project(to)
    for prefix in ("models", "trained_model", "manifests/trained_model"):
        for found in source.store.list(prefix):
            target.store.put(found.key, source.store.get(found.key))
    return target


def bare_of(model: SingleModel, data: bytes) -> Callable[[], None]:
    import numpy as np

    from groundplan.single.analyse import FootprintModel, probabilities

    assert isinstance(model, FootprintModel)
    runtime = model.runtime
    return lambda: void(probabilities(np.ascontiguousarray(prepare(data).pixels.transpose(2, 0, 1)), runtime))


def void(_: object) -> None:
    """Of what is not looked at."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, help="a project with a model")
    given = arguments(parser)
    from benchmarks.serving import image
    from serving.work.followed import FollowedModels

    with scratch() as folder:
        project, data = copied(given.home, folder / "home"), image()
        once = bare_of(FollowedModels(project, 2).need("footprints"), data)
        found = measured(project, data, once, *((6, 1) if given.small else (32, 3)))
    show("Messages, wall seconds", ["what", "figure", "bar", ""], found, [f"{len(data):,} bytes of JPEG"])


if __name__ == "__main__":
    main()
