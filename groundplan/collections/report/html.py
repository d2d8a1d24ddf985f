"""The HTML of a collection's report: one page, pictures inside it, nothing fetched from anywhere.

Here: rows and figures for templates/collection.html.j2, which escapes all that comes from outside. Not here: finding it
out (report.py).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundplan.collections.classification import linear
from groundplan.collections.descriptors import pca
from groundplan.collections.descriptors.reduced import DATASET as REDUCED
from groundplan.core.manifest import Manifest
from groundplan.core.templates import templates

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "validation", "test", "aside")
MOST_ROWS = 1000  # of a table; the catalogue's Parquet has all of them
TITLES = {"map": "map of the images", "scree": "variance by component", "confusion": "confusion matrix"}
Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that a report shows. The pictures are PNG or JPEG bytes by their names."""

    collection: str
    catalogs: dict[str, Manifest]
    rows: pd.DataFrame  # the catalogue of all classes
    axes: pca.Axes | None
    found: linear.ImageClassifier | None
    why_not: str  # why there is no classifier, or no components
    pictures: dict[str, bytes]
    features: dict[str, Any]
    reduced_at: str  # where the manifests of the reduced features lie
    root: str  # of the store
    tuned: dict[str, Any] | None = None  # the fine-tuned encoder's card
    tuned_why_not: str = ""

    @property
    def card(self) -> dict[str, Any]:
        """The classifier's; empty where there is none."""
        return self.found.card if self.found is not None else {}

    @property
    def test(self) -> dict[str, Any]:
        """The classifier's figures on test images; empty where there are none."""
        return self.card.get("test") or {}


def page(told: ReportData) -> str:
    """The whole report, UTF-8."""
    # a page says no folder of its maker's machine: in a folder, the query is to be run there
    root = "." if told.root.startswith("file:") else told.root.rstrip("/")
    noted, more = noted_rows(told)
    template = templates(__package__).get_template("collection.html.j2")
    return template.render(
        told=told,
        splits=SPLITS,
        titles=TITLES,
        is_figure=is_figure,
        summary=summary_rows(told),
        features=", ".join(f"{key} {value}" for key, value in told.features.items()),
        pictures={name: address(data) for name, data in told.pictures.items()},
        classes=class_rows(told),
        reliability=reliability_rows(told),
        compared=compared_rows(told),
        looks=look_rows(told),
        noted=noted,
        more=more,
        root=root,
        dataset=REDUCED,
        query=query(f"{told.reduced_at.replace(told.root.rstrip('/'), root)}/*.json", root),
    )


def summary_rows(told: ReportData) -> list[tuple[str, Any]]:
    """The figures that matter most; the command line prints them too."""
    good = told.rows["state"] == "ok"
    rows: list[tuple[str, Any]] = [
        ("classes", len(told.catalogs)),
        ("images", len(told.rows)),
        ("of them used", int(good.sum())),
    ]
    rows += [(f"images set aside: {state}", count) for state, count in told.rows["state"][~good].value_counts().items()]
    if told.axes is not None:
        rows += [
            ("features of an image", len(told.axes.mean)),
            ("components", told.axes.kept),
            ("variance on them", f"{100 * told.axes.explained:.2f} %"),
        ]
    if told.found is not None:
        test = told.test
        rows += [
            ("test images", test["images"] if test else 0),
            ("test accuracy", f"{test['accuracy']:.4f}" if test else "no test images"),
        ]
        if test:
            rows.append(("calibration error, test", f"{test['calibration_error']:.4f}"))
    return rows


def class_rows(told: ReportData) -> list[Row]:
    """Of each class: images, used ones, those of each split, groups, precision and recall."""
    judged = {row["class"]: row for row in told.test.get("classes", [])}
    lines: list[Row] = []
    for label in told.catalogs:
        mine = told.rows[told.rows["label"] == label]
        good = mine[mine["state"] == "ok"]
        splits = [int((good["split"] == split).sum()) for split in SPLITS]
        figures = [judged.get(label, {}).get(name) for name in ("precision", "recall")]
        shares = ["" if share is None else f"{share:.3f}" for share in figures]
        lines.append((label, len(mine), len(good), *splits, good["group"].nunique(), *shares))
    return lines


def reliability_rows(told: ReportData) -> list[Row]:
    return [(f"{sure:.3f}", f"{right:.3f}", count) for sure, right, count in told.test.get("reliability", [])]


def compared_rows(told: ReportData) -> list[Row]:
    """The fine-tuned encoder beside the linear classifier, on test images."""
    cards = [("linear, on components", told.card), ("fine-tuned encoder", told.tuned or {})]
    names = ("images", "accuracy", "log_loss", "calibration_error")
    return [(title, *(card["test"][name] for name in names)) for title, card in cards if card.get("test")]


def look_rows(told: ReportData) -> list[Row]:
    """The fine-tuned encoder on validation images, while it learned."""
    history = told.tuned["history"] if told.tuned else []
    return [(int(row["step"]), row["loss"], row["accuracy"]) for row in history]


def noted_rows(told: ReportData) -> tuple[list[Row], int]:
    """What is worth a word, of classes and of files, and how many files more there are than a table holds."""
    noted = told.rows[(told.rows["state"] != "ok") | (told.rows["reason"] != "")]
    noted = noted.sort_values(["label", "key"], kind="stable")
    lines: list[Row] = [
        (label, "the class", "note", note, "")
        for label, manifest in told.catalogs.items()
        for made in manifest.objects.values()
        for note in made.facts["notes"]
    ]
    lines += [
        (row.label, str(row.key).rsplit("/", 1)[-1], row.state, row.reason, row.remedy)
        for row in noted.head(MOST_ROWS).itertuples()
    ]
    return lines, len(noted) - MOST_ROWS


def query(manifests: str, root: str) -> str:
    """DuckDB, from the manifests to a table; works in the store's folder and, with httpfs, on a bucket."""
    return f"""SET VARIABLE files = (SELECT list('{root}/' || made.key) FROM (
    SELECT unnest(map_values(objects)) AS made FROM read_json('{manifests}',
        columns = {{objects: 'MAP(VARCHAR, STRUCT("key" VARCHAR))'}})));
SELECT label, count(*) AS images, avg(pc_001) AS first_component
FROM read_parquet(getvariable('files')) GROUP BY label ORDER BY label;"""


def address(data: bytes) -> str:
    """A picture as an address that holds it."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def pictures_in(html: str) -> dict[str, bytes]:
    """The pictures of a finished page by name: drawn once, shown in several places."""
    found = re.findall(r'<img id="(\w+)" alt="[^"]*" src="data:image/\w+;base64,([^"]+)">', html)
    return {name: base64.b64decode(data) for name, data in found}


def is_figure(value: Any) -> bool:
    """Whether a cell is set to the right."""
    return bool(re.fullmatch(r"-?[0-9.]+( %)?", str(value)))
