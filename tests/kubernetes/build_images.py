"""The real images: the Dockerfile's targets on a Debian base made from packages, as archives for `ctr images import`.

Here: the base, the build, the archive, a command inside an image as a strict pod would run it. Needs root, Debian's
packages and a package index, but no registry and no engine. Not here: what the images hold (Dockerfile), getting them
into a cluster.

    python tests/kubernetes/build_images.py FOLDER [groundplan] [groundplan-train]
"""

from __future__ import annotations

import argparse
import configparser
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from host import bring_packages
from processes import ClusterError, run

REPOSITORY = Path(__file__).resolve().parents[2]
TARGETS = ("groundplan", "groundplan-train")
BELOW = {"groundplan": ("runtime",), "groundplan-train": ("runtime", "train-runtime")}
"""Stages that an image lies on, the lowest first: the libraries. Each is kept as an image of its own."""
MADE_OF = {
    "runtime": ("tools", "libraries", "runtime"),
    "train-runtime": ("tools", "libraries", "runtime", "train-libraries", "train-runtime"),
}
FILES = {  # which they read
    "runtime": ("docker/tidy.sh", "requirements-runtime.txt"),
    "train-runtime": ("docker/tidy.sh", "requirements-runtime.txt", "requirements-train.txt"),
}
PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "runc": "runc"}

SUITE = "bookworm"
INCLUDED = (
    "ca-certificates",
    "python3.11",
    "python3.11-venv",
    "usr-is-merged",
)  # the last instead of usrmerge and all of perl
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
BUILD_ONLY = ("python3.11-venv", "python3-distutils", "python3-lib2to3", "python3-pip-whl", "python3-setuptools-whl")
LEFT_OUT = (  # what tells of this machine and its mirror, and what nobody reads in a container
    "etc/apt/sources.list",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/hostname",
    "etc/resolv.conf",
    "var/log/*",
    "var/cache/*",
    "var/lib/apt/lists/*",
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
)

PIP_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
PIP_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "cert", "timeout")
UV_KEYS = {"UV_DEFAULT_INDEX": "index-url", "UV_INDEX_URL": "index-url", "UV_EXTRA_INDEX_URL": "extra-index-url"}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ROOM = 30 << 30  # bytes: both images' layers and archives, and what the nodes unpack of them
SECRET_MARK = "of the building machine only, to be found in no image"


@dataclass(frozen=True, kw_only=True)
class Image:
    """One built image. Its archive holds the layers uncompressed, so `size` is what a node must have room for."""

    target: str
    reference: str
    archive: Path
    id: str
    seconds: float

    @property
    def size(self) -> int:
        """Bytes."""
        return self.archive.stat().st_size


@cache
def build(target: str, folder: Path | None = None, tag: str = "test", revision: str = "unknown") -> Image:
    """Build a target of the Dockerfile and write `folder/TARGET.tar`, known as localhost/TARGET:TAG.

    Quick when nothing changed, seconds when the project's code did; a told revision makes another image at each commit.
    One process builds each once.
    Raises ClusterError with the builder's words.
    """
    started = time.monotonic()
    folder = folder or archives()
    reference = f"localhost/{target}:{tag}"
    archive, stamp = folder / f"{target}.tar", folder / f"{target}.tar.id"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone():
        _make_room()
        run("make", "-C", REPOSITORY, "vendor", seconds=600)  # the map pages' library, which git does not hold
        below: dict[str, str] = {}
        for stage in BELOW[target]:
            below[stage] = _kept(stage, below)
        _build(target, reference, below, VERSION=_version(), REVISION=revision)
        id = _inspect(reference)["FromImageID"]
        if not (archive.exists() and stamp.exists() and stamp.read_text() == f"{reference} {id}"):
            stamp.unlink(missing_ok=True)
            archive.unlink(missing_ok=True)
            _buildah("push", reference, f"docker-archive:{archive}:{reference}", seconds=1800)
            stamp.write_text(f"{reference} {id}")
    return Image(target=target, reference=reference, archive=archive, id=id, seconds=time.monotonic() - started)


def archives() -> Path:
    """Where archives stay between runs, so that an unchanged image is not written again."""
    return _cache() / "archives"


def config(image: Image) -> dict:
    """The image's configuration and history, as the OCI specification names them."""
    return _inspect(image.reference)["OCIv1"]


@contextmanager
def unpacked(image: Image) -> Iterator[Path]:
    """The image's file system as a folder."""
    container = _buildah("from", "--pull=never", image.reference).strip()
    try:
        yield Path(_buildah("mount", container).strip())
    finally:
        _buildah("rm", container)


