"""Objects of a store as files that GDAL can read, a range at a time.

Here: the few calls rasterio asks of a file system, answered by the store. Not here: whole objects (store.py).
Credentials, endpoints and retries stay the store's; GDAL's own network code is not used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rasterio.abc import FileContainer

from groundplan.core.store import Store
from groundplan.errors import MissingInput, StoreFailed

BUFFER = 1 << 20  # bytes per request of who reads on: a few COG tiles
WINDOW = 1 << 15  # of who reads here and there: a COG's directories
BEHIND = 1 << 12  # more than is asked for: the mask of a COG's tile lies right behind it
MOST_AHEAD = 1 << 20  # of who turns out to read on: each request asks for twice as much as the one before


class StoreFiles(FileContainer):
    """A store as rasterio's opener.

    names: the sheet and the files beside it. GDAL believes them, so it does not ask the store for a dozen others.
    least: bytes of the smallest request. keep: answers that an open file remembers; GDAL comes back for directories
    and masks when it has read all tiles of a window.
    begun: size and first bytes of objects by key, where they are known already.
    failure: what the store did not deliver; GDAL knows only that a read was short.
    """

    def __init__(
        self,
        store: Store,
        names: Sequence[str],
        least: int = BUFFER,
        keep: int = 1,
        begun: Mapping[str, tuple[int, bytes]] | None = None,
    ) -> None:
        self.store, self.names, self.least, self.keep = store, list(names), least, keep
        self.begun = dict(begun or {})
        self._sizes = {key: size for key, (size, _) in self.begun.items()}
        self.failure: StoreFailed | None = None

    def open(self, path: str, mode: str = "rb", **_: Any) -> StoreFile:
        return StoreFile(self, path)

    def isfile(self, path: str) -> bool:
        return path.rsplit("/", 1)[-1] in self.names

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return self.names

    def mtime(self, path: str) -> int:
        return int(self.store.head(path).modified.timestamp())

    def size(self, path: str) -> int:
        if path not in self._sizes:
            try:
                self._sizes[path] = self.store.head(path).size
            except MissingInput as error:
                raise FileNotFoundError(path) from error
        return self._sizes[path]

    def rm(self, path: str) -> None:
        raise PermissionError(f"{path}: delivered sheets are never removed")


class StoreFile:
    """A readable object, as rasterio wants files. Its requests are retried as all others of the store are."""

    def __init__(self, files: StoreFiles, key: str) -> None:
        if not files.isfile(key):
            raise FileNotFoundError(key)
        self._files, self._key, self._size = files, key, files.size(key)
        self._at = 0
        self._answers: deque[tuple[int, bytes]] = deque(maxlen=files.keep)  # where in the file, and what is there
        if key in files.begun:
            self._answers.append((0, files.begun[key][1]))

    def __enter__(self) -> StoreFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        start, answer = self._known(end) or self._ask(end)
        data = answer[self._at - start : end - start]
        self._at += len(data)
        return data

    def _known(self, end: int) -> tuple[int, bytes] | None:
        """An answer that holds everything up to `end`."""
        return next((it for it in self._answers if it[0] <= self._at and end <= it[0] + len(it[1])), None)

    def _ask(self, end: int) -> tuple[int, bytes]:
        length = max(end - self._at + BEHIND, self._files.least)
        if self._answers and 0 <= self._at - self._answers[-1][0] <= len(self._answers[-1][1]):
            length = max(length, min(2 * len(self._answers[-1][1]), MOST_AHEAD))
        length = min(length, self._size - self._at)
        try:
            found = self._at, self._files.store.part(self._key, self._at, length)
        except StoreFailed as error:  # GDAL swallows exceptions: it gets a short read, the caller the reason
            self._files.failure = self._files.failure or error
            return self._at, b""
        self._answers.append(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._answers.clear()
