"""A block cut twice: put together without GDAL, and by GDAL alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from laid_sheets import HERE

from groundplan.core.materialize import Cancellation
from groundplan.imagery import tiles
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.raster.jpeg_cog import JpegCog

Pixels = tuple[np.ndarray, np.ndarray]


def by_both(project: Project, monkeypatch: pytest.MonkeyPatch, name: str = "x00y00") -> tuple[Pixels, Pixels]:
    """A block's pixels (3, n, n) and mask before they are coded: put together directly, and by GDAL alone."""
    planned = {one.name: one for one in tiles.plan(project, HERE)}[name]
    n, found, written = project.grid.block_size, list[Pixels](), list[Pixels]()

    def add(self: JpegCog, tile: np.ndarray, valid: np.ndarray | None = None, coded: bytes | None = None) -> None:
        found.append((tile.copy(), np.ones(tile.shape[:2], bool) if valid is None else valid.copy()))
        added(self, tile, valid, coded)

    def write(pixels: np.ndarray, mask: np.ndarray, *rest: Any, **more: Any) -> bytes:
        written.append((pixels, mask))
        return b""

    added = JpegCog.add
    with monkeypatch.context() as patched:
        patched.setattr(JpegCog, "add", add)
        tiles.make(project, planned, Cancellation())
        patched.setattr(cog, "write", write)
        tiles.make(with_gdal(project), planned, Cancellation())
    pixels, mask, at = np.zeros((3, n, n), np.uint8), np.zeros((n, n), bool), 0
    for tile, valid in found:
        part = np.s_[at // n * 512 :, at % n :]
        high, wide = valid.shape
        pixels[(slice(None), *part)][:, :high, :wide] = tile[..., ::-1].transpose(2, 0, 1)
        mask[part][:high, :wide] = valid
        at += 512 if n > 512 else n
    return (pixels, mask), written[0]


def with_gdal(project: Project) -> Project:
    imagery = project.settings.imagery.model_copy(update={"reader": "gdal"})
    return replace(project, settings=project.settings.model_copy(update={"imagery": imagery}))
