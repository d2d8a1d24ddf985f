"""The process of `groundplan work`: worker, relay and the look into inbox/, from their beginning to their end.

Here: putting them together, signals, threads beside the worker, figures. Not here: any of the parts.
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial

from sqlalchemy.engine import Engine

from groundplan.database.connect import open_database
from groundplan.messages.port import Broker
from groundplan.project import Project
from groundplan.single.faces import FaceFinder, finder
from resources.broker import open_broker
from resources.brokers import aside
from resources.moved_aliases import tell_moves
from resources.piled import unsent
from serving.api.lane import processors
from serving.metrics import Meters
from serving.work.followed import FollowedModels
from serving.work.intake import InboxWatch, take_events
from serving.work.relay import Relay
from serving.work.steps import Workshop
from serving.work.worker import Worker

log = logging.getLogger("groundplan.work")

FIGURES = 5.0  # seconds between two looks at how much waits
MOVES = 60.0  # seconds between two looks whether an alias moved of which nobody was told


@dataclass(kw_only=True)
class WorkProcess:
    """All that works in one process. `end` may be called from a signal's handler."""

    worker: Worker
    relay: Relay | None
    watch: InboxWatch | None
    stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Start what runs beside the worker."""
        if self.relay:
            self.relay.begin()
        looks: list[tuple[Callable[[], object], float]] = [
            (partial(measure, self.worker), FIGURES),
            (partial(tell_moves, self.worker.shop.project, self.worker.engine), MOVES),
        ]
        if self.watch:
            looks.append((self.watch.look, self.watch.project.settings.messages.look_seconds))
        for look, seconds in looks:
            thread = threading.Thread(target=_repeat, args=(look, seconds, self.stopping), daemon=True)
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        self.stopping.set()
        self.worker.stop()

    def finish(self) -> None:
        """After the worker ended: send what came of its last messages, as far as that goes at once."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(5.0)
        if self.relay:
            self.relay.end()


def process_of(project: Project, meters: Meters, relay: bool = True) -> WorkProcess:
    """Worker, relay and watch of a project, ready to begin. Raises BadConfig, MissingInput, BrokerFailed."""
    settings = project.settings
    engine = open_database(project)
    broker = open_broker(project, engine)
    lanes = settings.messages.lanes or processors()
    worker = Worker(
        shop=Workshop(
            project=project,
            models=FollowedModels(project, processors()),  # one image at a time is inferred, with all of them
            finder=_once(project),
            intake=partial(take_events, project, broker),
        ),
        broker=broker,
        engine=engine,
        meters=meters,
        lanes=lanes,
    )
    sending = _relay(project, engine, broker, meters) if relay else None
    watch = InboxWatch(project=project, engine=engine, broker=broker) if settings.messages.inbox else None
    return WorkProcess(worker=worker, relay=sending, watch=watch)


def relay_of(project: Project, meters: Meters) -> Relay:
    """A relay for a process of its own. Raises BadConfig, MissingInput, BrokerFailed."""
    engine = open_database(project)
    return _relay(project, engine, open_broker(project, engine), meters)


def _relay(project: Project, engine: Engine, broker: Broker, meters: Meters) -> Relay:
    from resources.targets import targets_of

    return Relay(
        engine=engine,
        targets=targets_of(project, broker),
        keep_days=project.settings.messages.keep_days,
        meters=meters,
    )


def run(project: Project, meters: Meters, relay: bool = True, until_empty: bool = False) -> int:
    """Work until SIGTERM or Ctrl-C, or until nothing is left; how many messages were done."""
    # of arrays that rasterio traces: pixels have no place, and that is meant so
    warnings.filterwarnings("ignore", "Dataset has no geotransform|The given matrix is equal")
    process = process_of(project, meters, relay)
    with ended_by_signals(process.end):
        if until_empty and process.watch:  # that a file is whole is known by the second look
            process.watch.look()
            process.stopping.wait(project.settings.messages.look_seconds)
            process.watch.look()
        process.begin()
        log.info("working with %d lanes on %s", process.worker.lanes, project.settings.messages.broker)
        try:
            process.worker.run(until_empty)
        finally:
            process.finish()
    if until_empty:
        _end_whole(process)
    log.info("ended after %d messages", process.worker.done)
    return process.worker.done


def _end_whole(process: WorkProcess) -> None:
    """Nothing is left to do, and nothing lies about."""
    if process.watch:
        process.watch.look()
    if process.relay:
        process.relay.run_once()


@contextmanager
def beside(project: Project, meters: Meters) -> Iterator[WorkProcess]:
    """Within, messages are worked off in threads of this process: `groundplan serve --work`."""
    process = process_of(project, meters)
    process.begin()
    thread = threading.Thread(target=process.worker.run, name="worker", daemon=True)
    thread.start()
    try:
        yield process
    finally:
        process.end()
        thread.join(30.0)
        process.finish()


@contextmanager
def ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C call `end`; a second one ends the process as usual.

    In a thread of its own: the main thread, in which handlers run, may just hold the lock of the event that `end` sets.
    """

    def told(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        start_new_thread(end, ())

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def measure(worker: Worker) -> None:
    """Figures of how much waits, for those who read /metrics."""
    depth, dead = worker.broker.depth(), aside.count(worker.engine)
    worker.meters.queue(worker.shop.project.settings.messages.broker, depth.waiting, depth.oldest or 0.0, dead)
    worker.meters.outbox(*unsent(worker.engine))


def _once(project: Project) -> Callable[[], FaceFinder]:
    single = project.settings.single
    weights = project.home / single.face_weights if single.face_weights else None
    return lru_cache(maxsize=1)(lambda: finder(weights, single.face_threshold))


def _repeat(look: Callable[[], object], seconds: float, stopping: threading.Event) -> None:
    while not stopping.wait(seconds):
        try:
            look()
        except Exception as error:  # whatever it is, the next look may go well
            log.warning("a look failed: %s", str(error).splitlines()[0][:200] if str(error) else error)
