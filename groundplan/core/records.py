"""Records: the small JSON texts of a store, and the number of their format.

Here: reading one so that a broken or a newer one is named, with its remedy, and writing one; remembered digests. Not
here: what a record says (manifest.py, imagery/landing.py ...).

A format is two numbers, as in "1.1". Keys that this version does not know are ignored: a newer version with the same
first number wrote them, and this one can do without. A higher first number is refused, and the record left as it is.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from groundplan.core.store import Store
from groundplan.errors import Damaged, MissingInput, NewerFormat, StoreFailed

FORMAT = "1.1"
"""1.0 stated no number; 1.1 has a SHA-256 for each object of a manifest."""
MAJOR = int(FORMAT.partition(".")[0])
OUTSIDE = "digests/outside.json"
"""Files outside the store that something was made with: [size, time of change, SHA-256] by the name in the settings."""
AGAIN = "Build again: it is written anew from what is there"


def read_record(store: Store, key: str, remedy: str = AGAIN) -> dict[str, Any]:
    """A record of the store. Raises MissingInput, Damaged for what is no record, NewerFormat."""
    return parse_record(store.get(key), store.uri(key), remedy)


def parse_record(data: bytes, thing: str, remedy: str = AGAIN) -> dict[str, Any]:
    """As `read_record`, of bytes. thing: what the errors name."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        what = "it is empty" if not data.strip() else f"{type(error).__name__}: {str(error)[:80]}"
        raise Damaged(thing, f"it cannot be read ({what})", remedy) from error
    if not isinstance(raw, dict):
        raise Damaged(thing, f"it cannot be read (it holds a {type(raw).__name__}, not keys and values)", remedy)
    check_format(raw.get("format", "1.0"), thing, remedy)
    return raw


def check_format(stated: object, thing: str, remedy: str = AGAIN) -> None:
    """Raises NewerFormat for a higher first number, Damaged for what is no number."""
    try:
        major = int(str(stated).partition(".")[0])
    except ValueError as error:
        raise Damaged(thing, f"it cannot be read (its format is {str(stated)[:40]!r})", remedy) from error
    if major > MAJOR:
        reason = f"a newer Groundplan wrote it, in format {str(stated)[:20]}; this one reads {MAJOR}"
        raise NewerFormat(thing, reason, "Use the newer version; nothing was changed")


def write_record(store: Store, key: str, record: dict[str, Any], **options: Any) -> None:
    """Write a record with its format. options: of json.dumps."""
    store.put(key, json.dumps({"format": FORMAT, **record}, ensure_ascii=False, **options).encode())


def remembered_digests(store: Store, key: str) -> dict[str, list[Any]]:
    """Key to [size, tag, SHA-256] of what was hashed before; lines of any other form are as if they were not there."""
    try:
        found = json.loads(store.get(key))
    except (MissingInput, ValueError, RecursionError):
        return {}
    return {name: line for name, line in found.items() if _is_digest(line)} if isinstance(found, dict) else {}


def _is_digest(line: object) -> bool:
    if not isinstance(line, list) or len(line) != 3:
        return False
    size, tag, digest = line
    return isinstance(size, int) and isinstance(tag, str) and isinstance(digest, str) and len(digest) == 64


def digest_outside(store: Store, name: str, path: Path) -> str | None:
    """SHA-256 of a file outside the store, such as weights; of what it last held where it is gone, None if unknown.

    So what was made with a file stays current without it. name: as the settings have it. Hashed once per version.
    """
    if not path.is_file():
        line = remembered_digests(store, OUTSIDE).get(name)
        return str(line[2]) if line else None
    about = path.stat()
    digest = _hashed(path, about.st_size, about.st_mtime_ns)
    if (store.url, name, digest) not in _written:
        known = remembered_digests(store, OUTSIDE)
        if known.get(name, [None, None, None])[2] != digest:
            line = [about.st_size, str(about.st_mtime_ns), digest]
            with suppress(StoreFailed):  # who may only read can still ask how things stand
                store.put(OUTSIDE, json.dumps({**known, name: line}, ensure_ascii=False).encode())
        _written.add((store.url, name, digest))
    return digest


_written: set[tuple[str, str, str]] = set()  # asked for each class of a collection: the store is read once


@lru_cache(maxsize=8)  # VGG16's weights are half a gigabyte
def _hashed(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
