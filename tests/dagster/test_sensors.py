"""The sensors as Dagster ticks them: an ephemeral instance, real files, a real queue, and what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as counting
from pathlib import Path
from typing import Any

import aws
import boto3
import dagster as dg
import pytest
from conftest import new_project
from dagster._core.execution.backfill import BulkActionStatus
from messages import notification, tiff

from assets.partitions import partition_of
from groundplan.core.manifest import Made, Manifest, manifest_key
from groundplan.core.partition import Partition
from groundplan.core.store import Store
from groundplan.errors import StoreFailed
from groundplan.imagery.landing import delivered_partitions
from groundplan.ingest import upstream_changes
from groundplan.ingest.cursor import Cursor
from groundplan.ingest.upstream_changes import UpstreamCursor, Version, partitions_of_models
from groundplan.labels.registers import add_register
from groundplan.pipeline import state_of
from groundplan.project import Project
from groundplan.synthetic.country import Country
from orchestration.definitions import build_definitions
from orchestration.sensors import sources
from resources.database import DatabaseResource
from resources.project import ProjectResource

NORTH, SOUTH = "noorderveld", "zuiderhout"
TIMES = counting()
DEFINITIONS = build_definitions({"project": ProjectResource(home="unused")})


class Desk:
    """Dagster's part: an instance, each sensor's cursor, and run keys that were launched."""

    def __init__(self, project: Project) -> None:
        self.project, self.instance = project, dg.DagsterInstance.ephemeral()
        self.cursors: dict[str, str | None] = {}
        self.launched: list[dg.RunRequest] = []
        self.said = ""

    def tick(self, name: str) -> list[dg.RunRequest]:
        """One tick as the daemon does it: partitions first, then new run keys, then the cursor."""
        sensor = next(one for one in sources.SENSORS if one.name == name)
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=DEFINITIONS.get_repository_def(),
            resources={"project": ProjectResource(home=str(self.project.home)), "database": DatabaseResource()},
        )
        # a context that was built for a test looks up regions only in an instance that lies on a disk
        context.caching_dynamic_partitions_loader = self.instance  # type: ignore[assignment]
        data = sensor.evaluate_tick(context)
        for request in data.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        keys = {request.run_key for request in self.launched}
        fresh = [request for request in data.run_requests or () if request.run_key not in keys]
        self.launched += fresh
        self.cursors[name] = data.cursor
        self.said = data.skip_message or ""
        return fresh

    def work(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        definitions = build_definitions({"project": ProjectResource(home=str(self.project.home))})
        return definitions.resolve_job_def("imagery").execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags=dict(request.tags),
            raise_on_error=False,
            asset_selection=list(request.asset_selection or ()),
        )

    def queued(self, request: dg.RunRequest, status: dg.DagsterRunStatus, **tags: str) -> None:
        """A run of this request, as Dagster's database has it."""
        run = dg.DagsterRun(
            job_name="imagery",
            status=status,
            asset_selection=frozenset(request.asset_selection or ()),
            tags={**request.tags, "dagster/partition": str(request.partition_key), **tags},
        )
        self.instance.add_run(run)


def names(request: dg.RunRequest) -> list[str]:
    return [key.to_user_string() for key in request.asset_selection or ()]


def asked(requests: list[dg.RunRequest]) -> dict[str, list[str]]:
    return {str(request.partition_key): names(request) for request in requests}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_780_000_000.0]
    monkeypatch.setattr(sources, "time", lambda: now[0])
    return now


