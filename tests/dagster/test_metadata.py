"""What Dagster's pages say: of every asset, of a materialization, of a check that failed, of what starts what."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from conftest import new_project
from PIL import Image
from starlette.requests import Request

from assets import report
from assets.buildings.checks import checks, told, with_picture
from assets.operations.automation_overview import page, sheet_catalog
from assets.operations.country_map import country_map
from assets.partitions import add_partitions
from groundplan.collections.pipeline import ASSETS as COLLECTION_DATASETS
from groundplan.core.grid import Block
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.footprints import footprints
from groundplan.imagery import tiles
from groundplan.pipeline import ALWAYS, STEPS, run_asset
from groundplan.pipeline import ASSETS as DATASETS
from groundplan.project import Project, open_project
from groundplan.quality import checks as quality
from groundplan.quality.verdict import verdict_key
from orchestration.definitions import ASSETS, build_definitions, of_project
from resources.database import DatabaseResource
from resources.project import ProjectResource
from serving.maps.documents import document
from serving.maps.http import Refused

HERE, YEAR = Partition(2024, "noorderveld"), Partition(2024)
SERVED = "http://127.0.0.1:3001"
SHORT = 900  # characters of Markdown that Dagster's pages render in place


@pytest.fixture
def project(built_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_home, tmp_path / "home")
    return open_project(tmp_path / "home")


def png(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 600), color).save(buffer, "PNG")
    return buffer.getvalue()


def with_server(project: Project) -> Project:
    serving = project.settings.serving.model_copy(update={"url": SERVED})
    return replace(project, settings=project.settings.model_copy(update={"serving": serving}))


# ---------------------------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.key.to_user_string())
def test_every_asset_says_what_it_is(asset: dg.AssetsDefinition) -> None:
    (spec,) = asset.specs
    name = spec.key.to_user_string()
    assert len(spec.description or "") > 80, "a description that a mapping engineer understands"
    assert spec.owners
    assert spec.group_name not in (None, "default")
    assert spec.kinds
    assert spec.code_version
    assert "groundplan/profile" in spec.tags
    if name in (*DATASETS, "country_status", "country_map", "automation_overview"):
        assert spec.freshness_policy is not None
        assert (Path(__file__).parents[2] / str(spec.metadata["documents"].value)).is_file()


TABLES = {name: step.about.columns for name, step in STEPS.items() if step.about.columns and step.wanted is None}
BANDS = {name: step.about.bands for name, step in STEPS.items() if step.about.bands}


@pytest.mark.parametrize("dataset", TABLES)
def test_the_column_schema_is_that_of_the_files(built_home: Path, dataset: str) -> None:
    store = open_project(built_home).store
    manifest = need_manifest(store, dataset, HERE if (not STEPS[dataset].scope.wide) else YEAR)
    made = next(iter(manifest.objects.values()))
    columns = pq.read_schema(io.BytesIO(store.get(made.key))).names
    undated = {"start_datetime", "end_datetime"} - set(columns)  # columns that a catalog has when it needs them
    assert sorted(name for name, _, _ in TABLES[dataset] if name not in undated) == sorted(columns)
    asset = next(asset for asset in ASSETS if asset.key == dg.AssetKey(dataset))
    schema = asset.metadata_by_key[asset.key]["dagster/column_schema"]
    assert [column.name for column in schema.columns] == [name for name, _, _ in TABLES[dataset]]
    assert all(column.description for column in schema.columns)


@pytest.mark.parametrize("dataset", BANDS)
def test_the_table_of_bands_is_that_of_the_blocks(built_home: Path, dataset: str) -> None:
    import rasterio

    project = open_project(built_home)
    made = next(iter(need_manifest(project.store, dataset, HERE).objects.values()))
    with rasterio.open(built_home / "store" / made.key) as source:
        assert set(source.dtypes) == {"uint8"}
        told_of = {"aerial_tiles": 3, "labels": 1, "predictions": 2}[dataset]
        assert source.count == told_of
    assert len(BANDS[dataset]) == {"aerial_tiles": 2, "labels": 1, "predictions": 2}[dataset]


# ---------------------------------------------------------------------------------------------------- materializations


def test_with_a_server_a_picture_is_a_short_address(project: Project) -> None:
    served = with_server(project)
    reports = run_asset(served, "aerial_tiles", HERE)
    data, newer = png("red"), png("blue")
    metadata: Any = report.result(served, reports, ("tiles", data)).metadata
    [(small, whole)] = re.findall(r"^\[!\[tiles\]\((.*)\)\]\((.*)\)$", metadata["picture"].value)
    assert small.startswith(f"{SERVED}/previews/small/aerial_tiles/2024/noorderveld.png?v=")
    assert whole.startswith(f"{SERVED}/previews/aerial_tiles/2024/noorderveld.png?v=")
    kept = project.store.get("previews/small/aerial_tiles/2024/noorderveld.png")
    assert Image.open(io.BytesIO(kept)).width == report.BESIDE
    assert len(metadata["picture"].value) < SHORT
    assert project.store.get("previews/aerial_tiles/2024/noorderveld.png") == data
    assert metadata["map"].value == f"{SERVED}/map/noorderveld/2024/"
    assert metadata["data"].value == f"{SERVED}/partition/aerial_tiles/2024/noorderveld"
    other: Any = report.result(served, reports, ("tiles", newer)).metadata
    assert other["picture"] != metadata["picture"], "a browser would show the old one"


def test_without_a_server_the_picture_is_in_the_metadata(project: Project) -> None:
    reports = run_asset(project, "aerial_tiles", HERE)
    metadata: Any = report.result(project, reports, ("tiles", png("red"))).metadata
    assert metadata["picture"].value.startswith("![tiles](data:image/png;base64,")
    assert "map" not in metadata
    assert "data" not in metadata


def test_the_cost_is_seconds_times_the_price(project: Project) -> None:
    said = report.cost(project, 7200.0)
    assert said.pop("processor seconds") == 7200.0
    price = project.settings.nightly.price_per_cpu_hour
    assert said == {"cost": f"{2 * price:.3f} EUR"}


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    table = report.rows(("file", "reason"), [("a|b.tif", "two\nlines")]).value
    assert str(table).splitlines()[-1] == "| a\\|b.tif | two lines |"


@pytest.mark.parametrize(
    "asset",
    [asset for asset in ASSETS if asset.key.to_user_string() in ALWAYS],
    ids=lambda asset: asset.key.to_user_string(),
)
def test_every_materialization_has_a_picture_numbers_and_links(project: Project, asset: dg.AssetsDefinition) -> None:
    name = asset.key.to_user_string()
    settings = project.home / "groundplan.toml"
    settings.write_text(settings.read_text() + f'\n[serving]\nurl = "{SERVED}"\n')
    instance = dg.DagsterInstance.ephemeral()
    add_partitions(instance, [HERE])
    key = f"{HERE.region}|{HERE.year}" if (not STEPS[name].scope.wide) else str(HERE.year)
    done = dg.materialize(
        ASSETS,
        selection=[name],
        partition_key=key,
        instance=instance,
        resources={"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()},
    )
    metadata = done.asset_materializations_for_node(name)[0].metadata
    for said in ("blocks made", "size [MB]", "seconds", "processor seconds", "dagster/uri", "data", "picture"):
        assert said in metadata, said
    assert ("map" in metadata) == (not STEPS[name].scope.wide)
    link = str(metadata["picture"].value)
    assert len(link) < SHORT
    stored = link.split(f"({SERVED}/")[1].split("?")[0]
    assert Image.open(io.BytesIO(project.store.get(stored))).width > 200
    for entry in metadata.values():
        if isinstance(entry, dg.MarkdownMetadataValue):
            assert "data:" not in str(entry.value)


@pytest.mark.parametrize("name", ["aerial_tiles", "predictions"])
def test_a_run_that_made_blocks_says_how_fast_and_what_bounds_it(
    project: Project, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = need_manifest(project.store, name, HERE)
    gone = next(iter(before.objects.values()))
    project.store.delete([gone.key])
    instance = dg.DagsterInstance.ephemeral()
    add_partitions(instance, [HERE])

    def materialized() -> dict[str, Any]:
        done = dg.materialize(
            ASSETS,
            selection=[name],
            partition_key=f"{HERE.region}|{HERE.year}",
            instance=instance,
            resources={"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()},
        )
        return {key: value.value for key, value in done.asset_materializations_for_node(name)[0].metadata.items()}

    made, kept = materialized(), materialized()
    assert made["blocks made"] == 1
    shares = [made[f"time in {part} [%]"] for part in ("read", "compute", "write")]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert min(shares) > 0
    assert made["bound by"] == ("read", "compute", "write")[shares.index(max(shares))]
    assert made["MPx/s"] > 0
    assert "MPx/s" not in kept, "nothing was made"
    assert capfd.readouterr().err.count("MPx/s; read") == 1
    after = need_manifest(project.store, name, HERE)
    assert after.identity() == before.identity(), "of the run, not of what it made"


def test_the_country_map_is_a_picture_a_table_and_a_link(project: Project) -> None:
    settings = project.home / "groundplan.toml"
    settings.write_text(settings.read_text() + f'\n[serving]\nurl = "{SERVED}"\n')
    resources = {"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()}
    done = dg.materialize([country_map], resources=resources, instance=dg.DagsterInstance.ephemeral())
    event = done.asset_materializations_for_node("country_map")[0]
    metadata = {name: value.value for name, value in event.metadata.items()}
    assert (metadata["done"], metadata["failed"], metadata["map"]) == (2, 0, f"{SERVED}/map/")
    buildings = sum(len(footprints.load(project, Partition(2024, name))) for name in ("noorderveld", "zuiderhout"))
    assert metadata["buildings"] == buildings
    assert f"| 2024 | 2 | 0 | 0 | 0 | {buildings} |" in str(metadata["by year"])
    assert project.store.get("previews/country_map.png").startswith(b"\x89PNG")


# ---------------------------------------------------------------------------------------------------- checks


def red(project: Project, key: str) -> float:
    """Share of a stored picture that is as red as what is wrong is drawn."""
    pixels = np.asarray(Image.open(io.BytesIO(project.store.get(key))).convert("RGB")).astype(int)
    return float(((pixels[..., 0] > 170) & (pixels[..., 1] < 110) & (pixels[..., 2] < 110)).mean())


def test_a_missing_block_is_named_and_shown(project: Project) -> None:
    objects = need_manifest(project.store, tiles.DATASET, HERE).objects
    name = max(objects, key=lambda name: objects[name].facts["covered"])
    passed = told(with_server(project), "tiles_complete", HERE, quality.tiles_complete(project, HERE))
    assert not {"why", "where", "what to do"} & set(passed)
    project.store.delete([objects[name].key])
    metadata = told(with_server(project), "tiles_complete", HERE, quality.tiles_complete(project, HERE))
    assert name in metadata["why"]
    assert metadata["what to do"] == "Remove the object and build the partition again"
    assert f"| {name} | the object is gone or has another size |" in metadata["what is wrong"].value
    where = f"[![tiles_complete]({SERVED}/previews/small/checks/tiles_complete/2024/noorderveld.jpg?v="
    assert metadata["where"].value.startswith(where)
    assert metadata["map"].value.endswith("/map/noorderveld/2024/")
    assert 0.5 / len(objects) * 0.4 < red(project, "previews/checks/tiles_complete/2024/noorderveld.jpg") < 0.9
    kept = json.loads(project.store.get(verdict_key("tiles_complete", HERE)))
    assert (kept["passed"], kept["picture"]) == (False, "previews/checks/tiles_complete/2024/noorderveld.jpg")


@pytest.mark.bad_input
def test_a_file_that_is_set_aside_is_in_a_table(project: Project, tmp_path: Path) -> None:
    broken = tmp_path / "broken|sheet.tif"
    broken.write_bytes(b"II*\0 and then nothing")
    project.store.put_file("landing/noorderveld/2024/broken|sheet.tif", broken)
    run_asset(project, "sheets", HERE)
    verdict = quality.sheets_usable(project, HERE)
    metadata = told(project, "sheets_usable", HERE, verdict)
    assert not verdict.passed
    assert "broken\\|sheet.tif" in metadata["what is wrong"].value
    assert metadata["where"].value.startswith("![sheets_usable](data:image/png;base64,")
    assert "deliver them again" in metadata["what to do"]


@pytest.mark.fault
def test_bad_footprints_are_counted_named_and_shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import geopandas as gpd

    frame = footprints.load(project, HERE)
    objects = need_manifest(project.store, tiles.DATASET, HERE).objects
    fullest = max(objects, key=lambda name: objects[name].facts["covered"])
    left, bottom, right, top = project.grid.bounds(Block.parse(fullest))
    x, y = (left + right) / 2, (bottom + top) / 2
    bowtie = shapely.Polygon([(x, y), (x + 20, y + 20), (x + 20, y), (x, y + 20)])
    shapes = [shapely.box(x - 30, y, x - 10, y + 20), shapely.box(x - 15, y, x - 5, y + 20), bowtie]
    bad = gpd.GeoDataFrame(
        {**{column: None for column in frame.columns if column != "geometry"}, "id": ["one", "two", "three"]},
        geometry=shapes,
        crs=frame.crs,
    )
    monkeypatch.setattr(footprints, "load", lambda project, partition: bad)
    verdict = quality.footprints_valid(project, HERE)
    assert (verdict.facts["invalid"], verdict.facts["overlapping"], verdict.facts["named twice"]) == (1, 1, 0)
    assert {line[0]: line[1] for line in verdict.wrong[1:]} == {
        "one": "overlapping",
        "two": "overlapping",
        "three": "invalid",
    }
    told(with_server(project), "footprints_valid", HERE, verdict)
    assert red(project, "previews/checks/footprints_valid/2024/noorderveld.jpg") > 0.002


def test_the_quality_check_shows_what_was_missed(project: Project) -> None:
    """The tests' model finds little: the register's buildings that it missed are red in the picture."""
    verdict = quality.footprints_quality(project, HERE)
    metadata = told(with_server(project), "footprints_quality", HERE, verdict)
    assert metadata["iou"] == verdict.facts["iou"]
    assert red(project, "previews/checks/footprints_quality/2024/noorderveld.png") > 0.001
    kept = json.loads(project.store.get(verdict_key("footprints_quality", HERE)))
    assert kept["facts"] == verdict.facts


@pytest.mark.fault
def test_a_verdict_is_told_where_nothing_can_be_drawn(project: Project) -> None:
    verdict = quality.labels_healthy(project, HERE)
    objects = need_manifest(project.store, tiles.DATASET, HERE).objects

    def draw() -> bytes:
        project.store.delete([made.key for made in objects.values()])
        return quality.pictures.tiles_picture(project, objects)

    metadata = told(project, "labels_healthy", HERE, replace(verdict, passed=False, draw=draw))
    assert "where" not in metadata
    assert metadata["why"] == verdict.message


def test_the_words_of_a_check_come_before_its_picture(project: Project) -> None:
    """The command line and the notices take the words; Dagster's pages show both."""
    served = {"where": dg.MetadataValue.md("![where](http://127.0.0.1/x.png)")}
    words, picture = with_picture(with_server(project), "bad. Mend it", served).split("\n\n")
    assert (words, picture) == ("bad. Mend it", "![where](http://127.0.0.1/x.png)")
    assert with_picture(project, "bad. Mend it", served) == "bad. Mend it", "a data URI would not be shown"
    assert with_picture(with_server(project), "fine", {}) == "fine"


