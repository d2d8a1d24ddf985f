"""A release of a commit: wheel, sdist, chart, bills of materials, notes and sums, the same bytes each time.

    python docker/release.py FOLDER [COMMIT] [--try] [--minutes 1]     # FOLDER/COMMIT12/

Here: the chart's package, notes out of CHANGELOG.md, and --try, which installs the wheel into an empty environment and
runs the demo from it. Not here: wheel and sdist (wheel.py), images (`make release` puts them beside), uploading.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lock_files import ROOT
from wheel import STATED, built, commit_of, git, packed, seconds_of, sums, version_of

CHART = "helm/groundplan"
LINK = "120000"  # git's mode of a symbolic link


def text_of(commit: str, path: str) -> str:
    return git("show", f"{commit}:{path}").decode()


def release_version(commit: str) -> str:
    stated = re.search(STATED["pyproject.toml"], text_of(commit, "pyproject.toml"))
    assert stated, "pyproject.toml states no version"
    return version_of(stated[1], commit)


def content(commit: str, mode: str, name: str) -> bytes:
    """A file's bytes, or those of the file that a link leads to."""
    data = git("show", f"{commit}:{name}")
    if mode != LINK:
        return data
    return git("show", f"{commit}:{posixpath.normpath(posixpath.join(posixpath.dirname(name), data.decode()))}")


def chart(commit: str, version: str, target: Path) -> Path:
    """The chart as `helm package` names it. Dagster's chart is in it where `helm dependency build` has put it."""
    listed = [line.split(maxsplit=3) for line in git("ls-tree", "-r", commit, CHART).decode().splitlines()]
    members = {name.removeprefix("helm/"): content(commit, mode, name) for mode, _, _, name in listed}
    about = f"{Path(CHART).name}/Chart.yaml"
    text = re.sub(r"(?m)^(version|appVersion): .*$", rf"\1: {version}", members[about].decode())
    members[about] = text.encode()
    brought = sorted((ROOT / CHART / "charts").glob("dagster-*.tgz"))
    members |= {f"{Path(CHART).name}/charts/{path.name}": path.read_bytes() for path in brought}
    if not brought:
        print(f"the chart lacks Dagster's: run `helm dependency build {CHART}` before, or after it is unpacked")
    place = target / f"groundplan-{version}.tgz"
    place.write_bytes(packed(members, seconds_of(commit)))
    return place


def notes(changelog: str, version: str) -> str:
    """A version's section of the changelog. Ends the program where there is none, or a tagged one is not closed."""
    base, _, local = version.partition("+")
    sections = re.split(r"(?m)^## ", changelog)[1:]
    found = next((one for one in sections if one.split()[0] == base), None)
    if found is None or (not local and "(unreleased)" in found.splitlines()[0]):
        sys.exit(f"CHANGELOG.md has no section '## {base} (DAY)': a release is tagged when its section is closed")
    return f"# Groundplan {version}\n\n{found.split(chr(10), 1)[1].strip()}\n"


def bring_uv() -> str:
    """The path of uv, which is brought where it is not there."""
    command = ["sh", str(ROOT / ".ci/bring-uv"), sys.executable]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def tried(target: Path, minutes: float) -> None:
    """Install the wheel into an empty environment and run the demo from it. Ends the program if that fails."""
    uv = bring_uv()
    (wheel,) = target.glob("*.whl")
    foreign = ("GROUNDPLAN_", "DAGSTER_", "PYTHON")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(foreign)} | {"PYTHONNOUSERSITE": "1"}
    with tempfile.TemporaryDirectory(prefix="groundplan-try-") as name:
        python, program = f"{name}/env/bin/python", f"{name}/env/bin/groundplan"
        pins = ["-c", str(ROOT / "requirements-train.txt")]
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, f"{name}/env"],
            [uv, "pip", "install", "--quiet", "--python", python, *pins, f"groundplan[train] @ {wheel.as_uri()}"],
            [program, "demo", "country", "--minutes", str(minutes)],
            [program, "status", "--home", "country"],
        ):
            done = subprocess.run(command, cwd=name, env=clean, check=False)
            if done.returncode:
                sys.exit(f"from the wheel in an empty environment, this failed: {' '.join(command)}")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="A release of a commit.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("commit", nargs="?", default="HEAD")
    parser.add_argument("--sums", action="store_true", help="only write SHA256SUMS again, of what lies there now")
    parser.add_argument("--try", dest="demo", action="store_true", help="run the demo from the wheel")
    parser.add_argument("--minutes", type=float, default=1.0, help="the demo's training budget")
    given = parser.parse_args(arguments)
    commit = commit_of(given.commit)
    version, target = release_version(commit), (given.folder / commit[:12]).absolute()
    if given.sums:
        sums(target)
        return
    said = notes(text_of(commit, "CHANGELOG.md"), version)  # before anything is built
    built(commit, target)
    chart(commit, version, target)
    (target / "NOTES.md").write_text(said, "utf-8")
    subprocess.run([sys.executable, Path(__file__).with_name("sbom.py"), target], check=True)
    sums(target)
    if given.demo:
        tried(target, given.minutes)
    print(target)


if __name__ == "__main__":
    main(sys.argv[1:])
