"""A model's file: one zip with the graph, the weights and the card.

Here: its form, and what can be read from it. Not here: making a model (models.py), files of others (model_files.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from groundplan.core.archive import packed
from groundplan.errors import ModelMismatch

if TYPE_CHECKING:
    from groundplan.inference.contract import Contract
    from groundplan.polygons.instances import Thresholds
    from groundplan.training.loop import Trained


WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model, ready to be run. onnx: the graph; sha256: of the whole file, the model's identity.

    weights: its state as safetensors; empty where the graph alone holds them, by name.
    """

    onnx: bytes
    card: dict[str, Any]
    sha256: str
    weights: bytes = field(default=b"", repr=False)

    @property
    def thresholds(self) -> Thresholds:
        from groundplan.polygons.instances import Thresholds

        return Thresholds(**self.card["thresholds"])

    @property
    def contract(self) -> Contract | None:
        """What a network takes and gives that was trained elsewhere; None of one of ours."""
        from groundplan.inference.contract import Contract

        return Contract.of(self.card, f"model {self.name}")

    @property
    def name(self) -> str:
        return f"{self.card['year']}-{self.sha256[:8]}"


def pack(trained: Trained, onnx: bytes, card: dict[str, Any]) -> bytes:
    """One zip, uncompressed and without times, so that the same model is the same bytes."""
    from safetensors.torch import save

    state = {key: value.contiguous() for key, value in trained.state.items()}
    parts = {
        "card.json": json.dumps(card, indent=1, sort_keys=True).encode(),
        "model.onnx": onnx,
        WEIGHTS: save(state),
    }
    return packed(parts)


def unpack(data: bytes, thing: str = "the year's model") -> Model:
    """The model in a file's bytes. thing: what the error names. Raises ModelMismatch when there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            onnx, card = archive.read("model.onnx"), json.loads(archive.read("card.json"))
            weights = archive.read(WEIGHTS) if WEIGHTS in archive.namelist() else b""
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ModelMismatch(
            thing,
            f"its file holds no model ({str(error)[:100]})",
            "Train it anew: `groundplan build --retrain`",
        ) from error
    return Model(onnx, card, hashlib.sha256(data).hexdigest(), weights)
