"""Changes between years through Dagster and the tables that follow from declarations: made in order, never for a first
year, and with a clear word where two years cannot be compared."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from answers import asgi
from painted_years import CHAIN, REGION, ROW, made_project, painted

from assets.partitions import add_partitions, key_of, partition_of
from groundplan.changes import changes, ids, null
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, MissingInput
from groundplan.operations import status
from groundplan.operations.backlog import Night, choose
from groundplan.operations.overdue import overdue
from groundplan.operations.prerequisites import Why, makeable, waits_for
from groundplan.pipeline import asset_state, partitions_of, run_asset
from groundplan.project import Project, open_project
from groundplan.quality.verdict import NOTHING_TO_COMPARE
from groundplan.quality.years import years_comparable, years_registered
from orchestration.cli.changes import changes as command
from orchestration.cli.planned import intended, states_of
from orchestration.definitions import ASSETS, build_definitions
from resources.database import DatabaseResource
from resources.project import ProjectResource
from serving.maps.app import build_app

NAME = "building_changes"
HOUSES = list(ROW.values())
YEARS = {2020: HOUSES[:14], 2022: [*HOUSES[2:14], *HOUSES[16:]], 2025: HOUSES[2:]}
"""2022: two are gone and four are new; 2025: two more are new."""
ONE, TWO, THREE = (Partition(year, REGION) for year in YEARS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three years up to their footprints. Copy it to change it."""
    return made_project(tmp_path_factory.mktemp("years"), YEARS, changes={"compare": True}).home


