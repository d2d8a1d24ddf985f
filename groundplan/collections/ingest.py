"""Ingest of class folders into the store, with metadata stripped and, where asked for, faces blurred.

Here: the copy: bounds, privacy, what is refused, what is there already. Not here: what an image must be like to be used
(catalog.py), or taking away what was brought in (forget.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from groundplan.collections.files import (
    MARKER,
    RefusedFile,
    check_collection_name,
    delivered,
    images_prefix,
    links,
    read_memory,
    read_refused,
    write_memory,
    write_refused,
)
from groundplan.collections.images.decode import BadImage
from groundplan.collections.images.faces import Blur
from groundplan.collections.images.metadata import strip
from groundplan.core.bulk import BATCH_BYTES, BATCH_ROUNDS, send
from groundplan.core.partition import ClassPartition
from groundplan.core.progress import current_progress
from groundplan.errors import BadConfig
from groundplan.project import Project

MOST_NAME = 200  # bytes of a file's or folder's name: file systems allow 255, and stores add to it
RENAME = f"Rename it: printable, at most {MOST_NAME} bytes"


@dataclass(kw_only=True)
class Ingested:
    """Result of one `ingest`. refused: by class folder. ignored: what lies beside the class folders."""

    collection: str
    classes: list[str] = field(default_factory=list)
    copied: int = 0
    present: int = 0
    bytes: int = 0
    stripped: int = 0
    blurred: int = 0
    refused: dict[str, list[RefusedFile]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    """Links to folders, which are not followed, and what of the collection's own folder in the store is no file."""


def ingest(project: Project, folder: Path, name: str) -> Ingested:
    """Copy a folder of class folders into collection `name`; what has the same content there already stays.

    Every file loses its metadata on the way (collections/images/metadata.py), and, where collections.blur_faces asks
    for it, faces lose their features. A file that is no image, is larger than max_bytes, or was to be forgotten, is not
    copied and becomes a row of its class's catalogue. At most 64 MiB of images (or one) are in memory.

    Raises BadConfig (a bad name, a store outside collections.region, no class folder), StoreFailed.
    """
    from groundplan.collections.files import forgotten_digests
    from groundplan.collections.images.faces import face_blurring
    from groundplan.collections.residency import check_residency

    check_collection_name(name)
    check_residency(project)
    if not folder.is_dir():
        raise BadConfig(str(folder), "there is no such folder", "Give a folder with one folder per class")
    blur = face_blurring(project)
    labels = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and _storable(path.name)]
    ignored = [
        ascii(path.name)[1:-1] if not path.name.isprintable() else path.name
        for path in sorted(folder.iterdir())
        if path.name not in labels
    ]
    if not labels:
        raise BadConfig(str(folder), "it holds no class folder", "Give a folder with one folder per class")
    done = Ingested(collection=name, classes=labels, ignored=ignored)
    forgotten = forgotten_digests(project)
    for label in labels:
        with current_progress().task(f"{name} {label}", 0, 0) as step:
            before = done.bytes
            _ingest_class(project, folder / label, ClassPartition(name, label), done, forgotten, blur)
            step(done.bytes - before)
    done.linked += links(project, name)
    return done


def _storable(name: str) -> bool:
    return name.isprintable() and not name.startswith(".") and len(name.encode(errors="replace")) <= MOST_NAME


def _ingest_class(
    project: Project, folder: Path, partition: ClassPartition, done: Ingested, forgotten: set[str], blur: Blur | None
) -> None:
    found = {item.key: item for item in delivered(project, partition)}
    memory = {
        key: line
        for key, line in read_memory(project, partition).items()
        if key in found and line[:2] == [found[key].size, found[key].tag]
    }
    before = {item.name: item for item in read_refused(project, partition)}
    refused: dict[str, RefusedFile] = {}
    stored: dict[str, str] = {}  # key to digest
    batch: list[tuple[str, bytes]] = []
    for file in _files(folder, done.linked):
        name = file.relative_to(folder).as_posix().encode(errors="replace").decode()  # a disk's name may be any bytes
        key = f"{images_prefix(partition)}/{name}"
        try:
            data = _clean(project, file, name, done, blur)
            digest = hashlib.sha256(data).hexdigest()
            if digest in forgotten or (forgotten and _was_stored_as(file) in forgotten):
                raise BadImage(name, "it was to be forgotten", "Take it out of the folder", "forgotten")
        except BadImage as error:
            size = file.stat().st_size if file.exists() else 0
            refused[name] = RefusedFile(
                name=name, state=error.state, reason=error.reason, remedy=error.remedy, bytes=size
            )
            continue
        if memory.get(key, ["", "", ""])[2] == digest:
            done.present += 1
            continue
        stored[key] = digest
        batch.append((key, data))
        if len(batch) >= BATCH_ROUNDS * project.settings.collections.concurrency or _size(batch) >= BATCH_BYTES:
            _send(project, batch, done)
    _send(project, batch, done)
    if not found and not stored:
        project.store.put(f"{images_prefix(partition)}/{MARKER}", b"")
    if stored:
        now = {item.key: item for item in delivered(project, partition)}
        memory |= {key: [now[key].size, now[key].tag, digest] for key, digest in stored.items() if key in now}
        write_memory(project, partition, memory)
    gone = {key.removeprefix(f"{images_prefix(partition)}/") for key in (*memory, *stored)}
    kept = {name: item for name, item in before.items() if name not in gone} | refused
    if kept != before:
        write_refused(project, partition, [kept[name] for name in sorted(kept)])
    if refused:
        done.refused[partition.label] = [refused[name] for name in sorted(refused)]


def _clean(project: Project, file: Path, name: str, done: Ingested, blur: Blur | None) -> bytes:
    """A file's bytes as they may be stored. Raises BadImage."""
    settings = project.settings.collections
    if not all(_storable(part) for part in file.parts[-len(name.split("/")) :]):
        raise BadImage(repr(name), "no store can hold a file of that name", RENAME, "bad name")
    try:
        size = file.stat().st_size
        if size > settings.max_bytes:
            reason = f"its {size} bytes are more than collections.max_bytes, {settings.max_bytes}"
            raise BadImage(name, reason, "Reduce it, or raise that bound", "too large")
        if not file.is_file():
            raise BadImage(name, "it is no file", "Leave it out", "no image")
        given = file.read_bytes()
    except OSError as error:
        raise BadImage(name, f"it cannot be read ({error.strerror})", "Check its permissions") from error
    data = strip(given)
    done.stripped += data != given
    if blur is not None and (blurred := blur(data)) is not None:
        done.blurred += 1
        return blurred
    return data


def _was_stored_as(file: Path) -> str:
    """Digest of a file as earlier versions stored it, with its colour profile's texts: it may be forgotten as that."""
    return hashlib.sha256(strip(file.read_bytes(), profiles=None)).hexdigest()


def _size(batch: list[tuple[str, bytes]]) -> int:
    return sum(len(data) for _, data in batch)


def _send(project: Project, batch: list[tuple[str, bytes]], done: Ingested) -> None:
    send(project.store, batch, project.settings.collections.concurrency)
    done.copied += len(batch)
    done.bytes += _size(batch)
    batch.clear()


def _files(folder: Path, linked: list[str]) -> Iterator[Path]:
    """All files below a folder but hidden ones, in a fixed order; links to folders are not followed, but named."""
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        linked += [str(Path(path, name)) for name in folders if Path(path, name).is_symlink()]
        yield from (Path(path) / name for name in sorted(names) if not name.startswith("."))
