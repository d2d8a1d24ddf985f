"""Store audit: what manifests promise and the store holds, and what no manifest names.

Here: comparing and finding garbage. Not here: making anything again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from groundplan.core.manifest import Manifest, committed
from groundplan.core.store import Found
from groundplan.errors import MissingInput
from groundplan.pipeline import STEPS
from groundplan.project import Project

MOST = 200  # findings that are named; more are counted


@dataclass(frozen=True, slots=True)
class Finding:
    """An object that is not as its manifest says, and what mends it."""

    manifest: str
    key: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Agreement:
    """What was looked at, and what does not agree; `findings` holds at most MOST of `wrong`."""

    manifests: int
    objects: int
    wrong: int
    findings: tuple[Finding, ...]


def check(project: Project) -> Agreement:
    """Compare all manifests with the store. Raises StoreFailed.

    One listing of the manifests and one of each dataset and year, so that memory holds one year of one dataset. An
    object that was replaced while this runs is looked at again before it is called wrong.
    """
    manifests = objects = wrong = 0
    findings: list[Finding] = []
    for dataset, year, keys in _years(project):
        sizes = {found.key: found.size for found in project.store.list(f"{dataset}/{year}")}
        for key in keys:
            manifest = _read(project, key)
            if isinstance(manifest, Finding):
                found = [manifest]
            elif manifest is None:
                continue
            else:
                objects += len(manifest.objects)
                found = list(_disagreements(project, key, manifest, sizes))
            manifests += 1
            wrong += len(found)
            findings += found[: MOST - len(findings)]
    return Agreement(manifests, objects, wrong, tuple(findings))


def _years(project: Project) -> Iterator[tuple[str, str, list[str]]]:
    """Each dataset and year with its manifests' keys."""
    years: dict[tuple[str, str], list[str]] = {}
    for one in committed(project.store):
        if one.dataset in STEPS:
            years.setdefault((one.dataset, one.path.partition("/")[0]), []).append(one.found.key)
    for (dataset, year), keys in years.items():
        yield dataset, year, keys


def _read(project: Project, key: str) -> Manifest | Finding | None:
    try:
        return Manifest.from_json(project.store.get(key))
    except MissingInput:  # taken away since the listing
        return None
    except (ValueError, KeyError, TypeError) as error:
        reason = f"it cannot be read ({type(error).__name__})"
        return Finding(key, key, reason, "Remove it and materialize the partition: its objects are found again")


def _disagreements(project: Project, key: str, manifest: Manifest, sizes: dict[str, int]) -> Iterator[Finding]:
    again = f"Materialize {manifest.dataset} of {manifest.partition}"
    for made in manifest.objects.values():
        if sizes.get(made.key) == made.bytes:
            continue
        try:  # a remade partition's objects are newer than the listing
            size = project.store.head(made.key).size
        except MissingInput:
            yield Finding(key, made.key, "the manifest names it and the store does not hold it", again)
            continue
        if size != made.bytes:
            reason = f"it has {size} bytes and the manifest says {made.bytes}"
            yield Finding(key, made.key, reason, f"Remove this object. {again}")


def garbage(project: Project, hours: float) -> list[Found]:
    """Objects of datasets that no manifest names, journals and checkpoints of what is committed; sorted by key."""
    from groundplan.collections import pipeline as collections

    objects = project.store.list()
    named: set[str] = set()
    for one in committed(project.store):
        manifest = Manifest.from_json(project.store.get(one.found.key))
        named |= {made.key for made in manifest.objects.values()}
    young = datetime.now(UTC) - timedelta(hours=hours)
    rooms = {*STEPS, *collections.STEPS, "checkpoints", "journal"}
    return [
        item
        for item in objects
        if item.key.split("/", 1)[0] in rooms and item.key not in named and item.modified <= young
    ]
