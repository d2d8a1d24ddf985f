"""What could be left of a picture's metadata, and what its numbers mean: near misses of structure (S12, case 17)."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.pictures import Pictures, drawn
from PIL import Image

from groundplan.collections import catalog
from groundplan.collections.files import LOG
from groundplan.collections.images.decode import BadImage, decode
from groundplan.collections.images.metadata import strip
from groundplan.collections.images.profiles import plain_profile
from groundplan.project import Project

SECRET = b"SECRET"
MOST = 4_000_000
ROUNDS = int(os.environ.get("PICTURES", "150"))  # mutations; 4,000 for a thorough look
CELLS = np.random.default_rng(3).integers(40, 256, (24, 32, 3), np.uint8)

pytestmark = pytest.mark.bad_input


def saved(kind: str, pixels: np.ndarray = CELLS, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def told(kind: str, **options: Any) -> bytes:
    """A file with the word in its EXIF block."""
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera " * 3
    return saved(kind, exif=exif, **options)


def clear(kind: str, **options: Any) -> bytes:
    pixels = np.dstack([CELLS, np.linspace(0, 255, CELLS.size // 3).reshape(CELLS.shape[:2]).astype(np.uint8)])
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera " * 3
    return saved(kind, pixels, exif=exif, **options)


# --- WebP: a chunk ends where its picture does ------------------------------------------------------------------------


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        found.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + (length & 1)
    return found


def riff(parts: list[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(part)) + part + bytes(len(part) & 1) for kind, part in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def swallowed(data: bytes, *kinds: bytes) -> bytes:
    """The chunk of one of these kinds reaches over all that follows."""
    parts = chunks(data)
    at = next(i for i, (kind, _) in enumerate(parts) if kind in kinds)
    rest = riff(parts[at + 1 :])[12:]
    kind, part = parts[at]
    return riff([*parts[:at], (kind, part + bytes(len(part) & 1) + rest)])


def frames(**options: Any) -> bytes:
    images = [Image.fromarray(np.roll(CELLS, n, 1)) for n in range(3)]
    buffer = io.BytesIO()
    images[0].save(buffer, "WEBP", save_all=True, append_images=images[1:], **options)
    return buffer.getvalue()


def inside_a_frame(data: bytes) -> bytes:
    parts = chunks(data)
    at = next(i for i, (kind, _) in enumerate(parts) if kind == b"ANMF")
    hidden = b"EXIF" + struct.pack("<I", len(SECRET)) + SECRET
    parts[at] = (b"ANMF", parts[at][1] + hidden)
    return riff(parts)


HIDDEN = {
    "VP8 over EXIF": lambda: swallowed(told("WEBP", quality=80), b"VP8 "),
    "VP8L over EXIF": lambda: swallowed(told("WEBP", lossless=True), b"VP8L"),
    "VP8 with alpha over EXIF": lambda: swallowed(clear("WEBP", quality=80), b"VP8 "),
    "a frame over a chunk": lambda: inside_a_frame(frames(quality=80)),
    "alpha over a text": lambda: riff(
        [(kind, part + SECRET * 3 if kind == b"ALPH" else part) for kind, part in chunks(clear("WEBP", quality=80))]
    ),
    "behind a frame's picture": lambda: riff(
        [(kind, lengthened(part) if kind == b"ANMF" else part) for kind, part in chunks(frames(quality=70))]
    ),
    "in a flag's place": lambda: riff(
        [(kind, part[:1] + b"SEC" + part[4:] if kind == b"VP8X" else part) for kind, part in chunks(told("WEBP"))]
    ),
    "a chunk that is not known": lambda: riff([*chunks(told("WEBP")), (b"NOTE", SECRET)]),
    "behind the file": lambda: told("WEBP") + SECRET,
}


def lengthened(frame: bytes) -> bytes:
    kind, length = frame[16:20], int.from_bytes(frame[20:24], "little")
    body = frame[24 : 24 + length] + SECRET * 3
    return frame[:16] + kind + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)


@pytest.mark.parametrize("kind", HIDDEN)
def test_nothing_hides_behind_a_picture_of_webp(kind: str) -> None:
    data = HIDDEN[kind]()
    assert b"SEC" in data
    clean = strip(data)
    assert b"SEC" not in clean
    assert strip(clean) == clean
    np.testing.assert_array_equal(decode(clean, MOST).pixels, decode(data, MOST).pixels)


@pytest.mark.parametrize("quality", [1, 40, 90, "lossless"])
@pytest.mark.parametrize("side", [7, 33, 130])
def test_an_honest_webp_is_kept_byte_by_byte(quality: Any, side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side + 3, 3), np.uint8)
    how: dict[str, Any] = {"lossless": True} if quality == "lossless" else {"quality": quality}
    for given in (pixels, np.dstack([pixels, pixels[:, :, 0]]), pixels * 0 + 200):
        data = saved("WEBP", given, **how)
        assert strip(data) == data


@pytest.mark.parametrize(
    "data",
    [
        lambda: told("WEBP")[:-20],
        lambda: riff([(kind, part) for kind, part in chunks(told("WEBP")) if kind[:3] != b"VP8" or kind == b"VP8X"]),
        lambda: riff([*chunks(saved("WEBP")), *chunks(saved("WEBP"))]),
        lambda: riff([(b"VP8 ", b"no picture at all")]),
        lambda: riff([(b"ALPH", b"\0" * 9), *chunks(saved("WEBP"))]),
    ],
    ids=["cut", "no picture", "two pictures", "not decoded", "alpha without a header"],
)
def test_a_webp_that_cannot_be_followed_is_not_stored(data: Any) -> None:
    with pytest.raises(BadImage, match="its structure cannot be followed"):
        strip(data())


# --- PNG, JPEG, GIF: small parts have the size that their format gives them -------------------------------------------


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes, pixels: np.ndarray = CELLS) -> bytes:
    data = saved("PNG", pixels)
    return data[:33] + png_chunk(kind, body) + data[33:]


SMALL = {"pHYs": 9, "gAMA": 4, "cHRM": 32, "sRGB": 1, "tRNS": 6, "bKGD": 6, "sBIT": 3, "acTL": 8, "fcTL": 26, "cICP": 4}


@pytest.mark.parametrize("kind", SMALL)
def test_a_small_chunk_of_png_is_as_long_as_it_must_be(kind: str) -> None:
    right = with_chunk(kind.encode(), bytes(SMALL[kind]))
    assert strip(right) == right
    for wrong in (SECRET * 9, bytes(SMALL[kind]) + SECRET):
        assert strip(with_chunk(kind.encode(), wrong)) == saved("PNG")
    if kind == "fcTL":
        return  # of an animation there are many
    twice = right[:33] + png_chunk(kind.encode(), bytes(SMALL[kind])) + right[33:]
    assert strip(twice) == right


def test_a_png_ends_at_its_end_and_tells_no_name_of_a_profile() -> None:
    assert strip(saved("PNG") + SECRET) == saved("PNG")
    assert strip(saved("PNG")[:-12] + png_chunk(b"IEND", b"")) == saved("PNG")
    for wrong in (saved("PNG")[:-12], saved("PNG")[:-12] + png_chunk(b"IEND", SECRET), saved("PNG")[:60]):
        with pytest.raises(BadImage):
            strip(wrong)
    named = with_chunk(b"iCCP", b"SECRET monitor\0\0" + zlib.compress(profile()))
    clean = strip(named)
    assert SECRET not in clean
    assert strip(clean) == clean
    with Image.open(io.BytesIO(clean)) as image:
        assert image.info["icc_profile"] == plain_profile(profile())


def profile() -> bytes:
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[made.index(b"sRGB built-in".decode().encode("utf-16-be")) :][:2] = b""
    made[84:90] = SECRET  # its sum's place
    return bytes(made)


def test_nothing_hides_behind_the_packed_pixels_of_a_png() -> None:
    data = saved("PNG")
    at = data.index(b"IDAT") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    pixels = data[at + 8 : at + 8 + length]
    for parts in ([pixels + SECRET], [pixels[:99], pixels[99:] + SECRET, SECRET], [pixels, SECRET]):
        packed = b"".join(png_chunk(b"IDAT", part) for part in parts)
        clean = strip(data[:at] + packed + data[at + 12 + length :])
        assert SECRET not in clean
        assert strip(clean) == clean
        np.testing.assert_array_equal(decode(clean, MOST).pixels, CELLS)


@pytest.mark.parametrize("spoiled", [b"", b"SECRET", bytes(200), b"SECRET" * 50])
def test_a_profile_that_cannot_be_followed_goes(spoiled: bytes) -> None:
    assert plain_profile(spoiled) == b""
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        clean = strip(saved(kind, icc_profile=spoiled or None))
        assert b"SECRET" not in clean
        with Image.open(io.BytesIO(clean)) as image:
            assert not image.info.get("icc_profile")


@pytest.mark.parametrize("marker", [0x01, 0x02, 0xBF, 0xC8, 0xDE, 0xDF, 0xF0, 0xFD])
def test_a_jpeg_keeps_no_marker_that_a_picture_does_not_need(marker: int) -> None:
    data = saved("JPEG")
    odd = data[:2] + b"\xff" + bytes([marker]) + b"\x00\x08" + SECRET + data[2:]
    try:
        assert strip(odd) == strip(data)
    except BadImage:
        assert marker == 0x01, "it stands alone, and has no length"


def test_a_jpegs_tables_are_as_long_as_they_say_and_adobes_marker_tells_colours_only() -> None:
    data = saved("JPEG")
    for marker in (0xDB, 0xC4, 0xC0, 0xDA):
        at = data.index(b"\xff" + bytes([marker]))
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        longer = struct.pack(">H", length + 6) + data[at + 4 : at + 2 + length] + SECRET
        with pytest.raises(BadImage, match="a segment"):
            strip(data[: at + 2] + longer + data[at + 2 + length :])
    ink = cmyk()
    at = ink.index(b"\xff\xee")
    length = int.from_bytes(ink[at + 2 : at + 4], "big")
    longer = ink[: at + 2] + struct.pack(">H", length + 6) + ink[at + 4 : at + 2 + length] + SECRET
    assert strip(longer + ink[at + 2 + length :]) == strip(ink)


def test_a_text_in_a_jpegs_table_of_codes_is_found_by_what_it_says_twice() -> None:
    data = saved("JPEG")
    at = data.index(b"\xff\xc4\x00\xb5") + 4 + 17 + 20
    with pytest.raises(BadImage, match="holds a value twice"):
        strip(data[:at] + b"here I live" + data[at + 11 :])


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_a_picture_that_claims_more_pixels_than_are_coded_anew_is_refused_before_it_is_decoded(kind: str) -> None:
    data = bytearray(saved(kind))
    if kind == "BMP":
        data[18:26] = struct.pack("<ii", 12_000, 12_000)
    else:
        for tag in (256, 257):
            at = data.index(struct.pack("<HHI", tag, 3, 1)) if struct.pack("<HHI", tag, 3, 1) in data else -1
            at = at if at >= 0 else data.index(struct.pack("<HHI", tag, 4, 1))
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 12_000)
    with pytest.raises(BadImage, match="12000 x 12000 pixels are more than are coded anew"):
        strip(bytes(data))


def cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(CELLS).convert("CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_jpegs_arithmetic_tables_hold_numbers_and_no_text() -> None:
    data = saved("JPEG")
    tables = b"\xff\xcc\x00\x06\x00\x10\x11\x05"
    assert strip(data[:2] + tables + data[2:]) == data[:2] + tables + strip(data)[2:]
    with pytest.raises(BadImage, match="a segment cc"):
        strip(data[:2] + b"\xff\xcc\x00\x08" + SECRET + data[2:])


def test_a_gifs_image_that_has_no_codes_is_no_place_for_a_text() -> None:
    data = saved("GIF")
    at = 13 + (3 << ((data[10] & 7) + 1))
    words = b"\x2c" + bytes(9) + b"\xfe" + bytes([len(SECRET)]) + SECRET + b"\0"
    with pytest.raises(BadImage, match="codes of 254 bits"):
        strip(data[:at] + words + data[at:])


def test_a_gifs_loop_says_a_number_and_nothing_else() -> None:
    buffer = io.BytesIO()
    images = [Image.fromarray(np.roll(CELLS, n, 1)) for n in range(2)]
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], loop=0)
    data = buffer.getvalue()
    at = data.index(b"NETSCAPE2.0") + 11
    clean = strip(data[: at + 4] + bytes([len(SECRET)]) + SECRET + data[at + 4 :])
    assert SECRET not in clean
    assert strip(clean) == clean
    assert strip(data) == data


def test_mutations_leave_no_marker_and_stripping_twice_changes_nothing(tmp_path: Path) -> None:
    """The fuzz's own pictures and judgement, a few here; `PICTURES=4000` for all that were tried."""
    field = Pictures(tmp_path)
    random = np.random.default_rng(7)
    outcomes = [field.attempt(field.draw(random), tmp_path) for _ in range(ROUNDS)]
    assert len(set(outcomes)) == 2, "some are read and some are refused"
    assert drawn()


