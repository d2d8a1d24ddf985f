"""The project's sdist and wheel of a commit, the same bytes each time, with what it is made of beside them.

    python docker/wheel.py FOLDER [COMMIT]     # FOLDER/COMMIT12/: the wheel, both bills of materials, SHA256SUMS

Here: a copy of the commit, the map's vendored scripts, a version that names the commit or is its tag's, and a fixed
time in place of now. Not here: a whole release (release.py), images (Makefile, release-images), signing and uploading
(docs/images.md).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lock_files import ROOT

VENDORED = Path("serving/maps/static/vendor")
STATED = {
    "pyproject.toml": r'(?m)^version = "([^"+]+)"$',
    "groundplan/__init__.py": r'(?m)^__version__ = "([^"+]+)"$',
}


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def commit_of(asked: str) -> str:
    return git("rev-parse", f"{asked}^{{commit}}").decode().strip()


def seconds_of(commit: str) -> int:
    """The commit's own time, which stands for the time of building."""
    return int(git("show", "-s", "--format=%ct", commit))


def copied(commit: str, folder: Path) -> None:
    """The commit's files, and the vendored scripts that git does not hold."""
    archive = subprocess.run(["tar", "-x", "-C", folder], input=git("archive", commit), check=True)
    assert archive.returncode == 0
    if (ROOT / VENDORED).is_dir():
        shutil.copytree(ROOT / VENDORED, folder / VENDORED, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".done"))


def version_of(stated: str, commit: str) -> str:
    """A commit with the tag `v0.1.0` is version 0.1.0, any other one 0.1.0+g0123456789ab.

    Ends the program where a tag of a version is not what the commit states.
    """
    tags = [tag for tag in git("tag", "--points-at", commit).decode().split() if re.fullmatch(r"v\d+(\.\d+)+\S*", tag)]
    if wrong := [tag for tag in tags if tag != f"v{stated}"]:
        sys.exit(f"the tag {wrong[0]} names a commit of version {stated}: change pyproject.toml and tag again")
    return stated if tags else f"{stated}+g{commit[:12]}"


def named(folder: Path, commit: str) -> str:
    """Every place that states the version says which commit it is; returns the version."""
    version = ""
    for name, pattern in STATED.items():
        place = folder / name
        text = place.read_text("utf-8")
        stated = re.search(pattern, text)
        assert stated, f"{name} states no version"
        version = version or version_of(stated[1], commit)
        place.write_text(text[: stated.start(1)] + version + text[stated.end(1) :], "utf-8")
    return version


@contextmanager
def tree(commit: str) -> Iterator[tuple[Path, str]]:
    """A copy of the commit to build from, for the time of the block, and its version."""
    with tempfile.TemporaryDirectory(prefix="groundplan-build-") as name:
        folder = Path(name)
        copied(commit, folder)
        version = named(folder, commit)
        for path in folder.rglob("*"):  # modes are in a wheel too, and follow whoever copied
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder, version


def backend(function: str, folder: Path, seconds: int) -> Path:
    """What setuptools builds in the folder: `build_sdist` or `build_wheel`."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.{function}(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(folder)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(seconds), "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return folder / done.stdout.strip().splitlines()[-1]


def packed(members: dict[str, bytes], seconds: int) -> bytes:
    """A .tar.gz of files by name: sorted, of nobody, with one time, and no time of its own."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 9, buffer, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in sorted(members.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), seconds, 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def members_of(archive: Path) -> dict[str, bytes]:
    """The files of a .tar.gz by name."""
    with tarfile.open(archive) as opened:
        files = [one for one in opened.getmembers() if one.isfile()]
        return {one.name: opened.extractfile(one).read() for one in files}  # type: ignore[union-attr]


def built(commit: str, target: Path) -> tuple[Path, Path]:
    """The sdist and the wheel of a commit, in the folder `target`. The wheel is built from what the sdist holds."""
    seconds = seconds_of(commit)
    target.mkdir(parents=True, exist_ok=True)
    with tree(commit) as (folder, _), tempfile.TemporaryDirectory(prefix="groundplan-sdist-") as name:
        made = backend("build_sdist", folder, seconds)
        sdist = target / made.name
        sdist.write_bytes(packed(members_of(made), seconds))
        with tarfile.open(sdist) as archive:
            archive.extractall(name, filter="data")
        (inside,) = Path(name).iterdir()
        wheel = backend("build_wheel", inside, seconds)
        return sdist, Path(shutil.copy(wheel, target / wheel.name))


def sums(target: Path) -> None:
    """SHA256SUMS of all files below a folder, as sha256sum reads it."""
    files = sorted(path for path in target.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{digest(path)}  {path.relative_to(target).as_posix()}\n" for path in files]
    (target / "SHA256SUMS").write_text("".join(lines))


def digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def main(folder: Path, asked: str = "HEAD") -> None:
    commit = commit_of(asked)
    target = folder / commit[:12]
    sdist, _ = built(commit, target)
    sdist.unlink()
    subprocess.run([sys.executable, Path(__file__).with_name("sbom.py"), target], check=True)
    sums(target)
    print(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