def test_every_check_says_what_it_asks() -> None:
    for check in checks:
        (spec,) = check.check_specs
        assert len(spec.description or "") > 40
        assert spec.blocking


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0.0042, "0.004 EUR"), (0.00001, "less than 0.001 EUR"), (0.0, "0.000 EUR"), (1234.5, "1,234.50 EUR")],
)
def test_a_cost_is_read_at_a_glance(amount: float, said: str) -> None:
    assert report.priced(amount, "EUR") == said
    assert report.priced(amount, "") == said.removesuffix(" EUR")


# ---------------------------------------------------------------------------------------------------- as the project is


def specs_of(home: Path) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in of_project(str(home)).resolve_all_asset_specs()}


def test_collections_show_where_there_are_any(tmp_path: Path) -> None:
    project = new_project(tmp_path / "home")
    hidden, shown = specs_of(project.home), specs_of(tmp_path / "no project")
    assert set(shown) - set(hidden) == set(COLLECTION_DATASETS)
    (tmp_path / "home/store/collections/fruits").mkdir(parents=True)
    assert set(specs_of(project.home)) == set(shown)
    new_project(tmp_path / "made for them", collections={})
    assert set(specs_of(tmp_path / "made for them")) == set(shown)


def test_documents_are_links_that_open(tmp_path: Path) -> None:
    served = new_project(tmp_path / "served", serving={"url": SERVED})
    links = [spec.metadata["documents"] for spec in specs_of(served.home).values() if "documents" in spec.metadata]
    assert len(links) > len(DATASETS)
    for link in links:
        assert isinstance(link, dg.UrlMetadataValue)
        name = str(link.value).removeprefix(f"{SERVED}/docs/")
        request = Request({"type": "http", "path_params": {"name": name}})
        assert bytes(asyncio.run(document(request)).body).startswith(b"#")
    elsewhere = new_project(tmp_path / "elsewhere", serving={"docs_url": "https://code.example/gp/blob/main"})
    link = specs_of(elsewhere.home)["country_map"].metadata["documents"]
    assert link == dg.MetadataValue.url("https://code.example/gp/blob/main/docs/web-ui.md")


