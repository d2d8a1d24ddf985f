"""Blocks through a device: the lattice of windows is the oracle, GDAL and rio-cogeo are those of files."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from conftest import MakeProject
from rasterio.io import MemoryFile

from groundplan import starter
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.core.stopwatch import PARTS, measuring
from groundplan.core.store import Store
from groundplan.errors import BadConfig, MissingInput, ModelMismatch, Stopped
from groundplan.footprints import conveyed, on_device, predictions
from groundplan.inference import runtime
from groundplan.inference.canvases import Lattice, Slot, as_tiles, halved
from groundplan.inference.conveyor import Conveyor
from groundplan.inference.second_view import Views
from groundplan.inference.sliding_window import predict_canvas
from groundplan.inference.torch_runtime import TorchRuntime
from groundplan.ingest.add_imagery import deliver
from groundplan.pipeline import run_step
from groundplan.polygons.instances import Thresholds, instances
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.raster.coded_cog import DEFLATE, Level, pieces, placed, raw_tags
from groundplan.raster.halo import edge_digests
from groundplan.raster.jpeg_tiles import parse, read_into
from groundplan.training import torch_model
from groundplan.training.model_files import commit_model
from groundplan.training.packed_model import Model, unpack

pytestmark = pytest.mark.slow  # torch and OpenVINO


RESOLUTION = 0.15
PLACE = Affine(RESOLUTION, 0, 100_000, 0, -RESOLUTION, 400_000)
CRS = "EPSG:28992"


@pytest.fixture(scope="module")
def town() -> np.ndarray:
    """A drawn town of the kind that the starter model knows, uint8 (3, 1024, 1024) at 0.15 m."""
    import cv2

    from groundplan.synthetic import country
    from groundplan.synthetic.paint import paint

    place = country.plan(7, 160.0, country.REGIONS[:1], (2024,), country.DUTCH)
    drawn = cv2.resize(paint(place, 2024, 0).rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(drawn[:1024, :1024].transpose(2, 0, 1))


@pytest.fixture(scope="module")
def model() -> Model:
    return unpack(starter.FILE.read_bytes())


@pytest.fixture(scope="module")
def exact(model: Model) -> TorchRuntime:
    return torch_model.load_torch(model, precision="f32", device="cpu")


def same_side(one: np.ndarray, other: np.ndarray, chosen: Thresholds) -> list[float]:
    """Shares of pixels on the same side of each threshold: building, edge, inside of a building."""
    inside = [p[0].astype(np.float32) * (255 - p[1]) / 255**2 > chosen.seed for p in (one, other)]
    pairs = [(one[0] > 127, other[0] > 127), (one[1] > 127, other[1] > 127), (inside[0], inside[1])]
    return [float((a == b).mean()) for a, b in pairs]


def f1(one: np.ndarray, other: np.ndarray, chosen: Thresholds) -> tuple[float, int]:
    """F1 at IoU 0.5 of the buildings of two rasters, and how many the second has."""
    a, b = (instances(np.ascontiguousarray(each), chosen, RESOLUTION) for each in (one, other))
    hits = 0
    for number in range(1, int(a.max()) + 1):
        here = a == number
        beside = np.bincount(b[here])[1:]
        best = int(beside.argmax()) + 1 if beside.any() else 0
        hits += bool(best) and (here & (b == best)).sum() / (here | (b == best)).sum() > 0.5
    return 2 * hits / (int(a.max()) + int(b.max())), int(b.max())


# --- the runtime ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 2, 8, "unsure"])
def test_torch_gives_what_openvino_gives(model: Model, town: np.ndarray, views: Views) -> None:
    window = np.ascontiguousarray(town[:, :256, :384]) if views == 1 else np.ascontiguousarray(town[:, :256, :256])
    there = runtime.load(model.onnx, threads=2, views=views)
    here = torch_model.load_torch(model, precision="f32", views=views, device="cpu")
    assert (here.bands, here.step, here.grid_resolution) == (there.bands, there.step, there.grid_resolution)
    gap = np.abs(here.predict(window).astype(int) - there.predict(window))
    assert gap.max() <= 1
    assert np.array_equal(here.predict(window), here.predict(window))


def test_a_device_sees_the_same_parts_of_a_window_again(model: Model, town: np.ndarray) -> None:
    window, margin = np.ascontiguousarray(town[:, :768, :768]), 64
    one, here = (torch_model.load_torch(model, precision="f32", views=v, device="cpu") for v in (1, "unsure"))  # type: ignore[arg-type]
    there = runtime.load(model.onnx, threads=2, views="unsure").predict(window, margin)
    found, once = here.predict(window, margin), one.predict(window)
    assert np.abs(found.astype(int) - there).max() <= 1
    again = np.argwhere((np.abs(found.astype(int) - once) > 1).any(axis=0))
    assert len(again)
    assert (np.ptp(again, axis=0) < 256).all()  # one square of 256 pixels is what such a window has room for


def test_a_device_refuses_to_skip_windows(make_project: MakeProject, model: Model, tmp_path: Path) -> None:
    project = make_project(tmp_path / "home", predict={"runtime": "torch", "skip_empty": True})
    with pytest.raises(BadConfig, match="skip_empty"):
        on_device.line_of(project, model)


def test_half_precision_decides_as_float32_does(model: Model, exact: TorchRuntime, town: np.ndarray) -> None:
    """What a GPU computes with, emulated here on one window; bfloat16 has an eighth of its steps."""
    window, chosen = np.ascontiguousarray(town[:, 256:768, 256:768]), model.thresholds
    half = torch_model.load_torch(model, precision="f16", device="cpu").predict(window)
    want = exact.predict(window)
    assert min(same_side(half, want, chosen)) >= 0.999
    figure, buildings = f1(half, want, chosen)
    assert buildings >= 5
    assert figure >= 0.99


def test_norms_are_folded_away_and_nothing_else_changes(model: Model) -> None:
    network = torch_model.load_state_of(model)
    merged = torch_model.folded(network[1], 3)
    kinds = [type(module) for module in merged.modules()]
    assert torch.nn.BatchNorm2d not in kinds
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(merged(image), network[1](image), atol=1e-3)


def test_a_network_from_elsewhere_stays_with_openvino(model: Model) -> None:
    foreign = Model(model.onnx, {**model.card, "contract": CONTRACT}, model.sha256)
    assert torch_model.is_known(model)
    assert not torch_model.is_known(foreign)
    assert torch_model.chosen_runtime("auto", foreign) == "openvino"
    with pytest.raises(ModelMismatch, match=r"made elsewhere.*predict\.runtime"):
        torch_model.load_torch(foreign, precision="f32")


def test_a_graph_without_weights_by_name_stays_with_openvino(model: Model) -> None:
    from groundplan.training.export import export

    network = torch_model.load_state_of(model)
    graph = export(network.state_dict(), torch_model.settings_of(model))
    alone = Model(graph, model.card, model.sha256)
    assert not torch_model.is_known(alone)
    with pytest.raises(ModelMismatch, match="a graph alone"):
        torch_model.load_torch(alone, precision="f32")


def test_torch_is_asked_for_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_model, "find_spec", lambda name: None)
    assert torch_model.chosen_runtime("auto") == "openvino"
    with pytest.raises(BadConfig, match="torch is not installed"):
        torch_model.chosen_runtime("torch")


CONTRACT = {"mean": [0.0] * 3, "deviation": [255.0] * 3, "step": 32, "output": "probability"}


# --- a block ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def jpeg(pixels: np.ndarray, mask: np.ndarray | None = None) -> bytes:
    return cog.write(pixels, mask, PLACE, CRS, cog.Encoding("jpeg", 90))


def given(**files: bytes) -> conveyed.JpegInput:
    """Blocks by direction, the own one as `own`."""
    named = {"" if name == "own" else name: memoryview(data) for name, data in files.items()}
    blocks = {name: parse(data) for name, data in named.items()}
    return conveyed.JpegInput(
        blocks={name: block for name, block in blocks.items() if block is not None},
        parts={name: lambda at, n, data=data: data[at : at + n] for name, data in named.items()},
        names={name: f"key {name}" for name in named},
    )


def decoded(data: bytes, pool: ThreadPoolExecutor) -> tuple[np.ndarray, np.ndarray]:
    block = parse(data)
    assert block is not None
    side = block.pixels.width
    out = np.zeros((side, side, 3), np.uint8)
    mask = read_into(block, lambda at, n: data[at : at + n], (0, 0, side, side), out, pool)
    return out.transpose(2, 0, 1), np.ones((side, side), bool) if mask is None else mask


def test_jpeg_tiles_are_read_as_gdal_reads_them(town: np.ndarray, pool: ThreadPoolExecutor) -> None:
    mask = np.ones((768, 768), bool)
    mask[:300, :200] = mask[700:, 100:] = False
    data = jpeg(town[:, :768, :768], mask)
    want, valid = cog.read(data)
    got, found = decoded(data, pool)
    assert np.array_equal(found, valid)
    gap = np.abs(got.astype(int) - want * valid)
    assert gap.mean() < 0.5
    assert gap.max() <= 24  # another library may widen colours otherwise
    part = np.zeros((256, 128, 3), np.uint8)
    block = parse(data)
    assert block is not None
    read_into(block, lambda at, n: data[at : at + n], (448, 400, 128, 256), part, pool)
    assert np.array_equal(part.transpose(2, 0, 1), got[:, 400:656, 448:576])
    grey = cog.write(town[:1, :512, :512], None, PLACE, CRS, cog.Encoding("jpeg"))
    assert [
        parse(other)
        for other in (grey, data[:40], b"II*\0", cog.write(town[:, :256, :256], None, PLACE, CRS, cog.Encoding()))
    ] == [None] * 4


def test_a_damaged_tile_is_named(town: np.ndarray, pool: ThreadPoolExecutor) -> None:
    data = bytearray(jpeg(town[:, :512, :512]))
    block = parse(bytes(data))
    assert block is not None
    at = block.pixels.offsets[0]
    data[at : at + 40] = bytes(40)
    out = np.zeros((512, 512, 3), np.uint8)
    with pytest.raises(MissingInput, match=r"^block x: a tile of it is damaged"):
        read_into(block, lambda a, n: bytes(data[a : a + n]), (0, 0, 512, 512), out, pool, name="block x")


@pytest.mark.parametrize("at_once", [False, True])
def test_a_block_is_what_the_lattice_gives(
    exact: TorchRuntime, town: np.ndarray, pool: ThreadPoolExecutor, at_once: bool
) -> None:
    """Byte by byte, with neighbours, ground without imagery, a last window that is not full, batches over blocks.

    at_once: whole blocks by one call, as a GPU has them.
    """
    block, margin, core = 384, 64, 256
    mask = np.ones((block, block), bool)
    mask[:130, :90] = False
    own = jpeg(town[:, 200 : 200 + block, 200 : 200 + block], mask)
    east = jpeg(town[:, 200 : 200 + block, 200 + block : 200 + 2 * block])
    ground = Lattice(block=block, core=core, margin=margin, tile=512, edge=256)
    line = conveyed.Line(conveyor=Conveyor(exact, ground, 2, batch=3, at_once=at_once), pool=pool)
    place = placed(PLACE, CRS, ["building", "edge"], {"GROUNDPLAN_FINGERPRINT": "x"})
    inputs = given(own=own, e=east), given(own=east, w=own)
    with ThreadPoolExecutor(2) as hands:
        made = list(hands.map(lambda each: conveyed.predict_block(line, each, place), inputs))
    with measuring() as watch:
        again = conveyed.predict_block(line, inputs[0], place)
    assert set(watch.seconds) == set(PARTS), "what a run's page says of its pace"
    assert min(watch.seconds.values()) > 0
    line.conveyor.close()
    halo, beside = np.zeros((3, block, margin), np.uint8), np.zeros((block, margin), bool)
    (ours, where), (theirs, there) = decoded(own, pool), decoded(east, pool)
    rows = (
        (np.concatenate([halo, ours, theirs[:, :, :margin]], 2), np.concatenate([beside, where, there[:, :margin]], 1)),
        (
            np.concatenate([ours[:, :, -margin:], theirs, halo], 2),
            np.concatenate([where[:, -margin:], there, beside], 1),
        ),
    )
    around = ((margin, margin), (0, 0))
    for one, (image, valid) in zip(made, rows, strict=True):
        want = predict_canvas(exact, np.pad(image, ((0, 0), *around)), np.pad(valid, around), core, margin)
        assert np.array_equal(cog.read(bytes(one.data))[0], want)
    assert want.std() > 5
    assert again.data == made[0].data
    assert made[0].edges == edge_digests(bytes(made[0].data))
    assert made[0].building == predictions.describe(bytes(made[0].data))["building"]
    assert cog.validate(bytes(made[0].data)) == []
    with MemoryFile(bytes(made[0].data)) as file, file.open() as source:
        assert (source.crs.to_epsg(), source.transform) == (28992, PLACE)
        assert (source.descriptions, source.tags()["GROUNDPLAN_FINGERPRINT"]) == (("building", "edge"), "x")


def test_a_block_without_imagery_and_one_that_nobody_waits_for(exact: TorchRuntime, pool: ThreadPoolExecutor) -> None:
    ground = Lattice(block=256, core=128, margin=0, tile=512, edge=256)
    conveyor = Conveyor(exact, ground, 1, batch=1)

    def empty(slot: Slot) -> None:
        slot.partial, slot.mask[:] = True, False

    def full(slot: Slot) -> None:
        slot.canvas[:] = 90

    with conveyor.predict(empty) as found:
        assert found.building == 0
        assert not any(level.any() for level in found.levels)
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped("now")

    with pytest.raises(Stopped), conveyor.predict(lambda slot: (full(slot), stop.set()), check):  # type: ignore[func-returns-value,arg-type,return-value]
        raise AssertionError("it went on")
    with pytest.raises(ZeroDivisionError), conveyor.predict(lambda slot: 1 // 0):  # type: ignore[arg-type,return-value]
        raise AssertionError("it went on")
    stop.clear()
    with conveyor.predict(full, check) as found:  # the place is free again
        assert found.levels[0].any()
    conveyor.close()


def test_overviews_are_means_and_tiles_come_back() -> None:
    rng = np.random.default_rng(3)
    level = rng.integers(0, 256, (2, 600, 600), np.uint8)
    half = halved(torch.from_numpy(level)).numpy()
    mean = level.reshape(2, 300, 2, 300, 2).astype(float).mean(axis=(2, 4))
    assert np.abs(half - mean).max() <= 0.5
    tiles = as_tiles(torch.from_numpy(level), 512).numpy()
    whole = [Level(600, [zlib.compress(tile) for tile in tiles])]
    data = b"".join(pieces(whole, 2, 512, DEFLATE, placed(PLACE, CRS, ["a", "b"], {})))
    with MemoryFile(data) as file, file.open() as source:
        assert np.array_equal(source.read(), level)


def test_a_file_of_more_than_four_gigabytes_has_long_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundplan.raster.coded_cog.MOST", 1000)
    level = np.random.default_rng(4).integers(0, 256, (2, 100, 100), np.uint8)
    tiles = as_tiles(torch.from_numpy(level), 512).numpy()
    whole = [Level(100, [zlib.compress(tiles[0])])]
    data = b"".join(pieces(whole, 2, 512, DEFLATE, placed(PLACE, CRS, ["a", "b"], {})))
    assert data[2] == 43
    with MemoryFile(data) as file, file.open() as source:
        assert np.array_equal(source.read(), level)
        assert source.transform == PLACE
    with pytest.raises(KeyError):
        raw_tags(data[:8] + bytes(100))[256]


# --- the step ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_tiles(make_project: MakeProject, town: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Blocks of a town with the starter model, ready to be predicted."""
    import rasterio

    folder = tmp_path_factory.mktemp("device")
    grid = {"crs": CRS, "resolution": RESOLUTION, "block_size": 512, "origin": (100_000.0, 400_000.0)}
    project = make_project(folder / "home", grid=grid, predict={"core": 256, "margin": 64, "views": 1})
    sheet = folder / "sheet_2024.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": CRS, "transform": PLACE}
    with rasterio.open(sheet, "w", **profile, width=900, height=512) as target:
        target.write(town[:, :512, :900])
    deliver(project, [sheet], "town", 2024)
    for step in ("sheets", "aerial_tiles"):
        run_step(project, step, Partition(2024, "town"))
    commit_model(project, starter.FILE.read_bytes(), 2024)
    return project


