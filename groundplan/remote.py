"""Objects of a store as files that GDAL can read, a range at a time.

Here: the few calls rasterio asks of a file system, answered by the store. Not here: whole objects (store.py).
Credentials, endpoints and retries stay the store's; GDAL's own network code is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rasterio.abc import FileContainer

from groundplan.errors import MissingInput, StoreFailed
from groundplan.store import Store

BUFFER = 1 << 20  # bytes per request: a few COG tiles


class StoreFiles(FileContainer):
    """A store as rasterio's opener.

    names: the sheet and the files beside it. GDAL believes them, so it does not ask the store for a dozen others.
    failure: what the store did not deliver; GDAL knows only that a read was short.
    """

    def __init__(self, store: Store, names: Sequence[str]) -> None:
        self.store, self.names = store, list(names)
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
        try:
            return self.store.head(path).size
        except MissingInput as error:
            raise FileNotFoundError(path) from error

    def rm(self, path: str) -> None:
        raise PermissionError(f"{path}: delivered sheets are never removed")


class StoreFile:
    """A readable object, as rasterio wants files. Its requests are retried as all others of the store are."""

    def __init__(self, files: StoreFiles, key: str) -> None:
        if not files.isfile(key):
            raise FileNotFoundError(key)
        self._files, self._key, self._size = files, key, files.size(key)
        self._at, self._start, self._buffer = 0, 0, b""

    def __enter__(self) -> StoreFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        if not (self._start <= self._at and end <= self._start + len(self._buffer)):
            length = min(max(end - self._at, BUFFER), self._size - self._at)
            try:
                self._buffer, self._start = self._files.store.part(self._key, self._at, length), self._at
            except StoreFailed as error:  # GDAL swallows exceptions: it gets a short read, the caller the reason
                self._files.failure = self._files.failure or error
                return b""
        data = self._buffer[self._at - self._start : end - self._start]
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._buffer = b""
