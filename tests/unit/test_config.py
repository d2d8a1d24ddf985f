"""Settings: where they come from, what is refused, and that each refusal says what is allowed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from groundplan import config
from groundplan.errors import BadConfig

GOOD = '[grid]\ncrs = "EPSG:28992"\nresolution = 0.25\nblock_size = 1024\norigin = [0.0, 0.0]\n'


def load(folder: Path, text: str, **environ: str) -> config.Settings:
    (folder / config.FILE).write_text(text, "utf-8")
    return config.load(folder, environ)


def test_what_is_not_said_has_a_default_and_what_is_said_counts(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD + '[imagery]\nbands = [4, 1, 2]\nuint16_range = [0, 2000]\ncompress = "zstd"\n')
    assert settings.grid.origin == (0.0, 0.0)
    assert settings.imagery.bands == (4, 1, 2)
    assert settings.imagery.uint16_range == (0.0, 2000.0)
    assert settings.imagery.quality == 90
    assert settings.model.encoder_weights == "imagenet"
    assert settings.store == ""


def test_equal_settings_find_what_was_kept_for_them(tmp_path: Path) -> None:
    text = GOOD + "[split.trust]\nnorth = 0.5\nsouth = 1.0\n"
    assert {load(tmp_path, text): "kept"}[load(tmp_path, text)] == "kept"


def test_the_environment_overrides_each_key(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        GOOD + "[model]\nminutes = 30.0\n",
        GROUNDPLAN_MODEL__MINUTES="5",
        GROUNDPLAN_STORE="memory://x",
        GROUNDPLAN_IMAGERY__BANDS="[1, 2, 3, 4]",
        GROUNDPLAN_IMAGERY__COMPRESS="zstd",
        GROUNDPLAN_HOME="/nowhere",
        GROUNDPLAN_IMAGERY__ASSUME_CRS="'EPSG:28992'",
        GROUNDPLAN_FOOTPRINTS__REGULARISE="false",
        HOME="/root",
    )
    assert settings.imagery.assume_crs == "EPSG:28992", "TOML's quotes are not part of the value"
    assert settings.model.minutes == 5
    assert settings.store == "memory://x"
    assert settings.imagery.bands == (1, 2, 3, 4)
    assert settings.footprints.regularise is False


@pytest.mark.parametrize("service", ["GROUNDPLAN_CODE", "GROUNDPLAN_SERVE_2", "GROUNDPLAN"])
def test_what_kubernetes_says_of_a_service_is_no_setting(service: str, tmp_path: Path) -> None:
    said = {"SERVICE_HOST": "10.0.0.7", "SERVICE_PORT": "80", "SERVICE_PORT_HTTP": "80", "PORT": "tcp://10.0.0.7:80"}
    said |= {"PORT_80_TCP": "tcp://10.0.0.7:80", "PORT_80_TCP_ADDR": "10.0.0.7", "PORT_80_TCP_PROTO": "tcp"}
    links = {f"{service}_{name}": value for name, value in said.items()}
    assert load(tmp_path, GOOD, **links).model_dump() == load(tmp_path, GOOD).model_dump()
    del links[f"{service}_SERVICE_HOST"]
    with pytest.raises(BadConfig, match="unknown key"):
        load(tmp_path, GOOD, **links)


BAD = [
    (
        "unknown section",
        GOOD + "[colour]\nred = 1\n",
        "unknown key 'colour'",
        "Allowed there: api, arrivals, changes, collections, credits, database",
    ),
    ("unknown key", GOOD + "[imagery]\nband = [1]\n", "unknown key 'imagery.band'", "assume_crs, bands, compress"),
    ("geographic", GOOD.replace("28992", "4326"), "EPSG:4326 is geographic", "a projected CRS in metres is needed"),
    ("feet", GOOD.replace("28992", "2263"), "EPSG:2263 is not in metres", "such as EPSG:28992"),
    ("no crs", GOOD.replace("EPSG:28992", "the Netherlands"), "is not a CRS that PROJ knows", "such as EPSG:28992"),
    ("negative resolution", GOOD.replace("0.25", "-0.25"), "'grid.resolution' input should be greater than 0", "-0.25"),
    ("no resolution", GOOD.replace("0.25", "nan"), "'grid.resolution' input should be a finite number", "nan"),
    ("endless origin", GOOD.replace("[0.0, 0.0]", "[inf, 0.0]"), "'grid.origin.0' input should be a finite", "inf"),
    ("huge pixels", GOOD.replace("0.25", "250"), "'grid.resolution' input should be less than", "250"),
    ("odd block", GOOD.replace("1024", "1000"), "'grid.block_size' must be a multiple of 256", "not 1000"),
    (
        "small block",
        GOOD.replace("1024", "128"),
        "'grid.block_size' input should be greater than or equal to 256",
        "128",
    ),
    ("text as number", GOOD.replace("1024", '"many"'), "'grid.block_size' input should be a valid integer", "many"),
    ("missing grid", "store = ''\n", "'grid' field required", "Mend it"),
    ("missing origin", GOOD.replace("origin", "# origin"), "'grid.origin' field required", "Mend it"),
    ("section as text", 'grid = "EPSG:28992"\n', "'grid' input should be a valid dictionary", "EPSG:28992"),
    ("band nought", GOOD + "[imagery]\nbands = [0, 1, 2]\n", "'imagery.bands.0' input should be greater", "not 0"),
    ("jpeg of four", GOOD + "[imagery]\nbands = [1,2,3,4]\n", "JPEG holds 1 or 3 bands, not 4", "'deflate' or 'zstd'"),
    ("range upside down", GOOD + "[imagery]\nuint16_range = [9, 1]\n", "must be [low, high]", "low < high"),
    ("assumed crs", GOOD + '[imagery]\nassume_crs = "EPSG:1"\n', "'imagery.assume_crs' is not a CRS", "EPSG:1"),
    ("overlap", GOOD + "[split]\nwindow = 256\noverlap = 256\n", "overlap must be smaller than window", "256"),
    ("gap", GOOD + "[labels]\ngap = 20\n", "'labels.gap' input should be less than or equal to 2", "20"),
    ("crop", GOOD + "[model]\ncrop = 100\n", "'model.crop' must be a multiple of 32", "100"),
    ("no toml", GOOD + "[model\n", "it is not valid TOML", "Mend that line"),
    ("no text", "\0\1\2", "it is not valid TOML", "Mend that line"),
]


@pytest.mark.bad_input
@pytest.mark.parametrize(("text", "reason", "remedy"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_settings_that_make_no_sense_are_refused(text: str, reason: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        load(tmp_path, text)
    line = str(caught.value)
    assert line.startswith(str(tmp_path / config.FILE)), "it names the file"
    assert reason in line
    assert remedy in line
    assert "\n" not in line or "not valid TOML" in line


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("GROUNDPLAN_MODEL__MINUTES", "soon", "'model.minutes' input should be a valid number"),
        ("GROUNDPLAN_GRID__CRS", "EPSG:4326", "EPSG:4326 is geographic"),
        ("GROUNDPLAN_STORE__URL", "x", "'store' is no section"),
        ("GROUNDPLAN_COLOUR", "red", "unknown key 'colour'"),
        ("GROUNDPLAN_GRID__BLOCK_SIZE", "1000", "must be a multiple of 256"),
        ("GROUNDPLAN_IMAGERY__BANDS", '["red"]', "'imagery.bands.0' input should be a valid integer"),
        ("GROUNDPLAN_MODEL__MINUTES__SOON", "5", "'minutes' is no section"),
        ("GROUNDPLAN_SERVING_PORT", "tcp://10.0.0.7:80", "unknown key 'serving_port'"),
        ("GROUNDPLAN_COLOUR__RED", "5", "unknown key 'colour'. Allowed there: api, arrivals, changes, collections"),
    ],
)
def test_a_wrong_value_from_the_environment_names_the_variable(
    name: str, value: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(BadConfig) as caught:
        load(tmp_path, 'store = "memory://x"\n' + GOOD, **{name: value})
    assert name in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize("there", ["nothing", "a folder", "a file above"])
def test_a_home_without_settings_says_how_to_make_one(there: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    if there == "a folder":
        (home / config.FILE).mkdir(parents=True)
    elif there == "a file above":
        home.write_text("I am no folder")
    with pytest.raises(
        BadConfig, match=r"it cannot be read" if there == "a folder" else "Make one with `groundplan init FOLDER`"
    ):
        config.load(home, {})


@pytest.mark.parametrize("crs", ["EPSG:28992", 'quotes " and \\ in it'])
@pytest.mark.parametrize("store", ["", "s3://bucket/prefix", 'file:///odd "folder"'])
def test_what_init_writes_is_read_back(crs: str, store: str, tmp_path: Path) -> None:
    if crs != "EPSG:28992":
        import pyproj

        crs = pyproj.CRS("EPSG:28992").to_wkt()  # full of quotes
    grid = {"crs": crs, "resolution": 0.15, "block_size": 1024, "origin": (12345.6, 654321.0)}
    path = config.write(tmp_path / "new" / "home", grid, store)
    settings = config.load(path.parent, {})
    assert settings.grid.model_dump() == grid
    assert settings.store == store
    assert tomllib.loads(path.read_text("utf-8")).keys() >= {"grid", "model", "quality"}
    assert settings.serving.url == "http://127.0.0.1:3001", "pictures and links of the first run lead to `make dev`"
    assert settings.footprints.shared_walls, "new projects begin with it"
    assert settings.model.resolution == 0.1, "on a fine grid the network sees fine pixels"
    assert not config.parse({"grid": grid}, "an older home").footprints.shared_walls, "older ones stay as they are"
    with pytest.raises(BadConfig, match="there is a project in this folder already"):
        config.write(path.parent, grid, store)
    coarse = config.load(config.write(tmp_path / "coarse", {**grid, "resolution": 0.25}, store).parent, {})
    assert coarse.model.resolution == 0, "a country at 25 cm is predicted as fast as before"


@pytest.mark.parametrize(
    ("resolution", "block_size", "core"),
    [(0.25, 8192, 2048), (0.25, 1024, 1024), (0.15, 8192, 1024), (0.1, 8192, 2048), (0.08, 8192, 2048)],
)
def test_windows_of_a_new_project_are_wide_where_the_network_sees_no_finer_than_the_grid(
    resolution: float, block_size: int, core: int, tmp_path: Path
) -> None:
    grid = {"crs": "EPSG:28992", "resolution": resolution, "block_size": block_size, "origin": (0.0, 0.0)}
    assert config.load(config.write(tmp_path / "home", grid, "").parent, {}).predict.core == core
    assert config.parse({"grid": grid}, "an older home").predict.core == 1024, "older ones keep their blocks"


@pytest.mark.bad_input
def test_a_project_cannot_be_made_inside_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no folder")
    grid = {"crs": "EPSG:28992", "resolution": 0.15, "block_size": 1024, "origin": (0.0, 0.0)}
    with pytest.raises(BadConfig, match="Choose another folder"):
        config.write(tmp_path / "file" / "home", grid, "")
    assert (tmp_path / "file").read_text() == "I am no folder"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("basemap", "maker", "why"),
    [
        ("https://tiles.example.org/{z}/{x}/{y}.png", "", "needs serving.basemap_attribution"),
        ("https://tiles.example.org/", "Makers", "must be as https"),
        ("https://tiles.example.org/{z}/{x}/{y}.png?key=abc", "Makers", "cannot be used"),
        ("https://tiles.example.org; script-src * /{z}/{x}/{y}.png", "Makers", "must be as https"),
        ("ftp://tiles.example.org/{z}/{x}/{y}.png", "Makers", "must be as https"),
    ],
)
def test_a_basemap_is_an_address_of_tiles_with_its_makers(basemap: str, maker: str, why: str, tmp_path: Path) -> None:
    told = f"[serving]\nbasemap = '{basemap}'\nbasemap_attribution = '{maker}'\n"
    with pytest.raises(BadConfig, match=why):
        load(tmp_path, GOOD + told)
