"""What every store must keep, asked of one: whole objects, ranges, listings, moves, texts that are compared and set.

Here: the questions, each a function of an empty store. Not here: servers (aws.py, azurite.py, google_store.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from groundplan.core.bulk import fetch, send
from groundplan.core.compare_and_set import Overtaken, change, read_tagged, write_tagged
from groundplan.core.store import CHUNK, Store
from groundplan.errors import MissingInput

NAME = "a/Sint Anthonis/blad #1 é+%20.tif"  # what people call files, and every cloud writes in another way


def keeps_objects(store: Store) -> None:
    store.put(NAME, b"0123456789")
    assert store.get(NAME) == b"0123456789"
    assert store.head(NAME).size == 10
    assert store.digest(NAME) == hashlib.sha256(b"0123456789").hexdigest()
    tag = store.head(NAME).tag
    store.put(NAME, b"9876543210")
    assert store.get(NAME) == b"9876543210"
    assert store.head(NAME).tag != tag, "a tag changes with the content"
    store.move(NAME, "b/moved")
    assert not store.exists(NAME)
    assert store.get("b/moved") == b"9876543210"
    store.delete(["b/moved"])
    for absent in (store.get, store.head, store.digest):
        with pytest.raises(MissingInput):
            absent("b/moved")


def reads_ranges(store: Store) -> None:
    store.put(NAME, b"0123456789")
    assert store.part(NAME, 3, 4) == b"3456"
    assert store.part(NAME, 8, 10) == b"89"
    assert store.part(NAME, 10, 4) == b""
    assert store.begin(NAME, 4) == (10, b"0123")


def lists(store: Store) -> None:
    for key in ("a/1/x", "a/1/y", "a/2/z", "a/top", "ab/other"):
        store.put(key, key.encode())
    assert [item.key for item in store.list("a")] == ["a/1/x", "a/1/y", "a/2/z", "a/top"]
    folders, files = store.below("a")
    assert folders == ["1", "2"]
    assert [(item.key, item.size) for item in files] == [("a/top", 5)]
    assert [item.key for item in store.list()] == ["a/1/x", "a/1/y", "a/2/z", "a/top", "ab/other"]


def takes_large_files(store: Store, folder: Path) -> None:
    """In parts: more than two of them, the last one short."""
    data = hashlib.shake_128(b"large").digest(2 * CHUNK + 12345)
    (folder / "large").write_bytes(data)
    store.put_file("large.tif", folder / "large")
    assert store.head("large.tif").size == len(data)
    assert store.digest("large.tif") == hashlib.sha256(data).hexdigest()
    assert store.part("large.tif", CHUNK - 5, 10) == data[CHUNK - 5 : CHUNK + 5]


def takes_many(store: Store) -> None:
    """As shards of collections are read and written: many requests in flight, and one that removes them all."""
    items = [(f"many/{number:04}", str(number).encode()) for number in range(300)]
    send(store, items, 32)
    found = store.list("many")
    assert [item.key for item in found] == [key for key, _ in items]
    assert list(fetch(store, [(item.key, item.size) for item in found], 32)) == items
    store.delete([item.key for item in found])
    assert store.list("many") == []


def compares_and_sets(store: Store) -> None:
    write_tagged(store, "text", b"1", "")
    with pytest.raises(Overtaken):
        write_tagged(store, "text", b"2", "")
    data, tag = read_tagged(store, "text")
    write_tagged(store, "text", b"3", tag)
    with pytest.raises(Overtaken):
        write_tagged(store, "text", b"4", tag)
    assert data == b"1"
    assert store.get("text") == b"3"


def undoes_nobodys_change(store: Store, writers: int = 3, each: int = 4) -> None:
    """Writers at once count one text up: every one of their steps is in it at the end."""

    def count() -> None:
        for _ in range(each):
            change(store, "count", lambda before: str(int(before or b"0") + 1).encode())

    with ThreadPoolExecutor(writers) as pool:
        for done in [pool.submit(count) for _ in range(writers)]:
            done.result()
    assert store.get("count") == str(writers * each).encode()


PROMISES: tuple[Callable[[Store], None], ...] = (
    keeps_objects,
    reads_ranges,
    lists,
    takes_many,
    compares_and_sets,
    undoes_nobodys_change,
)
