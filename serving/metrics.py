"""What Prometheus reads at /metrics: figures of the service, of the worker, and of what manifests say is made.

Here: names, and functions that count. Not here: when they are called (serving/api, serving/work), the alarms on them
(monitoring/rules.yml), which a test holds to these names. A label has a bounded set of values: never an id, a key or an
address; a route is its template, never the path that was asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from groundplan.operations.made_figures import Figures, Row
    from groundplan.project import Project

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0)
"""Bounds of answers' times; 1.5 is the wait that admission allows."""
PREFIX = "groundplan_"
STALE = 60.0  # seconds for which what was read of the store is told again


class Meters:
    """One process's figures. Each has its registry, so that two in one test do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("http_requests", "answers, by route and code", "method", "route", "code")
        self._seconds = self._histogram("http_request_seconds", "from the first byte to the last", "route")
        self._refused = self._counter("refused", "requests that were not admitted, by reason", "reason")
        self._bytes = self._counter("received_bytes", "bytes of images taken in")
        self._pixels = self._counter("received_pixels", "pixels of images decoded")
        self._in_house = self._gauge("in_house", "images admitted and not answered yet")
        self._wait = self._gauge("estimated_wait_seconds", "how long an image that comes now would wait")
        self._model = self._gauge("model_info", "1 for each model that answers", "model", "version", "alias")
        self._analyses = self._counter("analyses", "images analysed, by model and how it ended", "model", "outcome")
        self._work = self._histogram("analysis_seconds", "time of one step of an image", "step")
        self._depth = self._gauge("queue_messages", "messages that wait or are in hand", "queue")
        self._oldest = self._gauge("queue_oldest_seconds", "age of the oldest message that waits", "queue")
        self._dead = self._gauge("queue_dead_letters", "messages set aside for a person", "queue")
        self._lag = self._gauge("outbox_lag_seconds", "age of the oldest event that was not sent yet")
        self._unsent = self._gauge("outbox_unsent", "events that were not sent yet")

    # ------------------------------------------------------------------------------------------ the service

    def answered(self, method: str, route: str, code: int, seconds: float) -> None:
        """route: its template, such as /v1/predict/{model}; '' of what no route knows."""
        self._requests.labels(method, route or "none", str(code)).inc()
        self._seconds.labels(route or "none").observe(seconds)

    def refused(self, reason: str) -> None:
        """reason: one of few words: busy, rate, deadline, too large, bad image, key ..."""
        self._refused.labels(reason).inc()

    def received(self, size: int, pixels: int) -> None:
        self._bytes.inc(size)
        self._pixels.inc(pixels)

    def lane(self, in_house: int, wait: float) -> None:
        """wait: seconds, as admission estimates them."""
        self._in_house.set(in_house)
        self._wait.set(wait)

    def models(self, serving: Iterable[tuple[str, str, str]]) -> None:
        """All that answer now: (name, version, alias); those before are forgotten."""
        self._model.clear()
        for name, version, alias in serving:
            self._model.labels(name, version, alias).set(1)

    # ------------------------------------------------------------------------------------------ the worker

    def analysed(self, model: str, outcome: str, steps: Mapping[str, float]) -> None:
        """outcome: done, failed or again. steps: seconds of prepare, analyse, transform, act."""
        self._analyses.labels(model, outcome).inc()
        for step, seconds in steps.items():
            self._work.labels(step).observe(seconds)

    def queue(self, name: str, waiting: int, oldest: float, dead: int) -> None:
        """oldest: seconds, 0 where none waits."""
        self._depth.labels(name).set(waiting)
        self._oldest.labels(name).set(oldest)
        self._dead.labels(name).set(dead)

    def outbox(self, unsent: int, lag: float) -> None:
        """lag: seconds since the oldest event that was not sent was written; 0 where none waits."""
        self._unsent.set(unsent)
        self._lag.set(lag)

    # ------------------------------------------------------------------------------------------ reading

    def watch(self, collector: Collector) -> None:
        """Figures that are looked up when they are read, such as `StoreFigures`."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """Of CONTENT_TYPE."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, *labels: str) -> Histogram:
        return Histogram(PREFIX + name, about, labels, registry=self.registry, buckets=SECONDS)


class StoreFigures(Collector):
    """What the store holds, looked up at most once in STALE seconds; a store that does not answer is told as a figure.

    look: reads the figures. Raises anything: then the last ones are told again, and `store_read_failed` is 1.
    """

    def __init__(self, look: Callable[[], Figures], clock: Callable[[], float] = time.monotonic) -> None:
        self.look, self.clock = look, clock
        self.known: Figures = {}
        self.read, self.failed = -STALE, False

    def describe(self) -> Iterable[Metric]:
        return []  # registering must not read the store

    def collect(self) -> Iterable[Metric]:
        if self.clock() - self.read >= STALE:
            self._read()
        yield _family("store_read_failed", "1 where the store could not be read the last time", (), [((), self.failed)])
        for name, (about, labels, rows) in self.known.items():
            yield _family(name, about, labels, rows)

    def _read(self) -> None:
        self.read = self.clock()
        try:
            self.known, self.failed = self.look(), False
        except Exception:  # whatever it is, the other figures are wanted all the more
            self.failed = True


def _family(name: str, about: str, labels: tuple[str, ...], rows: Iterable[Row]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, about, labels=labels)
    for values, figure in rows:
        family.add_metric(values, float(figure))
    return family


def watch_store(meters: Meters, project: Project) -> Meters:
    """The same, which tell what the project's store holds too. Nothing is read before somebody asks."""

    from groundplan.operations.made_figures import Read, look

    asked_once, read = replace(project, store=replace(project.store, retries=0)), Read()
    meters.watch(StoreFigures(lambda: look(asked_once, read)))
    return meters
