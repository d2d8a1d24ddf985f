"""The HTML of a collection's report: one page, pictures inside it, nothing fetched from anywhere.

Here: turning what is told into tables and text; everything that comes from outside is escaped. Not here: finding it out
(report.py).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from groundplan.collections.descriptors.reduced import DATASET as REDUCED

if TYPE_CHECKING:
    pass
from dataclasses import dataclass

from groundplan.collections.classification import linear
from groundplan.collections.descriptors import pca
from groundplan.core.manifest import Manifest

if TYPE_CHECKING:
    import pandas as pd


SPLITS = ("train", "validation", "test", "aside")
MOST_ROWS = 1000  # of a table; the catalogue's Parquet has all of them
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; color: #1c2733 }
table { border-collapse: collapse; margin: .6rem 0 1.4rem } th { font-weight: 600; background: #f4f6f9 }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #dde3ea; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere } td.n { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100%; height: auto }
.note { background: #fff6e0; padding: .6rem .9rem; border-left: 4px solid #e0a000 }
pre { background: #f4f6f9; padding: .8rem; overflow-x: auto } h2 { margin-top: 2.2rem }
"""


def page(told: Told) -> str:
    """The whole report, UTF-8."""
    parts = [
        f"<h1>Collection {escape(told.collection)}</h1>",
        _summary(told),
        _map(told),
        _classes(told),
        _test(told),
        _tuned(told),
        _set_aside(told),
        _variance(told),
        _where(told),
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # also if a name were to hold a script
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Collection {escape(told.collection)}</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def summary_rows(told: Told) -> list[tuple[str, Any]]:
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
        test = told.found.card["test"]
        rows += [
            ("test images", test["images"] if test else 0),
            ("test accuracy", f"{test['accuracy']:.4f}" if test else "no test images"),
        ]
        if test:
            rows.append(("calibration error, test", f"{test['calibration_error']:.4f}"))
    return rows


def _summary(told: Told) -> str:
    told_of = ", ".join(f"{key} {value}" for key, value in told.features.items())
    note = f'<p class="note">{escape(told.why_not)}</p>' if told.why_not else ""
    return note + table(("", ""), summary_rows(told)) + f"<p>Features: {escape(told_of)}.</p>"


def _map(told: Told) -> str:
    if "map" not in told.pictures:
        return ""
    return "<h2>The collection on its first two components</h2>" + picture(told, "map")


def _classes(told: Told) -> str:
    recall = {}
    if told.found is not None and told.found.card["test"]:
        recall = {row["class"]: row for row in told.found.card["test"]["classes"]}
    lines = []
    for label in told.catalogs:
        mine = told.rows[told.rows["label"] == label]
        good = mine[mine["state"] == "ok"]
        splits = [int((good["split"] == split).sum()) for split in SPLITS]
        figures = recall.get(label, {})
        lines.append(
            (
                label,
                len(mine),
                len(good),
                *splits,
                good["group"].nunique(),
                _figure(figures.get("precision")),
                _figure(figures.get("recall")),
            )
        )
    head = ("class", "images", "used", *SPLITS, "groups", "precision", "recall")
    return (
        "<h2>Classes</h2>"
        + table(head, lines)
        + (
            "<p>Near-duplicates, such as rotations of one object, are one group, and a group is in one split. Images "
            "that look like both sides of a border are aside: they neither teach nor test. Precision and recall are of "
            "test images.</p>"
        )
    )


def _test(told: Told) -> str:
    if told.found is None or not told.found.card["test"]:
        return ""
    card, test = told.found.card, told.found.card["test"]
    lines = [(f"{sure:.3f}", f"{right:.3f}", count) for sure, right, count in test["reliability"]]
    left = f"<p>Without training images, and so left out: {escape(', '.join(card['left_out']))}.</p>"
    return (
        "<h2>What is taken for what, on test images</h2>"
        + picture(told, "confusion")
        + (left if card["left_out"] else "")
        + "<h2>How sure, and how right</h2>"
        + f"<p>Expected calibration error {test['calibration_error']:.4f}; before temperature scaling "
        f"{test['calibration_error_before']:.4f}. Temperature {card['temperature']}, penalty {card['penalty']}, both "
        "chosen on validation images.</p>" + table(("mean confidence", "share right", "images"), lines)
    )


def _tuned(told: Told) -> str:
    """The fine-tuned encoder beside the linear classifier, where one was asked for."""
    if told.tuned is None:
        note = f'<p class="note">{escape(told.tuned_why_not)}</p>'
        return f"<h2>Fine-tuned encoder</h2>{note}" if told.tuned_why_not else ""
    cards = [("linear, on components", told.found.card if told.found else {}), ("fine-tuned encoder", told.tuned)]
    names = ("images", "accuracy", "log_loss", "calibration_error")
    lines = [(title, *(card["test"][name] for name in names)) for title, card in cards if card.get("test")]
    looks = [(int(row["step"]), row["loss"], row["accuracy"]) for row in told.tuned["history"]]
    return (
        "<h2>Fine-tuned encoder</h2>"
        + table(("classifier", "test images", "accuracy", "log loss", "calibration error"), lines)
        + f"<p>{told.tuned['recipe']['steps']} steps on training images; the step with the least loss on validation "
        f"images is kept. Temperature {told.tuned['temperature']}.</p>"
        + table(("step", "validation loss", "validation accuracy"), looks)
    )


def _set_aside(told: Told) -> str:
    noted = told.rows[(told.rows["state"] != "ok") | (told.rows["reason"] != "")]
    noted = noted.sort_values(["label", "key"], kind="stable")
    lines = [
        (label, "the class", "note", note, "")
        for label, manifest in told.catalogs.items()
        for made in manifest.objects.values()
        for note in made.facts["notes"]
    ]
    lines += [
        (row.label, str(row.key).rsplit("/", 1)[-1], row.state, row.reason, row.remedy)
        for row in noted.head(MOST_ROWS).itertuples()
    ]
    if not lines:
        return "<h2>Set aside</h2><p>Nothing: every file is an image that could be used as it is.</p>"
    more = f"<p>{len(noted) - MOST_ROWS} more are in the catalogue.</p>" if len(noted) > MOST_ROWS else ""
    head = ("class", "file", "state", "reason", "what to do")
    return "<h2>Set aside, or worth a word</h2>" + table(head, lines) + more


def _variance(told: Told) -> str:
    if "scree" not in told.pictures:
        return ""
    return "<h2>Variance by component</h2>" + picture(told, "scree")


def _where(told: Told) -> str:
    manifests = f"{told.reduced_at.removeprefix('file://')}/*.json"
    root = told.root.removeprefix("file://").rstrip("/")
    return (
        "<h2>Where the reduced features lie</h2>"
        f"<p>Parquet, a row for each image, a column for each component, below <code>{escape(root)}/{REDUCED}/"
        f"{escape(told.collection)}/</code>. The manifests name the files that count: older ones lie beside them until "
        "<code>groundplan gc</code>.</p>"
        f"<pre>{escape(query(manifests, root))}</pre>"
    )


def query(manifests: str, root: str) -> str:
    """DuckDB, from the manifests to a table; works on a folder and, with its httpfs extension, on a bucket."""
    return f"""SET VARIABLE files = (SELECT list('{root}/' || made.key) FROM (
    SELECT unnest(map_values(objects)) AS made FROM read_json('{manifests}',
        columns = {{objects: 'MAP(VARCHAR, STRUCT("key" VARCHAR))'}})));
SELECT label, count(*) AS images, avg(pc_001) AS first_component
FROM read_parquet(getvariable('files')) GROUP BY label ORDER BY label;"""


TITLES = {"map": "map of the images", "scree": "variance by component", "confusion": "confusion matrix"}


def picture(told: Told, name: str) -> str:
    data = told.pictures[name]
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f'<img id="{name}" alt="{TITLES[name]}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def pictures_in(html: str) -> dict[str, bytes]:
    """The pictures of a finished page by name: drawn once, shown in several places."""
    found = re.findall(r'<img id="(\w+)" alt="[^"]*" src="data:image/\w+;base64,([^"]+)">', html)
    return {name: base64.b64decode(data) for name, data in found}


def table(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Rows of anything; numbers are set to the right."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(_cell(cell) for cell in line) + "</tr>" for line in lines)
    return f"<table>{f'<tr>{top}</tr>' if any(head) else ''}\n{body}\n</table>"


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"<td{' class=n' if re.fullmatch(r'-?[0-9.]+( %)?', text) else ''}>{escape(text)}</td>"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@dataclass(frozen=True)
class Told:
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
