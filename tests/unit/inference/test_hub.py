"""The model hub: fetching a file tells how far it is. The hub is a server of this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from groundplan.core.progress import Advance, InHand
from groundplan.inference.hub import fetch

WEIGHTS = bytes(range(256)) * 4096
COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """One file, as the hub hands it out."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.send_header("ETag", hashlib.sha256(WEIGHTS).hexdigest())
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(WEIGHTS)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield tmp_path
    server.shutdown()
    server.server_close()


def test_a_download_says_how_much_of_the_file_has_come(hub: Path) -> None:
    seen: list[InHand] = []

    @contextmanager
    def begin(title: str, total: int, done: int, of_bytes: bool = False) -> Iterator[Advance]:
        seen.append(InHand(title=title, total=total, done=done, of_bytes=of_bytes))

        def advance(
            size: int = 0, *, parts: int = 1, note: str = "", left: float | None = None, aloud: bool = False
        ) -> None:
            seen[-1].advance(size, parts, note, left)

        yield advance

    fetch("owner/weights", "model.safetensors", None, begin)
    assert [work.title for work in seen] == ["download of owner/weights"]
    assert seen[0].total == seen[0].done == len(WEIGHTS)
    assert next(hub.glob("models--owner--weights/snapshots/*/model.safetensors")).read_bytes() == WEIGHTS
    fetch("owner/weights", "model.safetensors", None, begin)
    assert len(seen) == 1, "what is here is not fetched again"
