"""A fine-tuned encoder: the same bytes after a kill, a graph that says what torch says, and a report with both."""

from __future__ import annotations

import io
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from collection_shards import draw
from conftest import new_project

from groundplan.collections import catalog, forget, pipeline
from groundplan.collections.classification import fine_tuned
from groundplan.collections.descriptors import encoders
from groundplan.collections.pipeline import run_step
from groundplan.collections.report import report
from groundplan.core.materialize import Cancellation
from groundplan.core.partition import ClassPartition
from groundplan.errors import BlocksFailed
from groundplan.project import Project, open_project

pytestmark = pytest.mark.slow  # torch

torch = pytest.importorskip("torch")
STEPS = 6
WHOLE = ClassPartition("fruits")
ALONE = """
import os, signal, sys
from groundplan.collections.classification import fine_tuned, fine_tuning
from groundplan.core.partition import ClassPartition
from groundplan.collections.pipeline import run_step
from groundplan.project import open_project
from groundplan.core.store import Store

deaths, inner, saved, step, steps = int(sys.argv[2]), Store.put, [], fine_tuning._step, []
def put(store, key, *rest):
    done = inner(store, key, *rest)
    saved.append(key) if key.startswith("checkpoints/") else None
    if len(saved) == deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Store.put, fine_tuning.SAVE_EVERY = put, 0.0
fine_tuning._step = lambda *given: (steps.append(1), step(*given))[1]
run_step(open_project(sys.argv[1]), fine_tuned.DATASET, ClassPartition("fruits"))
print(len(steps))
"""


def settings(weights: Path, **more: object) -> dict[str, object]:
    minutes = STEPS * (64 / 224) ** 2 / fine_tuned.STEPS_PER_MINUTE
    return {
        "encoder": "test_resnet",
        "weights": str(weights),
        "scaling": "imagenet",
        "size": 64,
        "fine_tune": minutes,
        **more,
    }


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tiny network, drawn by lot."""
    import timm
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_file(timm.create_model("test_resnet", pretrained=False, num_classes=0).state_dict(), path)
    return path


def cataloged(home: Path, folder: Path, **given: object) -> Project:
    project = new_project(home, collections=given)  # type: ignore[arg-type]
    catalog.ingest(project, folder, "fruits")
    for part in catalog.classes(project, "fruits"):
        run_step(project, catalog.DATASET, part)
    return project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Project:
    """The whole collection, built with fine-tuning. Only to look at."""
    folder = tmp_path_factory.mktemp("tuned")
    project = cataloged(folder / "demo", draw(folder / "images", count=14), **settings(weights))
    for name in pipeline.ASSETS:
        for _, outcome in pipeline.run_all(project, name, pipeline.partitions_of(project, name, "fruits")):
            assert not isinstance(outcome, Exception), outcome
    return project


def tuned_bytes(project: Project) -> bytes:
    (item,) = project.store.list(fine_tuned.DATASET)
    return project.store.get(item.key)


def test_the_graph_says_what_torch_says(made: Project) -> None:
    """The oracle is torch, with the weights that lie beside the graph, cooled by the card's temperature."""
    import onnxruntime
    from safetensors.torch import load

    from groundplan.collections.classification import fine_tuning

    found = fine_tuned.load(made, "fruits")
    network = fine_tuning.encoder_with_head(fine_tuned._recipe(made, len(found.card["labels"])))
    before = next(network.encoder.parameters()).detach().clone()
    network.load_state_dict(load(found.state))
    assert float((next(network.encoder.parameters()).detach() - before).abs().max()) > 1e-5, "the encoder did not move"
    squares = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    pixels = np.stack([encoders.scaled(square, "imagenet") for square in squares])
    session = onnxruntime.InferenceSession(found.onnx, providers=["CPUExecutionProvider"])
    features, probabilities = session.run(["features", "probabilities"], {"images": pixels})
    with torch.no_grad():
        expected = torch.softmax(network(torch.from_numpy(pixels)) / found.card["temperature"], 1).numpy()
        inner = network.encoder(torch.from_numpy(pixels)).numpy()
    assert np.abs(probabilities - expected).max() < 1e-4
    assert np.abs(features - inner).max() < 1e-4 * max(1, np.abs(inner).max())
    assert np.ptp(expected, axis=1).min() > 1e-4, "a head of nothing would say the same of all"


