"""A node: containerd and a kubelet of their own, so that one machine can be several and lose one of them.

Here: how a node starts, ends in good order and loses its power. Not here: the control plane (control_plane.py).
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from control_plane import ControlPlane
from host import end_cgroup, end_users_of, find, make_cgroup, unmount_below
from processes import ClusterError, Daemon, run, wait_for

PAUSE = "localhost/pause:1"  # holds the sandbox of each pod; there is no registry to bring one from
KUBELET_PORT, HEALTH_PORT = 20250, 20248
POOL = "groundplan/pool"
SPOT_TAINT = "groundplan/spot"

CONTAINERD = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/containerd.sock"
[ttrpc]
  address = "{folder}/containerd.ttrpc.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  disable_apparmor = true
  restrict_oom_score_adj = true  # root in a container may lack CAP_SYS_RESOURCE; runc would die of lowering the score
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        Root = "{folder}/state/runc"
        SystemdCgroup = false
"""
LOOPBACK = {"cniVersion": "0.4.0", "name": "lo", "type": "loopback"}


@dataclass(frozen=True)
class Node:
    """One node of the cluster. Its name is its address: a kubelet takes no loopback --node-ip, but such a name."""

    name: str
    pool: str
    plane: ControlPlane

    @property
    def folder(self) -> Path:
        return self.plane.folder / f"node-{self.pool}"

    @property
    def containerd(self) -> Daemon:
        return Daemon(f"containerd-{self.pool}", self.plane.folder)

    @property
    def kubelet(self) -> Daemon:
        return Daemon(f"kubelet-{self.pool}", self.plane.folder)

    @property
    def cgroup(self) -> str:
        return f"groundplan-{self.pool}"

    def prepare(self) -> None:
        """Certificate and configuration, once in a cluster's life."""
        self.folder.mkdir(parents=True)
        self.plane.make_login(self.pool, f"/O=system:nodes/CN=system:node:{self.name}", f"IP:{self.name}")
        paths = {"folder": self.folder, "pause": PAUSE, "runc": find("runc")}
        (self.folder / "containerd.toml").write_text(CONTAINERD.format(**paths))
        (self.folder / "cni").mkdir()
        (self.folder / "cni" / "10-loopback.conf").write_text(json.dumps(LOOPBACK))
        (self.folder / "kubelet.json").write_text(json.dumps(self._kubelet_settings(), indent=1))

    def start_runtime(self) -> None:
        """containerd alone: enough to bring images in."""
        self.containerd.start("containerd", "--config", self.folder / "containerd.toml")
        wait_for(f"containerd of {self.name}", lambda: self._ctr("version"), needs=[self.containerd])

    def start(self) -> None:
        """Power on: registers as a new node when its Node object is gone."""
        make_cgroup(self.cgroup)
        self.start_runtime()
        self.kubelet.start(
            self.plane.binaries / "kubelet",
            f"--config={self.folder / 'kubelet.json'}",
            f"--kubeconfig={self.plane.login(self.pool)}",
            f"--hostname-override={self.name}",
            f"--node-labels={POOL}={self.pool}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.plane.pki.folder}",
        )

    def import_image(self, tar: Path) -> None:
        self._ctr("-n", "k8s.io", "images", "import", str(tar), seconds=600.0)

    def power_loss(self) -> None:
        """Everything on the node dies at once, without a word to anybody; only its disk stays."""
        self.kubelet.stop(seconds=0)  # the kubelet first: it would report the others' death
        end_cgroup(self.cgroup)
        self.containerd.stop(seconds=0)
        end_users_of(self.folder)  # the shims between containerd and its containers
        end_cgroup(self.cgroup)  # what was about to start
        for address in self.folder.glob("state/*/k8s.io/*/address"):  # shims' sockets lie in one folder for all
            Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)
        unmount_below(self.folder)
        shutil.rmtree(self.folder / "state", ignore_errors=True)  # a real one is in memory and does not survive either

    def _ctr(self, *words: str, seconds: float = 20.0) -> str:
        return run(find("ctr") or "ctr", "-a", self.folder / "containerd.sock", *words, seconds=seconds)

    def _kubelet_settings(self) -> dict[str, object]:
        crt, key = self.plane.pki.pair(self.pool)
        spot = [{"key": SPOT_TAINT, "value": "true", "effect": "NoSchedule"}] if self.pool == "spot" else []
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.name,
            "port": KUBELET_PORT,
            "healthzBindAddress": self.name,
            "healthzPort": HEALTH_PORT,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.plane.pki.authority)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(crt),
            "tlsPrivateKeyFile": str(key),
            "registerWithTaints": spot,
            "nodeLeaseDurationSeconds": 8,  # renewed each 2 s; the default of 10 s would flap with a grace of 10 s
            "nodeStatusUpdateFrequency": "2s",  # so that it is soon Ready again; unchanged states are not sent
            "nodeStatusReportFrequency": "5m",
            "containerRuntimeEndpoint": f"unix://{self.folder / 'containerd.sock'}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "failCgroupV1": False,  # 1.36 refuses v1 unless told that it is meant
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,  # hands off the machine's firewall
            "volumePluginDir": str(self.folder / "plugins"),  # else it makes one below /usr
            "podLogsDir": str(self.folder / "podlogs"),  # two kubelets in one folder delete each other's logs
            "imageGCHighThresholdPercent": 100,  # an image that went could not be pulled again
            "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        }


def settle(nodes: list[Node]) -> None:
    """End nodes in good order as far as possible, and whatever is left of them by force."""
    for node in nodes:
        node.kubelet.stop()
        with suppress(ClusterError):
            node.power_loss()