def asked(project: Project, name: str, tmp_path: Path, more: str = "") -> Project:
    """A copy of the project that asks for a runtime."""
    import shutil

    from groundplan.project import open_project

    home = tmp_path / name
    shutil.copytree(project.home, home)
    text = (home / "groundplan.toml").read_text()
    (home / "groundplan.toml").write_text(text.replace("[predict]", f'[predict]\nruntime = "{name}"\n{more}'))
    return open_project(home)


def test_the_step_decides_the_same_on_either_runtime(with_tiles: Project, tmp_path: Path) -> None:
    here, made, pixels = Partition(2024, "town"), {}, {}
    for name in ("openvino", "torch"):
        project = asked(with_tiles, name, tmp_path)
        assert predictions.STEP.in_hand(project) == {"openvino": 1, "torch": 2}[name]
        report = run_step(project, "predictions", here)
        assert len(report.made) == 2
        made[name] = need_manifest(project.store, predictions.DATASET, here).objects
        pixels[name] = np.concatenate([cog.read(project.store.get(one.key))[0] for one in made[name].values()], axis=2)
        for one in made[name].values():  # what was said without reading it is what reading says
            assert predictions.describe(project.store.get(one.key)) == one.facts
            assert one.cpu_seconds > 0
        assert run_step(project, "predictions", here).made == ()
    assert [one.key for one in made["torch"].values()] == [one.key for one in made["openvino"].values()]
    chosen = unpack(starter.FILE.read_bytes()).thresholds
    assert min(same_side(pixels["torch"], pixels["openvino"], chosen)) >= 0.999
    figure, buildings = f1(pixels["torch"], pixels["openvino"], chosen)
    assert buildings >= 5
    assert figure >= 0.99


