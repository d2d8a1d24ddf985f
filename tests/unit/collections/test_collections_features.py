"""Features: the same as their oracles, and the same bytes whatever the shards, the workers, the store and the kills."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faulty_s3
import numpy as np
import pytest
from faulty_s3 import BUCKET, FaultyS3
from made_images import cataloged, folder_of, jpeg, picture

from groundplan.collections import catalog
from groundplan.collections.descriptors import encoders, features, torch_encoders, visual_words
from groundplan.collections.images.decode import decode, square
from groundplan.collections.pipeline import run_asset, run_step
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import ClassPartition
from groundplan.errors import BlocksFailed, MissingInput, ModelMismatch
from groundplan.project import Project, open_project

pytestmark = pytest.mark.slow  # together: networks

SHARED = Path(__file__).parents[4] / "shared/data"
WEIGHTS = SHARED / "weights"
FRUITS = SHARED / "fruits"
LEMON = ClassPartition("fruits", "Lemon")
needs_weights = pytest.mark.skipif(not (WEIGHTS.is_dir() and FRUITS.is_dir()), reason="needs the shared data")


def graph(path: Path, outputs: tuple[str, ...] = ("features",), scale: float = 1.0) -> Path:
    """A small network as ONNX: one convolution of stride 8, rectified and pooled to 12 features."""
    from onnx import TensorProto, helper, numpy_helper, save

    kernel = np.random.default_rng(3).normal(size=(12, 3, 8, 8)).astype(np.float32) * scale
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["c"], strides=[8, 8]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], [outputs[0]]),
        *(helper.make_node("Identity", [outputs[0]], [name]) for name in outputs[1:]),
    ]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, "h", "w"])
    said = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 12]) for name in outputs]
    built = helper.make_graph(nodes, "small", [given], said, [numpy_helper.from_array(kernel, "kernel")])
    save(helper.make_model(built, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graph(tmp_path_factory.mktemp("graph") / "small.onnx")


@pytest.fixture
def start(tmp_path: Path, make_project, small: Path) -> Any:  # type: ignore[no-untyped-def]
    """`start(name, store, run={...}, **collections)`: a project with the small network."""

    def new(name: str = "home", store: str = "", run: dict[str, Any] | None = None, **section: Any) -> Project:
        section = {"weights": str(small), "size": 64, "shard": 8, **section}
        return make_project(tmp_path / name, store, collections=section, run=run or {})

    return new


def described(project: Project, folder: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Everything up to features of all classes: names of the shards made, by class."""
    if folder is not None:
        catalog.ingest(project, folder, "fruits")
    cataloged(project, "fruits")
    found = catalog.classes(project, "fruits")
    if project.settings.collections.features == "orb":
        run_step(project, visual_words.DATASET, ClassPartition("fruits"))
    return {part.label: run_step(project, features.DATASET, part).made for part in found}


def digests(project: Project) -> dict[str, str]:
    rooms = ("image_catalog", "image_features", "visual_words")
    found = [item.key for room in rooms for item in project.store.list(room)]
    return {key: hashlib.sha256(project.store.get(key)).hexdigest() for key in found}


# ------------------------------------------------------------------------------------------------- oracles


