"""The assets as Dagster sees them: what they say of themselves, how partitions map, that nothing bad turns green."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import rasterio
from conftest import digests
from dagster._core.definitions.partitions.context import partition_loading_context

from assets.partitions import add_partitions, key_of, partition_of, region_years, unknown, years
from groundplan.core.manifest import manifest_key, need_manifest
from groundplan.core.partition import Partition
from groundplan.foreign_text import out_of_markdown
from groundplan.pipeline import ALWAYS
from groundplan.pipeline import ASSETS as NAMES
from groundplan.project import Project, open_project
from groundplan.quality import checks as quality
from groundplan.quality.verdict import NOTHING_TO_COMPARE
from orchestration.definitions import ASSETS, build_definitions
from resources.database import DatabaseResource
from resources.project import ProjectResource

ROOT = Path(__file__).parents[2]
YEAR = 2024
NORTH, SOUTH = "noorderveld", "zuiderhout"
OPERATIONS = {"country_status", "country_map", "automation_overview", "change_readiness", "image_drift", "image_inbox"}
OPERATIONS |= {"store_audit"}
GROUPS = ("imagery", "labels", "model", "footprints", "operations", "serving", "collections")
BY_REGION = {"drift_report", "footprints_in_database"}  # of what is no dataset
BY_YEAR = {"reviews"}
BY_STRETCH = {"region_stretches"}
COLLECTIONS: dict[str, set[str]] = {
    "image_catalog": set(),
    "image_features": {"image_catalog"},
    "reduced_features": {"image_features"},
    "image_classifier": {"reduced_features"},
    "collection_report": {"image_classifier"},
}
CHECKS = {
    "sheets_usable": "sheets",
    "sheets_plausible": "sheets",
    "tiles_complete": "aerial_tiles",
    "labels_healthy": "labels",
    "footprints_valid": "building_footprints",
    "footprints_quality": "building_footprints",
    "calibrated": "building_footprints",
    "years_registered": "building_changes",
    "years_comparable": "building_changes",
    "national_whole": "national_footprints",
    "national_apart": "national_footprints",
    "mining_pays": "mining_trial",
}
COMMON = {"blocks made", "blocks kept", "size [MB]", "seconds", "processor seconds", "dagster/uri"}
ALSO = {  # what a person looks at, besides the common figures
    "sheets": {"sheets", "quarantined"},
    "aerial_tiles": {"picture", "blocks", "imagery [km2]"},
    "register_buildings": {"buildings", "register complete on [km2]"},
    "labels": {"picture", "labelled ground [ha]", "buildings [ha]", "building share"},
    "training_windows": {"windows"},
    "trained_model": {"picture", "steps", "thresholds", "card"},
    "predictions": {"picture", "blocks", "building share"},
    "building_footprints": {"picture", "buildings", "dagster/row_count"},
}
MOST_PICTURE = 100_000  # bytes of text in Dagster's database
MOST_BODY = 25  # lines of an asset, signature and all
MOST_FILE = 400  # lines of a library file
LONG = {
    "groundplan/synthetic/layout.py": 543,
    "groundplan/synthetic/paint.py": 535,
}  # may shrink, never grow


# --- what the definitions say -----------------------------------------------------------------------------------------


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in build_definitions().resolve_all_asset_specs()}


def test_every_dataset_is_an_asset_that_says_what_it_is() -> None:
    found = specs()
    assert set(found) == {*NAMES, *OPERATIONS, *BY_REGION, *BY_YEAR, *BY_STRETCH, *COLLECTIONS}
    for name, spec in found.items():
        assert spec.description, name
        assert len(spec.description) > 60, f"{name} says too little of itself"
        assert spec.owners, name
        assert all(owner.startswith("team:") or "@" in owner for owner in spec.owners), name
        assert spec.group_name in GROUPS, name
        assert spec.kinds, name
        assert spec.code_version, name
        assert (spec.partitions_def is None) is (name in OPERATIONS), name


def test_assets_depend_on_what_their_step_reads() -> None:
    parents = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs().items()}
    assert parents == {
        "sheets": set(),
        "aerial_tiles": {"sheets"},
        "register_buildings": {"aerial_tiles"},
        "labels": {"aerial_tiles", "register_buildings"},
        "training_windows": {"labels"},
        "baseline_model": {"labels"},
        "trained_model": {"training_windows", "baseline_model"},
        "predictions": {"aerial_tiles", "trained_model"},
        "building_footprints": {"predictions", "aerial_tiles"},
        "building_changes": {"building_footprints", "predictions", "aerial_tiles"},
        "national_footprints": {"building_footprints"},
        "hard_negatives": {"aerial_tiles", "labels", "predictions"},
        "mining_trial": {"training_windows", "hard_negatives"},
        **{name: {"building_footprints"} for name in BY_REGION},
        **{name: set() for name in (*OPERATIONS, *BY_YEAR, *BY_STRETCH)},
        **{name: {"building_footprints"} for name in ("country_map", "country_status", "store_audit")},
        "change_readiness": {"aerial_tiles"},
        **COLLECTIONS,
    }


def test_checks_are_partitioned_and_block() -> None:
    found = {}
    for checks in build_definitions().asset_checks or ():
        assert isinstance(checks, dg.AssetChecksDefinition)
        for spec in checks.check_specs:
            found[spec.name] = spec.asset_key.to_user_string()
            assert spec.blocking, spec.name
            assert spec.description, spec.name
            assert spec.partitions_def is not None, f"{spec.name} would not say which partition it judged"
    assert found == CHECKS


@pytest.mark.slow
def test_the_workspace_loads_without_a_project() -> None:
    """Code servers start before anybody said which home they work on; nothing may be opened when a module is read."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location groundplan" in done.stdout + done.stderr


