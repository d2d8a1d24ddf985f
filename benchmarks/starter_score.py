"""Scores of the starter's arms and of the bank: polygons as the product draws them, on cells that nobody learned from.

Here: states and probabilities out of a result, thresholds settled on validation cells, figures by town. Not here: what
the figures mean (groundplan/polygons/metrics.py), how thresholds are chosen (groundplan/training/thresholds.py).
"""

from __future__ import annotations

import io
import json
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.starter import SCREENED
from groundplan.inference.second_view import Views
from groundplan.labels.classes import IGNORE
from groundplan.training import pack
from groundplan.training.pack import Ground
from groundplan.training.split import SPLITS, TURNS, split_of_number
from groundplan.training.thresholds import APART, ScoredScene, best_thresholds, found_in, scored_scene, scores_from

FIGURES = ("buildings", "iou", "boundary_iou", "object_f1", "object_precision", "object_recall")
MARGIN = 128
VIEWS: Views = 2  # what the product predicts with by default


def scores(pack_file: Path, result: Path, out: Path, only: Sequence[str] | None = None) -> None:
    """Score the arms that have a state, and the bank where all turns are there; write JSON after each."""
    grounds = pack.read(pack_file.read_bytes())
    archive = opened(result)
    facts = json.loads(archive.read("figures.json"))
    done: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    for name in (n for n in facts if f"{n}.safetensors.z" in archive.namelist()):
        if name in only if only is not None else facts[name].get("home") is None:
            done[name] = _arm(archive, name, facts[name], grounds)
            out.write_text(json.dumps(done, indent=1))
    if (only is None or "bank" in only) and (found := bank(archive, grounds)):
        done["bank"] = _of_bank(found, grounds)
        out.write_text(json.dumps(done, indent=1))
    recipes = dict.fromkeys(name.rpartition("-")[0] for name in facts if facts[name].get("home"))
    for recipe in recipes if only is None else (recipe for recipe in recipes if recipe in only):
        done[recipe] = _of_recipe(archive, recipe, facts, grounds)
        out.write_text(json.dumps(done, indent=1))


def opened(result: Path) -> zipfile.ZipFile:
    """The archive of a result's parts."""
    parts = sorted(result.glob("result.zip.*"), key=lambda path: int(path.suffix[1:]))
    return zipfile.ZipFile(io.BytesIO(b"".join(part.read_bytes() for part in parts)))


