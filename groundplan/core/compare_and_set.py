"""Compare and set: small texts of a store that several may change, of whom none may undo another's change unseen.

Here: reading one with its tag, and writing it where nobody changed it since. Not here: what it says.

Object stores do it by a conditional PUT (`If-Match`, `If-None-Match`), memory too. In a folder a lock is held while the
text is compared and renamed; the lock is the kernel's, so a process that is killed leaves none. Servers that speak S3's
language and ignore the condition (capabilities.py) are asked under a claim (claims.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError

from groundplan.core.capabilities import has_conditional_put
from groundplan.core.claims import claimed
from groundplan.core.store import INCOMING, Store
from groundplan.errors import GroundplanError, MissingInput

TRIES = 20  # of a change that others overtake each time


class Overtaken(GroundplanError):
    """Somebody else changed a text since it was read; nothing was changed now."""


def read_tagged(store: Store, key: str) -> tuple[bytes, str]:
    """A text and the tag to write it by; (b"", "") where there is none."""
    if store.root is not None:
        try:
            data = store.get(key)
        except MissingInput:
            return b"", ""
        return data, _digest(data)

    def read() -> tuple[bytes, str]:
        try:
            answer = obstore.get(store.client, key)
        except (FileNotFoundError, NotFoundError):
            return b"", ""
        return bytes(answer.bytes()), str(answer.meta[_tag_of(store)] or "")

    return store._try(key, "read", read)


def write_tagged(store: Store, key: str, data: bytes, tag: str) -> None:
    """Write a text where it still has the tag, "" for none. Readers see the one or the other, whole.

    Raises Overtaken, StoreFailed.
    """
    if store.root is not None:
        with _locked(store.root, key):
            if read_tagged(store, key)[1] != tag:
                raise _overtaken(store, key)
            store.put(key, data)
        return
    if not has_conditional_put(store):
        with claimed(store, key) as still_ours:
            if read_tagged(store, key)[1] != tag or not still_ours():
                raise _overtaken(store, key)
            store.put(key, data)
        return
    mode: Any = {_tag_of(store): tag} if tag else "create"
    tried = 0

    def write() -> None:
        nonlocal tried
        tried += 1
        try:
            obstore.put(store.client, key, data, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError, FileNotFoundError, NotFoundError) as error:
            # of a try before this one the answer may have been lost, though the store did it
            if tried > 1 and read_tagged(store, key)[0] == data:
                return
            raise _overtaken(store, key) from error

    store._try(key, "written", write)


def change(store: Store, key: str, made: Callable[[bytes], bytes]) -> bytes:
    """Change a text by a function of what it says, again where others were first. Returns what was written.

    made: raises what it likes; nothing is written then. Raises Overtaken where that happens without end.
    """
    for left in range(TRIES, 0, -1):
        before, tag = read_tagged(store, key)
        after = made(before)
        try:
            if after != before:
                write_tagged(store, key, after, tag)
            return after
        except Overtaken:
            if left == 1:
                raise
    raise AssertionError("unreachable")


def _tag_of(store: Store) -> Literal["e_tag", "version"]:
    """What a store compares by: Google by an object's generation, all others by its ETag."""
    return "version" if store.url.startswith("gs://") else "e_tag"


def _overtaken(store: Store, key: str) -> Overtaken:
    return Overtaken(store.uri(key), "somebody else changed it meanwhile", "Look at it again, then repeat the command")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _locked(root: Path, key: str) -> Iterator[None]:
    """While no other process of this machine is in here for the same key."""
    folder = root / INCOMING
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / f"{_digest(key.encode())[:32]}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
