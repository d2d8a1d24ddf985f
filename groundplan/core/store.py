"""The object store: one interface for a folder, S3, Azure, Google and memory.

Here: whole objects in and out, retried with back-off, and the promise that an object appears whole or not at all. Not
here: what the objects mean (materialize.py), or how pixels are read from them (imagery/catalog.py, raster/cog.py).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import NotFoundError, PermissionDeniedError, UnauthenticatedError

from groundplan.addresses import REMEDY, secret_in
from groundplan.core.endpoints import plain_http
from groundplan.core.parallel import read_ahead
from groundplan.core.plain_files import FOREIGN, PlainFiles, behind_link
from groundplan.errors import BadConfig, MissingInput, StoreFailed

if TYPE_CHECKING:
    from obstore.store import ObjectStore


SCHEMES = ("file", "s3", "az", "gs", "memory")
INCOMING = ".incoming"  # half-written files of a local store wait here; no listing shows them
STALE = 24 * 3600.0  # seconds after which nobody writes a file there any more
CHUNK = 8 * 2**20
IMPOSSIBLE = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EEXIST, errno.EILSEQ}
)
"""What a disk says of a name that no file there can have: waiting does not help."""
OS_ERROR = re.compile(r"\(os error (\d+)\)|\bcode: (\d+),")  # how the client's text states it

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """An object as a listing shows it; `tag` changes when the content does."""

    key: str
    size: int
    modified: datetime
    tag: str


@dataclass(frozen=True, kw_only=True)
class Store:
    """A root URL and the way to it. Methods raise MissingInput for an absent object, StoreFailed for all else."""

    url: str
    client: ObjectStore = field(repr=False, compare=False)
    root: Path | None = None  # of a local store
    retries: int = 5
    retry_seconds: float = 120.0

    def get(self, key: str) -> bytes:
        """The whole object."""
        return self._try(key, "read", lambda: bytes(obstore.get(self.client, key).bytes()))

    def part(self, key: str, start: int, length: int) -> bytes:
        """Bytes of an object from `start`; fewer than `length` where it ends before."""

        def read() -> bytes:
            if self.root is not None and _plain_key(key):  # a client's request costs many times what a disk's read does
                with Path(self.root, key).open("rb") as file:
                    if start >= os.fstat(file.fileno()).st_size:  # a place beyond what disks can hold may not be sought
                        return b""
                    file.seek(start)
                    return file.read(length)
            try:
                return bytes(obstore.get_range(self.client, key, start=start, length=length))
            except obstore.exceptions.BaseError:
                if obstore.head(self.client, key)["size"] <= start:  # not a fault: there is nothing
                    return b""
                raise

        return self._try(key, "read", read)

    def begin(self, key: str, length: int) -> tuple[int, bytes]:
        """An object's size and its first bytes, in one request."""

        def read() -> tuple[int, bytes]:
            answer = obstore.get(self.client, key, options={"range": (0, length)})
            return answer.meta["size"], bytes(answer.bytes())

        return self._try(key, "read", read)

    def head(self, key: str) -> Found:
        """Size, time and tag of an object."""
        return self._try(key, "read", lambda: _found(obstore.head(self.client, key)))

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except MissingInput:
            return False
        return True

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write an object; readers see nothing or all of it. Overwriting with the same bytes is harmless."""
        if self.root is None:
            self._try(key, "written", lambda: obstore.put(self.client, key, data))
        else:
            self._try(key, "written", lambda: _put_file(self.root, key, iter([data])))

    def put_file(self, key: str, path: Path, told: Callable[[int], object] = lambda _: None) -> None:
        """Copy a local file into the store, with bounded memory; it appears whole or not at all.

        told: of the bytes that went on their way; of less than none where a fault made them be sent again.
        """
        sent = 0

        def tell(size: int) -> None:
            nonlocal sent
            sent += size
            told(size)

        def copy() -> None:
            tell(-sent)
            with _ToldFile(path.open("rb", buffering=0), tell) as source:
                if self.root is None:
                    obstore.put(self.client, key, source, use_multipart=path.stat().st_size > CHUNK, chunk_size=CHUNK)
                else:
                    _put_file(self.root, key, iter(lambda: source.read(CHUNK), b""))

        self._try(key, "written", copy)

    def put_chunks(self, key: str, chunks: Callable[[], Iterator[bytes]]) -> None:
        """Write an object in parts; it appears whole, or not at all where `chunks`, called for each try, raises."""
        raised: list[BaseException] = []

        def told() -> Iterator[bytes]:
            try:
                yield from read_ahead(chunks())  # the client asks from where no request may be begun
            except Exception as error:  # it would give it another name
                raised.append(error)
                raise

        def write() -> None:
            try:
                if self.root is not None:
                    return _put_file(self.root, key, told())
                obstore.put(self.client, key, told(), use_multipart=True, chunk_size=CHUNK, max_concurrency=2)
            except Exception as error:
                raise raised.pop() if raised else error from None

        self._try(key, "written", write)

    def below(self, prefix: str) -> tuple[list[str], list[Found]]:
        """Names of the folders directly below a prefix, and the objects there, both sorted; nothing deeper."""

        def read() -> tuple[list[str], list[Found]]:
            if (plain := self._plain(prefix)) is not None:
                return plain.below(prefix, self._head)
            found = obstore.list_with_delimiter(self.client, prefix.rstrip("/") or None)
            folders = sorted(folder.rstrip("/").rsplit("/", 1)[-1] for folder in found["common_prefixes"])
            return folders, sorted((_found(item) for item in found["objects"]), key=lambda item: item.key)

        return self._try(prefix or self.url, "listed", read)

    def list(self, prefix: str = "") -> list[Found]:
        """All objects below a folder-like prefix, sorted by key. A failed listing is an error, not an empty one."""

        def whole(folder: str) -> list[Found]:
            pages = obstore.list(self.client, folder.rstrip("/") or None)
            return [_found(item) for page in pages for item in page]

        def read() -> list[Found]:
            plain = self._plain(prefix)
            return whole(prefix) if plain is None else plain.all_below(prefix, self._head, whole)

        found = self._try(prefix or self.url, "listed", read)
        return sorted((item for item in found if not item.key.startswith(INCOMING)), key=lambda item: item.key)

    def move(self, key: str, to: str) -> None:
        """Give an object another key, in place of what has that key. Raises MissingInput when it is gone already."""
        self._try(key, "moved", lambda: obstore.rename(self.client, key, to))

    def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 1000):
            batch = [*keys[start : start + 1000]]
            self._try(batch[0], "removed", lambda batch=batch: obstore.delete(self.client, batch))  # type: ignore[misc]

    def digest(self, key: str) -> str:
        """SHA-256 of an object's content, streamed."""

        def read() -> str:
            total = hashlib.sha256()
            for chunk in obstore.get(self.client, key).stream(min_chunk_size=CHUNK):
                total.update(bytes(chunk))
            return total.hexdigest()

        return self._try(key, "read", read)

    def local_path(self, key: str) -> Path | None:
        """The object as a file on this machine, where it is one."""
        return None if self.root is None else self.root / key

    def uri(self, key: str) -> str:
        """The object's address for a person or another program."""
        return f"{self.url.rstrip('/')}/{key}"

    def odd_files(self, room: str) -> Sequence[str]:
        """Keys of what others put into a room of a folder and is no file: links, which nobody follows, and devices."""
        found = self._plain(room)
        return found.odd if found else []

    def _plain(self, prefix: str) -> PlainFiles | None:
        """What of a folder store is files and folders, where something in it is neither; None where all of it is."""
        room = prefix.strip("/").split("/")[0]
        if self.root is None or (room and room not in FOREIGN):
            return None
        found = PlainFiles(self.root, [room] if room else list(FOREIGN))
        return found if found.odd else None

    def _head(self, key: str) -> Found | None:
        try:
            return _found(obstore.head(self.client, key))
        except (FileNotFoundError, NotFoundError):  # taken away since
            return None

    def _try(self, thing: str, verb: str, operation: Callable[[], T]) -> T:
        """Run one request; wait and repeat while it fails in a way that may pass."""
        if self.root is not None and verb != "listed" and behind_link(self.root, thing):
            remedy = "Put the file itself there, or refer to it with `groundplan add-imagery --reference`"
            kind = MissingInput if verb == "read" else StoreFailed
            raise kind(self.uri(thing), "it is or lies behind a symbolic link, and none is followed there", remedy)
        started = time.monotonic()
        for attempt in range(self.retries + 1):
            try:
                return operation()
            except (FileNotFoundError, NotFoundError) as error:
                raise MissingInput(self.uri(thing), "there is no such object", "Make or deliver it first") from error
            except (obstore.exceptions.BaseError, OSError, ValueError) as error:
                if _refused(error):
                    raise StoreFailed(
                        self.uri(thing), f"it may not be {verb} ({_first_line(error)})", "Check the store's credentials"
                    ) from error
                if self.root is not None and (number := _errno(error)) in IMPOSSIBLE:
                    raise self._impossible(thing, verb, os.strerror(number or 0)) from error
                if "Error parsing Path" in str(error):  # of a file that somebody put there; waiting does not help
                    if "object with invalid path" not in str(error):
                        raise self._impossible(thing, verb, "no object can have that name") from error
                    told = repr(_first_line(error).removeprefix("Encountered object with invalid path: "))
                    raise StoreFailed(
                        self.uri(thing), f"a name below it cannot be one in a store ({told})", "Rename that file"
                    ) from error
                if "null byte" in str(error):
                    raise self._impossible(thing, verb, "no object can have that name") from error
                if isinstance(error, ValueError):
                    raise
                spent = time.monotonic() - started
                if attempt == self.retries or spent > self.retry_seconds:
                    raise StoreFailed(
                        self.uri(thing),
                        f"it could not be {verb} in {attempt + 1} tries over {spent:.0f} s ({_first_line(error)})",
                        "Nothing that was finished is lost; run again when the store answers",
                    ) from error
                # full jitter: many workers that failed together must not come back together
                time.sleep(random.uniform(0.05, min(10.0, 0.2 * 2**attempt)))
        raise AssertionError("unreachable")

    def _impossible(self, thing: str, verb: str, told: str) -> MissingInput | StoreFailed:
        """Of a name that nothing in the store can have: what is read is not there, what is written cannot be."""
        if verb in ("read", "listed") and told != os.strerror(errno.ELOOP):
            return MissingInput(self.uri(thing), f"there is no such object ({told})", "Make or deliver it first")
        return StoreFailed(self.uri(thing), f"it cannot be {verb} ({told})", "Give it another name, or free this one")


