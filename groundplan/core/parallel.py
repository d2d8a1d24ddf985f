"""Threads for work that waits for the network.

Here: many small requests at once. Not here: making blocks (materialize.py), which has its own workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AT_ONCE = 16  # requests in flight: they wait for the network, not for the processor


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