def test_it_learns_and_the_report_shows_both(made: Project) -> None:
    card = fine_tuned.load(made, "fruits").card
    assert card["recipe"]["steps"] == STEPS
    assert min(row["loss"] for row in card["history"]) < math.log(3), "no better than by lot"
    assert sum(card["images"].values()) == 3 * 14
    (item,) = made.store.list(report.DATASET)
    text = made.store.get(item.key).decode()
    assert "linear, on components" in text
    assert "fine-tuned encoder" in text
    assert f"<td class=n>{card['test']['accuracy']}</td>" in text
    assert not made.store.list("checkpoints"), "a finished training leaves none"
    assert [pipeline.asset_state(made, name, WHOLE).state for name in pipeline.ASSETS[-2:]] == ["current"] * 2


@pytest.mark.kill
def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(made: Project, tmp_path: Path, weights: Path) -> None:
    project = cataloged(tmp_path / "home", draw(tmp_path / "images", count=14), **settings(weights))
    command = [sys.executable, "-c", ALONE, str(project.home)]
    killed = subprocess.run([*command, "3"], capture_output=True, text=True, timeout=180)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (saved,) = project.store.list("checkpoints")
    assert torch.load(io.BytesIO(project.store.get(saved.key)), weights_only=True)["step"] == 3
    assert not project.store.list(fine_tuned.DATASET)
    done = subprocess.run([*command, "0"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == STEPS - 3, "it began anew"
    assert tuned_bytes(project) == tuned_bytes(made)


def test_without_minutes_nothing_is_different(made: Project, tmp_path: Path, weights: Path) -> None:
    """Another step, another line in the report's identity: none of it where fine_tune is 0."""
    file = made.home / "groundplan.toml"
    (tmp_path / "off").mkdir()
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("fine_tune")]
    text = "\n".join(lines).replace('store = ""', f'store = "{made.store.url}"')
    (tmp_path / "off/groundplan.toml").write_text(text, "utf-8")
    off = open_project(tmp_path / "off")
    assert off.settings.collections.fine_tune == 0
    assert [report.manifest.dataset for report in pipeline.run_asset(off, "image_classifier", WHOLE)] == [
        "image_classifier"
    ]
    assert report._tuned_mark(off, WHOLE) == {}
    assert pipeline.asset_state(off, "image_classifier", WHOLE).state == "current"
    (planned,) = report.plan(off, WHOLE)
    assert "ine-tuned" not in report.make(off, planned, Cancellation()).data.decode()


@pytest.mark.bad_input
def test_without_torch_or_with_a_graph_it_says_what_to_do(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw(tmp_path / "images", count=6)
    project = cataloged(tmp_path / "home", folder, **settings(weights))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "timm", None)
        with pytest.raises(BlocksFailed, match="Install the extra 'train'"):
            run_step(project, fine_tuned.DATASET, WHOLE)
    (tmp_path / "x.onnx").write_bytes(b"a graph")
    project = cataloged(tmp_path / "second", folder, **settings(tmp_path / "x.onnx"))
    with pytest.raises(BlocksFailed, match="a graph cannot be fine-tuned"):
        run_step(project, fine_tuned.DATASET, WHOLE)


def test_forgetting_takes_the_network_and_its_checkpoint(tmp_path: Path, weights: Path) -> None:
    project = cataloged(tmp_path / "home", draw(tmp_path / "images", count=6), **settings(weights))
    for key in ("tuned_classifier/fruits/classifier-1.zip", "checkpoints/tuned_classifier/fruits/1.pt"):
        project.store.put(key, b"learned from it")
    forget.forget(project, [project.store.list("collections/fruits")[0].key])
    assert not project.store.list(fine_tuned.DATASET)
    assert not project.store.list("checkpoints")


def test_every_image_teaches_once_a_round() -> None:
    places = np.concatenate([fine_tuned.batch_order(step, 40) for step in range(10)])
    assert all(sorted(places[turn * 40 : (turn + 1) * 40]) == list(range(40)) for turn in range(4))
    assert list(places[:40]) != list(places[40:80])
