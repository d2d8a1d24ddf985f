"""Back-up and restore: what people gave and what cannot be made again, both databases, and the settings.

    backup(project, Path("/backup/today"), dagster)     # a second one into the same folder copies what is new
    restore(Path("/backup/today"), home, dagster)       # into an empty home; everything is checked before it is written

Here: which objects are kept, copying them with their SHA-256, and databases by their own means (SQLite's backup,
pg_dump). Not here: moving a whole store to another cloud, or making again what is left out (`groundplan build`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundplan import config
from groundplan.collections.pipeline import STEPS as OF_COLLECTIONS
from groundplan.core.records import FORMAT, parse_record
from groundplan.core.store import Found, Store, open_store
from groundplan.database.connect import FILE, address
from groundplan.errors import BadConfig, Damaged, MissingInput
from groundplan.pipeline import STEPS
from groundplan.project import Project, open_project

LIST = "backup.json"
"""Says what a backup holds; written last, so that one that was stopped is none, or still the one before."""
PART = 32 * 2**20  # bytes in memory at a time
DATABASE, DAGSTER = "database", "dagster"
PASSING = frozenset({"checkpoints", "journal", "digests", "previews", "maps", "logs"})
"""Rooms of the store whose content saves time, or is drawn anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An object of a backup. tag: as the store had it, by which a later backup knows that it need not be copied."""

    bytes: int
    sha256: str
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a backup or a restore did. databases: names of the copies of databases."""

    objects: int
    bytes: int
    unchanged: int
    databases: tuple[str, ...]


def is_kept(key: str, whole: bool) -> bool:
    """Whether a backup holds an object: not what a build makes anew from the rest, unless it is to be `whole`."""
    if whole:
        return True
    room, _, rest = key.partition("/")
    dataset = rest.partition("/")[0] if room in ("manifests", "failures", "damaged") else room
    step = STEPS.get(dataset) or OF_COLLECTIONS.get(dataset)
    return room not in PASSING and (step is None or step.stays)


def backup(project: Project, folder: Path, dagster: str, whole: bool = False) -> Copied:
    """Copy into a folder what cannot be made again; with `whole` everything that the store holds.

    dagster: Dagster's storage, a folder of SQLite files or a postgresql:// URL. Raises BadConfig, StoreFailed. What is
    removed from the store meanwhile is left out; what comes meanwhile is in the next one.
    """
    target = open_store("", folder)
    before = _listed(folder) if (folder / LIST).is_file() else {}
    found = [one for one in project.store.list() if is_kept(one.key, whole)]
    kept: dict[str, Kept] = {}
    copied = size = 0
    for one in found:
        old = before.get(one.key)
        if old and (old.tag, old.bytes) == (one.tag, one.size) and target.exists(one.key):
            kept[one.key] = old
        elif (digest := _copy(project.store, one, target, folder)) is not None:
            kept[one.key] = Kept(bytes=one.size, sha256=digest, tag=one.tag)
            copied, size = copied + 1, size + one.size
    if (project.home / config.FILE).is_file():
        shutil.copy(project.home / config.FILE, folder / config.FILE)
    databases = tuple(sorted([*_save(address(project), folder / DATABASE), *_save(dagster, folder / DAGSTER)]))
    record = {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "whole": whole,
        "databases": databases,
        "store": {key: asdict(one) for key, one in kept.items()},
    }
    (folder / f"{LIST}.part").write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
    (folder / f"{LIST}.part").replace(folder / LIST)
    target.delete([each.key for each in target.list() if each.key not in kept])
    return Copied(objects=copied, bytes=size, unchanged=len(kept) - copied, databases=databases)


def restore(folder: Path, home: Path, dagster: str) -> Copied:
    """Bring a backup back. A home with a groundplan.toml keeps it, and with it another store or database.

    Only what is absent is written, manifests last. Raises, before anything is written, MissingInput where the folder
    holds no backup, Damaged where it is not what was copied, BadConfig where something else is there already.
    """
    listed = _listed(folder)
    source = open_store("", folder, make=False)
    for key, one in listed.items():
        if not source.exists(key) or source.digest(key) != one.sha256:
            raise Damaged(str(folder / "store" / key), "it is not what was copied", "Take another backup")
    if not (home / config.FILE).is_file():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / config.FILE, home / config.FILE)
    project = open_project(home)
    there = {one.key: one.size for one in project.store.list()}
    if other := [key for key, one in listed.items() if there.get(key, one.bytes) != one.bytes]:
        raise BadConfig(project.store.uri(other[0]), "something else is there", "Restore into an empty store")
    _check_empty(address(project), dagster)
    todo = sorted((key for key in listed if key not in there), key=lambda key: (key.startswith("manifests/"), key))
    for key in todo:
        project.store.put_file(key, folder / "store" / key)
    databases = [*_load(folder / DATABASE, address(project)), *_load(folder / DAGSTER, dagster)]
    size = sum(listed[key].bytes for key in todo)
    return Copied(objects=len(todo), bytes=size, unchanged=len(listed) - len(todo), databases=tuple(sorted(databases)))


