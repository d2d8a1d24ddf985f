"""Stores and disks that fail: what passes is waited out, what stays is said loudly, nothing finished is lost."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import obstore
import pytest
from conftest import MakeProject, build_all, deliver_country, digests
from faulty_s3 import BUCKET, FOREVER, KINDS, Fault, FaultyS3, serve_as_aws
from made_blocks import DATASET, HERE, content, contents, make, memory, plan_of
from noise import deliver_picture, noise

from groundplan.core import store as store_module
from groundplan.core.manifest import failure_key, need_manifest, read_manifest
from groundplan.core.partition import Partition
from groundplan.core.store import INCOMING, Store, open_store
from groundplan.errors import BlocksFailed, GroundplanError, MissingInput, StoreFailed
from groundplan.pipeline import asset_state, run_asset
from groundplan.project import open_project
from groundplan.synthetic.country import Country

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serve_as_aws() as state:
        yield state


@pytest.fixture
def s3(server: FaultyS3) -> FaultyS3:
    """The server without faults."""
    server.heal()
    server.page = 0
    return server


def impatient(prefix: str, retries: int = 4) -> Store:
    """A store in the bucket whose requests time out after a second instead of a minute."""
    url = f"s3://{BUCKET}/{prefix}"
    client: Any = obstore.store.from_url(
        url,
        client_options={"timeout": "1s", "allow_http": True},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},
    )
    return replace(open_store(url), client=client, retries=retries, retry_seconds=30.0)


# --- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_", ["PUT", "GET", "LIST", "HEAD", "POST"])
def test_a_fault_that_passes_is_waited_out(s3: FaultyS3, kind: str, request_: str) -> None:
    method, text = ("GET", "list-type=2") if request_ == "LIST" else (request_, DATASET if request_ == "GET" else "")
    store = impatient(f"{request_}-{kind.replace(' ', '-')}")
    undisturbed = memory()
    make(undisturbed, plan_of("abc"))
    plan = plan_of("abc")
    store.put(plan[0].key, content(plan[0]).data)
    fault = Fault(kind=kind, method=method, text=text, times=2)
    s3.faults.append(fault)
    make(store, plan, describe=lambda data: {"size": len(data)}, workers=2)
    assert store.head(plan[1].key).size == len(content(plan[1]).data)
    assert contents(store) == contents(undisturbed)
    assert need_manifest(store, DATASET, HERE).identity() == need_manifest(undisturbed, DATASET, HERE).identity()
    store.delete([plan[2].key])
    assert not store.exists(plan[2].key)
    assert fault.injected == 2, "the fault never struck: this case proved nothing"


def test_tries_are_spaced_wider_and_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(store_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waits.append))
    monkeypatch.setattr(store_module.random, "uniform", lambda low, high: high)
    store = open_store("memory://", retries=8)

    def refuse() -> None:
        raise OSError("no answer")

    with pytest.raises(StoreFailed, match=r"a/b: it could not be read in 9 tries .*no answer.* run again"):
        store._try("a/b", "read", refuse)
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])


def test_a_request_ends_after_its_time_whatever_tries_are_left() -> None:
    store = open_store("memory://", retries=10**6, retry_seconds=0.3)

    def refuse() -> None:
        raise OSError("no answer")

    started = time.monotonic()
    with pytest.raises(StoreFailed):
        store._try("a", "read", refuse)
    assert time.monotonic() - started < 5


def test_a_listing_of_many_pages_is_whole_or_an_error(s3: FaultyS3) -> None:
    store = impatient("pages", retries=2)
    for number in range(7):
        store.put(f"a/{number}", b"x")
    s3.page = 3
    s3.faults.append(Fault(kind="503", method="GET", text="continuation-token", times=2))
    assert [item.key for item in store.list("a")] == [f"a/{number}" for number in range(7)]
    s3.faults.append(Fault(kind="truncated", method="GET", text="continuation-token", times=FOREVER))
    with pytest.raises(StoreFailed, match="could not be listed"):
        store.list("a")


# --- what stays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["500", "503", "reset", "timeout"])
def test_a_block_that_cannot_be_written_is_named(s3: FaultyS3, kind: str) -> None:
    store = impatient(f"stays-{kind}", retries=1)
    plan = plan_of("abc")
    s3.faults.append(Fault(kind=kind, method="PUT", text=f"{DATASET}/{HERE.path}/b-", times=FOREVER))
    with pytest.raises(
        BlocksFailed, match=rf"1 of 3 blocks failed: b: .*{plan[1].key}.*could not be written in 2 tries"
    ):
        make(store, plan, workers=2)
    assert sorted(contents(store)) == [plan[0].key, plan[2].key]
    assert read_manifest(store, DATASET, HERE) is None
    assert store.exists(failure_key(DATASET, HERE))
    s3.heal()
    assert make(store, plan).made == ("b",)
    undisturbed = memory()
    make(undisturbed, plan)
    assert contents(store) == contents(undisturbed)
    assert not store.exists(failure_key(DATASET, HERE))


def test_a_store_that_takes_nothing_more_loses_nothing(s3: FaultyS3) -> None:
    """Not even the run's own notes can be written: the blocks are what the error is about."""
    store = impatient("readonly", retries=0)
    plan = plan_of("abcdef")
    make(store, plan[:2])
    s3.faults.append(Fault(kind="500", method="PUT", text="", times=FOREVER))
    with pytest.raises(BlocksFailed, match=r"4 of 4 blocks failed: c: .*could not be written"):
        make(store, plan)
    assert list(need_manifest(store, DATASET, HERE).objects) == ["a", "b"], "what was committed stays in force"
    s3.heal()
    assert make(store, plan).made == ("c", "d", "e", "f")


