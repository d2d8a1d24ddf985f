"""Image catalog of one class: a row for every delivered file, usable or not.

Here: the step that reads each image once: size, digest, perceptual hash, split, and what is wrong with it. Not here:
which classes and files there are (files.py), bringing images in (ingest.py), grouping
(collections/images/near_duplicates.py), features.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.collections.files import (
    RefusedFile,
    check_same,
    classes,
    collections,
    delivered,
    image_digests,
    images_prefix,
    read_refused,
)
from groundplan.collections.images.decode import BadImage, decode
from groundplan.collections.images.metadata import strip
from groundplan.collections.images.near_duplicates import ImageHashes, hash_image, split_images
from groundplan.collections.ingest import Ingested, ingest
from groundplan.core.bulk import fetch
from groundplan.core.manifest import (
    Dataset,
    Planned,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import ClassPartition
from groundplan.errors import MissingInput
from groundplan.project import Project
from groundplan.step import IMAGES, About, Scope, Step

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ingested", "classes", "collections", "ingest", "load"]


class Facts(TypedDict):
    """What a manifest says of an object."""

    files: int
    images: int
    bytes: int
    states: dict[str, int]
    splits: dict[str, int]
    notes: list[str]
    told: list[dict[str, str]]  # file, state, reason, remedy


DATASET: Dataset[Facts] = Dataset("image_catalog")
VERSION = "1"
HASH_SIDE = 64  # a large JPEG is read no finer than this needs
MOST_LISTED = 100  # rows of bad files in the manifest; the catalogue has all

COLUMNS = (
    "key",
    "label",
    "digest",
    "width",
    "height",
    "mode",
    "format",
    "bytes",
    "group",
    "split",
    "state",
    "reason",
    "remedy",
)
WHOLE = ("width", "height", "bytes")


# ---------------------------------------------------------------------------------------------------- the step


Needs: TypeAlias = "tuple[ClassPartition, Sequence[Any], dict[str, str], list[RefusedFile], Any]"
"""What an object is made from."""


def plan(project: Project, partition: ClassPartition) -> list[Planned[Needs]]:
    """One catalogue, decided by the files' names and contents and by how images are read and grouped."""
    everyone = classes(project, partition.collection)
    if partition not in everyone:
        raise MissingInput(
            f"images of {partition}",
            f"nothing lies in {project.store.uri(images_prefix(partition))}",
            f"Run `groundplan add-collection FOLDER --name {partition.collection}`",
        )
    found = delivered(project, partition)
    digests = image_digests(project, partition, found)
    refused = read_refused(project, partition)
    twins = [p.label for p in everyone if p != partition and p.label.casefold() == partition.label.casefold()]
    settings = project.settings.collections
    digest = fingerprint(
        version=VERSION,
        files=[[item.key, item.size, digests[item.key]] for item in found],
        refused=[[item.name, item.state, item.reason, item.remedy] for item in refused],
        twins=twins,
        groups=settings.groups,
        limits=[settings.max_pixels, settings.max_bytes],
    )
    key = object_key(DATASET, partition, "catalog", digest, ".parquet")
    return [
        Planned(
            name="catalog",
            fingerprint=digest,
            key=key,
            inputs=(images_prefix(partition),),
            args=(partition, found, digests, refused, twins),
        )
    ]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Decode every image once, at most two batches of them in memory."""
    partition, found, digests, refused, twins = planned.needs
    settings = project.settings.collections
    rows: dict[str, dict[str, Any]] = {}
    hashes: dict[str, tuple[int, np.ndarray]] = {}
    first: dict[str, str] = {}
    for item in found:
        rows[item.key] = _row(partition, item.key, digests[item.key], item.size)
        if item.size > settings.max_bytes:
            reason = f"its {item.size} bytes are more than collections.max_bytes, {settings.max_bytes}"
            rows[item.key] |= {"state": "too large", "reason": reason, "remedy": "Reduce it, or raise that bound"}
    sizes = [(item.key, item.size) for item in found if not rows[item.key]["state"]]
    with ThreadPoolExecutor(project.workers, thread_name_prefix="catalog") as pool:
        answers = fetch(project.store, sizes, settings.concurrency)
        while chunk := list(islice(answers, 256)):
            check()
            read = pool.map(lambda answer: _read(project, digests, *answer), chunk)
            for (key, _), (columns, image_hash) in zip(chunk, read, strict=True):
                rows[key] |= columns
                if image_hash is None:
                    continue
                if digests[key] in first:
                    reason = f"the same bytes as {first[digests[key]].rsplit('/', 1)[-1]}"
                    rows[key] |= {"state": "duplicate", "reason": reason, "remedy": "Leave it out"}
                else:
                    first[digests[key]] = key
                    hashes[key] = image_hash
    notes = _split(project, partition, rows, hashes)
    notes += [f"a class has the same name in other case: '{twin}'; both are kept apart" for twin in twins]
    known = set(rows)
    rows |= {row["key"]: row for row in _refusals(partition, refused) if row["key"] not in known}
    if not hashes:
        notes.append("no image of this class can be used" if rows else "the class is empty")
    return Output(to_parquet([rows[key] for key in sorted(rows)], notes))


def _row(partition: ClassPartition, key: str, digest: str, size: int) -> dict[str, Any]:
    empty = dict.fromkeys(COLUMNS, "") | dict.fromkeys(WHOLE, 0)
    return empty | {"key": key, "label": partition.label, "digest": digest, "bytes": size}


def _read(
    project: Project, digests: dict[str, str], key: str, data: bytes | MissingInput
) -> tuple[dict[str, Any], tuple[int, np.ndarray] | None]:
    """Catalog columns of one file, and the image's hashes where it can be used."""
    data = check_same(project, key, data, digests[key])
    try:
        picture = decode(data, project.settings.collections.max_pixels, HASH_SIDE)
    except BadImage as error:
        return {"state": error.state, "reason": error.reason, "remedy": error.remedy}, None
    notes = [picture.note] if picture.note else []
    remedy = ""
    try:
        clean = strip(data) == data
    except BadImage:
        clean = False
    if not clean:  # delivered past `add-collection`
        notes.append("it carries metadata or appended data")
        remedy = "Bring it in with `groundplan add-collection`, which takes that away"
    columns = {
        "width": picture.width,
        "height": picture.height,
        "mode": picture.mode,
        "format": picture.format,
        "state": "ok",
        "reason": "; ".join(notes),
        "remedy": remedy,
    }
    return columns, hash_image(picture.pixels)


