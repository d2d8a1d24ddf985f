"""Prediction and training on a GPU: rates, how busy the device is, and whether it decides as a processor in float32.

    python -m benchmarks.gpu [--image FILE] [--model FILE] [--blocks 96] [--small]

Needs torch, torchvision, timm, segmentation_models_pytorch, safetensors, onnx, OpenCV, pyarrow and rich, and nothing of
GDAL, Dagster or OpenVINO. What is missing is said; only the part that needs it is left out. The starter model, in
blocks of 8192 px as COGs of JPEG tiles (q90, 4:2:0) on a disk in memory, with their neighbours' edges, each stored as
a COG with overviews and facts; one view, float16, windows as large as the device has memory for. Ground is drawn, or
mirrored from `--image` (any picture at 0.15 m): rates of coding follow the entropy of pixels.
Bars: 450 useful MPx/s end to end; device busy 85 % of the time between the first and the last block; 99.9 % of pixels
on the same side of each threshold as float32 on a processor with windows of 1280; F1 of buildings between the two 0.99.
Bound by: see the shares. Decisions are of ground that lies inside a block.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import sys
import tempfile
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.common import arguments, show
from groundplan import starter
from groundplan.core.kept_memory import keep_memory
from groundplan.footprints import conveyed
from groundplan.inference.canvases import Lattice
from groundplan.inference.conveyor import BATCH, Conveyor, fitted
from groundplan.inference.sliding_window import predict_canvas
from groundplan.polygons.instances import Thresholds, instances
from groundplan.raster.coded_cog import Level, pieces, raw_tags
from groundplan.raster.edges import DIRECTIONS, EDGE
from groundplan.raster.jpeg_tiles import JpegBlock, decoded, parse, read_into
from groundplan.training.device import idle_threads

TILE, MARGIN, RESOLUTION = 512, 128, 0.15
BARS = {"rate": 450.0, "busy": 0.85, "same": 0.999, "f1": 0.99}
SHAPES = [
    ("f16", 1280, 4, False),
    ("f16", 1280, 16, False),
    ("f16", 2304, 2, False),
    ("f16", 2304, 4, False),
    ("f16", 2304, 4, True),
    ("bf16", 2304, 4, False),
    ("f32", 2304, 2, False),
]
"""Precision, side of a window, windows of a batch, and whether the library tries its kernels."""
IN_HAND = 4  # blocks whose decoding or coding is measured at once
Row = tuple[Any, ...]


# --- ground -----------------------------------------------------------------------------------------------------------


def drawn(side: int) -> np.ndarray:
    """An invented town, RGB uint8 (side, side, 3): fields, streets, roofs with shadows."""
    rng = np.random.default_rng(5)
    coarse = cv2.resize(rng.integers(70, 130, (side // 64, side // 64, 3), np.uint8), (side, side))
    fine = cv2.resize(rng.integers(0, 40, (side // 2, side // 2, 1), np.uint8), (side, side))
    ground = cv2.add(coarse, cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB))
    for at in range(0, side, 400):
        cv2.line(ground, (0, at), (side, at + 60), (150, 148, 145), 40)
        cv2.line(ground, (at, 0), (at - 60, side), (150, 148, 145), 40)
    for _ in range(side * side // 14_000):
        center, size = rng.uniform(0, side, 2), rng.uniform(40, 130, 2)
        turn = float(rng.choice([8.0, 98.0]) + rng.normal(0, 4))
        roof = rng.integers(90, 230, 3)
        for shift, color in ((10.0, (35, 38, 40)), (0.0, tuple(int(c) for c in roof))):
            corners = cv2.boxPoints(((center[0] + shift, center[1] + shift), tuple(size), turn))
            cv2.fillPoly(ground, [corners.astype(np.int32)], color)
    return cv2.add(ground, rng.integers(0, 14, ground.shape, np.uint8))


def picture(file: Path | None, side: int) -> np.ndarray:
    if file is None:
        return drawn(side)
    found = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if found is None:
        raise SystemExit(f"{file}: no picture that OpenCV reads")
    return np.ascontiguousarray(found[..., ::-1])


def mirrored(start: int, count: int, side: int) -> np.ndarray:
    """Index of the endless ground that mirrors a picture."""
    place = np.arange(start, start + count) % (2 * side)
    return np.where(place < side, place, 2 * side - 1 - place)


def jpeg_block(image: np.ndarray, number: int, side: int, pool: Executor) -> bytes:
    """A block as JPEG tiles: a part of the ground of its own, a little lighter or darker than others."""
    light = 0.9 + 0.02 * (number % 10)

    def row(top: int) -> list[bytes]:
        rows = mirrored(number * 977 + top, TILE, image.shape[0])
        found = []
        for left in range(0, side, TILE):
            cols = mirrored(number * 1409 + left, TILE, image.shape[1])
            pixels = cv2.convertScaleAbs(image[rows[:, None], cols], alpha=light)
            found.append(cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
        return found

    tiles = [data for some in pool.map(row, range(0, side, TILE)) for data in some]
    color, plain = (3, 1, struct.pack("<H", 6)), (3, 1, struct.pack("<H", 1))
    return b"".join(pieces([Level(side, tiles)], 3, TILE, 7, {262: color, 317: plain}))


@dataclass(frozen=True)
class Country:
    """A rectangle of blocks, several of which are the same file."""

    files: list[Path]
    wide: int
    count: int

    def file(self, col: int, row: int) -> Path | None:
        number = row * self.wide + col
        return self.files[number % len(self.files)] if 0 <= col < self.wide and 0 <= number < self.count else None

    def block(self, number: int) -> conveyed.JpegInput:
        """As the step reads it: the block's file whole, of its neighbours what is needed."""
        row, col = divmod(number, self.wide)
        places = {"": (col, row), **{name: (col + dx, row + dy) for name, (dx, dy) in DIRECTIONS.items()}}
        files = {name: found for name, place in places.items() if (found := self.file(*place)) is not None}
        blocks, parts = {}, {}
        for name, file in files.items():
            data = memoryview(file.read_bytes()) if name == "" else None
            begin = data[:65536] if data is not None else memoryview(_part(file, 0, 65536))
            found = parse(begin)
            assert found is not None
            blocks[name] = found
            parts[name] = (
                (lambda at, size, data=data: data[at : at + size])
                if data is not None
                else (lambda at, size, file=file: _part(file, at, size))
            )
        return conveyed.JpegInput(blocks=blocks, parts=parts, names={name: str(places[name]) for name in files})


