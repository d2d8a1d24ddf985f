"""Collections by the real command: from a folder to a report, killed on the way, on a folder and on a bucket."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from collection_shards import CLASSES, draw
from commands import COMMAND, PATIENCE, environment, run
from conftest import new_project
from faulty_s3 import BUCKET, serve_as_aws

from groundplan import config
from groundplan.collections import catalog, pipeline
from groundplan.collections.classification import classifier
from groundplan.collections.report import report
from groundplan.errors import BadConfig
from groundplan.project import Project, open_project
from orchestration.cli.collections import init_collections, set_weights

pytestmark = pytest.mark.slow  # a kill is a build that dies and one that ends, each a process of its own

DATASETS = tuple(pipeline.STEPS)


@dataclass
class Walk:
    """A project made by commands, and what each said."""

    home: Path
    said: dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """init, add-collection, build, build again. Only to look at, or to copy."""
    folder = tmp_path_factory.mktemp("walk")
    draw(folder / "images", count=10)
    (folder / "images/README.md").write_text("about these images")
    said = {}
    for name, arguments in {
        "init": ("init", "demo", "--collection"),
        "add": ("add-collection", "images", "--name", "fruits"),
        "build": ("build", "--collection", "fruits"),
        "again": ("build", "--collection", "fruits", "--json"),
    }.items():
        said[name] = run(folder, *arguments)
    return Walk(folder / "demo", said)


def contents(project: Project, *but: str) -> dict[str, str]:
    """Key to SHA-256 of every object that a dataset of the collection consists of."""
    names = [name for name in DATASETS if name not in but]
    found = [item.key for name in names for item in project.store.list(name)]
    return {key: sha256(project.store.get(key)).hexdigest() for key in found}


# --- the way through --------------------------------------------------------------------------------------------------


def test_three_commands_lead_from_a_folder_to_a_report(walked: Walk) -> None:
    for name, done in walked.said.items():
        assert done.returncode == 0, (name, done.stdout, done.stderr)
    assert "30 images copied" in walked.said["add"].stdout
    assert "README.md: it is no class folder" in walked.said["add"].stdout
    told = json.loads(walked.said["again"].stdout)
    assert {row["outcome"] for row in told["done"]} == {"current"}
    figures = told["figures"]
    project = open_project(walked.home)
    card = classifier.load(project, "fruits").card
    assert figures["images"] == 30
    assert figures["test accuracy"] == card["test"]["accuracy"]
    assert figures["components"] == card["components"]
    assert figures["variance"] > 0.95
    assert Path(figures["report"]).read_bytes() == project.store.get("previews/collections/fruits/report.html")
    for key in ("components", "variance", "test accuracy", "Parquet", "report"):
        assert str(figures[key]) in walked.said["build"].stdout.replace("\n", ""), key
    assert list((walked.home / "store/reduced_features/fruits").rglob("*.parquet"))


def test_what_cannot_be_used_is_named_and_the_exit_code_says_so(walked: Walk, tmp_path: Path) -> None:
    home = tmp_path / "demo"
    shutil.copytree(walked.home, home)
    more = draw(tmp_path / "more", (CLASSES[1],), count=11)
    (more / CLASSES[1] / "half.jpg").write_bytes((more / CLASSES[1] / "bild 10.jpg").read_bytes()[:400])
    catalog.ingest(open_project(home), more, "fruits")
    done = run(tmp_path, "build", "--collection", "fruits", "--home", home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 files that are no usable image" in done.stdout
    assert "test accuracy" in done.stdout, "the rest goes on"
    assert "half.jpg" in (home / "reports/fruits.html").read_text("utf-8")
    again = run(tmp_path, "build", "--collection", "fruits", "--home", home)
    assert again.returncode == 1, "also when nothing is made"


# --- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.kill
@pytest.mark.parametrize("dataset", ["image_features", "reduced_features"])
def test_a_killed_build_goes_on_and_ends_in_the_same_bytes(walked: Walk, tmp_path: Path, dataset: str) -> None:
    """Killed as soon as the dataset's first object is there: so in the middle of it, or of the next."""
    home, store = tmp_path / "demo", tmp_path / "demo/store"
    shutil.copytree(walked.home, home, ignore=shutil.ignore_patterns(*DATASETS, "manifests", "previews", "reports"))
    process = subprocess.Popen(
        [*COMMAND, "build", "--collection", "fruits", "--home", str(home)],
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + PATIENCE
    while not any((store / dataset).rglob("*.*")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL, "it had ended before it was killed"
    left = {item.key for item in open_project(home).store.list() if item.key.startswith(f"{dataset}/")}
    assert left
    done = run(tmp_path, "build", "--collection", "fruits", "--home", home)
    assert done.returncode == 0, done.stdout + done.stderr
    whole = open_project(walked.home)
    ended = contents(open_project(home), report.DATASET)  # a report names the store it is of
    assert ended == contents(whole, report.DATASET)
    assert left <= ended.keys(), "what was finished was kept"


# --- a bucket ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serve_as_aws():
        yield f"s3://{BUCKET}/collections-test"


def test_a_bucket_gives_the_same_bytes_as_a_folder(walked: Walk, bucket: str, tmp_path: Path) -> None:
    quick = {"features": "orb", "words": 16, "size": 64, "shard": 6}
    project = new_project(tmp_path / "home", store=bucket, collections=quick)
    catalog.ingest(project, walked.home.parent / "images", "fruits")
    for name in pipeline.ASSETS:
        for partition, outcome in pipeline.run_all(project, name, pipeline.partitions_of(project, name, "fruits")):
            assert not isinstance(outcome, Exception), (partition, outcome)
    assert contents(project, report.DATASET) == contents(open_project(walked.home), report.DATASET)
    assert [
        each.state
        for name in pipeline.ASSETS
        for each in pipeline.asset_states(project, name, pipeline.partitions_of(project, name, "fruits"))
    ] == ["current"] * 11


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_options_that_make_no_sense(walked: Walk, tmp_path: Path) -> None:
    for arguments, told in {
        ("init", "gp"): "a grid needs --crs and --resolution",
        ("build", "--collection", "fruit", "--home", walked.home): "Did you mean 'fruits'? Choose from: fruits",
        ("build", "--collection", "../x", "--home", walked.home): "cannot be part of a path",
        ("build", "--collection", "fruits", "--select", "tiles", "--home", walked.home): "image_catalog",
        ("add-collection", tmp_path, "--name", "fruits", "--home", walked.home): "it holds no class folder",
    }.items():
        done = run(tmp_path, *arguments)
        assert done.returncode == 1, arguments
        assert told in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr, arguments


def test_weights_are_written_into_the_settings(tmp_path: Path) -> None:
    """Into a new project, over earlier ones, and beside other tables; comments and other keys stay."""
    first, second = tmp_path / "a b.onnx", tmp_path / 'ö"c.onnx'
    init_collections(tmp_path / "gp", "", first)
    assert config.load(tmp_path / "gp", {}).collections.weights == str(first)
    set_weights(tmp_path / "gp", second)
    assert config.load(tmp_path / "gp", {}).collections.weights == str(second)
    file = tmp_path / "gp/groundplan.toml"
    more = file.read_text().replace("[collections]", "[collections]\nsize = 96  # small") + "[labels]\n"
    file.write_text(more, "utf-8")
    set_weights(tmp_path / "gp", first)
    settings = config.load(tmp_path / "gp", {})
    assert (settings.collections.weights, settings.collections.size) == (str(first), 96)
    assert "stands in for it" in file.read_text()
    file.write_text(file.read_text().split("[collections]")[0], "utf-8")
    set_weights(tmp_path / "gp", second)
    assert config.load(tmp_path / "gp", {}).collections.weights == str(second)


def test_init_leaves_nothing_when_the_store_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="its kind is not known"):
        init_collections(tmp_path / "gp", "ftp://somewhere", None)
    assert not (tmp_path / "gp/groundplan.toml").exists()