def open_store(
    url: str, home: Path | None = None, *, retries: int = 5, retry_seconds: float = 120.0, make: bool = True
) -> Store:
    """The store at `url`; an empty URL is the folder `store` in the project's home. make: create a folder's root.

    Credentials and endpoints of cloud stores come from the environment under each cloud's own names
    (AWS_ENDPOINT_URL, AZURE_STORAGE_ACCOUNT_NAME, GOOGLE_APPLICATION_CREDENTIALS ...). Raises BadConfig, also for a URL
    that holds any.
    """
    from obstore.store import LocalStore, MemoryStore, from_url

    if secret := secret_in(url):
        raise BadConfig("store", f"its address cannot be used: {secret}", REMEDY)
    parts = urlsplit(url)
    if not url or parts.scheme == "file":
        root = (Path(unquote(parts.path)) if url else Path(home or ".") / "store").absolute()
        try:
            if make:
                (root / INCOMING).mkdir(parents=True, exist_ok=True)
                _sweep(root / INCOMING)
        except OSError as error:
            raise BadConfig(f"store {root}", f"the folder cannot be used ({error.strerror})", "Give another") from error
        return Store(
            url=root.as_uri(), client=LocalStore(root), root=root, retries=retries, retry_seconds=retry_seconds
        )
    if parts.scheme not in SCHEMES:
        kinds = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise BadConfig("store", "its kind is not known", f"Begin its address with one of {kinds}")
    if parts.scheme == "memory":
        return Store(url=url, client=MemoryStore(), root=None, retries=retries, retry_seconds=retry_seconds)
    options: dict[str, Any] = {
        # the loop in Store._try repeats; the client's own retries would multiply with it
        "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=retry_seconds)},
        "client_options": {"timeout": "60s", "connect_timeout": "10s"},
    }
    if plain_http(parts.scheme):
        options["client_options"]["allow_http"] = True
    try:
        return Store(url=url, client=from_url(url, **options), root=None, retries=retries, retry_seconds=retry_seconds)
    except (obstore.exceptions.BaseError, ValueError) as error:
        reason = f"its address cannot be used ({_first_line(error).replace(url, 'it')})"
        raise BadConfig("store", reason, "Check the URL and the cloud's environment") from error


