"""A release: the same bytes twice, a wheel that works beside packages of any name, and the version before it.

The wheel lies in an environment that has the libraries of this one, and nothing of this checkout. `make release TRY=1`
installs it into an empty one, and runs the whole demo.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from once import once

from groundplan.core.manifest import MARK
from groundplan.synthetic.country import Country

pytestmark = pytest.mark.slow  # two builds of a wheel, and commands in processes of their own

ROOT = Path(__file__).parents[2]
BEFORE = "ab209c90e764d29878281cae5e33afea0dee14ac"
"""The version before: what is written now must be read by it, or refused."""
FOLDERS = ("assets", "orchestration", "resources", "serving")
OTHERS = "raise RuntimeError('the assets of another package')\n"


def script(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release of this commit."""

    def make(folder: Path) -> Path:
        done = script("docker/release.py", str(folder / "release"))
        assert done.returncode == 0, done.stderr
        (target,) = (folder / "release").iterdir()
        return target

    return once(tmp_path_factory, "release", make)


def environment(folder: Path, wheel: Path) -> Path:
    """The program `groundplan` of a wheel, in an environment in which `assets` is a package of somebody else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # a line of a .pth is a path whose own .pth files are not read: this checkout is not on it
    (packages / "libraries.pth").write_text(str(Path(pytest.__file__).parents[1]))
    (packages / "assets").mkdir()
    (packages / "assets/__init__.py").write_text(OTHERS)
    program = folder / "bin/groundplan"
    program.write_text(f"#!{folder}/bin/python\nfrom groundplan_project import main\nmain()\n")
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def program(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (wheel,) = released.glob("*.whl")
    return once(tmp_path_factory, "installed", lambda folder: environment(folder / "env", wheel))


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    foreign = ("GROUNDPLAN_", "DAGSTER_", "PYTHON")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    command = [str(word) for word in words]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=300, check=False)


def test_a_release_is_the_same_bytes_twice_and_its_sums_hold(released: Path, tmp_path: Path) -> None:
    again = script("docker/release.py", str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / released.name / "SHA256SUMS").read_text() == (released / "SHA256SUMS").read_text()
    kinds = [re.sub(r"^.*(\.tar\.gz|\.tgz|\.whl|\.cdx\.json|\.md)$", r"\1", one.name) for one in released.iterdir()]
    assert sorted(kinds) == [".cdx.json", ".cdx.json", ".md", ".tar.gz", ".tgz", ".whl", "SHA256SUMS"]
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=released, capture_output=True, check=False)
    assert checked.returncode == 0


def test_a_wheel_takes_no_common_name_and_holds_everything(released: Path) -> None:
    (wheel,) = released.glob("*.whl")
    assert f"+g{released.name}-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"groundplan", "groundplan_project"}
    inside = "groundplan_project/inside"
    listed = subprocess.run(["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    ours = [name for name in listed.stdout.splitlines() if name.startswith(tuple(f"{one}/" for one in FOLDERS))]
    kept = (".py", ".yaml", ".html", ".j2", ".js", ".css")
    assert [name for name in ours if name.endswith(kept) and f"{inside}/{name}" not in names] == []
    assert f"{inside}/dagster.yaml" in names
    assert {"groundplan/registry/entries.py", "groundplan/starter/model.zip"} <= names


def test_the_chart_is_what_helm_packs(released: Path) -> None:
    (package,) = released.glob("*.tgz")
    with tarfile.open(package) as archive:
        about = yaml.safe_load(archive.extractfile("groundplan/Chart.yaml").read())  # type: ignore[union-attr]
        rules = archive.extractfile("groundplan/monitoring/rules.yml").read()  # type: ignore[union-attr]
        assert {(one.uid, one.gid, one.uname, one.mode) for one in archive.getmembers()} == {(0, 0, "", 0o644)}
    assert package.name == f"groundplan-{about['version']}.tgz"
    assert about["appVersion"] == about["version"]
    assert rules == (ROOT / "monitoring/rules.yml").read_bytes(), "a link in the chart is packed as what it leads to"


def test_the_program_of_a_wheel_works_beside_another_package_called_assets(
    program: Path, country: Country, tmp_path: Path
) -> None:
    """From imagery to blocks, by runs of Dagster; and its definitions are loaded as a workspace of it names them."""
    theirs = run(tmp_path, program.with_name("python"), "-c", "import assets")
    assert "the assets of another package" in theirs.stderr, "the other package is as it was"
    assert run(tmp_path, program, "--version").stdout.startswith("groundplan 0.1.0+g")
    region, year = next(iter(country.sheets))
    given = ("--crs", country.crs, "--resolution", country.resolution, "--block-size", 256)
    sheets = country.sheets[region, year]
    steps = (
        ("init", "gp", *given),
        ("add-imagery", *sheets, "--region", region, "--year", year, "--home", "gp"),
        ("build", "--select", "aerial_tiles", "--select", "sheets", "--home", "gp"),
        ("sync", "--made", "--home", "gp"),
    )
    for words in steps:
        done = run(tmp_path, program, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "gp/store/aerial_tiles").rglob("*.tif"))
    told = (tmp_path / "gp/dagster/dagster.yaml").read_text()
    assert told == (ROOT / "dagster.yaml").read_text(), "its runs are queued and tried again as in a checkout"
    check = "from groundplan_project.definitions import defs; import orchestration as o; print(o.__file__)"
    loaded = run(tmp_path, program.with_name("python"), "-c", check)
    assert loaded.stdout.strip().endswith("groundplan_project/inside/orchestration/__init__.py"), loaded.stderr


def test_a_name_that_was_imported_from_elsewhere_is_said_to_be(program: Path, tmp_path: Path) -> None:
    code = (
        "import sys, types; m = types.ModuleType('serving'); m.__file__ = '/x/serving.py'; sys.modules['serving'] = m"
    )
    done = run(tmp_path, program.with_name("python"), "-c", f"{code}; import groundplan_project as g; g.put_first()")
    assert "'serving' of /x/serving.py was imported first" in done.stderr


# ------------------------------------------------------------ the version before


def has(commit: str) -> bool:
    asked = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_the_version_before_reads_what_this_one_made_or_refuses_it_by_name(
    built_home: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A roll-back: `status` of the wheel before, over a home of this version. No byte of it changes."""
    if not has(BEFORE):  # a shallow clone: that one commit is asked for where it was cloned from
        subprocess.run(["git", "fetch", "--quiet", "--depth=1", "origin", BEFORE], cwd=ROOT, timeout=120, check=False)
    if not has(BEFORE):
        why = f"this clone is shallow, and its origin gives no commit {BEFORE}, the version before: clone with history"
        (pytest.fail if os.environ.get("NOTHING_LEFT_OUT") or os.environ.get("CI") else pytest.skip)(why)
    made = script("docker/wheel.py", str(tmp_path / "before"), BEFORE)
    assert made.returncode == 0, made.stderr
    (wheel,) = (tmp_path / "before").glob("*/*.whl")
    packages = tmp_path / "packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    code = f"import sys; sys.path.insert(0, {str(packages)!r}); from orchestration.cli.main import main; main()"
    old = (program_of_libraries(tmp_path), "-c", code)
    home = shutil.copytree(built_home, tmp_path / "home")
    before = sums(home)
    said = run(tmp_path, *old, "status", "--json", "--home", home)
    assert said.returncode == 0, said.stderr
    rows = json.loads(said.stdout)
    assert {row["state"] for row in rows} <= {"current", "stale"}, "all of it is read"
    stale = {row["dataset"] for row in rows if row["state"] == "stale"}
    assert stale <= {"aerial_tiles"}, "resampled sheets are cut by another way since; all else is as it was"
    assert sums(home) == before
    manifest = next((home / "store/manifests/building_footprints").rglob("*.json"))
    newer = json.loads(manifest.read_text()) | {"format": "2.0"}
    manifest.write_text(json.dumps(newer))
    refused = run(tmp_path, *old, "status", "--home", home)
    assert "a newer Groundplan wrote it, in format 2.0" in " ".join((refused.stdout + refused.stderr).split())
    assert json.loads(manifest.read_text()) == newer


