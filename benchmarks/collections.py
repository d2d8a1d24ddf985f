"""Image collections: from a bucket to features, against the published way, and as far as a large set.

    python -m benchmarks.collections [--images FOLDER] [--weights FILE.onnx] [--full] [--small]

Measured: seconds to fetch a set of small images, to describe them and to save what came of it, from an S3 server on
this machine that takes 20 ms for each answer; images per processor-second of each kind of features; with --full, the
same set repeated to 67,692 images, each repetition classes of its own: seconds, peak memory, bytes.
Against, in the same run with the same decoder and network: the published way, which fetches one image after the other
with boto3, describes it, and saves a CSV for each.
Bound by: the network (or ORB) on the processors; the published way by 20 ms times twice the number of images.

Without --images the pictures are invented (100 x 100 JPEG); without --weights the network is a small random one.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, show
from benchmarks.ground import scratch

DELAY = 0.02
BUCKET = "bench"
WHOLE = 67_692  # images of the full fruit catalogue
SIZE = 224


@contextmanager
def server(delay: float) -> Iterator[str]:
    """A slow S3 server, named in the environment as AWS names it."""
    words = [sys.executable, "-m", "benchmarks.slow_s3", "--delay", str(delay)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        told = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        os.environ.update(told)
        try:
            yield url
        finally:
            process.stdin.close()
            process.wait(20)


def invented(folder: Path, classes: int, each: int) -> Path:
    """Class folders of coarse colourful noise, 100 x 100 JPEG, about 5 kB."""
    from PIL import Image

    rng = np.random.default_rng(1)
    for label in range(classes):
        (folder / f"Class {label}").mkdir(parents=True)
        for number in range(each):
            cells = rng.integers(0, 256, (12, 12, 3), np.uint8)
            image = Image.fromarray(cells).resize((100, 100), Image.Resampling.BICUBIC)
            image.save(folder / f"Class {label}" / f"{chr(97 + number % 26)}{number}.jpg", quality=90)
    return folder


def small_network(path: Path) -> Path:
    """A random network of about a tenth of MobileNetV2's work."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(3)
    kernels = [rng.normal(size=shape).astype(np.float32) / 9 for shape in ((32, 3, 8, 8), (256, 32, 4, 4))]
    nodes = [
        helper.make_node("Conv", ["input", "k0"], ["a"], strides=[4, 4]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "k1"], ["c"], strides=[4, 4]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["p"]),
        helper.make_node("Flatten", ["p"], ["features"]),
    ]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    said = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 256])
    held = [numpy_helper.from_array(kernel, f"k{number}") for number, kernel in enumerate(kernels)]
    graph = helper.make_graph(nodes, "small", [given], [said], held)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def new_project(home: Path, store: str, weights: Path, **section: Any) -> Any:
    import json

    from groundplan.project import open_project

    told = {"weights": str(weights), "size": SIZE, "concurrency": 256, **section}
    lines = [f"store = {json.dumps(store)}", "[grid]", 'crs = "EPSG:28992"', "resolution = 0.25", "origin = [0.0, 0.0]"]
    lines += ["[collections]", *(f"{key} = {json.dumps(value)}" for key, value in told.items())]
    home.mkdir(parents=True, exist_ok=True)
    (home / "groundplan.toml").write_text("\n".join(lines) + "\n", "utf-8")
    return open_project(home)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


# ----------------------------------------------------------------------------------------------- both ways


