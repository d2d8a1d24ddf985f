"""Blocks are made once: what must hold for any plan, any set of missing objects, any failure."""

from __future__ import annotations

import json
import string
import threading
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_blocks import DATASET, HERE, content, contents, make, memory, plan_of

from groundplan.core.manifest import (
    Made,
    Manifest,
    Planned,
    failure_key,
    fingerprint,
    is_current,
    manifest_key,
    need_manifest,
    object_key,
    read_manifest,
    sha256_of,
)
from groundplan.core.materialize import GIVE_UP_AFTER, Cancellation, Destination, Output, make_blocks
from groundplan.core.partition import Partition
from groundplan.errors import BadSheet, BlocksFailed, MissingInput
from groundplan.operations.store_audit import garbage
from groundplan.project import Project, open_project

NAMES = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PARTS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=5)


def _turned(value: Any) -> Any:
    """The same value with every dict's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: _turned(value[key]) for key in reversed(value)}
    return [_turned(item) for item in value] if isinstance(value, list) else value


# --- fingerprints -----------------------------------------------------------------------------------------------------


@given(PARTS)
def test_a_fingerprint_ignores_the_order_of_keys(parts: dict[str, Any]) -> None:
    assert fingerprint(**_turned(parts)) == fingerprint(**parts)
    assert len(fingerprint(**parts)) == 16


@given(PARTS, st.data())
def test_a_fingerprint_changes_with_any_value(parts: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(parts)))
    old = parts[name]
    # JSON knows one kind of number, and True is not 1 there: compare as JSON does
    new = data.draw(VALUES.filter(lambda value: json.dumps(value, sort_keys=True) != json.dumps(old, sort_keys=True)))
    assert fingerprint(**{**parts, name: new}) != fingerprint(**parts)
    assert fingerprint(**{**parts, "a longer name": None}) != fingerprint(**parts)
    if len(parts) > 1:
        assert fingerprint(**{key: value for key, value in parts.items() if key != name}) != fingerprint(**parts)


def test_a_fingerprint_refuses_what_has_no_one_form() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(x=float("nan"))
    with pytest.raises(TypeError):
        fingerprint(x={1, 2})


# --- manifests --------------------------------------------------------------------------------------------------------

MADE = st.builds(
    Made,
    name=NAMES,
    key=NAMES,
    fingerprint=NAMES,
    bytes=st.integers(0, 2**40),
    seconds=st.floats(0, 1e6),
    cpu_seconds=st.floats(0, 1e6),
    inputs=st.lists(NAMES, max_size=3).map(tuple),
    facts=st.dictionaries(NAMES, VALUES, max_size=3),
    run=NAMES,
)
MANIFESTS = st.builds(
    Manifest,
    dataset=NAMES,
    partition=st.builds(Partition, st.integers(1950, 2100), st.text(max_size=8)),
    version=NAMES,
    fingerprint=NAMES,
    objects=st.dictionaries(NAMES, MADE, max_size=4),
    committed=NAMES,
    seconds=st.floats(0, 1e6),
    run=NAMES,
)


@given(MANIFESTS)
def test_a_manifest_survives_its_own_file(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(MANIFESTS)
def test_a_manifests_identity_does_not_know_times_and_runs(manifest: Manifest) -> None:
    later = replace(
        manifest,
        committed="later",
        seconds=manifest.seconds + 1,
        run="other",
        objects={name: replace(made, seconds=9.0, run="other") for name, made in manifest.objects.items()},
    )
    assert later.identity() == manifest.identity()
    for name, made in manifest.objects.items():
        changed = {**manifest.objects, name: replace(made, fingerprint=made.fingerprint + "x")}
        assert replace(manifest, objects=changed).identity() != manifest.identity()


# --- plan, skip, make, commit -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sets(NAMES, min_size=1, max_size=8), st.data(), st.integers(1, 4))
def test_whatever_is_missing_the_store_ends_the_same(names: set[str], data: st.DataObject, workers: int) -> None:
    plan = plan_of(sorted(names))
    undisturbed = memory()
    make(undisturbed, plan)
    store = memory()
    there = data.draw(st.sets(st.sampled_from(sorted(names))))
    for planned in plan:
        if planned.name in there:
            store.put(planned.key, content(planned).data)
    order = data.draw(st.permutations(plan))
    asked: list[str] = []
    report = make(store, order, lambda planned, check: asked.append(planned.name) or content(planned), workers=workers)
    assert sorted(asked) == sorted(names - there), "made exactly what was missing, once"
    assert sorted(report.made) == sorted(names - there)
    assert report.skipped == len(there)
    assert contents(store) == contents(undisturbed)
    before, after = (need_manifest(place, DATASET, HERE) for place in (undisturbed, store))
    assert (after.identity(), after.fingerprint, list(after.objects)) == (
        before.identity(),
        before.fingerprint,
        sorted(names),
    )
    assert is_current(after, "1", plan)
    assert not make(store, order, _never).made, "nothing is left to do"


def _never(planned: Planned, check: Cancellation) -> Output:
    raise AssertionError(f"{planned.name} was made again")


def test_what_gc_takes_from_under_a_build_is_made_again() -> None:
    """An old object that no manifest names counts as made; a sweep at the same time may remove it before the commit."""
    store = memory()
    plan = plan_of("abcd")
    store.put(plan[0].key, b"a")  # left by a run that was killed, long ago
    taken = iter([plan[0].key])

    def make(planned: Planned, check: Cancellation) -> Output:
        if key := next(taken, None):
            store.delete([key])
        return Output(planned.name.encode())

    report = make_blocks(Destination(store=store, dataset=DATASET, partition=HERE, version="1"), plan, make)
    assert {store.get(made.key) for made in report.manifest.objects.values()} == {b"a", b"b", b"c", b"d"}


def test_costs_and_facts_outlive_a_run_that_did_not_commit() -> None:
    store = memory()
    plan = plan_of("abc")

    def fail_c(planned: Planned, check: Cancellation) -> Output:
        if planned.name == "c":
            raise BadSheet("c.tif", "it is broken", "Mend c.tif")
        time.sleep(0.01)
        return content(planned)

    with pytest.raises(BlocksFailed):
        make(store, plan, fail_c, run="first")
    made = make(store, plan, run="second").manifest.objects
    assert [made[name].run for name in "abc"] == ["first", "first", "second"]
    assert made["a"].seconds >= 0.01
    assert made["a"].facts == {"name": "a"}
    assert not store.list("journal"), "what the manifest says is not kept twice"


def test_an_object_that_nobody_wrote_down_is_described_from_its_bytes() -> None:
    store = memory()
    plan = plan_of("ab")
    store.put(plan[0].key, content(plan[0]).data)  # a run was killed right after this
    facts = make(store, plan, describe=lambda data: {"name": data.decode().split()[0]}).manifest.objects
    assert {name: made.facts["name"] for name, made in facts.items()} == {"a": "a", "b": "b"}


def test_no_more_than_the_workers_results_are_in_hand() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def slow(planned: Planned, check: Cancellation) -> Output:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with lock:
            inside -= 1
        return content(planned)

    make(memory(), plan_of(string.ascii_lowercase), slow, workers=3)
    assert most == 3


# --- what fails -------------------------------------------------------------------------------------------------------


@pytest.mark.fault
def test_a_late_writer_of_other_bytes_changes_nothing_that_is_committed() -> None:
    """A pod of another kind of processor, thought dead, ends after the run in its place: last digits differ."""
    store, plan = memory(), plan_of("ab")

    def late(planned: Planned, check: Cancellation) -> Output:
        if planned.name == "a":
            make(store, plan, content, describe=described)  # meanwhile another run makes all of it
        return Output(content(planned).data + b" otherwise", {"name": "late"})

    def described(data: bytes) -> dict[str, Any]:
        return {"name": data.split()[0].decode()}

    make(store, plan, late, describe=described)
    assert contents(store) == {planned.key: content(planned).data for planned in plan}
    for made in need_manifest(store, DATASET, HERE).objects.values():
        assert made.sha256 == sha256_of(store.get(made.key))
        assert made.facts == {"name": made.name}


def test_a_failing_block_costs_only_itself() -> None:
    store = memory()
    plan = plan_of("abcde")

    def fail_c(planned: Planned, check: Cancellation) -> Output:
        if planned.name == "c":
            raise BadSheet("landing/c.tif", "it is broken", "Mend c.tif")
        return content(planned)

    with pytest.raises(BlocksFailed, match=r"aerial_tiles of delft 2024: 1 of 5 blocks failed: c: .* Mend c") as failed:
        make(store, plan, fail_c, workers=2)
    assert str(failed.value).count("Mend c.tif") == 1, "what to do is said once"
    assert [key.split("/")[-1][0] for key in contents(store)] == ["a", "b", "d", "e"]
    assert read_manifest(store, DATASET, HERE) is None, "readers must not see half a partition"
    record = json.loads(store.get(failure_key(DATASET, HERE)))
    assert list(record["failed"]) == ["c"]
    assert record["missing"] == 5

    report = make(store, plan)
    assert report.made == ("c",)
    assert not store.exists(failure_key(DATASET, HERE))
    assert not store.list("journal")


@pytest.mark.fault
def test_a_failure_leaves_the_committed_state_in_force() -> None:
    store = memory()
    first = make(store, plan_of("ab")).manifest
    with pytest.raises(BlocksFailed):
        make(store, plan_of("ab", version=2), lambda planned, check: 1 / 0)
    assert need_manifest(store, DATASET, HERE) == first
    assert all(store.exists(made.key) for made in first.objects.values())


@pytest.mark.fault
@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_gives_up_when_the_cause_is_not_the_block(workers: int) -> None:
    tries = count(1)

    def fail(planned: Planned, check: Cancellation) -> Output:
        next(tries)
        raise BadSheet("the disk", "it is gone", "Bring it back")

    with pytest.raises(BlocksFailed, match="Bring it back"):
        make(memory(), plan_of(string.ascii_lowercase), fail, workers=workers)
    assert GIVE_UP_AFTER <= next(tries) - 1 < GIVE_UP_AFTER + workers


# --- garbage ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def any_project(tmp_path_factory: pytest.TempPathFactory, make_project: Any) -> Project:
    return make_project(tmp_path_factory.mktemp("any"))


@settings(deadline=None, max_examples=25)
@given(st.sets(NAMES, min_size=1, max_size=4), st.sets(NAMES, max_size=4), st.integers(1, 3))
def test_garbage_is_what_no_manifest_names(
    any_project: Project, names: set[str], orphans: set[str], versions: int
) -> None:
    project = replace(any_project, store=memory())
    store = project.store
    for version in range(versions):
        make(store, plan_of(sorted(names), version))
    for orphan in plan_of(sorted(orphans), version=-1):
        store.put(orphan.key, b"left by a killed run")
    for other in ("landing/delft/2024/a.tif", "registers/2024/r.json", "regions/regions.parquet", "digests/2024/d.js"):
        store.put(other, b"not made here")
    named = {made.key for made in need_manifest(store, DATASET, HERE).objects.values()}
    time.sleep(0.002)
    found = {item.key for item in garbage(project, 0)}
    assert not found & named
    assert len(found) == len(names) * (versions - 1) + len(orphans)
    assert all(key.startswith(DATASET) for key in found)
    assert garbage(project, 24) == [], "somebody may be making them"


def test_garbage_of_a_whole_home_is_nothing(built_home: Path) -> None:
    project = open_project(built_home)
    left = {item.key.split("/")[0] for item in garbage(project, 0)}
    assert left <= {"checkpoints"}, "a finished chain leaves nothing behind but the checkpoint of its training"


# --- partitions and keys ----------------------------------------------------------------------------------------------


def test_a_missing_manifest_says_which_command_makes_it() -> None:
    with pytest.raises(MissingInput, match=r"groundplan build --region 'delft' --year 2024 --select aerial_tiles"):
        need_manifest(memory(), DATASET, HERE)
    with pytest.raises(MissingInput, match=r"groundplan build --year 2024 --select trained_model"):
        need_manifest(memory(), "trained_model", Partition(2024))


def test_regions_whose_names_begin_alike_do_not_see_each_other() -> None:
    store = memory()
    short, long = Partition(2024, "delft"), Partition(2024, "delft zuid")
    plan = [Planned(name="a", fingerprint="1" * 16, key=object_key(DATASET, long, "a", "1" * 16, ".bin"))]
    make_blocks(Destination(store=store, dataset=DATASET, partition=long, version="1"), plan, content)
    assert store.list(f"{DATASET}/{short.path}") == []
    assert store.exists(manifest_key(DATASET, long))
    assert read_manifest(store, DATASET, short) is None
