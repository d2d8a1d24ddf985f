"""Nobody lifts a hand: a real daemon sees imagery arrive, by a folder or a bucket's events, and footprints follow.

Real processes: Dagster's daemon, its code server, a process for each run, PostgreSQL, and an S3 server with SQS. What
is made must be, byte for byte, what an undisturbed `groundplan build` makes (of one region alone: what no network
touches). Not here: single decisions
(test_decide.py, test_sensors.py, test_backlog.py), pods (tests/kubernetes).
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aws import environment, serve
from conftest import MakeProject, build_all, deliver_country, digests
from dagster._core.execution.backfill import BulkActionStatus
from living import Living, all_made, kill_workers, living
from servers import serve_postgres

from groundplan.core.manifest import manifest_key
from groundplan.core.partition import Partition
from groundplan.imagery.regions import add_regions
from groundplan.labels.registers import add_register
from groundplan.project import Project, open_project
from groundplan.synthetic.country import Country

# A daemon gives each run a process of its own that loads Dagster: the first test alone takes 220 s of CPU. That is
# what is tested; and that nothing more is started can only be waited for.
pytestmark = [pytest.mark.daemon, pytest.mark.slow, pytest.mark.timeout(1800)]

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")
QUIET = {"quiet_seconds": 3.0, "sweep_minutes": 0.1}
BUCKET, ACCOUNT = "imagery", "123456789012"


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, country: Country, make_project: MakeProject
) -> dict[str, str]:
    """Key to SHA-256 of all that one quiet build makes."""
    project = make_project(tmp_path_factory.mktemp("quiet") / "home")
    deliver_country(project, country, regions=True)
    build_all(project)
    return digests(project)


def prepare(project: Project, country: Country) -> Project:
    """All but the imagery."""
    add_regions(project, country.regions)
    for year, (register, extent) in country.registers.items():
        add_register(project, register, year, extent)
    return project


def drop(project: Project, country: Country, *regions: str) -> None:
    """A person copies files into the landing folder: those of some regions, or all."""
    assert project.store.root is not None
    for (region, year), sheets in country.sheets.items():
        if regions and region not in regions:
            continue
        folder = project.store.root / "landing" / region / str(year)
        folder.mkdir(parents=True)
        for sheet in sheets:
            shutil.copy(sheet, folder)


def asked_once(here: Living, asset: str) -> None:
    """Each partition of an asset was made by one run."""
    counts = Counter(run.tags["dagster/partition"] for run in here.runs(asset))
    assert set(counts.values()) == {1}, counts


def test_sheets_that_are_dropped_into_a_folder_become_footprints(
    tmp_path: Path, country: Country, make_project: MakeProject, undisturbed: dict[str, str]
) -> None:
    project = prepare(make_project(tmp_path / "home", arrivals=QUIET), country)
    with living(project) as here:
        drop(project, country, NORTH.region)
        took = here.wait("footprints of the region", lambda: all_made(project))
        here.wait("the daemon to be quiet", here.quiet, 300)
        runs = here.runs()
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}, here.last_words()
        asked_once(here, "sheets")
        asked_once(here, "trained_model")
        causes = {run.tags["groundplan/cause"] for run in runs}
        assert {"new_imagery", "automation"} <= causes
        assert set(here.instance.get_dynamic_partitions("regions")) == {NORTH.region}
        for untaught in ("sheets", "aerial_tiles", "labels"):  # the network would learn from the other region, too
            made = {key: digest for key, digest in digests(project, untaught).items() if NORTH.region in key}
            assert made
            assert made == {key: undisturbed[key] for key in made}
        settled = len(runs)
        time.sleep(10)
        assert len(here.runs()) == settled, "nothing new arrived, and yet work was started"
    print(f"from the drop to the last footprints: {took:.0f} s, {settled} runs")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An S3 server with a bucket whose events go to an SQS queue; the environment that leads to both."""
    import boto3

    with serve() as url:
        env = environment(url)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        queue = boto3.client("sqs").create_queue(QueueName="imagery")["QueueUrl"]
        notify(queue)
        yield {**env, "queue": queue}


def notify(queue: str = "") -> None:
    """Have the bucket send its events to a queue, or to nobody."""
    import boto3

    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:imagery"
    found = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}] if queue else []
    boto3.client("s3").put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": found}
    )


def upload(country: Country, region: str) -> list[str]:
    """A supplier's upload; the keys."""
    import boto3

    keys = []
    for sheet in country.sheets[region, 2024]:
        keys.append(f"country/landing/{region}/2024/{sheet.name}")
        boto3.client("s3").upload_file(str(sheet), BUCKET, keys[-1])
    return keys