# --- what numbers mean ------------------------------------------------------------------------------------------------

RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)  # 0 to 4095: 12 bits in 16


def png_of_bits(values: np.ndarray, bits: int) -> bytes:
    data = saved("PNG", values)
    return data[:33] + png_chunk(b"sBIT", bytes([bits])) + data[33:]


@pytest.mark.parametrize("stripped", [True, False])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BigTIFF"])
def test_twelve_bits_in_sixteen_are_read_as_the_file_says(kind: str, stripped: bool) -> None:
    data = {
        "PNG": lambda: png_of_bits(RAMP, 12),
        "TIFF": lambda: saved("TIFF", RAMP, tiffinfo={281: 4095}),
        "BigTIFF": lambda: saved("TIFF", RAMP, tiffinfo={281: 4095}, big_tiff=True),
    }[kind]()
    picture = decode(strip(data) if stripped else data, MOST)
    np.testing.assert_array_equal(picture.pixels[:, :, 0], RAMP >> 4)
    assert picture.note == "of 12 bits the upper 8 are used"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_twelve_bits_in_sixteen_that_nobody_states_are_said_to_be_nearly_black(kind: str) -> None:
    picture = decode(strip(saved(kind, RAMP)), MOST)
    assert picture.pixels.max() == 15
    assert "it is nearly black: no value is above 15 of 255" in picture.note
    assert "scale its values up" in picture.note


