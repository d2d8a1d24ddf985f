"""Starting weights of a network, looked for before a build begins: minutes of other work come before the training.

Here: whether the encoder has a name that is known and weights that can be had. Not here: loading them (network.py).
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from groundplan.errors import ModelMismatch, unknown
from groundplan.inference.hub import check_reachable
from groundplan.project import Project
from groundplan.training.packed_model import unpack
from groundplan.training.start import BASELINE, start_path, weights_path

REMEDY = "Allow access to it, set model.encoder_weights to the path of a .safetensors file, or to 'none'"


def check_weights(project: Project) -> None:
    """Return where a training could begin. Raises ModelMismatch, BadConfig within ten seconds."""
    look_for_weights(project)
    check_encoder(project.settings.model.encoder)


def look_for_weights(project: Project) -> None:
    """Return where the weights are on this machine, or could be fetched. Raises ModelMismatch. Loads no torch."""
    if project.settings.model.start not in ("", BASELINE):  # the baseline begins with the encoder's weights
        check_start(project)
        return
    encoder = project.settings.model.encoder
    if weights_path(project) == "imagenet":
        universal = encoder.removeprefix("tu-")
        repository = f"smp-hub/{encoder}.imagenet" if universal == encoder else f"timm/{universal}"
        check_reachable(repository, f"published weights of {encoder} (model.encoder_weights = 'imagenet')", REMEDY)


def check_start(project: Project) -> None:
    """Return where the model that a training learns on from is there and of the same make. Raises ModelMismatch."""
    path = Path(str(start_path(project)))
    if path.suffix.lower() != ".zip":
        return
    data = _bytes(path)
    try:
        card = unpack(data, str(path)).card
        _check_parts(data, path)
    except ModelMismatch as error:
        raise ModelMismatch(str(path), error.reason, "Fetch it again, or set model.start to ''") from error
    settings, model = card.get("settings", {}), project.settings.model
    if settings.get("encoder") != model.encoder or list(card["bands"]) != list(project.settings.imagery.bands):
        raise ModelMismatch(
            f"model.start ({path.name})",
            f"it is of encoder {settings.get('encoder')} for bands {card['bands']}, and the settings say "
            f"{model.encoder} and {list(project.settings.imagery.bands)}",
            f"Set model.encoder to '{settings.get('encoder')}', or model.start to ''",
        )


def _check_parts(data: bytes, path: Path) -> None:
    """Raises ModelMismatch where a part, such as the weights, is not what was packed: by its CRC."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if (broken := archive.testzip()) is not None:
            raise ModelMismatch(str(path), f"its part {broken} is damaged: its CRC is another", "Fetch it again")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelMismatch(str(path), f"it cannot be read ({error.strerror})", "Check the path") from error


def check_encoder(name: str) -> None:
    """Raises BadConfig for an encoder that cannot be built. Loads torch, which the training needs anyhow."""
    from segmentation_models_pytorch.encoders import get_encoder_names

    names = get_encoder_names()
    if name not in names and not name.startswith(("tu-", "timm-")):
        raise unknown("model.encoder", name, names, "there is no such encoder")
