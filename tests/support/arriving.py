"""Images that arrive, workers that are killed, and what must be there in the end.

Here: a small project with a network of a few bytes, images by the hundred, worker processes that start in a moment, and
the one judgement of all failure tests: every accepted image has exactly one analysis and one event, nothing is lost.

A worker here is a real process that runs what `groundplan work` runs. It is forked off a server that has imported the
libraries, so that killing fifty of them is cheap.
"""

from __future__ import annotations

import faulthandler
import io
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import tiny_models

from groundplan.config import FILE
from groundplan.database import connect
from groundplan.database.tables import analysis, image, message, outbox
from groundplan.messages import Broker, CloudEvent
from groundplan.messages.cloud_events import PROMOTED
from groundplan.project import Project, open_project
from groundplan.training.model_files import commit_model

RESOLUTION = 0.3
STACKS = "stacks.txt"
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "alembic.context",
        "arriving",
        "groundplan.polygons.outlines",
        "groundplan.polygons.regularize",
        "groundplan.promotion.found",
        "groundplan.single.registered",
        "openvino",
        "rasterio.features",
        "resources.targets",
        "scipy.ndimage",
        "serving.work.process",
    ]
)


def make_home(folder: Path, *, database: str = "", store: str = "", more: str = "", **messages: Any) -> Project:
    """A project with a network that takes what is bright for a building. messages: settings of that section."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"lanes": 2, "look_seconds": 0.2, "lease": 1.0, **messages}
    lines = [
        f"store = {json.dumps(store)}",
        f'[grid]\ncrs = "EPSG:28992"\nresolution = {RESOLUTION}\nblock_size = 256\norigin = [182361.0, 447771.0]',
        f"[database]\nurl = {json.dumps(database)}",
        "[run]\nworkers = 1\nretries = 2\nretry_seconds = 1.0",
        "[messages]",
        *(f"{name} = {json.dumps(value)}" for name, value in told.items()),
        more,
    ]
    (folder / FILE).write_text("\n".join(lines) + "\n", "utf-8")
    project = open_project(folder)
    commit_model(project, tiny_models.bright_file(RESOLUTION), 2024)
    connect.migrate(connect.engine(connect.address(project)))
    return project


def picture(number: int, side: int = 32) -> bytes:
    """A PNG of its own for each number: black, with one bright roof, and the number in its first pixels."""
    from PIL import Image

    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[10:24, 8:26] = 255
    pixels[0, :4, 0] = list(number.to_bytes(4, "big"))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def accept(project: Project, broker: Broker, pictures: Iterable[bytes]) -> list[CloudEvent]:
    """Upload them; the messages that were accepted."""
    from serving.work.intake import upload

    return [event for data in pictures for event in upload(project, broker, data, ["footprints"])]


def opened(project: Project) -> tuple[sa.Engine, Broker]:
    from resources.broker import open_broker

    engine = connect.open_database(project)
    return engine, open_broker(project, engine)


# --- workers ----------------------------------------------------------------------------------------------------------


def work(home: str, until_empty: bool = False) -> None:
    """What `groundplan work` does."""
    from serving.metrics import Meters
    from serving.work.process import run

    faulthandler.register(signal.SIGUSR1, (Path(home) / STACKS).open("w"))  # for `ended`
    run(open_project(home), Meters(), until_empty=until_empty)


def started(home: Path, until_empty: bool = False, target: Callable[..., None] = work) -> Any:
    process = FORKED.Process(target=target, args=(str(home), until_empty), daemon=True)
    # the server that forks keeps what is ignored where it is started: under xdist that is SIGINT, and once Dagster ran
    # there, which maps one to the other, SIGTERM; a worker that is told to end before it listens would not hear it
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGTERM, before)
    return process


def kill_after(process: Any, seconds: float) -> None:
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(30)


def ended(process: Any, home: Path, seconds: float = 90.0) -> int | None:
    """Tell it to end; its exit status. What does not end says where each of its threads stands."""
    process.terminate()
    process.join(seconds)
    if process.exitcode is None:
        os.kill(process.pid, signal.SIGUSR1)
        process.join(2)
        os.kill(process.pid, signal.SIGKILL)
        raise AssertionError((home / STACKS).read_text("utf-8"))
    return int(process.exitcode)


def worked_off(project: Project, seconds: float = 60.0) -> None:
    """Run a worker until nothing is left; leases of those who were killed must run out before."""
    engine = connect.open_database(project)
    process = started(project.home)
    try:
        wait_until(lambda: is_empty(engine), seconds, lambda: counts(engine))
    finally:
        status = ended(process, project.home)
    assert status in (0, -signal.SIGTERM), status  # told to end before it had begun


def is_empty(engine: sa.Engine) -> bool:
    open_messages = sa.select(sa.func.count()).where(message.c.queue == "work", message.c.state != "aside")
    unsent = sa.select(sa.func.count()).where(outbox.c.sent.is_(None))
    with engine.connect() as connection:
        return not connection.execute(open_messages).scalar() and not connection.execute(unsent).scalar()


def wait_until(true: Callable[[], bool], seconds: float = 60.0, told: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, told()
        time.sleep(0.05)


def counts(engine: sa.Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            table.name: int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in (message, image, analysis, outbox)
        }


# --- the judgement ----------------------------------------------------------------------------------------------------


def assert_exactly_once(
    project: Project, accepted: Sequence[CloudEvent], published: Sequence[str] | None = None
) -> None:
    """Each accepted message: one analysis, one event, sent; its result and picture lie in the store.

    published: ids as a broker told them; None reads them from the table of messages.
    """
    engine = connect.open_database(project)
    wanted = {event.id for event in accepted}
    assert len(wanted) == len(accepted)
    with engine.connect() as connection:
        made = connection.execute(sa.select(analysis.c.id, analysis.c.key, analysis.c.image)).all()
        of_images = outbox.c.type != PROMOTED
        told = connection.execute(sa.select(outbox.c.id, outbox.c.sent, outbox.c.target).where(of_images)).all()
        moves = set(connection.execute(sa.select(outbox.c.id).where(~of_images)).scalars())
        pictures = dict(connection.execute(sa.select(image.c.id, image.c.key)).tuples().all())
        if published is None:
            where = message.c.queue == "events"
            published = list(connection.execute(sa.select(message.c.id).where(where)).scalars())
    published = [identity for identity in published if identity not in moves]
    assert {row.id for row in made} == wanted
    assert len(made) == len(wanted)
    assert Counter(row.id for row in told) == dict.fromkeys(wanted, 1)
    assert all(row.sent for row in told)
    assert set(published) == wanted
    assert len(published) == len(wanted)
    for row in made[:: max(1, len(made) // 50)]:
        assert json.loads(project.store.get(row.key))["id"] == row.id
        assert project.store.exists(pictures[row.image])


def shuffled(items: Iterable[Any], seed: int = 7) -> list[Any]:
    found = list(items)
    random.Random(seed).shuffle(found)
    return found
