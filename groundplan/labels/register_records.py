"""Records of registers: what a project knows of each that was taken in, `registers/YEAR/NAME.json`.

Here: the record, writing and reading it. Not here: taking a register in, and what is made of it (registers.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from groundplan.core.manifest import Content, content_of
from groundplan.core.records import read_record
from groundplan.errors import Damaged, MissingInput
from groundplan.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """A register taken into the project: two objects, in the CRS in which they came."""

    name: str
    buildings: str
    extent: str
    digest: str
    dated: bool = False  # its buildings have columns that say when they stood
    corrects: bool = False  # within its extent it alone counts: people looked there (groundplan/reviews)
    empty: bool = False  # it holds no buildings: within its extent there are none (empty_ground.py)
    date: str = ""  # ISO day at which it held; '' where nobody said
    by: tuple[str, ...] = ()  # people whose word it is
    content: Mapping[str, Content] = field(default_factory=dict)
    """Of both objects, by key; of a register that an older version took in, nothing."""

    @property
    def parts(self) -> tuple[str, str]:
        return self.buildings, self.extent

    @property
    def remedy(self) -> str:
        """For a part that is gone or damaged: nothing here can make it again."""
        return _add_again(self.buildings.split("/")[1])


def take_in(
    project: Project, file: Path, year: int, parts: Mapping[str, bytes], **more: Any
) -> tuple[Register, list[str]]:
    """Put a register's parts and its record into the project, in place of one of the same name; it and notes.

    parts: `buildings` and `extent` as GeoParquet. more: fields of the register.
    """
    digest = hashlib.sha256(parts["buildings"] + parts["extent"]).hexdigest()[:16]
    prefix = f"registers/{year}/{file.stem}-{digest}"
    register = Register(
        name=file.name,
        buildings=f"{prefix}/buildings.parquet",
        extent=f"{prefix}/extent.parquet",
        digest=digest,
        content={f"{prefix}/{name}.parquet": content_of(data) for name, data in parts.items()},
        **more,
    )
    record = f"registers/{year}/{file.stem}.json"
    notes = _replaced(project, record, register)
    project.store.put(register.buildings, parts["buildings"])
    project.store.put(register.extent, parts["extent"])
    write_register(project, record, register)  # last, so that nobody sees a register whose parts are missing
    return register, notes


def _replaced(project: Project, record: str, new: Register) -> list[str]:
    """A note on the register that is there under the same name, with other content."""
    try:
        added = project.store.head(record).modified
        old = json.loads(project.store.get(record))
        name, digest = str(old["name"]), str(old["digest"])
    except MissingInput:
        return []
    except (ValueError, KeyError, TypeError):
        name, digest = "that cannot be read", ""
    if digest == new.digest:
        return []
    return [f"it replaces the register {name}, added {added:%Y-%m-%d %H:%M} UTC"]


def write_register(project: Project, key: str, register: Register) -> None:
    """Write a register's record: from then on it is there."""
    always = ("name", "buildings", "extent", "digest", "content")
    said = {name: value for name, value in asdict(register).items() if name in always or value}
    project.store.put(key, json.dumps(said).encode())


def registers_of(project: Project, year: int) -> list[Register]:
    """Registers that were added for a year, sorted by name. Raises Damaged: without one, labels would be wrong."""
    found = project.store.list(f"registers/{year}")
    return [read_register(project, item.key) for item in found if item.key.endswith(".json")]


def read_register(project: Project, key: str) -> Register:
    """The register of a record, `registers/YEAR/NAME.json`. Raises MissingInput, Damaged, NewerFormat."""
    remedy = _add_again(key.split("/")[1])
    raw = read_record(project.store, key, remedy)
    texts = {name: raw.get(name) for name in ("name", "buildings", "extent", "digest")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise Damaged(project.store.uri(key), "it cannot be read (it names no register)", remedy)
    told = raw.get("content")
    content = {part: Content.from_raw(one) for part, one in told.items()} if isinstance(told, dict) else {}
    known = {part: one for part, one in content.items() if one is not None}
    flags: Any = {name: raw.get(name) is True for name in ("dated", "corrects", "empty")}
    day, people = raw.get("date"), raw.get("by")
    more = {"date": day if isinstance(day, str) else "", "by": tuple(map(str, people)) if people else ()}
    return Register(**texts, **flags, **more, content=known)  # type: ignore[arg-type]


def _add_again(year: str) -> str:
    return f"Add that register again: `groundplan add-register FILE --year {year}`"
