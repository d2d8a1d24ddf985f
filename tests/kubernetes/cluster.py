"""The cluster that the tests see: whichever KUBECONFIG names, or one made on this machine with two real nodes.

Here: the object that tests hold, and the life of the cluster made here. Not here: how its parts are started
(control_plane.py, node.py), what is borrowed from the machine (host.py), other servers (servers.py).
By hand: python tests/kubernetes/cluster.py start | stop | status | power-loss NODE | start-node NODE
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from control_plane import API_PORT, HOST, ControlPlane, binaries
from host import bring_packages, end_users_of, find, need_root, note_sysctls, put_back_sysctls, unmount_below
from images import write_image
from node import PAUSE, POOL, Node, settle
from processes import ClusterError, run, wait_for

NOT_YET = {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
POOLS = {"ondemand": "127.0.0.1", "spot": "127.0.0.2"}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Any cluster: two nodes at least, labelled groundplan/pool=ondemand and groundplan/pool=spot."""

    kubeconfig: Path
    program: Path  # kubectl
    in_pod_env: dict[str, str] = field(default_factory=dict)  # what a container needs to reach the API
    host_network: bool = False  # whether pods must have it: a cluster made here has no pod network
    small_image: str = ""  # a program that prints its arguments and ends well; without any it waits

    def kubectl(self, *words: str | Path, input: str | None = None, seconds: float = 120.0) -> str:
        """What kubectl prints; raises ClusterError with its complaint."""
        return run(self.program, f"--kubeconfig={self.kubeconfig}", *words, input=input, seconds=seconds)

    def kubectl_json(self, *words: str | Path) -> Any:
        return json.loads(self.kubectl(*words, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make or change objects given as dicts."""
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    @cached_property
    def ondemand(self) -> str:
        return self._of_pool("ondemand")

    @cached_property
    def spot(self) -> str:
        return self._of_pool("spot")

    def is_ready(self, node: str, since: float = 0.0) -> bool:
        """Whether the node says that it takes pods, in words not older than `since` (seconds since 1970).

        The scheduler goes by a taint, which is taken away a moment after the node has said so.
        """
        found = self.kubectl_json("get", "node", node)
        if any(taint["key"] in NOT_YET for taint in found["spec"].get("taints", [])):
            return False
        conditions = found["status"].get("conditions", [])
        ready = next((item for item in conditions if item["type"] == "Ready"), None)
        if ready is None or ready["status"] != "True":
            return False
        return datetime.fromisoformat(ready["lastHeartbeatTime"]).timestamp() >= int(since)

    def power_loss(self, node: str) -> None:
        """Everything on the node dies at once, without a word to anybody."""
        raise self._lacks("to take a node's power")

    def start_node(self, node: str) -> None:
        """Power on again; registers anew when its Node object is gone. Returns when it is Ready."""
        raise self._lacks("to start a node")

    def stop_api(self) -> None:
        raise self._lacks("to stop the API server")

    def start_api(self) -> None:
        raise self._lacks("to start the API server")

    def import_image(self, tar: Path, nodes: Sequence[str] = ()) -> None:
        """Bring an image (a tar as of `docker save`) to the nodes, or to all of them."""
        raise self._lacks("to import an image")

    def _of_pool(self, pool: str) -> str:
        names = self.kubectl("get", "nodes", f"--selector={POOL}={pool}", "--output=name").split()
        if not names:
            raise ClusterError(f"no node is labelled {POOL}={pool}: choose one, kubectl label node NAME {POOL}={pool}")
        return names[0].removeprefix("node/")

    def _lacks(self, what: str) -> ClusterError:
        return ClusterError(f"{self.kubeconfig} names a cluster that was not made here, so there is no way {what}")


@dataclass(frozen=True)
class LocalCluster(Cluster):
    """The cluster on this machine. All of its state lies below `folder`, so another program can take it over."""

    folder: Path = Path()

    @classmethod
    def at(cls, folder: Path) -> LocalCluster:
        plane = ControlPlane(folder, binaries())
        environment = {"KUBERNETES_SERVICE_HOST": HOST, "KUBERNETES_SERVICE_PORT": str(API_PORT)}
        return cls(
            kubeconfig=plane.login("admin"),
            program=plane.binaries / "kubectl",
            in_pod_env=environment,
            host_network=True,
            small_image=PAUSE,
            folder=folder,
        )

    @cached_property
    def plane(self) -> ControlPlane:
        return ControlPlane(self.folder, self.program.parent)

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return {name: Node(name, pool, self.plane) for pool, name in POOLS.items()}

    def start(self) -> None:
        """From nothing, or from what a killed run left, to two nodes that take pods."""
        need_root()
        bring_packages()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        note_sysctls(self.folder / "sysctls")
        self.plane.start()
        pause = write_image(self.folder / "pause.tar", PAUSE, {"/pause": self.program.with_name("pause")}, ["/pause"])
        for node in self.nodes.values():
            node.prepare()
            node.start_runtime()
            node.import_image(pause)
            node.start()
        for node in self.nodes.values():
            self._await(node, since=0.0)
        wait_for("the first service account", lambda: self.kubectl("get", "serviceaccount", "default"))

    def stop(self) -> None:
        """End all of it and give back what was borrowed; only the logs stay. Also after a run that was killed."""
        settle([*self.nodes.values()])
        self.plane.stop()
        end_users_of(self.folder)
        unmount_below(self.folder)
        put_back_sysctls(self.folder / "sysctls")
        for path in self.folder.iterdir() if self.folder.exists() else ():
            if path.name != "log":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def power_loss(self, node: str) -> None:
        self.nodes[node].power_loss()

    def start_node(self, node: str) -> None:
        since = time.time()
        self.nodes[node].start()
        self._await(self.nodes[node], since)

    def stop_api(self) -> None:
        self.plane.stop_api()

    def start_api(self) -> None:
        self.plane.start_api()

    def import_image(self, tar: Path, nodes: Sequence[str] = ()) -> None:
        with ThreadPoolExecutor() as side_by_side:
            list(side_by_side.map(lambda name: self.nodes[name].import_image(tar), nodes or self.nodes))

    def _await(self, node: Node, since: float) -> None:
        needs = [*self.plane.daemons, node.containerd, node.kubelet]
        wait_for(f"node {node.name} to be ready", lambda: self.is_ready(node.name, since), needs=needs)


def default_folder() -> Path:
    """Where the cluster lives: one place, so that the next run finds what a killed one left."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundplan" / "cluster"


@contextmanager
def use_cluster(folder: Path) -> Iterator[Cluster]:
    """The cluster that KUBECONFIG names (left as it is afterwards), else one below `folder`, ended afterwards."""
    named = os.environ.get("KUBECONFIG", "")
    local = named and Path(named).resolve().parent == folder.resolve()
    if named and not local:
        program = find("kubectl")
        yield Cluster(
            kubeconfig=Path(named),
            program=Path(program) if program else binaries() / "kubectl",
            small_image=os.environ.get("GROUNDPLAN_TEST_IMAGE", ""),
        )
        return
    cluster = LocalCluster.at(folder)
    if local:  # started by hand
        yield cluster
        return
    with only_one(folder):
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Addresses and ports are fixed, so two runs at once would end each other's. The lock dies with its holder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(f"another run uses the cluster at {folder}: wait until it ends") from None
        yield


def main(command: str = "", node: str = "") -> None:
    cluster = LocalCluster.at(default_folder())
    if command in ("start", "stop"):
        with only_one(cluster.folder):
            cluster.start() if command == "start" else cluster.stop()
    elif command in ("power-loss", "start-node") and node in cluster.nodes:
        cluster.power_loss(node) if command == "power-loss" else cluster.start_node(node)
    elif command != "status":
        sys.exit(__doc__)
    of_nodes = [daemon for node in cluster.nodes.values() for daemon in (node.containerd, node.kubelet)]
    for daemon in [*cluster.plane.daemons, *of_nodes]:
        print(f"{daemon.name:24} {f'process {daemon.pid()}' if daemon.pid() else 'not running'}")
    if cluster.plane.api.pid():
        print(cluster.kubectl("get", "nodes", "--label-columns", POOL), end="")
        print(f"export KUBECONFIG={cluster.kubeconfig}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