# --- partitions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["banepa", "Sint Anthonis", "1e Exloo (Noord)", "Ålesund & omegn"])
def test_a_key_is_region_then_year_and_comes_back(region: str) -> None:
    key = key_of(Partition(2022, region))
    assert str(key) == f"{region}|2022"
    assert isinstance(key, dg.MultiPartitionKey)
    assert key.keys_by_dimension == {"region": region, "year": "2022"}
    assert partition_of(key) == partition_of(str(key)) == Partition(2022, region)


def test_a_key_of_what_is_not_cut_by_region_is_the_year() -> None:
    assert key_of(Partition(2022)) == "2022"
    assert partition_of("2022") == Partition(2022)


@pytest.mark.parametrize("key", ["", "banepa", "banepa|", "2022|banepa"])
@pytest.mark.bad_input
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        partition_of(key)


def test_a_project_has_its_own_years_and_few_of_them() -> None:
    instance = dg.DagsterInstance.ephemeral()
    country = [Partition(year, f"r{number}") for year in range(2015, 2027) for number in range(1350)]
    add_partitions(instance, country)
    add_partitions(instance, country[:3], [2027])
    assert years.get_partition_keys(dynamic_partitions_store=instance) == [str(year) for year in range(2015, 2028)]
    keys = region_years.get_partition_keys(dynamic_partitions_store=instance)
    assert len(keys) == 1350 * 13 < 100_000
    assert unknown(instance, country, [2015]) == []
    assert [request.partition_keys for request in unknown(instance, [], [1940])] == [["1940"]]


YEARS = (1940, 2021, 2022, 2026)


def around(asset: str, key: str, down: bool = False) -> set[tuple[str, str]]:
    """(asset, key) of the partitions upstream, or downstream, of a partition, with two regions, in June 2026."""
    graph, instance = build_definitions().resolve_asset_graph(), dg.DagsterInstance.ephemeral()
    add_partitions(instance, [Partition(year, name) for year in YEARS for name in ("banepa", "Sint Anthonis")])
    multi = dg.MultiPartitionKey(dict(zip(("region", "year"), key.split("|"), strict=True))) if "|" in key else key
    with partition_loading_context(datetime(2026, 6, 1, tzinfo=UTC), instance):
        if down:
            found: Iterable[dg.AssetKeyPartitionKey] = graph.get_children_partitions(dg.AssetKey(asset), multi)
        else:
            result = graph.get_parents_partitions(dg.AssetKey(asset), multi)
            assert not result.required_but_nonexistent_parents_partitions
            found = result.parent_partitions
        return {(item.asset_key.to_user_string(), str(item.partition_key)) for item in found}


def test_a_years_windows_come_from_all_regions_of_that_year_only() -> None:
    assert around("training_windows", "2022") == {("labels", "banepa|2022"), ("labels", "Sint Anthonis|2022")}
    assert around("trained_model", "2022") == {("training_windows", "2022"), ("baseline_model", "2022")}


