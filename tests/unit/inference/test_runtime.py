"""Applying a network: torch is the oracle of one window, and one raster is the oracle of its blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from groundplan.errors import ModelMismatch
from groundplan.inference import runtime
from groundplan.inference.sliding_window import predict_canvas
from groundplan.training import network
from groundplan.training.export import export, whole_graph
from groundplan.training.settings import TrainSettings

pytestmark = pytest.mark.slow  # torch and OpenVINO

torch = pytest.importorskip("torch")

SETTINGS = TrainSettings(encoder_weights="none", grid_resolution=0.15, resolution=0.20)


def model(settings: TrainSettings) -> tuple[torch.nn.Module, bytes]:
    """A network with random weights and lively outputs, in torch and exported."""
    torch.manual_seed(0)
    built = network.build(settings).eval()
    built[1].segmentation_head[0].weight.data *= 16
    return whole_graph(built, network.scale_of(settings)), export(built.state_dict(), settings)


@pytest.fixture(scope="module")
def exported() -> tuple[torch.nn.Module, bytes]:
    return model(SETTINGS)


@pytest.fixture(scope="module")
def loaded(exported: tuple[torch.nn.Module, bytes]) -> runtime.Runtime:
    return runtime.load(exported[1], threads=2)


def imagery(high: int, wide: int, bands: int = 3) -> np.ndarray:
    """Smooth and rough ground."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (bands, -(-high // 16), -(-wide // 16))).repeat(16, 1).repeat(16, 2)
    return np.clip(coarse[:, :high, :wide] * 0.8 + rng.integers(1, 50, (bands, high, wide)), 1, 255).astype(np.uint8)


def oracle(graph: torch.nn.Module, window: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return graph(torch.from_numpy(window[None]))[0].numpy()


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other)


# --- one window -------------------------------------------------------------------------------------------------------


def test_the_graph_gives_what_torch_gives(exported: tuple[torch.nn.Module, bytes], loaded: runtime.Runtime) -> None:
    for sides in ((256, 256), (128, 384)):
        window = imagery(*sides)
        expected = oracle(exported[0], window)
        assert expected.std() > 5
        assert difference(loaded.predict(window), expected).max() <= 1
        assert np.array_equal(loaded.predict(window), loaded.predict(window))


@pytest.mark.parametrize(("grid", "seen", "bands"), [(0.25, 0.25, 4), (0.08, 0.2, 1)])
def test_other_resolutions_and_bands(grid: float, seen: float, bands: int) -> None:
    settings = replace(SETTINGS, grid_resolution=grid, resolution=seen, bands=bands)
    graph, data = model(settings)
    found = runtime.load(data, threads=2)
    assert (found.bands, found.grid_resolution, found.step) == (bands, grid, network.scale_of(settings).step)
    window = imagery(found.step * 2, found.step, bands)
    expected = oracle(graph, window)
    assert expected.shape == (2, found.step * 2, found.step)
    assert expected.std() > 2
    assert difference(found.predict(window), expected).max() <= 1


def test_the_graph_says_what_it_is_for(loaded: runtime.Runtime) -> None:
    assert float(loaded.metadata["resolution"]) == pytest.approx(0.2)
    assert loaded.metadata["outputs"] == "building,edge"
    assert loaded.metadata["normalisation"].startswith("x * [0.00784314")
    assert loaded.step == 128