def _part(file: Path, at: int, size: int) -> bytes:
    with file.open("rb") as source:
        source.seek(at)
        return source.read(size)


@contextmanager
def country(given: argparse.Namespace, pool: Executor) -> Iterator[Country]:
    memory = Path("/dev/shm")
    room = memory.is_dir() and os.statvfs(memory).f_bavail * os.statvfs(memory).f_frsize > 8 * 2**30
    with tempfile.TemporaryDirectory(prefix="groundplan-gpu-", dir=memory if room else None) as folder:
        image = picture(given.image, min(4096, given.size))
        files = []
        for number in range(min(given.distinct, given.blocks)):
            files.append(Path(folder) / f"{number}.tif")
            files[-1].write_bytes(jpeg_block(image, number, given.size, pool))
        yield Country(files, wide=max(1, round(given.blocks**0.5)), count=given.blocks)


# --- parts alone ------------------------------------------------------------------------------------------------------


def seconds(work: Callable[[], Any], device: str, repeats: int) -> float:
    """Median seconds of a piece of work on the device, warmed up."""
    import torch

    work()
    found = []
    for _ in range(repeats):
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            work()
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end) / 1000)
        else:
            clock = time.perf_counter()
            work()
            found.append(time.perf_counter() - clock)
    return statistics.median(found)


