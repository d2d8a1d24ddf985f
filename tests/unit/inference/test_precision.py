"""What is fastest on a processor: chosen by a trial, and a rearranged graph gives the same answers."""

from __future__ import annotations

import numpy as np
import pytest

from groundplan import starter
from groundplan.inference import precision, runtime
from groundplan.inference.precision import WORTH, Way
from groundplan.inference.rearranged import rearrange, transposed_weights
from groundplan.training.packed_model import Model, unpack

pytestmark = pytest.mark.slow  # OpenVINO


@pytest.fixture(scope="module")
def model() -> Model:
    return unpack(starter.FILE.read_bytes())


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_FOUND", {})


def window(side: int = 256) -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.clip(rng.integers(0, 200, (3, side // 16, side // 16)).repeat(16, 1).repeat(16, 2) + 20, 0, 255).astype(
        np.uint8
    )


def test_weights_are_those_of_repeated_pixels() -> None:
    """By scipy: a convolution of repeated pixels is the transposed one of the pixels themselves."""
    from scipy.signal import convolve2d, correlate2d

    rng = np.random.default_rng(0)
    pixels, weights = rng.normal(size=(5, 6)), rng.normal(size=(1, 1, 3, 3)).astype(np.float32)
    expected = correlate2d(pixels.repeat(2, 0).repeat(2, 1), weights[0, 0], "same")
    apart = np.zeros((10, 12))
    apart[::2, ::2] = pixels
    found = convolve2d(apart, transposed_weights(weights)[0, 0])[1:11, 1:13]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_rearranged_graph_gives_the_same_answers(
    model: Model, untried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "gain", lambda *_: 1.0)
    fast = runtime.load(model.onnx, threads=1, precision="auto")
    exact = runtime.load(model.onnx, threads=1).predict(window())
    gap = np.abs(fast.predict(window()).astype(int) - exact)
    assert list(precision._FOUND.values()) == [Way("f32", rearranged=True)]
    assert gap.max() <= 1
    assert (gap > 0).mean() < 0.001
    assert exact.max() > 127  # the window shows something


def test_every_block_of_the_decoder_is_rearranged_and_nothing_else(model: Model) -> None:
    import openvino as ov

    graph = ov.Core().read_model(model.onnx)
    graph.reshape([1, 3, 256, 256])
    assert rearrange(graph) == 5
    kinds = [node.get_type_name() for node in graph.get_ordered_ops()]
    assert kinds.count("ConvolutionBackpropData") == 5
    assert rearrange(graph) == 0


@pytest.mark.parametrize(("gain", "expected"), [(WORTH + 0.1, "bf16"), (WORTH - 0.1, "f32"), (0.65, "f32")])
def test_bfloat16_is_taken_where_the_trial_shows_it_to_be_faster(
    model: Model, untried: None, monkeypatch: pytest.MonkeyPatch, gain: float, expected: str
) -> None:
    tried: list[int] = []
    monkeypatch.setattr(precision, "gain", lambda *_: tried.append(1) or gain)
    monkeypatch.setattr(precision, "_same_when_rearranged", lambda *_: False)
    core = _Core(["FP32", "BF16"])
    for _ in range(2):  # tried once in a process
        assert precision.fastest(core, None, (3, 128), 2, "graph") == Way(expected)  # type: ignore[arg-type]
    assert tried == [1]


def test_a_processor_without_bfloat16_computes_in_float32_untried(
    untried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_same_when_rearranged", lambda *_: True)
    monkeypatch.setattr(precision, "gain", lambda *_: pytest.fail("nothing to try"))
    assert precision.fastest(_Core(["FP32"]), None, (3, 128), 2, "graph") == Way("f32", True)  # type: ignore[arg-type]


class _Core:
    """What is asked of OpenVINO about the processor."""

    def __init__(self, able: list[str]) -> None:
        self.able = able

    def get_property(self, *_: str) -> list[str]:
        return self.able


def test_a_graph_that_changes_when_rearranged_stays_as_it_is(
    model: Model, untried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "gain", lambda *_: 1.0)
    monkeypatch.setattr("groundplan.inference.rearranged.transposed_weights", lambda w: 1.5 * transposed_weights(w))
    runtime.load(model.onnx, threads=1, precision="auto")
    assert list(precision._FOUND.values()) == [Way("f32")]
