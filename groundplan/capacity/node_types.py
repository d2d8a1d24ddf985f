"""Node types of a cloud: which of them makes a backfill cheapest, by the prices that a user wrote down.

Here: the file of types, a simulation for each. Not here: prices (they change, so none are shipped), the simulation
itself (simulation.py), the table (the command `plan`).

    [[node]]
    name = "four"               # as the cloud calls it
    vcpus = 4                   # of a node, one pod on each
    reserved = 1                # of them, for the system; 0 where it is left out
    price = 0.06                # euro per node and hour
    interruption_rate = 0.05    # nodes lost per node and hour; that of the command where it is left out
    gpu = false                 # whether it has one: predictions then run on it, all else on vCPUs as the command says
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from groundplan.capacity.analysis import bill
from groundplan.capacity.costs import Costs
from groundplan.capacity.request import Request
from groundplan.capacity.simulation import simulate
from groundplan.errors import BadConfig

LARGEST_FILE, MOST_TYPES = 1 << 16, 50


class NodeType(BaseModel):
    """A machine that can be had."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    vcpus: int = Field(ge=1, le=1024)
    reserved: int = Field(0, ge=0)
    price: float = Field(ge=0, le=10_000, allow_inf_nan=False)
    interruption_rate: float | None = Field(None, ge=0, le=1000, allow_inf_nan=False)
    gpu: bool = False

    @property
    def usable(self) -> int:
        return self.vcpus - self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffer:
    """The backfill on nodes of a type. nodes: at a time, at most; None for hours where it never ends on them."""

    node: NodeType
    nodes: int
    hours: float | None
    euro: float


def read_types(file: Path) -> list[NodeType]:
    """Node types of a TOML file. Raises BadConfig."""
    remedy = "Write it as docs/day-two.md shows: [[node]] with name, vcpus and price"
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise BadConfig(str(file), f"it has more than {LARGEST_FILE:,} bytes", remedy)
        found: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
        if not isinstance(found.get("node"), list) or set(found) != {"node"}:
            raise BadConfig(str(file), "it holds no list of [[node]], or more than that", remedy)
        types = [NodeType.model_validate(one) for one in found["node"]]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(str(file), f"it cannot be read ({error})", remedy) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BadConfig(str(file), f"{'.'.join(map(str, first['loc']))}: {first['msg']}", remedy) from error
    names = [one.name for one in types]
    if not 1 <= len(types) <= MOST_TYPES or len(set(names)) < len(names):
        raise BadConfig(str(file), f"it names {len(types)} types, or one twice", f"Name 1 to {MOST_TYPES}, each once")
    if full := next((one.name for one in types if one.usable < 1), ""):
        raise BadConfig(str(file), f"'{full}' reserves all of its vCPUs", remedy)
    return types


def compared(request: Request, costs: Costs, types: Sequence[NodeType], gpus: int = 1) -> list[NodeOffer]:
    """The request on nodes of each type, the cheapest first; types on which it never ends come last.

    On a type with a GPU predictions run on `gpus` nodes of it, and all else as the request says.
    """
    found = [_offer(request, costs, node, gpus) for node in types]
    return sorted(found, key=lambda offer: (offer.hours is None, offer.euro, offer.node.name))


def _offer(request: Request, costs: Costs, node: NodeType, gpus: int) -> NodeOffer:
    if node.gpu:
        other = replace(request, gpus=gpus, vcpus_per_gpu_pod=node.usable, gpu_price=node.price)
        nodes = gpus
    else:
        nodes = max(1, request.vcpus // node.usable)
        other = replace(
            request,
            gpus=0,
            vcpus=nodes * node.usable,
            vcpus_per_pod=node.usable,
            vcpus_per_io_pod=min(request.vcpus_per_io_pod, node.usable),
            spot_price=node.price / node.usable,
        )
    if node.interruption_rate is not None:
        other = replace(other, interruption_rate=node.interruption_rate)
    try:
        outcome = simulate(other, costs)
    except BadConfig:  # blocks of which no pod would live to finish one
        return NodeOffer(node=node, nodes=nodes, hours=None, euro=0.0)
    hours = outcome.seconds / 3600 if outcome.finished else None
    return NodeOffer(node=node, nodes=nodes, hours=hours, euro=bill(other, outcome).once)
