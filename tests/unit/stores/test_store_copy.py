"""Copies of stores: whole, verified, gone on with after any end, and nothing half-written for anybody to see."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import build_all, digests, new_project
from faulty_s3 import BUCKET, Fault, FaultyS3, serve_as_aws
from made_blocks import DATASET, HERE, content, make, memory, plan_of

from groundplan.core.manifest import manifest_key, need_manifest, read_manifest
from groundplan.core.records import write_record
from groundplan.core.store import CHUNK, Store, open_store
from groundplan.errors import StoreFailed
from groundplan.operations.store_copy import CopyResult, StorePair, copy, forgotten_of, survey
from groundplan.operations.store_rooms import Chosen, place_of, stage_of
from groundplan.project import open_project
from orchestration.cli import main

LARGE = hashlib.shake_128(b"sheet").digest(2 * CHUNK + 777)
ROOT = Path(__file__).parents[3]


def copied(source: Store, target: Store, overwrite: bool = False, **chosen: object) -> CopyResult:
    way = StorePair(
        source=source,
        target=target,
        chosen=Chosen(**chosen),  # type: ignore[arg-type]
        at_once=3,
        overwrite=overwrite,
        forgotten=forgotten_of(target),
    )
    return copy(way, survey(source, way.chosen))


def everything(store: Store) -> dict[str, str]:
    found = [item.key for item in store.list() if not item.key.startswith("copies/")]
    return {key: hashlib.sha256(store.get(key)).hexdigest() for key in found}


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A store of a folder with a partition, a large sheet, a register and a model's record."""
    store = open_store("", tmp_path / "source")
    make(store, plan_of("abc"))
    store.put("landing/delft/2024/large.tif", LARGE)
    store.put("landing/gouda/2023/small.tif", b"small")
    store.put("registers/2024/houses-0123456789abcdef/buildings.parquet", b"houses")
    write_record(store, "registers/2024/houses.json", {"buildings": "registers/2024/houses-0123456789abcdef/b"})
    store.put("regions/regions.parquet", b"polygons")
    return store


def test_all_of_a_store_is_copied_once(source: Store) -> None:
    target = memory()
    first = copied(source, target)
    assert everything(target) == everything(source)
    assert (first.wrong, first.there, first.manifests) == (0, 0, 1)
    second = copied(source, target)
    assert (second.copied, second.wrong) == (0, 0)
    assert second.there == first.copied
    source.put("landing/delft/2024/large.tif", b"replaced")
    assert copied(source, target).copied == 1, "what this copy wrote it may replace"
    assert everything(target) == everything(source)


def test_a_folder_of_a_project_is_a_project_again(built_home: Path, tmp_path: Path) -> None:
    shutil.copytree(built_home, tmp_path / "home")
    project = open_project(tmp_path / "home")
    before = digests(project)
    target = open_store((tmp_path / "elsewhere").as_uri())
    assert copied(project.store, target).wrong == 0
    moved = replace(project, store=target)
    assert digests(moved) == before
    assert not any(build_all(moved).values()), "nothing is made again in the new place"


# --- nothing half-written ---------------------------------------------------------------------------------------------


def test_what_is_damaged_at_the_source_is_not_copied_and_its_manifest_is_not_seen(source: Store) -> None:
    manifest = need_manifest(source, DATASET, HERE)
    key = manifest.objects["a"].key
    source.put(key, b"x" * manifest.objects["a"].bytes)
    target = memory()
    found = copied(source, target)
    assert [one for one, _ in found.left] == [key, manifest_key(DATASET, HERE)]
    assert "damaged at the source" in found.left[0][1]
    assert read_manifest(target, DATASET, HERE) is None
    assert not target.exists(key)
    source.put(key, content(plan_of("a")[0]).data)
    assert copied(source, target).wrong == 0
    assert everything(target) == everything(source)


def test_a_manifest_alone_is_not_copied(source: Store) -> None:
    target = memory()
    found = copied(source, target, prefixes=("manifests/",))
    assert found.wrong == 1
    assert "was not copied" in found.left[0][1]
    assert target.list("manifests") == []