def run_inside(root: Path, image: Image, *command: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command in an unpacked image as a strict pod does: its user, no capabilities, a read-only root and a /tmp.

    The command is process 1 and sees the machine's network.
    """
    settings = config(image)["config"]
    user, _, group = settings["User"].partition(":")
    spec = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": int(user), "gid": int(group)},
            "args": [*settings.get("Entrypoint", []), *(command or settings["Cmd"])],
            "env": settings["Env"],
            "cwd": settings["WorkingDir"],
            "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
        ],
        "linux": {"namespaces": [{"type": name} for name in ("pid", "mount", "ipc", "uts")]},
    }
    with tempfile.TemporaryDirectory(prefix="groundplan-bundle-") as bundle:
        Path(bundle, "config.json").write_text(json.dumps(spec))
        words = ["runc", "--root", f"{bundle}/runc", "run", "--bundle", bundle, Path(bundle).name]
        return subprocess.run(words, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)


# --- buildah ----------------------------------------------------------------------------------------------------------


def _cache() -> Path:
    """Outside the checkout, shared by all checkouts: the layers of the libraries take minutes and gigabytes."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "groundplan" / "images"


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time on this machine: two would make the same layers twice."""
    if os.geteuid():
        raise ClusterError("building the images here needs root; with an engine, use the Dockerfile (docs/images.md)")
    bring_packages(PACKAGES)
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_room() -> None:
    """Layers that no image has any more go once the disk is short: each change of the code leaves some gigabytes.

    The libraries stay, since they are images of their own: to install them again takes minutes.
    """
    if shutil.disk_usage(_cache()).free >= ROOM:
        return
    for stage in MADE_OF:
        for image in _images() - {_lasting(stage)}:
            if image.startswith(f"localhost/groundplan-{stage}:"):
                _buildah("rmi", image)
    _prune()


def _prune() -> None:
    with suppress(ClusterError):  # a layer that a killed run has mounted still
        _buildah("rmi", "--prune", seconds=900)


@cache
def _driver() -> str:
    """overlay where the cache's file system can be the upper layer of one; else vfs, which copies whole layers."""
    with tempfile.TemporaryDirectory(dir=_cache()) as folder:
        parts = {name: Path(folder, name) for name in ("lower", "upper", "work", "merged")}
        for part in parts.values():
            part.mkdir()
        options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**parts)
        try:
            run("mount", "-t", "overlay", "overlay", "-o", options, parts["merged"])
        except ClusterError:
            return "vfs"
        run("umount", parts["merged"])
        return "overlay"


def _buildah(*words: str, seconds: float = 300) -> str:
    places = ("--root", _cache() / "storage", "--runroot", _cache() / "run", "--storage-driver", _driver())
    return run("buildah", *places, *words, seconds=seconds)


def _kept(stage: str, below: Mapping[str, str]) -> str:
    """A stage of the Dockerfile as an image that lasts; made where what it is made of is not what it was.

    Found without a look into it: buildah copies and reads all that one stage takes of another before it asks its cache.
    """
    reference = _lasting(stage)
    if reference not in _images():
        _build(stage, reference, below)
        _prune()  # what it was made by is as large, and of no use any more
    return reference


def _lasting(stage: str) -> str:
    """The image of a stage as the Dockerfile and its lists of packages are now."""
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    parts = [part for part in re.split(r"^(?=FROM )", text, flags=re.M) if _name(part) in MADE_OF[stage]]
    files = [(REPOSITORY / name).read_text("utf-8") for name in FILES[stage]]
    recipe = hashlib.sha256(repr((_bases(), parts, files)).encode()).hexdigest()[:12]
    return f"localhost/groundplan-{stage}:{recipe}"


def _name(part: str) -> str:
    """Of a stage."""
    return part.partition("\n")[0].rpartition(" AS ")[2]


def _build(target: str, tag: str, below: Mapping[str, str], **arguments: str) -> None:
    """Build a target out of the Dockerfile, with the images BELOW, by stage, in place of those stages."""
    base, builder = _bases()
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    for stage, image in below.items():
        text = re.sub(rf"^(FROM |COPY --from=){stage} ", rf"\g<1>{image} ", text, flags=re.M)
    words = [f"{name}={value}" for name, value in {"BASE": base, "BUILDER": builder, **arguments}.items()]
    with _secrets() as secrets, tempfile.NamedTemporaryFile("w", prefix="groundplan-dockerfile-") as file:
        file.write(text)
        file.flush()
        _buildah(
            "build",
            "--layers",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--pull=never",
            *secrets,
            *(part for word in words for part in ("--build-arg", word)),
            "--file",
            file.name,
            "--target",
            target,
            "--tag",
            tag,
            str(REPOSITORY),
            seconds=7200,
        )


def _images() -> set[str]:
    return set(_buildah("images", "--format", "{{.Name}}:{{.Tag}}").split())


def _inspect(reference: str) -> dict:
    return json.loads(_buildah("inspect", "--type", "image", reference))


def _version() -> str:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


def _revision() -> str:
    try:
        return run("git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--abbrev=12").strip()
    except (ClusterError, FileNotFoundError):
        return "unknown"  # a source archive has no history


