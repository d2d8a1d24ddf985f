"""Promotion: models enter the registry by themselves, the gate compares on held-out ground, exports are whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import new_project
from tiny_models import bright_file

from groundplan.errors import BadConfig
from groundplan.operations.store_audit import garbage
from groundplan.project import Project, open_project
from groundplan.promotion import discover, export_model, gate, judge, promote
from groundplan.registry import entries, entry_of, read_aliases, roll_back, set_alias
from groundplan.training.model_files import commit_model


@pytest.fixture(scope="module")
def built(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with labels, so with held-out ground."""
    home = shutil.copytree(built_home, tmp_path_factory.mktemp("promotion") / "home")
    return open_project(home)


def with_baseline(project: Project) -> None:
    for entry in entries(project.store, "footprints"):
        project.store.put(f"drift/baselines/{entry.sha256}.json", b"{}")


def test_models_that_were_made_enter_the_registry_once_and_the_newest_is_the_candidate(tmp_path: Path) -> None:
    project = new_project(tmp_path / "home")
    commit_model(project, bright_file(0.3), 2023)
    (first,) = discover(project)
    assert discover(project) == []
    assert (first.kind, first.source, first.card["resolution"]) == ("footprints", "2023", 0.3)
    commit_model(project, bright_file(0.31), 2023)
    (second,) = discover(project)
    assert [entry.version for entry in entries(project.store, "footprints")] == [first.version, second.version]
    assert read_aliases(project.store, "footprints").versions == {"candidate": second.version}
    item = json.loads(project.store.get(f"models/footprints/{second.version}.json"))
    assert [link["href"] for link in item["links"] if link["rel"] == "predecessor-version"] == [
        f"./{first.version}.json"
    ]


def test_what_was_replaced_and_is_registered_is_no_garbage(tmp_path: Path) -> None:
    project = new_project(tmp_path / "home")
    for resolution in (0.3, 0.31):
        commit_model(project, bright_file(resolution), 2023)
        discover(project)
    project.store.put("trained_model/2023/model-left.zip", b"left over")
    assert [item.key for item in garbage(project, 0.0)] == ["trained_model/2023/model-left.zip"]


def test_the_gate_names_what_lacks_and_lets_pass_what_holds(built: Project) -> None:
    discover(built)
    with pytest.raises(BadConfig, match="no drift baseline"):
        promote(built, "footprints", "candidate", who="tests")
    assert "production" not in read_aliases(built.store, "footprints").versions
    with_baseline(built)
    entry, judged, aliases = promote(built, "footprints", "candidate", who="tests")
    assert judged.passed
    assert set(judged.figures["candidate"]) == {"iou", "object_f1", "buildings"}
    assert aliases.versions["production"] == entry.version
    assert aliases.history[-1]["gate"]["candidate"] == judged.figures["candidate"]


