"""The report of a collection: self-contained, honest about what was left out, safe whatever names come in."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from collection_shards import CLASSES, deliver, draw, reduce, step, write_catalog, write_features
from conftest import new_project
from PIL import Image

from groundplan.collections import catalog
from groundplan.collections.classification import classifier
from groundplan.collections.descriptors import reduced
from groundplan.collections.report import figures, report
from groundplan.collections.report.html import ReportData, page, pictures_in
from groundplan.core.manifest import Manifest, need_manifest
from groundplan.core.partition import ClassPartition
from groundplan.project import Project

WHOLE = ClassPartition("fruits")
NASTY = "<script>alert(1)</script>&amp"


def made(tmp_path: Path, labels: tuple[str, ...] = CLASSES, **settings: object) -> Project:
    project = new_project(tmp_path / "home", collections={"variance": 0.9, **settings})
    folder = draw(tmp_path / "folder", labels)
    (folder / labels[0] / "note.txt").write_text("no image")
    (folder / labels[0] / "short.jpg").write_bytes((folder / labels[0] / "bild 01.jpg").read_bytes()[:300])
    deliver(project, folder, "fruits")
    for each in catalog.classes(project, "fruits"):
        write_catalog(project, each)
        write_features(project, each)
    reduce(project)
    return project


def html_of(project: Project) -> str:
    key = need_manifest(project.store, report.DATASET, WHOLE).objects["report"].key
    return project.store.get(key).decode()


class Links(HTMLParser):
    """Everything that a browser would fetch, and every element that would do something."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.active: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]
        if tag in ("script", "iframe", "object", "form", "link") or any(name.startswith("on") for name, _ in attrs):
            self.active.append(tag)

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def test_the_report_is_one_file_with_everything_in_it(tmp_path: Path) -> None:
    project = made(tmp_path, (NASTY.replace("/", " "), *CLASSES[1:]))
    step(project, classifier.DATASET, WHOLE)
    step(project, report.DATASET, WHOLE)
    assert not step(project, report.DATASET, WHOLE).made, "nothing is made twice"
    path = report.write_report(project, "fruits")
    assert path == project.home / "reports/fruits.html"
    html = path.read_text("utf-8")
    assert project.store.get("previews/collections/fruits/report.html").decode() == html
    seen = Links()
    seen.feed(html)
    assert len(seen.fetched) == 3
    assert all(link.startswith("data:image/") for link in seen.fetched)
    assert not seen.active, "a class name became an element"
    text = "\n".join(seen.cells)
    test = classifier.load(project, "fruits").card["test"]
    axes = reduced.load_axes(project, WHOLE)
    for told in (f"{test['accuracy']:.4f}", str(axes.kept), f"{100 * axes.explained:.2f} %", "note.txt", "short.jpg"):
        assert told in text, told
    for name, data in pictures_in(html).items():
        assert min(Image.open(io.BytesIO(data)).size) > 150, name


@pytest.mark.bad_input
def test_whatever_the_report_is_told_is_text() -> None:
    """Names, reasons and settings, each a script with quotes; spelled as in the reports that are stored."""
    nasty = """<script>alert("1")</script> it's"""
    row = {"label": nasty, "key": f"a/{nasty.replace('/', '|')}", "state": nasty, "reason": nasty, "remedy": nasty}
    rows = pd.DataFrame([row | {"split": "train", "group": 1}])
    features, catalogs = (
        {"weights": nasty},
        {nasty: Manifest(dataset=catalog.DATASET, partition=WHOLE, version=nasty, fingerprint=nasty, objects={})},
    )
    told = ReportData(
        collection=nasty,
        catalogs=catalogs,
        rows=rows,
        axes=None,
        found=None,
        why_not=nasty,
        pictures={},
        features=features,
        reduced_at=nasty,
        root=nasty,
        tuned=None,
        tuned_why_not=nasty,
    )
    html = page(told)
    seen = Links()
    seen.feed(html)
    assert not seen.active
    assert not seen.fetched
    assert html.count("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; it&#x27;s") >= 12
    assert "<script" not in html


def test_without_a_classifier_the_report_says_why(tmp_path: Path) -> None:
    project = made(tmp_path, ("only",))
    step(project, report.DATASET, WHOLE)
    html = html_of(project)
    assert "training images of two classes, and there are 1" in html
    assert set(pictures_in(html)) == {"scree", "map"}


def test_figures_of_yesterday_are_not_shown_as_today_s(tmp_path: Path) -> None:
    project = made(tmp_path)
    step(project, classifier.DATASET, WHOLE)
    step(project, report.DATASET, WHOLE)
    assert "test accuracy" in html_of(project)
    deliver(project, draw(tmp_path / "more", count=14), "fruits")
    for each in catalog.classes(project, "fruits"):
        write_catalog(project, each)
        write_features(project, each)
    reduce(project)
    step(project, report.DATASET, WHOLE)
    assert "test accuracy" not in html_of(project)
    assert "No classifier was learned from the images as they are now." in html_of(project)


def test_thumbnails_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = made(tmp_path, thumbnails=False)
    read: list[str] = []
    get = type(project.store).get
    monkeypatch.setattr(type(project.store), "get", lambda self, key: (read.append(key), get(self, key))[1])
    report.map_of(project, WHOLE)
    assert read
    assert not [key for key in read if key.startswith("collections/")], "an image was read"


def test_thumbnails_do_not_hide_each_other_and_are_of_the_right_image(tmp_path: Path) -> None:
    project = made(tmp_path)
    frame, places = reduced.load(project, WHOLE, most=2)
    rows = figures.spread(places, list(range(len(places))))
    assert len(rows) == len(set(rows)) <= len(places)
    low, high = places.min(axis=0), places.max(axis=0)
    cells = ((places[rows] - low) / (high - low) * (np.array(figures.CELLS) - 1e-6)).astype(int)
    assert len(np.unique(cells, axis=0)) == len(rows)
    for row in rows[:3]:
        shown = report.thumbnail(project, str(frame["key"][row]), row)
        assert shown is not None
        image = Image.open(io.BytesIO(project.store.get(str(frame["key"][row]))))
        assert np.abs(shown.pixels.mean(axis=(0, 1)) - np.asarray(image).mean(axis=(0, 1))).max() < 3


def test_pictures_of_many_classes_and_odd_names_stay_small() -> None:
    random = np.random.default_rng(0)
    labels = [f"_$x^{number % 131}$ {{" for number in range(2000)]
    picture = figures.collection_map(random.normal(size=(2000, 2)), labels)
    assert len(picture) < 100_000
    matrix = np.diag(random.integers(0, 90, 131)).tolist()
    assert len(figures.confusion(matrix, sorted(set(labels)))) < 100_000
    one = figures.collection_map(np.zeros((1, 1)), ["one"])
    assert re.match(rb"\xff\xd8", one)