def test_values_that_were_scaled_up_are_not_scaled_again() -> None:
    scaled = (RAMP << 4) | (RAMP >> 8)  # as PNG asks writers to do, who say in sBIT what it was
    picture = decode(png_of_bits(scaled, 12), MOST)
    np.testing.assert_array_equal(picture.pixels[:, :, 0], scaled >> 8)
    assert picture.note == "of 16 bits the upper 8 are used"
    dark = decode(saved("PNG", CELLS // 16), MOST)
    assert dark.note == "it is nearly black: no value is above 15 of 255"
    assert decode(saved("PNG"), MOST).note == ""


def test_a_bigtiff_is_an_image_as_any_other() -> None:
    data = saved("TIFF", CELLS, big_tiff=True)
    assert data[:4] == b"II+\0"
    clean = strip(data)
    assert clean == strip(saved("TIFF", CELLS)), "written anew as what it shows"
    np.testing.assert_array_equal(decode(clean, MOST).pixels, CELLS)
    np.testing.assert_array_equal(decode(data, MOST).pixels, CELLS)
    with pytest.raises(BadImage, match=r"structure|beginning is one of an image") as caught:
        strip(data[:40])
    assert "it is no JPEG" not in str(caught.value)


def test_a_tiff_of_luminance_and_chrominance_is_stripped_once() -> None:
    buffer = io.BytesIO()
    Image.fromarray(CELLS).convert("YCbCr").save(buffer, "TIFF")
    data = bytearray(buffer.getvalue())
    assert Image.open(io.BytesIO(data)).mode == "YCbCr"
    once = strip(bytes(data))
    assert strip(once) == once
    assert np.abs(decode(once, MOST).pixels.astype(int) - CELLS).max() <= 3, "its colours"


def test_the_word_on_several_pages_survives(project: Project, tmp_path: Path) -> None:
    pages = [Image.fromarray(np.roll(CELLS, n, 1)) for n in range(3)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    clean = strip(buffer.getvalue())
    assert decode(buffer.getvalue(), MOST).note == decode(clean, MOST).note == "of 3 pages the first is used"
    assert strip(clean) == clean
    np.testing.assert_array_equal(decode(clean, MOST).pixels, CELLS)


# --- forgetting: the same picture under another name ------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, make_project: Any) -> Project:
    made: Project = make_project(tmp_path / "home", collections={"features": "orb", "size": 64, "words": 4, "shard": 4})
    return made


def test_copies_under_other_names_are_found_in_all_collections(project: Project) -> None:
    from groundplan.collections.forget import copies_of, forget

    one, other = saved("PNG"), saved("PNG", np.roll(CELLS, 3, 0))
    for key, data in {
        "f/Apple/0.png": one,
        "f/Apple/1.png": other,
        "f/Avocado/copy_of_person.png": one,
        "g/x/deep/same.png": one,
        "g/x/of one size.png": one[:-20] + b"\1" * 20,
    }.items():
        project.store.put(f"collections/{key}", data)
    named = "collections/f/Apple/0.png"
    same = ["collections/f/Avocado/copy_of_person.png", "collections/g/x/deep/same.png"]
    assert copies_of(project, [named]) == same
    assert copies_of(project, [named, same[0]]) == same[1:]
    done = forget(project, [named, *same])
    assert done.images == 3
    assert copies_of(project, ["collections/f/Apple/1.png"]) == []
    assert {item.key for item in project.store.list("collections")} == {
        "collections/f/Apple/1.png",
        "collections/g/x/of one size.png",
    }
    assert project.store.list(LOG)


def test_the_command_lists_copies_and_takes_them_when_told(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestration.cli.forget import forget

    for label, name in (("Apple", "0.png"), ("Avocado", "copy_of_person.png")):
        (tmp_path / "in" / label).mkdir(parents=True)
        (tmp_path / "in" / label / name).write_bytes(saved("PNG"))
    catalog.ingest(project, tmp_path / "in", "f")
    copy = "collections/f/Avocado/copy_of_person.png"
    forget(["Apple/0.png"], "f", False, False, False, project.home)
    assert f"{copy}: the same bytes; it stays unless you add --copies" in capsys.readouterr().out
    assert project.store.exists(copy)
    forget(["Apple/0.png"], "f", False, True, True, project.home)
    assert f"{copy}: the same bytes\n" in capsys.readouterr().out
    assert not project.store.exists(copy)
    assert not project.store.exists("collections/f/Apple/0.png")


def test_what_an_earlier_version_forgot_with_its_profile_stays_forgotten(project: Project, tmp_path: Path) -> None:
    from groundplan.collections.forget import forget

    given = saved("PNG", icc_profile=profile())
    project.store.put("collections/f/Apple/0.png", strip(given, profiles=None))  # as it was stored
    forget(project, ["collections/f/Apple/0.png"])
    (tmp_path / "in" / "Apple").mkdir(parents=True)
    (tmp_path / "in" / "Apple" / "0.png").write_bytes(given)
    done = catalog.ingest(project, tmp_path / "in", "f")
    assert [item.state for item in done.refused["Apple"]] == ["forgotten"]
