"""The service of single images: what an answer costs beside bare inference, and what four times its load does to it.

    python -m benchmarks.serving [--seconds 60] [--steps 60] [--peer build/peer/bin/python] [--small]

A JPEG of 512 px of an invented town; the default network after `steps` steps on it, so that it finds buildings; one
server in a process of its own, its clients in this one. Bare: decoding and inference in a loop, same threads, nothing
around it; at saturation also the polygons, which are part of an answer. In turns with the server, so that a busy
minute falls on both. Load is open: requests come at fixed times,
whoever is still waiting. The peer is LitServe with its defaults (benchmarks/serving_peer.py says how it is installed);
it makes no polygons.
Against: bars, all in this run. p50 of a lone client <= 1.25 x bare; answers a second at saturation >= 0.95 x bare; at
4 x that load p99 of the accepted <= 2 x the budget and <= 1/20 of the peer's, p99 of refusals <= 50 ms, memory flat,
answers as before within 2 s of its end.
Bound by: the network, on all processors; the clients and refusals take from it what they need.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, show
from benchmarks.ground import commit_model, new_project, picture, scratch, trained

SIDE = 512
HOST = "127.0.0.1"
PEER = "build/peer/bin/python"
LONE, SATURATED, TIMES_PEER, REFUSAL, RECOVERED, FLAT = 1.25, 0.95, 20.0, 0.050, 2.0, 1.15  # the bars
OVERLOAD = 4.0
PATIENCE = 90.0  # seconds for which a client waits


@dataclass(frozen=True)
class Answer:
    """status, seconds from when it was to be sent until all of the answer was there, and when that was."""

    status: int
    seconds: float
    at: float


def image() -> bytes:
    from PIL import Image

    pixels = np.ascontiguousarray(picture()[:, :SIDE, :SIDE].transpose(1, 2, 0))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


# --- bare -------------------------------------------------------------------------------------------------------------


def bare_of(onnx: bytes, data: bytes, threads: int) -> Callable[[], None]:
    """Decoding and inference of the image, and nothing else."""
    from PIL import Image

    from groundplan.inference.runtime import load

    network = load(onnx, threads=threads)

    def once() -> None:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        network.predict(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    once()
    return once


def whole_of(onnx: bytes, data: bytes, threads: int) -> Callable[[], None]:
    """All that an answer takes, polygons too, in a loop without a server."""
    from groundplan.inference.runtime import load
    from groundplan.polygons.instances import Thresholds
    from groundplan.single.analyse import FootprintModel, analyse
    from groundplan.single.prepare import prepare

    network = load(onnx, threads=threads)
    model = FootprintModel(name="footprints", version="1", runtime=network, thresholds=Thresholds())

    def once() -> None:
        analyse(prepare(data), model)

    once()
    return once


def seconds_of(work: Callable[[], Any], repeats: int) -> list[float]:
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def rate_of(work: Callable[[], None], seconds: float) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - began)


# --- servers ----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as place:
        place.bind((HOST, 0))
        return int(place.getsockname()[1])


@contextmanager
def running(words: Sequence[str], port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once a GET of `path` is answered with 200."""
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=nowhere, stderr=nowhere, start_new_session=True) as server:
        try:
            end = time.monotonic() + 180
            while asyncio.run(ask(port, b"", path, method="GET")).status != 200:
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{words[0]} does not begin to serve")
                time.sleep(0.2)
            yield server
        finally:
            server.terminate()
            try:
                server.wait(20)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)  # LitServe leaves its workers behind


