"""The images as pods meet them: without rights, on a read-only root file system, and nothing in them but Groundplan.

Real builds: minutes the first time, seconds after that. Not here: how they are built (build_images.py).
"""

from __future__ import annotations

import importlib.metadata
import json
import mmap
from collections.abc import Iterator
from pathlib import Path

import pytest
from build_images import SECRET_MARK, Image, build, config, run_inside, unpacked

LARGEST = 1_500_000_000  # bytes of the image that every pod but the training ones uses
TOOLS = ("pip", "pip3", "uv", "gcc", "cc", "g++", "make", "ld", "git", "curl", "wget")


@pytest.fixture(scope="session")
def small() -> Image:
    return build("groundplan")


@pytest.fixture(scope="session")
def train() -> Image:
    return build("groundplan-train")


@pytest.fixture(scope="session")
def root(small: Image) -> Iterator[Path]:
    with unpacked(small) as path:
        yield path


@pytest.fixture(scope="session")
def train_root(train: Image) -> Iterator[Path]:
    with unpacked(train) as path:
        yield path


def python(root: Path, image: Image, code: str) -> str:
    """What Python code prints inside the image."""
    done = run_inside(root, image, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_small(small: Image) -> None:
    print(f"\n{small.reference}: {small.size / 1e6:,.0f} MB")
    assert small.size < LARGEST


@pytest.mark.parametrize(
    "command",
    [
        ("groundplan", "--help"),
        ("dagster", "--version"),
        ("dagster-webserver", "--version"),
        ("dagster-daemon", "--version"),
        # the chart starts web server and daemon through bash, the run launcher by "args" alone
        ("/bin/bash", "-c", "dagster --version"),
    ],
    ids=" ".join,
)
def test_commands_are_found(root: Path, small: Image, command: tuple[str, ...]) -> None:
    done = run_inside(root, small, *command)
    assert done.returncode == 0, done.stderr


def test_a_process_has_no_rights(root: Path, small: Image) -> None:
    code = """
import errno, os
print(os.getuid(), os.getgid(), os.getpid())
for place in ("/", "/opt/groundplan", "/opt/dagster/dagster_home", "/etc/groundplan", "/var/tmp"):
    try:
        open(place + "/x", "w")
    except OSError as error:
        assert error.errno in (errno.EROFS, errno.EACCES), error
    else:
        raise SystemExit(place)
open("/tmp/x", "w")
"""
    assert python(root, small, code).split() == ["10001", "10001", "1"]


def test_the_code_location_loads(root: Path, small: Image) -> None:
    code = "from orchestration.definitions import defs; print(len(list(defs.resolve_all_asset_specs())))"
    assert int(python(root, small, code)) >= 8
    # Dagster's default storage is SQLite in DAGSTER_HOME, which nobody can write to here; a cluster has PostgreSQL
    validate = "DAGSTER_HOME=/tmp exec dagster definitions validate --workspace /opt/groundplan/workspace.yaml"
    done = run_inside(root, small, "/bin/bash", "-c", validate)
    assert done.returncode == 0, done.stderr


def test_libraries_do_their_work(root: Path, small: Image) -> None:
    """Each through a shared library of its own: an import alone would not load all of them."""
    code = """
import cv2, geopandas, numpy as np, obstore.store, openvino as ov, psycopg2, pyarrow.parquet, pyogrio, pyproj, rasterio
import matplotlib.pyplot, scipy.ndimage, shapely, skimage.measure
import openvino.opset13 as ops
from rasterio.transform import from_origin

with rasterio.open("/tmp/a.tif", "w", driver="COG", width=64, height=64, count=1, dtype="uint8", crs="EPSG:28992",
                   transform=from_origin(0, 0, 1, 1)) as tif:
    tif.write(np.full((1, 64, 64), 7, "uint8"))
assert rasterio.open("/tmp/a.tif").read().mean() == 7
frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:28992").to_crs("EPSG:4326")
frame.to_file("/tmp/a.gpkg")
assert len(pyogrio.read_dataframe("/tmp/a.gpkg")) == 1
frame.to_parquet("/tmp/a.parquet")
assert len(geopandas.read_parquet("/tmp/a.parquet")) == 1
x = ops.parameter([2], np.float32)
model = ov.compile_model(ov.Model([ops.add(x, x)], [x]), "CPU")
assert list(model(np.array([1, 2], "float32"))[0]) == [2, 4]
assert cv2.resize(np.zeros((4, 4), "uint8"), (2, 2)).shape == (2, 2)
"""
    python(root, small, code)


def test_torch_is_left_out(root: Path, small: Image) -> None:
    code = "import importlib.util as u; print([n for n in ('torch', 'timm', 'onnx', 'pip', 'uv') if u.find_spec(n)])"
    assert python(root, small, code).strip() == "[]"


@pytest.mark.parametrize("which", ["small", "train"])
def test_nothing_to_build_with_is_left(which: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue({"small": "root", "train": "train_root"}[which])
    image = request.getfixturevalue(which)
    code = f"import shutil; print([name for name in {TOOLS} if shutil.which(name)])"
    assert python(root, image, code).strip() == "[]"


def test_versions_are_the_pinned_ones(root: Path, small: Image) -> None:
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    inside = json.loads(python(root, small, code))
    assert inside.pop("groundplan") == importlib.metadata.version("groundplan")
    pinned = (Path(__file__).parents[2] / "requirements-runtime.txt").read_text().splitlines()
    wanted = dict(line.split()[0].split("==") for line in pinned if line[:1].isalnum())
    assert {name.lower().replace("_", "-").replace(".", "-"): version for name, version in inside.items()} == wanted


def test_labels_and_start(small: Image) -> None:
    settings = config(small)["config"]
    assert settings["Labels"]["org.opencontainers.image.title"] == "groundplan"
    assert settings["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert settings["Labels"]["org.opencontainers.image.version"] == importlib.metadata.version("groundplan")
    assert not settings.get("Entrypoint")
    assert settings["User"] == "10001:10001"


@pytest.mark.parametrize("which", ["small", "train"])
def test_nothing_tells_of_the_building_machine(which: str, request: pytest.FixtureRequest) -> None:
    image = request.getfixturevalue(which)
    with image.archive.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert content.find(SECRET_MARK.encode()) == -1, "the settings of the package index are in a layer"
    words = json.dumps(config(image))
    for word in ("://", "index-url", "_INDEX", "PIP_", "password", "token"):
        assert word.lower() not in words.lower(), f"{word} in the configuration or history"
    root = request.getfixturevalue({"small": "root", "train": "train_root"}[which])
    for name in ("etc/pip.conf", "etc/apt/sources.list", "run/secrets/ca"):
        path = root / name
        assert not path.exists() or path.stat().st_size == 0


def test_training_works(train_root: Path, train: Image) -> None:
    """On the CPU here; that the libraries of CUDA are there is all that can be seen without a card."""
    print(f"\n{train.reference}: {train.size / 1e6:,.0f} MB")
    code = """
import segmentation_models_pytorch as smp, torch
assert torch.version.cuda
torch.manual_seed(0)
model = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=1)
loss = torch.nn.functional.binary_cross_entropy_with_logits(model(torch.rand(2, 3, 64, 64)), torch.zeros(2, 1, 64, 64))
loss.backward()
torch.optim.AdamW(model.parameters()).step()
print(loss.item())
"""
    assert 0 < float(python(train_root, train, code)) < 5