@pytest.mark.parametrize("year", [1940, 2022, 2026])
def test_a_regions_predictions_come_from_its_tiles_and_its_years_model(year: int) -> None:
    key = f"Sint Anthonis|{year}"
    assert around("predictions", key) == {("aerial_tiles", key), ("trained_model", str(year))}


@pytest.mark.parametrize("year", [1940, 2022, 2026])
def test_a_years_model_is_for_all_regions_of_that_year_only(year: int) -> None:
    expected = {("predictions", f"banepa|{year}"), ("predictions", f"Sint Anthonis|{year}")}
    assert around("trained_model", str(year), down=True) == expected


def test_changes_come_from_the_region_in_all_its_years() -> None:
    read = ("building_footprints", "predictions", "aerial_tiles")
    assert around("building_changes", "banepa|2022") == {(name, f"banepa|{year}") for name in read for year in YEARS}


def test_other_assets_stay_in_their_partition() -> None:
    for name in ("aerial_tiles", "register_buildings", "labels", "building_footprints"):
        assert {key for _, key in around(name, "banepa|2022")} == {"banepa|2022"}, name
    assert ("labels", "banepa|2021") not in around("sheets", "banepa|2022", down=True)


# --- running them -----------------------------------------------------------------------------------------------------


def copy_of(home: Path, folder: Path) -> Project:
    shutil.copytree(home, folder)
    return open_project(folder)


def run(
    project: Project, instance: dg.DagsterInstance, names: Iterable[str], partition: Partition, fails: bool = False
) -> dg.ExecuteInProcessResult:
    """One Dagster run of some assets and their checks."""
    if partition.region:
        add_partitions(instance, [partition])
    checks = list(build_definitions().asset_checks or ())
    result = dg.materialize(
        [*ASSETS, *checks],
        selection=list(names),
        partition_key=key_of(partition),
        instance=instance,
        resources={"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()},
        raise_on_error=False,
    )
    assert result.success is not fails, [event.message for event in result.all_events if event.is_step_failure]
    return result


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetMaterialization]:
    return {
        event.materialization.asset_key.to_user_string(): event.materialization
        for event in result.get_asset_materialization_events()
        for event in [event.step_materialization_data]
    }


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


LOCAL = ("sheets", "aerial_tiles", "register_buildings", "labels")
LEARN = ("training_windows", "trained_model")
FIND = ("predictions", "building_footprints")


@pytest.fixture(scope="module")
def chain(
    built_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, dg.DagsterInstance, list[dg.ExecuteInProcessResult]]:
    """The whole chain by Dagster, of both regions; only the model is taken over, since learning is slow."""
    project = copy_of(built_home, tmp_path_factory.mktemp("chain") / "home")
    keep = ("landing/", "registers/", "trained_model/", "manifests/trained_model/")
    project.store.delete([item.key for item in project.store.list() if not item.key.startswith(keep)])
    instance = dg.DagsterInstance.ephemeral()
    north, south = Partition(YEAR, NORTH), Partition(YEAR, SOUTH)
    # imagery of both regions comes first: a block on a region's border shows what a neighbour's sheets show
    work = [(["sheets"], north), (["sheets"], south), (LOCAL, north), (LOCAL, south), (LEARN, Partition(YEAR))]
    work += [(["predictions"], north), (FIND, south), (FIND, north)]
    return project, instance, [run(project, instance, names, partition) for names, partition in work]


@pytest.mark.slow
def test_dagster_makes_the_same_bytes_as_the_library(chain: tuple[Project, ...], built_home: Path) -> None:
    assert digests(chain[0]) == digests(open_project(built_home))


@pytest.mark.slow
def test_every_materialization_says_what_it_did_and_shows_it(
    chain: tuple[Project, dg.DagsterInstance, list[dg.ExecuteInProcessResult]],
) -> None:
    project, _, runs = chain
    wanted = {key_of(Partition(YEAR, NORTH)), key_of(Partition(YEAR))}
    events = [(name, event) for result in runs for name, event in materialized(result).items()]
    shown = {name: event for name, event in events if event.partition in wanted}
    assert set(shown) == set(ALWAYS)
    for name, event in shown.items():
        partition = partition_of(event.partition or "")
        metadata = {key: value.value for key, value in event.metadata.items()}
        assert metadata.keys() >= COMMON | ALSO[name], name
        if "picture" in ALSO[name]:
            assert isinstance(event.metadata["picture"], dg.MarkdownMetadataValue)
            assert metadata["picture"].startswith("!["), name
            assert 2_000 < len(metadata["picture"]) < MOST_PICTURE, name
        tags = event.tags or {}
        assert tags["dagster/data_version"] == need_manifest(project.store, name, partition).identity(), name
        assert tags["dagster/code_version"] == specs()[name].code_version
        assert str(metadata["dagster/uri"]).endswith(manifest_key(name, partition))


