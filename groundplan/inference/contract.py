"""Contract: what a network that was trained elsewhere takes and gives, and making it look like one of ours.

Here: the statement on a model's card, the checks of its file, a trial run. Not here: running it over imagery
(runtime.py), where its file and card come from (training/model_files.py). docs/models.md is the user's page.

A foreign network takes float32 (N, bands, H, W), normalised as its card states, and gives float32 (N, 1 or 2, H, W):
probability of a building and, where there are two, of an edge between buildings. Around it are put the cast from
uint8, the normalisation and the cast to uint8, so that the rest of Groundplan meets the same graph as its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.errors import ModelMismatch
from groundplan.foreign_reports import silent_openvino

if TYPE_CHECKING:
    import openvino as ov


MOST_BYTES = 2**30  # of a model file
OPSETS = (9, 25)  # of the default domain: older ones resize in other ways, newer ones are not known here
DOMAINS = frozenset({"", "ai.onnx"})
OUTPUTS = ("probability", "logits")
TRIALS = (1, 2)  # sides of the windows of a trial run, in steps
SLACK = 1e-3  # by which a probability may leave 0..1
EXAMPLE = '{"mean": [123.7, 116.3, 103.5], "deviation": [58.4, 57.1, 57.4], "step": 32, "output": "probability"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a foreign network takes and gives, as its card states it."""

    mean: tuple[float, ...]
    """Per band, of values 0..255: it is given (value - mean) / deviation."""
    deviation: tuple[float, ...]
    step: int
    """Sides of windows must be multiples of so many pixels."""
    output: str
    """"probability", or "logits", which a sigmoid turns into them."""
    resolution: float
    """Metres per pixel of the imagery that it was trained on."""

    @classmethod
    def of(cls, card: Mapping[str, Any], thing: str) -> Contract | None:
        """What a card states; None where it is one of our own networks, whose graph holds all of it.

        Raises:
            ModelMismatch: it states something that makes no sense.
        """
        stated = card.get("contract")
        if stated is None:
            return None
        try:
            found = cls(
                mean=tuple(float(value) for value in stated["mean"]),
                deviation=tuple(float(value) for value in stated["deviation"]),
                step=int(stated.get("step", 32)),
                output=str(stated.get("output", "probability")),
                resolution=float(card["resolution"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelMismatch(thing, f"its card states no contract ({error})", f"Such as {EXAMPLE}") from error
        found._check(len(card["bands"]), thing)
        return found

    def as_metadata(self) -> dict[str, str]:
        """As our own graphs state it."""
        return {"bands": str(len(self.mean)), "step": str(self.step), "grid_resolution": str(self.resolution)}

    def _check(self, bands: int, thing: str) -> None:
        faults = {
            f"mean and deviation are {len(self.mean)} and {len(self.deviation)} numbers and it has {bands} bands": not (
                len(self.mean) == len(self.deviation) == bands
            ),
            "a mean or deviation is no finite number, or a deviation is not above 0": not (
                np.isfinite([*self.mean, *self.deviation]).all() and min(self.deviation, default=0) > 0
            ),
            f"step is {self.step} and must be 1 to 512": not 1 <= self.step <= 512,
            f"output is '{self.output}' and must be one of {', '.join(OUTPUTS)}": self.output not in OUTPUTS,
            f"resolution is {self.resolution} m per pixel": not 0 < self.resolution <= 100,
        }
        for reason, wrong in faults.items():
            if wrong:
                raise ModelMismatch(thing, f"its card cannot be right: {reason}", "Mend the card")


def wrapped(model: ov.Model, contract: Contract) -> ov.Model:
    """The network with a cast and normalisation before it, and a cast behind it: uint8 to uint8, as our own are."""
    ov = silent_openvino()
    from openvino import opset13 as ops
    from openvino.preprocess import PrePostProcessor

    shaped = model.clone()
    shaped.reshape([1, len(contract.mean), contract.step, contract.step])
    single = shaped.output(0).get_partial_shape()[1].get_length() == 1

    def to_bytes(found: Any) -> Any:
        share = ops.sigmoid(found) if contract.output == "logits" else ops.clamp(found, 0.0, 1.0)
        levels = ops.round(ops.multiply(share, np.float32(255)), "half_to_even")
        both = ops.concat([levels, ops.multiply(levels, np.float32(0))], 1) if single else levels
        return ops.convert(both, "u8").output(0)

    around = PrePostProcessor(model)
    layout = ov.Layout("NCHW")
    around.input().tensor().set_element_type(ov.Type.u8).set_layout(layout)
    around.input().model().set_layout(layout)
    steps = around.input().preprocess().convert_element_type(ov.Type.f32)
    steps.mean([*contract.mean]).scale([*contract.deviation])
    around.output().postprocess().custom(to_bytes)
    return around.build()


# --- is it what its card says -----------------------------------------------------------------------------------------


def check_file(data: bytes, thing: str) -> dict[str, Any]:
    """Check an ONNX file's bytes without running it; returns what it says of itself: producer, opset.

    Nothing else is read: a file that keeps weights in others is refused, wherever those lie.

    Raises:
        ModelMismatch: it is no ONNX, is too large, needs other files, or has operators that are not known.
    """
    if len(data) > MOST_BYTES:
        raise ModelMismatch(thing, f"it has {len(data) / 2**30:.1f} GiB, more than 1", "Give a smaller network")
    onnx = _onnx_package(thing)
    try:
        model = onnx.load_from_string(data)
        elsewhere = [tensor.name for tensor in _tensors(model) if onnx.external_data_helper.uses_external_data(tensor)]
    except Exception as error:  # of bytes that may be anything
        raise ModelMismatch(thing, f"it is no ONNX file ({_short(error)})", "Export the network again") from error
    if elsewhere or not len(model.graph.node):
        reason = f"it keeps weights in other files ({elsewhere[0]!r})" if elsewhere else "it is no ONNX file: no graph"
        raise ModelMismatch(thing, reason, "Save it as one file, with its weights inside")
    opset = max((one.version for one in model.opset_import if one.domain in DOMAINS), default=0)
    strange = sorted({node.domain for node in model.graph.node} - DOMAINS)
    if strange or not OPSETS[0] <= opset <= OPSETS[1]:
        reason = f"it has operators of {strange[0]}" if strange else f"its opset is {opset}"
        remedy = f"Export it with plain operators of opset {OPSETS[0]} to {OPSETS[1]}"
        raise ModelMismatch(thing, reason, remedy)
    try:
        onnx.checker.check_model(data)
    except Exception as error:
        raise ModelMismatch(thing, f"its graph is not valid ({_short(error)})", "Export the network again") from error
    made_by = " ".join(filter(None, (model.producer_name, model.producer_version)))
    return {"producer": made_by[:100] or "unknown", "opset": opset}


def _onnx_package(thing: str) -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.external_data_helper
    except ImportError as error:
        remedy = "Install the package onnx, or groundplan with its extra `train`"
        raise ModelMismatch(thing, "checking a model that was made elsewhere needs the package onnx", remedy) from error
    return onnx


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor of a model, wherever it stands: in nodes, sub-graphs and functions too."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in [value] if hasattr(value, "ListFields") else value:
            if field.message_type.name == "TensorProto":
                yield item
            else:
                yield from _tensors(item)


def check_trial(data: bytes, contract: Contract, bands: int, thing: str) -> None:
    """Check by running it on windows of two sizes: names, shapes, types, the range of what it says.

    Raises:
        ModelMismatch: it is not what its card states.
    """
    ov = silent_openvino()

    core = ov.Core()
    try:
        model = core.read_model(data)
    except RuntimeError as error:
        raise ModelMismatch(
            thing, f"it cannot be loaded ({_short(error)})", "Export it with plain operators"
        ) from error
    _check_ends(model, bands, thing)
    for steps in TRIALS:
        side = steps * contract.step
        found = _said(core, model.clone(), contract, bands, side, thing)
        if found.shape[1] not in (1, 2) or found.shape != (1, found.shape[1], side, side):
            reason = f"for a window of {side} x {side} it gives {found.shape}, not (1, 1 or 2, {side}, {side})"
            raise ModelMismatch(thing, reason, "Export it with an output of the input's height and width")
        low, high = float(found.min()), float(found.max())
        if not np.isfinite(found).all():
            raise ModelMismatch(thing, "it gives numbers that are none (NaN or infinite)", "Check its normalisation")
        if contract.output == "probability" and not (low >= -SLACK and high <= 1 + SLACK):
            reason = f"it gives {low:.2f} to {high:.2f} and a probability is 0 to 1"
            raise ModelMismatch(thing, reason, 'Export it with its sigmoid, or set "output": "logits" on its card')


def _check_ends(model: ov.Model, bands: int, thing: str) -> None:
    """One input and one output, of float32, with as many bands as the card says."""
    remedy = f"Export it with one input, float32 (N, {bands}, H, W), and one output, float32 (N, 1 or 2, H, W)"
    for what, ends in (("input", model.inputs), ("output", model.outputs)):
        names = ", ".join(sorted(name for end in ends for name in end.get_names()))[:200]
        if len(ends) != 1:
            raise ModelMismatch(thing, f"it has {len(ends)} {what}s ({names})", remedy)
        shape, kind = ends[0].get_partial_shape(), ends[0].get_element_type().get_type_name()
        if shape.rank.is_static and len(shape) != 4:
            raise ModelMismatch(thing, f"its {what} '{names}' is {shape}", remedy)
        if kind != "f32":
            raise ModelMismatch(thing, f"its {what} '{names}' is {kind}", remedy)
    given = model.input(0).get_partial_shape()[1]
    if given.is_static and given.get_length() != bands:
        raise ModelMismatch(thing, f"its input has {given.get_length()} bands and its card says {bands}", remedy)


def _said(core: ov.Core, model: ov.Model, contract: Contract, bands: int, side: int, thing: str) -> np.ndarray:
    """What the network says of a window of noise, float32 (1, C, H, W)."""
    noise = np.random.default_rng(0).integers(0, 256, (1, bands, side, side)).astype(np.float32)
    mean, deviation = (np.array(each, np.float32).reshape(1, -1, 1, 1) for each in (contract.mean, contract.deviation))
    try:
        model.reshape([1, bands, side, side])
        return np.asarray(core.compile_model(model, "CPU")(((noise - mean) / deviation).astype(np.float32))[0])
    except RuntimeError as error:
        reason = f"it does not run on a window of {side} x {side} ({_short(error)})"
        remedy = "Export it with free height and width (dynamic axes), and state its step on the card"
        raise ModelMismatch(thing, reason, remedy) from error


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:160]