@pytest.fixture(scope="module")
def compared(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[dg.ExecuteInProcessResult]]:
    """The two changes, by Dagster."""
    project = copied(home, tmp_path_factory.mktemp("compared"))
    instance = dg.DagsterInstance.ephemeral()
    add_partitions(instance, [ONE, TWO, THREE])
    checks = list(build_definitions().asset_checks or ())
    runs = [
        dg.materialize(
            [*ASSETS, *checks],
            selection=[NAME],
            partition_key=key_of(partition),
            instance=instance,
            resources={"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()},
        )
        for partition in (TWO, THREE)
    ]
    return project, runs


def copied(home: Path, folder: Path) -> Project:
    shutil.copytree(home, folder / "home")
    return open_project(folder / "home")


def test_the_known_changes_are_found_and_told(compared: tuple[Project, list[dg.ExecuteInProcessResult]]) -> None:
    project, runs = compared
    facts = [need_manifest(project.store, NAME, one).objects["changes"].facts for one in (TWO, THREE)]
    assert facts[0] == {"new": 4, "gone": 2, "changed": 0, "same": 12, "unsure": 0}
    assert facts[1] == {"new": 2, "gone": 0, "changed": 0, "same": 16, "unsure": 0}
    (event,) = runs[0].asset_materializations_for_node(NAME)
    told = {name: value.value for name, value in event.metadata.items()}
    assert (told["new"], told["gone"], told["dagster/row_count"]) == (4, 2, 18)
    assert told["null set: false changes"] == 0
    assert str(told["picture"]).startswith("![the most certain changes")
    judged = {one.check_name: one for one in runs[0].get_asset_check_evaluations()}
    assert {name: one.passed for name, one in judged.items()} == {"years_registered": True, "years_comparable": True}
    assert "false changes per 100, at most (95 %)" in judged["years_registered"].metadata


def test_every_row_has_a_lasting_id_and_a_reason(compared: tuple[Project, list[dg.ExecuteInProcessResult]]) -> None:
    project, _ = compared
    first, second = changes.load(project, TWO), changes.load(project, THREE)
    for frame in (first, second):
        assert frame["building_id"].is_unique
        assert frame[["building_id", "state", "reason"]].notna().all().all()
        assert {*frame.columns, "bbox"} == {name for name, _, _ in changes.STEP.about.columns}
    registry = ids.load(project, THREE)
    assert registry["building_id"].is_unique
    kept = set(first.loc[first["state"] == "same", "building_id"])
    assert kept <= set(second.loc[second["state"] == "same", "building_id"])
    assert registry.set_index("building_id").loc[sorted(kept), "first_seen"].eq(2020).all()
    assert set(ids.load(project, ONE)["building_id"]) >= kept


def test_a_second_run_makes_nothing_and_a_middle_year_made_again_remakes_no_later_one(
    compared: tuple[Project, list[dg.ExecuteInProcessResult]], tmp_path: Path
) -> None:
    project = copied(compared[0].home, tmp_path)
    before = need_manifest(project.store, NAME, THREE)
    assert not any(report.made for report in run_asset(project, NAME, TWO))
    project.store.delete([item.key for name in (NAME, "building_ids") for item in project.store.list(f"{name}/2022")])
    assert asset_state(project, NAME, TWO).state == "damaged"
    run_asset(project, NAME, TWO)
    assert asset_state(project, NAME, THREE).state == "current"
    assert need_manifest(project.store, NAME, THREE).identity() == before.identity()


# --- what follows from the declaration --------------------------------------------------------------------------------


def test_a_first_year_has_no_partition_and_is_never_missing(home: Path) -> None:
    project = open_project(home)
    assert partitions_of(project, NAME) == [TWO, THREE]
    listed = [one.partition for one in status.take(project) if one.dataset == NAME]
    assert listed == [TWO, THREE]
    assert makeable(project, NAME, [ONE, TWO, THREE]) == {TWO}, "the third goes on from the second's ids"
    assert asset_state(project, NAME, ONE).state == "waiting"
    late = [one for one in overdue(project, now=4e9, days=3) if one.dataset == NAME]
    assert [(one.year, one.regions) for one in late] == [(2022, (REGION,))], "the third waits for the second"


def test_a_project_that_does_not_ask_is_left_alone(home: Path, tmp_path: Path) -> None:
    project = copied(home, tmp_path)
    toml = project.home / "groundplan.toml"
    toml.write_text(toml.read_text("utf-8").replace("compare = true", "compare = false"), "utf-8")
    project = open_project(project.home)
    assert partitions_of(project, NAME) == []
    assert partitions_of(project, NAME, asked=True) == [TWO, THREE]
    assert makeable(project, NAME, [TWO]) == set()


def test_it_waits_for_both_years() -> None:
    delivered = {ONE, TWO}
    assert waits_for(NAME, ONE, lambda *_: True, (), None, delivered).why is Why.FIRST_YEAR
    for lacks in (("building_footprints", TWO), ("building_footprints", ONE), ("predictions", ONE)):
        reason = waits_for(NAME, TWO, lambda *one, lacks=lacks: one != lacks, (), None, delivered)
        assert (reason.why, reason.text) == (Why.INPUT, f"{lacks[0]} of {lacks[1]} is not made")
    assert not waits_for(NAME, TWO, lambda *_: True, (), None, delivered)
    later = waits_for(NAME, THREE, lambda *one: one != (NAME, TWO), (), None, {*delivered, THREE})
    assert later.text == f"{NAME} of {TWO} is not made"


def test_a_night_and_a_build_make_the_older_year_first(home: Path) -> None:
    project = open_project(home)
    entries = [one for one in status.take(project) if one.dataset == NAME or one.partition.region]
    night = Night(date=date(2026, 11, 20), entries=entries, busy=(), model_year=2020)
    asked = [
        place
        for part in choose(night, project.settings.nightly).slices
        if NAME in part.assets
        for place in part.partitions
    ]
    assert asked == [TWO]
    rows = intended(project, states_of(project, None, None, [NAME]))
    assert [(row.partition, row.would) for row in rows] == [(TWO, "make"), (THREE, "make")]


def test_a_remade_earlier_year_is_looked_at_again_in_later_ones(
    compared: tuple[Project, list[dg.ExecuteInProcessResult]], tmp_path: Path
) -> None:
    project = copied(compared[0].home, tmp_path)
    project.store.delete([item.key for item in project.store.list("building_footprints/2020")])
    rows = intended(project, states_of(project, None, None, None))
    assert [(row.partition, row.would) for row in rows if row.dataset == NAME] == [
        (TWO, "look again"),
        (THREE, "look again"),
    ]


@pytest.mark.slow
def test_automation_makes_the_years_one_after_the_other(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copied(home, tmp_path)
    monkeypatch.setenv("GROUNDPLAN_HOME", str(project.home))
    instance = dg.DagsterInstance.ephemeral()
    definitions = build_definitions({"project": ProjectResource(home=str(project.home))})
    add_partitions(instance, [ONE, TWO, THREE])
    result = dg.evaluate_automation_conditions(definitions, instance)
    job = definitions.resolve_implicit_global_asset_job_def()

    def run(name: str, partition: Partition) -> None:
        job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(name)], partition_key=key_of(partition), raise_on_error=True
        )

    for partition in (ONE, TWO, THREE):
        run("building_footprints", partition)
    for remade in (None, ONE):  # the second time both could be made at once
        if remade:
            run("building_footprints", remade)
        asked = []
        for _ in range(5):
            result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
            keys = sorted(partition_of(key or "") for key in result.get_requested_partitions(dg.AssetKey(NAME)))
            asked.append(keys)
            for partition in keys:
                run(NAME, partition)
        assert [keys for keys in asked if keys] == [[TWO], [THREE]]


