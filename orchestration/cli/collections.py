"""The commands of image collections: make a project for them, add one, build it.

Here: options, tables and what is written into groundplan.toml. Not here: what the commands do. Imports happen inside
functions: `--help` is instant.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from groundplan.errors import BadConfig
from orchestration.cli.terminal import hints, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from groundplan.project import Project
    from orchestration.cli.build_collection import ClassesResult


GRID = {"crs": "EPSG:3857", "resolution": 0.25, "block_size": 8192, "origin": (-20037508.0, 20037508.0)}
NOTE = """
# This project was made for image collections, which need no grid: the one above stands in for it. Choose another before
# the first imagery is added; once blocks exist, it is fixed.
[collections]
"""
ASIDE = "set aside: "
HARMLESS = (f"{ASIDE}duplicate", f"{ASIDE}forgotten")  # nothing is lost with them, and nobody has to mend them
SHOWN = 20  # lines of what was left out
COLORS = {"made": "green", "current": "green", "failed": "red", "waiting": "yellow"}

Name = Annotated[str, typer.Option("--name", help="name of the collection: small letters, digits, _ and -")]
Weights = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="local weights of the encoder, .onnx or .safetensors"),
]


def init_collections(home: Path, store: str, weights: Path | None) -> Path:
    """A project for image collections: its folder and its groundplan.toml. Raises BadConfig, nothing is left then."""
    from groundplan import config
    from groundplan.project import open_project

    path = config.write(home, GRID, store)
    try:
        ingested = f"weights = {json.dumps(str(weights.absolute()))}\n" if weights else '# weights = "FILE.onnx"\n'
        _rewrite(path, path.read_text("utf-8") + NOTE + ingested)
        open_project(home)
    except BadConfig:
        path.unlink()
        raise
    return path


def set_weights(home: Path, weights: Path) -> None:
    """Write the encoder's weights into the [collections] table of groundplan.toml. Raises BadConfig."""
    from groundplan import config

    path = home / config.FILE
    config.load(home)  # what is not valid is not rewritten
    text, line = path.read_text("utf-8"), f"weights = {json.dumps(str(weights.absolute()), ensure_ascii=False)}"
    head = re.search(r"^\[collections\][^\n]*\n", text, re.MULTILINE)
    if head is None:
        _rewrite(path, f"{text.rstrip()}\n\n[collections]\n{line}\n")
        return
    after = re.search(r"^\[", text[head.end() :], re.MULTILINE)
    end = head.end() + after.start() if after else len(text)
    body = re.sub(r"^#? ?weights *=[^\n]*\n?", "", text[head.end() : end], flags=re.MULTILINE)
    _rewrite(path, f"{text[: head.end()]}{line}\n{body}{text[end:]}")
    config.load(home)


