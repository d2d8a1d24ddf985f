"""The first hour of a newcomer who knows machine learning, by the README alone: sheets and buildings of their own.

Here: what must come of them. Not here: what is typed, and in which clone (cloned.py), the demo (test_newcomer.py, apart
from this since its servers would work on until the end of the file).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import geopandas as gpd
import pytest
import rasterio
from cloned import OWN, Newcomer, activation, cloned
from readme import commands, fenced

from groundplan.synthetic.country import draw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    return cloned(tmp_path_factory.mktemp("newcomer"))


@pytest.fixture(scope="module")
def own(newcomer: Newcomer, tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """Files as the README names them: sheets, true buildings, and where those are complete."""
    town = draw(tmp_path_factory.mktemp("town"), seed=5, size_m=130.0, regions=("banepa",), years=(2022,))
    (newcomer.clone / "sheets").mkdir()
    for sheet in town.sheets["banepa", 2022]:
        with rasterio.open(sheet) as source:
            usual = source.crs == town.crs  # one of the drawn suppliers delivers in another, which --like refuses
        if usual:
            shutil.copy(sheet, newcomer.clone / "sheets")
    for path, name in zip(town.registers[2022], ("buildings", "extent"), strict=True):
        gpd.read_file(path).to_crs(4326).to_file(newcomer.clone / f"{name}.geojson")
    return newcomer


def test_own_imagery_becomes_footprints_with_a_score_on_unseen_ground(own: Newcomer) -> None:
    activate = activation()[0]
    (lines,) = [block for block in commands(OWN) if block[0].startswith("groundplan init")]
    assert [line.split()[1] for line in lines] == [
        "init",
        "add-imagery",
        "add-register",
        "build",
        "export",
        "evaluate",
    ]
    own.types(activate, lines[0])
    settings = own.clone / "gp" / "groundplan.toml"
    assert "crs" in settings.read_text()
    for line in lines[1:]:
        own.types(activate, line)
    assert "pixels" in own.said[lines[1]] or "px" in own.said[lines[1]], "add-imagery tells what it sees"
    assert "test" in own.said[lines[-1]]
    exported = own.clone / lines[4].split()[2]
    assert {"region", "year", "area_m2", "confidence"} <= set(gpd.read_file(exported).columns)
    assert "othing to do" in own.types(activate, lines[3])
    assert "did you mean" in own.types(activate, lines[3].replace("banepa", "banpea"), fails=True).lower()


def test_the_settings_that_the_readme_shows_are_settings(own: Newcomer, tmp_path: Path) -> None:
    activate = activation()[0]
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    shown = fenced(OWN, "toml").replace("/path/to/mobilenet_v2.safetensors", str(weights))
    home = own.clone / "shown"
    shutil.copytree(own.clone / "gp", home)
    text = re.sub(r"^\[model\]\n(?:[^\[\n].*\n|\n)*", "", (home / "groundplan.toml").read_text(), flags=re.MULTILINE)
    text = re.sub(r"^\[credits\]\n(?:[^\[\n].*\n|\n)*", "", text, flags=re.MULTILINE)
    (home / "groundplan.toml").write_text(text + "\n" + shown)
    assert "banepa" in own.types(activate, "groundplan status --home shown")


def test_the_library_does_what_the_readme_shows(own: Newcomer) -> None:
    activate = activation()[0]
    script = own.clone / "shown.py"
    script.write_text(fenced("In Python", "python"))
    assert own.types(activate, f"python {script.name}")
