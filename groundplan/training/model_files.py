"""Model files: a model that was trained here as files for other programs, and one from elsewhere for this one.

Here: reading `.zip` (as the store holds models) and `.onnx` with its card, writing the latter, and committing a model
that was given as a year's. Not here: what a foreign network must keep to (inference/contract.py), training one
(models.py).

An `.onnx` has its card beside it: `roofs.onnx`, `roofs.card.json`. `groundplan model export` writes the pair, and
`groundplan model add` reads one.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundplan.core.archive import packed
from groundplan.core.manifest import (
    Made,
    Manifest,
    Planned,
    committed,
    fingerprint,
    load_object,
    manifest_key,
    object_key,
    plan_fingerprint,
    read_object,
    sha256_of,
)
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, MissingInput, ModelMismatch
from groundplan.inference.contract import MOST_BYTES, Contract, check_file, check_trial
from groundplan.polygons.certainty import Certainty
from groundplan.polygons.instances import Thresholds
from groundplan.project import Project
from groundplan.training import models
from groundplan.training.models import DATASET, GIVEN, VERSION, Model, unpack

CARD = ".card.json"
KINDS = (".zip", ".onnx")
MOST_CARD = 2**20  # bytes
BANDS = (1, 2, 3)


# --- in ---------------------------------------------------------------------------------------------------------------


def read_model(path: Path, card: Path | None = None) -> bytes:
    """A model's file as the store holds models: one zip of graph and card, checked and tried.

    path: such a zip, or an `.onnx`; card: of an `.onnx`, where it is not beside it. Bytes are the same for the same
    files. Raises ModelMismatch, BadConfig for a path that cannot be read.
    """
    if path.suffix.lower() not in KINDS:
        raise BadConfig(str(path), "it is no model file", f"Give one that ends in {' or '.join(KINDS)}")
    data = _bytes_of(path, MOST_BYTES)
    if path.suffix.lower() == ".zip":
        _check_zip(data, str(path))
        return data
    stated = _card_beside(path, card)
    facts = check_file(data, str(path))
    own = _own_metadata(data) if "contract" not in stated else {}
    if not own and "contract" not in stated:
        raise ModelMismatch(
            str(path),
            "nothing states what it takes and gives",
            f"Put a card beside it, {path.stem}{CARD}; docs/models.md says what stands there",
        )
    whole = _completed({**own, **stated}, path, data, facts)
    _complete(whole, str(path))
    contract = Contract.of(whole, str(path))
    if contract is None:
        _try_own(data, str(path))
    else:
        check_trial(data, contract, len(whole["bands"]), str(path))
    return packed({"card.json": json.dumps(whole, indent=1, sort_keys=True).encode(), "model.onnx": data})


def _check_zip(data: bytes, thing: str) -> None:
    """Check a file as the store holds models. Raises ModelMismatch."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except zipfile.BadZipFile:
        unpacked = 0  # `unpack` says it better
    if unpacked > MOST_BYTES:
        raise ModelMismatch(thing, f"it unpacks to {unpacked:,} bytes, more than {MOST_BYTES:,}", "Give a smaller one")
    model = unpack(data, thing)
    _complete(model.card, thing)
    contract = Contract.of(model.card, thing)
    if contract is None:
        _try_own(model.onnx, thing)
    else:
        check_trial(model.onnx, contract, len(model.card["bands"]), thing)


def _bytes_of(path: Path, most: int) -> bytes:
    try:
        if (size := path.stat().st_size) > most:
            raise ModelMismatch(str(path), f"it has {size:,} bytes, more than {most:,}", "Give a smaller file")
        return path.read_bytes()
    except OSError as error:
        raise BadConfig(str(path), f"it cannot be read ({error.strerror})", "Check the path") from error