def test_an_object_made_since_the_listing_comes_with_its_manifest(
    source: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, whole = memory(), Store.list
    seen: list[str] = []

    def late(self: Store, prefix: str = "") -> list[object]:
        if prefix == f"manifests/{DATASET}/2024" and self is source and not seen:
            seen.append(prefix)
            make(source, plan_of("abcd"))
        return whole(self, prefix)  # type: ignore[return-value]

    monkeypatch.setattr(Store, "list", late)
    assert copied(source, target, prefixes=(DATASET, "manifests/")).wrong == 0
    assert set(need_manifest(target, DATASET, HERE).objects) == set("abcd")
    assert all(target.exists(made.key) for made in need_manifest(target, DATASET, HERE).objects.values())


def test_what_the_target_has_otherwise_stays(source: Store) -> None:
    target = memory()
    target.put("landing/gouda/2023/small.tif", b"theirs")
    found = copied(source, target)
    assert [key for key, _ in found.left] == ["landing/gouda/2023/small.tif"]
    assert target.get("landing/gouda/2023/small.tif") == b"theirs"
    assert copied(source, target, overwrite=True).wrong == 0
    assert target.get("landing/gouda/2023/small.tif") == b"small"


def test_an_image_that_the_target_forgot_does_not_come_back(source: Store) -> None:
    source.put("collections/fruits/apple/1.jpg", b"a face")
    source.put("collections/fruits/apple/2.jpg", b"an apple")
    target = memory()
    write_record(target, "forgotten/1.json", {"sha256": [hashlib.sha256(b"a face").hexdigest()]})
    found = copied(source, target)
    assert [key for key, _ in found.left] == ["collections/fruits/apple/1.jpg"]
    assert not target.exists("collections/fruits/apple/1.jpg")
    assert target.exists("collections/fruits/apple/2.jpg")


# --- a part of it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("landing/delft/2024/a.tif", (2024, "delft")),
        ("landing/2024/a.tif", (2024, "")),
        ("aerial_tiles/2024/delft/x0y0-1.tif", (2024, "delft")),
        ("manifests/sheets/2024/delft.json", (2024, "delft")),
        ("manifests/trained_model/2024.json", (2024, "")),
        ("trained_model/2024/model-1.zip", (2024, "")),
        ("digests/2024/delft.json", (2024, "delft")),
        ("previews/small/sheets/2024/delft.png", (2024, "delft")),
        ("registers/2024/houses.json", (2024, "")),
        ("registers/2024/houses-1/buildings.parquet", (2024, "")),
        ("logs/training/2024/0123/steps.csv", (2024, "")),
        ("regions/regions.parquet", (None, "")),
        ("models/footprints/aliases.json", (None, "")),
        ("image_features/fruits/apple-1f0c9a2b/1.npz", (None, "")),
    ],
)
def test_of_which_year_and_region_a_key_is(key: str, place: tuple[int | None, str]) -> None:
    assert place_of(key) == place


def test_a_year_and_a_region_come_with_what_the_year_needs(source: Store) -> None:
    target = memory()
    copied(source, target, year=2024, region="delft")
    taken = set(everything(target))
    assert taken == set(everything(source)) - {"landing/gouda/2023/small.tif"}
    other = memory()
    copied(source, other, year=2023)
    assert set(everything(other)) == {"landing/gouda/2023/small.tif", "regions/regions.parquet"}


def test_the_order_in_which_things_are_seen() -> None:
    keys = [
        "manifests/a/2024.json",
        "registers/2024/x.json",
        "registers/2024/x-1/b.parquet",
        "models/n/1.json",
        "a/2024/b",
    ]
    assert [stage_of(key) for key in keys] == [2, 1, 0, 1, 0]


# --- stores that fail, and a process that is killed -------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serve_as_aws() as state:
        yield state


@pytest.mark.fault
def test_a_store_that_fails_ends_the_copy_and_the_next_one_goes_on(server: FaultyS3, source: Store) -> None:
    server.heal()
    target = open_store(f"s3://{BUCKET}/faults", retries=1, retry_seconds=5)
    server.faults.append(Fault(kind="503", method="PUT", text="landing/delft", times=10**6))
    with pytest.raises(StoreFailed):
        copied(source, target)
    assert target.list("manifests") == []
    server.heal()
    assert copied(source, target).wrong == 0
    assert everything(target) == everything(source)


