"""Many small objects in and out: hundreds of requests in flight, memory bounded.

Here: fetching and sending lists of objects through obstore's asynchronous calls. Not here: what the bytes mean, or the
way back after a fault: a request that fails once is made again by the store's own patient one (store.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import obstore

from groundplan.core.store import Store
from groundplan.errors import MissingInput

BATCH_BYTES = 64 * 2**20  # of objects held at a time; a second batch is on its way meanwhile
BATCH_ROUNDS = 8  # a batch has so many objects for each request in flight, so that its tail costs little
DISK_HANDS = 8  # a disk is not the faster for hundreds

T = TypeVar("T")


def fetch(
    store: Store, items: Sequence[tuple[str, int]], concurrency: int
) -> Iterator[tuple[str, bytes | MissingInput]]:
    """Key and bytes of each object, in the order of `items` (key, size as listed).

    At most `concurrency` requests are in flight, and at most two batches of 64 MiB (or one object, where that is
    larger) in memory: the one that is being used and the next. An object that has gone meanwhile comes as its
    MissingInput. Raises StoreFailed.
    """
    batches = list(_batches(items, concurrency))
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as pool:
        coming = [pool.submit(_fetch_batch, store, batch, concurrency) for batch in batches[:1]]
        for number in range(len(batches)):
            answers = coming.pop().result()
            if number + 1 < len(batches):
                coming.append(pool.submit(_fetch_batch, store, batches[number + 1], concurrency))
            yield from answers


def send(store: Store, items: Sequence[tuple[str, bytes]], concurrency: int) -> None:
    """Write objects, several at a time; each appears whole or not at all. Raises StoreFailed.

    On a disk this is the store's own way (temporary file, fsync, rename).
    """
    if store.root is not None:
        with ThreadPoolExecutor(min(DISK_HANDS, concurrency), thread_name_prefix="send") as pool:
            for done in [pool.submit(store.put, key, data) for key, data in items]:
                done.result()
        return
    _run(
        [
            _one(lambda k=key, d=data: _put(store, k, d), lambda k=key, d=data: store.put(k, d))  # type: ignore[misc]
            for key, data in items
        ],
        concurrency,
    )


def _batches(items: Iterable[tuple[str, int]], concurrency: int) -> Iterator[list[str]]:
    batch: list[str] = []
    total = 0
    for key, size in items:
        if batch and (total + size > BATCH_BYTES or len(batch) >= concurrency * BATCH_ROUNDS):
            yield batch
            batch, total = [], 0
        batch.append(key)
        total += size
    if batch:
        yield batch


def _fetch_batch(store: Store, keys: list[str], concurrency: int) -> list[tuple[str, bytes | MissingInput]]:
    def patient(key: str) -> bytes | MissingInput:
        try:
            return store.get(key)
        except MissingInput as error:
            return error

    works = [_one(lambda k=key: _get(store, k), lambda k=key: patient(k)) for key in keys]  # type: ignore[misc]
    return list(zip(keys, _run(works, concurrency), strict=True))


async def _get(store: Store, key: str) -> bytes | MissingInput:
    answer = await obstore.get_async(store.client, key)
    return bytes(await answer.bytes_async())


async def _put(store: Store, key: str, data: bytes) -> None:
    await obstore.put_async(store.client, key, data)


async def _one(quick: Callable[[], Coroutine[Any, Any, T]], patient: Callable[[], T]) -> T:
    try:
        return await quick()
    except Exception:  # whatever it was, the patient way finds out, and says it in the project's words
        return await asyncio.to_thread(patient)


def _run(works: Sequence[Coroutine[Any, Any, T]], concurrency: int) -> list[T]:
    async def every() -> list[T]:
        gate = asyncio.Semaphore(concurrency)

        async def through(work: Coroutine[Any, Any, T]) -> T:
            async with gate:
                return await work

        return await asyncio.gather(*(through(work) for work in works))

    return asyncio.run(every())