def published(project: Any, keys: Sequence[str]) -> dict[str, float]:
    """Fetching one image after the other with get_object, the same compute, put_object of a CSV for each."""
    import boto3
    from botocore.config import Config

    from groundplan.collections.descriptors import encoders
    from groundplan.collections.images.decode import decode, square

    client = boto3.client("s3", config=Config(request_checksum_calculation="when_required"))
    encoder = encoders.encoder(project)
    encoder([np.zeros((SIZE, SIZE, 3), np.uint8)])

    def get() -> list[bytes]:
        return [client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]

    fetch, images = timed(get)
    compute, rows = timed(lambda: encoder(square(decode(data, 10**8).pixels, SIZE) for data in images))

    def put() -> None:
        for key, row in zip(keys, rows, strict=True):
            text = f"{key}," + ",".join(f"{value:.7g}" for value in row) + "\n"
            client.put_object(Bucket=BUCKET, Key=f"csv/{key}.csv", Body=text.encode())

    save, _ = timed(put)
    return {"fetch": fetch, "compute": compute, "save": save, "whole": fetch + compute + save}


def ours(project: Any, keys: Sequence[str]) -> dict[str, float]:
    """The pieces by themselves, then the real steps, which overlap them: catalogue and features of every class."""
    from groundplan.collections import catalog, pipeline
    from groundplan.collections.descriptors import encoders, features
    from groundplan.collections.descriptors.shards import to_parquet
    from groundplan.collections.images.decode import decode, square
    from groundplan.collections.pipeline import run_step
    from groundplan.core.bulk import fetch

    sizes = [(item.key, item.size) for item in project.store.list("collections")]
    assert len(sizes) == len(keys)
    settings = project.settings.collections
    fetched, images = timed(lambda: [data for _, data in fetch(project.store, sizes, settings.concurrency)])
    encoder = encoders.encoder(project)
    encoder([np.zeros((SIZE, SIZE, 3), np.uint8)])
    computed, rows = timed(lambda: encoder(square(decode(data, 10**8).pixels, SIZE) for data in images))
    to_parquet([], np.zeros((0, 1), np.float32))  # imports its library
    named = [{"key": key, "label": "", "digest": "", "split": "", "group": ""} for key, _ in sizes]

    def save() -> None:
        for start in range(0, len(rows), settings.shard):
            part = slice(start, start + settings.shard)
            project.store.put(f"saved/{start}.parquet", to_parquet(named[part], rows[part]))

    saved, _ = timed(save)

    def steps() -> None:
        parts = catalog.classes(project, "set")
        for part, reports in pipeline.run_all(project, catalog.DATASET, parts):
            if isinstance(reports, Exception):
                raise RuntimeError(f"{part}: {reports}")
        for part in parts:
            run_step(project, features.DATASET, part)

    whole, _ = timed(steps)
    return {"fetch": fetched, "compute": computed, "save": saved, "whole": whole}


def against(home: Path, images: Path, weights: Path) -> None:
    from groundplan.collections import catalog

    with server(DELAY):
        project = new_project(home / "s3", f"s3://{BUCKET}", weights)
        ingested, done = timed(lambda: catalog.ingest(project, images, "set"))
        keys = [item.key for item in project.store.list("collections")]
        mine = ours(project, keys)
        theirs = published(project, keys)
    stages = ("fetch", "compute", "save", "whole")
    rows = [(name, theirs[name], mine[name], f"{theirs[name] / mine[name]:.1f}") for name in stages]
    notes = [
        f"{len(keys)} images; server with {DELAY * 1000:.0f} ms to each answer; seconds of wall time",
        "whole: theirs is the sum; ours the real steps: catalogue and features of every class, with split and digests",
        f"bringing them in (strip, digest, {done.copied} objects): {ingested:.1f} s",
    ]
    show("From a bucket to features", ("stage", "one by one, s", "here, s", "times faster"), rows, notes)


# ---------------------------------------------------------------------------------------------- per core


