"""The registry: models become STAC items, aliases move by compare-and-set, a rollback leads to what was used before."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pystac
import pytest

from groundplan.core.compare_and_set import Overtaken, change, read_tagged, write_tagged
from groundplan.core.store import Store, open_store
from groundplan.errors import BadConfig, Damaged, MissingInput
from groundplan.registry import (
    ModelEntry,
    entries,
    entry_of,
    model_bytes,
    names,
    read_aliases,
    register,
    roll_back,
    set_alias,
)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Both ways of comparing and setting: a lock, and a conditional PUT."""
    return open_store("" if request.param == "folder" else "memory://", tmp_path)


def entry(version: str, name: str = "footprints", data: bytes = b"model", **more: str) -> ModelEntry:
    from groundplan.core.manifest import sha256_of

    return ModelEntry(
        name=name,
        version=version,
        kind="footprints",
        key=f"trained_model/2024/model-{version}.zip",
        sha256=sha256_of(data),
        bytes=len(data),
        made=more.get("made", "2024-06-01T10:00:00+00:00"),
        source="2024",
        card={"bands": [1, 2, 3], "resolution": 0.3, "thresholds": {"mask": 0.5}, "encoder": "mobilenet_v2"},
    )


def test_a_version_is_a_stac_item_beside_its_file(store: Store) -> None:
    one = entry("2024-aaaa")
    assert register(store, one)
    assert not register(store, one), "the second time nothing is written"
    raw = json.loads(store.get("models/footprints/2024-aaaa.json"))
    item = pystac.Item.from_dict(raw)
    assert item.properties["mlm:name"] == "footprints"
    assert item.properties["mlm:tasks"] == ["semantic-segmentation"]
    assert item.properties["mlm:input"][0]["input"]["shape"] == [-1, 3, -1, -1]
    assert item.assets["model"].roles == ["mlm:model", "data"]
    assert item.assets["model"].href == "../../trained_model/2024/model-2024-aaaa.zip"
    assert entries(store, "footprints") == [one]
    assert names(store) == ["footprints"]


def test_the_file_of_a_version_is_checked_when_it_is_read(store: Store) -> None:
    one = entry("2024-aaaa")
    register(store, one)
    with pytest.raises(MissingInput):
        model_bytes(store, one)
    store.put(one.key, b"model")
    assert model_bytes(store, one) == b"model"
    store.put(one.key, b"mOdel")
    with pytest.raises(Damaged, match="not the file that was registered"):
        model_bytes(store, one)


def test_an_item_that_is_none_is_named(store: Store) -> None:
    store.put("models/footprints/odd.json", b'{"type": "Feature"}')
    with pytest.raises(Damaged, match="no item of a model"):
        entries(store, "footprints")


def test_an_alias_moves_and_goes_back_step_by_step(store: Store) -> None:
    for version in "abc":
        register(store, entry(version))
        set_alias(store, "footprints", "production", version, who="ann", why="promoted")
    assert entry_of(store, "footprints", "production").version == "c"
    assert roll_back(store, "footprints", "production", who="ben").versions == {"production": "b"}
    assert roll_back(store, "footprints", "production", who="ben").versions == {"production": "a"}
    with pytest.raises(MissingInput, match="no version before"):
        roll_back(store, "footprints", "production", who="ben")
    told = read_aliases(store, "footprints").history
    assert [(step["from"], step["to"], step["who"]) for step in told][-2:] == [("c", "b", "ben"), ("b", "a", "ben")]


def test_promoting_after_a_rollback_goes_back_to_what_was_used(store: Store) -> None:
    for version in "ab":
        set_alias(store, "m", "production", version, who="ann", why="promoted")
    roll_back(store, "m", "production", who="ann")
    set_alias(store, "m", "production", "c", who="ann", why="promoted")
    assert roll_back(store, "m", "production", who="ann").versions["production"] == "a"


def test_an_alias_that_somebody_else_moved_is_not_moved(store: Store) -> None:
    set_alias(store, "m", "production", "a", who="ann", why="promoted")
    with pytest.raises(BadConfig, match="it means a by now"):
        set_alias(store, "m", "production", "b", who="ben", why="promoted", expected="")
    assert read_aliases(store, "m").versions == {"production": "a"}


def test_who_writes_over_what_changed_meanwhile_is_told(store: Store) -> None:
    write_tagged(store, "a.json", b"1", "")
    _, tag = read_tagged(store, "a.json")
    write_tagged(store, "a.json", b"2", tag)
    for old in (tag, ""):
        with pytest.raises(Overtaken):
            write_tagged(store, "a.json", b"3", old)
    assert store.get("a.json") == b"2"


def test_no_change_of_many_at_once_is_lost(store: Store) -> None:
    def add(number: int) -> None:
        for _ in range(5):
            change(store, "count", lambda before: str(int(before or b"0") + number).encode())

    threads = [threading.Thread(target=add, args=(number,)) for number in (1, 10, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("count") == b"555"


@pytest.mark.parametrize("name", ["../up", "Upper", "", "a" * 65, "a/b", "-a"])
def test_a_name_that_is_no_path_of_its_own_is_refused(name: str, store: Store) -> None:
    with pytest.raises(BadConfig, match="no model's name"):
        register(store, entry("a", name=name))


def test_a_word_that_is_no_version_says_which_there_are(store: Store) -> None:
    register(store, entry("2024-aaaa"))
    with pytest.raises(BadConfig, match="Did you mean '2024-aaaa'"):
        entry_of(store, "footprints", "2024-aaab")
    with pytest.raises(BadConfig, match="aliases"):
        entry_of(store, "footprints", "aliases")
