"""Azure's blob storage on this machine, as Azurite speaks it, and the environment that leads clients to it.

Here: starting, ending, an empty container, the variables. Not here: what is asked of it (tests/unit/stores).
Azurite is an npm package that `make azurite` fetches; account and key below are those that it documents for everybody.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "groundplan"
VERSION = "2021-12-02"
PROGRAM = Path(__file__).parents[2] / "build/azurite/node_modules/azurite/dist/src/blob/main.js"
SECONDS = 60.0  # until it listens


@contextmanager
def serve() -> Iterator[str]:
    """The server with an empty container, on a free port of 127.0.0.1; gives its URL. It keeps all in memory."""
    assert PROGRAM.is_file(), "Azurite is not there: run `make azurite`"
    with tempfile.TemporaryDirectory(prefix="azurite-") as folder:
        words = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]
        command = ["node", str(PROGRAM), *words, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=folder)
        try:
            url = f"http://127.0.0.1:{_port(process, log)}/{ACCOUNT}"
            _make_container(url)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def environment(url: str) -> dict[str, str]:
    """What obstore reads. Not AZURE_ALLOW_HTTP: the store finds that out itself."""
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_STORAGE_ENDPOINT": url,
    }


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := re.search(r"listens on http://127\.0\.0\.1:(\d+)", text := log.read_text()):
            return int(found[1])
        assert process.poll() is None, f"Azurite ended: {text[-2000:]}"
        time.sleep(0.1)
    raise AssertionError(f"Azurite does not listen: {log.read_text()[-2000:]}")


def _make_container(url: str) -> None:
    """One request, signed as Azure's 'Authorize with Shared Key' says; the store's client makes no containers."""
    parts = urlsplit(url)
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION, "Content-Length": "0"}
    named = f"x-ms-date:{headers['x-ms-date']}\nx-ms-version:{VERSION}\n"
    resource = f"/{ACCOUNT}{parts.path}/{CONTAINER}\nrestype:container"
    text = "PUT" + "\n" * 12 + named + resource
    mark = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    path = f"{parts.path}/{CONTAINER}?restype=container"
    connection.request("PUT", path, headers=headers | {"Authorization": f"SharedKey {ACCOUNT}:{mark}"})
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()
