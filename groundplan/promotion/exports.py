"""A version of a model in the layout of another registry: Hugging Face, MLflow.

Here: folders as those programs read them. Not here: the plain pair of graph and card (training/model_files.py), and
sending anything anywhere.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from groundplan.core.store import Store
from groundplan.errors import BadConfig
from groundplan.registry.entries import FOOTPRINTS, ModelEntry, as_item, model_bytes

LAYOUTS = ("huggingface", "mlflow")


def export_model(store: Store, entry: ModelEntry, folder: Path, layout: str) -> list[Path]:
    """Write a version into a new or empty folder; returns its files. layout: "huggingface" or "mlflow".

    Raises BadConfig where the folder holds something or cannot be written.
    """
    if layout not in LAYOUTS:
        raise BadConfig("--layout", f"'{layout}' is none", f"Give one of {', '.join(LAYOUTS)}")
    data = model_bytes(store, entry)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    made = _huggingface(entry, parts) if layout == "huggingface" else _mlflow(entry, parts)
    return _written(folder, made)


def _written(folder: Path, made: Mapping[str, bytes]) -> list[Path]:
    """All files, in a folder beside first: nobody sees half of them."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadConfig(str(folder), "it is there and holds something", "Give a new folder")
    beside = folder.with_name(f".{folder.name}.part")
    try:
        for name, data in made.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).write_bytes(data)
        if folder.exists():
            folder.rmdir()
        beside.rename(folder)
    except OSError as error:
        raise BadConfig(str(folder), f"it cannot be written ({error.strerror})", "Choose another place") from error
    return [folder / name for name in made]


def _item(entry: ModelEntry) -> bytes:
    return json.dumps(as_item(entry).to_dict(include_self_link=False), indent=1, ensure_ascii=False).encode()


# --- Hugging Face: README.md with its head in YAML, config.json, weights ----------------------------------------------


def _huggingface(entry: ModelEntry, parts: Mapping[str, bytes]) -> dict[str, bytes]:
    card = json.loads(parts["card.json"])
    made = {"README.md": _readme(entry, card).encode(), "config.json": _config(entry, card)}
    renamed = {"weights.safetensors": "model.safetensors"}
    for name, data in parts.items():
        made[renamed.get(name, name)] = data
    return {**made, "stac-item.json": _item(entry)}


def _config(entry: ModelEntry, card: Mapping[str, Any]) -> bytes:
    told = {"model_type": f"groundplan-{entry.kind}", "version": entry.version, "sha256": entry.sha256}
    return json.dumps(told | dict(entry.card), indent=1, ensure_ascii=False, sort_keys=True).encode()


def _readme(entry: ModelEntry, card: Mapping[str, Any]) -> str:
    import yaml

    task = "image-segmentation" if entry.kind == FOOTPRINTS else "image-classification"
    head: dict[str, Any] = {
        "library_name": "groundplan",
        "pipeline_tag": task,
        "tags": ["onnx", "earth-observation"] if entry.kind == FOOTPRINTS else ["onnx"],
        "model-index": [{"name": f"{entry.name} {entry.version}", "results": _results(entry, task)}],
    }
    figures = [f"| {name} | {value} |" for name, value in (entry.card.get("test") or {}).items()]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        f"# {entry.name} {entry.version}",
        *([str(card["use"])] if card.get("use") else []),
        f"Made {entry.made}, for {entry.source}. SHA-256 of the file in its own registry: `{entry.sha256}`.",
        *(["\n".join(["| figure on test ground | value |", "|---|---|", *figures])] if figures else []),
    ]
    return "\n".join(lines[:4]) + "\n\n" + "\n\n".join(lines[4:]) + "\n"


def _results(entry: ModelEntry, task: str) -> list[dict[str, Any]]:
    figures = entry.card.get("test") or {}
    metrics = [
        {"type": name, "value": value, "name": name} for name, value in figures.items() if isinstance(value, float)
    ]
    if not metrics:
        return []
    dataset = {"name": "held-out ground of the project", "type": "groundplan"}
    return [{"task": {"type": task}, "dataset": dataset, "metrics": metrics}]


# --- MLflow: MLmodel with the flavour onnx ----------------------------------------------------------------------------


def _mlflow(entry: ModelEntry, parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """The graph lies beside MLmodel: MLflow's own reader of ONNX, behind `pyfunc`, looks for it there alone."""
    import yaml

    flavors: dict[str, Any] = {"groundplan": {"kind": entry.kind, "version": entry.version, "data": "."}}
    if "model.onnx" in parts:
        flavors["onnx"] = {"data": "model.onnx", "providers": ["CPUExecutionProvider"]}
        flavors["python_function"] = {"loader_module": "mlflow.onnx", "data": "model.onnx", "env": {}}
    when = datetime.fromisoformat(entry.made).strftime("%Y-%m-%d %H:%M:%S.000000")
    described = {
        "artifact_path": entry.name,
        "flavors": flavors,
        "model_uuid": entry.sha256[:32],
        "utc_time_created": when,
        "metadata": {"version": entry.version, "source": entry.source, **_scalars(entry.card.get("test"))},
    }
    made = {"MLmodel": yaml.safe_dump(described, sort_keys=False, allow_unicode=True).encode()}
    return {**made, **parts, "stac-item.json": _item(entry)}


def _scalars(found: Mapping[str, Any] | None) -> dict[str, Any]:
    return {f"test_{name}": value for name, value in (found or {}).items()}
