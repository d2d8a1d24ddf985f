"""What the images hold: bills of materials, the audit of known holes, the base by digest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import uuid
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HOLE = "PYSEC-2026-1"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def pins(name: str) -> dict[str, str]:
    """Package to version, by the lines of a lock file alone."""
    text = (ROOT / f"requirements-{name}.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==(\S+)", text, re.MULTILINE))


# ------------------------------------------------------------ bills of materials


def test_a_bill_names_all_that_is_pinned_and_is_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert run("docker/sbom.py", str(tmp_path / folder)).returncode == 0
    locked = json.loads((ROOT / "web/package-lock.json").read_text())["packages"]
    npm = sum(1 for path, item in locked.items() if path and not item.get("dev"))
    for image, lock in (("groundplan", "runtime"), ("groundplan-train", "train")):
        text = (tmp_path / "a" / f"{image}.cdx.json").read_bytes()
        assert text == (tmp_path / "b" / f"{image}.cdx.json").read_bytes()
        bill = json.loads(text)
        assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
        uuid.UUID(bill["serialNumber"].removeprefix("urn:uuid:"))
        listed = [one for one in bill["components"] if one["purl"].startswith("pkg:pypi/")]
        assert {one["name"]: one["version"] for one in listed} == pins(lock)
        assert len(bill["components"]) == len(listed) + npm
        references = [one["bom-ref"] for one in bill["components"]]
        assert len(set(references)) == len(references)
        assert bill["dependencies"][0]["dependsOn"] == references
        hashes = [item for one in listed for item in one["externalReferences"][0]["hashes"]]
        assert all(item["alg"] == "SHA-256" and re.fullmatch("[0-9a-f]{64}", item["content"]) for item in hashes)
        assert str(ROOT).encode() not in text


# ------------------------------------------------------------ known holes


class Osv(BaseHTTPRequestHandler):
    """Knows one hole, of h11, whatever its version."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
        results = [{"vulns": [{"id": HOLE}]} if one["package"]["name"] == "h11" else {} for one in queries]
        data = json.dumps({"results": results}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def osv() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Osv)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_known_hole_fails(osv: str) -> None:
    done = run("docker/audit.py", OSV_SERVER=osv)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"h11 {pins('runtime')['h11']}: {HOLE}" in done.stdout


@pytest.mark.fault
@pytest.mark.parametrize(("options", "code"), [((), 0), (("--must",), 2)])
def test_without_a_network_it_says_that_nothing_was_checked(options: tuple[str, ...], code: int) -> None:
    done = run("docker/audit.py", *options, OSV_SERVER="http://127.0.0.1:9")
    assert done.returncode == code
    assert done.stdout.startswith("NOT CHECKED: no advisory database reachable")


def database(path: Path, ecosystem: str, *affected: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, one in enumerate(affected):
            entry = {
                "id": f"{ecosystem}-{number}",
                "affected": [{"package": {"ecosystem": ecosystem, **one.pop("of")}, **one}],
            }
            archive.writestr(f"{number}.json", json.dumps(entry))
    return path


def span(*events: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


def test_an_export_of_the_database_serves_a_machine_without_network(tmp_path: Path) -> None:
    version, of = pins("runtime")["h11"], {"name": "h11"}
    python = database(
        tmp_path / "python.zip",
        "PyPI",
        {"of": of, "versions": ["0.0.1", version]},
        {"of": of, "versions": ["0.0.1"]},
        {"of": of, **span({"introduced": "0"}, {"fixed": version})},
        {"of": of, **span({"introduced": "0"}, {"last_affected": version})},
        {"of": of, **span({"introduced": "0"}, {"fixed": "0.0.2"}, {"introduced": version})},
        {"of": {"name": "not-here"}, **span({"introduced": "0"})},
    )
    npm = database(tmp_path / "npm.zip", "npm", {"of": {"name": "h11"}, **span({"introduced": "0"})})
    done = run("docker/audit.py", "--database", str(python), "--database", str(npm), OSV_SERVER="http://127.0.0.1:9")
    assert done.returncode == 1
    assert f"h11 {version}: PyPI-0, PyPI-3, PyPI-4\n" in done.stdout
    done = run("docker/audit.py", "--database", str(python), "--must")
    assert done.returncode == 2, "half of it is not all of it"
    assert "NOT CHECKED" in done.stdout
    assert "npm" in done.stdout


# ------------------------------------------------------------ the base


@pytest.mark.parametrize(("said", "code"), [(f"sha256:{'0a' * 32}", 0), ("", 1), ("latest", 1), ("sha256:12", 1)])
def test_the_base_is_pinned_by_what_the_registry_says(said: str, code: int, tmp_path: Path) -> None:
    """With an engine that answers so. An answer that is no digest leaves the old one."""
    (tmp_path / "docker").mkdir()
    script = tmp_path / "docker" / "pin-base.sh"
    script.write_bytes((ROOT / "docker/pin-base.sh").read_bytes())
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text(f"#!/bin/sh\necho '{said}'\n")
    engine.chmod(0o755)
    lock = script.with_name("base.lock")
    lock.write_text("the old one\n")
    done = subprocess.run(
        ["sh", str(script)], env={"PATH": f"{engine.parent}:{os.environ['PATH']}"}, capture_output=True, check=False
    )
    assert done.returncode == code
    assert lock.read_text() == ("the old one\n" if code else f"debian:bookworm-slim@{said}\n")


def test_release_images_are_built_by_digest_only(tmp_path: Path) -> None:
    """Without the file there is no build; what is no digest is none either; else its one line is the base of both."""
    lock, engine, asked = tmp_path / "base.lock", tmp_path / "bin" / "docker", tmp_path / "asked"
    engine.parent.mkdir()
    engine.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    engine.chmod(0o755)
    for text, built in (
        ("", False),
        ("debian:bookworm-slim", False),
        (f"debian:bookworm-slim@sha256:{'0a' * 32}", True),
    ):
        if text:
            lock.write_text(f"{text}\n")
        done = subprocess.run(
            ["make", "release-images", f"BASE_LOCK={lock}"],
            env={**os.environ, "PATH": f"{engine.parent}:{os.environ['PATH']}"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is built, done.stderr
        assert built or "run docker/pin-base.sh" in done.stderr
    lines = asked.read_text().splitlines()
    assert len(lines) == 2
    assert all(f"--build-arg BASE=debian:bookworm-slim@sha256:{'0a' * 32}" in line for line in lines)


def test_every_lock_line_has_a_hash(tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_text("h11==0.16.0\n")
    read = "import lock_files, pathlib; lock_files.pinned(pathlib.Path(sys.argv[1]))"
    code = f"import sys; sys.path.insert(0, 'docker'); {read}"
    done = run("-c", code, str(tmp_path / "odd.txt"))
    assert done.returncode == 1
    assert "pins no version by hash" in done.stderr