def some_squares(count: int, side: int = 224) -> list[np.ndarray]:
    files = sorted(FRUITS.glob("*/*.jpg"))[:: 2316 // count][:count]
    return [square(decode(file.read_bytes(), 10**8).pixels, side) for file in files]


@needs_weights
def test_a_graphs_features_are_those_of_onnx_runtime(start) -> None:  # type: ignore[no-untyped-def]
    runtime = pytest.importorskip("onnxruntime")
    path = WEIGHTS / "mobilenet_v2_imagenet.onnx"
    squares = some_squares(6)
    mine = encoders.encoder(start(weights=str(path), size=224))(squares)
    oracle = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = np.stack(squares).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    (theirs,) = oracle.run(["features"], {"input": given})
    assert mine.dtype == np.float32
    assert mine.shape == (6, 1280)
    assert np.abs(mine - theirs).max() < 1e-4
    assert np.abs(theirs).max() > 1


@needs_weights
def test_weights_give_torchvisions_features(start) -> None:  # type: ignore[no-untyped-def]
    import torch
    from safetensors.torch import load_file
    from torchvision.models import mobilenet_v2

    path = WEIGHTS / "mobilenet_v2_imagenet_torchvision.safetensors"
    squares = some_squares(3)
    mine = encoders.encoder(start(weights=str(path), size=224))(squares)
    oracle = mobilenet_v2(weights=None)
    oracle.load_state_dict({key: value.float() for key, value in load_file(path).items()}, strict=False)
    oracle.classifier = torch.nn.Identity()
    with torch.inference_mode():
        given = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 127.5 - 1
        theirs = oracle.eval()(given).numpy()
    assert np.abs(mine - theirs).max() < 1e-4
    assert np.abs(theirs).max() > 1


def test_timms_weights_give_timms_features_and_a_cuda_device_would_too(tmp_path: Path, start) -> None:  # type: ignore[no-untyped-def]
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    oracle = timm.create_model("resnet10t", pretrained=False, num_classes=0).eval()
    save_file(oracle.state_dict(), tmp_path / "some.safetensors")
    project = start(encoder="resnet10t", weights=str(tmp_path / "some.safetensors"), scaling="imagenet")
    squares = [square(np.asarray(picture(seed)), 64) for seed in range(5)]
    mine = encoders.encoder(project)(squares)
    with torch.inference_mode():
        given = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).double() / 255
        given = (given - torch.tensor(encoders.MEAN)[:, None, None]) / torch.tensor(encoders.DEVIATION)[:, None, None]
        theirs = oracle(given.float()).numpy()
    assert np.abs(mine - theirs).max() < 1e-4
    assert np.abs(theirs).max() > 0.01
    run = encoders.checked(
        torch_encoders.runner(torch_encoders.network("resnet10t", tmp_path / "some.safetensors"), "cpu")
    )
    in_batches = np.stack(list(run(encoders.scaled(one, "imagenet") for one in squares)))
    assert np.abs(in_batches - theirs).max() < 1e-4


def test_corners_are_opencvs_and_words_are_scikit_learns() -> None:
    import cv2
    from sklearn.cluster import KMeans

    squares = [square(np.asarray(picture(seed)), 128) for seed in range(8)]
    found = [visual_words.corners(one) for one in squares]
    detector = cv2.ORB_create(
        nfeatures=visual_words.CORNERS, edgeThreshold=visual_words.EDGE, fastThreshold=visual_words.FAINT
    )
    for one, mine in zip(squares, found, strict=True):
        _, theirs = detector.detectAndCompute(visual_words.corrected(one), None)
        assert np.array_equal(mine, theirs)
    everything = np.concatenate(found)
    learned = visual_words.learn_words(everything, 20)
    oracle = KMeans(20, init=learned / visual_words.WHOLE, n_init=1, max_iter=1)
    bits = np.unpackbits(everything, axis=1).astype(np.float64)
    oracle.fit(bits)
    oracle.cluster_centers_ = np.ascontiguousarray(learned / visual_words.WHOLE)
    assert np.array_equal(visual_words.nearest_words(everything, learned), oracle.predict(bits))
    # learned until nothing moves, or nearly: one more round of scikit-learn's finds hardly anything to gain
    full = KMeans(20, init=learned / visual_words.WHOLE, n_init=1, max_iter=100).fit(bits)
    spread = ((bits - (learned / visual_words.WHOLE)[visual_words.nearest_words(everything, learned)]) ** 2).sum()
    assert spread < 1.05 * full.inertia_