# --- what cannot be compared ------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_a_year_before_that_is_not_made_is_named(home: Path, tmp_path: Path) -> None:
    project = copied(home, tmp_path)
    with pytest.raises(MissingInput, match=r"building_ids of delft 2022: .*--year 2022 --select building_changes"):
        run_asset(project, NAME, THREE)
    with pytest.raises(MissingInput, match="a year before delft 2020: no earlier imagery"):
        run_asset(project, NAME, ONE)
    project.store.delete(["manifests/building_footprints/2020/delft.json"])
    with pytest.raises(MissingInput, match="building_footprints of delft 2020: it has not been made yet"):
        run_asset(project, NAME, TWO)
    assert asset_state(project, NAME, TWO).state == "waiting"


@pytest.mark.bad_input
def test_years_of_two_resolutions_and_lost_ground_are_told(home: Path, tmp_path: Path) -> None:
    from laid_sheets import lay, place
    from tiny_models import bright_file

    from groundplan.ingest.add_imagery import deliver
    from groundplan.training.model_files import add_model

    project = copied(home, tmp_path)
    toml = project.home / "groundplan.toml"
    toml.write_text(toml.read_text("utf-8").replace("model_year = 2020", ""), "utf-8")
    project = open_project(project.home)
    add_model(project, bright_file(0.3), 2020, "tests")
    add_model(project, bright_file(0.3), 2022, "tests")
    coarse = painted(HOUSES, 1)[:, ::2, ::2][:, :60]
    place_of = Partition(2022, REGION)
    project.store.delete([item.key for item in project.store.list(f"landing/{REGION}/2022")])
    deliver(project, [lay(tmp_path / "coarse.tif", coarse, place(0, 0, 0.6))], REGION, 2022)
    for partition in (ONE, place_of):
        for name in CHAIN:
            run_asset(project, name, partition)
    run_asset(project, NAME, place_of)
    verdict = years_comparable(project, place_of)
    assert not verdict.passed
    assert "pixels of 0.30 m and that of 2022 of 0.60 m" in verdict.message
    assert "stand where only one of the years has imagery" in verdict.message
    facts = need_manifest(project.store, NAME, place_of).objects["changes"].facts
    assert facts["unsure"] > 0


@pytest.mark.bad_input
def test_two_models_are_told(compared: tuple[Project, list[dg.ExecuteInProcessResult]], tmp_path: Path) -> None:
    from made_footprints import commit_houses

    from groundplan.footprints import footprints

    project = copied(compared[0].home, tmp_path)
    frame = footprints.load(project, ONE)
    commit_houses(project, ONE, frame.assign(model="2020-another"))
    verdict = years_comparable(project, TWO)
    assert "2020 was seen by model 2020-another" in verdict.message
    assert "predict.model_year" in verdict.message