class _ToldFile(io.BufferedReader):
    """A file that says how much of it was read."""

    def __init__(self, raw: io.FileIO, tell: Callable[[int], None]) -> None:
        super().__init__(raw, CHUNK)
        self._tell = tell

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._tell(len(data))
        return data


def _plain_key(key: str) -> bool:
    """Whether a key is a path below the root as it stands: the client refuses any other."""
    return "\0" not in key and not {"", ".", ".."} & set(key.split("/"))


def _found(meta: Any) -> Found:
    tag = (meta["e_tag"] or "").strip('"') or f"{meta['size']}-{meta['last_modified'].timestamp()}"
    return Found(meta["path"], meta["size"], meta["last_modified"], tag)


def _put_file(root: Path | None, key: str, chunks: Iterator[bytes | memoryview]) -> None:
    """Temporary file, fsync, rename, fsync of the folder: after a crash the name holds nothing or everything."""
    assert root is not None
    target = root / key
    (root / INCOMING).mkdir(exist_ok=True)
    temporary = root / INCOMING / uuid.uuid4().hex
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sweep(folder: Path) -> None:
    """Remove what killed runs left half-written, once nobody can be writing it any more."""
    for left in folder.iterdir():
        with suppress(OSError):  # two runs may sweep at once, or this one may only read
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def _refused(error: BaseException) -> bool:
    """Whether asking again is of no use. Of a listing that S3 denies, the client says so only in words."""
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError)):
        return True
    return any(f"status code: {code}" in str(error) for code in (401, 403))


def _errno(error: BaseException) -> int | None:
    """The operating system's number of an error, which the client gives only in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = OS_ERROR.search(str(error))
    return int(told[1] or told[2]) if told else None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