def test_large_objects_go_from_bucket_to_bucket_several_at_once_and_a_damaged_one_is_never_seen(
    server: FaultyS3,
) -> None:
    """Reading within writing must not wait for itself; what is found out at the end of a stream leaves nothing."""
    server.heal()
    source, target = open_store(f"s3://{BUCKET}/from"), open_store(f"s3://{BUCKET}/to")
    names = [f"landing/delft/2024/{number}.tif" for number in range(6)]
    for name in names:
        source.put(name, LARGE)
    write_record(target, "forgotten/1.json", {"sha256": [hashlib.sha256(LARGE + b"!").hexdigest()]})
    source.put("collections/people/x/large.tif", LARGE + b"!")
    found = copied(source, target)
    assert [key for key, _ in found.left] == ["collections/people/x/large.tif"]
    assert not target.exists("collections/people/x/large.tif")
    assert {target.digest(name) for name in names} == {hashlib.sha256(LARGE).hexdigest()}


@pytest.mark.kill
@pytest.mark.slow
def test_a_copy_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """Killed three times, the last with manifests on their way: each that is there is whole, and at the end all is."""
    source, into = open_store("", tmp_path / "source"), tmp_path / "target"
    make(source, plan_of([f"b{number:03}" for number in range(200)]))
    for number in range(3):
        source.put(f"landing/delft/2024/{number}.tif", LARGE)
    words = ["store", "copy", str(tmp_path / "source/store"), str(into), "--at-once", "2", "--json"]
    command = [sys.executable, "-m", "orchestration.cli.main", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = 0
    for least in (20, 90, 190):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len([*into.rglob("b*.bin")]) < least:
            time.sleep(0.005)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        target = open_store(into.as_uri())
        if manifest := read_manifest(target, DATASET, HERE):
            assert all(target.exists(made.key) for made in manifest.objects.values())
    assert killed, "it was quicker than the kills: this proved nothing"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)["result"]
    assert told["there"] >= 190, "what was copied before is not copied again"
    assert everything(open_store(into.as_uri())) == everything(source)


# --- the command ------------------------------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`groundplan store copy`: exit code, and all that it says."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the command would keep them

    def command(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["groundplan", "store", "copy", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        return int(str(ended.value.code or 0)), " ".join((said.out + said.err).split())

    return command


def test_the_command_says_what_goes_where_before_it_goes(run: Run, source: Store, tmp_path: Path) -> None:
    target = tmp_path / "target"
    code, said = run(source.url, target, "--dry-run")
    assert code == 0
    assert f"from {source.url}" in said
    assert f"to {target.as_uri()}" in said
    assert "landing 2023 1" in said.replace("│", "").replace("  ", " ")
    assert not target.exists()
    assert run(source.url, target)[0] == 0
    assert everything(open_store(target.as_uri())) == everything(source)


@pytest.mark.bad_input
def test_wrong_sides_are_refused(run: Run, source: Store, tmp_path: Path) -> None:
    home = new_project(tmp_path / "home")
    assert "there is no such folder" in run(tmp_path / "nowhere", tmp_path / "target")[1]
    assert "it is a project's home, not a store" in run(source.url, home.home)[1]
    assert "its kind is not known" in run(source.url, "ftp://host/place")[1]
    assert run("s3://key:secret@bucket/a", tmp_path / "target")[0] == 1


def test_images_go_only_where_their_project_says(run: Run, source: Store, tmp_path: Path) -> None:
    source.put("collections/people/x/1.jpg", b"a face")
    code, said = run(source.url, tmp_path / "target")
    assert code == 1
    assert "nobody says where those may lie" in said
    allowed = (tmp_path / "here").as_uri()
    project = new_project(tmp_path / "home", store=source.url, collections={"region": [source.url, allowed]})
    code, said = run(project.home, tmp_path / "target")
    assert code == 1
    assert "images may not lie there" in said
    assert not (tmp_path / "target").exists()
    assert run(project.home, tmp_path / "here")[0] == 0
    assert open_store(allowed).exists("collections/people/x/1.jpg")


def test_two_accounts_of_one_cloud(run: Run, server: FaultyS3, source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    server.heal()
    server.regions.clear()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.setenv(f"TO_{name}", os.environ[name])
    monkeypatch.setenv("TO_AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # of the first account, where nobody answers
    code, said = run(source.url, f"s3://{BUCKET}/second", "--to-env", "TO_")
    assert code == 0, said
    assert "as AWS_ENDPOINT_URL says" in said
    assert server.regions == {"eu-north-1"}