@pytest.mark.bad_input
def test_other_bands_sides_and_types_are_refused(loaded: runtime.Runtime) -> None:
    with pytest.raises(ModelMismatch, match="trained on 3 bands"):
        loaded.predict(np.zeros((4, 128, 128), np.uint8))
    with pytest.raises(ValueError, match="128 divides"):
        loaded.predict(np.zeros((3, 128, 100), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        loaded.predict(np.zeros((3, 128, 128), np.float32))


@pytest.mark.bad_input
def test_bytes_that_are_no_model_are_refused(exported: tuple[torch.nn.Module, bytes]) -> None:
    import onnx

    bare = onnx.load_from_string(exported[1])
    del bare.metadata_props[:]
    for data in (b"", b"not a model" * 50, exported[1][: len(exported[1]) // 2], bare.SerializeToString()):
        with pytest.raises(ModelMismatch, match="not a graph that groundplan exported"):
            runtime.load(data, threads=1)


# --- a canvas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("core", "margin"), [(128, 64), (100, 30)])
def test_blocks_give_the_bytes_of_one_raster(loaded: runtime.Runtime, core: int, margin: int) -> None:
    block = 2 * core
    canvas = imagery(block + 2 * margin, 2 * block + 2 * margin)
    mask = np.ones(canvas.shape[1:], bool)
    mask[margin + 20 : margin + 60, : margin + 90] = False
    whole = predict_canvas(loaded, canvas, mask, core, margin)
    for left in (0, block):
        part = np.s_[..., left : left + block + 2 * margin]
        found = predict_canvas(loaded, canvas[part], mask[part], core, margin)
        assert difference(found, whole[:, :, left : left + block]).max() <= 1
    assert whole.std() > 5
    assert not whole[:, 20:60, :90].any()


def test_one_window_of_a_canvas_is_the_oracle_s(
    exported: tuple[torch.nn.Module, bytes], loaded: runtime.Runtime
) -> None:
    canvas = imagery(256, 256)
    found = predict_canvas(loaded, canvas, np.ones((256, 256), bool), 128, 64)
    assert difference(found, oracle(exported[0], canvas)[:, 64:192, 64:192]).max() <= 1


def test_a_last_window_that_is_not_full(loaded: runtime.Runtime) -> None:
    canvas = imagery(128 + 128, 200 + 128)
    found = predict_canvas(loaded, canvas, np.ones(canvas.shape[1:], bool), 128, 64)
    full = np.pad(canvas, ((0, 0), (0, 0), (0, 56)))
    seen = np.pad(np.ones(canvas.shape[1:], bool), ((0, 0), (0, 56)))
    assert found.shape == (2, 128, 200)
    assert np.array_equal(found, predict_canvas(loaded, full, seen, 128, 64)[:, :, :200])


def test_windows_without_imagery_are_not_run(loaded: runtime.Runtime) -> None:
    canvas = imagery(384, 640)
    mask = np.zeros(canvas.shape[1:], bool)
    mask[:, : 64 + 128] = True  # the first column of windows, and only margins of the second
    calls: list[None] = []
    found = predict_canvas(loaded, canvas, mask, 128, 64, lambda: calls.append(None))
    assert len(calls) == 2
    assert not found[:, :, 128:].any()
    assert found[:, :, :128].any()


def test_pixels_of_no_imagery_do_not_influence_the_others(loaded: runtime.Runtime) -> None:
    canvas = imagery(256, 256)
    mask = np.ones((256, 256), bool)
    mask[:, 150:] = False
    garbage = canvas.copy()
    garbage[:, :, 150:] = 77
    one, other = (predict_canvas(loaded, c, mask, 128, 64) for c in (canvas, garbage))
    assert np.array_equal(one, other)


def test_a_stop_is_obeyed_between_windows(loaded: runtime.Runtime) -> None:
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_canvas(loaded, imagery(256, 256), np.ones((256, 256), bool), 128, 64, check)


def test_the_margin_hides_the_seams(loaded: runtime.Runtime) -> None:
    """A lattice moved by half a core gives nearly the same ground at the old seams, and much less so with no margin."""
    ground = imagery(512 + 256, 512 + 256)

    def seam(margin: int) -> float:
        found = []
        for shift in (0, 128):
            low = 128 - margin + shift
            part = np.s_[..., low : low + 256 + 2 * margin, low : low + 256 + 2 * margin]
            canvas = ground[part]
            found.append(predict_canvas(loaded, canvas, np.ones(canvas.shape[1:], bool), 256, margin))
        return float(difference(found[0][:, 128:, 128:], found[1][:, :128, :128]).mean())

    assert seam(64) < 0.6 * seam(0)


def test_views_are_the_mean_of_turned_windows(exported):
    """One view of each turned window, turned back, is what several views average."""
    data = exported[1]
    one = runtime.load(data, threads=2)
    window = np.random.default_rng(3).integers(0, 256, (3, one.step * 2, one.step * 2), np.uint8)
    turned = one.predict(np.ascontiguousarray(window[:, ::-1, ::-1]))[:, ::-1, ::-1]
    expected = (one.predict(window).astype(int) + turned + 1) // 2
    np.testing.assert_array_equal(runtime.load(data, threads=2, views=2).predict(window), expected)
    eight = runtime.load(data, threads=2, views=8)
    mirrored = eight.predict(np.ascontiguousarray(window[:, :, ::-1]))[:, :, ::-1]
    assert np.abs(eight.predict(window).astype(int) - mirrored).max() <= 1
