"""Entries: one version of a model as a STAC item with the extension for machine learning (MLM), beside its file.

Here: `models/NAME/VERSION.json`, written once, and reading it. Not here: which version is used (aliases.py).

An item says what a program must know to use the file without Groundplan: bands, shapes, types, what the numbers mean,
where the file lies, its size and SHA-256. `pystac` writes it, so that any STAC reader reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from groundplan.core.manifest import sha256_of
from groundplan.core.records import parse_record
from groundplan.core.store import Store
from groundplan.errors import BadConfig, Damaged, MissingInput, unknown
from groundplan.registry.aliases import ROOT, read_aliases

if TYPE_CHECKING:
    import pystac

MLM = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
VERSION = "https://stac-extensions.github.io/version/v1.2.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
FOOTPRINTS, CLASSIFIER = "footprints", "classifier"
REMEDY = "Register it again: `groundplan model list` does, for models that lie in the store"


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """What is known of a version of a model."""

    name: str
    version: str
    kind: str
    """"footprints" or "classifier"."""
    key: str
    """Of its file."""
    sha256: str
    bytes: int
    made: str
    """When it was committed, ISO 8601 in UTC."""
    source: str = ""
    """The year or collection that it was made for."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Of its card: bands, resolution, figures, labels."""


def check_name(name: str) -> str:
    """The name, where it may be one of a model. Raises BadConfig."""
    if not NAME.fullmatch(name):
        raise BadConfig(f"model '{name[:80]}'", "it is no model's name", "Use a-z, 0-9, - and _, at most 64 of them")
    return name


def item_key(name: str, version: str) -> str:
    return f"{ROOT}/{name}/{version}.json"


def register(store: Store, entry: ModelEntry, before: str = "") -> bool:
    """Write a version's item, unless it is there. before: the version that it follows. True where it was written.

    The same entry gives the same bytes, so two who register it are one.
    """
    check_name(entry.name)
    key = item_key(entry.name, entry.version)
    if store.exists(key):
        return False
    item = as_item(entry, before).to_dict(include_self_link=False, transform_hrefs=False)
    store.put(key, json.dumps(item, ensure_ascii=False, indent=1).encode())
    return True


def names(store: Store) -> list[str]:
    """Names of all models that are registered, sorted. One listing."""
    return [name for name in store.below(ROOT)[0] if NAME.fullmatch(name)]


def entries(store: Store, name: str) -> list[ModelEntry]:
    """All versions of a model, the oldest first. Raises Damaged, StoreFailed."""
    items = [item for item in store.below(f"{ROOT}/{name}")[1] if item.key.endswith(".json")]
    found = [(_read(store, item.key), item.modified) for item in items if not item.key.endswith("/aliases.json")]
    # of those made in one second the one that was entered later
    return [entry for entry, _ in sorted(found, key=lambda one: (one[0].made, one[1], one[0].version))]


def entry_of(store: Store, name: str, word: str) -> ModelEntry:
    """The version that a word means: a version, or an alias. Raises BadConfig with those that there are."""
    check_name(name)
    aliases = read_aliases(store, name).versions
    version = aliases.get(word, word)
    if VERSION_NAME.fullmatch(version) and version != "aliases":
        try:
            return _read(store, item_key(name, version))
        except MissingInput:
            pass
    known = [entry.version for entry in entries(store, name)]
    raise unknown(f"version or alias of model {name}", word, [*aliases, *known])


def model_bytes(store: Store, entry: ModelEntry) -> bytes:
    """The model's file, as it was registered. Raises MissingInput, Damaged where it is another by now."""
    data = store.get(entry.key)
    if len(data) != entry.bytes or sha256_of(data) != entry.sha256:
        reason = "it is not the file that was registered"
        raise Damaged(store.uri(entry.key), reason, f"Put it back, or promote another version of {entry.name}")
    return data