@pytest.mark.bad_input
def test_years_that_do_not_lie_on_each_other_or_share_nothing_are_not_green(
    compared: tuple[Project, list[dg.ExecuteInProcessResult]], tmp_path: Path
) -> None:
    import numpy as np
    from made_footprints import commit_houses

    from groundplan.changes.registration import translated
    from groundplan.footprints import footprints

    project = copied(compared[0].home, tmp_path)
    frame = footprints.load(project, ONE)
    around = np.random.default_rng(3).uniform(-2.5, 2.5, (len(frame), 2))
    commit_houses(project, ONE, frame.set_geometry(translated(frame.geometry.values.to_numpy(), around), crs=frame.crs))
    verdict = years_registered(project, TWO)
    assert not verdict.passed
    assert "pixels" in verdict.message
    commit_houses(project, ONE, frame[:3])
    nothing = years_registered(project, TWO)
    assert not nothing.compared
    assert nothing.message.endswith("buildings are the same in 2020 and 2022; 5 would tell")
    assert NOTHING_TO_COMPARE not in nothing.message
    assert null.facts_of(project, ONE) is None


@pytest.mark.bad_input
def test_other_bands_are_told(
    compared: tuple[Project, list[dg.ExecuteInProcessResult]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from groundplan.imagery import tiles

    def catalog_of(project: Project, partition: Partition) -> Any:
        kinds = {2020: ("red", "green", "blue"), 2022: ("nir", "red", "green")}[partition.year]
        listed = real(project, partition)
        return replace(listed, sheets=tuple(replace(sheet, colors=kinds) for sheet in listed.sheets))

    real = tiles.catalog_of
    monkeypatch.setattr(tiles, "catalog_of", catalog_of)
    verdict = years_comparable(compared[0], TWO)
    assert not verdict.passed
    assert "imagery of 2020 has bands red green blue and that of 2022 nir red green" in verdict.message


@pytest.mark.bad_input
def test_a_region_that_vanished_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadConfig, match=r"nothing was delivered for delft\. Choose from: 2020, 2022, 2025"):
        command(region=REGION, year=2024, home=home)
    with pytest.raises(MissingInput, match="building_changes of delft 2022: it has not been made yet"):
        command(region=REGION, year=2022, home=home)


def test_the_command_tells_and_writes(
    compared: tuple[Project, list[dg.ExecuteInProcessResult]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import geopandas as gpd

    home = compared[0].home
    for ending in (".gpkg", ".parquet"):
        command(region=REGION, year=2022, output=tmp_path / f"changes{ending}", home=home)
    said = capsys.readouterr().out
    assert "delft: 2022 against 2020" in said
    assert "2020 shows it, and 2022 shows none" in said
    written = [gpd.read_file(tmp_path / "changes.gpkg"), gpd.read_parquet(tmp_path / "changes.parquet")]
    for frame in written:
        assert len(frame) == 18
        assert frame["state"].value_counts().to_dict() == {"same": 12, "new": 4, "gone": 2}
    command(region=REGION, year=2022, home=home, as_json=True)
    assert json.loads(capsys.readouterr().out)["before"] == 2020


def test_the_regions_map_tells_of_the_changes(compared: tuple[Project, list[dg.ExecuteInProcessResult]]) -> None:
    site = build_app(compared[0])
    facts = json.loads(asgi(site, f"/map/{REGION}/2022/facts.json")[2])
    assert facts["changes"]["counts"] == {"new": 4, "gone": 2, "changed": 0, "same": 12, "unsure": 0}
    status_code, _, picture = asgi(site, *f"/{facts['changes']['picture']}".split("?"))
    assert status_code == 200
    assert picture.startswith(b"\xff\xd8")
    assert json.loads(asgi(site, f"/map/{REGION}/2020/facts.json")[2])["changes"] is None
    page = asgi(site, f"/partition/{NAME}/2022/{REGION}")[2].decode()
    assert f"previews/{NAME}/2022/{REGION}.jpg" in page
