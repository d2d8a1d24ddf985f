"""A dataset of a few bytes for tests of the block contract: its plan, its contents, a store in memory."""

from __future__ import annotations

from typing import Any

from groundplan.core.manifest import (
    Planned,
    fingerprint,
    object_key,
)
from groundplan.core.materialize import Cancellation, Destination, Output, Report, make_blocks
from groundplan.core.partition import Partition
from groundplan.core.store import Store, open_store

DATASET = "aerial_tiles"
HERE = Partition(2024, "delft")


def memory() -> Store:
    return open_store("memory://", retries=1, retry_seconds=1)


def plan_of(names: Any, version: int = 1, dataset: str = DATASET) -> list[Planned]:
    prints = {name: fingerprint(version=version, name=name) for name in names}
    return [
        Planned(
            name=name, fingerprint=mark, key=object_key(dataset, HERE, name, mark, ".bin"), inputs=(f"landing/{name}",)
        )
        for name, mark in prints.items()
    ]


def content(planned: Planned, _check: Cancellation | None = None) -> Output:
    return Output(f"{planned.name} {planned.fingerprint}".encode() * 3, {"name": planned.name})


def make(store: Store, plan: list[Planned], function: Any = content, **options: Any) -> Report:
    return make_blocks(
        Destination(store=store, dataset=DATASET, partition=HERE, version="1", run=options.pop("run", "")),
        plan,
        function,
        **options,
    )


def contents(store: Store, prefix: str = DATASET) -> dict[str, bytes]:
    return {item.key: store.get(item.key) for item in store.list(prefix)}