def send(queue: str, keys: list[str]) -> None:
    """Events as S3 words them."""
    import boto3

    for key in keys:
        record = {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "eventTime": "2026-01-01T00:00:00.000Z",
            "s3": {"bucket": {"name": BUCKET}, "object": {"key": key, "size": 1, "eTag": "x"}},
        }
        boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps({"Records": [record]}))


@pytest.mark.fault
def test_uploads_with_events_twice_out_of_order_or_lost_become_the_same_footprints(
    tmp_path: Path, country: Country, make_project: MakeProject, undisturbed: dict[str, str], aws: dict[str, str]
) -> None:
    """On PostgreSQL; the second region's events are lost, so the listing finds it."""
    settings = {"queue": aws["queue"], **QUIET}
    project = prepare(make_project(tmp_path / "home", f"s3://{BUCKET}/country", arrivals=settings), country)
    with serve_postgres() as postgres, living(project, postgres=postgres) as here:
        notify()
        upload(country, SOUTH.region)
        notify(aws["queue"])
        keys = upload(country, NORTH.region)
        here.wait("footprints of both regions", lambda: all_made(project))
        here.wait("the daemon to be quiet", here.quiet, 300)
        assert {run.status for run in here.runs()} == {dg.DagsterRunStatus.SUCCESS}, here.last_words()
        asked_once(here, "sheets")
        made = digests(project)
        assert {key: made.get(key) for key in undisturbed} == undisturbed
        # where the listing found the second region late, the network's windows were chosen once without it
        assert {key.split("/")[0] for key in made.keys() - undisturbed.keys()} <= {"training_windows"}
        settled = len(here.runs())
        send(aws["queue"], [*reversed(keys), *keys, *keys])
        here.wait("the queue to be empty", lambda: waiting(aws["queue"]) == 0, 300)
        time.sleep(15)
        assert len(here.runs()) == settled, "known imagery was made again"


def waiting(queue: str) -> int:
    """Messages in the queue, in somebody's hands or not."""
    import boto3

    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(value) for value in found.values())


@pytest.mark.kill
def test_a_daemon_that_dies_between_decision_and_launch_launches_once(
    tmp_path: Path, country: Country, make_project: MakeProject
) -> None:
    project = prepare(make_project(tmp_path / "home", arrivals=QUIET), country)
    with living(project, daemon=False) as here:
        here.start_daemon(dies_before_launch=True)
        drop(project, country)
        here.wait("the daemon to die", lambda: here.processes["daemon"].poll() is not None)
        assert here.processes["daemon"].returncode == -9
        assert not here.made("sheets", NORTH)
        here.start_daemon()
        here.wait("tiles of both regions", lambda: here.made("aerial_tiles", NORTH, SOUTH))
        asked_once(here, "sheets")


@pytest.mark.kill
def test_the_night_finishes_what_a_killed_backfill_left(tmp_path: Path, built_home: Path) -> None:
    from orchestration.backfills import request_backfill
    from orchestration.definitions import defs

    shutil.copytree(built_home, tmp_path / "home")
    project = open_project(tmp_path / "home")
    wanted = digests(project)
    names = ("predictions", "building_outlines", "building_footprints")
    found = [item.key for name in names for item in project.store.list(name)]
    project.store.delete([*found, *(manifest_key(name, one) for name in names for one in (NORTH, SOUTH))])
    with living(project, sensors=False) as here:
        graph = defs.get_repository_def().asset_graph
        asked = request_backfill(
            here.instance,
            graph,
            ["predictions", "building_footprints"],
            [NORTH, SOUTH],
            "a backfill that is killed",
            {"groundplan/cause": "test"},
            "killed",
        )
        here.wait("the first blocks", lambda: len(project.store.list("predictions")) > 0)
        here.kill("daemon")
        assert kill_workers(here) > 0
        for run in here.instance.get_runs():
            if not run.is_finished:
                here.instance.report_run_failed(run, "its machine is gone")  # as run monitoring does on a cluster
        backfill: Any = here.instance.get_backfill(asked)
        here.instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
    kept = {item.key for item in project.store.list("predictions")}
    assert not all_made(project)
    with living(project, env={"NIGHTLY_CRON": "* * * * *", "GROUNDPLAN_NIGHTLY__HOURS": "24"}) as here:
        here.wait("all that was missing", lambda: all_made(project))
        nights = [found for found in here.instance.get_backfills() if found.tags["groundplan/cause"] == "nightly"]
    assert nights
    assert all("2024" in str(found.title) for found in nights)
    assert kept <= {item.key for item in project.store.list("predictions")}
    assert digests(project) == wanted