def state_in(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    """An arm's state, float32."""
    from safetensors.torch import load

    tensors = load(zlib.decompress(archive.read(f"{name}.safetensors.z")))
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


# --- an arm -----------------------------------------------------------------------------------------------------------


def _arm(archive: zipfile.ZipFile, name: str, facts: Mapping[str, Any], grounds: Sequence[Ground]) -> dict[str, Any]:
    """Figures by ground: thresholds by validation cells of all the arm's towns (`pooled`), or of its own (`own`)."""
    state, turn = state_in(archive, name), facts["turn"] or 0
    cells = CellScenes()
    rasters = {ground.name: predicted(state, ground, facts["resolution"]) for ground in grounds}
    learned = [g for g in grounds if g.region not in facts["without"] and g.trust == 1]
    learned = [g for g in learned if facts.get("home") in (None, g.region)]
    settled = [scene for g in learned for scene in cells.of(g, rasters[g.name], "validation", turn)]
    pooled = best_thresholds(settled, grounds[0].resolution)
    found: dict[str, Any] = {"thresholds": asdict(pooled)}
    for ground in grounds:
        test = list(cells.of(ground, rasters[ground.name], "test", turn))
        own = best_thresholds(list(cells.of(ground, rasters[ground.name], "validation", turn)), ground.resolution)
        figures = {"pooled": _figures(test, pooled, ground), "own": _figures(test, own, ground)}
        if ground.region in facts["without"]:
            figures["everywhere"] = _figures(list(cells.of(ground, rasters[ground.name], None, turn)), pooled, ground)
        found[ground.name] = {"left_out": ground.region in facts["without"], "own_thresholds": asdict(own), **figures}
        _say(f"{name} {ground.name}: {figures}")
    return found


def predicted(state: Mapping[str, Any], ground: Ground, resolution: float, views: Views = VIEWS) -> np.ndarray:
    """Probabilities uint8 (2, H, W) over a ground, by the product's graph and runtime."""
    from groundplan.inference.runtime import load
    from groundplan.inference.sliding_window import predict_canvas
    from groundplan.training.export import export
    from groundplan.training.settings import TrainSettings

    settings = TrainSettings(encoder_weights="none", grid_resolution=ground.resolution, resolution=resolution)
    runtime = load(export(state, settings), threads=2, views=views)
    canvas = np.pad(ground.image, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    return predict_canvas(runtime, canvas, np.ones(canvas.shape[1:], bool), margin=MARGIN)


class CellScenes:
    """Cells as scenes on one plane."""

    left = 0.0

    def of(self, ground: Ground, raster: np.ndarray, split: str | None, turn: int) -> Iterator[ScoredScene]:
        """Cells of a ground's split, or all of it as one scene; those without a known pixel are left out."""
        import cv2

        if split is None:
            yield self._scene(raster, ground.label, ground.resolution)
            return
        mine = (split_of_number(ground.number, turn) == SPLITS.index(split)).view(np.uint8)
        # cells of one split do not touch, so each is a component of its own
        count, cells, boxes, _ = cv2.connectedComponentsWithStats(mine, connectivity=4)
        for number in range(1, count):
            left, top, wide, high = boxes[number][:4]
            box = np.s_[top : top + high, left : left + wide]
            label = np.where(cells[box] == number, ground.label[box], np.uint8(IGNORE))
            if (label != IGNORE).any():
                yield self._scene(raster[:, *box], label, ground.resolution)

    def _scene(self, raster: np.ndarray, label: np.ndarray, resolution: float) -> ScoredScene:
        scene = scored_scene(raster, label, resolution, self.left)
        self.left += label.shape[1] * resolution + APART
        return scene


def _figures(scenes: list[ScoredScene], thresholds: Any, ground: Ground) -> dict[str, float]:
    if not scenes:
        return {}
    return _told(
        scores_from(scenes, [found_in(one, thresholds, ground.resolution) for one in scenes], ground.resolution)
    )


def _told(found: Any) -> dict[str, float]:
    return {key: round(float(getattr(found, key)), 4) for key in FIGURES}


# --- the bank ---------------------------------------------------------------------------------------------------------


def bank(archive: zipfile.ZipFile, grounds: Sequence[Ground]) -> dict[str, np.ndarray]:
    """Probabilities uint8 (2, H, W) by ground, each cell by the turn that did not learn from it; empty if one lacks."""
    names = [f"turn-{turn}.bank.zip" for turn in range(TURNS)]
    if not set(names) <= set(archive.namelist()):
        return {}
    rasters: dict[str, np.ndarray] = {}
    for name in names:
        with zipfile.ZipFile(io.BytesIO(archive.read(name))) as part:
            for ground in grounds:
                if f"{ground.name}.building.png" not in part.namelist():
                    continue
                read = [pack.from_png(part.read(f"{ground.name}.{band}.png")) for band in ("building", "edge")]
                rasters[ground.name] = rasters.get(ground.name, np.uint8(0)) + np.stack(read)
    return rasters


def _of_bank(rasters: Mapping[str, np.ndarray], grounds: Sequence[Ground]) -> dict[str, Any]:
    """Figures by ground over all cells; each turn by thresholds of its validation cells, which nobody saw either."""
    cells = CellScenes()
    judged = [ground for ground in grounds if ground.name in rasters]
    scenes: dict[str, list[ScoredScene]] = {ground.name: [] for ground in judged}
    found: dict[str, list[np.ndarray]] = {ground.name: [] for ground in judged}
    chosen = []
    for turn in range(TURNS):
        trusted = [ground for ground in judged if ground.trust == 1]
        settled = [s for g in trusted for s in cells.of(g, rasters[g.name], "validation", turn)]
        thresholds = best_thresholds(settled, judged[0].resolution)
        chosen.append(asdict(thresholds))
        for ground in judged:
            test = list(cells.of(ground, rasters[ground.name], "test", turn))
            scenes[ground.name] += test
            found[ground.name] += [found_in(one, thresholds, ground.resolution) for one in test]
        _say(f"bank, turn {turn}: {thresholds}")
    figures: dict[str, Any] = {"thresholds": chosen}
    for ground in judged:
        figures[ground.name] = _told(scores_from(scenes[ground.name], found[ground.name], ground.resolution))
        _say(f"bank {ground.name}: {figures[ground.name]}")
    return figures


# --- a recipe of tuning -----------------------------------------------------------------------------------------------


def tuned_bank(archive: zipfile.ZipFile, name: str, ground: Ground) -> np.ndarray:
    """Probabilities uint8 (2, H, W) of an arm's validation and test cells, 0 elsewhere."""
    with zipfile.ZipFile(io.BytesIO(archive.read(f"{name}.bank.zip"))) as part:
        return np.stack([pack.from_png(part.read(f"{ground.name}.{band}.png")) for band in ("building", "edge")])


def _of_recipe(
    archive: zipfile.ZipFile, recipe: str, facts: Mapping[str, Any], grounds: Sequence[Ground]
) -> dict[str, Any]:
    """Figures of a recipe on its home: by turn, over the turns that all recipes have, and over all that it has.

    Thresholds of each turn by its validation cells as the same network sees them.
    """
    cells, figures = CellScenes(), dict[str, Any]()
    scenes: dict[int, list[ScoredScene]] = {}
    found: dict[int, list[np.ndarray]] = {}
    for turn in (turn for turn in range(TURNS) if f"{recipe}-{turn}.bank.zip" in archive.namelist()):
        name = f"{recipe}-{turn}"
        for ground in (ground for ground in grounds if ground.region == facts[name]["home"]):
            raster = tuned_bank(archive, name, ground)
            thresholds = best_thresholds(list(cells.of(ground, raster, "validation", turn)), ground.resolution)
            test = list(cells.of(ground, raster, "test", turn))
            scenes[turn] = scenes.get(turn, []) + test
            found[turn] = found.get(turn, []) + [found_in(one, thresholds, ground.resolution) for one in test]
            figures[f"turn {turn}"] = {"thresholds": asdict(thresholds), **_figures(test, thresholds, ground)}
            _say(f"{name}: {figures[f'turn {turn}']}")
    for title, turns in (("screened", SCREENED), ("all", tuple(range(TURNS))), ("there", tuple(scenes))):
        if set(turns) <= set(scenes):
            outlines = [one for turn in turns for one in found[turn]]
            known = [scene for turn in turns for scene in scenes[turn]]
            figures[title] = _told(scores_from(known, outlines, grounds[0].resolution))
            _say(f"{recipe}, turns {turns}: {figures[title]}")
    return figures


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
