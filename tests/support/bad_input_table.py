"""What a person may deliver wrongly, what happens then and what is said: the table behind docs/bad-input.md.

Here: a row for each kind, with the tests that show it; `python tests/support/bad_input_table.py` writes the page. Not
here: the tests. tests/unit/test_bad_input_table.py holds that the page is current, that the tests are there, and that
what is said is what the program says.
"""
# ruff: noqa: E501  a table reads best with a cell a line

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bad-input.md"
HEAD = ROOT / "tests" / "support" / "bad_input_head.md"
LONG = "test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on"


class Row(NamedTuple):
    """A kind of bad input. said: shortened, '' where nothing need be said; tests: file, function and case."""

    section: str
    kind: str
    outcome: str
    said: str
    tests: tuple[str, ...]


def page() -> str:
    """The page: how to read it, then a table for each section."""
    order = list(dict.fromkeys(row.section for row in ROWS))
    rows = sorted(ROWS, key=lambda row: order.index(row.section))
    parts = [HEAD.read_text("utf-8").rstrip()]
    for section, group in groupby(rows, lambda row: row.section):
        lines = ["| input | what happens | what is said | test |", "|---|---|---|---|"]
        lines += [_line(row) for row in group]
        parts.append(f"## {section}\n\n" + "\n".join(lines))
    parts.append(
        "A full disk and a store that throttles, resets or answers 5xx are in `tests/unit/core/test_store_faults.py`; "
        "kills are in `tests/processes/test_resume.py`."
    )
    return "\n\n".join(parts) + "\n"


def _line(row: Row) -> str:
    tests = ", ".join(
        f"`{test.rsplit('/', 1)[-1].replace(f'test_bad_input.py::{LONG}', 'sheets')}`" for test in row.tests
    )
    cells = (cell.replace("|", "\\|") for cell in (row.kind, row.outcome, row.said, tests))
    return f"| {' | '.join(cells)} |"


