"""Images of people and places: what files tell beside pixels, where they may lie, and that they can be forgotten."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import faulty_s3
import numpy as np
import pytest
from faulty_s3 import BUCKET, FaultyS3
from made_images import cataloged, folder_of, jpeg, picture
from PIL import Image, PngImagePlugin

from groundplan.collections import catalog
from groundplan.collections import forget as privacy
from groundplan.collections.descriptors import features, shards
from groundplan.collections.files import LOG, forgotten_digests
from groundplan.collections.forget import expired, forget
from groundplan.collections.images.decode import decode
from groundplan.collections.images.faces import faces
from groundplan.collections.images.metadata import strip
from groundplan.collections.pipeline import run_asset, run_step
from groundplan.collections.residency import check_residency
from groundplan.core.manifest import Manifest
from groundplan.core.partition import ClassPartition
from groundplan.core.store import Store
from groundplan.errors import BadConfig, MissingInput, StoreFailed
from groundplan.project import Project

SECRET = b"SECRET"
MOST = 64_000_000


@pytest.fixture
def project(tmp_path: Path, make_project) -> Project:  # type: ignore[no-untyped-def]
    return make_project(tmp_path / "home", collections={"features": "orb", "size": 64, "words": 4, "shard": 4})


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with faulty_s3.serve_as_aws() as server:
        yield server


# -------------------------------------------------------------------------------------------------- metadata


def exif(turned: int = 1) -> Image.Exif:
    told = Image.Exif()
    told[0x0112] = turned
    told[0x010F] = "SECRET camera"
    told.get_ifd(0x8769)[0x927C] = b"SECRET maker note"
    told.get_ifd(0x8825)[0x001D] = "SECRET day"
    return told


def written(kind: str, turned: int = 1, **options: Any) -> bytes:
    image, buffer = picture(1, 48), io.BytesIO()
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Author", "SECRET")
        text.add_itxt("XML:com.adobe.xmp", "SECRET")
        options |= {"pnginfo": text, "exif": exif(turned)}
    elif kind == "TIFF":
        options |= {"description": "SECRET", "tiffinfo": {0x0112: turned, 700: SECRET}}
    elif kind == "GIF":
        options |= {"comment": SECRET, "save_all": True, "append_images": [image.rotate(90)], "loop": 0}
    else:
        options |= {"exif": exif(turned), "xmp": SECRET}
        options |= {"comment": SECRET} if kind == "JPEG" else {"lossless": True}
    image.save(buffer, kind, **options)
    return buffer.getvalue()


CASES = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"subsampling": 0}),
    ("PNG", {}),
    ("WEBP", {}),
    ("TIFF", {}),
    ("GIF", {}),
]


@pytest.mark.parametrize("tail", [b"", b"SECRET film behind the picture"])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_nothing_is_told_beside_pixels_and_no_pixel_changes(kind: str, options: dict[str, Any], tail: bytes) -> None:
    data = written(kind, **options) + tail
    assert SECRET in data
    clean = strip(data)
    assert SECRET not in clean
    assert np.array_equal(decode(clean, MOST).pixels, decode(data, MOST).pixels)
    assert strip(clean) == clean
    with Image.open(io.BytesIO(clean)) as image:
        assert not dict(image.getexif().get_ifd(0x8825))
        assert getattr(image, "n_frames", 1) == (2 if kind == "GIF" else 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turned", [3, 6, 8])
def test_an_image_stays_upright(kind: str, turned: int) -> None:
    data = written(kind, turned)
    clean = strip(data)
    assert np.array_equal(decode(clean, MOST).pixels, decode(data, MOST).pixels)
    assert not np.array_equal(decode(clean, MOST).pixels, decode(written(kind), MOST).pixels)
    with Image.open(io.BytesIO(clean)) as image:
        assert image.getexif().get(0x0112, 1) == (turned if kind != "TIFF" else 1)  # its pixels are turned
        assert 0x010F not in image.getexif()


def test_colours_keep_their_meaning() -> None:
    from PIL import ImageCms

    plain = ImageCms.createProfile("sRGB")
    profile = ImageCms.ImageCmsProfile(plain).tobytes()
    told, lab = len(profile), ImageCms.createProfile("LAB")
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        with Image.open(io.BytesIO(strip(written(kind, icc_profile=profile)))) as image:
            kept = image.info["icc_profile"]
            assert len(kept) < told
            assert b"sRGB" not in kept, "the name and the licence of a profile are texts"
            colors = [
                np.asarray(ImageCms.applyTransform(picture(3), ImageCms.buildTransform(one, lab, "RGB", "LAB")), int)
                for one in (plain, ImageCms.ImageCmsProfile(io.BytesIO(kept)))
            ]
            assert np.abs(colors[0] - colors[1]).max() <= 1
        earlier = strip(written(kind, icc_profile=profile), profiles=None)
        with Image.open(io.BytesIO(earlier)) as image:
            assert image.info["icc_profile"] == profile
    ink = jpeg(picture(2).convert("CMYK"), comment=SECRET)  # Adobe's marker says that its values are inverted
    assert np.array_equal(decode(strip(ink), MOST).pixels, decode(ink, MOST).pixels)


def test_previews_and_unknown_segments_of_a_jpeg_go() -> None:
    data = jpeg(picture(1))
    at = 2 + 2 + int.from_bytes(data[4:6], "big")
    jfif = data[:2] + b"\xff\xe0\x00\x1fJFIF\0\x01\x01\x00\x00\x01\x00\x01\x03\x01" + b"SECRETSEC" + SECRET
    odd = b"".join(b"\xff" + bytes([mark]) + b"\x00\x08" + SECRET for mark in (0xE2, 0xE3, 0xED, 0xEF, 0xFE))
    clean = strip(jfif + odd + data[at:])
    assert SECRET not in clean
    assert clean == strip(data)


def test_metadata_does_not_come_in_with_a_folder_and_is_seen_where_it_came_otherwise(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "in" / "c").mkdir(parents=True)
    (tmp_path / "in" / "c" / "a.jpg").write_bytes(written("JPEG"))
    assert catalog.ingest(project, tmp_path / "in", "f").stripped == 1
    assert SECRET not in project.store.get("collections/f/c/a.jpg")
    project.store.put("collections/f/d/a.jpg", written("JPEG"))
    cataloged(project, "f")
    assert "metadata" not in catalog.load(project, ClassPartition("f", "c"))["reason"][0]
    assert "metadata" in catalog.load(project, ClassPartition("f", "d"))["reason"][0]


# ----------------------------------------------------------------------------------------------------- place


def placed(tmp_path: Path, make_project: Callable[..., Project], store: str, *region: str) -> Project:
    return make_project(tmp_path / "home", store, collections={"region": list(region)})


def test_a_store_may_lie_where_it_may(tmp_path: Path, make_project, s3: FaultyS3) -> None:  # type: ignore[no-untyped-def]
    there = f"s3://{BUCKET}/eu"
    check_residency(placed(tmp_path / "a", make_project, ""))
    check_residency(placed(tmp_path / "b", make_project, "", "file:///"))
    check_residency(placed(tmp_path / "c", make_project, there, f"s3://{BUCKET}"))
    check_residency(placed(tmp_path / "d", make_project, there, "us-east-1", "eu-west-1"))
    check_residency(placed(tmp_path / "e", make_project, there, "us-east-1", f"s3://{BUCKET}/eu/"))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("region", "word"),
    [
        (("eu-west-1",), "its bucket is in us-east-1"),
        ((f"s3://{BUCKET}/e",), "may not lie there"),  # a prefix ends where a name ends
        (("us-east-1", "s3://other"), "may not lie there"),
        (("file:///",), "may not lie there"),
    ],
)
def test_a_store_elsewhere_is_refused_by_everything(
    tmp_path: Path,
    make_project,
    s3: FaultyS3,
    region: tuple[str, ...],
    word: str,  # type: ignore[no-untyped-def]
) -> None:
    project = placed(tmp_path, make_project, f"s3://{BUCKET}/eu", *region)
    given = folder_of(tmp_path / "in", Lemon=1)
    s3.heal()
    with pytest.raises(BadConfig, match=word):
        catalog.ingest(project, given, "fruits")
    with pytest.raises(BadConfig, match=word):
        run_step(project, catalog.DATASET, ClassPartition("fruits", "Lemon"))
    assert not [path for method, path in s3.seen if method == "PUT"]


@pytest.mark.bad_input
def test_a_folder_is_in_no_bucket_region(tmp_path: Path, make_project) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadConfig, match="in no bucket region"):
        check_residency(placed(tmp_path, make_project, "", "eu-west-1"))


@pytest.mark.fault
def test_a_region_that_cannot_be_found_out_is_not_taken_for_right(
    tmp_path: Path,
    make_project,
    s3: FaultyS3,  # type: ignore[no-untyped-def]
) -> None:
    project = placed(tmp_path, make_project, "s3://no-such-bucket/x", "us-east-1")
    with pytest.raises(StoreFailed, match="cannot be found out"):
        check_residency(project)


# ------------------------------------------------------------------------------------------------ forgetting


def built(project: Project, folder: Path) -> None:
    catalog.ingest(project, folder, "fruits")
    cataloged(project, "fruits")
    for part in catalog.classes(project, "fruits"):
        run_asset(project, features.DATASET, part)


def mentions(project: Project, key: str, digest: str) -> list[str]:
    """Objects that say anything of an image: by key, name or digest, in Parquet too."""
    import pyarrow.parquet as pq

    found = []
    for item in project.store.list():
        data = project.store.get(item.key)
        if item.key.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(data))
            data += repr(table.to_pydict()).encode() + repr(table.schema.metadata).encode()
        if item.key == key or any(word.encode() in data for word in (key, key.rsplit("/", 1)[-1], digest)):
            found.append(item.key)
    return found


def test_what_is_forgotten_is_nowhere_and_the_rest_stays(project: Project, tmp_path: Path) -> None:
    given = folder_of(tmp_path / "in", Lemon=24, Plum=6)
    built(project, given)
    part = ClassPartition("fruits", "Lemon")
    key, digest = catalog.load(project, part)[["key", "digest"]].iloc[5]
    for dataset in ("reduced_features", "image_classifier"):  # of the second half: made of everything
        where = part.path if dataset == "reduced_features" else "fruits"
        project.store.put(f"{dataset}/{where}/all-1.bin", b"x")
    region = ["landing/fruits/2024/a.tif", "predictions/2024/fruits/x0y0.tif"]  # a region of that name is another thing
    for other in region:
        project.store.put(other, b"x")
    assert len(mentions(project, key, digest)) >= 4
    before = {item.key for item in project.store.list("image_features")}
    done = forget(project, [key])
    assert done.images == 1
    assert mentions(project, key, digest) == [done.log]
    log = json.loads(project.store.get(done.log))
    assert (log["state"], log["sha256"]) == ("done", [digest])
    left = {item.key for item in project.store.list("image_features")}
    assert len(before - left) == 1, "one shard, no other"
    assert not project.store.list("reduced_features")
    assert not project.store.list("image_classifier")
    assert all(project.store.exists(other) for other in region)
    for item in project.store.list("manifests"):
        manifest = Manifest.from_json(project.store.get(item.key))
        assert all(project.store.exists(made.key) for made in manifest.objects.values())
    built(project, given)  # the folder still has it
    frame = catalog.load(project, part).set_index("key")
    assert frame.loc[key, "state"] == "forgotten"
    assert key not in set(features.load(project, part)[0]["key"])
    assert len(features.load(project, part)[0]) == 23


@pytest.mark.kill
@pytest.mark.parametrize("deaths", [1, 2, 3], ids=["after what came of it", "after the images", "before the log"])
def test_forgetting_that_was_killed_is_finished_by_the_next(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    built(project, folder_of(tmp_path / "in", Lemon=8))
    key, digest = catalog.load(project, ClassPartition("fruits", "Lemon"))[["key", "digest"]].iloc[2]
    inner, calls = Store.delete, [0]

    def dies(store: Store, keys: Any) -> None:
        inner(store, keys)
        calls[0] += 1
        if calls[0] == deaths:
            raise KeyboardInterrupt

    def writes(project: Project, log: str, state: str, *told: Any) -> None:
        if deaths == 3 and state == "done":
            raise KeyboardInterrupt
        write(project, log, state, *told)

    write = privacy._write_log
    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", dies)
        patch.setattr(privacy, "_write_log", writes)
        with pytest.raises(KeyboardInterrupt):
            forget(project, [key])
    forget(project, [key])
    assert set(mentions(project, key, digest)) <= {item.key for item in project.store.list(LOG)}
    assert digest in forgotten_digests(project)


@pytest.mark.bad_input
def test_only_images_can_be_forgotten(project: Project) -> None:
    project.store.put("landing/delft/2024/a.tif", b"x")
    with pytest.raises(MissingInput, match="no image of a collection"):
        forget(project, ["landing/delft/2024/a.tif"])
    assert project.store.exists("landing/delft/2024/a.tif")
    assert not project.store.list(LOG)


def test_retention_names_what_is_too_old(tmp_path: Path, make_project) -> None:  # type: ignore[no-untyped-def]
    project = make_project(tmp_path / "home", collections={"retention_days": 30})
    project.store.put("collections/f/c/a.jpg", b"x")
    now = datetime.now(UTC)
    assert expired(project, now + timedelta(days=29)) == []
    assert expired(project, now + timedelta(days=31)) == ["collections/f/c/a.jpg"]


def test_shards_tell_their_keys_without_their_features() -> None:
    rows = [{"key": "k", "label": "l", "digest": "d", "split": "train", "group": "g"}]
    assert shards.keys_of(shards.to_parquet(rows, np.zeros((1, 4), np.float32))) == ["k"]


# ------------------------------------------------------------------------------------------------------ faces


def test_faces_are_blurred_before_they_are_stored(tmp_path: Path, make_project) -> None:  # type: ignore[no-untyped-def]
    from skimage.data import astronaut, lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    project = make_project(tmp_path / "home", collections={"blur_faces": True})
    folder = folder_of(tmp_path / "in", Crew=1)
    Image.fromarray(astronaut()).save(folder / "Crew" / "face.png", "PNG")
    done = catalog.ingest(project, folder, "people")
    assert (done.copied, done.blurred) == (2, 1)
    stored = decode(project.store.get("collections/people/Crew/face.png"), MOST).pixels
    cascade = Cascade(lbp_frontal_face_cascade_filename())
    found = faces(cascade, astronaut())
    left, top, width, height = max(found, key=lambda face: face[2])  # the others are none: it is wary
    assert (120 < left < 200, 30 < top < 90) == (True, True)
    elsewhere = np.ones(stored.shape[:2], bool)
    for x, y, wide, high in found:
        elsewhere[y : y + high, x : x + wide] = False

    def detail(pixels: np.ndarray) -> float:
        face = pixels[top : top + height, left : left + width].astype(float)
        return float(np.abs(np.diff(face, axis=1)).mean())

    assert detail(stored) < 0.4 * detail(astronaut())
    assert elsewhere.mean() > 0.7
    assert np.abs(stored[elsewhere].astype(int) - astronaut()[elsewhere]).mean() < 4  # but for the new encoding
