"""Weights are looked for before a build begins, within seconds; a model that is trained needs them no longer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MakeProject

from groundplan.errors import BadConfig, ModelMismatch
from groundplan.inference import hub
from groundplan.training import models, starting_weights
from groundplan.training.starting_weights import check_encoder, look_for_weights


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    return tmp_path / "cache"


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that takes connections and never answers."""
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


@pytest.mark.fault
@pytest.mark.usefixtures("silent_hub")
def test_a_hub_that_does_not_answer_is_given_up_soon(
    tmp_path: Path, make_project: MakeProject, no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "SECONDS", 0.2)
    project = make_project(tmp_path / "home", model={"encoder_weights": "imagenet", "encoder": "resnet18"})
    with pytest.raises(ModelMismatch, match=r"resnet18 .*not on this machine.*model\.encoder_weights"):
        look_for_weights(project)
    lying = no_cache / "models--smp-hub--resnet18.imagenet" / "snapshots" / "0a1b"
    lying.mkdir(parents=True)
    (lying / "model.safetensors").touch()
    look_for_weights(project)  # needs no hub


def test_the_time_allowed_is_short() -> None:
    assert hub.SECONDS < 10


def test_a_name_that_cannot_be_looked_up_does_not_hold_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SECONDS", 0.1)
    monkeypatch.setattr(hub, "_ask", lambda _url: time.sleep(2) or "")
    assert "did not answer" in hub._why_not("http://127.0.0.1:1")


@pytest.mark.slow  # loads torch
def test_an_unknown_encoder_is_met_with_the_one_that_was_meant() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    with pytest.raises(BadConfig, match=r"Did you mean 'resnet1[08]"):
        check_encoder("resnet19")
    check_encoder("mobilenet_v2")


def test_a_trained_model_needs_the_weights_no_longer_that_it_began_with(
    tmp_path: Path, make_project: MakeProject
) -> None:
    """What decides whether a model is current is the same without the file, once it was seen."""
    project = make_project(tmp_path / "home", model={"encoder_weights": "begin.safetensors"})
    weights = tmp_path / "home" / "begin.safetensors"
    with pytest.raises(ModelMismatch, match="no such weights file"):
        models.settings_fingerprint(project)
    weights.write_bytes(b"weights")
    with_file = models.settings_fingerprint(project)
    weights.unlink()
    assert models.settings_fingerprint(project) == with_file
    with pytest.raises(ModelMismatch, match="no such weights file"):
        starting_weights.check_weights(project)  # a training needs them
    weights.write_bytes(b"others")
    assert models.settings_fingerprint(project) != with_file
