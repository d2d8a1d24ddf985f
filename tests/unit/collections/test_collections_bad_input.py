"""Images that cannot be used as they are: each becomes a row that says why, and the rest goes on."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_images import cataloged, jpeg, picture
from PIL import Image
from rich.console import Console

from groundplan.collections import catalog
from groundplan.collections.files import links
from groundplan.collections.images.decode import BadImage, decode
from groundplan.collections.images.metadata import strip
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import ClassPartition
from groundplan.errors import BadConfig, StoreFailed
from groundplan.project import Project
from orchestration.cli.collections import CollectionChoice, add_collection, build_collection

pytestmark = pytest.mark.bad_input
MOST = 64_000_000


@pytest.fixture
def project(tmp_path: Path, make_project) -> Project:  # type: ignore[no-untyped-def]
    return make_project(tmp_path / "home")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def odd_files() -> dict[str, tuple[bytes, str, str]]:
    """File name to its bytes, its state in the catalogue, and a word of the reason."""
    image = picture(1, 64)
    deep = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16)
    turns = [image.rotate(90 * n) for n in range(3)]
    return {
        "plain.jpg": (jpeg(image), "ok", ""),
        "text.jpg": (b"A shopping list:\nlemons\n", "no image", "text"),
        "zip.jpg": (b"PK\x03\x04" + bytes(range(200)), "no image", "no JPEG"),
        "empty.jpg": (b"", "no image", "empty"),
        "truncated.jpg": (jpeg(image, quality=95)[:1500], "unreadable", "truncated"),
        "truncated.png": (saved(picture(2, 64), "PNG")[:3000], "unreadable", "decoded"),
        "sixteen.png": (saved(deep, "PNG"), "ok", "16 bits"),
        "sixteen.tif": (saved(deep, "TIFF"), "ok", "16 bits"),
        "float.tif": (saved(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "unsupported", "kind"),
        "cmyk.jpg": (jpeg(picture(3).convert("CMYK")), "ok", "CMYK"),
        "turning.gif": (saved(turns[0], "GIF", save_all=True, append_images=turns[1:]), "ok", "3 frames"),
        "lucent.png": (saved(picture(4).convert("RGBA"), "PNG"), "ok", ""),
        "Süßer Apfel (1) à côté.jpg": (jpeg(picture(5)), "ok", ""),
        "wide.jpg": (jpeg(picture(6).resize((50_000, 40))), "ok", ""),
        "one pixel.png": (saved(Image.new("RGB", (1, 1)), "PNG"), "ok", ""),
        "bomb.png": (bomb(60_000, 60_000), "too large", "pixels"),
    }


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is large, and is not."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def laid(project: Project, label: str, files: dict[str, tuple[bytes, str, str]], ingest: bool, folder: Path) -> None:
    """Files of a class, brought in by `ingest` or put into the store by somebody else."""
    if not ingest:
        for name, (data, _, _) in files.items():
            project.store.put(f"collections/odd/{label}/{name}", data)
        return
    (folder / label).mkdir(parents=True)
    for name, (data, _, _) in files.items():
        (folder / label / name).write_bytes(data)
    catalog.ingest(project, folder, "odd")


@pytest.mark.parametrize("ingest", [True, False], ids=["added", "already there"])
def test_every_odd_file_is_a_row_that_says_why(project: Project, tmp_path: Path, ingest: bool) -> None:
    files = odd_files()
    laid(project, "Odd things", files, ingest, tmp_path / "in")
    cataloged(project, "odd")
    frame = catalog.load(project, ClassPartition("odd", "Odd things"))
    rows = {key.rsplit("/", 1)[-1]: row for key, row in frame.set_index("key").iterrows()}
    assert set(rows) == set(files)
    for name, (_, state, word) in files.items():
        assert rows[name]["state"] == state, (name, rows[name]["reason"])
        assert word in rows[name]["reason"], name
        assert bool(rows[name]["remedy"]) >= (state != "ok"), name
        assert bool(rows[name]["split"]) == (state == "ok"), name
    assert (rows["wide.jpg"]["width"], rows["wide.jpg"]["height"]) == (50_000, 40)
    facts = need_manifest(project.store, catalog.DATASET, ClassPartition("odd", "Odd things")).objects["catalog"].facts
    assert facts["states"]["ok"] == sum(state == "ok" for _, state, _ in files.values())
    assert {row["file"] for row in facts["told"]} >= {"text.jpg", "truncated.jpg", "cmyk.jpg"}


def test_a_file_that_cannot_be_stripped_is_not_stored(project: Project, tmp_path: Path) -> None:
    broken = jpeg(picture(1))[:30] + b"\x00garbage in place of a marker"
    laid(project, "c", {"broken.jpg": (broken, "", ""), "good.jpg": (jpeg(picture(2)), "", "")}, True, tmp_path / "in")
    assert not project.store.exists("collections/odd/c/broken.jpg")
    cataloged(project, "odd")
    rows = catalog.load(project, ClassPartition("odd", "c")).set_index("key")
    assert rows.loc["collections/odd/c/broken.jpg", "state"] == "unreadable"
    (tmp_path / "in" / "c" / "broken.jpg").write_bytes(jpeg(picture(3)))
    catalog.ingest(project, tmp_path / "in", "odd")
    cataloged(project, "odd")
    assert set(catalog.load(project, ClassPartition("odd", "c"))["state"]) == {"ok"}


def test_an_empty_class_is_catalogued_and_says_so(project: Project, tmp_path: Path) -> None:
    (tmp_path / "in" / "leer").mkdir(parents=True)
    catalog.ingest(project, tmp_path / "in", "odd")
    (report,) = cataloged(project, "odd").values()
    facts = report.manifest.objects["catalog"].facts
    assert (facts["files"], facts["notes"]) == (0, ["the class is empty"])
    assert len(catalog.load(project, ClassPartition("odd", "leer"))) == 0


def test_one_image_only_is_learned_from_and_says_so(project: Project, tmp_path: Path) -> None:
    laid(project, "alone", {"a.jpg": (jpeg(picture(1)), "", "")}, True, tmp_path / "in")
    (report,) = cataloged(project, "odd").values()
    facts = report.manifest.objects["catalog"].facts
    assert facts["splits"] == {"train": 1}
    assert "one image only" in facts["notes"][0]


def test_two_classes_with_one_name_in_other_case_are_two(project: Project) -> None:
    for number, label in enumerate(("Lemon", "lemon", "LEMON ")):
        project.store.put(f"collections/odd/{label}/a.jpg", jpeg(picture(number)))
    reports = cataloged(project, "odd")
    keys = {report.manifest.objects["catalog"].key.lower() for report in reports.values()}
    assert len(keys) == 3
    assert "'lemon'" in reports["Lemon"].manifest.objects["catalog"].facts["notes"][-1]
    assert (
        reports["LEMON "].manifest.objects["catalog"].facts["notes"]
        == reports["LEMON "].manifest.objects["catalog"].facts["notes"][:1]
    )


def test_too_many_pixels_of_a_jpeg_are_read_reduced_or_refused() -> None:
    image = picture(1, 640)
    plain, progressive = jpeg(image), jpeg(image, progressive=True)
    assert decode(plain, 640 * 640).pixels.shape == (640, 640, 3)
    reduced = decode(plain, 640 * 640 - 1)
    assert (reduced.width, reduced.pixels.shape, reduced.note) == (640, (80, 80, 3), "read at 1/8 of its size")
    for data, most in ((progressive, 640 * 640 - 1), (plain, 80 * 80 - 1)):
        with pytest.raises(BadImage, match="max_pixels") as caught:
            decode(data, most)
        assert caught.value.state == "too large"


def test_a_file_with_too_many_bytes_is_not_even_read(
    tmp_path: Path,
    make_project,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    project = make_project(tmp_path / "h", collections={"max_bytes": 2000})
    big = jpeg(picture(1, 200), quality=100)
    files = {"big.jpg": (big, "", ""), "small.jpg": (jpeg(picture(2, 16)), "", "")}
    assert len(big) > 2000
    laid(project, "there", files, False, tmp_path)
    laid(project, "added", files, True, tmp_path / "in")
    cataloged(project, "odd")
    assert not project.store.exists("collections/odd/added/big.jpg")
    for label in ("there", "added"):
        states = catalog.load(project, ClassPartition("odd", label))["state"]
        assert list(states) == ["too large", "ok"]


def test_orientation_sixteen_bits_and_transparency_come_out_right() -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    turned = decode(jpeg(Image.fromarray(pixels), exif=exif, quality=100, subsampling=0), MOST)
    assert turned.pixels.shape == (16, 8, 3)
    assert turned.pixels[0, 4, 0] > 200 > 50 > turned.pixels[15, 4, 0]
    deep = np.array([[0, 255, 256, 65535]], np.uint16)
    assert decode(saved(Image.fromarray(deep), "PNG"), MOST).pixels[0, :, 0].tolist() == [0, 0, 1, 255]
    lucent = decode(saved(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG"), MOST)
    assert (lucent.pixels == 255).all()


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_any_cut_or_flipped_byte_is_an_image_or_a_reason() -> None:
    rng = np.random.default_rng(5)
    kinds = {"JPEG": {}, "PNG": {}, "WEBP": {}, "GIF": {}, "TIFF": {}, "BMP": {}}
    for kind in kinds:
        data = saved(picture(3, 24), kind)
        for _ in range(60):
            broken = bytearray(data[: rng.integers(1, len(data) + 1)])
            broken[rng.integers(0, len(broken))] ^= int(rng.integers(1, 256))
            for use in (strip, lambda d: decode(d, 1_000_000)):
                with suppress(BadImage):  # any other error fails the test
                    use(bytes(broken))


def test_an_image_that_changes_while_it_is_read_is_not_believed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.store.put("collections/odd/c/a.jpg", jpeg(picture(1)))
    part = ClassPartition("odd", "c")
    (planned,) = catalog.plan(project, part)
    project.store.put("collections/odd/c/a.jpg", jpeg(picture(2)))
    with pytest.raises(StoreFailed, match="changed after it was catalogued"):
        catalog.make(project, planned, lambda: None)  # type: ignore[arg-type]


def test_a_folder_without_classes_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.jpg").write_bytes(jpeg(picture(1)))
    with pytest.raises(BadConfig, match="no class folder"):
        catalog.ingest(project, tmp_path / "flat", "odd")
    with pytest.raises(BadConfig, match="no such folder"):
        catalog.ingest(project, tmp_path / "nowhere", "odd")
    shutil.rmtree(tmp_path / "flat")


def test_a_name_that_is_no_text_is_refused_and_the_rest_comes_in(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "c"
    folder.mkdir(parents=True)
    (folder / "good.jpg").write_bytes(jpeg(picture(1)))
    try:
        with open(bytes(folder) + b"/\xff\xfe.jpg", "wb") as file:
            file.write(jpeg(picture(2)))
    except OSError:
        pytest.skip("this file system has no such names")
    (folder / ("l" * 210 + ".jpg")).write_bytes(jpeg(picture(3)))
    (folder / "line\nbreak.jpg").write_bytes(jpeg(picture(4)))
    done = catalog.ingest(project, tmp_path / "in", "odd")
    assert (done.copied, [item.state for item in done.refused["c"]]) == (1, ["bad name"] * 3)
    cataloged(project, "odd")
    assert sorted(catalog.load(project, ClassPartition("odd", "c"))["state"]) == ["bad name"] * 3 + ["ok"]


# --- links ------------------------------------------------------------------------------------------------------------


def linked(project: Project, folder: Path) -> list[str]:
    """A collection with links in its folder of the store and in its folder as given; the former's keys."""
    laid(project, "c", {"good.jpg": (jpeg(picture(2)), "", "")}, True, folder)
    room = project.home / "store/collections/odd"
    (room / "c" / "loop.jpg").symlink_to("loop.jpg")
    (room / "c" / "passwd.jpg").symlink_to("/etc/passwd")
    (room / "other").symlink_to(room / "c")
    (folder / "c" / "more").symlink_to(folder / "c")
    return [f"collections/odd/{name}" for name in ("c/loop.jpg", "c/passwd.jpg", "other")]


def test_links_in_a_collections_folder_are_named_and_not_followed(project: Project, tmp_path: Path) -> None:
    keys = linked(project, tmp_path / "in")
    assert links(project) == links(project, "odd") == keys
    assert links(project, "od") == []
    cataloged(project, "odd")
    assert list(catalog.load(project, ClassPartition("odd", "c"))["key"]) == ["collections/odd/c/good.jpg"]
    given = tmp_path / "in" / "c" / "more"
    assert catalog.ingest(project, tmp_path / "in", "odd").linked == [str(given), *keys]


def test_the_commands_name_links(project: Project, tmp_path: Path) -> None:
    keys = linked(project, tmp_path / "in")
    said = io.StringIO()
    add_collection(project, tmp_path / "in", "odd", Console(file=said, width=500))
    for key in (*keys, str(tmp_path / "in" / "c" / "more")):
        assert f"left alone {key}: it is a link or no file, and none is followed" in said.getvalue()
    said = io.StringIO()
    build_collection(project, CollectionChoice("odd", ["image_catalog"]), False, Console(file=said, width=500))
    assert f"left alone {keys[0]}: it is a link or no file, and none is followed" in said.getvalue()
