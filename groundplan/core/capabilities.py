"""Capabilities: what a store can of what is asked of it, tried out and not believed.

Here: a look of some dozen small requests at a store, and what follows where it cannot do something. Not here: where the
store is (endpoints.py), what is done instead of a conditional PUT (compare_and_set.py).

S3, Azure and Google do all of it. Servers that speak S3's language differ: some ignore the condition of a PUT, and then
two who change one text at once undo each other's change unseen.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError

from groundplan.core.endpoints import endpoint_of
from groundplan.core.store import Store
from groundplan.errors import GroundplanError, MissingInput

ROOM = "doctor"
LISTED_WITHIN = 3.0  # seconds in which a listing must show what was written before the store counts as late
UNSUPPORTED = ("501", "NotImplemented", "status code: 400")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store was seen to do.

    conditional_put: a PUT with a condition fails where it does not hold. fresh_read: after a PUT the new bytes are
    read. fresh_list: a listing shows what was written before, and not what was removed. ranges: parts of an object can
    be read. bulk_delete: several objects go by one request.
    """

    conditional_put: bool
    fresh_read: bool
    fresh_list: bool
    ranges: bool
    bulk_delete: bool

    @property
    def lacking(self) -> tuple[str, ...]:
        """What it cannot, each with what follows from that."""
        told = {
            "keep the condition of a PUT: aliases of models move under a claim instead": self.conditional_put,
            "list at once what was written: work may be done twice, and status is behind": self.fresh_list,
            "read at once what was overwritten: it cannot be used": self.fresh_read,
            "read parts of an object: it cannot be used": self.ranges,
            "remove several objects by one request: it cannot be used": self.bulk_delete,
        }
        return tuple(text for text, can in told.items() if not can)

    @property
    def usable(self) -> bool:
        """Whether nothing becomes wrong or impossible without what lacks."""
        return self.fresh_read and self.ranges and self.bulk_delete


def probe(store: Store) -> Capabilities:
    """What a store can; some dozen requests, below `doctor/`, where nothing is left. Raises StoreFailed."""
    if store.root is not None:  # a folder: the lock and the disk do it (compare_and_set.py)
        return Capabilities(conditional_put=True, fresh_read=True, fresh_list=True, ranges=True, bulk_delete=True)
    with _probing(store) as key:
        conditional = _refuses_conditions(store, key)
        store.put(key, b"0123456789")
        store.put(key, b"9876543210")
        fresh, ranges = store.get(key) == b"9876543210", store.part(key, 2, 3) == b"765"
        store.put(f"{key}.2", b"second")
        listed = _is_listed(store, key, True)
        bulk = _removes(store, [key, f"{key}.2"])
        return Capabilities(
            conditional_put=conditional,
            fresh_read=fresh,
            fresh_list=listed and _is_listed(store, key, False),
            ranges=ranges,
            bulk_delete=bulk,
        )


def notes_on(store: Store) -> list[str]:
    """What a store cannot, for a person; one note where it does not answer soon."""
    quick = replace(store, retries=1, retry_seconds=5.0)
    try:
        return [f"the store {store.url} does not {text} (docs/stores.md)" for text in probe(quick).lacking]
    except GroundplanError as error:
        return [f"{error.thing}: {error.reason}. {error.remedy}; `groundplan doctor` looks again"]


def has_conditional_put(store: Store) -> bool:
    """Whether a store keeps the condition of a PUT. Tried once in a process, and only of servers that speak for S3."""
    if store.url.startswith("s3://") and endpoint_of("s3") is not None:
        return _tried(store)
    return True


@lru_cache(maxsize=16)  # a store is known by its address
def _tried(store: Store) -> bool:
    with _probing(store) as key:
        return _refuses_conditions(store, key)


@contextmanager
def _probing(store: Store) -> Iterator[str]:
    key = f"{ROOM}/probe-{uuid.uuid4().hex}"
    try:
        yield key
    finally:
        for one in (key, f"{key}.2"):
            with suppress(GroundplanError):
                store.delete([one])


def _refuses_conditions(store: Store, key: str) -> bool:
    """Whether a second 'only where there is none', and a PUT for another tag, are refused; the first is taken."""
    wrong: Any = {"e_tag": '"00000000000000000000000000000000"'}
    if store.url.startswith("gs://"):
        wrong = {"version": "1"}
    first = _put(store, key, b"1", "create")
    return first == "taken" and _put(store, key, b"2", "create") == _put(store, key, b"3", wrong) == "refused"


def _put(store: Store, key: str, data: bytes, mode: Any) -> str:
    """taken, refused, or unsupported where the store does not know such a PUT. Raises StoreFailed."""

    def put() -> str:
        try:
            obstore.put(store.client, key, data, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return "refused"
        except NotSupportedError:
            return "unsupported"
        except BaseError as error:
            if any(text in str(error) for text in UNSUPPORTED):
                return "unsupported"
            raise
        return "taken"

    return store._try(key, "written", put)


def _is_listed(store: Store, key: str, wanted: bool) -> bool:
    """Whether the first listing tells what is there. One that is late is waited for, so that others are not misled."""
    first = any(found.key == key for found in store.list(ROOM)) == wanted
    end = time.monotonic() + LISTED_WITHIN
    while not first and time.monotonic() < end:
        time.sleep(0.2)
        if any(found.key == key for found in store.list(ROOM)) == wanted:
            break
    return first


def _removes(store: Store, keys: list[str]) -> bool:
    try:
        store.delete(keys)
    except GroundplanError:
        return False
    return not any(_is_there(store, key) for key in keys)


def _is_there(store: Store, key: str) -> bool:
    try:
        store.head(key)
    except MissingInput:
        return False
    return True
