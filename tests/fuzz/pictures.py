"""Pictures of a collection: whatever is left of a file when its metadata were stripped holds none of them.

Here: small pictures of all formats, with a marker in every place where metadata can be, spoiled, stripped, decoded.
Not here: honest files (tests/unit/collections), near misses that have a name.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.field import READ, REFUSED, Input, InThisProcess, Wrong
from fuzz.mutation import mutated, spots_of
from groundplan.collections.images.decode import BadImage, decode
from groundplan.collections.images.metadata import strip

MARKER = b"~here I live~"
CODED = (b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
MOST_PIXELS = 4_000_000


class Pictures(InThisProcess):
    megabytes, seconds = 600, 20

    def __init__(self, folder: Path) -> None:
        self.pictures = {name: (data, spots_of(data)) for name, data in drawn().items()}
        for name, (data, _) in self.pictures.items():
            if MARKER not in data or MARKER in strip(data):
                raise AssertionError(f"{name} holds no marker, or keeps it unspoiled")

    def draw(self, random: np.random.Generator) -> Input:
        name = sorted(self.pictures)[random.integers(len(self.pictures))]
        return {name: mutated(self.pictures[name][0], random, self.pictures[name][1])}

    def attempt(self, given: Input, folder: Path) -> str:
        ((name, data),) = given.items()
        try:
            stored = strip(data)
        except BadImage:
            return REFUSED
        if tells(stored, self.pictures[name][0]):
            raise Wrong("metadata are left")
        try:
            again = strip(stored)
        except BadImage as error:
            raise Wrong(f"what was stored cannot be stripped again: {error}") from error
        if again != stored:
            raise Wrong("stripping it again gives something else")
        try:
            pixels = decode(stored, MOST_PIXELS).pixels
        except BadImage:
            return REFUSED
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise Wrong(f"decoded to {pixels.dtype} {pixels.shape}")
        return READ


def tells(stored: bytes, sound: bytes) -> bool:
    """Whether a stripped file still tells what it was to keep to itself. sound: the file before it was spoiled.

    A change can move any bytes to where pixels are: into the compressed data of a JPEG, GIF or WebP, whose end only a
    decoder knows, the 64 steps by which a JPEG multiplies, a GIF's colours, and the plain pixels of a BMP. There they
    are pixels, and nobody reads them as anything else.
    """
    if MARKER not in stored:
        return False
    if stored.startswith(b"\xff\xd8"):
        head, _, scans = stored.partition(b"\xff\xda")
        told = re.sub(rb"\xff\xdb\x00\x43[\x00-\x03].{64}", b"", head, flags=re.DOTALL)
        return MARKER in told or re.search(rb"\xff[\xe0-\xef\xfe]", scans) is not None
    if stored.startswith(b"GIF8"):
        colors = 3 << ((stored[10] & 7) + 1) if stored[10] & 0x80 else 0
        told = stored[13 + colors :]
        return re.search(rb"\x21[\xfe\x01\xff]", told.replace(b"\x21\xff\x0bNETSCAPE2.0", b"")) is not None
    if stored.startswith(b"RIFF"):
        most = {kind: len(body) for kind, body in sorted(_chunks(sound), key=lambda chunk: len(chunk[1]))}
        told = [(kind, body) for kind, body in _chunks(stored) if MARKER in body]
        return any(kind not in CODED or len(body) > most.get(kind, 0) for kind, body in told)
    return not stored.startswith(b"BM") or stored.endswith(MARKER)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)


def drawn() -> dict[str, bytes]:
    """Files by name, each with the marker in all metadata that its format can hold."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    cells = np.random.default_rng(5).integers(0, 256, (6, 7, 3), np.uint8)
    color = Image.fromarray(cells).resize((38, 33), Image.Resampling.BICUBIC)
    clear = color.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(color.size))
    text = MARKER.decode()
    exif = color.getexif()
    exif[0x010E], exif[0x0112], exif[0x013B] = text * 4, 6, text
    told: dict[str, Any] = {"exif": exif.tobytes(), "xmp": b"<x:xmpmeta>" + MARKER * 3 + b"</x:xmpmeta>"}
    chunks = PngInfo()
    chunks.add_text("Comment", text)
    chunks.add_itxt("XML:com.adobe.xmp", text, "en", text)

    def file(image: Image.Image, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    moving = {"save_all": True, "append_images": [color.rotate(90), color.rotate(180)], "duration": 50, "loop": 0}
    tags = {270: text, 315: text, 33432: text}
    profile = b"\0" * 128
    return {
        "plain.jpg": file(color, "JPEG", comment=MARKER, **told),
        "progressive.jpg": file(color, "JPEG", progressive=True, comment=MARKER, icc_profile=profile, **told),
        "grey.jpg": file(color.convert("L"), "JPEG", comment=MARKER, **told) + MARKER,
        "cmyk.jpg": file(color.convert("CMYK"), "JPEG", comment=MARKER, **told),
        "plain.png": file(color, "PNG", pnginfo=chunks, exif=told["exif"]),
        "clear.png": file(clear, "PNG", pnginfo=chunks, exif=told["exif"]) + MARKER,
        "palette.png": file(color.quantize(16), "PNG", pnginfo=chunks, transparency=3),
        "lossy.webp": file(color, "WEBP", **told),
        "lossless.webp": file(clear, "WEBP", lossless=True, **told),
        "clear.webp": file(clear, "WEBP", icc_profile=profile, **told),
        "moving.webp": file(color, "WEBP", **moving, **told),
        "plain.gif": file(color.quantize(32), "GIF", comment=MARKER) + MARKER,
        "moving.gif": file(color.quantize(8), "GIF", comment=MARKER, **moving),
        "plain.tif": file(color, "TIFF", tiffinfo=tags),
        "packed.tif": file(clear, "TIFF", tiffinfo=tags, compression="tiff_adobe_deflate"),
        "jpeg.tif": file(color, "TIFF", tiffinfo=tags, compression="jpeg"),
        "bits.tif": file(color.convert("1"), "TIFF", tiffinfo=tags, compression="group4"),
        "plain.bmp": file(color, "BMP") + MARKER,
        "palette.bmp": file(color.quantize(16), "BMP") + MARKER,
    }
