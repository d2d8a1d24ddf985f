"""Node types: each is the simulation that its numbers ask for, the cheapest comes first, a wrong file is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from groundplan.capacity.analysis import bill
from groundplan.capacity.costs import reference
from groundplan.capacity.node_types import NodeType, compared, read_types
from groundplan.capacity.request import Request
from groundplan.capacity.simulation import simulate
from groundplan.errors import BadConfig

REQUEST = Request(area_km2=100, resolution=0.25, regions=8, vcpus=12)
FOUR = NodeType(name="four", vcpus=4, reserved=1, price=0.06)


def test_a_type_is_the_request_with_its_numbers() -> None:
    costs = reference()
    (offer,) = compared(REQUEST, costs, [FOUR])
    same = replace(REQUEST, vcpus_per_pod=3, vcpus_per_io_pod=2, spot_price=0.02)
    outcome = simulate(same, costs)
    assert offer.nodes == 4
    assert offer.hours == outcome.seconds / 3600
    assert offer.euro == bill(same, outcome).once


def test_predictions_run_on_a_type_with_a_gpu() -> None:
    costs = reference()
    (offer,) = compared(REQUEST, costs, [NodeType(name="g", vcpus=16, price=2.5, gpu=True)], gpus=2)
    outcome = simulate(replace(REQUEST, gpus=2, vcpus_per_gpu_pod=16, gpu_price=2.5), costs)
    assert (offer.nodes, offer.hours) == (2, outcome.seconds / 3600)


def test_the_cheapest_is_first_and_what_never_ends_is_last() -> None:
    dear, deadly = FOUR.model_copy(update={"name": "dear", "price": 0.6}), {"name": "deadly", "price": 0.0}
    types = [dear, FOUR.model_copy(update={**deadly, "interruption_rate": 900.0}), FOUR]
    found = compared(REQUEST, reference(), types)
    assert [offer.node.name for offer in found] == ["four", "dear", "deadly"]
    assert found[-1].hours is None


NODE = '[[node]]\nname = "a"\nvcpus = 4\nprice = 0.1\n'


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "holds no list"),
        (NODE + "colour = 1\n", "colour"),
        (NODE.replace("0.1", "nan"), "price"),
        (NODE.replace("0.1", '"cheap"'), "price"),
        (NODE + NODE, "one twice"),
        (NODE + "reserved = 4\n", "reserves all"),
        ("node = 3", "holds no list"),
        ("[[node]", "cannot be read"),
        ("# \n" * 40_000, "bytes"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "nodes.toml"
    file.write_text(text)
    with pytest.raises(BadConfig, match=word):
        read_types(file)
    with pytest.raises(BadConfig, match="cannot be read"):
        read_types(tmp_path / "none.toml")


def test_what_is_right_is_read(tmp_path: Path) -> None:
    (tmp_path / "nodes.toml").write_text(NODE)
    assert read_types(tmp_path / "nodes.toml") == [NodeType(name="a", vcpus=4, price=0.1)]