# --- new imagery ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_files_in_a_folder_become_runs_that_work(country: Country, tmp_path: Path, clock: list[float]) -> None:
    """Two regions that share ground: catalogues first, then tiles from both; what is made is what is needed."""
    from groundplan.ingest.add_imagery import deliver

    project = new_project(tmp_path / "home")
    desk = Desk(project)
    assert desk.tick("new_imagery") == []
    for (region, year), sheets in country.sheets.items():
        deliver(project, sheets, region, year)
    assert desk.tick("new_imagery") == []
    assert "2 deliveries are not over" in desk.said
    clock[0] += 59
    assert desk.tick("new_imagery") == []
    clock[0] += 1
    first = desk.tick("new_imagery")
    assert asked(first) == {f"{NORTH}|2024": ["sheets"], f"{SOUTH}|2024": ["sheets"]}
    assert set(desk.instance.get_dynamic_partitions("regions")) == {NORTH, SOUTH}
    told = ("groundplan/cause", "groundplan/region", "groundplan/year", "dagster/priority")
    assert {key: first[0].tags[key] for key in told} == {
        "groundplan/cause": "new_imagery",
        "groundplan/region": NORTH,
        "groundplan/year": "2024",
        "dagster/priority": "10",
    }
    for request in first:
        result = desk.work(request)
        assert result.success
        assert {one.check_name for one in result.get_asset_check_evaluations()} == {"sheets_usable", "sheets_plausible"}
    second = desk.tick("new_imagery")
    assert asked(second) == {f"{NORTH}|2024": ["aerial_tiles"], f"{SOUTH}|2024": ["aerial_tiles"]}
    assert {request.tags["dagster/priority"] for request in second} == {"5"}, "after what just arrived"
    for request in second:
        assert desk.work(request).success
    for part in delivered_partitions(project):
        assert [state_of(project, name, part).state for name in ("sheets", "aerial_tiles")] == ["current", "current"]
    for _ in range(3):
        clock[0] += 3600
        assert desk.tick("new_imagery") == []
    assert len({request.run_key for request in desk.launched}) == len(desk.launched) == 4


def test_one_region_alone_is_one_run(tmp_path: Path, clock: list[float]) -> None:
    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": 0.0})
    project.store.put("landing/west/2024/a.tif", tiff(5.0, 7))
    desk = Desk(project)
    requests = desk.tick("new_imagery")
    assert asked(requests) == {"west|2024": ["sheets", "aerial_tiles"]}
    assert desk.work(requests[0]).success


def test_a_tick_that_died_asks_for_the_same_again(tmp_path: Path, clock: list[float]) -> None:
    """Killed after it decided: its cursor is lost, and its runs may have been launched."""
    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": 0.0})
    project.store.put("landing/west/2024/a.tif", tiff(5.0))
    desk = Desk(project)
    desk.tick("new_imagery")
    desk.cursors.clear()
    assert desk.tick("new_imagery") == [], "another key for the same delivery"
    assert desk.tick("new_imagery") == []
    project.store.put("landing/west/2024/a.tif", tiff(5.0, 9))
    assert len(desk.tick("new_imagery")) == 1


@pytest.mark.fault
def test_a_failed_listing_fails_the_tick_and_keeps_the_cursor(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": 5.0})
    project.store.put("landing/west/2024/a.tif", tiff(5.0))
    desk = Desk(project)
    desk.tick("new_imagery")
    before = dict(desk.cursors)

    def fails(self: Store, prefix: str = "") -> Any:
        raise StoreFailed(prefix, "it could not be listed", "Run again when the store answers")

    for method in ("list", "below"):
        with monkeypatch.context() as patched:
            patched.setattr(Store, method, fails)
            with pytest.raises(StoreFailed):
                desk.tick("new_imagery")
    assert desk.cursors == before
    clock[0] += 5
    assert len(desk.tick("new_imagery")) == 1


def test_tiles_wait_for_a_catalogue_in_the_making_and_for_its_retry(tmp_path: Path, clock: list[float]) -> None:
    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": 0.0})
    for name, east in (("west", 5.0), ("east", 60.0)):
        project.store.put(f"landing/{name}/2024/a.tif", tiff(east))
    desk = Desk(project)
    first = desk.tick("new_imagery")
    for name in ("west", "east"):
        project.store.put(manifest_key("sheets", Partition(2024, name)), b"{}")
    assert sorted(asked(first).values()) == [["sheets"], ["sheets"]]
    desk.queued(first[0], dg.DagsterRunStatus.STARTED)
    assert desk.tick("new_imagery") == []
    run = desk.instance.get_runs()[0]
    clock[0] = desk.instance.get_run_record_by_id(run.run_id).update_timestamp.timestamp()  # type: ignore[union-attr]
    desk.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    desk.instance.report_run_failed(run)
    assert desk.instance.get_runs()[0].status is dg.DagsterRunStatus.FAILURE
    assert desk.tick("new_imagery") == [], "it is tried again"
    desk.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "another"})
    assert sorted(asked(desk.tick("new_imagery")).values()) == [["aerial_tiles"], ["aerial_tiles"]]


