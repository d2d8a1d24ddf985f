"""Servers that speak S3's language less well than S3: what they can is found out, nothing becomes wrong."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty_s3 import BUCKET, Fault, FaultyS3, serve_as_aws
from made_blocks import DATASET, HERE, content, contents, make, memory, plan_of
from store_promises import PROMISES, compares_and_sets, undoes_nobodys_change

from groundplan.core import capabilities, claims
from groundplan.core.capabilities import has_conditional_put, probe
from groundplan.core.manifest import need_manifest
from groundplan.core.store import Store, open_store
from groundplan.errors import StoreFailed
from orchestration.cli import main

QUIRKS = ("ignored", "refused")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serve_as_aws() as state:
        yield state


@pytest.fixture
def s3(server: FaultyS3) -> Iterator[FaultyS3]:
    """The server without quirks, and nothing that was found out about it before."""
    server.heal()
    capabilities._tried.cache_clear()
    yield server
    server.heal()
    capabilities._tried.cache_clear()


def store_at(place: str) -> Store:
    return open_store(f"s3://{BUCKET}/{place}", retries=2, retry_seconds=10)


@pytest.mark.parametrize("keeps", PROMISES, ids=lambda one: one.__name__)
def test_what_a_store_promises(s3: FaultyS3, keeps: Callable[[Store], None]) -> None:
    keeps(store_at(keeps.__name__))


# --- what a store can -------------------------------------------------------------------------------------------------


def test_a_good_store_lacks_nothing_and_keeps_nothing_of_the_look(s3: FaultyS3) -> None:
    for store in (store_at("good"), memory()):
        assert probe(store).lacking == ()
        assert store.list() == []


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_store_without_conditions_is_known(s3: FaultyS3, quirk: str) -> None:
    s3.conditions = quirk
    found = probe(store_at(f"known-{quirk}"))
    assert not found.conditional_put
    assert found.usable
    assert len(found.lacking) == 1
    assert "condition of a PUT" in found.lacking[0]


def test_a_store_whose_listings_are_late_is_known(s3: FaultyS3) -> None:
    s3.lag = 0.5
    found = probe(store_at("late"))
    assert not found.fresh_list
    assert found.conditional_put
    assert found.usable


def test_a_store_that_does_not_answer_is_no_store_that_cannot(s3: FaultyS3) -> None:
    s3.faults.append(Fault(kind="503", method="PUT", times=10**6))
    with pytest.raises(StoreFailed):
        probe(store_at("away"))


def test_amazons_own_is_believed_and_costs_no_request(s3: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at("believed")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert has_conditional_put(store)
    assert s3.seen == []


# --- two writers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quirk", QUIRKS)
def test_without_conditions_nobodys_change_is_undone(s3: FaultyS3, quirk: str) -> None:
    s3.conditions = quirk
    store = store_at(f"claims-{quirk}")
    compares_and_sets(store)
    undoes_nobodys_change(store, each=2)
    assert store.list(claims.ROOM) == [], "every claim was taken back"


def test_a_claim_of_somebody_who_was_killed_ends(s3: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at("dead")
    killed = claims.claimed(store, "text")
    killed.__enter__()
    with pytest.raises(StoreFailed, match="others have a claim on it"), claims.claimed(store, "text", wait=0.1):
        raise AssertionError("two have one claim")
    monkeypatch.setattr(claims, "DEAD", -1.0)
    with claims.claimed(store, "text", wait=0.1) as still_ours:
        assert still_ours()
        monkeypatch.setattr(claims, "HELD", 0.0)
        assert not still_ours(), "whoever slept too long does not write"


@pytest.mark.parametrize("quirk", [*QUIRKS, "late"])
def test_two_writers_of_blocks_are_harmless_with_every_quirk(s3: FaultyS3, quirk: str) -> None:
    undisturbed = memory()
    make(undisturbed, plan_of("abcdef"))
    if quirk == "late":
        s3.lag = 1.0
    else:
        s3.conditions = quirk
    store = store_at(f"writers-{quirk}")
    failed: list[BaseException] = []

    def write() -> None:
        try:
            make(store, plan_of("abcdef"), content, workers=2)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    s3.lag = 0.0
    assert failed == []
    assert contents(store) == contents(undisturbed)
    assert need_manifest(store, DATASET, HERE).identity() == need_manifest(undisturbed, DATASET, HERE).identity()


# --- addresses --------------------------------------------------------------------------------------------------------


def test_requests_name_the_bucket_in_the_path_and_are_signed_for_the_region(
    s3: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Oracle's S3 compatibility wants it: https://docs.oracle.com/iaas/Content/Object/Tasks/s3compatibleapi.htm"""
    monkeypatch.setenv("AWS_REGION", "eu-frankfurt-1")
    s3.regions.clear()
    store = store_at("oracle")
    store.put("a/b", b"x")
    assert [item.key for item in store.list("a")] == ["a/b"]
    assert all(path.startswith(f"/{BUCKET}") for _, path in s3.seen)
    assert s3.regions == {"eu-frankfurt-1"}


# --- what people are told ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_init_and_doctor_say_what_a_store_cannot(
    s3: FaultyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: object) -> str:
        monkeypatch.setattr("sys.argv", ["groundplan", *map(str, words)])
        with pytest.raises(SystemExit):
            main.main()
        return " ".join(capsys.readouterr().out.split())

    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the command would keep them
    monkeypatch.delenv("GROUNDPLAN_HOME", raising=False)
    grid = ("--crs", "EPSG:28992", "--resolution", 0.3)
    assert "note" not in run("init", tmp_path / "good", *grid, "--store", f"s3://{BUCKET}/told")
    s3.conditions = "ignored"
    assert "does not keep the condition of a PUT" in run(
        "init", tmp_path / "home", *grid, "--store", f"s3://{BUCKET}/t"
    )
    found = {one["what"]: one for one in json.loads(run("doctor", "--home", tmp_path / "home", "--json"))}
    assert found["store"]["verdict"] == "note"
    assert "does not keep the condition of a PUT" in found["store"]["found"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "could not be written" in run("init", tmp_path / "away", *grid, "--store", f"s3://{BUCKET}/away")