def test_counts_are_shares_of_an_images_corners() -> None:
    squares = [square(np.asarray(picture(seed)), 128) for seed in range(3)] + [np.full((128, 128, 3), 90, np.uint8)]
    learned = visual_words.learn_words(np.concatenate([visual_words.corners(one) for one in squares]), 7)
    told = visual_words.describe_images(visual_words.Vocabulary(learned, (), ""), squares, 2)
    assert (told.shape, told.dtype) == ((4, 7), np.float32)
    assert np.allclose(told.sum(axis=1), [1, 1, 1, 0])
    mine = visual_words.nearest_words(visual_words.corners(squares[1]), learned)
    assert np.allclose(told[1], np.bincount(mine, minlength=7) / len(mine))


# ---------------------------------------------------------------------------------------------------- bytes


@pytest.mark.parametrize("kind", ["deep", "orb"])
def test_numbers_do_not_depend_on_shards_and_workers(start, tmp_path: Path, kind: str) -> None:  # type: ignore[no-untyped-def]
    given = folder_of(tmp_path / "in", Lemon=30)
    told = []
    for number, (shard, workers) in enumerate(((2000, 1), (7, 3))):
        project = start(f"home{number}", shard=shard, run={"workers": workers}, features=kind, words=5)
        described(project, given)
        told.append(features.load(project, LEMON))
    (one, first), (two, second) = told
    assert one.equals(two)
    assert np.array_equal(first, second)
    assert first.shape == (30, 12 if kind == "deep" else 5)
    assert list(one["key"]) == sorted(one["key"])
    key = one["key"][4]
    alone = [square(decode(project.store.get(key), 10**8).pixels, 64)]
    if kind == "deep":
        assert np.array_equal(encoders.encoder(project)(alone)[0], first[4])