@pytest.mark.parametrize("kind", ["500", "503", "reset", "truncated"])
def test_a_failed_listing_is_not_an_empty_one(s3: FaultyS3, kind: str) -> None:
    store = impatient(f"listing-{kind}", retries=1)
    plan = plan_of("abc")
    make(store, plan)
    s3.faults.append(Fault(kind=kind, method="GET", text="list-type=2", times=FOREVER))
    with pytest.raises(StoreFailed, match=r"could not be listed in 2 tries"):
        store.list(DATASET)
    with pytest.raises(StoreFailed, match=rf"s3://{BUCKET}/listing-{kind}/{DATASET}"):
        make(store, plan, lambda planned, check: pytest.fail(f"{planned.name} was made again"))


@pytest.mark.parametrize(("method", "verb"), [("PUT", "written"), ("GET", "read"), ("LIST", "listed")])
def test_a_denied_request_is_not_repeated(s3: FaultyS3, method: str, verb: str) -> None:
    store = open_store(f"s3://{BUCKET}/denied-{method}")
    store.put("a/b", b"x")
    s3.heal()
    s3.faults.append(Fault(kind="403", method="GET" if method == "LIST" else method, times=FOREVER))
    ask = {"PUT": lambda: store.put("a/b", b"x"), "GET": lambda: store.get("a/b"), "LIST": lambda: store.list("a")}
    with pytest.raises(StoreFailed, match=rf"s3://{BUCKET}/denied-{method}/a.*it may not be {verb}.*credentials"):
        ask[method]()
    assert len(s3.seen) == 1


def test_an_upload_states_its_digest_so_that_the_bucket_can_refuse_other_bytes(s3: FaultyS3, tmp_path: Path) -> None:
    s3.sums.clear()
    store = open_store(f"s3://{BUCKET}/signed")
    store.put("a/b", b"the bytes that were made")
    (tmp_path / "file").write_bytes(os.urandom(9 * 2**20))
    store.put_file("a/c", tmp_path / "file")
    assert len(s3.sums) == 3, "one, and two parts"
    assert all(stated == came for stated, came in s3.sums.values())


def test_a_missing_object_is_not_a_fault(s3: FaultyS3) -> None:
    store = open_store(f"s3://{BUCKET}/nothing")
    with pytest.raises(MissingInput, match="no such object"):
        store.get("a/b")
    assert len(s3.seen) == 1
    assert store.list("a") == []