@pytest.mark.parametrize("name", ["../pyproject.toml", "hooks.py", "none-such.md", "images"])
def test_nothing_but_pages_is_read_from_the_documents(name: str) -> None:
    with pytest.raises(Refused):
        asyncio.run(document(Request({"type": "http", "path_params": {"name": name}})))


def test_pages_of_the_country_come_from_the_footprints(tmp_path: Path) -> None:
    graph = build_definitions().resolve_asset_graph()
    after = {key.to_user_string() for key in graph.get(dg.AssetKey("building_footprints")).child_keys}
    assert {"country_map", "country_status", "store_audit"} <= after


# ---------------------------------------------------------------------------------------------------- the catalogue


def test_the_catalogue_lists_all_that_starts_something(tmp_path: Path) -> None:
    repository = build_definitions({"project": ProjectResource(home=str(tmp_path))}).get_repository_def()
    tables = {title: lines for title, _, lines in sheet_catalog(repository, dg.DagsterInstance.ephemeral())}
    assert {line[0] for line in tables["schedules"]} == {one.name for one in repository.schedule_defs}
    assert {line[0] for line in tables["sensors"]} == {one.name for one in repository.sensor_defs}
    named = ", ".join(assets for _, assets in tables["profiles"]).split(", ")
    assert sorted(named) == sorted(key.to_user_string() for key in repository.asset_graph.materializable_asset_keys)
    assert all(line[-1] for line in (*tables["schedules"], *tables["sensors"])), "what for?"
    html = page(list(sheet_catalog(repository, dg.DagsterInstance.ephemeral()))).decode()
    assert all(line[0] in html for line in tables["sensors"])
    assert "src=" not in html