def forward(model: Any, given: argparse.Namespace, device: str, image: np.ndarray) -> list[Row]:
    """Rates of the bare network by window and batch, in pixels of windows and in useful ones."""
    import torch

    from groundplan.training.torch_model import load_torch

    rows: list[Row] = []
    for precision, side, batch, tuned in given.shapes:
        runtime = load_torch(model, precision=precision, device=device, tuned=tuned)
        title = f"forward {precision}, {batch} windows of {side}" + (", tuned" if tuned else "")
        try:
            ready = runtime.ready(batch, side, side)
        except torch.OutOfMemoryError:
            rows.append((title, "no room", "", ""))
            continue
        windows = image[mirrored(0, side, len(image))[:, None], mirrored(0, side, image.shape[1])]
        ready.windows.copy_(torch.from_numpy(windows)[None].expand(batch, -1, -1, -1))
        rate = batch * side**2 / 1e6 / seconds(ready.run, device, given.repeats)
        rows.append((title, rate, rate * ((side - 2 * MARGIN) / side) ** 2, ""))
        del runtime, ready
        if device == "cuda":
            torch.cuda.empty_cache()
    return rows


def kernels(model: Any, given: argparse.Namespace, device: str, image: np.ndarray) -> list[Row]:
    """What the device's time of one batch goes to: the kernels that take most of it."""
    if device != "cuda":
        return []
    import torch
    from torch.profiler import ProfilerActivity, profile

    from groundplan.training.torch_model import load_torch

    runtime, side = load_torch(model, precision=given.precision, device=device), 2048 + 2 * MARGIN
    windows = image[mirrored(0, side, len(image))[:, None], mirrored(0, side, image.shape[1])]
    batch = torch.from_numpy(windows)[None].expand(2, -1, -1, -1).contiguous().to(device)
    runtime.said(batch)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(3):
            runtime.said(batch)
        torch.cuda.synchronize()
    found = sorted(seen.key_averages(), key=lambda one: one.self_device_time_total, reverse=True)
    total = sum(one.self_device_time_total for one in found)
    torch.cuda.empty_cache()
    rows: list[Row] = []
    for one in found[:12]:
        share = f"{one.self_device_time_total / total:.1%}"
        rows.append((f"kernel {one.key[:60]}", "", share, f"{one.count // 3} launches"))
    return rows


def all_at_once(work: Callable[[Any], object], given: list[Any]) -> None:
    """As blocks in hand are: one alone is 16 rows of tiles, which 15 threads do in two rounds, half of them idle."""
    with ThreadPoolExecutor(len(given)) as hands:
        list(hands.map(work, given))


def alone(ground: Country, side: int, pool: Executor, device: str) -> list[Row]:
    """Rates of decoding with all threads and nothing else to do, and of decoding on the device."""
    found = ground.block(0)
    window, outs = (0, 0, side, side), [np.zeros((side, side, 3), np.uint8) for _ in range(IN_HAND)]

    def decode(out: np.ndarray) -> None:
        read_into(found.blocks[""], found.parts[""], window, out, pool)

    area = side**2 / 1e6
    rate = IN_HAND * area / seconds(lambda: all_at_once(decode, outs), "cpu", 3)
    rows: list[Row] = [("decode, libjpeg-turbo, all threads", "", rate, "")]
    return rows + on_device(found.blocks[""], found, area, device)


def on_device(block: JpegBlock, found: conveyed.JpegInput, area: float, device: str) -> list[Row]:
    """The same by nvJPEG, and how its pixels differ: it widens colours by repeating them."""
    if device != "cuda":
        return []
    import torch

    try:
        from torchvision.io import decode_jpeg

        raster, part = block.pixels, found.parts[""]
        streams = [bytes(part(a, n)) for a, n in zip(raster.offsets, raster.counts, strict=True)]
        tiles = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in streams]
        rate = area / seconds(lambda: decode_jpeg(tiles, device="cuda"), "cuda", 5)
        gap = np.abs(
            decode_jpeg(tiles[:4], device="cuda")[0].cpu().numpy().transpose(1, 2, 0).astype(int) - decoded(streams[0])
        )
    except Exception as error:  # another library's: what it lacks is worth a word, not the run
        return [("decode, nvJPEG", "", f"not possible ({str(error)[:60]})", "")]
    return [("decode, nvJPEG", "", rate, f"differs by {gap.mean():.2f} of 255, at most {gap.max()}")]


