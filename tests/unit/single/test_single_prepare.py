"""Bounds on single images, and where they lie."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from groundplan.collections.images.decode import BadImage
from groundplan.single.georeference import Georeference, of_box, of_world_file
from groundplan.single.prepare import ImageLimits, prepare


def coded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


def geotiff(pixels: np.ndarray) -> bytes:
    told = {"crs": "EPSG:28992", "transform": from_origin(84000, 447000, 0.25, 0.25)}
    with MemoryFile() as file:
        with file.open(driver="GTiff", width=50, height=30, count=3, dtype="uint8", **told) as target:
            target.write(pixels.transpose(2, 0, 1))
            target.build_overviews([2])
        return bytes(file.read())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("limits", "state", "reason"),
    [
        (ImageLimits(bytes=100), "too large", "bytes"),
        (ImageLimits(pixels=1499), "too large", "50 x 30 pixels"),
        (ImageLimits(formats=("JPEG",)), "unsupported", "PNG"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_undecoded(
    noise: np.ndarray, limits: ImageLimits, state: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundplan.single.prepare.decode", lambda *_: pytest.fail("a pixel was decoded"))
    with pytest.raises(BadImage, match=reason) as found:
        prepare(coded(noise), limits)
    assert found.value.state == state


@pytest.mark.bad_input
def test_more_frames_scans_or_time_than_allowed_are_refused(noise: np.ndarray) -> None:
    frames = [Image.fromarray(np.roll(noise, shift, 0)) for shift in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(BadImage, match="frames"):
        prepare(buffer.getvalue())
    with pytest.raises(BadImage, match="scans"):
        prepare(coded(noise, "JPEG") + b"\xff\xda" * 200)
    moments = iter([0.0, 30.0, 31.0])
    with pytest.raises(BadImage, match=r"30\.0 s"):
        prepare(coded(noise), clock=lambda: next(moments))


def test_overviews_of_a_geotiff_are_no_frames_and_its_tags_say_where_it_lies(noise: np.ndarray) -> None:
    found = prepare(geotiff(noise))
    assert (found.pixels == noise).all()
    assert found.place == Georeference("EPSG:28992", (0.25, 0.0, 84000.0, 0.0, -0.25, 447000.0))


def test_orientation_camera_and_moment_are_taken_from_exif(noise: np.ndarray) -> None:
    image = Image.fromarray(noise)
    exif = image.getexif()
    exif[0x0112], exif[271], exif[272], exif[306] = 6, "Acme", "Acme Z1\x07", "2024:06:01 10:00:00"
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    found = prepare(buffer.getvalue(), place=of_box((0, 0, 30, 50), "EPSG:28992", 30, 50))
    assert found.pixels.shape == (50, 30, 3)
    assert (found.pixels == np.rot90(noise, -1)).all()
    assert (found.width, found.height) == (50, 30)
    assert (found.camera, found.taken) == ("Acme Z1", "2024-06-01T10:00:00")


def test_what_is_reduced_or_cropped_still_lies_where_it_lay(noise: np.ndarray) -> None:
    place = of_box((84000, 447000, 84050, 447030), "EPSG:28992", 50, 30)
    reduced = prepare(coded(noise), ImageLimits(side=25), place)
    assert reduced.pixels.shape == (15, 25, 3)
    assert reduced.place is not None
    assert np.allclose(reduced.place.apply(np.array([[25.0, 15.0]])), [[84050, 447000]])
    cropped = prepare(coded(noise), ImageLimits(crop=True), place)
    assert (cropped.pixels == noise[:, 10:40]).all()
    assert cropped.place is not None
    assert np.allclose(cropped.place.apply(np.array([[0.0, 0.0]])), [[84010, 447030]])


def test_a_world_file_means_the_middle_of_the_first_pixel() -> None:
    found = of_world_file("0.5\n0\n0\n-0.5\n100.25\n199.75\n", "EPSG:28992")
    assert found.affine == (0.5, 0.0, 100.0, 0.0, -0.5, 200.0)


def test_pixels_have_the_size_that_they_have_on_the_ground() -> None:
    mercator = of_box((485000, 6800000, 485100, 6800100), "EPSG:3857", 100, 100).metres(100, 100)
    assert mercator == pytest.approx((0.616, 0.616), abs=0.005)  # cos(52 degrees)
    degrees = of_box((4.35, 52.0, 4.351, 52.001), "EPSG:4326", 100, 100).metres(100, 100)
    assert degrees == pytest.approx((0.686, 1.113), abs=0.005)