def test_a_new_image_remakes_one_shard(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    project = start()
    given = folder_of(tmp_path / "in", Lemon=40, Plum=5)
    first = described(project, given)
    assert len(first["Lemon"]) > 4
    assert described(project, given) == {"Lemon": (), "Plum": ()}
    (given / "Lemon" / "new one.jpg").write_bytes(jpeg(picture(77)))
    again = described(project, given)
    assert again["Plum"] == ()
    assert 1 <= len(again["Lemon"]) <= 2  # two where the shard was full
    assert len({name[: len(again["Lemon"][0]) - (len(again["Lemon"]) == 2)] for name in again["Lemon"]}) == 1


def test_a_new_class_touches_no_other_and_the_vocabulary_stays(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    project = start(features="orb", words=6)
    described(project, folder_of(tmp_path / "in", Lemon=10))
    before = digests(project)
    made = described(project, folder_of(tmp_path / "more", Plum=10))
    assert made["Lemon"] == ()
    assert made["Plum"]
    assert before.items() <= digests(project).items()
    assert len(project.store.list("visual_words")) == 1


def test_other_settings_make_other_features_and_the_old_ones_come_back(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    project = start()
    made = described(project, folder_of(tmp_path / "in", Lemon=10))
    for change in ({"size": 96}, {"scaling": "imagenet"}, {"features": "orb"}):
        section = project.settings.collections.model_copy(update=change)
        other = replace(project, settings=project.settings.model_copy(update={"collections": section}))
        assert described(other)["Lemon"] == made["Lemon"], change
    assert described(project)["Lemon"] == ()


@pytest.mark.kill
def test_a_killed_run_leaves_whole_shards_and_the_next_makes_the_rest(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = folder_of(tmp_path / "in", Lemon=40)
    calm, project = start("calm"), start("killed")
    made = described(calm, given)["Lemon"]
    catalog.ingest(project, given, "fruits")
    script = f"""
import os, signal
from groundplan.collections import catalog
from groundplan.collections.descriptors import features
from groundplan.collections.pipeline import run_asset, run_step
from groundplan.project import open_project
from groundplan.core.store import Store
project = open_project({str(project.home)!r})
(part,) = catalog.classes(project, "fruits")
run_step(project, catalog.DATASET, part)
inner, count = os.replace, [0]
import pathlib
real = pathlib.Path.replace
def replace(self, target):
    if "image_features/" in str(target):
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
pathlib.Path.replace = replace
run_asset(project, features.DATASET, part)
"""
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    with pytest.raises(MissingInput):
        features.load(project, LEMON)
    again = described(project)
    assert len(again["Lemon"]) == len(made) - 2
    assert digests(project) == digests(calm)
    assert os.path.exists(project.home)


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with faulty_s3.serve_as_aws() as server:
        yield server


def test_a_bucket_gives_the_same_objects_with_no_request_per_image_out(start, tmp_path: Path, s3: FaultyS3) -> None:  # type: ignore[no-untyped-def]
    given = folder_of(tmp_path / "in", Lemon=30)
    local, remote = start("local", shard=2000), start("remote", f"s3://{BUCKET}/f", shard=2000)
    described(local, given)
    catalog.ingest(remote, given, "fruits")
    s3.heal()
    described(remote)
    writes = [path for method, path in s3.seen if method == "PUT"]
    # two objects, two manifests, at most a journal of each, and the digest of the weights that lie outside the store
    assert len(writes) <= 7, writes
    assert digests(remote) == digests(local)


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.bad_input
def test_weights_that_cannot_be_used_say_why(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    graph(tmp_path / "two.onnx", ("embedding", "logits"))
    graph(tmp_path / "inf.onnx", scale=3e37)
    cases = {
        "missing.onnx": "no such weights file",
        "broken.onnx": "cannot use it",
        "two.onnx": "outputs embedding, logits",
        "broken.safetensors": "cannot be read",
        "inf.onnx": "not finite",
    }
    for name, word in cases.items():
        with pytest.raises(ModelMismatch, match=word):
            encoders.encoder(start(f"at {name}", weights=str(tmp_path / name)))([np.full((64, 64, 3), 255, np.uint8)])
    with pytest.raises(ModelMismatch, match="does not know it"):
        encoders.encoder(start("unknown", weights="imagenet", encoder="no_such_network"))


@pytest.mark.fault
def test_weights_that_cannot_be_fetched_say_so(start, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    import timm

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to the hub")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ModelMismatch, match=r"cannot be fetched.*local file"):
        encoders.encoder(start(weights="imagenet", encoder="vgg16"))


@pytest.mark.bad_input
def test_weights_of_another_network_are_refused(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import timm
    from safetensors.torch import save_file

    state = timm.create_model("resnet10t", pretrained=False, num_classes=0).state_dict()
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ModelMismatch, match=r"does not fit|lacks"):
        encoders.encoder(start(weights=str(tmp_path / "other.safetensors"), encoder="resnet18"))


@pytest.mark.bad_input
def test_a_class_without_a_usable_image_has_no_shard(start) -> None:  # type: ignore[no-untyped-def]
    project = start()
    project.store.put("collections/fruits/Lemon/a.jpg", b"text")
    assert described(project) == {"Lemon": ()}
    frame, numbers = features.load(project, LEMON)
    assert (len(frame), numbers.shape) == (0, (0, 0))
    assert need_manifest(project.store, features.DATASET, LEMON).objects == {}


@pytest.mark.bad_input
def test_features_before_a_catalogue_say_what_to_build(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    project = start()
    catalog.ingest(project, folder_of(tmp_path / "in", Lemon=1), "fruits")
    with pytest.raises(MissingInput, match=r"--collection fruits --select image_catalog"):
        run_asset(open_project(project.home), features.DATASET, LEMON)


@pytest.mark.fault
def test_an_image_that_changed_since_the_catalogue_is_not_described(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for kind in ("deep", "orb"):
        project = start(kind, features=kind)
        catalog.ingest(project, folder_of(tmp_path / kind, Lemon=3), "fruits")
        cataloged(project, "fruits")
        project.store.put("collections/fruits/Lemon/Lemon-b1.jpg", jpeg(picture(9)))
        with pytest.raises(BlocksFailed, match="changed after it was catalogued"):
            run_asset(project, features.DATASET, LEMON)
        assert not project.store.list("image_features")
