"""Networks from elsewhere: what is refused and why, and that one of the contract gives what its own arithmetic says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save_model

from groundplan.errors import BadConfig, ModelMismatch
from groundplan.inference import runtime
from groundplan.inference.contract import Contract, check_file, check_trial
from groundplan.training.model_files import read_model
from groundplan.training.models import GIVEN, describe, unpack

MEAN, DEVIATION = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
STATED = {"contract": {"mean": MEAN, "deviation": DEVIATION, "step": 16}, "bands": [1, 2, 3], "resolution": 0.3}
ROOFS = Contract(mean=MEAN, deviation=DEVIATION, step=16, output="probability", resolution=0.3)


def network(
    channels: int = 1,
    last: str = "Sigmoid",
    shape: tuple[Any, ...] = ("N", 3, "H", "W"),
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    strides: int = 1,
) -> Any:
    """A foreign network: one 3 x 3 convolution and an activation."""
    weights = numpy_helper.from_array(kernel(channels).astype(np.float32), "w")
    side = [shape[2], shape[3]] if strides == 1 else [None, None]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["said"], pads=[1] * 4, strides=[strides] * 2),
            helper.make_node(last, ["said"], ["mask"]),
        ],
        "roofs",
        [helper.make_tensor_value_info("image", kind, list(shape))],
        [helper.make_tensor_value_info("mask", kind, [shape[0], channels, *side])],
        [weights],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name="workshop"
    )


def kernel(channels: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(channels, 3, 3, 3)) * 0.3


@pytest.mark.parametrize("shape", [("N", 3, "H", "W"), (1, 3, 64, 64)], ids=["free sides", "fixed sides"])
@pytest.mark.parametrize(("channels", "output"), [(1, "probability"), (2, "probability"), (1, "logits")])
def test_it_gives_what_its_own_arithmetic_says(channels: int, output: str, shape: tuple[Any, ...]) -> None:
    from scipy.ndimage import correlate

    contract = replace(ROOFS, output=output)
    data = network(channels, "Sigmoid" if output == "probability" else "Identity", shape).SerializeToString()
    check_file(data, "roofs.onnx")
    check_trial(data, contract, 3, "roofs.onnx")
    window = np.random.default_rng(5).integers(0, 256, (3, 48, 32), np.uint8)
    seen = (window - np.reshape(MEAN, (3, 1, 1))) / np.reshape(DEVIATION, (3, 1, 1))
    said = [correlate(seen, each, mode="constant")[1] for each in kernel(channels)]
    expected = np.round(255 / (1 + np.exp(-np.array(said))))
    found = runtime.load(data, threads=1, contract=contract).predict(window)
    assert found.dtype == np.uint8
    assert found.shape == (2, 48, 32)
    assert np.abs(found[:channels] - expected).max() <= 1
    assert channels == 2 or not found[1].any(), "who tells no edges says that there are none"


def weights_outside(folder: Path, location: str) -> bytes:
    path = folder / "outside.onnx"
    save_model(network(), str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    return path.read_bytes().replace(b"w.bin", location.encode().ljust(5)[:5])


@pytest.mark.bad_input
def test_a_file_that_is_none_of_the_contract_is_refused(tmp_path: Path) -> None:
    strange = network()
    strange.graph.node[1].domain = "com.workshop"
    strange.opset_import.append(helper.make_opsetid("com.workshop", 1))
    broken = network()
    broken.graph.node[0].input[0] = "nothing"
    for data, reason in (
        (b"PK\x03\x04 what is this", "it is no ONNX file"),
        (b"", "it is no ONNX file"),
        (weights_outside(tmp_path, "w.bin"), "it keeps weights in other files"),
        (weights_outside(tmp_path, "/etc/"), "it keeps weights in other files"),
        (network(opset=7).SerializeToString(), "its opset is 7"),
        (strange.SerializeToString(), "it has operators of com.workshop"),
        (broken.SerializeToString(), "its graph is not valid"),
    ):
        with pytest.raises(ModelMismatch, match=reason):
            check_file(data, "roofs.onnx")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (network(last="Identity"), r"and a probability is 0 to 1\. .*\"output\": \"logits\""),
        (network(3), r"it gives \(1, 3, 16, 16\)"),
        (network(strides=2), r"it gives \(1, 1, 8, 8\), not \(1, 1 or 2, 16, 16\)"),
        (network(kind=TensorProto.DOUBLE), "is f64"),
    ],
    ids=["logits", "three classes", "half the size", "float64"],
)
def test_a_trial_run_shows_what_the_card_does_not_say(model: Any, reason: str) -> None:
    if model.graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE:
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel(1), "w"))
    with pytest.raises(ModelMismatch, match=reason):
        check_trial(model.SerializeToString(), ROOFS, 3, "roofs.onnx")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"contract": {"mean": [1, 2], "deviation": [1, 1, 1]}}, "mean and deviation are 2 and 3 numbers"),
        ({"contract": {"mean": [1, 2, 3]}}, "its card states no contract"),
        ({"contract": {**STATED["contract"], "deviation": [1, 0, 1]}}, "a deviation is not above 0"),
        ({"contract": {**STATED["contract"], "output": "mask"}}, "output is 'mask'"),
        ({"contract": {**STATED["contract"], "step": 0}}, "step is 0"),
        ({"resolution": -1}, "its card does not say bands, resolution and thresholds"),
        ({"thresholds": {"mask": 7}}, "its card does not say bands, resolution and thresholds"),
        ({"bands": [1, 2, 3, 4]}, "numbers and it has 4 bands"),
    ],
)
def test_a_card_that_cannot_be_right_is_refused(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match=reason):
        read_model(with_card(tmp_path, {**STATED, **change}))


def with_card(folder: Path, card: dict[str, Any], model: Any = None) -> Path:
    path = folder / "roofs.onnx"
    path.write_bytes((model or network()).SerializeToString())
    (folder / "roofs.card.json").write_text(json.dumps(card), "utf-8")
    return path


def test_a_file_with_its_card_becomes_one_of_ours_and_says_where_it_comes_from(tmp_path: Path) -> None:
    data = read_model(with_card(tmp_path, {**STATED, "thresholds": {"mask": 0.4}}))
    model = unpack(data)
    assert data == read_model(tmp_path / "roofs.onnx"), "the same files are the same bytes"
    assert model.contract == ROOFS
    assert model.thresholds.mask == 0.4
    facts = describe(data)
    assert facts["settings"] == GIVEN
    assert facts["source"].startswith("roofs.onnx, SHA-256 ")
    assert "workshop, opset 17" in facts["source"]


@pytest.mark.bad_input
def test_what_is_not_stated_is_not_guessed(tmp_path: Path) -> None:
    path = with_card(tmp_path, STATED)
    (tmp_path / "roofs.card.json").unlink()
    with pytest.raises(ModelMismatch, match=r"nothing states what it takes and gives\. Put a card beside it"):
        read_model(path)
    with pytest.raises(BadConfig, match="it cannot be read"):
        read_model(path, tmp_path / "nowhere.json")
    (tmp_path / "roofs.card.json").write_text("[", "utf-8")
    with pytest.raises(ModelMismatch, match="it is no card"):
        read_model(path)
