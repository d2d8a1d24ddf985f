"""Objects of a store as files that GDAL can read, a range at a time.

Here: the few calls rasterio asks of a file system, answered by the store. Not here: whole objects (store.py).
Credentials, endpoints and retries stay the store's; GDAL's own network code is not used.
"""

from __future__ import annotations

from typing import Any

import obstore
from rasterio.abc import FileContainer

from groundplan.errors import MissingInput
from groundplan.store import Store

BUFFER = 1 << 20  # bytes per request: a few COG tiles


class StoreFile:
    """A readable object, as rasterio wants files."""

    def __init__(self, store: Store, key: str) -> None:
        self._file = obstore.open_reader(store.client, key, buffer_size=BUFFER)

    def __enter__(self) -> StoreFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:
        return bytes(self._file.read(size) if size >= 0 else self._file.readall())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()


class StoreFiles(FileContainer):
    """A store as rasterio's opener; files beside a sheet (world file, mask) are found too."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def open(self, path: str, mode: str = "rb", **_: Any) -> StoreFile:
        return StoreFile(self.store, path)

    def isfile(self, path: str) -> bool:
        return self.store.exists(path)

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return []

    def mtime(self, path: str) -> int:
        return int(self.store.head(path).modified.timestamp())

    def size(self, path: str) -> int:
        try:
            return self.store.head(path).size
        except MissingInput as error:
            raise FileNotFoundError(path) from error

    def rm(self, path: str) -> None:
        raise PermissionError(f"{path}: delivered sheets are never removed")
