"""The project's wheel of a commit, the same bytes each time, with what it is made of beside it.

    python docker/wheel.py FOLDER [COMMIT]     # FOLDER/COMMIT12/: the wheel, both bills of materials, SHA256SUMS

Here: a copy of the commit, the map's vendored scripts, a version that names the commit, and a fixed time in place of
now. Not here: images (Makefile, release-images), signing and uploading (docs/images.md).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lock_files import ROOT

VENDORED = Path("serving/maps/static/vendor")


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def copied(commit: str, folder: Path) -> None:
    """The commit's files, and the vendored scripts that git does not hold."""
    archive = subprocess.run(["tar", "-x", "-C", folder], input=git("archive", commit), check=True)
    assert archive.returncode == 0
    if (ROOT / VENDORED).is_dir():
        shutil.copytree(ROOT / VENDORED, folder / VENDORED, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".done"))


def named(folder: Path, commit: str) -> None:
    """The version says which commit it is: 0.1.0+g0123456789ab."""
    place = folder / "pyproject.toml"
    text, found = re.subn(
        r'(?m)^version = "([^"+]+)"$', rf'version = "\1+g{commit[:12]}"', place.read_text("utf-8"), count=1
    )
    assert found == 1, "pyproject.toml states no version"
    place.write_text(text, "utf-8")


def built(commit: str, target: Path) -> Path:
    """The wheel of a commit, in the folder `target`."""
    when = git("show", "-s", "--format=%ct", commit).decode().strip()
    with tempfile.TemporaryDirectory(prefix="groundplan-wheel-") as name:
        folder = Path(name)
        copied(commit, folder)
        named(folder, commit)
        for path in folder.rglob("*"):  # modes are in a wheel too, and follow whoever copied
            path.chmod(0o755 if path.is_dir() else 0o644)
        code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": when, "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        wheel = folder / done.stdout.strip().splitlines()[-1]
        target.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, target / wheel.name))


def main(folder: Path, asked: str = "HEAD") -> None:
    commit = git("rev-parse", f"{asked}^{{commit}}").decode().strip()
    target = folder / commit[:12]
    built(commit, target)
    subprocess.run([sys.executable, Path(__file__).with_name("sbom.py"), target], check=True)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(target.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (target / "SHA256SUMS").write_text("".join(lines))
    print(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
