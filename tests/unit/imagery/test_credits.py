"""Credits: what files state comes before what the settings say, and nothing is guessed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import MakeProject
from laid_sheets import HERE, LOSSLESS, cataloged, ground, lay, place, tiled
from PIL import Image
from rasterio.io import MemoryFile

from groundplan import config
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.core.pictures import signed, signed_png
from groundplan.errors import BadConfig
from groundplan.imagery import catalog
from groundplan.imagery.credits import UNKNOWN, credits_of
from groundplan.imagery.stated_credit import stated_credit
from groundplan.labels.classes import BUILDING, COLORS
from groundplan.previews.pictures import tiles_picture
from groundplan.raster import cog

GRID = {"grid": {"crs": "EPSG:28992", "resolution": 0.3, "origin": [0.0, 0.0]}}
SAID = {"imagery": "Agency", "imagery_licence": "CC-BY-4.0", "registers": "Cadastre"}


def test_what_sheets_state_counts_before_the_settings(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS, credits=SAID)
    tags = {"SOURCE": "Town of\nDelft ", "TIFFTAG_COPYRIGHT": "© Flyers", "License": "ODbL-1.0"}
    cataloged(project, [lay(tmp_path / "stated.tif", ground(64, 64), place(0, 0), tags=tags)])
    found = credits_of(project, HERE)
    assert (found.imagery.attribution, found.imagery.licence, found.imagery.source) == ("© Flyers", "ODbL-1.0", "files")
    assert found.register.line == "Cadastre"
    assert found.line == "Imagery: © Flyers (ODbL-1.0) · Register: Cadastre"


def test_the_settings_speak_for_the_sheets_that_say_nothing(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS, credits=SAID)
    stated = lay(tmp_path / "stated.tif", ground(64, 64), place(0, 0), tags={"SOURCE": "Town of Delft"})
    cataloged(project, [stated, lay(tmp_path / "silent.tif", ground(64, 64), place(64, 0))])
    found = credits_of(project, HERE).imagery
    assert (found.attribution, found.licence) == ("Agency; Town of Delft", "CC-BY-4.0")
    assert found.source == "files and credits"


def test_what_nobody_states_is_null_with_a_word(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    cataloged(project, [lay(tmp_path / "silent.tif", ground(64, 64), place(0, 0))])
    found = credits_of(project, HERE)
    assert (found.imagery.attribution, found.imagery.licence, found.imagery.source) == (None, None, UNKNOWN)
    assert found.line is None
    made = need_manifest(project.store, catalog.DATASET, HERE).objects["catalogue"]
    assert b'\\"credit\\"' not in project.store.get(made.key)
    assert credits_of(project, Partition(1999, "elsewhere")).line is None


def test_the_last_exception_that_says_something_wins() -> None:
    only = [
        {"regions": ["delft"], "imagery": "Delft", "imagery_licence": "CC0-1.0"},
        {"regions": ["delft"], "years": [2022], "imagery": "Delft, flown in 2022"},
    ]
    credits = config.parse(GRID | {"credits": SAID | {"only": only}}, "a test").credits
    assert credits.of("leiden", 2022).imagery == "Agency"
    assert credits.of("delft", 2021).imagery == "Delft"
    of_2022 = credits.of("delft", 2022)
    assert (of_2022.imagery, of_2022.imagery_licence) == ("Delft, flown in 2022", "CC0-1.0")
    assert of_2022.registers == "Cadastre"


def test_a_credit_is_one_line_of_plain_text() -> None:
    with pytest.raises(BadConfig, match="one line"):
        config.parse(GRID | {"credits": {"imagery": "a\nb"}}, "a test")


@pytest.mark.parametrize(
    "text", ["https://store.example/x?X-Amz-Signature=1f0c9a2b7d66e3", "word " * 100, " \n\t", "\u202e\u0000"]
)
def test_what_is_no_credit_is_left_out(text: str) -> None:
    assert stated_credit({"SOURCE": text, "LICENCE": text}) == ("", "")


def test_a_line_stands_below_a_picture_and_nothing_of_it_is_lost() -> None:
    picture = np.full((40, 120, 3), (10, 200, 90), np.uint8)
    assert signed(picture, None) is picture
    line = signed(picture, "Imagery: Zürich")
    assert (line[:40] == picture).all()
    assert (line[40:] < 160).any(), "letters are dark"
    longer = signed(picture, "Imagery: " + "Zürich and others, " * 6)
    assert longer.shape[0] > line.shape[0] > 40, "what does not fit goes on in the next row"


def test_the_line_of_a_png_keeps_its_colors() -> None:
    indexed = Image.new("P", (60, 30), 3)
    indexed.putpalette([0, 0, 0, 10, 10, 10, 20, 20, 20, 230, 30, 40])
    buffer = io.BytesIO()
    indexed.save(buffer, "PNG")
    with Image.open(io.BytesIO(signed_png(buffer.getvalue(), "Imagery: a town"))) as drawn:
        assert drawn.size[1] > 30
        assert drawn.convert("RGB").getpixel((5, 5)) == (230, 30, 40)


def test_pictures_of_a_region_name_whose_imagery_it_is(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS, credits=SAID)
    made = tiled(project, [lay(tmp_path / "a.tif", ground(256, 256), place(0, 0))]).objects
    plain, named = (tiles_picture(project, made, line) for line in (None, credits_of(project, HERE).imagery_line))
    heights = [Image.open(io.BytesIO(picture)).height for picture in (plain, named)]
    assert heights[1] > heights[0]


def test_a_tile_carries_what_its_sheets_state(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS, credits=SAID)
    tags = {"COPYRIGHT": "A town", "LICENCE": "ODbL-1.0", "ACQUISITION_DATE": "2024-05-01"}
    (made,) = tiled(project, [lay(tmp_path / "a.tif", ground(256, 256), place(0, 0), tags=tags)]).objects.values()
    with rasterio.open(project.store.local_path(made.key)) as source:
        told = source.tags()
    assert (told["ATTRIBUTION"], told["LICENCE"], told["ACQUISITION"]) == ("A town", "ODbL-1.0", "2024-05-01")


def test_classes_have_colors_in_a_cog() -> None:
    encoding = cog.Encoding("deflate", overviews="nearest", colors=COLORS)
    data = cog.write(np.full((1, 600, 600), BUILDING, np.uint8), None, place(0, 0), "EPSG:28992", encoding)
    with MemoryFile(data) as memory, memory.open() as source:
        assert source.colormap(1)[BUILDING][:3] == (240, 160, 40)
        assert (source.read(1) == BUILDING).all()
    assert cog.validate(data) == []