def _read(store: Store, key: str) -> ModelEntry:
    raw = parse_record(store.get(key), store.uri(key), REMEDY)
    try:
        told, asset = raw["properties"], raw["assets"]["model"]
        return ModelEntry(
            name=str(told["mlm:name"]),
            version=str(told["version"]),
            kind=str(told["groundplan:kind"]),
            key=str(told["groundplan:key"]),
            sha256=str(asset["file:checksum"]).removeprefix("1220"),
            bytes=int(asset["file:size"]),
            made=str(told["datetime"]).replace("Z", "+00:00"),
            source=str(told.get("groundplan:source", "")),
            card=dict(told.get("groundplan:card", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(store.uri(key), f"it is no item of a model ({type(error).__name__})", REMEDY) from error


# --- as STAC ----------------------------------------------------------------------------------------------------------


def as_item(entry: ModelEntry, before: str = "") -> pystac.Item:
    """The version as STAC has it; addresses are relative to the item."""
    import pystac

    when = datetime.fromisoformat(entry.made).astimezone(UTC)
    item = pystac.Item(
        id=f"{entry.name}-{entry.version}",
        geometry=None,
        bbox=None,
        datetime=when,
        properties={
            **(_of_footprints(entry) if entry.kind == FOOTPRINTS else _of_classifier(entry)),
            "mlm:name": entry.name,
            "mlm:framework": "ONNX" if entry.kind == FOOTPRINTS else "scikit-learn",
            "version": entry.version,
            "groundplan:kind": entry.kind,
            "groundplan:key": entry.key,
            "groundplan:source": entry.source,
            "groundplan:card": dict(entry.card),
        },
        stac_extensions=[MLM, VERSION, FILE],
    )
    asset = pystac.Asset(
        f"../../{entry.key}",
        title="Graph, weights and card in one file",
        media_type="application/zip",
        roles=["mlm:model", "data"],
        extra_fields={
            "mlm:artifact_type": "onnx" if entry.kind == FOOTPRINTS else "zip",
            "file:size": entry.bytes,
            "file:checksum": f"1220{entry.sha256}",  # a multihash: SHA-256, 32 bytes
        },
    )
    item.add_asset("model", asset)
    if before:
        item.add_link(pystac.Link("predecessor-version", f"./{before}.json", "application/geo+json"))
    return item


def _of_footprints(entry: ModelEntry) -> dict[str, Any]:
    bands = [f"band {band}" for band in entry.card.get("bands", (1, 2, 3))]
    if contract := entry.card.get("contract"):
        return _of_foreign(contract, bands)
    encoder = str(entry.card.get("encoder") or "unknown encoder")
    return {
        "mlm:architecture": f"U-Net ({encoder})",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [_input("window", bands, [-1, len(bands), -1, -1])],
        "mlm:output": [
            {
                "name": "probability",
                "tasks": ["semantic-segmentation"],
                "result": {"shape": [-1, 2, -1, -1], "dim_order": _SIDES, "data_type": "uint8"},
                "classification:classes": [
                    {"value": 0, "name": "building", "description": "0..255 for 0..1"},
                    {"value": 1, "name": "edge", "description": "between buildings, 0..255 for 0..1"},
                ],
            }
        ],
    }


def _of_foreign(contract: Mapping[str, Any], bands: list[str]) -> dict[str, Any]:
    """Of a network from elsewhere: numbers as its card's contract has them."""
    scaling = [
        {"type": "z-score", "mean": mean, "stddev": deviation}
        for mean, deviation in zip(contract["mean"], contract["deviation"], strict=True)
    ]
    taken = _input("image", bands, [-1, len(bands), -1, -1], "float32")
    return {
        "mlm:architecture": "unknown",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [{**taken, "value_scaling": scaling}],
        "mlm:output": [
            {
                "name": str(contract["output"]),
                "tasks": ["semantic-segmentation"],
                "result": {"shape": [-1, -1, -1, -1], "dim_order": _SIDES, "data_type": "float32"},
                "description": "a building, or with two channels building and edge between buildings",
            }
        ],
    }


_SIDES = ["batch", "channel", "height", "width"]


def _of_classifier(entry: ModelEntry) -> dict[str, Any]:
    labels = list(entry.card.get("labels", ()))
    side = int(entry.card.get("size") or 224)
    return {
        "mlm:architecture": str(entry.card.get("encoder") or "linear on features of an encoder"),
        "mlm:tasks": ["classification"],
        "mlm:input": [_input("image", ["red", "green", "blue"], [1, 3, side, side])],
        "mlm:output": [
            {
                "name": "probability",
                "tasks": ["classification"],
                "result": {"shape": [1, len(labels)], "dim_order": ["batch", "class"], "data_type": "float64"},
                "classification:classes": [{"value": at, "name": label} for at, label in enumerate(labels)],
            }
        ],
    }


def _input(name: str, bands: list[str], shape: list[int], numbers: str = "uint8") -> dict[str, Any]:
    return {
        "name": name,
        "bands": bands,
        "input": {"shape": shape, "dim_order": _SIDES, "data_type": numbers},
    }