ROWS = (
    Row(
        "Sheets",
        "zero bytes *",
        "set aside",
        "it is empty (0 bytes). Deliver it again; the transfer was cut",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[zero bytes]",),
    ),
    Row(
        "Sheets",
        "text named `.tif`, a web page named `.jp2`, a VRT named `.tif`",
        "set aside; a file is what it begins with, and a VRT is never read",
        "it is no image (it begins with b'Dear cus'). Deliver GeoTIFF, COG, JP2, PNG or JPEG",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[text as tif]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[web page as jp2]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[vrt as tif]",
        ),
    ),
    Row(
        "Sheets",
        "a PNG named `.tif` or `.jpg`",
        "works",
        "",
        ("tests/unit/test_bad_input.py::test_a_png_by_another_name_is_read_as_what_it_is",),
    ),
    Row(
        "Sheets",
        "a TIFF of 8 bytes",
        "set aside",
        "its pixels cannot be decoded (...). Deliver ... again",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[only a signature]",
        ),
    ),
    Row(
        "Sheets",
        "TIFF or COG cut short, tiled *, striped, or in its last band only",
        "set aside without decoding",
        "it is cut short: pixels should lie beyond its 16,853 bytes. Deliver it again",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[half a tiled tiff]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[half a striped tiff]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[last band cut]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[half a cog]",
        ),
    ),
    Row(
        "Sheets",
        "JPEG cut short *",
        "set aside (decoders fill the rest with grey)",
        "it is cut short: no end of image in its 5,120 bytes",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[half a jpeg]",),
    ),
    Row(
        "Sheets",
        "PNG or JP2 cut short *",
        "set aside",
        "its pixels cannot be decoded (...)",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[half a png]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[half a jp2]",
        ),
    ),
    Row(
        "Sheets",
        "a tile in the middle is spoiled",
        "found when blocks are cut: they are made without that sheet there, tagged, and `tiles_complete` fails",
        "1 blocks lack ground of sheets whose pixels cannot be decoded: a.tif (on x01y00). Deliver them again; only those blocks are made anew",
        ("tests/unit/imagery/test_tiles.py::test_a_sheet_with_a_spoiled_tile_is_named_and_the_other_sheets_go_on",),
    ),
    Row(
        "Sheets",
        "16 bits without scaling",
        "set aside",
        "it has 16 bits and no scaling is stated. Set imagery.uint16_range = [low, high] or deliver 8 bits",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[16 bits]",),
    ),
    Row(
        "Sheets",
        "float32, int16",
        "set aside",
        "its pixels are float32. Deliver uint8, or uint16 with uint16_range",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[float32]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[int16]",
        ),
    ),
    Row(
        "Sheets",
        "a palette",
        "set aside",
        "its colours are numbers of a palette. Write it again as RGB: `gdal_translate -expand rgb`",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[palette]",),
    ),
    Row(
        "Sheets",
        "fewer bits than the file's type holds (12 in 16)",
        "read where imagery.uint16_range fits them, else set aside; 1 to 7 bits in 8 are spread to 255",
        "it has 12 bits in 16 and no scaling is stated. Set imagery.uint16_range = [low, 4095]",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[12 bits in 16]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[12 bits, the setting says 16]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[12 bits of a jp2]",
            "tests/unit/imagery/test_pixels.py::test_fewer_bits_than_a_byte_reach_white",
        ),
    ),
    Row(
        "Sheets",
        "a scale or an offset of its values",
        "set aside",
        "its values are to be read times 0.5 plus 1. Write it again with values as they are meant (`gdal_translate -unscale -ot Byte`)",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[a scale]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[an offset of one band]",
        ),
    ),
    Row(
        "Sheets",
        "bands that say blue, green, red (by colour interpretation or description)",
        "with `imagery.bands` as it comes, read by what they say; else by position, and `sheets_plausible` names sheets that differ",
        "the bands of imagery.bands are not the same colours in all sheets (rgb.tif: blue, green, red; bgr.tif: red, green, blue). Deliver them alike",
        (
            "tests/unit/imagery/test_pixels.py::test_bands_are_what_the_file_calls_them",
            "tests/unit/imagery/test_pixels.py::test_a_set_order_of_bands_is_kept_and_sheets_that_differ_are_named",
        ),
    ),
    Row(
        "Sheets",
        "bands that say something else (infrared, red, green; hue; one colour only), or two things at once",
        "set aside",
        "its bands are nir, red, green, and red, green and blue are wanted. Set imagery.bands",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[infrared, red, green]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[one band of three]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[two stories of the bands]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[hue and lightness]",
        ),
    ),
    Row(
        "Sheets",
        "other colours: L*a*b*, raw values of a camera, white is zero in several bands",
        "set aside; CMYK, YCbCr and one band of which white is zero are read as RGB",
        "its colours are CIE L*a*b*. Write it again as RGB",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[L*a*b*]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[ICC L*a*b*]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[a camera's raw values]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[white is zero in three bands]",
        ),
    ),
    Row(
        "Sheets",
        "an orientation other than its first row on top",
        "set aside: nobody says which of the two counts, it or the position",
        "it says that its first row is not the upper one (orientation 3)",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[on its head]",),
    ),
    Row(
        "Sheets",
        "infrared that is flagged as alpha: hardly any of it is opaque",
        "set aside",
        "its band 4 is flagged as alpha, but hardly any of it is opaque: it may be infrared. Flag it as what it is (`gdal_edit.py -colorinterp_4 undefined`), or deliver a mask",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[infrared flagged as alpha]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[an alpha of 90]",
        ),
    ),
    Row(
        "Sheets",
        "two bands flagged as alpha; colours multiplied by an alpha that is half transparent",
        "set aside",
        "its bands 4, 5 are all flagged as alpha",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[two masks]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[multiplied by half an alpha]",
        ),
    ),
    Row(
        "Sheets",
        "half-transparent ground",
        "shown from half opaque (128 of 255)",
        "",
        ("tests/unit/imagery/test_pixels.py::test_half_transparent_ground_is_shown_from_half_opaque",),
    ),
    Row(
        "Sheets",
        "flat corners that the file does not call nodata; nodata blurred by a lossy packing",
        "laid below what other sheets show; `sheets_plausible` warns",
        "corners of it are of one flat colour, 0/0/0, and it does not say that this is no imagery. If it is none, set imagery.nodata = [0]",
        (
            "tests/unit/imagery/test_pixels.py::test_flat_corners_lie_below_what_neighbours_show_and_are_named",
            "tests/unit/imagery/test_pixels.py::test_nodata_that_a_lossy_packing_blurred",
        ),
    ),
    Row(
        "Sheets",
        "little but one colour",
        "used; `sheets_plausible` warns",
        "98% of it is of one colour. Look whether it is what was flown",
        ("tests/unit/imagery/test_pixels.py::test_a_sheet_of_one_colour_is_used_and_named",),
    ),
    Row(
        "Sheets",
        "too few bands",
        "set aside",
        "it has 2 bands and band 3 is wanted. Deliver all bands or change imagery.bands",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[two bands]",),
    ),
    Row(
        "Sheets",
        "all nodata, all transparent, all masked *",
        "set aside",
        "it holds no imagery: all of it is nodata",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[all nodata]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[all transparent]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[all masked]",
        ),
    ),
    Row(
        "Sheets",
        "no imagery on one block (a flight's collar)",
        "the block is made and masked out",
        "",
        ("tests/unit/imagery/test_tiles.py::test_a_block_on_which_its_sheets_show_nothing_is_masked_as_a_whole",),
    ),
    Row(
        "Sheets",
        "no CRS",
        "set aside",
        "it states no CRS. Deliver it with one, or set imagery.assume_crs",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[no CRS]",),
    ),
    Row(
        "Sheets",
        "no geotransform; one with NaN or infinity",
        "set aside",
        "it states no position (no geotransform). Deliver it georeferenced or with a world file",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[no position]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[pixels of nan]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[endless origin]",
        ),
    ),
    Row(
        "Sheets",
        "a world file that holds no numbers",
        "set aside",
        "its world file bad.pgw does not hold six numbers",
        ("tests/unit/test_bad_input.py::test_a_world_file_that_says_nothing_is_named",),
    ),
    Row(
        "Sheets",
        "CRS of another country or zone",
        "set aside",
        "it lies outside the area where EPSG:28992 is used (its CRS is EPSG:32645). Check its CRS and georeferencing, or the project's CRS",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[CRS of another country]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[CRS of the next zone]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[just outside of the area of use]",
        ),
    ),
    Row(
        "Sheets",
        "far from the region's other sheets (no regions file)",
        "set aside",
        "it lies more than 100 km from the region's other sheets",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[150 km away]",),
    ),
    Row(
        "Sheets",
        "another datum, whose shift lacks its grid",
        "used; `sheets_usable` warns, `add-imagery` says it",
        "the datum shift from EPSG:25831 to EPSG:27700 lacks its grid uk_os_OSTN15_NTv2_OSGBtoETRS.tif: positions may be off by about 2 m, or 1 m with it. To mend it fetch ...",
        ("tests/unit/imagery/test_position.py::test_sheets_whose_datum_shift_lacks_its_grid_are_named_and_go_on",),
    ),
    Row(
        "Sheets",
        "a CRS that states its own shift (TOWGS84)",
        "works: that shift is kept",
        "",
        ("tests/unit/imagery/test_position.py::test_the_shift_that_a_file_states_for_itself_is_kept",),
    ),
    Row(
        "Sheets",
        "a sheet across the 180th meridian",
        "works: its item is cut there, its box has west > east",
        "",
        ("tests/unit/imagery/test_position.py::test_a_sheet_across_the_180th_meridian",),
    ),
    Row(
        "Sheets",
        "a date that nobody states, or only when the file was written",
        "works: the day is null",
        "",
        ("tests/unit/imagery/test_position.py::test_no_date_is_invented",),
    ),
    Row(
        "Sheets",
        "outside the region's polygon",
        "set aside",
        "it lies outside the region's polygon by 5.9 km (its CRS is ...)",
        ("tests/unit/test_bad_input.py::test_a_sheet_outside_the_regions_polygon_is_set_aside",),
    ),
    Row(
        "Sheets",
        "turned geotransform, south up",
        "works: it is warped",
        "",
        ("tests/unit/imagery/test_tiles.py::test_any_other_sheet_is_warped_as_gdal_does",),
    ),
    Row(
        "Sheets",
        "pixels of no size, of 1000 km, long and thin, or a line",
        "set aside",
        "its pixels measure 1e+06 x 1e+06 m, far from the grid's 0.3 m. Check its geotransform and CRS",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[pixels of no size]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[pixels of 1000 km]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[long thin pixels]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[lines as a pixel]",
        ),
    ),
    Row(
        "Sheets",
        "control points only; a camera's coefficients (RPC) only",
        "set aside",
        "it has control points only (4), and no geotransform. Warp it by them and deliver the result",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[control points only]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[a camera's coefficients only]",
        ),
    ),
    Row(
        "Sheets",
        "plausible pixels over far too much ground",
        "set aside",
        "it spreads over 217,777,778 pixels of the grid",
        ("tests/unit/test_bad_input.py::test_a_sheet_that_spreads_over_too_much_of_the_grid_is_set_aside",),
    ),
    Row(
        "Sheets",
        "100,000 x 100,000 pixels in a small file *",
        "set aside before anything of that size is allocated",
        "it declares 100000 x 100000 pixels, more than 3,000,000,000. Cut it into smaller sheets, or raise imagery.max_pixels",
        ("tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[bomb]",),
    ),
    Row(
        "Sheets",
        "more than 64 MiB to reach one pixel: tiles of 13,312 x 13,312, an interlaced PNG or a progressive JPEG of that size",
        "set aside",
        "its pixels are packed in pieces of 13312 x 13312, 0.5 GiB each",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[a tile of 0.5 GiB]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[an interlaced png of 0.2 GiB]",
        ),
    ),
    Row(
        "Sheets",
        "thousands of fields in a directory, hundreds of directories",
        "set aside before it is opened",
        "a directory of it names 4,000 fields, more than 512",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[thousands of fields]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[hundreds of images]",
        ),
    ),
    Row(
        "Sheets",
        "a directory where no file can have a byte",
        "set aside",
        "its pixels cannot be decoded (bad.tif: TIFFReadDirectory:Failed to read directory at offset 18446744073709420544)",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[a directory beyond any file]",
        ),
    ),
    Row(
        "Sheets",
        "a JPEG 2000 file whose boxes lead a decoder in a circle, or are thousands",
        "set aside before it is opened",
        "its box at byte 87 says that it has 0 bytes, which cannot be",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[a jp2 whose box has no end]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[thousands of boxes of a jp2]",
        ),
    ),
    Row(
        "Sheets",
        "metadata beside it of more than 1 MiB (masks and overviews may be larger)",
        "set aside",
        "the file bad.tif.aux.xml beside it has 2 MiB, more than 1. Remove that file, or shorten it",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[2 MB of metadata beside]",
        ),
    ),
    Row(
        "Sheets",
        "tiles of 16,000 x 16,000; a PNG of 50,000 x 50,000",
        "set aside",
        "its pixels are packed in pieces of 16000 x 16000, 0.7 GiB each. Write it again with tiles of 512 pixels",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[bomb in one piece]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[bomb of a png]",
        ),
    ),
    Row(
        "Sheets",
        "a mask beside it that is a VRT *; metadata that name another file for overviews",
        "set aside: GDAL would open whatever they name",
        "the file bad.tif.msk beside it is no TIFF",
        (
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[vrt as mask beside]",
            "tests/unit/test_bad_input.py::test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on[overviews elsewhere]",
        ),
    ),
    Row(
        "Sheets",
        "a `.ref` out of the allowed folders (`../..`, encoded, `/etc/passwd`, a web server), to nothing, or no JSON",
        "set aside; nothing there is opened",
        "it refers to file:///etc/passwd, which lies in none of imagery.reference_roots",
        ("tests/unit/test_bad_input.py::test_a_reference_to_where_it_must_not_point_is_set_aside",),
    ),
    Row(
        "Sheets",
        "anything else in the landing folder",
        "set aside",
        "its ending is not one of a sheet. Use one of .tif, ...",
        ("tests/unit/test_bad_input.py::test_a_file_that_is_no_sheet_at_all_is_named",),
    ),
    Row(
        "Sheets",
        "something that makes a library fail in a way nobody thought of",
        "set aside",
        "it cannot be looked at (UnicodeDecodeError: ...)",
        ("tests/unit/imagery/test_sheets.py::test_an_error_that_nobody_thought_of_sets_only_that_sheet_aside",),
    ),
    Row(
        "Sheets",
        "no usable sheet at all",
        "the step fails, nothing is committed",
        "no delivered file can be used; a.tif: it is no image",
        ("tests/unit/imagery/test_tiles.py::test_nothing_is_committed_when_no_sheet_is_usable",),
    ),
    Row(
        "Sheets",
        "the store fails while a sheet is read; a file is still being written",
        "the step fails and is run again; nothing is set aside",
        "it changed while it was read. Run again when the delivery is complete",
        (
            "tests/unit/imagery/test_sheets.py::test_a_store_that_fails_does_not_set_good_sheets_aside",
            "tests/unit/imagery/test_sheets.py::test_a_delivery_still_going_on_is_not_blamed_on_the_file",
            "tests/unit/imagery/test_sheets.py::test_a_mask_that_the_store_does_not_deliver_is_not_taken_for_no_mask",
            "tests/unit/imagery/test_sheets.py::test_a_sheet_that_is_replaced_while_blocks_are_cut_leaves_no_hole",
        ),
    ),
    Row(
        "Names and deliveries",
        "region names with `|`, `,`, `/`, `..`, control characters, a leading dot, 300 characters, empty ...",
        "refused before anything is copied",
        "region name 'a|b': it cannot be part of a path and of a partition key. Use letters, digits, spaces and . ( ) & ' - _",
        ("tests/unit/test_bad_input.py::test_a_region_name_that_would_break_keys_is_refused",),
    ),
    Row(
        "Names and deliveries",
        "such a folder put into the landing folder by hand",
        "left alone; `status` names it, `build` names it and exits with 1",
        "landing/a|b/2024: no region and year can be made of that name. Rename it to landing/REGION/YEAR",
        ("tests/unit/test_bad_input.py::test_a_landing_folder_that_names_no_region_and_year_is_not_passed_over",),
    ),
    Row(
        "Names and deliveries",
        "a region that the regions file does not name",
        "refused",
        "the regions file does not name it. Choose from: Delft",
        ("tests/unit/test_bad_input.py::test_a_region_that_the_regions_file_does_not_name_is_refused",),
    ),
    Row(
        "Names and deliveries",
        "one of several files is missing, a folder, a VRT, or has a name no store can hold",
        "nothing is copied",
        "there is no such file. Check the path; nothing was copied",
        ("tests/unit/test_bad_input.py::test_one_file_that_cannot_be_delivered_stops_the_delivery_before_it_begins",),
    ),
    Row(
        "Names and deliveries",
        "a file name with control characters put there by hand",
        "the step fails at once",
        "a name below it cannot be one in a store ('...a\\x07b.tif...'). Rename that file",
        ("tests/unit/test_bad_input.py::test_a_file_name_that_the_store_cannot_list_is_named",),
    ),
    Row(
        "Names and deliveries",
        "a reference to a file outside the allowed folders",
        "refused",
        "it lies below none of the folders that may be referred to. Set imagery.reference_roots = [...]",
        ("tests/unit/test_bad_input.py::test_a_file_outside_the_allowed_folders_cannot_be_referred_to",),
    ),
    Row(
        "Names and deliveries",
        "a loose file whose name says two years, or numbers a sheet",
        "stays; the tick says why",
        "its name holds several years: 1950, 2021; no region can be told from its name. Put it into landing/REGION/YEAR",
        (
            "tests/unit/ingest/test_decide.py::test_a_name_that_says_two_years_is_set_aside",
            "tests/unit/ingest/test_decide.py::test_a_sheets_number_is_no_region",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "self-crossing rings, overlapping parts, holes outside, no area",
        "mended and counted, shown in the asset",
        "",
        ("tests/unit/labels/test_registers.py::test_what_can_be_mended_is_mended_and_counted",),
    ),
    Row(
        "Registers, extents, regions",
        "MultiPolygons with holes and Z, twins, slivers, empty geometries",
        "taken apart, flattened, dropped; counted",
        "",
        ("tests/unit/labels/test_registers.py::test_what_can_be_mended_is_mended_and_counted",),
    ),
    Row(
        "Registers, extents, regions",
        "points and lines among polygons",
        "left out",
        "note: 2 geometries that are no polygons are left out",
        ("tests/unit/labels/test_registers.py::test_what_can_be_mended_is_mended_and_counted",),
    ),
    Row(
        "Registers, extents, regions",
        "only points, only lines",
        "refused",
        "it holds no polygons but Point. Give building polygons",
        (
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[points]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[lines]",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "another datum, whose shift lacks its grid",
        "used, with a note",
        "the datum shift from EPSG:4326 to EPSG:27700 lacks its grid ...",
        ("tests/unit/imagery/test_position.py::test_a_register_and_an_export_whose_datum_shift_lacks_its_grid_say_so",),
    ),
    Row(
        "Registers, extents, regions",
        "no CRS",
        "refused",
        "it states no CRS. Write it again with one (a .prj file beside a Shapefile)",
        (
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[no CRS]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[no CRS file]",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "empty, or only empty shapes",
        "refused",
        "it is empty: no feature has a geometry",
        (
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[empty]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[only empty shapes]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[no geometry]",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "cut short (six formats), text, another kind, no such file",
        "refused",
        "it cannot be read (...); it is cut short",
        (
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[half a]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[text]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[another kind]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[not there]",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "a VRT named `.geojson`, also in a zip",
        "refused, not opened",
        "it is no geojson file (it begins with b'<OGRVRTD')",
        (
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[a vrt]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[a vrt in a zip]",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "a zip of several files, or none",
        "refused",
        "it holds 2 files of ... Pack one register, with its files",
        (
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[a zip of two]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[a zip of none]",
        ),
    ),
    Row(
        "Names and deliveries",
        "two files of one name in one delivery, from two folders; also by capitals or unicode form",
        "refused before anything is copied",
        "two of the files have that name: north/1.tif and south/1.tif. Rename one of them, with what belongs to it",
        (
            "tests/unit/ingest/test_add_imagery.py::test_two_files_of_one_name_are_refused_before_anything_is_copied",
            "tests/unit/ingest/test_add_imagery.py::test_parts_of_one_name_are_refused_and_so_is_one_that_would_lie_beside_a_stranger",
        ),
    ),
    Row(
        "Names and deliveries",
        "a loose file whose place in the landing folder is taken",
        "stays; the tick says why",
        "is there already, added ... Rename one of them, or put it there yourself to replace it",
        ("tests/unit/ingest/test_decide.py::test_a_loose_file_replaces_nothing",),
    ),
    Row(
        "Names and deliveries",
        "a region's name with a sign that none may hold",
        "refused, naming the sign",
        "it holds '#' (NUMBER SIGN)",
        ("tests/unit/ingest/test_add_imagery.py::test_the_sign_that_a_name_may_not_hold_is_named",),
    ),
    Row(
        "Names and deliveries",
        "a .prj that holds no WKT, beside a sheet without a CRS",
        "set aside",
        "its file a.prj names no CRS that is known. Deliver a .prj that holds WKT, or set imagery.assume_crs and remove it",
        ("tests/unit/ingest/test_add_imagery.py::test_a_prj_that_names_no_crs_sets_the_sheet_aside",),
    ),
    Row(
        "Registers, extents, regions",
        "several layers, or several files of a zip, that hold polygons",
        "refused by name; one of them alone is taken",
        "it holds 2 layers of polygons: parcels (MultiPolygon), buildings (Polygon). Say which with --layer NAME",
        (
            "tests/unit/polygons/test_vector_files.py::test_several_layers_of_polygons_are_refused_by_name_and_one_can_be_chosen",
            "tests/unit/polygons/test_vector_files.py::test_an_archive_is_read_by_its_layers_and_a_macs_twins_do_not_count",
            "tests/unit/polygons/test_vector_files.py::test_files_of_one_name_in_two_folders_of_an_archive_are_told_apart",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "a view, a virtual table or computed columns in a GeoPackage *",
        "refused; only plain tables are read",
        "its layer 'v' is a view, and only plain tables are read. Save it as a table of its own",
        ("tests/unit/polygons/test_vector_files.py::test_a_file_that_would_never_end_or_fill_the_memory_is_refused",),
    ),
    Row(
        "Registers, extents, regions",
        "kilobytes that unpack to gigabytes *",
        "refused, in a process with an end to memory, time, features and bytes",
        "its 28,373 bytes unpack to more than 16,777,216. Give it in parts, or in another format",
        (
            "tests/unit/polygons/test_vector_files.py::test_a_file_that_would_never_end_or_fill_the_memory_is_refused",
            "tests/unit/polygons/test_vector_files.py::test_the_bounds_are_settings",
            "tests/unit/polygons/test_vector_files.py::test_a_reader_that_takes_too_long_is_ended_and_said",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "GeoJSON whose crs is a link, an address or a path *",
        "refused; no address is asked",
        "its crs is a link, which is not followed. Write it again with a crs that has a name",
        ("tests/unit/polygons/test_vector_files.py::test_a_file_makes_nobody_ask_an_address",),
    ),
    Row(
        "Registers, extents, regions",
        "a crs of a name that nobody knows",
        "refused, not taken for degrees",
        "its crs '/etc/passwd' is not known. Name it by authority and code, such as EPSG:28992",
        ("tests/unit/polygons/test_vector_files.py::test_a_crs_that_nobody_knows_is_not_taken_for_degrees",),
    ),
    Row(
        "Registers, extents, regions",
        "a condition on columns that are not there",
        "refused",
        "cannot be asked of it",
        ("tests/unit/polygons/test_vector_files.py::test_a_condition_that_makes_no_sense_is_refused",),
    ),
    Row(
        "Registers, extents, regions",
        "wrong CRS: it lies elsewhere, degrees said to be metres",
        "refused",
        "it lies outside the area where EPSG:28992 is used (its CRS is EPSG:4326). Check the CRS that it states",
        (
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[elsewhere]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[degrees said to be metres]",
            "tests/unit/labels/test_registers.py::test_a_register_that_cannot_be_used_changes_nothing[beyond all numbers]",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "an extent without a building, of lines, elsewhere",
        "refused",
        "no building of the register lies in it. Check the CRS of both files, and the year",
        ("tests/unit/labels/test_registers.py::test_an_extent_that_cannot_be_used_changes_nothing",),
    ),
    Row(
        "Registers, extents, regions",
        "complete by its extent, and empty",
        "`labels_healthy` fails and blocks",
        "the register claims to be complete here but shows no building. Check its CRS, year and --extent",
        ("tests/unit/labels/test_labels.py::test_a_register_that_claims_to_be_complete_where_it_is_empty_fails",),
    ),
    Row(
        "Registers, extents, regions",
        "metres off the imagery",
        "`labels_healthy` warns",
        "the register seems to lie 3.0 m off the imagery (-2.1 m east, +2.1 m north). Check the CRS and datum of both",
        ("tests/unit/labels/test_labels.py::test_a_shifted_register_is_named",),
    ),
    Row(
        "Registers, extents, regions",
        "of another time than the imagery, by `--date`",
        "`labels_healthy` warns; older ones are no word for empty ground",
        "is of 2022-01-01, 24 months older than the imagery: what was built since is missing",
        (
            "tests/unit/quality/test_register_faults.py::test_a_register_of_another_time_is_named[older]",
            "tests/unit/quality/test_register_faults.py::test_a_register_of_another_time_is_named[newer]",
            "tests/unit/mining/test_mining.py::test_a_register_is_believed_where_it_is_not_older_than_the_imagery[older]",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "three metres off the imagery",
        "`labels_healthy` warns",
        "m off the imagery",
        ("tests/unit/quality/test_register_faults.py::test_a_register_three_meters_off_is_named",),
    ),
    Row(
        "Registers, extents, regions",
        "a third of the buildings missing, and an earlier year has them",
        "`labels_healthy` warns",
        "buildings that the register of 2023 has here are missing: is it whole? Add the whole register",
        (
            "tests/unit/quality/test_register_faults.py::test_a_register_that_lost_a_third_since_the_year_before_is_named",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "a third missing, and no earlier year",
        "`footprints_quality` warns, where footprints find nearly all that is there; before that nobody can tell",
        "footprints lie where the register has nothing",
        ("tests/unit/quality/test_register_faults.py::test_footprints_speak_against_a_register_that_lacks_a_third",),
    ),
    Row(
        "Registers, extents, regions",
        "two registers of the same ground and year",
        "`labels_healthy` warns; of other ground they are one",
        "40 buildings are drawn twice, by houses.gpkg and by survey.gpkg. Keep one register of this ground",
        (
            "tests/unit/quality/test_register_faults.py::test_two_registers_of_the_same_ground_are_named",
            "tests/unit/quality/test_register_faults.py::test_two_registers_of_other_ground_are_no_fault",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "labels of another town",
        "`labels_healthy` warns, from 100 buildings on",
        "the register fits the imagery nowhere ... is it of another town? Check the file, the region and the CRS",
        ("tests/unit/quality/test_register_faults.py::test_the_labels_of_another_town_are_named",),
    ),
    Row(
        "Registers, extents, regions",
        "empty ground (`--empty`) that holds registered buildings",
        "`labels_healthy` warns; neither is learned from",
        "registered buildings stand on ground that is said to be empty; neither is learned from",
        (
            "tests/unit/quality/test_register_faults.py::test_empty_ground_that_holds_buildings_is_named_and_not_learned_from",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "empty ground of lines or of nothing",
        "refused",
        "empty ground must be polygons. Give the areas in which no building stands",
        (
            "tests/unit/quality/test_register_faults.py::test_empty_ground_that_is_no_ground_changes_nothing[lines]",
            "tests/unit/quality/test_register_faults.py::test_empty_ground_that_is_no_ground_changes_nothing[nothing]",
        ),
    ),
    Row(
        "Settings, store, model, output",
        "a starter model with one flipped bit in its weights",
        "refused before a build",
        "its file holds no model (Bad CRC-32 for file 'model.onnx'). Fetch it again, or set model.start to ''",
        ("tests/unit/training/test_start.py::test_a_start_whose_weights_are_damaged_is_named_before_a_build",),
    ),
    Row(
        "Registers, extents, regions",
        "regions without a name column or name, twice the same, of points, elsewhere, with bad names",
        "refused, the regions before stay",
        "it has no column 'name'. It has: gemeente",
        ("tests/unit/labels/test_registers.py::test_a_regions_file_that_cannot_be_used_changes_nothing",),
    ),
    Row(
        "Settings, store, model, output",
        "unknown keys, geographic CRS, feet, negative resolution, odd block size, NaN, bad TOML ...",
        "refused",
        "unknown key 'imagery.band'. Allowed there: assume_crs, bands ...",
        ("tests/unit/test_config.py::test_settings_that_make_no_sense_are_refused",),
    ),
    Row(
        "Settings, store, model, output",
        "the same from the environment",
        "refused, naming the variable",
        "GROUNDPLAN_MODEL__MINUTES in the environment: 'model.minutes' input should be a valid number, not 'soon'",
        ("tests/unit/test_config.py::test_a_wrong_value_from_the_environment_names_the_variable",),
    ),
    Row(
        "Settings, store, model, output",
        "no project, a folder or a file in its place",
        "refused",
        "there is no project in this folder. Make one with `groundplan init FOLDER`, or give --home",
        ("tests/unit/test_config.py::test_a_home_without_settings_says_how_to_make_one",),
    ),
    Row(
        "Settings, store, model, output",
        "`init` with options that make no sense",
        "nothing is made",
        "'grid.resolution' input should be greater than 0, not -1.0",
        ("tests/unit/test_bad_input.py::test_init_with_options_that_make_no_sense_makes_nothing",),
    ),
    Row(
        "Settings, store, model, output",
        "a file where the store's folder should be",
        "refused",
        "store /...: the folder cannot be used (File exists). Give another",
        ("tests/unit/test_bad_input.py::test_a_file_where_the_stores_folder_should_be_is_named",),
    ),
    Row(
        "Settings, store, model, output",
        "a store of an unknown kind",
        "refused",
        "its kind is not known. Use one of file://, s3://, az://, gs://, memory://",
        ("tests/unit/test_bad_input.py::test_a_store_of_an_unknown_kind_says_which_are_known",),
    ),
    Row(
        "Settings, store, model, output",
        "a store that does not answer",
        "an error, not an empty project",
        "s3://...: it could not be listed in 2 tries over 1 s (...). run again when the store answers",
        ("tests/unit/test_bad_input.py::test_a_store_that_does_not_answer_is_an_error_and_not_an_empty_project",),
    ),
    Row(
        "Settings, store, model, output",
        "a block that was damaged afterwards",
        "`tiles_complete` fails; reading it says so",
        "it is damaged (...). Remove it and build again: only it is made anew",
        ("tests/unit/imagery/test_tiles.py::test_a_damaged_block_is_found_and_named",),
    ),
    Row(
        "Settings, store, model, output",
        "a model for other bands or another resolution",
        "refused before anything is predicted",
        "it was trained for bands [1, 2, 3] and the imagery has [3, 2, 1]. Set imagery.bands as it was, or train a model for these bands",
        (
            "tests/unit/test_bad_input.py::test_a_model_trained_for_other_bands_is_refused",
            "tests/unit/test_bad_input.py::test_a_model_trained_at_another_resolution_is_refused",
        ),
    ),
    Row(
        "Settings, store, model, output",
        "no model at all in the model's place",
        "refused",
        "its file holds no model (File is not a zip file). Train it anew",
        ("tests/unit/test_bad_input.py::test_a_file_that_is_no_model_at_all_is_refused",),
    ),
    Row(
        "Settings, store, model, output",
        "weights that are not there",
        "refused",
        "there is no such weights file. Set model.encoder_weights to 'imagenet', 'none' or a file",
        ("tests/unit/test_bad_input.py::test_weights_that_are_not_there_are_named",),
    ),
    Row(
        "Settings, store, model, output",
        "a model to start from that is damaged, or was fetched by half",
        "refused before the build",
        "its file holds no model (File is not a zip file). Fetch it again, or set model.start to ''",
        ("tests/unit/training/test_start.py::test_a_start_that_does_not_fit_is_named_before_a_build",),
    ),
    Row(
        "Settings, store, model, output",
        "a model to start from of another encoder, or for other bands",
        "refused before the build",
        "it is of encoder mobilenet_v2 for bands [1, 2, 3], and the settings say resnet18. Set model.encoder to it",
        ("tests/unit/training/test_start.py::test_a_start_that_does_not_fit_is_named_before_a_build",),
    ),
    Row(
        "Settings, store, model, output",
        "export to an unknown ending, or into no folder",
        "nothing is written",
        "'.dxf' is no format. End the name with one of .parquet, .fgb, .gpkg, .geojson, .shp, .csv",
        ("tests/unit/test_bad_input.py::test_an_export_to_an_unknown_ending_writes_nothing",),
    ),
    Row(
        "Settings, store, model, output",
        "evaluate with a truth elsewhere",
        "no score",
        "it covers no imaged ground of delft 2024. Check its CRS, the region and the year",
        ("tests/unit/test_bad_input.py::test_a_truth_that_lies_elsewhere_scores_nothing",),
    ),
    Row(
        "Settings, store, model, output",
        "an address with a user name, a password or a key in it, in any setting, variable or reference, also encoded",
        "refused, and never shown",
        "'store' cannot be used: it holds a user name or password. Give the address alone, and credentials by environment variables",
        (
            "tests/unit/test_addresses.py::test_no_setting_takes_an_address_with_a_secret[user and password]",
            "tests/unit/test_addresses.py::test_the_environment_and_the_store_itself_refuse_them_too",
            "tests/unit/test_addresses.py::test_a_reference_with_a_secret_is_set_aside_without_it",
        ),
    ),
    Row(
        "Settings, store, model, output",
        "an address with a signature (SAS, signed URL) or any query",
        "refused, and never shown",
        "it has a query or fragment, where keys and signatures stand",
        ("tests/unit/test_addresses.py::test_no_setting_takes_an_address_with_a_secret[SAS]",),
    ),
    Row(
        "Settings, store, model, output",
        "a webhook or a queue whose path is a token",
        "refused; the variable that notify.webhook_env names may hold it",
        "'notify.webhook' cannot be used: a part of it looks like a key or token",
        ("tests/unit/test_addresses.py::test_a_path_that_is_a_token_is_refused_where_pages_and_chats_are_reached",),
    ),
    Row(
        "Settings, store, model, output",
        "an address with a secret as a word of a command",
        "refused before anything is done",
        "it holds a user name or password. Give the address alone",
        ("tests/unit/test_addresses.py::test_no_command_takes_an_address_with_a_secret",),
    ),
    Row(
        "Settings, store, model, output",
        "an address that is none, a password in the place of a variable's name",
        "refused, and the value is not shown",
        "must be the name of an environment variable in capitals, never what stands in it",
        ("tests/unit/test_addresses.py::test_what_is_wrong_with_an_address_is_said_without_it",),
    ),
    Row(
        "Sheets",
        "a CRS whose name is Markdown, or long",
        "set aside; the name is cut to 60 plain characters",
        "it lies outside the area where EPSG:28992 is used (its CRS is p ...)",
        ("tests/unit/test_foreign_text.py::test_the_name_of_a_crs_is_cut_to_what_names_are_made_of",),
    ),
    Row(
        "Changes between years",
        "a year before that is not made, or none",
        "the partition waits; nothing is compared",
        "no earlier imagery of the region was delivered, so there is nothing to compare with. Add imagery of an earlier year",
        ("tests/dagster/test_changes.py::test_a_year_before_that_is_not_made_is_named",),
    ),
    Row(
        "Changes between years",
        "years of pixels of another size, or ground that only one year shows",
        "compared, with a warning; buildings there are unsure, not gone",
        "imagery of 2020 has pixels of 0.30 m and that of 2022 of 0.60 m. ... 4 buildings stand where only one of the years has imagery. Deliver the rest of the flight",
        ("tests/dagster/test_changes.py::test_years_of_two_resolutions_and_lost_ground_are_told",),
    ),
    Row(
        "Changes between years",
        "years of other bands",
        "compared, with a warning",
        "imagery of 2020 has bands red green blue and that of 2022 nir red green. Deliver both years in the same bands and values",
        ("tests/dagster/test_changes.py::test_other_bands_are_told",),
    ),
    Row(
        "Changes between years",
        "a year that another model saw",
        "compared, with a warning",
        "what one of them misses looks like a change. Set predict.model_year to one year",
        ("tests/dagster/test_changes.py::test_two_models_are_told",),
    ),
    Row(
        "Changes between years",
        "a region that vanished in a year",
        "refused",
        "nothing was delivered for delft. Choose from: 2020, 2022, 2025",
        ("tests/dagster/test_changes.py::test_a_region_that_vanished_is_named",),
    ),
    Row(
        "Changes between years",
        "years that do not lie on each other, or share no buildings",
        "a warning; nothing to compare",
        "lies on 2022 to 5.1 pixels (1.53 m) after local registration; 2 are allowed",
        ("tests/dagster/test_changes.py::test_years_that_do_not_lie_on_each_other_or_share_nothing_are_not_green",),
    ),
    Row(
        "Pictures of collections",
        "text, an archive, an empty file named as a picture",
        "set aside, the rest goes on",
        "it is text; it is no JPEG, PNG, WebP, TIFF, GIF or BMP; the file is empty",
        ("tests/unit/collections/test_collections_bad_input.py::test_every_odd_file_is_a_row_that_says_why",),
    ),
    Row(
        "Pictures of collections",
        "JPEG or PNG cut short",
        "set aside",
        "it is cut short and cannot be decoded",
        ("tests/unit/collections/test_collections_bad_input.py::test_every_odd_file_is_a_row_that_says_why",),
    ),
    Row(
        "Pictures of collections",
        "more pixels or bytes than are allowed",
        "a JPEG is read reduced, others are set aside",
        "more than collections.max_pixels, 64000000. Reduce it, or raise that bound",
        (
            "tests/unit/collections/test_collections_bad_input.py::test_too_many_pixels_of_a_jpeg_are_read_reduced_or_refused",
            "tests/unit/collections/test_collections_bad_input.py::test_a_file_with_too_many_bytes_is_not_even_read",
        ),
    ),
    Row(
        "Pictures of collections",
        "a WebP whose picture reaches over its metadata, or a chunk that does not fit",
        "what lies behind the picture goes; what cannot be followed is not stored",
        "its structure cannot be followed (it is shorter than it says). Write it again as an 8-bit JPEG or PNG",
        (
            "tests/unit/collections/test_collections_stripping.py::test_nothing_hides_behind_a_picture_of_webp[VP8 over EXIF]",
            "tests/unit/collections/test_collections_stripping.py::test_a_webp_that_cannot_be_followed_is_not_stored[cut]",
        ),
    ),
    Row(
        "Pictures of collections",
        "small chunks of a PNG with a text in them, chunks twice, bytes behind the end",
        "they go",
        "",
        (
            "tests/unit/collections/test_collections_stripping.py::test_a_small_chunk_of_png_is_as_long_as_it_must_be[pHYs]",
            "tests/unit/collections/test_collections_stripping.py::test_a_png_ends_at_its_end_and_tells_no_name_of_a_profile",
        ),
    ),
    Row(
        "Pictures of collections",
        "tables of a JPEG longer than they say, markers that no picture needs",
        "set aside; the markers go",
        "its structure cannot be followed (a segment db of 73 bytes, not 67)",
        (
            "tests/unit/collections/test_collections_stripping.py::test_a_jpegs_tables_are_as_long_as_they_say_and_adobes_marker_tells_colours_only",
            "tests/unit/collections/test_collections_stripping.py::test_a_jpeg_keeps_no_marker_that_a_picture_does_not_need",
        ),
    ),
    Row(
        "Pictures of collections",
        "a colour profile that cannot be followed",
        "it goes; of others the texts go",
        "",
        ("tests/unit/collections/test_collections_stripping.py::test_a_profile_that_cannot_be_followed_goes",),
    ),
    Row(
        "Pictures of collections",
        "12 bits in 16",
        "read as PNG's sBIT or TIFF's largest value says",
        "of 12 bits the upper 8 are used",
        (
            "tests/unit/collections/test_collections_stripping.py::test_twelve_bits_in_sixteen_are_read_as_the_file_says[BigTIFF]",
        ),
    ),
    Row(
        "Pictures of collections",
        "12 bits in 16 that nobody states, a dark picture",
        "a note",
        "it is nearly black: no value is above 15 of 255, as of fewer bits in 16: scale its values up",
        (
            "tests/unit/collections/test_collections_stripping.py::test_twelve_bits_in_sixteen_that_nobody_states_are_said_to_be_nearly_black",
        ),
    ),
    Row(
        "Pictures of collections",
        "a BigTIFF; several pages",
        "works; of several the first is used, with a note",
        "of 3 pages the first is used",
        (
            "tests/unit/collections/test_collections_stripping.py::test_a_bigtiff_is_an_image_as_any_other",
            "tests/unit/collections/test_collections_stripping.py::test_the_word_on_several_pages_survives",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "several layers of polygons",
        "refused by name; `--layer` chooses one",
        "it holds 2 layers of polygons: parcels (POLYGON), buildings (POLYGON). Say which with --layer NAME",
        (
            "tests/unit/polygons/test_vector_files.py::test_several_layers_of_polygons_are_refused_by_name_and_one_can_be_chosen",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "one layer of polygons among others",
        "it is taken, with a note",
        "its layer 'buildings' is taken, and not addresses (POINT)",
        ("tests/unit/polygons/test_vector_files.py::test_of_several_layers_the_one_of_polygons_is_taken_and_said",),
    ),
    Row(
        "Registers, extents, regions",
        "a zip made on a Mac, with `__MACOSX` in it",
        "works: its twins do not count",
        "",
        (
            "tests/unit/polygons/test_vector_files.py::test_an_archive_is_read_by_its_layers_and_a_macs_twins_do_not_count",
        ),
    ),
    Row(
        "Registers, extents, regions",
        "a CRS that is a link, or names an address",
        "nobody asks it",
        "its crs is a link, which is not followed. Write it again with a crs that has a name",
        ("tests/unit/polygons/test_vector_files.py::test_a_file_makes_nobody_ask_an_address",),
    ),
    Row(
        "Registers, extents, regions",
        "a CRS that nobody knows",
        "refused, not taken for degrees",
        "is not known",
        ("tests/unit/polygons/test_vector_files.py::test_a_crs_that_nobody_knows_is_not_taken_for_degrees",),
    ),
    Row(
        "Registers, extents, regions",
        "a file that never ends, or fills the memory",
        "refused within its bounds",
        "to read it takes more memory than it may",
        ("tests/unit/polygons/test_vector_files.py::test_a_file_that_would_never_end_or_fill_the_memory_is_refused",),
    ),
    Row(
        "Registers, extents, regions",
        "a condition that makes no sense",
        "refused",
        "the condition 'yaer < 2000' cannot be asked of it (no such column: yaer). It has: year",
        ("tests/unit/polygons/test_vector_files.py::test_a_condition_that_makes_no_sense_is_refused",),
    ),
    Row(
        "Names and deliveries",
        "a symbolic link in the landing folder",
        "left alone and named, all else goes on",
        "it is a link or no file, and none is followed. Put the file itself there, or add it with --reference",
        (
            "tests/unit/imagery/test_links.py::test_a_link_is_left_alone_and_named_and_all_else_goes_on",
            "tests/unit/imagery/test_links.py::test_status_names_a_link_and_the_remedy",
        ),
    ),
    Row(
        "Pictures of collections",
        "a symbolic link in a collection's folder, or to a folder in what is added",
        "left alone and named by `add-collection`, `build`, the sensor and the asset's log",
        "it is a link or no file, and none is followed. Put the files themselves there",
        (
            "tests/unit/collections/test_collections_bad_input.py::test_links_in_a_collections_folder_are_named_and_not_followed",
            "tests/unit/collections/test_collections_bad_input.py::test_the_commands_name_links",
        ),
    ),
    Row(
        "Settings, store, model, output",
        "an object of the store that is gone, cut, or has one flipped bit",
        "named, and only it is made again",
        "damaged: 1 of 9; labels/...: the manifest names it and the store does not hold it; ... its content is not what was made",
        (
            "tests/unit/operations/test_damage.py::test_an_object_that_is_gone_is_said_and_made_again_and_no_other",
            "tests/unit/operations/test_damage.py::test_one_flipped_bit_is_found_said_and_made_again",
        ),
    ),
    Row(
        "Settings, store, model, output",
        "a broken manifest, failure, journal or record of a register",
        "named, set aside, the rest goes on",
        "it cannot be read (it is empty). Build again: it is written anew from what is there",
        (
            "tests/unit/operations/test_damage.py::test_a_broken_manifest_is_named_stops_no_other_and_is_written_anew",
            "tests/unit/operations/test_damage.py::test_a_broken_record_of_a_register_is_named_and_no_label_is_made_without_it",
        ),
    ),
    Row(
        "Settings, store, model, output",
        "a part of a stored register that is gone, cut, or has one flipped bit",
        "named by `verify` and by whoever reads it: nothing here can make it again",
        "its content is not what was made (SHA-256 ...). Add that register again: `groundplan add-register FILE --year 2024`",
        (
            "tests/unit/operations/test_source_audit.py::test_one_flipped_bit_of_a_register_is_found_where_it_is_read_and_by_verify",
            "tests/unit/operations/test_source_audit.py::test_a_lost_or_shortened_part_is_found_without_reading",
        ),
    ),
    Row(
        "Settings, store, model, output",
        "broken regions",
        "catalogues and tiles wait, since who owns a block is not guessed; the map, labels and what follows go on",
        "it is damaged (...). Add the regions again: `groundplan add-regions FILE`",
        (
            "tests/unit/operations/test_source_audit.py::test_broken_regions_are_named_and_what_needs_none_goes_on",
            "tests/unit/operations/test_source_audit.py::test_one_flipped_bit_of_the_regions_is_found",
        ),
    ),
    Row(
        "Settings, store, model, output",
        "what a newer version wrote",
        "its additions are ignored; only a higher major format is refused",
        "a newer Groundplan wrote it, in format 2.0; this one reads 1. Use the newer version; nothing was changed",
        (
            "tests/unit/operations/test_damage.py::test_a_roll_back_reads_what_the_newer_version_wrote",
            "tests/unit/operations/test_damage.py::test_a_format_of_a_higher_major_is_refused_by_name_and_left_alone",
        ),
    ),
    Row(
        "One country",
        "a region that vanished, or was made anew, since all were merged",
        "the check `national_whole` fails, nothing is given on; a build merges without it",
        "in it, and no longer there: west ... it is older than the footprints of west. Run `groundplan build ... --select national_footprints`",
        ("tests/unit/nation/test_national_footprints.py::test_a_region_that_vanished_or_was_made_anew_is_named",),
    ),
    Row(
        "One country",
        "a region that is not made, or has no building",
        "the others are merged; the check `national_whole` warns",
        "delivered and not made: south; without a building: moor",
        ("tests/unit/nation/test_national_footprints.py::test_a_region_that_is_not_made_or_has_no_building_is_said",),
    ),
    Row(
        "One country",
        "two regions that overlap, or hold one building twice",
        "the checks `national_apart` and `national_whole` fail, with ids and places",
        "42 pairs of buildings share more than 1 m2 across regions: twin and west; 2 ids stand in it twice",
        ("tests/unit/nation/test_national_footprints.py::test_a_building_in_two_regions_is_found",),
    ),
    Row(
        "One country",
        "a country without a region, or without a building",
        "the run fails",
        "none of the year's 1 regions has a building. Look at the footprints of a region: imagery, model and thresholds",
        (
            "tests/unit/nation/test_national_footprints.py::test_a_country_without_a_building_or_a_region_is_no_country",
            "tests/dagster/test_nation_asset.py::test_an_empty_country_is_no_green_run",
        ),
    ),
    Row(
        "One country",
        "a region in another CRS than the grid's",
        "the run fails, nothing is committed",
        "it lies in another CRS than the grid. Build that region again",
        ("tests/unit/nation/test_national_footprints.py::test_footprints_of_another_grid_are_refused",),
    ),
    Row(
        "One country",
        "a folder to publish into that holds something else, is a file, or cannot be written",
        "refused, the folder is as it was",
        "it holds something else than a publication. Give an empty or a new folder",
        ("tests/unit/nation/test_publication.py::test_a_folder_of_something_else_stays_as_it_is",),
    ),
)

if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