def test_a_version_that_is_worse_on_held_out_ground_is_held_back(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    discover(built)
    (good,) = entries(built.store, "footprints")
    set_alias(built.store, "footprints", "production", good.version, who="tests", why="promoted")
    commit_model(built, bright_file(0.3), 2024)
    (other,) = discover(built)
    with_baseline(built)
    figures = {good.version: {"iou": 0.7, "object_f1": 0.6}, other.version: {"iou": 0.72, "object_f1": 0.59}}
    monkeypatch.setattr(gate, "figures_on", lambda project, entry, scenes, check: figures[entry.version])
    judged = judge(built, other, good)
    assert {one.name for one in judged.conditions if not one.holds} == {"object_f1"}, "better by one is not enough"
    with pytest.raises(BadConfig, match=r"object_f1 0[.]590 against 0[.]600"):
        promote(built, "footprints", "candidate", who="tests")
    assert entry_of(built.store, "footprints", "production") == good
    _, _, aliases = promote(built, "footprints", other.version, who="tests", anyway="to see it")
    assert (aliases.history[-1]["anyway"], aliases.history[-1]["passed"]) == ("to see it", False)
    assert roll_back(built.store, "footprints", "production", who="tests").versions["production"] == good.version


def test_predictions_follow_an_alias_where_one_is_set(tmp_path: Path) -> None:
    from groundplan.training import models

    project = new_project(tmp_path / "home", predict={"model_alias": "production"}, grid={"resolution": 0.3})
    commit_model(project, bright_file(0.3), 2023)
    (entry,) = discover(project)
    with pytest.raises(BadConfig, match="version or alias of model footprints 'production'"):
        models.model_for(project, 2020)
    promote(project, "footprints", "candidate", who="tests", anyway="no labels here")
    made = models.model_for(project, 2020)
    assert (made.key, made.facts["sha256"]) == (entry.key, entry.sha256)
    assert models.load(project, 2020).sha256 == entry.sha256


def test_a_project_without_labels_has_no_held_out_ground(tmp_path: Path) -> None:
    project = new_project(tmp_path / "home")
    commit_model(project, bright_file(0.3), 2023)
    discover(project)
    with_baseline(project)
    with pytest.raises(BadConfig, match="no ground with labels is held out"):
        promote(project, "footprints", "candidate", who="tests")


def test_layouts_of_other_registries_are_whole_and_never_over_something(built: Project, tmp_path: Path) -> None:
    discover(built)
    entry = entries(built.store, "footprints")[0]
    export_model(built.store, entry, tmp_path / "hf", "huggingface")
    assert {path.name for path in (tmp_path / "hf").iterdir()} == {
        "README.md",
        "config.json",
        "card.json",
        "model.onnx",
        "model.safetensors",
        "stac-item.json",
    }
    export_model(built.store, entry, tmp_path / "ml", "mlflow")
    described = yaml.safe_load((tmp_path / "ml/MLmodel").read_text())
    assert described["flavors"]["onnx"]["data"] == described["flavors"]["python_function"]["data"] == "model.onnx"
    with pytest.raises(BadConfig, match="holds something"):
        export_model(built.store, entry, tmp_path / "hf", "mlflow")
    with pytest.raises(BadConfig, match="is none"):
        export_model(built.store, entry, tmp_path / "other", "pickle")


def test_what_was_exported_is_read_by_who_it_is_for_and_is_what_its_item_says(built: Project, tmp_path: Path) -> None:
    """By the libraries of the hub, of safetensors and of ONNX."""
    import onnxruntime
    from huggingface_hub import ModelCard
    from safetensors.numpy import load_file

    discover(built)
    entry = entries(built.store, "footprints")[0]
    export_model(built.store, entry, tmp_path / "hf", "huggingface")
    card = ModelCard.load(tmp_path / "hf/README.md").data
    assert card.pipeline_tag == "image-segmentation"
    told = {one.metric_type: one.metric_value for one in card.eval_results}
    assert told["iou"] == entry.card["test"]["iou"]
    assert sum(part.size for part in load_file(tmp_path / "hf/model.safetensors").values()) > 10_000
    item = json.loads((tmp_path / "hf/stac-item.json").read_text())["properties"]
    graph = onnxruntime.InferenceSession(tmp_path / "hf/model.onnx")
    window = np.full((1, 3, 64, 64), 100, np.uint8)
    (made,) = graph.run(None, {item["mlm:input"][0]["name"]: window})
    (result,) = (one["result"] for one in item["mlm:output"])
    assert (str(made.dtype), made.shape) == (result["data_type"], (1, 2, 64, 64))


def test_a_network_from_elsewhere_is_described_as_what_it_takes(tmp_path: Path) -> None:
    project = new_project(tmp_path / "home")
    commit_model(project, bright_file(0.3), 2023)
    (entry,) = discover(project)
    item = json.loads(project.store.get(f"models/footprints/{entry.version}.json"))["properties"]
    (taken,) = item["mlm:input"]
    assert taken["input"]["data_type"] == "float32"
    assert taken["value_scaling"] == [{"type": "z-score", "mean": 0.0, "stddev": 255.0}] * 3
    assert item["mlm:output"][0]["result"]["data_type"] == "float32"