def test_where_f16_is_stated_processors_read_as_a_gpu_does(
    with_tiles: Project, exact: TorchRuntime, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """The pixels decide: another decoder moves more of them over a threshold than float16 does."""
    here, project = Partition(2024, "town"), asked(with_tiles, "openvino", tmp_path, 'precision = "f16"')
    run_step(project, "predictions", here)
    tiles = need_manifest(project.store, "aerial_tiles", here).objects
    pixels = [decoded(project.store.get(one.key), pool) for one in tiles.values()]
    image, mask = (np.concatenate([pair[part] for pair in pixels], axis=-1) for part in (0, 1))
    around = ((64, 64), (64, 64))
    want = predict_canvas(exact, np.pad(image, ((0, 0), *around)), np.pad(mask, around), 256, 64)
    made = need_manifest(project.store, predictions.DATASET, here).objects
    got = np.concatenate([cog.read(project.store.get(one.key))[0] for one in made.values()], axis=2)
    assert np.abs(got.astype(int) - want).max() <= 1


def test_what_was_made_before_a_stop_stays(
    with_tiles: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same objects as of a run that nothing disturbed, the finished one not made twice."""
    here, project = Partition(2024, "town"), asked(with_tiles, "torch", tmp_path)
    real, calls = predictions.on_device.make, []

    def once(*args: object) -> object:
        calls.append(args)
        if len(calls) == 1:
            raise OSError("gone")
        return real(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(predictions.on_device, "make", once)
        with pytest.raises(Exception, match="1 of 2 blocks failed"):
            run_step(project, "predictions", here)
    assert len(project.store.list(f"predictions/{here.path}")) == 1
    report = run_step(project, "predictions", here)
    assert (len(report.made), report.skipped) == (1, 1)


def test_neighbours_that_are_no_jpeg_are_read_too(with_tiles: Project, pool: ThreadPoolExecutor) -> None:
    from groundplan.footprints.on_device import StoredInput

    store: Store = with_tiles.store
    pixels = np.random.default_rng(1).integers(1, 256, (3, 512, 512), np.uint8)
    mask = np.ones((512, 512), bool)
    mask[:, :20] = False
    store.put("other/plain.tif", cog.write(pixels, mask, PLACE, CRS, cog.Encoding("deflate")))
    found = StoredInput(store, {"": "other/plain.tif", "n": "other/plain.tif"})
    out = np.zeros((512, 512, 3), np.uint8)
    valid = found.own(out, pool, lambda: None)
    assert np.array_equal(valid, mask)
    assert np.array_equal(out.transpose(2, 0, 1), pixels * mask)
    edge = found.around("n", (0, 448, 512, 64), pool)
    assert edge is not None
    assert np.array_equal(edge, out[448:])
    assert found.around("s", (0, 0, 512, 64), pool) is None