def _card_beside(path: Path, card: Path | None) -> dict[str, Any]:
    """What the card of an `.onnx` states; nothing where there is none. Raises ModelMismatch."""
    place = card or path.with_suffix(CARD)
    if card is None and not place.is_file():
        return {}
    try:
        stated = json.loads(_bytes_of(place, MOST_CARD))
        if not isinstance(stated, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        raise ModelMismatch(str(place), f"it is no card ({error})", "Write it as JSON") from error
    return stated


def _own_metadata(data: bytes) -> dict[str, Any]:
    """Bands and resolution of a graph that Groundplan exported, by its metadata; {} where it is another's."""
    import onnx

    said = {one.key: one.value for one in onnx.load_from_string(data).metadata_props}
    if not {"bands", "step", "grid_resolution"} <= said.keys():
        return {}
    return {"bands": list(range(1, int(said["bands"]) + 1)), "resolution": float(said["grid_resolution"])}


def _completed(stated: dict[str, Any], path: Path, data: bytes, facts: dict[str, Any]) -> dict[str, Any]:
    """A card with all that Groundplan asks of one; what nobody measured stays empty."""
    digest = hashlib.sha256(data).hexdigest()
    source = f"{path.name}, SHA-256 {digest[:12]}, made by {facts['producer']}, opset {facts['opset']}"
    empty: dict[str, Any] = {"validation": None, "test": None, "history": [], "steps": 0, "bands": list(BANDS)}
    return {
        **empty,
        "thresholds": asdict(Thresholds()),
        "year": "added",
        **stated,
        "settings_print": GIVEN,
        "source": source,
    }


def _complete(card: dict[str, Any], thing: str) -> None:
    """Check that a card says what every use of a model needs. Raises ModelMismatch."""
    try:
        bands, resolution = [int(band) for band in card["bands"]], float(card["resolution"])
        Thresholds(**card["thresholds"])
        Certainty.of(card.get("certainty"))
        if not 1 <= len(bands) <= 8 or min(bands) < 1 or not 0 < resolution <= 100:
            raise ValueError(f"bands {bands}, resolution {resolution}")
    except (KeyError, TypeError, ValueError) as error:
        reason = f"its card does not say bands, resolution and thresholds as it must ({error})"
        raise ModelMismatch(thing, reason, "Mend the card; docs/models.md says what stands there") from error


def _try_own(data: bytes, thing: str) -> None:
    """A trial run of a graph that says it is one of ours."""
    import numpy as np

    from groundplan.inference import runtime

    network = runtime.load(data, threads=1)
    try:
        network.predict(np.zeros((network.bands, network.step, network.step), np.uint8))
    except (RuntimeError, ValueError) as error:
        raise ModelMismatch(thing, f"it does not run ({str(error)[:160]})", "Export it again") from error


# --- into a project ---------------------------------------------------------------------------------------------------


def add_model(project: Project, data: bytes, year: int, source: str = "") -> Model:
    """Commit a model's file, as `read_model` gives it, as the model of a year in place of one trained here.

    source: where it comes from, in words, unless its card says so. It stays until another is added, or one is trained
    by `groundplan build --retrain`. Raises ModelMismatch where it is for other imagery than the project's; nothing is
    changed then.
    """
    given = _as_given(data, source)
    model = unpack(given)
    models.check_fits(project, model)
    commit_model(project, given, year)
    return model


def _as_given(data: bytes, source: str) -> bytes:
    """The same model with a card that says that it was not trained here, and where it comes from."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    card = json.loads(parts["card.json"])
    card |= {"settings_print": GIVEN, "source": card.get("source") or source or "a file"}
    return packed({**parts, "card.json": json.dumps(card, indent=1, sort_keys=True).encode()})


def commit_model(project: Project, data: bytes, year: int) -> None:
    """Commit a model's file as it is as the model of a year: first the object, then the manifest that names it."""
    partition = Partition(year)
    digest = fingerprint(version=VERSION, given=sha256_of(data))
    key = object_key(DATASET, partition, "model", digest, ".zip")
    made: Made[Any] = Made(
        name="model",
        key=key,
        fingerprint=digest,
        bytes=len(data),
        seconds=0.0,
        cpu_seconds=0.0,
        facts=models.describe(data),
        sha256=sha256_of(data),
    )
    manifest = Manifest(
        dataset=DATASET,
        partition=partition,
        version=VERSION,
        fingerprint=plan_fingerprint(VERSION, [Planned(name="model", fingerprint=digest, key=key)]),
        objects={"model": made},
        committed=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    project.store.put(key, data)
    project.store.put(manifest_key(DATASET, partition), manifest.to_json())


def years_with_models(project: Project) -> list[int]:
    """Years that have a model, sorted. One listing."""
    return sorted({one.year for one in committed(project.store, DATASET) if one.year})


def newest_year(project: Project, year: int | None = None) -> int:
    """The year that was asked for, else the newest that has a model. Raises MissingInput where none has."""
    chosen = year or max(years_with_models(project), default=None)
    if chosen is None:
        raise MissingInput(
            f"the models of {project.home}",
            "it has none yet",
            "Run `groundplan build`, or add one with `groundplan model add FILE`",
        )
    return chosen


def model_of(project: Project, year: int | None = None) -> bytes:
    """The file of the model that a year is predicted with, the newest without a year. Raises MissingInput."""
    return read_object(project.store, models.model_for(project, newest_year(project, year)))


# --- out --------------------------------------------------------------------------------------------------------------


def export_model(project: Project, year: int, target: Path) -> tuple[Path, Path]:
    """Write the model that a year is predicted with as an `.onnx` and its card beside it; returns both paths.

    Neither is seen half-written. Raises MissingInput where there is no model, BadConfig where the file cannot be.
    """
    if target.suffix.lower() != ".onnx":
        raise BadConfig(str(target), "a model is exported as ONNX", "End the name with .onnx")
    model = load_object(project.store, models.model_for(project, year), unpack)
    card = target.with_suffix(CARD)
    for path, data in ((card, json.dumps(model.card, indent=1, sort_keys=True).encode()), (target, model.onnx)):
        temporary = path.with_name(f".{path.name}.part")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            raise BadConfig(str(path), f"it cannot be written ({error.strerror})", "Choose another place") from error
        finally:
            temporary.unlink(missing_ok=True)
    return target, card