def _rewrite(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise BadConfig(str(path), f"it cannot be written ({error.strerror})", "Free the place") from error


def add_collection(project: Project, folder: Path, name: str, out: Console) -> None:
    """Copy class folders into the store, and say what came."""
    from groundplan.collections import catalog

    ingested = catalog.ingest(project, folder, name)
    out.print(
        f"{ingested.copied} images copied ({ingested.bytes / 1e6:.1f} MB), {ingested.present} there already, in "
        f"{len(ingested.classes)} classes; metadata taken out of {ingested.stripped}"
        + (f", faces blurred in {ingested.blurred}" if project.settings.collections.blur_faces else "")
    )
    for name in ingested.ignored[:SHOWN]:
        out.print(f"[yellow]left alone[/] {plain(name)}: it is no class folder", soft_wrap=True)
    _say_links(ingested.linked, out)
    refused = [(label, item) for label, items in ingested.refused.items() for item in items]
    for label, item in refused[:SHOWN]:
        what = plain(f"{label}/{item.name}: {item.reason}. {item.remedy}")
        out.print(f"[yellow]{item.state}[/] {what}", soft_wrap=True)
    if len(refused) > SHOWN:
        out.print(f"... and {len(refused) - SHOWN} more: the report has all of them")
    go_on = hints(f"Go on with `groundplan build --collection {ingested.collection}`")
    out.print(go_on, highlight=False, soft_wrap=True)


def _say_links(keys: list[str], out: Console) -> None:
    from groundplan.collections.files import A_LINK

    for key in keys[:SHOWN]:
        out.print(f"[yellow]left alone[/] {plain(key)}: {A_LINK}", soft_wrap=True)
    if len(keys) > SHOWN:
        out.print(f"... and {len(keys) - SHOWN} more links")


@dataclass(frozen=True, slots=True)
class CollectionChoice:
    """What of a collection is to be built: assets, all without any, and whether what they are made from too."""

    collection: str
    select: list[str]
    with_inputs: bool = False

    @property
    def assets(self) -> list[str] | None:
        """In order; None for all. Raises BadConfig for a name that is no asset of a collection."""
        from groundplan.collections.pipeline import ASSETS, STEPS
        from groundplan.step import upstream
        from orchestration.cli.known import check_assets

        check_assets(self.select, ASSETS)
        inputs = {other for name in self.select for other in upstream(STEPS, name)} if self.with_inputs else set()
        return [name for name in ASSETS if name in {*self.select, *inputs}] if self.select else None


def build_collection(project: Project, choice: CollectionChoice, as_json: bool, out: Console) -> int:
    """Build, print what was done and what came. The exit code: 1 where something failed, waits or is set aside."""
    from groundplan.collections.files import links
    from groundplan.collections.report import report as collection_report
    from orchestration.cli.build_collection import build
    from orchestration.cli.known import check_collection

    name, assets = check_collection(project, choice.collection), choice.assets
    done = []
    for item in build(project, name, assets):
        done.append(item)
        if not as_json and item.outcome != "current":
            _say(item, out)
    report = None
    if any(item.asset == collection_report.DATASET and item.outcome in ("made", "current") for item in done):
        report = collection_report.write_report(project, name)
    figures = summary(project, name, report)
    if as_json:
        rows = [asdict(item) | {"partitions": [str(each) for each in item.partitions]} for item in done]
        out.print_json(json.dumps({"done": rows, "figures": figures}))
    else:
        if all(item.outcome == "current" for item in done):
            out.print(f"Nothing to do: all of {name} is current.")
        _table(figures.items(), out)
    aside = sum(count for key, count in figures.items() if key.startswith(ASIDE) and key not in HARMLESS)
    if not as_json:
        _say_links(links(project, name), out)
    if aside and not as_json:
        out.print(f"[yellow]set aside[/] {aside} files that are no usable image: the report names each, and why")
    return int(aside > 0 or any(item.outcome in ("failed", "waiting") for item in done))


def say_intended(project: Project, choice: CollectionChoice, as_json: bool, out: Console) -> int:
    """What a build of a collection would do, as a table; makes nothing."""
    from orchestration.cli.build_collection import states_of
    from orchestration.cli.known import check_collection

    name, assets = check_collection(project, choice.collection), choice.assets
    rows: list[dict[str, Any]] = []
    for asset, states in states_of(project, name, assets):
        counts = Counter(str(state.state) for state in states)
        rows.append({"asset": asset, "partitions": len(states), **counts})
    if as_json:
        out.print_json(json.dumps(rows))
        return 0
    if all(row.get("current") == row["partitions"] for row in rows):
        out.print(f"Nothing to do: all of {name} is current.")
        return 0
    table = Table("asset", "current", "to make", "after what it is made from")
    for row in rows:
        current, waiting = row.get("current", 0), row.get("waiting", 0)
        table.add_row(row["asset"], str(current), str(row["partitions"] - current - waiting), str(waiting))
    out.print(table)
    out.print("Nothing was changed")
    return 0


def summary(project: Project, name: str, report: Path | None) -> dict[str, Any]:
    """What a collection came to, from its manifests: figures by their names; what is not made yet is not there."""
    from groundplan.collections import catalog
    from groundplan.collections.classification import classifier, fine_tuned
    from groundplan.collections.descriptors import reduced
    from groundplan.core.manifest import readable_manifest
    from groundplan.core.partition import ClassPartition

    figures: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for each in catalog.classes(project, name):
        manifest = readable_manifest(project.store, catalog.DATASET, each)
        for made in manifest.objects.values() if manifest else ():
            for state, count in made.facts["states"].items():
                counts[state] = counts.get(state, 0) + count
    figures["images"] = sum(counts.values())
    figures |= {f"{ASIDE}{state}": count for state, count in sorted(counts.items()) if state != "ok"}
    if axes := readable_manifest(project.store, reduced.AXES, ClassPartition(name)):
        facts = axes.objects["axes"].facts
        figures |= {"features": facts["features"], "components": facts["components"], "variance": facts["variance"]}
    if model := readable_manifest(project.store, classifier.DATASET, ClassPartition(name)):
        ingested = model.objects["classifier"].facts
        figures |= {"test images": ingested["test_images"], "test accuracy": ingested["test_accuracy"]}
        figures["calibration error"] = ingested["calibration_error"]
    wanted = project.settings.collections.fine_tune
    if wanted and (network := readable_manifest(project.store, fine_tuned.DATASET, ClassPartition(name))):
        figures["fine-tuned test accuracy"] = network.objects["classifier"].facts["test_accuracy"]
    if axes:
        figures["Parquet"] = project.store.uri(f"{reduced.DATASET}/{name}/")
    if report:
        figures["report"] = str(report)
    return figures


def _table(rows: Iterable[tuple[str, Any]], out: Console) -> None:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # an address that is cut is no address
    for key, value in rows:
        table.add_row(plain(key), "none" if value is None else plain(str(value)))
    out.print(table)


def _say(item: ClassesResult, out: Console) -> None:
    what = f"{item.made} made, {item.kept} kept, {item.seconds:.1f} s" if item.outcome == "made" else item.message
    if item.outcome == "made" and item.message:
        what += f"; it was {item.message}"
    color = COLORS[item.outcome]
    out.print(f"[{color}]{item.outcome:8}[/] {item.asset:18} {plain(item.label):18} {hints(what)}", soft_wrap=True)
