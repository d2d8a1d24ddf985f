"""Launch profiles: what an asset says it needs, and what pod that becomes.

Here: the table of profiles, its file, and the pod settings of a run. Not here: who applies them (coordinator.py), or
what the pods of all runs have in common (the run launcher's settings in the chart).

An asset carries the tag `groundplan/profile`. The table is a YAML file, so that a cluster's operator changes sizes and
node groups without touching code:

    images:   {groundplan: registry/groundplan:1.0, train: registry/groundplan-train:1.0}
    nodes:    {spot: {selector: {pool: spot}, tolerations: [{key: spot, operator: Exists, effect: NoSchedule}]}}
    profiles: {io: {cpu: "2", memory: 4Gi, nodes: spot}, ...}
    assets:   {predictions: wide}                                     # in place of what the code says
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from assets.describe import DEFAULT, PROFILE_TAG
from groundplan.config import Section
from groundplan.errors import BadConfig

Cpu = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?$|^\d+m$")]
Bytes = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|T)$")]
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class NodeGroup(Section):
    """Nodes of one kind and price. `prefer` takes other nodes while there is none of these, `selector` waits."""

    selector: dict[str, str] = Field(default_factory=dict)
    prefer: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()


class Profile(Section):
    """What a run pod gets. Requests and limits are the same: a pod that borrows is the first to be killed."""

    cpu: Cpu
    memory: Bytes
    gpu: int = Field(0, ge=0)
    disk: Bytes = "10Gi"
    nodes: str
    image: str = "groundplan"
    priority_class: str = ""
    max_runs: int | None = Field(None, ge=0)
    launch_seconds: float = Field(0.0, ge=0, description="from asking for a run to its first work; 0: not known")

    def weight(self) -> tuple[float, ...]:
        """Sort key by which the heaviest of several is known; what writes YAML need not keep a file's order."""
        return self.gpu, self.image != "groundplan", cores(self.cpu), size(self.memory)


class ProfileTable(Section):
    """The table of launch profiles: the whole file."""

    images: dict[str, str]
    nodes: dict[str, NodeGroup]
    profiles: dict[str, Profile]
    assets: dict[str, str] = Field(default_factory=dict)
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    grace_seconds: int = Field(25, ge=5, le=110, description="within the clouds' notice: 30 s, of some 2 minutes")

    @model_validator(mode="after")
    def _all_known(self) -> ProfileTable:
        for name, profile in self.profiles.items():
            if profile.nodes not in self.nodes:
                raise ValueError(f"profile {name} names the node group {profile.nodes!r}; there are {_and(self.nodes)}")
            if profile.image not in self.images:
                raise ValueError(f"profile {name} names the image {profile.image!r}; there are {_and(self.images)}")
        for name in self.assets.values():
            if name not in self.profiles:
                raise ValueError(f"assets name the profile {name!r}; there are {_and(self.profiles)}")
        if DEFAULT not in self.profiles:
            raise ValueError(f"profile {DEFAULT!r} is missing: what says nothing of its needs gets it")
        return self


def read_table(path: Path) -> ProfileTable:
    """Read the table of profiles. Raises BadConfig."""
    import yaml

    try:
        return ProfileTable.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except OSError as error:
        raise BadConfig(str(path), f"it cannot be read ({error})", "Mount the chart's ConfigMap there") from error
    except (yaml.YAMLError, ValidationError) as error:
        reason = (
            "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise BadConfig(str(path), reason, "Mend the launch profiles in the chart's values") from error


def combined(table: ProfileTable, names: Iterable[str]) -> tuple[str, Profile]:
    """Combined profile of assets that share a pod: the most of each resource, the heaviest's nodes and image.

    Raises BadConfig when a name is not in the table.
    """
    wanted = sorted(set(names)) or [DEFAULT]
    for name in wanted:
        if name not in table.profiles:
            raise BadConfig(f"profile {name!r}", f"there are {_and(table.profiles)}", "Add it, or use one of these")
    wanted.sort(key=lambda name: table.profiles[name].weight())
    heaviest, all_of = wanted[-1], [table.profiles[name] for name in wanted]
    most = {
        "cpu": max((one.cpu for one in all_of), key=cores),
        "memory": max((one.memory for one in all_of), key=size),
        "disk": max((one.disk for one in all_of), key=size),
        "gpu": max(one.gpu for one in all_of),
    }
    return heaviest, table.profiles[heaviest].model_copy(update=most)


def pod(table: ProfileTable, name: str, profile: Profile) -> dict[str, Any]:
    """The value of a run's tag `dagster-k8s/config`."""
    resources = {"cpu": profile.cpu, "memory": profile.memory, "ephemeral-storage": profile.disk}
    if profile.gpu:
        resources["nvidia.com/gpu"] = str(profile.gpu)
    group, workers = table.nodes[profile.nodes], str(max(1, math.floor(cores(profile.cpu))))
    spec: dict[str, Any] = {
        "node_selector": group.selector,
        "tolerations": list(group.tolerations),
        "termination_grace_period_seconds": table.grace_seconds,
    }
    if group.prefer:
        matches = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(group.prefer.items())]
        wish = {"weight": 100, "preference": {"match_expressions": matches}}
        spec["affinity"] = {"node_affinity": {"preferred_during_scheduling_ignored_during_execution": [wish]}}
    if profile.priority_class:
        spec["priority_class_name"] = profile.priority_class
    return {
        "container_config": {
            "image": table.images[profile.image],
            "image_pull_policy": table.pull_policy,
            "resources": {"requests": resources, "limits": resources},
            # a pod sees all the node's processors; these are the ones that it may use
            "env": [{"name": key, "value": workers} for key in ("GROUNDPLAN_RUN__WORKERS", "OMP_NUM_THREADS")],
        },
        "pod_spec_config": spec,
        "pod_template_spec_metadata": {"labels": {PROFILE_TAG: name}},
    }


def cores(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def size(quantity: str) -> float:
    """Bytes."""
    number, unit = re.fullmatch(r"([\d.]+)([A-Za-z]+)", quantity).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def _and(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
