"""What the images hold, by the files that pin it: packages of Python with hashes, and the map's packages of npm.

Here: reading the lock files. Not here: what is said of them (sbom.py, audit.py).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)([^\\\n]*)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned package. hashes: hexadecimal SHA-256 of its files in Python, of npm's one file SHA-512."""

    kind: str  # pypi or npm, as package URLs call it
    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"pkg:{self.kind}/{quote(self.name)}@{quote(self.version)}"


def pinned(file: Path) -> list[Package]:
    """Packages of a requirements file. Raises ValueError for a line that pins none, or pins without a hash."""
    joined = file.read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return list(_packages(file, lines))


def _packages(file: Path, lines: list[str]) -> Iterator[Package]:
    for line in lines:
        match, hashes = PIN.match(line), tuple(HASH.findall(line))
        if not match or not hashes:
            raise ValueError(f"{file.name}: {line[:60]!r} pins no version by hash; run `make requirements`")
        yield Package("pypi", re.sub(r"[-_.]+", "-", match[1]).lower(), match[2], hashes)


def of_the_map(file: Path = ROOT / "web" / "package-lock.json") -> list[Package]:
    """Packages of npm from which the map's library was made; what only its tests need is in no image."""
    found = json.loads(file.read_text("utf-8"))["packages"]
    return [
        Package("npm", path.rsplit("node_modules/", 1)[1], item["version"], (_hexadecimal(item["integrity"]),))
        for path, item in found.items()
        if path and not item.get("dev")
    ]


def _hexadecimal(integrity: str) -> str:
    return base64.b64decode(integrity.removeprefix("sha512-")).hex()


def of_image(name: str) -> list[Package]:
    """Packages of an image (`runtime` or `train`), sorted, each once."""
    packages = {*pinned(ROOT / f"requirements-{name}.txt"), *of_the_map()}
    return sorted(packages, key=lambda one: (one.kind, one.name, one.version))
