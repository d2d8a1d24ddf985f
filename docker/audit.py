"""Known holes of what both images hold, asked of the OSV database by package and version.

    python docker/audit.py [--database PyPI.zip ...] [--must]

By default a server is asked, which is told names and versions and nothing else. --database: OSV's own exports, one for
each kind of package (PyPI, npm), for a machine without network. Where no database is reached, it says so in as many
words and ends with 0; with --must, as in CI, that is a failure like a hole is.

Ends with 0: no known hole, or not checked; 1: holes; 2: not checked, and --must was given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.request
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lock_files import ROOT, Package, of_image

SERVER = os.environ.get("OSV_SERVER", "https://api.osv.dev")
ECOSYSTEMS = {"pypi": "PyPI", "npm": "npm"}
AT_ONCE = 500  # packages in one question; the server takes 1,000
ACCEPTED = ROOT / "docker" / "accepted-holes.txt"
Holes = dict[Package, list[str]]


def asked(packages: Sequence[Package]) -> Holes:
    """What the server knows. Raises OSError where it cannot be reached, ValueError for an answer that is none."""
    found: Holes = {}
    for start in range(0, len(packages), AT_ONCE):
        part = packages[start : start + AT_ONCE]
        queries = [
            {"package": {"ecosystem": ECOSYSTEMS[one.kind], "name": one.name}, "version": one.version} for one in part
        ]
        request = urllib.request.Request(
            f"{SERVER}/v1/querybatch", json.dumps({"queries": queries}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            results = json.load(answer)["results"]
        for package, result in zip(part, results, strict=True):
            if holes := [item["id"] for item in result.get("vulns", [])]:
                found[package] = holes
    return found


def looked_up(packages: Sequence[Package], databases: Iterable[Path]) -> Holes:
    """What exports of the database say. Raises ValueError for packages of a kind of which there is none."""
    by_name = {(ECOSYSTEMS[one.kind], one.name): one for one in packages}
    found: Holes = {}
    kinds: set[str] = set()
    for path in databases:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                entry = json.loads(archive.read(name))
                for affected in entry.get("affected", []):
                    of = affected.get("package", {})
                    kinds.add(of.get("ecosystem", ""))
                    package = by_name.get((of.get("ecosystem", ""), of.get("name", "")))
                    if package and "withdrawn" not in entry and hits(affected, package.version):
                        found.setdefault(package, []).append(entry["id"])
    if missing := {ecosystem for ecosystem, _ in by_name} - kinds:
        raise ValueError(f"the databases say nothing of {', '.join(sorted(missing))}")
    return found


def hits(affected: dict[str, Any], version: str) -> bool:
    """Whether a version is listed, or lies in a range."""
    from packaging.version import InvalidVersion, Version

    if version in affected.get("versions", []):
        return True
    for span in affected.get("ranges", []):
        if span.get("type") == "GIT":
            continue
        inside = False
        for event in span.get("events", []):
            try:
                if "introduced" in event:
                    inside |= event["introduced"] == "0" or Version(version) >= Version(event["introduced"])
                elif "fixed" in event:
                    inside &= Version(version) < Version(event["fixed"])
                elif "last_affected" in event:
                    inside &= Version(version) <= Version(event["last_affected"])
            except InvalidVersion:
                return True  # it cannot be told: a person looks
        if inside:
            return True
    return False


def accepted() -> set[str]:
    """Ids of holes that somebody looked at; the line says why they do not matter here."""
    lines = ACCEPTED.read_text("utf-8").splitlines() if ACCEPTED.is_file() else []
    return {line.split()[0] for line in lines if line.strip() and not line.startswith("#")}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Known holes of what the images hold.")
    parser.add_argument("--database", type=Path, action="append", help="an export of OSV, as a zip; may be repeated")
    parser.add_argument("--must", action="store_true", help="not to be able to check is a failure")
    given = parser.parse_args(arguments)
    packages = sorted({*of_image("runtime"), *of_image("train")}, key=lambda one: one.url)
    try:
        found = looked_up(packages, given.database) if given.database else asked(packages)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(f"NOT CHECKED: no advisory database reachable ({error}). {len(packages)} packages may have known holes")
        return 2 if given.must else 0
    known = accepted()
    open_holes = {one: [hole for hole in holes if hole not in known] for one, holes in found.items()}
    for package, holes in open_holes.items():
        if holes:
            print(f"{package.name} {package.version}: {', '.join(holes)}")
    count = sum(map(len, open_holes.values()))
    print(f"{len(packages)} packages, {count} known holes, {sum(map(len, found.values())) - count} accepted")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
