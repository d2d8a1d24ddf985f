"""An encoder's weights, looked for before a build of a collection begins.

Here: whether they can be had. Not here: loading them (encoders.py, torch_encoders.py).
"""

from __future__ import annotations

from importlib.util import find_spec

from groundplan.collections.descriptors.encoders import weights_path
from groundplan.errors import ModelMismatch
from groundplan.inference.hub import check_reachable
from groundplan.project import Project

REMEDY = "Allow access to it, or bring a file: `groundplan add-collection FOLDER --name NAME --weights FILE.onnx`"


def check_weights(project: Project) -> None:
    """Return where features could be computed. Raises ModelMismatch within ten seconds."""
    path = weights_path(project)
    if path is not None and path.suffix == ".onnx":
        return
    if find_spec("timm") is None or find_spec("torch") is None:
        raise ModelMismatch(
            "torch and timm", "they are not installed", "Install the extra 'train', or set collections.weights to .onnx"
        )
    if path is None:
        name = project.settings.collections.encoder
        known = {"mobilenet_v2": "mobilenetv2_100"}.get(name, name)
        check_reachable(_repository(known), f"published weights of {name} (collections.weights = 'imagenet')", REMEDY)


def _repository(name: str) -> str:
    """Where timm keeps the weights that it takes by itself. Raises ModelMismatch."""
    from timm.models import get_pretrained_cfg, is_model

    found = get_pretrained_cfg(name) if is_model(name) else None
    if found is None:
        raise ModelMismatch(f"encoder '{name}'", "timm does not know it", "Take a name that timm.list_models() shows")
    return found.hf_hub_id or f"timm/{name}"
