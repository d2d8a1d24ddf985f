"""A real browser over a real Dagster web server: what a person at `make dev` sees.

Here: starting both and ending both, by their own process. Not here: what is looked at (test_ui.py, test_map.py), the
pictures of the documentation (screenshots.py).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from playwright.sync_api import Page, expect, sync_playwright

if TYPE_CHECKING:
    import dagster as dg

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
FLAGS = [  # no sandbox inside a container; and it talks to nobody but our server
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MAPS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL without a graphics card
PATIENCE = 120  # seconds until a busy machine has loaded Dagster


def chromium() -> str:
    """Path of Debian's Chromium. Raises when it is not installed: nobody would have looked."""
    path = shutil.which("chromium") or CHROMIUM
    if not Path(path).is_file():
        raise RuntimeError("Chromium is not installed, so nobody can look at the UI: run `apt-get install chromium`")
    return path


@contextmanager
def webserver(home: Path, log: Path, port: int | None = None) -> Iterator[str]:
    """Dagster's web server over a project, as `make dev` starts it; gives its URL."""
    port = port or free_port()
    environment = {
        **os.environ,
        "GROUNDPLAN_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["dagster-webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with _served(command, environment, f"http://127.0.0.1:{port}", "server_info", log) as url:
        yield url


@contextmanager
def preview_server(home: Path, log: Path, dagster_url: str = "", port: int | None = None) -> Iterator[str]:
    """`groundplan serve` over a project, as `make dev` starts it; gives its URL."""
    port = port or free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    environment["GROUNDPLAN_SERVING__DAGSTER_URL"] = dagster_url
    command = [str(Path(sys.executable).parent / "groundplan"), "serve", "--home", str(home), "--port", str(port)]
    with _served(command, environment, f"http://127.0.0.1:{port}", "healthz", log) as url:
        yield url


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def _served(command: list[str], environment: dict[str, str], url: str, page: str, log: Path) -> Iterator[str]:
    with log.open("wb") as output:
        dies_with_us = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            *command,
        ]  # also where nothing below is reached: a test timed out
        server = subprocess.Popen(dies_with_us, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield _answering(url, page, server, log)
        finally:
            server.terminate()  # it ends its code server too
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _answering(url: str, page: str, server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/{page}", timeout=5):
                return url
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise RuntimeError(f"the web server did not answer: {log.read_text(errors='replace')[-2000:]}")


@contextmanager
def browser_page(
    profile: Path, width: int = 1400, height: int = 860, scale: float = 1.0, maps: bool = False
) -> Iterator[Page]:
    """A page of headless Chromium with a profile of its own. maps: it draws WebGL, on the processor."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=chromium(),
            headless=True,
            args=[*FLAGS, *(MAPS if maps else ["--disable-gpu"])],
            timeout=PATIENCE * 1000,
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            timezone_id="UTC",
            locale="en-GB",
        )
        try:
            page = context.new_page()
            page.set_default_timeout(PATIENCE * 1000)
            expect.set_options(timeout=PATIENCE * 1000)
            yield page
        finally:
            context.close()


def materialize(instance: dg.DagsterInstance, home: Path, name: str, key: str | None) -> None:
    """An asset and its checks, as a run of the instance in this process."""
    import dagster as dg

    from assets.buildings.checks import checks
    from orchestration.definitions import ASSETS
    from resources.database import DatabaseResource
    from resources.project import ProjectResource

    dg.materialize(
        [*ASSETS, *checks],
        selection=dg.AssetSelection.assets(name),
        partition_key=key,
        instance=instance,
        resources={"project": ProjectResource(home=str(home)), "database": DatabaseResource()},
        raise_on_error=False,
    )


def show_graph(page: Page, url: str, groups: Iterable[str]) -> None:
    """The graph of all assets, fitted to the window, with these groups open."""
    page.goto(f"{url}/asset-groups?expanded={quote(','.join(f'global@global:{group}' for group in groups))}")
    page.locator("foreignObject", has_text="sheets").first.wait_for()


def show_partition(page: Page, url: str, asset: str, key: str) -> None:
    """An asset's matrix of regions and years, with one partition chosen."""
    page.goto(f"{url}/assets/{asset}?view=partitions&partition={quote(key)}")
    page.get_by_text("Latest materialization").first.wait_for()


def show_check(page: Page, url: str, asset: str, check: str) -> None:
    """An asset's checks, with one chosen."""
    page.goto(f"{url}/assets/{asset}?view=checks&checkDetail={check}")
    page.get_by_text("Latest execution").first.wait_for()


def drawn(page: Page, also: str = "") -> None:
    """Wait until a map has drawn all that it asked for. also: further conditions on its element."""
    page.locator(f"#map[data-drawn]{also}").wait_for()


def open_picture(page: Page) -> dict[str, int]:
    """Open the picture of the materialization in view; gives its natural and its shown size in pixels."""
    row = page.locator("tr", has=page.get_by_text("picture", exact=True))
    row.get_by_text("[Show Markdown]").first.click()
    image = page.locator("img[src^='data:image/']").first
    image.wait_for()
    size: dict[str, int] = image.evaluate(
        "async image => { await image.decode(); return {natural: image.naturalWidth, high: image.naturalHeight, "
        "shown: image.clientWidth, bytes: image.src.length} }"
    )
    return size


def save(page: Page, path: Path) -> None:
    """A screenshot with as many colours as keep it small."""
    import io

    from PIL import Image

    whole = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colors in (256, 128, 64, 32):
        whole.quantize(colors, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < 290_000:
            break
