"""Moves of aliases: two at once over S3, and the events by which others are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import new_project
from faulty_s3 import BUCKET, Fault, FaultyS3, serve_as_aws
from typer.testing import CliRunner

from groundplan.core.store import Store, open_store
from groundplan.database import connect
from groundplan.database.tables import message, outbox
from groundplan.errors import BadConfig
from groundplan.messages import event_of
from groundplan.messages.cloud_events import PROMOTED
from groundplan.project import Project
from groundplan.registry import ModelEntry, read_aliases, register, set_alias
from orchestration.cli.main import app
from resources.moved_aliases import tell_moves
from resources.piled import piled_up


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with serve_as_aws() as faulty:
        yield faulty


def outcome(store: Store, version: str, expected: str = "a") -> str:
    try:
        set_alias(store, "m", "production", version, who=version, why="promoted", expected=expected)
    except BadConfig as error:
        return error.reason
    return version


def test_of_two_who_promote_at_once_over_s3_one_wins_and_the_other_is_told(s3: FaultyS3, tmp_path: Path) -> None:
    stores = [open_store(f"s3://{BUCKET}/two", tmp_path) for _ in range(2)]
    set_alias(stores[0], "m", "production", "a", who="ann", why="promoted")
    told: dict[str, str] = {}
    start = threading.Barrier(2)

    def promote(store: Store, version: str) -> None:
        start.wait()
        told[version] = outcome(store, version)

    threads = [threading.Thread(target=promote, args=one) for one in zip(stores, "bc", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [version for version, words in told.items() if words == version]
    (loser,) = told.keys() - {winner}
    assert told[loser] == f"it means {winner} by now, not a"
    aliases = read_aliases(stores[0], "m")
    assert aliases.versions == {"production": winner}
    assert [step["to"] for step in aliases.history] == ["a", winner]


def test_a_promotion_whose_answer_is_lost_is_known_as_ones_own(s3: FaultyS3, tmp_path: Path) -> None:
    """The store did it and could not say so: the second try finds its own text, and is not told of somebody else."""
    store = open_store(f"s3://{BUCKET}/lost", tmp_path)
    set_alias(store, "m", "production", "a", who="ann", why="promoted")
    s3.faults[:] = [Fault(kind="lost answer", method="PUT", text="lost/models/m/aliases.json")]
    assert outcome(store, "b") == "b"
    assert s3.faults[0].injected == 1
    assert [step["to"] for step in read_aliases(store, "m").history] == ["a", "b"]


# --- others are told --------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = new_project(tmp_path / "home")
    for version in "ab":
        entry = ModelEntry(
            name="street",
            version=version,
            kind="classifier",
            key=f"classifiers/{version}.zip",
            sha256=version * 64,
            bytes=1,
            made="2026-01-01T00:00:00+00:00",
            card={"labels": ["tree", "house"], "test": {"accuracy": 0.9}},
        )
        register(made.store, entry)
    return made


def run(project: Project, *words: str) -> str:
    done = CliRunner().invoke(app, ["model", *words, "--home", str(project.home)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def moves(engine: sa.Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(outbox).where(outbox.c.type == PROMOTED).order_by(outbox.c.seq)).mappings()
        return [dict(row) for row in rows]


def test_each_move_of_an_alias_is_told_once(project: Project) -> None:
    run(project, "promote", "street", "a")
    assert not (project.home / connect.FILE).exists(), "a project without a database has nobody to tell"
    engine = connect.open_database(project)
    run(project, "promote", "street", "b")
    run(project, "rollback", "street")
    told = [row["event"]["data"] for row in moves(engine)]
    assert [(one["alias"], one["from"], one["to"], one["why"]) for one in told] == [
        ("production", None, "a", "promoted"),
        ("production", "a", "b", "promoted"),
        ("production", "b", "a", "rolled back"),
    ]
    assert told[1]["gate"]["candidate"] == {"accuracy": 0.9}
    assert tell_moves(project, engine) == 0
    assert piled_up(project, engine).unsent == 0, (
        "a project that never works messages off is not told that they pile up"
    )


def test_a_move_whose_mover_is_killed_before_it_tells_is_told_by_who_looks_next(project: Project) -> None:
    from resources.broker import open_broker
    from serving.metrics import Meters
    from serving.work.relay import Relay

    engine = connect.open_database(project)
    set_alias(project.store, "street", "candidate", "b", who="ann", why="chosen")
    assert moves(engine) == []
    assert tell_moves(project, engine) == 1
    broker = open_broker(project, engine)
    assert Relay(engine=engine, targets={"broker": broker.publish}, keep_days=7.0, meters=Meters()).run_once() == 1
    with engine.connect() as connection:
        (body,) = connection.execute(sa.select(message.c.body).where(message.c.queue == "events")).scalars()
    event = event_of(json.dumps(body))
    assert (event.type, event.subject, event.data["to"]) == (PROMOTED, "street@candidate", "b")


def test_a_database_that_is_away_holds_up_no_promotion(project: Project) -> None:
    file = project.home / "groundplan.toml"
    file.write_text(file.read_text() + '\n[database]\nurl = "postgresql://127.0.0.1:1/none"\n')
    assert "Nobody is told of it yet" in run(project, "promote", "street", "a")
    assert read_aliases(project.store, "street").versions["production"] == "a"