@pytest.mark.bad_input
def test_words_of_a_definition_are_never_markup() -> None:
    html = page(
        [("sensors", ("sensor",), [("<script>alert('1')</script>",)]), ("none of them", ("sensor",), [])]
    ).decode()
    assert "<td>&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;</td>" in html
    assert "<script>" not in html
    assert "none of them" not in html


def test_the_catalogue_says_what_is_switched_on(tmp_path: Path) -> None:
    repository = build_definitions({"project": ProjectResource(home=str(tmp_path))}).get_repository_def()
    schedule = repository.schedule_defs[0]

    def state(instance: dg.DagsterInstance) -> str:
        lines = {title: lines for title, _, lines in sheet_catalog(repository, instance)}["schedules"]
        return str({line[0]: line[3] for line in lines}[schedule.name])

    with dg.instance_for_test() as instance:
        assert state(instance) == "off"
        _switch_on(instance, schedule)
        assert state(instance) == "on"


def _switch_on(instance: dg.DagsterInstance, schedule: dg.ScheduleDefinition) -> None:
    """As the web UI does, of a code location that nobody runs."""
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="orchestration.definitions"))
    origin = RemoteRepositoryOrigin(location, "__repository__").get_instigator_origin(schedule.name)
    data = ScheduleInstigatorData(schedule.cron_schedule, 0.0)
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data))