def resident(server: subprocess.Popen[bytes]) -> float:
    """Megabytes of memory that it holds now."""
    text = Path(f"/proc/{server.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


# --- clients ----------------------------------------------------------------------------------------------------------


async def ask(port: int, data: bytes, path: str, due: float = 0.0, method: str = "POST") -> Answer:
    """One request on a connection of its own; status 0 where nothing came."""
    began, status = due or time.perf_counter(), 0
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(HOST, port)
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            head += f"Content-Type: {'application/json' if data[:1] == b'{' else 'image/jpeg'}\r\n"
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            answer = await reader.read()
            status = int(answer.split(b" ", 2)[1]) if answer else 0
            writer.close()
    except (OSError, TimeoutError, ValueError, IndexError):
        pass
    now = time.perf_counter()
    return Answer(status, now - began, now)


async def closed(port: int, data: bytes, path: str, clients: int, seconds: float) -> list[Answer]:
    """Clients that ask again as soon as they are answered."""
    end, found = time.perf_counter() + seconds, []

    async def one() -> None:
        while time.perf_counter() < end:
            found.append(await ask(port, data, path))

    await asyncio.gather(*(one() for _ in range(clients)))
    return found


async def opened(
    port: int, data: bytes, path: str, rate: float, seconds: float, usual: float = 0.0
) -> tuple[list[Answer], float]:
    """Requests at fixed times, however many are still unanswered; all are waited for.

    And seconds after the last was sent until one more is answered as usual, where `usual` says what that is.
    """
    began, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        tasks.append(asyncio.create_task(ask(port, data, path, due)))
    back = await recovery(port, data, path, usual) if usual else 0.0
    return list(await asyncio.gather(*tasks)), back


async def recovery(port: int, data: bytes, path: str, usual: float) -> float:
    """Seconds after which an answer takes no more than twice what it usually does."""
    began = time.perf_counter()
    while time.perf_counter() - began < 60:
        answer = await ask(port, data, path)
        if answer.status == 200 and answer.seconds <= 2 * usual:
            return answer.at - began
        await asyncio.sleep(0.05)
    return float("inf")


def p(answers: Sequence[Answer], share: float) -> float:
    return float(np.percentile([one.seconds for one in answers], share)) if answers else float("nan")


# --- the run ----------------------------------------------------------------------------------------------------------

Row = tuple[str, Any, Any, str]


def bar(name: str, figure: float, bound: float, words: str, least: bool = False) -> Row:
    met = figure >= bound if least else figure <= bound
    return name, figure, words, "met" if met else "NOT MET"


def lone_and_saturated(
    port: int, data: bytes, once: Callable[[], None], whole_of: Callable[[], None], given: argparse.Namespace
) -> tuple[list[Row], float, float]:
    """Rows, answers a second at saturation, and the usual seconds of an answer."""
    path, bare, ours = "/v1/predict/footprints", [], []
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(given.rounds):
        bare += seconds_of(once, given.repeats)
        ours += [one.seconds for one in asyncio.run(_one_by_one(port, data, path, given.repeats))]
        rates[0].append(rate_of(whole_of, given.saturate))
        found = asyncio.run(closed(port, data, path, 4, given.saturate))
        good = [one for one in found if one.status == 200]
        rates[1].append(len(good) / (max(one.at for one in good) - min(one.at - one.seconds for one in good)))
    plain, whole = statistics.median(bare), statistics.median(ours)
    bare_rate, rate = statistics.median(rates[0]), statistics.median(rates[1])
    rows = [
        ("bare decode + infer, ms", 1000 * plain, "", ""),
        bar("a lone client, p50, ms", 1000 * whole, 1000 * LONE * plain, f"<= {LONE} x bare: {whole / plain:.2f} x"),
        ("bare loop with polygons, a second", bare_rate, "", ""),
        bar(
            "saturated, a second", rate, SATURATED * bare_rate, f">= {SATURATED} x bare: {rate / bare_rate:.2f} x", True
        ),
    ]
    return rows, rate, whole


async def _one_by_one(port: int, data: bytes, path: str, repeats: int) -> list[Answer]:
    return [await ask(port, data, path) for _ in range(repeats)]


def overloaded(
    server: subprocess.Popen[bytes], port: int, data: bytes, rate: float, usual: float, given: argparse.Namespace
) -> tuple[list[Row], float]:
    """Rows, and p99 of the accepted."""
    path, budget = "/v1/predict/footprints", 1.5
    asyncio.run(opened(port, data, path, OVERLOAD * rate, min(5.0, given.seconds)))  # buffers grow once
    before = resident(server)
    found, back = asyncio.run(opened(port, data, path, OVERLOAD * rate, given.seconds, usual))
    after = resident(server)
    good = [one for one in found if one.status == 200]
    refused = [one for one in found if one.status in (429, 503)]
    rows = [
        (f"at {OVERLOAD:g} x for {given.seconds:g} s: asked, a second", OVERLOAD * rate, "", ""),
        ("  answered, a second", len(good) / given.seconds, f"{len(good) / given.seconds / rate:.2f} x saturated", ""),
        ("  neither answered nor refused", len(found) - len(good) - len(refused), "", ""),
        bar("  accepted, p99, s", p(good, 99), 2 * budget, f"<= {2 * budget:g} s"),
        bar("  refused, p99, ms", 1000 * p(refused, 99), 1000 * REFUSAL, f"<= {1000 * REFUSAL:g} ms"),
        bar("  memory, after over before", after / before, FLAT, f"<= {FLAT}: {before:.0f} to {after:.0f} MB"),
        bar("  as before, s after its end", back, RECOVERED, f"<= {RECOVERED:g} s"),
    ]
    return rows, p(good, 99)


def peer_rows(home: Path, onnx: bytes, data: bytes, rate: float, p99: float, given: argparse.Namespace) -> list[Row]:
    if not Path(given.peer).is_file():
        return [("LitServe", "peer not installed", "benchmarks/serving_peer.py says how", "")]
    (home / "model.onnx").write_bytes(onnx)
    port = free_port()
    script = str(Path(__file__).with_name("serving_peer.py"))
    with running([given.peer, "-P", script, str(home / "model.onnx"), str(port), str(given.threads)], port, "/health"):
        body = json.dumps({"image": base64.b64encode(data).decode()}).encode()
        alone = asyncio.run(closed(port, body, "/predict", 4, given.saturate))
        found, _ = asyncio.run(opened(port, body, "/predict", OVERLOAD * rate, given.seconds))
    good = [one for one in found if one.status == 200]
    theirs = p(good, 99)
    return [
        (
            "LitServe, same load: answered",
            len(good),
            f"of {len(found)}; saturated {len(alone) / given.saturate:.3g} a second",
            "",
        ),
        ("  p50, s", p(good, 50), "", ""),
        bar(
            "  p99 of ours over LitServe's", p99 / theirs, 1 / TIMES_PEER, f"<= 1/{TIMES_PEER:g}: theirs {theirs:.3g} s"
        ),
    ]


def messages_rows(home: Path, data: bytes, once: Callable[[], None], given: argparse.Namespace) -> list[Row]:
    """The asynchronous path, where benchmarks/messages.py measures it."""
    try:
        from benchmarks.messages import rows
    except ImportError:
        return []
    found: list[Row] = rows(home, data, once, given)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload")
    parser.add_argument("--saturate", type=float, default=8.0, help="seconds of each round of saturation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=12, help="lone requests of each round")
    parser.add_argument("--steps", type=int, default=60, help="training steps of the network")
    parser.add_argument("--peer", default=PEER, help="the interpreter of the peer's environment")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = arguments(parser, seconds=4.0, saturate=2.0, rounds=1, repeats=4, steps=1)
    from serving.api.lane import processors

    given.threads = processors()
    data = image()
    state, onnx = trained(given.steps)
    once, whole = bare_of(onnx, data, given.threads), whole_of(onnx, data, given.threads)
    with scratch() as home:
        project = new_project(home / "gp", 256)
        commit_model(project, state, onnx)
        port = free_port()
        program = str(Path(sys.executable).with_name("groundplan"))
        with running([program, "serve", "--home", str(home / "gp"), "--port", str(port)], port, "/readyz") as server:
            found = asyncio.run(ask(port, data, "/v1/predict/footprints"))
            assert found.status == 200, found
            rows, rate, usual = lone_and_saturated(port, data, once, whole, given)
            more, p99 = overloaded(server, port, data, rate, usual, given)
        rows += more
        rows += peer_rows(home, onnx, data, rate, p99, given)
        rows += messages_rows(home, data, once, given)
    notes = [f"{len(data):,} bytes of JPEG, {SIDE} px; {given.threads} threads; nice {os.nice(0)}"]
    show("Single images, wall seconds", ["what", "figure", "bar", ""], rows, notes)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1, default=str))


if __name__ == "__main__":
    main()