def test_many_partitions_are_one_backfill_a_year_asked_for_once(tmp_path: Path, clock: list[float]) -> None:
    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": 0.0, "most_runs": 2})
    for index in range(4):
        project.store.put(f"landing/r{index}/2024/a.tif", tiff(5.0 + 1000 * index))
    desk = Desk(project)
    assert desk.tick("new_imagery") == []
    assert "asks for the backfill" in desk.said
    assert not desk.instance.get_backfills(), "before the cursor is durable"
    decided = desk.cursors["new_imagery"]
    for _ in range(2):
        desk.cursors["new_imagery"] = decided  # the tick after died
        assert desk.tick("new_imagery") == []
    found = desk.instance.get_backfills()
    assert [(item.title, item.status) for item in found] == [
        ("new imagery 2024: sheets, aerial_tiles of 4 regions", BulkActionStatus.REQUESTED)
    ]
    assert found[0].tags["groundplan/cause"] == "new_imagery"
    assert found[0].tags["dagster/priority"] == "-5", "a drop goes before it"
    assert found[0].asset_backfill_data is not None
    target = found[0].asset_backfill_data.target_subset
    assert {str(item.partition_key) for item in target.iterate_asset_partitions()} == {f"r{i}|2024" for i in range(4)}
    for _ in range(3):
        assert desk.tick("new_imagery") == []
    assert len(desk.instance.get_backfills()) == 1


# --- events of a bucket -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cloud() -> Iterator[str]:
    with aws.serve() as url:
        yield url