@pytest.mark.slow
def test_checks_are_judged_for_the_partition_of_the_run(
    chain: tuple[Project, dg.DagsterInstance, list[dg.ExecuteInProcessResult]],
) -> None:
    judged = {
        (name, evaluation.partition): evaluation for result in chain[2] for name, evaluation in verdicts(result).items()
    }
    made = [name for name, asset in CHECKS.items() if asset in ALWAYS]
    assert set(judged) == {(name, f"{region}|{YEAR}") for name in made for region in (NORTH, SOUTH)}
    for (name, _), evaluation in judged.items():
        assert evaluation.description, f"{name} says nothing"
        # few held-out labels of this small country: what nobody knows is not green
        known = name != "calibrated"
        assert evaluation.passed == known, (name, evaluation.description)
        assert evaluation.description.startswith(NOTHING_TO_COMPARE) != known


@pytest.mark.slow
def test_a_second_materialization_makes_nothing_and_keeps_the_data_version(
    chain: tuple[Project, dg.DagsterInstance, list[dg.ExecuteInProcessResult]],
) -> None:
    project, instance, runs = chain
    before = digests(project)
    first = {name: event for result in runs[-1:] for name, event in materialized(result).items()}
    again = materialized(run(project, instance, FIND, Partition(YEAR, NORTH)))
    for name in FIND:
        metadata = {key: value.value for key, value in again[name].metadata.items()}
        assert metadata["blocks made"] == 0, name
        assert isinstance(metadata["blocks kept"], int), name
        assert metadata["blocks kept"] > 0, name
        assert (again[name].tags or {})["dagster/data_version"] == (first[name].tags or {})["dagster/data_version"]
    assert digests(project) == before


def test_a_damaged_block_stops_what_would_read_it(built_home: Path, tmp_path: Path) -> None:
    """A valid picture that is no COG, put in the place of a block: the check after the asset sees it and blocks."""
    project = copy_of(built_home, tmp_path / "home")
    partition = Partition(YEAR, NORTH)
    key = next(iter(need_manifest(project.store, "aerial_tiles", partition).objects.values())).key
    path = project.home / "store" / key
    size = path.stat().st_size
    with rasterio.open(path) as source:
        pixels = source.read()
    with rasterio.open(path, "w", driver="JPEG", width=256, height=256, count=3, dtype="uint8", quality=10) as target:
        target.write(pixels)
    assert path.stat().st_size < size
    os.truncate(path, size)  # of another size it would be made again
    instance = dg.DagsterInstance.ephemeral()
    result = run(project, instance, ["aerial_tiles", "register_buildings", "labels"], partition, fails=True)
    verdict = verdicts(result)["tiles_complete"]
    assert not verdict.passed
    assert verdict.severity is dg.AssetCheckSeverity.ERROR
    assert verdict.partition == f"{NORTH}|{YEAR}"
    assert "Remove the object" in (verdict.description or "")
    assert set(materialized(result)) == {"aerial_tiles"}, "something read damaged blocks"
    stored = instance.get_run_by_id(result.run_id)
    assert stored is not None
    assert stored.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.bad_input
def test_a_sheet_that_was_set_aside_fails_a_check_and_the_rest_goes_on(built_home: Path, tmp_path: Path) -> None:
    project = copy_of(built_home, tmp_path / "home")
    partition = Partition(YEAR, NORTH)
    project.store.put(f"landing/{NORTH}/{YEAR}/broken.tif", b"")
    result = run(project, dg.DagsterInstance.ephemeral(), ["sheets", "aerial_tiles"], partition)
    verdict = verdicts(result)["sheets_usable"]
    assert not verdict.passed
    assert verdict.severity is dg.AssetCheckSeverity.WARN
    assert "broken.tif" in (verdict.description or "")
    events = materialized(result)
    assert set(events) == {"sheets", "aerial_tiles"}
    assert events["sheets"].metadata["quarantined"].value == 1
    assert "broken.tif" in str(events["sheets"].metadata["set aside"].value)
    assert verdicts(result)["tiles_complete"].passed
    assert events["aerial_tiles"].metadata["blocks made"].value == 0, "a file that cannot be used remade blocks"


