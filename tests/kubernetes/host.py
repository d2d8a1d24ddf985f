"""What a cluster borrows from the machine that it runs on, and how that is given back.

Here: packages, kernel settings, control groups, mounts. Not here: the daemons (control_plane.py, node.py).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from processes import ClusterError, born, end, run

PACKAGES = {  # what must be there: the Debian package that brings it
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/loopback": "containernetworking-plugins",
    "openssl": "openssl",
}
SYSCTLS = (  # a kubelet sets these to its liking
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
CGROUPS = Path("/sys/fs/cgroup")


def need_root() -> None:
    if os.geteuid():
        raise ClusterError("making a cluster here needs root: run as root, or name a cluster with KUBECONFIG")


def find(program: str) -> str:
    """Where a program is, also when only root's PATH names its folder; empty when nowhere."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin") or ""


def bring_packages(wanted: dict[str, str] = PACKAGES) -> None:
    """Install the Debian packages of the programs that are missing."""
    missing = sorted({package for program, package in wanted.items() if not find(program)})
    if not missing:
        return
    if os.geteuid() or not find("apt-get"):
        raise ClusterError(f"install first: {', '.join(missing)}")
    apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
    with Path("/run/lock/groundplan-packages").open("w") as lock:  # the timeout is none of the update's
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(*apt, "update", seconds=600)
        run(*apt, "install", "-y", "--no-install-recommends", *missing, seconds=1200)


# --- kernel settings --------------------------------------------------------------------------------------------------


def note_sysctls(file: Path) -> None:
    """Write the settings down, unless a run that was killed did so before: then they are no longer the machine's."""
    if not file.exists():
        lines = [f"{name} {Path('/proc/sys', name).read_text().strip()}" for name in SYSCTLS]
        file.write_text("\n".join(lines) + "\n")


def put_back_sysctls(file: Path) -> None:
    if file.exists():
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            Path("/proc/sys", name).write_text(value)
        file.unlink()


# --- control groups ---------------------------------------------------------------------------------------------------


def _hierarchies() -> list[Path]:
    """The root of each hierarchy: one on cgroup v2, one for each controller on v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if (path / "cgroup.procs").exists() and not path.is_symlink()]


def make_cgroup(name: str) -> None:
    """The root below which a kubelet keeps its pods: two kubelets in one root would end each other's."""
    for root in _hierarchies():
        (root / name).mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if root != CGROUPS and (root / file).exists():  # on v1 they start empty, and an empty set takes no process
                (root / name / file).write_text((root / file).read_text())


def end_cgroup(name: str) -> None:
    """Kill whatever lives in the group, in one blow, and remove it."""
    groups = [Path(folder) for root in _hierarchies() for folder, _, _ in os.walk(root / name, topdown=False)]
    members: set[int] = set()
    for group in groups:
        with suppress(OSError):
            members.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
    end(members)
    for group in groups:
        with suppress(OSError):  # a group that still empties itself goes with the next start or stop
            group.rmdir()


# --- what lies below a folder -----------------------------------------------------------------------------------------


def unmount_below(folder: Path) -> None:
    """Undo every mount at or below a folder, the innermost first."""
    lines = Path("/proc/mounts").read_text().splitlines()
    points = [line.split()[1].encode().decode("unicode_escape") for line in lines]  # a space is \\040 there
    for point in sorted(points, reverse=True):
        if Path(point).is_relative_to(folder):
            run("umount", "--lazy", point)


def end_users_of(folder: Path) -> None:
    """Kill the processes whose command names something below the folder: nobody else's can."""
    ours = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            inside = any(word.startswith(f"{folder}/") or f"={folder}/" in word for word in command)
            if inside and int(entry.name) != os.getpid() and born(int(entry.name)):
                ours.append(int(entry.name))
    end(ours)