def coding(line: conveyed.Line, ground: Country) -> list[Row]:
    """Rates of coding a block's result with its overviews, all threads and nothing else to do."""

    def fill(slot: Any) -> None:
        slot.canvas[MARGIN:-MARGIN, MARGIN:-MARGIN] = 0
        inner = slot.canvas[MARGIN : MARGIN + line.conveyor.ground.block, MARGIN : MARGIN + line.conveyor.ground.block]
        ground.block(0).own(inner, line.pool, lambda: None)

    area = line.conveyor.ground.block**2 / 1e6
    with line.conveyor.predict(fill) as found:
        tiles = np.concatenate(found.levels)
    some = [tiles[first : first + 8] for first in range(0, len(tiles), 8)]

    def deflate() -> None:
        list(line.pool.map(lambda part: [zlib.compress(one, 1) for one in part], some))

    def zstd() -> None:
        conveyed.coded(tiles, line.pool)

    area *= IN_HAND
    fast, slow = (
        seconds(lambda work=work: all_at_once(lambda _: work(), [0] * IN_HAND), "cpu", 3) for work in (zstd, deflate)
    )
    return [
        (f"code, zstd level {conveyed.CODING}, with overviews", "", area / fast, ""),
        ("code, deflate level 1, with overviews", "", area / slow, ""),
    ]


@contextmanager
def waiting() -> Iterator[list[float]]:
    """Seconds that a thread waited each time that it let Python's lock go and wanted it again."""
    found, ended = list[float](), threading.Event()

    def ask() -> None:
        while not ended.wait(0.003):
            clock = time.perf_counter()
            time.sleep(0)
            found.append(time.perf_counter() - clock)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


# --- end to end -------------------------------------------------------------------------------------------------------


def end_to_end(line: conveyed.Line, ground: Country, folder: Path) -> list[Row]:
    """All blocks from COG to stored COG."""
    conveyor, stored = line.conveyor, list[tuple[float, int]]()
    conveyed.predict_block(line, ground.block(0), {})  # not counted: libraries load what they need
    line.edges.forget()
    line.spent.update(dict.fromkeys(line.spent, 0.0))
    conveyor.watched = True

    def one(number: int) -> None:
        coded = conveyed.predict_block(line, ground.block(number), {})
        part = folder / f"{number}.part"
        part.write_bytes(coded.data)
        part.rename(folder / f"out-{number % 16}.tif")
        stored.append((time.perf_counter() - clock, len(coded.data)))

    clock, cpu = time.perf_counter(), time.process_time()
    with waiting() as waits, ThreadPoolExecutor(conveyor.slots) as hands:
        list(hands.map(one, range(ground.count)))
    wall, cpu = time.perf_counter() - clock, time.process_time() - cpu
    conveyor.watched, area = False, conveyor.ground.block**2 / 1e6
    rate, busy = ground.count * area / wall, conveyor.busy_seconds() / wall
    times = sorted(second for second, _ in stored)
    steady = (len(times) - 1) * area / (times[-1] - times[0]) if len(times) > 2 else rate
    size = sum(size for _, size in stored) * 8 / (ground.count * area * 1e6)
    ground_of = conveyor.ground
    title = f"windows of {ground_of.core + 2 * ground_of.margin}, batch {len(conveyor.batch.windows)}"
    rows: list[Row] = [
        (f"end to end, {title}, {conveyor.slots} blocks in hand", "", rate, bar(rate >= BARS["rate"], "450 MPx/s")),
        ("the same between the first and the last block", "", steady, f"{size:.2f} bits a pixel stored"),
        ("device busy, share of the time", "", busy, bar(busy >= BARS["busy"], "0.85")),
        ("processors in use", "", cpu / wall, f"of {len(os.sched_getaffinity(0))}"),
        ("a thread waits for Python's lock", "", f"{1e6 * statistics.fmean(waits or [0.0]):.0f} us", "each time"),
    ]
    rows += [
        (f"a block's seconds: {name}", "", value / ground.count, "with others beside it")
        for name, value in line.spent.items()
    ]
    return rows


def bar(met: bool, what: str) -> str:
    return f"bar {what}: {'met' if met else 'not met'}"