def program_of_libraries(folder: Path) -> Path:
    """A Python that has this environment's libraries, and nothing of this checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "old")], check=True)
    (packages,) = (folder / "old").glob("lib/python3*/site-packages")
    (packages / "libraries.pth").write_text(str(Path(pytest.__file__).parents[1]))
    return folder / "old/bin/python"


def sums(home: Path) -> dict[str, str]:
    files = [path for path in (home / "store").rglob("*") if path.is_file()]
    found = {path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {name: each for name, each in found.items() if "digests/" not in name and not name.endswith(MARK)}


# ------------------------------------------------------------ versions and notes


@pytest.mark.parametrize(
    ("version", "changelog", "said"),
    [
        ("0.1.0+g0123456789ab", "# C\n\n## 0.1.0 (unreleased)\n\n- a\n\n## 0.0.9\n\n- b\n", "- a"),
        ("0.1.0", "# C\n\n## 0.1.0 (2026-12-01)\n\n- a\n", "- a"),
        ("0.1.0", "# C\n\n## 0.1.0 (unreleased)\n\n- a\n", ""),
        ("0.2.0", "# C\n\n## 0.1.0 (2026-12-01)\n\n- a\n", ""),
    ],
)
def test_notes_are_the_versions_section_and_a_tag_needs_a_closed_one(version: str, changelog: str, said: str) -> None:
    code = "import sys; sys.path.insert(0, 'docker'); import release; print(release.notes(*sys.argv[1:]))"
    done = script("-c", code, changelog, version)
    if said:
        assert done.stdout.strip() == f"# Groundplan {version}\n\n{said}"
    else:
        assert done.returncode == 1
        assert "CHANGELOG.md has no section" in done.stderr


def test_a_tag_says_the_version_and_must_be_the_one_that_is_stated(tmp_path: Path) -> None:
    repository = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    git = ["git", "-C", str(repository), *identity]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    code = f"import sys; sys.path.insert(0, 'docker'); import wheel; wheel.ROOT = {str(repository)!r}; "
    code += "print(wheel.version_of('0.1.0', wheel.commit_of('HEAD')))"
    assert re.fullmatch(r"0\.1\.0\+g[0-9a-f]{12}\n", script("-c", code).stdout)
    subprocess.run([*git, "tag", "v0.1.0"], check=True)
    assert script("-c", code).stdout == "0.1.0\n"
    subprocess.run([*git, "tag", "-d", "v0.1.0"], check=True, capture_output=True)
    subprocess.run([*git, "tag", "v0.2.0"], check=True)
    assert "names a commit of version 0.1.0" in script("-c", code).stderr
