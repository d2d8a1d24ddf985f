"""Source audit: whether what people gave, and the project keeps as its own objects, is what was taken in.

Here: registers by the sizes and SHA-256 of their records, the regions by their pages' sums. Not here: delivered
imagery, which is hashed when it is planned, and what was made (store_audit.py). Nothing can make these again, so
nothing is marked: the remedy is to add them again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from groundplan.core.manifest import content_of, content_reason
from groundplan.errors import Damaged, MissingInput, NewerFormat
from groundplan.imagery import regions
from groundplan.labels.registers import Register, read_register, write_register
from groundplan.operations.agreement import Agreement, Finding, Turn, agreement_of
from groundplan.project import Project


def check_sources(project: Project, turn: Turn | None, adopt: bool) -> Agreement:
    """Compare registers and regions with what was taken in. turn, adopt: as of store_audit.check.

    Raises StoreFailed.
    """
    found = _regions(project)
    for item in project.store.list("registers"):
        if item.key.count("/") == 2 and item.key.endswith(".json"):
            found += _register(project, item.key, turn, adopt)
    return found


def _regions(project: Project) -> Agreement:
    try:
        regions.region_polygons(project)
    except Damaged as error:
        return agreement_of([Finding(regions.KEY, regions.KEY, error.reason, error.remedy)], manifests=0)
    return Agreement()


def _register(project: Project, key: str, turn: Turn | None, adopt: bool) -> Agreement:
    try:
        register = read_register(project, key)
    except (Damaged, NewerFormat) as error:
        return agreement_of([Finding(key, key, error.reason, error.remedy)], manifests=1)
    except MissingInput:  # taken away since the listing
        return Agreement()
    looked = Agreement(manifests=1)
    for part in register.parts:
        looked += _part(project, key, register, part, turn)
    looked = replace(looked, unknown=len(set(register.parts) - set(register.content)))
    return looked + _adopt(project, key, register) if adopt and looked.unknown and not looked.wrong else looked


def _part(project: Project, key: str, register: Register, part: str, turn: Turn | None) -> Agreement:
    """One look at an object: its size, and its content where it is its turn."""
    known = register.content.get(part)
    looked = Agreement(objects=1)
    try:
        size = project.store.head(part).size
        reason = content_reason(known, size, known.sha256) if known else ""
        if known and not reason and turn is not None and turn(part):
            looked = replace(looked, read=1, read_bytes=size)
            reason = content_reason(known, size, project.store.digest(part))
    except MissingInput:
        reason = "the record names it and the store does not hold it"
    return looked + agreement_of([Finding(key, part, reason, register.remedy)] if reason else [], manifests=0)


def _adopt(project: Project, key: str, register: Register) -> Agreement:
    """Write down sizes and SHA-256 that an older version did not, where the parts are what it took in.

    Its records hold the beginning of a SHA-256 over both parts, so these are not taken unseen.
    """
    data = {part: project.store.get(part) for part in register.parts}
    read = Agreement(read=len(data), read_bytes=sum(map(len, data.values())))
    if hashlib.sha256(b"".join(data.values())).hexdigest()[: len(register.digest)] != register.digest:
        reason = "its content, or that of the other part, is not what was taken in"
        return read + agreement_of([Finding(key, part, reason, register.remedy) for part in data], manifests=0)
    write_register(project, key, replace(register, content={part: content_of(one) for part, one in data.items()}))
    return replace(read, unknown=-len(set(register.parts) - set(register.content)))