def per_core(home: Path, images: Path, weights: Path) -> None:
    """Images per processor-second of each kind of features, decoding and resizing included."""
    from groundplan.collections import catalog
    from groundplan.collections.descriptors import features, visual_words
    from groundplan.collections.pipeline import STEPS, run_step

    rows = []
    for kind in ("deep", "orb"):
        project = new_project(home / kind, "", weights, features=kind)
        catalog.ingest(project, images, "set")
        learning, spent, count = 0.0, 0.0, 0
        for part in catalog.classes(project, "set"):
            run_step(project, catalog.DATASET, part)
        if kind == "orb":
            begin = time.process_time()
            run_step(project, visual_words.DATASET, type(part)("set"))
            learning = time.process_time() - begin
        for part in catalog.classes(project, "set"):
            for planned in STEPS[features.DATASET].plan(project, part):
                begin = time.process_time()
                features.make(project, planned, lambda: None)  # type: ignore[arg-type]
                spent += time.process_time() - begin
                count += len(planned.args[1])
        rows.append((kind, count, spent, count / spent, learning))
    columns = ("features", "images", "cpu-s", "images per cpu-s", "vocabulary, cpu-s")
    show("Images per core", columns, rows, ["loading the network is in the first shard's time"])


# ------------------------------------------------------------------------------------------------- a large set


def large(home: Path, images: Path, weights: Path, count: int) -> None:
    """The set repeated: every image a little different, every repetition classes of its own."""
    folder = home / "large"
    repeated(images, folder, count)
    words = [
        sys.executable,
        "-m",
        "benchmarks.collections",
        "--worker",
        str(folder),
        "--weights",
        str(weights),
        "--home",
        str(home / "large-home"),
    ]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    show(f"{count} images on this machine, local store", ("stage", "wall s", "cpu-s", "peak MiB", "MB written"), rows)
    shutil.rmtree(folder)


def repeated(images: Path, folder: Path, count: int) -> None:
    from PIL import Image

    files = sorted(images.glob("*/*.jpg"))
    for number in range(count):
        source = files[number % len(files)]
        target = folder / f"{source.parent.name} {number // len(files):02}" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            image.putpixel((number // len(files), 0), (number % 256, 0, 0))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=92)
        target.write_bytes(buffer.getvalue())


def worker(folder: Path, home: Path, weights: Path) -> None:
    """In a process of its own: each stage's seconds, the peak so far, what was written."""
    from groundplan.collections import catalog
    from groundplan.collections.descriptors import features
    from groundplan.collections.pipeline import run_step

    project = new_project(home, "", weights)

    def every(name: str) -> None:
        for part in catalog.classes(project, "set"):
            run_step(project, name, part)

    stages: dict[str, Callable[[], Any]] = {
        "ingest": lambda: catalog.ingest(project, folder, "set"),
        "image_catalog": lambda: every(catalog.DATASET),
        "image_features": lambda: every(features.DATASET),
        "nothing to do": lambda: every(features.DATASET),
    }
    for name, work in stages.items():
        cpu = time.process_time()
        wall, _ = timed(work)
        # not ru_maxrss: that begins with what the parent held
        peak = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024
        where = {"ingest": "collections", "nothing to do": ""}.get(name, name)
        size = sum(item.size for item in project.store.list(where)) / 1e6 if where else 0.0
        print(f"{name}\t{wall:.1f}\t{time.process_time() - cpu:.1f}\t{peak:.0f}\t{size:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="a folder of class folders of JPEG")
    parser.add_argument("--weights", type=Path, help="an .onnx with an output 'features'")
    parser.add_argument("--full", action="store_true", help=f"also the set repeated to {WHOLE} images")
    parser.add_argument("--repeat-to", type=int, default=WHOLE, help="images of --full")
    parser.add_argument("--classes", type=int, default=5, help="of invented images")
    parser.add_argument("--each", type=int, default=460, help="invented images of a class")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    asked = arguments(parser, classes=2, each=60)
    if asked.worker:
        worker(asked.worker, asked.home, asked.weights)
        return
    with scratch() as home:
        images = asked.images or invented(home / "images", asked.classes, asked.each)
        weights = (asked.weights or small_network(home / "small.onnx")).absolute()
        against(home, images, weights)
        per_core(home, images, weights)
        if asked.full:
            large(home, images, weights, asked.repeat_to)


if __name__ == "__main__":
    main()
