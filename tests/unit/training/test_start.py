"""A training that starts from a whole model: the one that ships, or a file; projects without one are as they were."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeProject

from groundplan import starter
from groundplan.errors import ModelMismatch
from groundplan.inference.runtime import load
from groundplan.training import models
from groundplan.training.export import export, state_in
from groundplan.training.loop import initial_state
from groundplan.training.model_files import read_model
from groundplan.training.network import build, starting_state
from groundplan.training.settings import TrainSettings
from groundplan.training.starting_weights import look_for_weights

SMALL = TrainSettings(encoder_weights="none", grid_resolution=0.15)


def test_the_starter_model_fits_and_says_where_it_comes_from() -> None:
    assert starter.FILE.stat().st_size <= 14 * 2**20
    card = models.unpack(starter.FILE.read_bytes()).card
    assert {one["licence"] for one in card["sources"]} == {"CC BY 4.0", "ODbL 1.0", "Apache-2.0"}
    assert all(one["attribution"] and one["url"] for one in card["sources"])
    towns = {"banepa-2022", "kampala-2022", "kampala-2024", "zanzibar-2022", "zanzibar-2024", "catanduanes-2022"}
    assert towns <= set(card["towns"])
    assert all(0 <= card["towns"][town]["iou"] <= 1 for town in towns)
    assert card["settings"]["encoder"] == "mobilenet_v2"


def test_a_graph_with_names_says_the_same_and_gives_its_state_back() -> None:
    import torch

    torch.manual_seed(3)
    state = build(SMALL).state_dict()
    for key, value in state.items():
        if value.is_floating_point():  # norms differ, as those of a trained network do: equal ones would be kept once
            state[key] = (value + 0.01 * torch.rand_like(value)).half().float()
    graph, plain = export(state, SMALL, named=True), export(state, SMALL)
    assert len(graph) < 0.6 * len(plain)
    found = state_in(graph)
    assert set(state) - set(found) == {key for key in state if key.endswith("num_batches_tracked")}
    assert all(torch.equal(found[key], state[key]) for key in found)
    assert not state_in(plain).get("1.encoder.features.0.1.running_mean", torch.zeros(0)).numel(), (
        "its norms are folded"
    )
    window = np.random.default_rng(5).integers(0, 256, (3, 128, 128), np.uint8)
    said = [load(one, threads=1).predict(window).astype(int) for one in (graph, plain)]
    assert np.abs(said[0] - said[1]).max() <= 1


def test_a_training_begins_with_the_starters_weights() -> None:
    import torch

    settings = TrainSettings(start=str(starter.FILE))
    wanted = starting_state(starter.FILE, settings.encoder)
    begun = initial_state(settings, None)
    for network in (begun.network, begun.average):
        found = network.state_dict()
        assert all(torch.equal(found[key].cpu(), value) for key, value in wanted.items())
    assert len(wanted) > 300


def test_only_a_start_is_part_of_what_a_model_was_made_with(tmp_path: Path, make_project: MakeProject) -> None:
    plain = models.settings_fingerprint(make_project(tmp_path / "a", model={"encoder": "mobilenet_v2"}))
    same = models.settings_fingerprint(make_project(tmp_path / "b", model={"encoder": "mobilenet_v2", "start": ""}))
    assert plain == same
    own = tmp_path / "c"
    own.mkdir()
    file = own / "mine.zip"
    file.write_bytes(starter.FILE.read_bytes())
    project = make_project(own, model={"encoder": "mobilenet_v2", "start": "mine.zip"})
    before = models.settings_fingerprint(project)
    shipped = make_project(tmp_path / "d", model={"encoder": "mobilenet_v2", "start": "starter"})
    assert before == models.settings_fingerprint(shipped) != plain, "what is in it counts, not where it lies"
    assert models.train_settings(project).start == str(file)
    file.unlink()
    assert models.settings_fingerprint(project) == before, "what was trained needs it no longer"
    with pytest.raises(ModelMismatch, match=r"mine\.zip: there is no such model to start from"):
        look_for_weights(project)


@pytest.mark.bad_input
def test_a_start_that_does_not_fit_is_named_before_a_build(tmp_path: Path, make_project: MakeProject) -> None:
    look_for_weights(make_project(tmp_path / "a", model={"encoder": "mobilenet_v2", "start": "starter"}))
    other = make_project(tmp_path / "b", model={"encoder": "resnet18", "start": "starter"})
    with pytest.raises(ModelMismatch, match=r"it is of encoder mobilenet_v2 .*Set model\.encoder to 'mobilenet_v2'"):
        look_for_weights(other)
    damaged = make_project(tmp_path / "c", model={"encoder": "mobilenet_v2", "start": "torn.zip"})
    (damaged.home / "torn.zip").write_bytes(starter.FILE.read_bytes()[:5000])
    with pytest.raises(
        ModelMismatch, match=r"torn\.zip: its file holds no model .*Fetch it again, or set model\.start"
    ):
        look_for_weights(damaged)
    with pytest.raises(ModelMismatch, match=r"torn\.zip: it holds no model to start from"):
        starting_state(damaged.home / "torn.zip", "mobilenet_v2")
    bare = tmp_path / "foreign.zip"
    with zipfile.ZipFile(starter.FILE) as shipped, zipfile.ZipFile(bare, "w") as archive:
        archive.writestr("card.json", shipped.read("card.json"))
        archive.writestr("model.onnx", b"")
    with pytest.raises(ModelMismatch, match="does not hold its weights by name"):
        starting_state(bare, "mobilenet_v2")


@pytest.mark.bad_input
@pytest.mark.parametrize("part", ["model.onnx", "weights.safetensors"])
def test_a_start_whose_weights_are_damaged_is_named_before_a_build(
    part: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", model={"encoder": "mobilenet_v2", "start": "mine.zip"})
    path = project.home / "mine.zip"
    with zipfile.ZipFile(starter.FILE) as shipped, zipfile.ZipFile(path, "w") as archive:
        for name in ("card.json", "model.onnx"):
            archive.writestr(name, shipped.read(name))
        archive.writestr("weights.safetensors", b"many weights " * 1000)
    look_for_weights(project)
    with zipfile.ZipFile(path) as archive:
        middle = archive.getinfo(part).header_offset + archive.getinfo(part).file_size // 2
    data = bytearray(path.read_bytes())
    data[middle] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelMismatch, match=rf"mine\.zip: .*{part}.*Fetch it again, or set model\.start to ''"):
        look_for_weights(project)


def test_the_starter_is_a_model_like_any_other() -> None:
    assert json.loads(json.dumps(models.describe(read_model(starter.FILE))))["settings"] == "given"