@pytest.mark.bad_input
def test_poor_footprints_are_not_green(built_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "FEW", 0)
    monkeypatch.setenv("GROUNDPLAN_QUALITY__MIN_IOU", "0.99")
    project = copy_of(built_home, tmp_path / "home")
    result = run(project, dg.DagsterInstance.ephemeral(), ["building_footprints"], Partition(YEAR, NORTH), fails=True)
    verdict = verdicts(result)["footprints_quality"]
    assert not verdict.passed
    assert verdict.severity is dg.AssetCheckSeverity.ERROR
    assert "< 0.990" in out_of_markdown(verdict.description or "")


def test_a_step_that_fails_is_a_failed_run(built_home: Path, tmp_path: Path) -> None:
    project = copy_of(built_home, tmp_path / "home")
    partition = Partition(YEAR, NORTH)
    project.store.delete([manifest_key("aerial_tiles", partition)])
    instance = dg.DagsterInstance.ephemeral()
    result = run(project, instance, ["labels"], partition, fails=True)
    assert not materialized(result)
    assert not verdicts(result)
    stored = instance.get_run_by_id(result.run_id)
    assert stored is not None
    assert stored.status is dg.DagsterRunStatus.FAILURE
    assert instance.get_latest_materialization_event(dg.AssetKey("labels")) is None


@pytest.mark.bad_input
def test_a_home_that_is_none_fails_the_run_with_the_remedy(tmp_path: Path) -> None:
    instance = dg.DagsterInstance.ephemeral()
    add_partitions(instance, [Partition(YEAR, NORTH)])
    result = dg.materialize(
        [ASSETS[0]],
        partition_key=key_of(Partition(YEAR, NORTH)),
        instance=instance,
        raise_on_error=False,
        resources={"project": ProjectResource(home=str(tmp_path)), "database": DatabaseResource()},
    )
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "groundplan init" in str(failure.step_failure_data.error)


# --- rooms ------------------------------------------------------------------------------------------------------------


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def modules_after(code: str) -> set[str]:
    """Top-level modules that are loaded in a fresh interpreter after some code, in which no home is set."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    code = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_library_does_not_know_dagster() -> None:
    for path in (ROOT / "groundplan").rglob("*.py"):
        assert not imported(path) & {"dagster", "assets", "resources", "orchestration"}, path.name
    loaded = modules_after(
        "import importlib, pkgutil, groundplan\n"
        "for found in pkgutil.walk_packages(groundplan.__path__, 'groundplan.'): importlib.import_module(found.name)"
    )
    assert {"groundplan", "rasterio", "shapely"} <= loaded
    assert not loaded & {"dagster", "assets", "resources", "orchestration"}


def test_loading_definitions_loads_nothing_heavy() -> None:
    loaded = modules_after("import orchestration.definitions")
    assert "dagster" in loaded
    assert not loaded & {"torch", "torchvision", "openvino", "segmentation_models_pytorch", "timm", "matplotlib"}


def test_the_command_line_answers_before_anything_heavy_is_loaded() -> None:
    loaded = modules_after("import orchestration.cli.main")
    assert "typer" in loaded
    assert not loaded & {"dagster", "torch", "openvino", "rasterio", "geopandas", "numpy"}


def test_assets_are_declarations() -> None:
    seen = 0
    for path in sorted((ROOT / "assets").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= MOST_BODY, f"{path.name}: {node.name} has {lines} lines; move work to groundplan/"
                seen += any("asset" in ast.unparse(decorator) for decorator in node.decorator_list)
    assert seen == sum(map(len, (NAMES, OPERATIONS, BY_REGION, BY_YEAR, BY_STRETCH, COLLECTIONS)))


@pytest.mark.parametrize("room", ["groundplan", "assets", "resources", "orchestration"])
def test_files_are_short_enough_to_read(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        lines = len(path.read_text("utf-8").splitlines())
        most = LONG.get(str(path.relative_to(ROOT)), MOST_FILE) if room == "groundplan" else MOST_FILE
        assert lines <= most, f"{room}/{path.name} has {lines} lines; take it apart"


def test_every_module_says_what_it_is() -> None:
    for room in ("groundplan", "assets", "resources", "orchestration"):
        for path in (ROOT / room).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path
