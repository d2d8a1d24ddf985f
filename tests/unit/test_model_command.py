"""`groundplan predict` and `groundplan model`: what is written, and what a project then says of its model."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas as gpd
import pytest
from typer.testing import CliRunner
from walkthrough import TOWN, YEAR, Walk

from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.pipeline import asset_state, run_asset
from groundplan.project import open_project
from groundplan.training import models
from orchestration.cli.main import app


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_a_model_goes_out_and_comes_in_and_predicts(walked: Walk, tmp_path: Path) -> None:
    sheet = walked.country.sheets[walked.country.names[0], YEAR][0]
    graph = tmp_path / "roofs.onnx"
    assert "Wrote" in run("model", "export", graph, "--home", walked.home)
    assert run("predict", sheet, "--model", graph, "-o", tmp_path / "found.gpkg").startswith("Wrote ")
    assert len(gpd.read_file(tmp_path / "found.gpkg", layer=0)) > 3

    home = shutil.copytree(walked.home, tmp_path / "home")
    assert "roofs.onnx, SHA-256" in run("model", "add", graph, "--home", home)
    project, year = open_project(home), Partition(YEAR)
    facts = need_manifest(project.store, models.DATASET, year).objects["model"].facts
    assert facts["source"].startswith("roofs.onnx")
    assert asset_state(project, models.DATASET, year).state == "current", "no build trains another in its place"
    assert not models.learned_here(project, YEAR)
    assert asset_state(project, "predictions", Partition(YEAR, TOWN)).state == "stale"
    run_asset(project, "predictions", Partition(YEAR, TOWN))
    assert asset_state(project, "predictions", Partition(YEAR, TOWN)).state == "current"