def test_a_bucket_that_is_not_there_is_an_error(s3: FaultyS3) -> None:
    with pytest.raises(GroundplanError):
        open_store("s3://no-such-bucket/home", retries=0).list("a")


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder store that may try again 50 times, and fails the test when it waits."""
    monkeypatch.setattr(store_module, "time", SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=_waits))
    store = open_store(tmp_path.as_uri(), retries=50)
    store.put("a/b.tif", b"x")
    (tmp_path / "c.tif").mkdir()
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    return store


def _waits(seconds: float) -> None:
    raise AssertionError("it waits for what cannot come")


LONG = "a" * 300
IMPOSSIBLE = [LONG, "é" * 200, "a/b.tif/c", "/".join(["a" * 200] * 30), "a\0b"]


@pytest.mark.parametrize("key", [*IMPOSSIBLE, "c.tif"], ids=str.__len__)
@pytest.mark.parametrize("read", [Store.get, Store.head, Store.digest, lambda store, key: store.part(key, 0, 4)])
def test_what_no_disk_can_hold_is_not_there_and_nobody_waits_for_it(counted: Store, key: str, read: Any) -> None:
    with pytest.raises(MissingInput, match="no such object"):
        read(counted, key)
    assert not counted.exists(key)


@pytest.mark.parametrize("key", [*IMPOSSIBLE, "c.tif"], ids=str.__len__)
def test_what_no_disk_can_hold_cannot_be_written_and_is_said_at_once(counted: Store, key: str) -> None:
    with pytest.raises(StoreFailed, match=r"cannot be written .*Give it another name"):
        counted.put(key, b"x")
    assert not os.listdir(counted.root / INCOMING)  # type: ignore[operator]


def test_a_loop_of_links_is_said_at_once(counted: Store) -> None:
    with pytest.raises(StoreFailed, match="symbolic links"):
        counted.get("loop")


# --- the chain --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_chain_on_a_faulty_bucket_gives_the_bytes_of_a_folder(
    tmp_path: Path, s3: FaultyS3, make_project: MakeProject, country: Country, built_home: Path
) -> None:
    """Slow, since the training belongs to it: checkpoints and the model go through the faults too."""
    faults = [
        Fault(kind="503", method="PUT", every=9, times=12),
        Fault(kind="500", method="GET", every=23, times=12),
        Fault(kind="reset", method="", every=31, times=8),
        Fault(kind="truncated", method="GET", text="aerial_tiles", every=11, times=4),
    ]
    s3.faults += faults
    project = make_project(tmp_path / "home", store=f"s3://{BUCKET}/home")
    deliver_country(project, country)
    build_all(project)
    assert all(fault.injected for fault in faults)
    s3.heal()
    assert digests(project) == digests(open_project(built_home))
    assert not any(build_all(project).values())


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_said_and_survived(tmp_path: Path, small_disk: Path, make_project: MakeProject) -> None:
    settings = {"imagery": {"compress": "zstd"}, "run": {"retries": 1}}
    picture, partition = noise(1280, 1280), Partition(2024, "delft")
    reference = make_project(tmp_path / "reference", **settings)
    project = make_project(tmp_path / "home", store=f"{small_disk.as_uri()}/store", **settings)
    for each in (reference, project):
        for row in range(0, 1280, 640):
            deliver_picture(each, "delft", picture[row : row + 640, :640] // 8, f"{row}.tif", (0, row))
    for name in ("sheets", "aerial_tiles"):
        run_asset(reference, name, partition)
    run_asset(project, "sheets", partition)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    final = digests(reference, "aerial_tiles")
    sizes = {item.key: item.size for item in reference.store.list("aerial_tiles")}
    ballast.write_bytes(b"\0" * (free - sum(sizes.values()) // 2))  # room for half of the blocks

    with pytest.raises(BlocksFailed, match=r"aerial_tiles of delft 2024: .*could not be written.*No space left"):
        run_asset(project, "aerial_tiles", partition)
    kept = {item.key: item.size for item in project.store.list("aerial_tiles")}
    assert 0 < len(kept) < len(final)
    assert kept.items() <= sizes.items(), "nothing half-written is listed"
    assert not os.listdir(small_disk / "store" / INCOMING), "what could not be finished does not fill the disk"
    assert not project.store.list("manifests/aerial_tiles")

    ballast.unlink()
    assert asset_state(project, "aerial_tiles", partition).state in ("failed", "missing")
    report = run_asset(project, "aerial_tiles", partition)[0]
    assert report.skipped == len(kept)
    assert digests(project, "aerial_tiles") == final
