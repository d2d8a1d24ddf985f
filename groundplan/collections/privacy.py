"""What the law asks of images of people and places: where they lie, how long, and that they can be forgotten.

Here: the place of the store, retention, forgetting, blurring of faces. Not here: metadata in files (metadata.py), which
goes whenever a folder is brought in (intake.py).

A bucket that keeps old versions of objects keeps what is forgotten here: switch versioning off, or let a lifecycle rule
end old versions. Backups are the operator's, and so is Dagster's own record of runs, which may hold file names and
small pictures in metadata. End builds of the collection before forgetting: a run that has read an image already may
still write what it made of it.
"""

from __future__ import annotations

import io
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from groundplan.blocks import Manifest
from groundplan.collections import shards, words
from groundplan.collections.delivered import collections, read_memory, write_memory
from groundplan.collections.images import BadImage, decode
from groundplan.collections.intake import Blur, read_refused, write_refused
from groundplan.collections.partition import ROOM, ClassPartition, images_prefix, partition_of
from groundplan.errors import BadConfig, MissingInput, StoreFailed
from groundplan.project import Project

LOG = "forgotten"
BLUR = 0.25  # of a face's side: standard deviation of the blur
FACE = 24  # pixels: a smaller face is not looked for


# ---------------------------------------------------------------------------------------------------- the place


def check_place(project: Project) -> None:
    """Raises BadConfig for a store outside of `collections.region`, StoreFailed where its region cannot be found out.

    An entry with '://' is a prefix of the store's URL, any other is a bucket's region. With both kinds given, both must
    fit. A region can be asked of S3 only; another kind of store is allowed by its URL.
    """
    allowed = project.settings.collections.region
    if not allowed:
        return
    store = project.store.url.rstrip("/") + "/"
    prefixes = [entry for entry in allowed if "://" in entry]
    regions = [entry for entry in allowed if "://" not in entry]
    what = f"collections.region allows {', '.join(allowed)}"
    if prefixes and not any(store.startswith(prefix.rstrip("/") + "/") for prefix in prefixes):
        raise BadConfig(f"store {store}", f"images may not lie there: {what}", "Move the store, or mend that list")
    if regions and urlsplit(store).scheme == "s3":
        found = bucket_region(urlsplit(store).netloc)
        if found not in regions:
            raise BadConfig(f"store {store}", f"its bucket is in {found}: {what}", "Move the store, or mend that list")
    elif regions and not prefixes:
        raise BadConfig(
            f"store {store}", f"it is in no bucket region: {what}", f'Add "{store}" to that list if it may lie there'
        )


@lru_cache(maxsize=8)  # a bucket does not move
def bucket_region(bucket: str) -> str:
    """The region that S3 says a bucket is in. Raises StoreFailed."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=10, read_timeout=20, retries={"max_attempts": 3})
    try:
        answer = boto3.client("s3", config=quick).head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        reason = f"its region cannot be found out ({str(error)[:160]})"
        raise StoreFailed(f"bucket {bucket}", reason, "Check credentials, and the right s3:ListBucket") from error
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return str(answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or "no region that it tells")


# ------------------------------------------------------------------------------------------------- forgetting


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went. rooms: objects of each dataset; log: key of what says so, by digests, not by names."""

    images: int
    objects: int
    log: str
    rooms: dict[str, int]


def forget(project: Project, keys: Sequence[str]) -> Forgotten:
    """Remove images and all that came from them, and remember their digests, so that they are not brought in again.

    Gone afterwards: the images; their classes' catalogues and sums; the shards of features that hold them; components,
    reduced features, classifier, report and pictures of their collections, and the visual words, if they were learned
    from one of them; manifests that name any of these. Other shards stay, and the next build makes the rest anew. Ends
    the same when it is run again after it was killed. Raises MissingInput for a key that is no image of a collection,
    before anything is changed.
    """
    of_class = _by_class(keys)
    digests = _digests(project, of_class)
    log = f"{LOG}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.json"
    _write_log(project, log, "begun", digests, 0)
    images, derived = _what_goes(project, of_class, set(digests))
    project.store.delete(derived)
    project.store.delete(images)
    for partition, mine in of_class.items():
        _forget_names(project, partition, mine)
    _write_log(project, log, "done", digests, len(derived))
    return Forgotten(len(images), len(derived), log, rooms_of(derived))


