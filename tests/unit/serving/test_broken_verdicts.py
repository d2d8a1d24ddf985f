"""What the map shows of a verdict that somebody spoiled: fuzzing found these."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeProject

from groundplan.core.manifest import Manifest
from groundplan.core.partition import Partition
from groundplan.operations import country_map
from groundplan.quality.verdict import verdict_key
from serving.maps import pages

HERE = Partition(2024, "delft")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"passed": true}',
        b'{"passed": true, "message": "x", "picture": 3}',
        b"[" * 100_000,
    ],
)
def test_a_broken_verdict_is_named_on_its_page(data: bytes, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    project.store.put(verdict_key("labels_healthy", HERE), data)
    manifest: Manifest[Any, Any] = Manifest(dataset="labels", partition=HERE, version="1", fingerprint="f", objects={})
    (row,) = pages._verdicts(project, manifest)
    assert (row["check"], row["mark"], row["message"]) == ("labels_healthy", "warning", pages.UNREADABLE)


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, "0.9", [1], None])
def test_the_countrys_map_holds_nothing_that_no_browser_reads(value: Any) -> None:
    facts = {"iou": value, "object_f1": value, "ground": "\ud800"}
    place = country_map._place(HERE, {}, {}, {verdict_key(country_map.QUALITY, HERE): facts})
    assert (place.iou, place.f1) == (None, None)
    json.dumps(place.ground, ensure_ascii=False).encode()
