"""What people gave is what was taken in: a register or the regions that a disk changed are named, and nothing guessed.

Right values: the bytes as they were given, by SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import geopandas
import pytest
from conftest import ORIGIN, MakeProject
from laid_sheets import HERE, LOSSLESS, cataloged, ground, here, lay, place
from shapely import box

from groundplan.core.partition import Partition
from groundplan.errors import BlocksFailed, Damaged
from groundplan.imagery import regions
from groundplan.labels.registers import add_register, registers_of
from groundplan.operations import country_map
from groundplan.operations import store_audit as audit
from groundplan.pipeline import asset_state, run_step
from groundplan.project import Project

pytestmark = pytest.mark.fault


def register_file(folder: Path) -> Path:
    houses = [here(box(x, 12, x + 9, 25)) for x in range(5, 140, 15)]
    geopandas.GeoDataFrame(geometry=houses, crs="EPSG:28992").to_parquet(folder / "houses.parquet")
    return folder / "houses.parquet"


@pytest.fixture
def project(tmp_path: Path, make_project: MakeProject) -> Project:
    made = make_project(tmp_path / "home", imagery=LOSSLESS)
    cataloged(made, [lay(tmp_path / "a.tif", ground(500, 500), place(0, 0))])
    run_step(made, "aerial_tiles", HERE)
    add_register(made, register_file(tmp_path), HERE.year, None)
    return made


def flip(project: Project, key: str, at: float) -> None:
    data = bytearray(project.store.get(key))
    data[int(len(data) * at)] ^= 4
    project.store.put(key, bytes(data))


PARTS = pytest.mark.parametrize("part", [0, 1], ids=["buildings", "extent"])


@PARTS
@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_one_flipped_bit_of_a_register_is_found_where_it_is_read_and_by_verify(
    project: Project, tmp_path: Path, part: int, at: float
) -> None:
    (register,) = registers_of(project, HERE.year)
    key = register.parts[part]
    flip(project, key, at)
    with pytest.raises(BlocksFailed, match=r"its content is not what was made.*Add that register again"):
        run_step(project, "register_buildings", HERE)
    found = audit.check(project, lambda _key: True)
    assert [(one.key, one.remedy) for one in found.findings] == [
        (key, "Add that register again: `groundplan add-register FILE --year 2024`")
    ]
    add_register(project, register_file(tmp_path), HERE.year, None)  # the remedy
    assert audit.check(project, lambda _key: True).wrong == 0
    run_step(project, "register_buildings", HERE)


@PARTS
def test_a_lost_or_shortened_part_is_found_without_reading(project: Project, part: int) -> None:
    (register,) = registers_of(project, HERE.year)
    key = register.parts[part]
    project.store.put(key, project.store.get(key)[:-1])
    assert "bytes and the record says" in audit.check(project).findings[0].reason
    project.store.delete([key])
    assert [(one.key, one.reason) for one in audit.check(project).findings] == [
        (key, "the record names it and the store does not hold it")
    ]
    with pytest.raises(BlocksFailed, match="Add that register again"):
        run_step(project, "register_buildings", HERE)


def as_older_versions_wrote_it(project: Project) -> str:
    (key,) = (item.key for item in project.store.list("registers") if item.key.endswith(".json"))
    raw = json.loads(project.store.get(key))
    del raw["content"]
    project.store.put(key, json.dumps(raw).encode())
    return key


def test_a_record_without_content_is_read_and_filled_when_asked(project: Project) -> None:
    key = as_older_versions_wrote_it(project)
    run_step(project, "register_buildings", HERE)
    found = audit.check(project, lambda _key: True)
    assert (found.wrong, found.unknown) == (0, 2)
    adopted = audit.check(project, lambda _key: True, adopt=True)
    assert (adopted.wrong, adopted.unknown) == (0, 0)
    (register,) = registers_of(project, HERE.year)
    for part in register.parts:
        assert json.loads(project.store.get(key))["content"][part] == {
            "bytes": len(project.store.get(part)),
            "sha256": hashlib.sha256(project.store.get(part)).hexdigest(),
        }


def test_what_is_damaged_already_is_not_taken_for_what_was_given(project: Project) -> None:
    """The record's short digest of both parts tells it, although an older version wrote nothing else."""
    as_older_versions_wrote_it(project)
    flip(project, registers_of(project, HERE.year)[0].buildings, 0.5)
    found = audit.check(project, lambda _key: True, adopt=True)
    assert found.wrong == 2
    assert not registers_of(project, HERE.year)[0].content


# --- regions ----------------------------------------------------------------------------------------------------------


def region_file(folder: Path) -> Path:
    x, y = ORIGIN
    shapes = [box(x, y - 400, x + 400, y), box(x + 400, y - 400, x + 800, y)]
    names = [HERE.region, "oost"]
    geopandas.GeoDataFrame({"name": names}, geometry=shapes, crs="EPSG:28992").to_file(folder / "regions.gpkg")
    return folder / "regions.gpkg"


BROKEN: dict[str, bytes | None] = {"empty": b"", "cut": None, "no table": b"PAR1 and what then", "json": b"{}"}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_regions_are_named_and_what_needs_none_goes_on(project: Project, tmp_path: Path, how: str) -> None:
    regions.add_regions(project, region_file(tmp_path))
    run_step(project, "sheets", HERE)
    run_step(project, "aerial_tiles", HERE)
    text = BROKEN[how]
    project.store.put(regions.KEY, project.store.get(regions.KEY)[:-9] if text is None else text)
    for name in ("sheets", "aerial_tiles"):  # who owns a block must not be guessed
        told = asset_state(project, name, HERE)
        assert told.state == "waiting"
        assert regions.KEY in told.note
        assert "Add the regions again: `groundplan add-regions FILE`" in told.note
    assert [one.key for one in audit.check(project).findings] == [regions.KEY]
    assert [place.region for place in country_map.gather(project)] == [HERE.region]
    assert regions.other_regions(project, "aerial_tiles", Partition(HERE.year, "oost")) == [HERE.region]
    assert run_step(project, "register_buildings", HERE).made, "it reads tiles and a register"
    regions.add_regions(project, region_file(tmp_path))
    assert asset_state(project, "sheets", HERE).state == "current"


def test_one_flipped_bit_of_the_regions_is_found(project: Project, tmp_path: Path) -> None:
    regions.add_regions(project, region_file(tmp_path))
    good = regions.region_polygons(project)
    silent = 0
    for at in range(0, 100, 2):
        whole = project.store.get(regions.KEY)
        flip(project, regions.KEY, at / 100)
        with suppress(Damaged):
            silent += regions.region_polygons(project) != good
        project.store.put(regions.KEY, whole)
    assert silent == 0, "pages have sums of their own"
