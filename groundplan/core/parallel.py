"""Threads for work that waits for the network.

Here: many small requests at once, reading ahead. Not here: making blocks (materialize.py), which has its own workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

AT_ONCE = 16  # requests in flight: they wait for the network, not for the processor


T = TypeVar("T")


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, none of them None, each taken by a thread of its own while the one before is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as reader:
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item


def thread_pool() -> ThreadPoolExecutor:
    """Threads for requests; to start them anew for every batch would cost more than the requests."""
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="landing")


def in_parallel(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """In the order of `items`; the first error is raised."""
    listed = list(items)
    if len(listed) < 2:
        return [work(item) for item in listed]
    with thread_pool() as pool:
        return list(pool.map(work, listed))
