"""The starter model's file, as it ships: groundplan/starter/model.zip, from one arm of a result of starter.py.

    python -m benchmarks.starter_model --pack FILE --result FOLDER --arm NAME [--scores FILE]

Here: the file and its card: what it was learned from, under which licences, whom to name, figures by town. Not here:
learning (starter.py), figures (starter_score.py), the graph (groundplan/training/export.py). With `--scores`,
thresholds and figures of polygons are those of that file, made where the arm lacks in it, which takes minutes; without,
thresholds are the usual ones and figures those of pixels that the result holds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.starter_ground import RESOLUTION, TOWNS
from benchmarks.starter_score import opened, scores, state_in
from groundplan.core.archive import packed
from groundplan.polygons.instances import Thresholds
from groundplan.starter import FILE
from groundplan.training.export import export
from groundplan.training.settings import TrainSettings

MOST = 14 * 2**20
"""Bytes of the file."""
SOURCES = [
    {
        "what": "imagery of Banepa, Kampala, Zanzibar, Catanduanes and Nairobi, 7 to 15 cm, as prepared for fAIr",
        "attribution": "© OpenAerialMap contributors",
        "licence": "CC BY 4.0",
        "url": "https://openaerialmap.org",
    },
    {
        "what": "buildings of the same places",
        "attribution": "© OpenStreetMap contributors",
        "licence": "ODbL 1.0",
        "url": "https://www.openstreetmap.org/copyright",
    },
    {
        "what": "the weights that the encoder began with: MobileNetV2, learned from ImageNet",
        "attribution": "timm",
        "licence": "Apache-2.0",
        "url": "https://github.com/huggingface/pytorch-image-models",
    },
]
USE = (
    "Buildings in aerial imagery of 5 to 30 cm, and a start for a model of your own ground. It learned five towns in "
    "Africa and Asia: look at what it finds in yours before you rely on it."
)
NOTES = (
    "2024 of Kampala and Zanzibar is the image of 2022 with some buildings taken out and others put in. Nairobi's "
    "labels lie 1 to 4 m beside its roofs: little of it was learned and nothing is judged by it. No validation or test "
    "cell of turn 0 of the split was learned; thresholds are of all towns' validation cells, figures of test cells."
)
DRAWN = "It also learned a drawn country, which is not the one that the demo draws, with half the trust."


def card(name: str, facts: Mapping[str, Any], figures: Mapping[str, Any] | None) -> dict[str, Any]:
    """The model card, as of a model that was trained in a project, and what only this one says.

    figures: of polygons, as starter_score.py writes them of an arm.
    """
    settings, towns = asdict(_settings(facts)), _pixels(facts)
    for town, told in (figures or {}).items():
        if "pooled" in told:
            towns[town] = told["pooled"]
    return {
        "name": "starter",
        "arm": name,
        "year": "starter",
        "bands": [1, 2, 3],
        "resolution": RESOLUTION,
        "settings": settings | {"encoder_weights": "imagenet"},
        "settings_print": "given",
        "source": "the starter model of Groundplan",
        "steps": facts["steps"],
        "history": [],
        "thresholds": figures["thresholds"] if figures else asdict(Thresholds()),
        "validation": None,
        "test": None,
        "towns": towns,
        "years": {town.name: list(town.years) for town in TOWNS},
        "sources": SOURCES,
        "notes": NOTES if "drawn" in facts["without"] else f"{NOTES} {DRAWN}",
        "use": USE,
    }


def _pixels(facts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """IoU of buildings' pixels on test cells, by town and year."""
    counts = {town: told["test"] for town, told in facts["pixels"].items()}
    return {
        town: {"iou": round(one["building_hit"] / one["building_union"], 4)}
        for town, one in counts.items()
        if one["building_union"]
    }


def _settings(facts: Mapping[str, Any]) -> TrainSettings:
    own = {key: facts[key] for key in ("batch", "crop", "resolution", "seed", "average", "steps")}
    return TrainSettings(encoder_weights="none", grid_resolution=RESOLUTION, **own)


def _figures(options: argparse.Namespace) -> dict[str, Any]:
    done = json.loads(options.scores.read_text()) if options.scores.is_file() else {}
    if options.arm not in done:
        scores(options.pack, options.result, options.scores, [options.arm])
        done = json.loads(options.scores.read_text())
    return dict(done[options.arm])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.starter_model", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--pack", type=Path, required=True, help="ground, as `starter prepare` wrote it")
    parser.add_argument("--result", type=Path, required=True, help="folder that `starter learn` or `tune` wrote")
    parser.add_argument("--arm", required=True, help="whose state it is")
    parser.add_argument("--scores", type=Path, help="JSON of figures, made where the arm lacks in it")
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    figures = _figures(options) if options.scores else None
    archive = opened(options.result)
    facts = json.loads(archive.read("figures.json"))[options.arm]
    graph = export(state_in(archive, options.arm), _settings(facts), named=True)
    text = json.dumps(card(options.arm, facts, figures), indent=1, sort_keys=True, ensure_ascii=False)
    data = packed({"card.json": text.encode(), "model.onnx": graph})
    if len(data) > MOST:
        raise SystemExit(f"{len(data):,} bytes are more than {MOST:,}")
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data) / 2**20:.1f} MiB, {options.arm}, {facts['steps']} steps")


if __name__ == "__main__":
    main()
