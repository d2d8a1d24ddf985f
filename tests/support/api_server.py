"""The service over a socket, in a thread of the test's process, for clients that need one.

Here: a home with a model of a few bytes, a server on a free port, a picture with bright squares. Not here: any test.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from conftest import new_project
from tiny_models import bright_file

from groundplan.project import Project


def home_with_model(path: Path, resolution: float = 0.25, **settings: dict[str, Any]) -> Project:
    """A project that has nothing but the model that calls bright pixels a building."""
    from groundplan.training.model_files import commit_model

    quick = {"api": {"follow_seconds": 0.1, **settings.pop("api", {})}}
    project = new_project(path, **quick, **settings)
    commit_model(project, bright_file(resolution), 2024)
    return project


def squares(side: int = 256, form: str = "PNG") -> bytes:
    """A dark picture with two bright squares of 64 pixels."""
    from PIL import Image

    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[32:96, 32:96] = pixels[128:192, 128:192] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


@contextmanager
def served(app: Any, host: str = "127.0.0.1") -> Iterator[str]:
    """Its address; ended as a signal would end it."""
    from serving.maps.connections import Bounds, server_of

    server = server_of(app, host, 0, Bounds())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not begin"
            time.sleep(0.01)
        yield f"{host}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def when_ready(address: str, seconds: float = 60.0) -> None:
    """Returns when /readyz says so."""
    import urllib3

    end = time.monotonic() + seconds
    while urllib3.request("GET", f"http://{address}/readyz", retries=False).status != 200:
        assert time.monotonic() < end, "it is never ready"
        time.sleep(0.02)