def _split(
    project: Project, partition: ClassPartition, rows: dict[str, dict[str, Any]], hashes: dict[str, Any]
) -> list[str]:
    """Write group and split into the rows of usable images; returns notes on the class."""
    keys = sorted(hashes)
    if not keys:
        return []
    prefix = len(images_prefix(partition)) + 1
    names = [key[prefix:].rpartition(".")[0] or key[prefix:] for key in keys]
    bits, colors = zip(*(hashes[key] for key in keys), strict=True)
    images = ImageHashes(np.array(bits, np.uint64), np.stack(colors))
    done = split_images(partition.slug, names, images, project.settings.collections.groups)
    for key, group, split in zip(keys, done.group, done.split, strict=True):
        rows[key] |= {"group": group, "split": split}
    return done.notes


def _refusals(partition: ClassPartition, refused: Sequence[RefusedFile]) -> Iterator[dict[str, Any]]:
    for item in refused:
        row = _row(partition, f"{images_prefix(partition)}/{item.name}", "", item.bytes)
        yield row | {"state": item.state, "reason": item.reason, "remedy": item.remedy}


# ----------------------------------------------------------------------------------------------- reading it


def to_parquet(rows: list[dict[str, Any]], notes: list[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.int64() if name in WHOLE else pa.string()) for name in COLUMNS])
    schema = schema.with_metadata({"groundplan:notes": json.dumps(notes, ensure_ascii=False)})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer, compression="zstd")
    return buffer.getvalue()


def describe(data: bytes) -> Facts:
    """Counts by state and split, notes on the class, and the rows of which something must be said."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    rows = table.select(["key", "state", "split", "reason", "remedy", "bytes"]).to_pylist()
    listed = sorted((row for row in rows if row["reason"]), key=lambda row: row["state"] == "ok")
    return {
        "files": len(rows),
        "images": sum(row["state"] == "ok" for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        "states": dict(sorted(Counter(row["state"] for row in rows).items())),
        "splits": dict(sorted(Counter(row["split"] for row in rows if row["split"]).items())),
        "notes": json.loads(table.schema.metadata[b"groundplan:notes"]),
        "told": [
            {"file": row["key"].rsplit("/", 1)[-1], **{name: row[name] for name in ("state", "reason", "remedy")}}
            for row in listed[:MOST_LISTED]
        ],
    }


def load(project: Project, partition: ClassPartition) -> pd.DataFrame:
    """The committed catalogue, a row per file, by key. Raises MissingInput before it was made."""
    import pandas as pd

    made = need_manifest(project.store, DATASET, partition).objects["catalog"]
    return load_object(project.store, made, lambda data: pd.read_parquet(io.BytesIO(data)))


STEP: Step[ClassPartition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.CLASS,
    reads=(IMAGES,),
    profile="io",
    about=About(
        title="Every file of a class folder, with hash, near-duplicate group and split",
        description="Every file delivered into a class folder: size, hash, group of near-duplicates, split. A group is "
        "in one split, so that a test image is not the rotation of a training image. What cannot be used has a row "
        "with the reason and the remedy.",
        group="collections",
        kinds=frozenset({"parquet"}),
    ),
)