# --- decisions --------------------------------------------------------------------------------------------------------


def stored_pixels(data: bytes | memoryview, side: int) -> np.ndarray:
    """uint8 (2, side, side) of a coded block, read without GDAL."""
    import pyarrow

    tags = raw_tags(data)
    count = -(-side // TILE)
    offsets, sizes = (np.frombuffer(tags[tag][2], "<u4") for tag in (324, 325))
    whole = np.zeros((count * TILE, count * TILE, 2), np.uint8)
    codec = pyarrow.Codec("zstd")
    for number, (at, size) in enumerate(zip(offsets, sizes, strict=True)):
        raw = codec.decompress(data[at : at + size], decompressed_size=TILE * TILE * 2, asbytes=True)
        row, col = divmod(number, count)
        tile = np.cumsum(np.frombuffer(raw, np.uint8).reshape(TILE, TILE, 2), axis=1, dtype=np.uint8)
        whole[row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE] = tile
    return whole[:side, :side].transpose(2, 0, 1)


def decisions(model: Any, line: conveyed.Line, ground: Country, given: argparse.Namespace) -> list[Row]:
    """A part of a block as the device stored it, beside float32 on this machine's processors."""
    from groundplan.training.torch_model import load_torch

    side, judged = given.size, given.judged
    number = min(ground.count - 1, ground.wide + 1)
    said = stored_pixels(conveyed.predict_block(line, ground.block(number), {}).data, side)
    pixels = np.zeros((side, side, 3), np.uint8)
    block = ground.block(number)
    read_into(block.blocks[""], block.parts[""], (0, 0, side, side), pixels, line.pool)
    core = line.conveyor.ground.core
    first = core * max(1, (side - judged) // 2 // core)
    part, around = slice(first, first + judged), slice(first - MARGIN, first + judged + MARGIN)
    canvas = np.ascontiguousarray(pixels[around, around].transpose(2, 0, 1))
    exact, got = load_torch(model, precision="f32", device="cpu"), said[:, part, part]
    rows: list[Row] = []
    for name, each in dict(zip(("the same windows", "windows of 1280"), (core, 1024), strict=True)).items():
        want = predict_canvas(exact, canvas, np.ones(canvas.shape[1:], bool), min(each, judged), MARGIN)
        rows += alike(got, want, Thresholds(**model.card["thresholds"]), f"{given.precision} and f32, {name}")
    return rows


def alike(got: np.ndarray, want: np.ndarray, chosen: Thresholds, title: str) -> list[Row]:
    """Shares of pixels on the same side of each threshold, and F1 of buildings."""
    same = {
        "building": (got[0] > 127) == (want[0] > 127),
        "edge": (got[1] > 127) == (want[1] > 127),
        "inside": (cores(got) > chosen.seed) == (cores(want) > chosen.seed),
    }
    rows: list[Row] = []
    for name, agreed in same.items():
        share = float(agreed.mean())
        rows.append((f"{title}: same side, {name}", "", f"{share:.4%}", bar(share >= BARS["same"], "99.9 %")))
    figure, found, real = buildings_alike(got, want, chosen)
    return [*rows, (f"{title}: F1 of {found} and {real} buildings", "", figure, bar(figure >= BARS["f1"], "0.99"))]


def cores(probability: np.ndarray) -> np.ndarray:
    return probability[0].astype(np.float32) * (255 - probability[1]) / 255**2


def buildings_alike(got: np.ndarray, want: np.ndarray, chosen: Thresholds) -> tuple[float, int, int]:
    """F1 between the buildings of two rasters, by pixels in common; and how many each has."""
    one, other = (instances(np.ascontiguousarray(each), chosen, RESOLUTION) for each in (got, want))
    pairs, common = np.unique(one.ravel().astype(np.int64) * 2**31 + other.ravel(), return_counts=True)
    first, second = pairs // 2**31, pairs % 2**31
    sizes, others = np.bincount(one.ravel()), np.bincount(other.ravel())
    both = (first > 0) & (second > 0)
    iou = common[both] / (sizes[first[both]] + others[second[both]] - common[both])
    found, real = int(one.max()), int(other.max())
    return (2 * int((iou > 0.5).sum()) / (found + real) if found + real else 1.0), found, real


# --- training ---------------------------------------------------------------------------------------------------------


def training(image: np.ndarray, given: argparse.Namespace, device: str) -> list[Row]:
    """Steps of the trained_model step's own loop, and of pooled training, whose crops are made on the device."""
    from groundplan.training.scene import Scene
    from groundplan.training.settings import TrainSettings

    rng = np.random.default_rng(0)
    side = min(2048, len(image))
    label = cv2.resize(rng.integers(0, 3, (side // 32, side // 32), np.uint8), (side, side), None, 0, 0, 0)
    scene = Scene(np.ascontiguousarray(image[:side, :side].transpose(2, 0, 1)), label)
    settings = TrainSettings(encoder_weights="none", batch=given.batch, crop=given.crop, steps=given.steps, minutes=60)
    rows: list[Row] = []
    for name, rounds in (
        ("crops by processors", _loop(scene, settings)),
        ("crops on the device", _pooled(scene, settings)),
    ):
        waited, clock = 0.0, 0.0
        for step, spent in enumerate(rounds):
            if step == given.steps // 4:  # warmed up
                waited, clock = 0.0, time.perf_counter()
            waited += spent
        wall = time.perf_counter() - clock
        steps = given.steps - given.steps // 4
        title = f"training, {given.batch} x {given.crop} px, {name}"
        rows.append((title, "", f"{steps / wall:.3g} steps/s", f"{waited / wall:.1%} waiting for crops"))
    return [*rows, resumed(scene, replace(settings, steps=8, batch=4, crop=64))]


def resumed(scene: Any, settings: Any) -> Row:
    """Whether a training that was stopped and taken up again ends in the bytes of an undisturbed one."""
    import torch

    from groundplan.training.loop import train

    saved: list[bytes] = []
    steps = iter(range(settings.steps))

    def stop() -> None:
        if next(steps) == settings.steps // 2:
            raise InterruptedError

    whole = train([scene], [], settings, load=lambda: None, save=saved.append)
    with suppress(InterruptedError):
        train([scene], [], settings, load=lambda: None, save=saved.append, check=stop)
    again = train([scene], [], settings, load=lambda: saved[-1], save=lambda _: None)
    same = all(torch.equal(whole.state[name], again.state[name]) for name in whole.state)
    return (
        "training, stopped and taken up again",
        "",
        "the same bytes" if same else "other bytes",
        bar(same, "the same"),
    )


def _loop(scene: Any, settings: Any) -> Iterator[float]:
    """Seconds that each step waited for its crops."""
    from groundplan.training.augment import CropSource, batches
    from groundplan.training.device import device, hands, repeatable
    from groundplan.training.loop import _step, initial_state

    state = initial_state(settings, None)
    source = CropSource.of(scene, settings)
    with repeatable(device()), closing(batches(lambda _: [source], settings, 0, hands())) as drawn:
        for _ in range(settings.steps):
            clock = time.perf_counter()
            image, label = next(drawn)
            waited = time.perf_counter() - clock
            _step(state, image, label, settings)
            state.step += 1
            yield waited


def _pooled(scene: Any, settings: Any) -> Iterator[float]:
    import torch

    from groundplan.training import pooled
    from groundplan.training.pack import Ground as Packed

    number = np.zeros(scene.label.shape, np.uint8)
    ground = Packed(
        region="r", year=2024, image=scene.image, label=scene.label, number=number, resolution=RESOLUTION, trust=1.0
    )
    drawn, state = pooled.begin(pooled.material([ground], pooled.Arm(name="all", turn=None), settings), settings)
    for _ in range(settings.steps):
        clock = time.perf_counter()
        batch = next(drawn)
        waited = time.perf_counter() - clock
        loss = pooled.descend(state, *batch, settings)
        state.step += 1
        yield waited
    if torch.cuda.is_available():
        float(loss)


# --- all of it --------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, help="a picture at 0.15 m instead of the drawn town")
    parser.add_argument("--model", type=Path, default=starter.FILE, help="the zip of a model")
    parser.add_argument("--size", type=int, default=8192, help="pixels of a block's side")
    parser.add_argument("--blocks", type=int, default=96)
    parser.add_argument("--distinct", type=int, default=24, help="files that the blocks are")
    parser.add_argument("--core", type=int, default=1024, help="pixels of a window that are kept, at least")
    parser.add_argument("--slots", type=int, default=8, help="blocks in hand at once")
    parser.add_argument("--batch-windows", type=int, default=BATCH)
    parser.add_argument("--threads", type=int, default=max(2, len(os.sched_getaffinity(0)) - 1))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--judged", type=int, default=4096, help="pixels of the side of the ground that is compared")
    parser.add_argument("--precision", default=None, help="of the device; by default f16 on a GPU")
    parser.add_argument("--batch", type=int, default=16, help="crops of a training step")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--steps", type=int, default=160, help="of each training")
    parser.set_defaults(small=False)
    small = {"size": 1536, "core": 512, "blocks": 2, "distinct": 2, "slots": 2, "repeats": 1, "judged": 512}
    given = arguments(parser, **small, batch=2, crop=64, steps=4)
    begun = time.perf_counter()
    idle_threads()
    keep_memory()  # as the step does on a device
    try:
        import segmentation_models_pytorch
        import torch

        del segmentation_models_pytorch
    except ImportError as error:
        raise SystemExit(f"the network cannot be built here: {error}") from error
    from groundplan.training.packed_model import unpack

    device = "cuda" if torch.cuda.is_available() else "cpu"
    given.precision = given.precision or ("f16" if device == "cuda" else "f32")
    given.shapes = SHAPES if device == "cuda" and not given.small else [(given.precision, 512, 1, False)]
    cv2.setNumThreads(1)
    model = unpack(given.model.read_bytes())
    rows: list[Row] = []
    image = picture(given.image, min(4096, given.size))

    def part(name: str, work: Callable[[], list[Row]]) -> None:
        """One part; where it fails the others are still worth their time."""
        clock = time.perf_counter()
        try:
            found = work()
        except Exception as error:
            traceback.print_exc()
            found = [(name, "", f"failed: {type(error).__name__}", "")]
        rows.extend(found)
        for row in found:  # at once: a borrowed machine may be taken back before the table
            print("  ", *row, sep=" | ", file=sys.stderr, flush=True)
        print(f"{name}: {time.perf_counter() - clock:.1f} s", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(given.threads) as pool, country(given, pool) as ground:
        print(f"blocks are there after {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
        part("decoding", lambda: alone(ground, given.size, pool, device))
        line = conveyed.Line(conveyor=whole(model, given, device), pool=pool)
        part("coding", lambda: coding(line, ground))
        part("end to end", lambda: end_to_end(line, ground, ground.files[0].parent))
        part("decisions", lambda: decisions(model, line, ground, given))
        line.conveyor.close()
    part("forward", lambda: forward(model, given, device, image))
    part("kernels", lambda: kernels(model, given, device, image))
    part("training", lambda: training(image, given, device))
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU: processors through the same code"
    notes = [
        f"{name}; torch {torch.__version__}; {given.blocks} blocks of {given.size} px, {given.distinct} files",
        f"{given.image.name if given.image else 'drawn ground'}, {given.precision}, one view, {given.threads} threads",
        f"all of it took {time.perf_counter() - begun:.0f} s",
    ]
    show("Prediction on a GPU", ("work", "MPx / s of windows", "useful MPx / s, or share", "bar"), rows, notes)


def whole(model: Any, given: argparse.Namespace, device: str) -> Conveyor:
    """The conveyor with the largest windows that there is room for."""
    from groundplan.training.torch_model import load_torch

    runtime, size = load_torch(model, precision=given.precision, device=device), given.size
    cut = Lattice(block=size, core=min(given.core, size), margin=MARGIN, tile=TILE, edge=min(EDGE, size))
    return fitted(runtime, lambda core: replace(cut, core=min(core, size)), cut.core, given.slots, given.batch_windows)


if __name__ == "__main__":
    main()
