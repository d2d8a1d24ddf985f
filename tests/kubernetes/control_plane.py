"""The control plane: certificates, etcd, API server, controller manager, scheduler; all on 127.0.0.1.

Here: how they are started and why so. Not here: nodes (node.py), or what tests do with them (cluster.py).
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from processes import ClusterError, Daemon, run, wait_for

HOST = "127.0.0.1"
API_PORT, ETCD_PORT, ETCD_PEER_PORT, MANAGER_PORT, SCHEDULER_PORT = 16443, 12379, 12380, 20257, 20259
SERVICES = "10.96.0.0/24"  # no service is reachable (there is no kube-proxy), but the API server wants a range
GRACE = "10s"  # silence after which a node counts as lost; Kubernetes' default of 50 s only makes tests wait


@dataclass(frozen=True)
class Pki:
    """A certificate authority for one cluster, and what it has signed: PEM files in one folder."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"

    def make_authority(self) -> None:
        self.folder.mkdir(parents=True, mode=0o700)
        key = self.folder / "ca.key"
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        run(
            "openssl",
            "req",
            "-x509",
            "-new",
            "-key",
            key,
            "-subj",
            "/CN=groundplan-tests",
            "-days",
            "30",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
            "-out",
            self.authority,
        )
        run("openssl", "genrsa", "-out", self.folder / "sa.key", "2048")  # signs the pods' tokens
        run("openssl", "rsa", "-in", self.folder / "sa.key", "-pubout", "-out", self.folder / "sa.pub")

    def sign(self, name: str, subject: str, names: str = "") -> None:
        """A key and certificate for both ends of a connection. names: such as 'IP:127.0.0.1,DNS:localhost'."""
        base = self.folder / name
        uses = "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n"
        base.with_suffix(".ext").write_text(uses + (f"subjectAltName={names}\n" if names else ""))
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{base}.key")
        run("openssl", "req", "-new", "-key", f"{base}.key", "-subj", subject, "-out", f"{base}.csr")
        run(
            "openssl",
            "x509",
            "-req",
            "-in",
            f"{base}.csr",
            "-CA",
            self.authority,
            "-CAkey",
            self.folder / "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            f"{base}.ext",
            "-out",
            f"{base}.crt",
        )

    def pair(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


@dataclass(frozen=True)
class ControlPlane:
    """Its daemons and files, below one folder. `binaries` holds kube-apiserver and the rest."""

    folder: Path
    binaries: Path

    @cached_property
    def pki(self) -> Pki:
        return Pki(self.folder / "pki")

    @property
    def daemons(self) -> list[Daemon]:
        return [Daemon(name, self.folder) for name in ("etcd", "apiserver", "controller-manager", "scheduler")]

    @property
    def api(self) -> Daemon:
        return Daemon("apiserver", self.folder)

    def login(self, name: str) -> Path:
        """The kubeconfig of 'admin', 'controller-manager', 'scheduler' or a node."""
        return self.folder / f"{name}.kubeconfig"

    def start(self) -> None:
        """From nothing to an API server that answers, with its controllers at work."""
        self.pki.make_authority()
        self.pki.sign("apiserver", "/CN=kube-apiserver", f"DNS:kubernetes.default.svc,DNS:localhost,IP:{HOST}")
        self.pki.sign("kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client")
        self.make_login("admin", "/O=system:masters/CN=admin")
        self.make_login("controller-manager", "/CN=system:kube-controller-manager")
        self.make_login("scheduler", "/CN=system:kube-scheduler")
        self._start_etcd()
        self.start_api()
        self._start_manager()
        self._start_scheduler()

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.stop()

    def make_login(self, name: str, subject: str, names: str = "") -> None:
        """Sign a certificate, and write the kubeconfig that uses it."""
        self.pki.sign(name, subject, names)
        crt, key = (_embedded(path) for path in self.pki.pair(name))
        server = {"server": f"https://{HOST}:{API_PORT}", "certificate-authority-data": _embedded(self.pki.authority)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": server}],
            "users": [{"name": name, "user": {"client-certificate-data": crt, "client-key-data": key}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": name}}],
            "current-context": "tests",
        }
        self.login(name).write_text(json.dumps(config, indent=1))
        self.login(name).chmod(0o600)

    def _start_etcd(self) -> None:
        client, peer = f"http://{HOST}:{ETCD_PORT}", f"http://{HOST}:{ETCD_PEER_PORT}"
        Daemon("etcd", self.folder).start(
            "etcd",
            "--name=tests",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=tests={peer}",
        )

    def start_api(self) -> None:
        """The API server alone; what it knew is in etcd."""
        crt, key = self.pki.pair("apiserver")
        kubelet_crt, kubelet_key = self.pki.pair("kubelet-client")
        self.api.start(
            self.binaries / "kube-apiserver",
            f"--bind-address={HOST}",
            f"--secure-port={API_PORT}",
            f"--etcd-servers=http://{HOST}:{ETCD_PORT}",
            f"--service-cluster-ip-range={SERVICES}",
            "--endpoint-reconciler-type=none",  # it refuses to advertise a loopback address
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",  # as real clusters have it
            f"--client-ca-file={self.pki.authority}",
            f"--tls-cert-file={crt}",
            f"--tls-private-key-file={key}",
            f"--kubelet-client-certificate={kubelet_crt}",
            f"--kubelet-client-key={kubelet_key}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={self.pki.folder / 'sa.pub'}",
            f"--service-account-signing-key-file={self.pki.folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--cert-dir={self.pki.folder}",
        )
        wait_for("the API server to be ready", self.answers, needs=self.daemons[:2])

    def stop_api(self) -> None:
        self.api.stop(seconds=2.0)  # it closes its port at once, and then waits a minute for watchers that do not leave

    def answers(self) -> bool:
        words = (self.binaries / "kubectl", f"--kubeconfig={self.login('admin')}", "get", "--raw=/readyz")
        return run(*words, "--request-timeout=5s") == "ok"

    def _start_manager(self) -> None:
        login = self.login("controller-manager")
        Daemon("controller-manager", self.folder).start(
            self.binaries / "kube-controller-manager",
            f"--bind-address={HOST}",
            f"--secure-port={MANAGER_PORT}",
            f"--kubeconfig={login}",
            f"--authentication-kubeconfig={login}",
            f"--authorization-kubeconfig={login}",
            f"--service-account-private-key-file={self.pki.folder / 'sa.key'}",
            f"--root-ca-file={self.pki.authority}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            f"--cert-dir={self.pki.folder}",
            f"--node-monitor-grace-period={GRACE}",
            "--node-monitor-period=1s",
            f"--flex-volume-plugin-dir={self.folder / 'plugins'}",  # else it makes one below /usr
        )

    def _start_scheduler(self) -> None:
        login = self.login("scheduler")
        Daemon("scheduler", self.folder).start(
            self.binaries / "kube-scheduler",
            f"--bind-address={HOST}",
            f"--secure-port={SCHEDULER_PORT}",
            f"--kubeconfig={login}",
            f"--authentication-kubeconfig={login}",
            f"--authorization-kubeconfig={login}",
            "--leader-elect=false",
        )


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def binaries() -> Path:
    """The folder of the Kubernetes programs, built when they are not there; raises ClusterError with Go's words."""
    script = Path(__file__).with_name("bring")
    if not os.access(script, os.X_OK):
        raise ClusterError(f"{script} cannot be run: its executable bit is missing")
    return Path(run(script, "kubernetes", seconds=3600).strip())