def what_goes(project: Project, keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Keys of the images that are there, and of all that came from them; removes nothing. Raises MissingInput."""
    of_class = _by_class(keys)
    return _what_goes(project, of_class, set(_digests(project, of_class)))


def _what_goes(
    project: Project, of_class: dict[ClassPartition, set[str]], digests: set[str]
) -> tuple[list[str], list[str]]:
    found = (derived_from(project, partition, mine, digests) for partition, mine in of_class.items())
    derived = sorted({key for part in found for key in part})
    there = {item.key for name in {p.collection for p in of_class} for item in project.store.list(f"{ROOM}/{name}")}
    return sorted(there & {key for mine in of_class.values() for key in mine}), derived


def rooms_of(keys: Sequence[str]) -> dict[str, int]:
    """How many of the objects belong to each dataset, and how many manifests, previews and the like there are."""
    return dict(sorted(Counter(key.partition("/")[0] for key in keys).items()))


def _by_class(keys: Sequence[str]) -> dict[ClassPartition, set[str]]:
    found: dict[ClassPartition, set[str]] = defaultdict(set)
    try:
        for key in keys:
            found[partition_of(key)].add(key)
    except ValueError as error:
        raise MissingInput(str(error), "nothing was removed", "Give keys as the catalogue has them") from error
    return found


def _digests(project: Project, of_class: dict[ClassPartition, set[str]]) -> list[str]:
    return sorted(filter(None, (_digest(project, key, part) for part, mine in of_class.items() for key in mine)))


def derived_from(project: Project, partition: ClassPartition, keys: set[str], digests: set[str]) -> list[str]:
    """Objects of all the collection's datasets that came from some images of a class, and manifests that name them."""
    from groundplan.collections.steps import STEPS

    store, collection = project.store, partition.collection
    gone: set[str] = set()
    for room in STEPS:
        for item in store.list(f"{room}/{collection}"):
            mine = item.key.startswith(f"{room}/{partition.path}/")
            if room in OF_ITS_CLASS and not mine:
                continue
            if room in ASKED and not ASKED[room](store.get(item.key), keys, digests):
                continue
            gone.add(item.key)
    found = set(gone)
    for room in STEPS:
        for name in _named(project, f"manifests/{room}", collection):
            manifest = Manifest.from_json(store.get(name))
            found |= {name} if gone & {made.key for made in manifest.objects.values()} else set()
        for advice in ("journal", "failures", "previews", "previews/small", "checkpoints"):
            found |= set(_named(project, f"{advice}/{room}", collection))
    return sorted(found | set(_named(project, f"previews/{ROOM}", collection)))  # the report's copy shows images


def _named(project: Project, room: str, collection: str) -> list[str]:
    """What lies in a room's folder of a collection, and the file that is named after it."""
    folder = [item.key for item in project.store.list(f"{room}/{collection}")]
    return folder + [item.key for item in project.store.below(room)[1] if item.key.startswith(f"{room}/{collection}.")]


def _shard_holds(data: bytes, keys: set[str], digests: set[str]) -> bool:
    return bool(keys & set(shards.keys_of(data)))


def _words_hold(data: bytes, keys: set[str], digests: set[str]) -> bool:
    return bool(digests & set(words.from_parquet(data).digests))


OF_ITS_CLASS = ("image_catalog", "image_features", "feature_sums")  # of other classes' images they know nothing
ASKED = {"image_features": _shard_holds, words.DATASET: _words_hold}  # these can tell whether an image is in them


def _digest(project: Project, key: str, partition: ClassPartition) -> str:
    """SHA-256 of an image as it is stored, or as it was when it was last read; '' where nobody knows."""
    try:
        return project.store.digest(key)
    except MissingInput:
        return str(read_memory(project, partition).get(key, ["", "", ""])[2])


def _forget_names(project: Project, partition: ClassPartition, keys: set[str]) -> None:
    memory = read_memory(project, partition)
    if memory.keys() & keys:
        write_memory(project, partition, {key: line for key, line in memory.items() if key not in keys})
    refused = read_refused(project, partition)
    kept = [item for item in refused if f"{images_prefix(partition)}/{item.name}" not in keys]
    if len(kept) < len(refused):
        write_refused(project, partition, kept)


def _write_log(project: Project, key: str, state: str, digests: list[str], objects: int) -> None:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"state": state, "when": when, "sha256": digests, "objects": objects}
    project.store.put(key, json.dumps(told, indent=1).encode())


def forgotten_digests(project: Project) -> set[str]:
    """SHA-256 of all images that were to be forgotten."""
    logs = [json.loads(project.store.get(item.key)) for item in project.store.list(LOG)]
    return {digest for log in logs for digest in log["sha256"]}


def expired(project: Project, now: datetime) -> list[str]:
    """Keys of images that the store has had for longer than `collections.retention_days`; `forget` takes them."""
    days = project.settings.collections.retention_days
    if days is None:
        return []
    found = [item for name in collections(project) for item in project.store.list(f"{ROOM}/{name}")]
    old = [item.key for item in found if item.modified < now - timedelta(days=days) and item.key.count("/") >= 3]
    return [key for key in old if not key.rsplit("/", 1)[-1].startswith(".")]  # a class's marker is no image


# ---------------------------------------------------------------------------------------------------- faces


def face_blurring(project: Project) -> Blur | None:
    """What blurs faces, where the project asks for it.

    The detector is scikit-image's cascade of local binary patterns for frontal faces: it comes with its file, and with
    no promise. It misses faces from the side, small, dark or covered ones; who must be sure has people look.
    """
    if not project.settings.collections.blur_faces:
        return None
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    cascade = Cascade(lbp_frontal_face_cascade_filename())
    most = project.settings.collections.max_pixels

    def blur(data: bytes) -> bytes | None:
        try:
            pixels = decode(data, most).pixels
        except BadImage:
            return None  # the catalogue will say what is wrong with it
        return blurred(pixels, faces(cascade, pixels))

    return blur


def faces(cascade: Any, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Left, top, width and height of each face that is found in RGB uint8 (H, W, 3)."""
    side = min(pixels.shape[:2])
    if side < FACE:
        return []
    found = cascade.detect_multi_scale(
        img=pixels, scale_factor=1.2, step_ratio=1, min_size=(FACE, FACE), max_size=(side, side)
    )
    return [(int(face["c"]), int(face["r"]), int(face["width"]), int(face["height"])) for face in found]


def blurred(pixels: np.ndarray, found: Sequence[tuple[int, int, int, int]]) -> bytes | None:
    """The image with those places blurred, as a JPEG of quality 95; None where there are none."""
    if not found:
        return None
    import cv2
    from PIL import Image

    changed = pixels.copy()
    for left, top, width, height in found:
        place = changed[top : top + height, left : left + width]
        place[:] = cv2.GaussianBlur(place, (0, 0), max(width, height) * BLUR)
    buffer = io.BytesIO()
    Image.fromarray(changed).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