def _listed(folder: Path) -> dict[str, Kept]:
    try:
        data = (folder / LIST).read_bytes()
    except OSError as error:
        raise MissingInput(
            str(folder), f"it holds no backup ({LIST})", "Name a folder of `groundplan backup`"
        ) from error
    record: dict[str, Any] = parse_record(data, str(folder / LIST), "Take another backup")
    return {key: Kept(**one) for key, one in record["store"].items()}


def _copy(store: Store, one: Found, target: Store, folder: Path) -> str | None:
    """The SHA-256 of an object that was copied, None where it is gone. Memory is bounded by PART."""
    total = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".copying-") as file:
        try:
            for start in range(0, max(1, one.size), PART):
                data = store.part(one.key, start, PART) if one.size else b""
                total.update(data)
                file.write(data)
        except MissingInput:
            return None
        file.flush()
        target.put_file(one.key, Path(file.name))
    return total.hexdigest()


# ------------------------------------------------------------------------------- databases


def _files(place: str) -> Iterator[tuple[Path, str]]:
    """SQLite files of an address or a folder, with the name that each has in a copy."""
    if place.startswith("sqlite:///"):
        yield Path(place.removeprefix("sqlite:///")), FILE
        return
    folder = Path(place)
    for path in sorted(folder.rglob("*.db")):
        yield path, path.relative_to(folder).as_posix()


def _save(place: str, target: Path) -> list[str]:
    """Consistent copies of the databases of an address, also while they are written. Returns their names."""
    target.mkdir(parents=True, exist_ok=True)
    if place.startswith("postgresql://"):
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={target / 'dump.part'}", f"--dbname={place}")
        (target / "dump.part").replace(target / "dump")
        return [f"{target.name}/dump"]
    saved = []
    for path, name in _files(place):
        if path.is_file():
            _copy_sqlite(path, target / name)
            saved.append(f"{target.name}/{name}")
    return saved


def _load(source: Path, place: str) -> list[str]:
    if (source / "dump").is_file() and place.startswith("postgresql://"):
        _run(
            "pg_restore",
            "--exit-on-error",
            "--single-transaction",
            "--no-owner",
            f"--dbname={place}",
            str(source / "dump"),
        )
        return [f"{source.name}/dump"]
    if place.startswith("postgresql://"):
        return []  # SQLite's files do not go into PostgreSQL: `groundplan database sync`, `groundplan sync --made`
    loaded = []
    for path in sorted(one for one in source.rglob("*") if one.is_file() and one.name != "dump"):
        name = path.relative_to(source).as_posix()
        place_of = Path(place.removeprefix("sqlite:///")) if place.startswith("sqlite:///") else Path(place) / name
        _copy_sqlite(path, place_of)
        loaded.append(f"{source.name}/{name}")
    return loaded


def _check_empty(*places: str) -> None:
    """Raises BadConfig where a SQLite file is there; pg_restore itself changes nothing where tables are."""
    for place in places:
        if not place.startswith("postgresql://") and (there := [path for path, _ in _files(place) if path.is_file()]):
            raise BadConfig(str(there[0]), "a database is there already", "Move it away, or restore into another home")


def _copy_sqlite(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as old, closing(sqlite3.connect(part)) as new:
        old.backup(new)
    part.replace(target)


def _run(program: str, *words: str) -> None:
    """Addresses hold no password (groundplan/addresses.py): it is in the environment, as PostgreSQL has it."""
    if shutil.which(program) is None:
        raise BadConfig(program, "it is not installed", "Install PostgreSQL's client programs")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadConfig(program, (done.stderr.strip().splitlines() or ["it failed"])[0], "See PostgreSQL's log")
