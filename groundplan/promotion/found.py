"""Models that were made, entered into the registry: the year's networks and the collections' classifiers.

Here: an entry for each committed model that has none, and the alias `candidate` for the newest of them. Not here: the
alias `production`, which a person or a gate gives (gate.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from groundplan.collections.classification import classifier, linear
from groundplan.core.manifest import Made, Manifest, committed
from groundplan.core.store import Store
from groundplan.errors import GroundplanError, MissingInput
from groundplan.project import Project
from groundplan.registry.aliases import CANDIDATE, set_alias
from groundplan.registry.entries import CLASSIFIER, FOOTPRINTS, NAME, ModelEntry, entries, item_key, register
from groundplan.training import models

NETWORK = "footprints"
"""The name of the project's own network, whichever year it was trained for."""
RESERVED = {NETWORK}


def discover(project: Project) -> list[ModelEntry]:
    """Enter every committed model that is not in the registry yet; returns those that were new, the oldest first.

    Two who do so at once write the same. Raises StoreFailed; a manifest that cannot be read is passed over.
    """
    fresh: dict[str, list[ModelEntry]] = {}
    for name, kind, made, when, source in _made(project):
        version = f"{source}-{made.sha256[:8]}" if kind == FOOTPRINTS else made.sha256[:12]
        if project.store.exists(item_key(name, version)):
            continue
        with suppress(MissingInput):  # taken away since, or not what was made
            card = _card(project, kind, made)
            fresh.setdefault(name, []).append(
                ModelEntry(
                    name=name,
                    version=version,
                    kind=kind,
                    key=made.key,
                    sha256=made.sha256,
                    bytes=made.bytes,
                    made=when,
                    source=source,
                    card=card,
                )
            )
    return [entry for name in sorted(fresh) for entry in _entered(project.store, name, fresh[name])]


def _entered(store: Store, name: str, new: list[ModelEntry]) -> list[ModelEntry]:
    """New versions of one model, registered, the newest of all of them as candidate."""
    new = sorted(new, key=lambda entry: (entry.made, entry.version))
    before = [entry.version for entry in entries(store, name)]
    for entry in new:
        register(store, entry, before[-1] if before else "")
        before.append(entry.version)
    newest = entries(store, name)[-1]
    if newest.version in {entry.version for entry in new}:
        set_alias(store, name, CANDIDATE, newest.version, who="groundplan", why="the newest that was made")
    return new


def _made(project: Project) -> Iterator[tuple[str, str, Made[Any], str, str]]:
    """Name, kind, object, time and source of each committed model."""
    for dataset, kind, part in ((models.DATASET, FOOTPRINTS, "model"), (classifier.DATASET, CLASSIFIER, "classifier")):
        for one in committed(project.store, dataset):
            name = NETWORK if kind == FOOTPRINTS else one.path
            if kind == CLASSIFIER and (not NAME.fullmatch(name) or name in RESERVED):
                continue  # no name that an address may have
            try:
                manifest: Manifest[Any, Any] = Manifest.from_json(project.store.get(one.found.key))
            except GroundplanError:
                continue
            made = manifest.objects.get(part)
            if made is not None and made.sha256:
                when = manifest.committed or one.found.modified.isoformat(timespec="seconds")
                yield name, kind, made, when, one.path


def _card(project: Project, kind: str, made: Made[Any]) -> dict[str, Any]:
    """What the registry says of a model's card: short, for a program that chooses."""
    from groundplan.core.manifest import load_object

    if kind == FOOTPRINTS:
        return network_card(load_object(project.store, made, models.unpack).card)
    card = load_object(project.store, made, linear.unpack).card
    features = dict(card.get("features", {}))
    return {
        "labels": list(card["labels"]),
        "size": features.get("size"),
        "encoder": features.get("encoder") or features.get("features"),
        "test": _figures(card.get("test"), "accuracy", "calibration_error", "images"),
        "use": card.get("use"),
    }


def network_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a network's card."""
    return {
        "bands": list(card["bands"]),
        "resolution": card["resolution"],
        "encoder": dict(card.get("settings") or {}).get("encoder"),
        "thresholds": dict(card["thresholds"]),
        "validation": _figures(card.get("validation"), "iou", "object_f1", "buildings"),
        "test": _figures(card.get("test"), "iou", "object_f1", "buildings"),
        "source": card.get("source"),
        "use": card.get("use"),
        **({"contract": dict(card["contract"])} if card.get("contract") else {}),
    }


def _figures(found: Mapping[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return {name: found.get(name) for name in names} if found else None
