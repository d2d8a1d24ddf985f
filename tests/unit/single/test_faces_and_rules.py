"""Faces are hidden before anything is stored, and rules decide what is kept and who is told."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from groundplan import config
from groundplan.errors import BadConfig, ModelMismatch
from groundplan.single import faces
from groundplan.single.analyse import Analysis, FoundBuilding
from groundplan.single.prepare import prepare
from groundplan.single.rules import Course, course
from groundplan.single.transform import transform

FACE = (181, 58, 89, 120)
GRID = {"crs": "EPSG:28992", "resolution": 0.3, "block_size": 256, "origin": (0.0, 0.0)}


@pytest.fixture(scope="module")
def finder() -> faces.FaceFinder:
    assert faces.USUAL.is_file(), "the weights of CenterFace are missing: make setup fetches them"
    return faces.finder()


def coded(pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[271] = "Secret Camera"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def wanted(**changed: object) -> Course:
    told = {"keep": True, "keep_side": 0, "strip": True, "faces": False, "to": ("broker",), **changed}
    return Course(**told)  # type: ignore[arg-type]


def test_a_face_is_found_in_parts_of_a_large_picture_and_in_all_of_it(finder: faces.FaceFinder) -> None:
    picture = astronaut()
    many = np.tile(picture, (3, 3, 1))
    assert len(finder(picture)) == 1
    assert len(finder(many)) == 9
    large = np.asarray(Image.fromarray(picture[:220, 120:340]).resize((2600, 2600)))  # wider than any part
    assert max(face[2] for face in finder(large)) > 700, "a face larger than the parts' overlap"
    assert finder(np.zeros((40, 40, 3), np.uint8)) == []


def test_what_is_stored_holds_no_face_and_no_metadata(finder: faces.FaceFinder) -> None:
    data = coded(astronaut())
    image = prepare(data)
    kept = transform(data, image, wanted(faces=True), finder)
    assert kept.faces == 1
    assert b"Secret Camera" not in kept.data
    assert finder(prepare(kept.data).pixels) == []
    assert transform(data, image, wanted(faces=True), finder) == kept, "the same image, the same bytes"
    with pytest.raises(ValueError, match="nothing finds them"):
        transform(data, image, wanted(faces=True), None)


def test_a_hidden_face_is_a_mosaic_of_few_colours_with_noise() -> None:
    picture = astronaut()
    changed = faces.hidden(picture, [FACE], "seed")
    left, top, right, bottom = faces.grown(FACE, picture.shape)
    assert left == 181 - 14
    assert bottom == 58 + 120 + 18
    inside, outside = changed[top:bottom, left:right], np.ones(picture.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert (changed[outside] == picture[outside]).all()
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) <= faces.CELLS**2
    other = faces.hidden(picture, [FACE], "another seed")[top:bottom, left:right]
    assert (inside != other).any(), "the same face in two pictures has not the same mosaic"


def test_without_faces_and_reducing_the_coded_pixels_stay(finder: faces.FaceFinder) -> None:
    data = coded(np.full((64, 64, 3), 90, np.uint8))
    kept = transform(data, prepare(data), wanted(faces=True), finder)
    assert kept.faces == 0
    assert (prepare(kept.data).pixels == prepare(data).pixels).all()
    assert kept.sha256 == hashlib.sha256(kept.data).hexdigest()
    assert transform(data, prepare(data), wanted(strip=False), None).data == data
    small = transform(data, prepare(data), wanted(keep_side=32), None)
    assert prepare(small.data).pixels.shape == (32, 32, 3)


def test_other_weights_are_refused_and_missing_ones_leave_the_cascade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.onnx").write_bytes(b"other")
    with pytest.raises(ModelMismatch, match="as it is pinned"):
        faces.finder(tmp_path / "other.onnx")
    with pytest.raises(ModelMismatch, match="no such file"):
        faces.finder(tmp_path / "none.onnx")
    monkeypatch.setattr(faces, "USUAL", tmp_path / "none.onnx")
    assert faces.finder()(astronaut()[:256, 100:356])


# --- rules ------------------------------------------------------------------------------------------------------------


def settings(**more: object) -> config.Settings:
    hook = {"name": "hook", "url": "https://example.org/told", "secret_env": "HOOK_SECRET"}
    return config.parse({"grid": GRID, "webhooks": [hook], **more}, "tests")


def of_class(label: str, confidence: float) -> Analysis:
    return Analysis(model="pets", version="1", kind="class", labels=((label, confidence), ("other", 1 - confidence)))


def of_buildings(*confidences: float) -> Analysis:
    found = tuple(FoundBuilding(rings=(), confidence=one, area=1.0, cut=False) for one in confidences)
    return Analysis(model="footprints", version="1", kind="footprints", buildings=found)


def test_rules_that_fit_change_what_is_usual_in_their_order() -> None:
    rules = [
        {"model": "pets", "labels": ["person"], "faces": True, "keep_side": 512, "to": ["hook"]},
        {"most_confidence": 0.5, "keep": False},
        {"model": "footprints", "least_buildings": 2, "only_to": ["hook"]},
        {"model": "pets", "keep_side": 1024, "faces": False},
    ]
    here = settings(rules=rules)
    assert course(here, of_class("person", 0.9)) == wanted(faces=True, keep_side=512, to=("broker", "hook"))
    assert course(here, of_class("cat", 0.4)) == wanted(keep=False, keep_side=1024)
    assert course(here, of_buildings(0.9, 0.9)) == wanted(to=("hook",))
    assert course(here, of_buildings()) == wanted()


def test_who_is_told_must_be_known() -> None:
    with pytest.raises(BadConfig, match="nobody"):
        settings(rules=[{"to": ["nobody"]}])
    with pytest.raises(BadConfig, match="sns_topic"):
        settings(single={"to": ["sns"]})