def test_an_upload_to_a_bucket_is_told_by_its_queue(
    cloud: str, tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upload, notification, queue, sensor; with a message that is none, one that comes again, and one that is lost."""
    for name, value in aws.environment(cloud).items():
        monkeypatch.setenv(name, value)
    s3, sqs = (boto3.client(kind, endpoint_url=cloud, region_name="us-east-1") for kind in ("s3", "sqs"))
    main, dead = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("imagery", "imagery-dead"))
    s3.create_bucket(Bucket="imagery-bucket")
    arn = sqs.get_queue_attributes(QueueUrl=main, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    only = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "groundplan/landing/"}]}}
    rule = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"], "Filter": only}
    s3.put_bucket_notification_configuration(
        Bucket="imagery-bucket", NotificationConfiguration={"QueueConfigurations": [rule]}
    )
    project = new_project(
        tmp_path / "home",
        store="s3://imagery-bucket/groundplan",
        arrivals={"quiet_seconds": 60.0, "queue": main, "dead_letter_queue": dead, "sweep_minutes": 30.0},
    )
    desk = Desk(project)
    desk.tick("new_imagery")
    s3.put_object(Bucket="imagery-bucket", Key="groundplan/landing/west/2024/a b.tif", Body=tiff(5.0))
    sqs.send_message(QueueUrl=main, MessageBody="this is no event")
    lost = sqs.receive_message(QueueUrl=main, MaxNumberOfMessages=1)["Messages"][0]
    sqs.change_message_visibility(QueueUrl=main, ReceiptHandle=lost["ReceiptHandle"], VisibilityTimeout=0)
    sqs.send_message(
        QueueUrl=main,
        MessageBody=notification(
            s3__object__key="groundplan/landing/west/2024/a+b.tif", eventTime="2026-05-01T00:00:00Z"
        ),
    )
    assert desk.tick("new_imagery") == []
    cursor = Cursor.from_text(desk.cursors["new_imagery"])
    assert list(cursor.pending) == [Partition(2024, "west")]
    assert cursor.bad == 1
    assert "1 unreadable messages so far" in desk.said
    assert len(cursor.receipts) >= 3
    got = sqs.receive_message(QueueUrl=dead, MessageAttributeNames=["All"])["Messages"]
    assert [(one["Body"], one["MessageAttributes"]["reason"]["StringValue"]) for one in got] == [
        ("this is no event", "it is no JSON (JSONDecodeError)")
    ]

    def held() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = sqs.get_queue_attributes(QueueUrl=main, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    assert held() == len(cursor.receipts), "deleted before the decision was durable"
    # an object's event time is the real clock's: move ours to it, and past the quiet time
    clock[0] = max(clock[0], *(item.since for item in cursor.pending.values())) + 3600
    monkeypatch.setattr(sources.scan, "_year", lambda now: 2026)
    requests = desk.tick("new_imagery")
    assert asked(requests) == {"west|2024": ["sheets", "aerial_tiles"]}
    assert held() == 0
    s3.put_object(Bucket="imagery-bucket", Key="groundplan/landing/far/2024/b.tif", Body=tiff(5000.0))
    sqs.purge_queue(QueueUrl=main)  # all events of it are lost
    found: list[dg.RunRequest] = []
    for _ in range(4):
        clock[0] += 31 * 60
        found += desk.tick("new_imagery")
    assert asked(found) == {"far|2024": ["sheets", "aerial_tiles"]}, "the listing finds what events missed"


# --- a changed register, a new model ----------------------------------------------------------------------------------


def with_tiles(path: Path, **settings: dict[str, Any]) -> Project:
    """A project that looks as if two regions had their tiles and a model."""
    project = new_project(path, **settings)
    for region in (NORTH, SOUTH):
        project.store.put(manifest_key("aerial_tiles", Partition(2024, region)), b"{}")
    retrained(project, "0" * 16)
    return project


def retrained(project: Project, print_: str) -> None:
    """Commit a model with this fingerprint; committed again, it is the same one."""
    made = {
        "model": Made(
            name="model", key="trained_model/2024/model.zip", fingerprint=print_, bytes=1, seconds=0.0, cpu_seconds=0.0
        )
    }
    manifest = Manifest(
        dataset="trained_model",
        partition=Partition(2024),
        version="1",
        fingerprint=print_,
        objects=made,
        committed=str(next(TIMES)),
    )
    project.store.put(manifest_key("trained_model", Partition(2024)), manifest.to_json())


@pytest.mark.slow
def test_a_changed_register_asks_for_labels_of_its_year(country: Country, tmp_path: Path) -> None:
    import geopandas as gpd

    built = with_tiles(tmp_path / "home")
    desk = Desk(built)
    desk.instance.add_dynamic_partitions("regions", [NORTH, SOUTH])
    register, extent = country.registers[2024]
    add_register(built, register, 2024, extent)
    assert desk.tick("changed_register") == [], "switched on, it must not remake a country"
    add_register(built, register, 2024, extent)
    assert desk.tick("changed_register") == [], "the same register again"
    fewer = tmp_path / register.name
    frame = gpd.read_file(register) if register.suffix != ".parquet" else gpd.read_parquet(register)
    writes = frame.iloc[::2].to_parquet if register.suffix == ".parquet" else frame.iloc[::2].to_file
    writes(fewer)
    add_register(built, fewer, 2024, extent)
    requests = desk.tick("changed_register")
    both = ["register_buildings", "labels"]
    assert asked(requests) == {f"{NORTH}|2024": both, f"{SOUTH}|2024": both}
    assert requests[0].tags["groundplan/cause"] == "changed_register"
    assert desk.tick("changed_register") == []
    add_register(built, register, 2024, extent)
    assert len(desk.tick("changed_register")) == 2, "brought back"
    assert len({request.run_key for request in desk.launched}) == 4
    add_register(built, register, 2019, extent)
    assert desk.tick("changed_register") == [], "no imagery of that year"


@pytest.mark.parametrize(("policy", "count"), [("newest", 2), ("all", 2), ("none", 0)])
def test_a_new_model_asks_for_predictions_by_policy(tmp_path: Path, policy: str, count: int) -> None:
    desk = Desk(with_tiles(tmp_path / "home", arrivals={"on_new_model": policy}))
    desk.instance.add_dynamic_partitions("regions", [NORTH, SOUTH])
    assert desk.tick("new_model") == []
    retrained(desk.project, "a" * 16)
    requests = desk.tick("new_model")
    assert len(requests) == count
    assert all(names(request) == ["predictions"] for request in requests)
    assert all(request.tags["groundplan/cause"] == "new_model" for request in requests)
    retrained(desk.project, "a" * 16)
    assert desk.tick("new_model") == [], "looked for, not trained"


@pytest.mark.parametrize(
    ("policy", "only", "changed", "expected"),
    [
        ("all", None, [2023], {2023}),
        ("newest", None, [2023], set()),
        ("newest", None, [2024], {2024}),
        ("all", 2020, [2020], {2022, 2023, 2024}),
        ("newest", 2020, [2020], {2024}),
        ("all", 2020, [2024], set()),
        ("none", None, [2024], set()),
    ],
)
def test_years_that_a_new_model_is_for(
    tmp_path: Path, policy: str, only: int | None, changed: list[int], expected: set[int]
) -> None:
    predict = {} if only is None else {"model_year": only}
    project = new_project(tmp_path / "home", arrivals={"on_new_model": policy}, predict=predict)
    made = [Partition(year, name) for year in (2022, 2023, 2024) for name in "ab"]
    wanted = partitions_of_models(project, changed, made)
    assert {part.year for part in wanted} == expected
    assert set(wanted) == {part for part in made if part.year in expected}


def test_a_change_is_counted_once_and_the_first_look_only_remembers() -> None:
    first, changed = upstream_changes.compare_versions(None, {2023: "s1", 2024: "s1"}, lambda year: "i1")
    assert changed == []
    again, changed = upstream_changes.compare_versions(first, {2023: "s2", 2024: "s1"}, lambda year: "i1")
    assert changed == []
    assert again[2023] == Version("s2", "i1", 1)
    later, changed = upstream_changes.compare_versions(again, {2023: "s3", 2024: "s1", 2025: "s1"}, lambda year: "i2")
    assert changed == [2023, 2025]
    assert later[2023].count == 2
    gone, changed = upstream_changes.compare_versions(later, {2023: "s3", 2025: "s1"}, lambda year: "never read")
    assert changed == [2024]
    assert UpstreamCursor.from_text(UpstreamCursor(gone).to_text()) == UpstreamCursor(gone)


# --- how they are set up ----------------------------------------------------------------------------------------------


def test_sensors_are_off_and_say_what_they_do() -> None:
    for sensor in sources.SENSORS:
        assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
        assert len(sensor.description or "") > 80
        assert sensor.minimum_interval_seconds == 30
    loaded = {sensor.name for sensor in DEFINITIONS.get_repository_def().sensor_defs}
    assert {"new_imagery", "changed_register", "new_model"} <= loaded


def test_keys_of_requests_are_partitions_that_exist(tmp_path: Path, clock: list[float]) -> None:
    project = new_project(tmp_path / "home", arrivals={"quiet_seconds": 0.0})
    project.store.put("landing/Sint Anthonis/2024/a.tif", tiff(5.0))
    requests = Desk(project).tick("new_imagery")
    assert [partition_of(str(request.partition_key)) for request in requests] == [Partition(2024, "Sint Anthonis")]
    assert requests[0].tags["dagster/partition"] == "Sint Anthonis|2024"