# --- the package index ------------------------------------------------------------------------------------------------


@contextmanager
def _secrets() -> Iterator[list[str]]:
    """This machine's way to a package index, as secrets of the build: there during a step, in no layer."""
    settings = _pip_settings()
    certificates = settings.pop("cert", CERTIFICATES)
    with tempfile.TemporaryDirectory(prefix="groundplan-pip-") as folder:
        file = Path(folder, "pip.conf")
        words = ["--secret", f"id=pip,src={file}"]
        if Path(certificates).exists():
            settings["cert"] = "/run/secrets/ca"
            words += ["--secret", f"id=ca,src={certificates}"]
        file.touch(0o600)  # an index can carry a password
        lines = "\n".join(f"{key} = {value}" for key, value in settings.items())
        file.write_text(f"# {SECRET_MARK}\n[global]\n{lines}\n")
        yield words


def _pip_settings() -> dict[str, str]:
    """What pip would use here: its files, then its variables, then uv's."""
    parser = configparser.RawConfigParser()
    parser.read([Path(name).expanduser() for name in (*PIP_FILES, os.environ.get("PIP_CONFIG_FILE", ""))])
    found = dict(parser["global"]) if parser.has_section("global") else {}
    for key in PIP_KEYS:
        found[key] = os.environ.get(f"PIP_{key.upper().replace('-', '_')}") or found.get(key, "")
    for variable, key in UV_KEYS.items():
        found[key] = found[key] or os.environ.get(variable, "")
    # a folder of wheels is out of the build's reach; its wheels have other hashes than the index's anyway
    found["find-links"] = " ".join(word for word in found["find-links"].split() if "://" in word)
    return {key: " ".join(found[key].split()) for key in PIP_KEYS if found[key]}


# --- the base ---------------------------------------------------------------------------------------------------------


def _bases() -> tuple[str, str]:
    """The image that everything runs on, and the same with python3-venv for the building stages. Made once."""
    recipe = hashlib.sha256(repr((SUITE, INCLUDED, BUILD_ONLY, LEFT_OUT)).encode()).hexdigest()[:12]
    base, builder = (f"localhost/groundplan-{kind}:{SUITE}-{recipe}" for kind in ("base", "builder"))
    if {base, builder} <= _images():
        return base, builder
    with tempfile.TemporaryDirectory(dir=_cache(), prefix="base-") as folder:
        root = Path(folder, "root")
        # no mirror is named in the project: the ones that apt uses here, in the way that it uses them
        settings, sources = Path(folder, "apt.conf"), _apt_sources()
        settings.write_text(
            "\n".join(re.findall(r"^Acquire::(?:http|https|Check-).*", run("apt-config", "dump"), re.M))
        )
        words = (
            "--variant=minbase",
            f"--include={','.join(INCLUDED)}",
            f"--aptopt={settings}",
            f"--hook-dir={MERGED_USR}",
        )
        run("mmdebstrap", *words, SUITE, root, "-", input=sources, seconds=1200)
        _commit(root, builder)
        run("chroot", root, "dpkg", "--purge", *BUILD_ONLY)
        _commit(root, base)
    return base, builder


def _apt_sources() -> str:
    """The lines of a sources.list for the suite, its updates and its security updates."""
    targets = run(
        "apt-get",
        "indextargets",
        "--format",
        "$(ORIGIN) $(COMPONENT) deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    )
    found = [line.split(maxsplit=2) for line in targets.splitlines()]
    sources = [line for origin, component, line in found if (origin, component) == ("Debian", "main") and SUITE in line]
    if not sources:
        raise ClusterError(
            f"apt here knows no Debian {SUITE}: name it in its sources, or use an engine and the Dockerfile"
        )
    return "\n".join(sources) + "\n"


def _commit(root: Path, reference: str) -> None:
    for pattern in LEFT_OUT:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    context = root.parent
    # from a tar, which keeps owners and modes; a copied folder would all be root's
    run("tar", "--numeric-owner", "--one-file-system", "-C", root, "-cf", context / "root.tar", ".", seconds=600)
    (context / "Dockerfile").write_text('FROM scratch\nADD root.tar /\nCMD ["bash"]\n')
    (context / ".dockerignore").write_text("root\n")
    _buildah("build", "--isolation", "chroot", "--tag", reference, str(context), seconds=600)
    (context / "root.tar").unlink()


def main() -> None:
    """Build the named targets, all by default, and say how large they are."""
    parser = argparse.ArgumentParser(description="Build the images and write them as archives.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--tag", default="test")
    arguments = parser.parse_args()
    for target in arguments.targets:
        image = build(target, arguments.folder, arguments.tag, _revision())
        print(f"{image.reference}  {image.size / 1e6:,.0f} MB  {image.archive}  ({image.seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
