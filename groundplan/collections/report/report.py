"""The report of a collection: one HTML file that opens in any browser, without a server and without the network.

Here: the step, what it reads, and which images are shown. Not here: its HTML (html.py), its pictures
(figures.py).

It says what could not be used and why, row by row, also when the rest of the collection came out well.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.collections import catalog
from groundplan.collections.classification import classifier as classified
from groundplan.collections.classification import fine_tuned, linear
from groundplan.collections.descriptors import pca, reduced
from groundplan.collections.images.decode import BadImage, decode
from groundplan.collections.report import figures
from groundplan.core.manifest import (
    Dataset,
    Manifest,
    Planned,
    fingerprint,
    is_current,
    need_manifest,
    object_key,
    read_manifest,
    read_object,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import ClassPartition
from groundplan.errors import BadConfig, MissingInput
from groundplan.project import Project
from groundplan.step import About, Scope, Step

if TYPE_CHECKING:
    import pandas as pd
from groundplan.collections.report.html import ReportData


class Facts(TypedDict):
    """What a manifest says of an object."""

    bytes: int


DATASET: Dataset[Facts] = Dataset("collection_report")
VERSION = "1"
FETCHES = 16  # thumbnails read at a time
SIDE = 64  # pixels of a thumbnail


Needs: TypeAlias = "ClassPartition"
"""What an object is made from."""


def plan(project: Project, partition: ClassPartition) -> list[Planned[Needs]]:
    """One object, from every class's catalogue and what there is of the rest. Raises MissingInput."""
    marks: list[Any] = []
    for each in catalog.classes(project, partition.collection):
        manifest = read_manifest(project.store, catalog.DATASET, each)
        if manifest is None:
            raise MissingInput(
                f"{catalog.DATASET} of {each}", "it has not been made yet", f"Run `groundplan build {each.options}`"
            )
        marks.append([each.path, manifest.identity()])
    axes, model, why = _made(project, partition)
    mark = fingerprint(
        version=VERSION,
        catalogs=marks,
        axes=axes and axes.identity(),
        model=model and model.identity(),
        why=why,
        thumbnails=project.settings.collections.thumbnails,
        root=project.store.url,
        **_tuned_mark(project, partition),
    )
    return [
        Planned(
            name="report",
            fingerprint=mark,
            key=object_key(DATASET, partition, "report", mark, ".html"),
            inputs=(),
            args=partition,
        )
    ]


def _made(project: Project, partition: ClassPartition) -> tuple[Manifest | None, Manifest | None, str]:
    """Components and classifier if they are current, else why not: yesterday's figures are not shown as today's."""
    axes, model = None, None
    try:
        axes = read_manifest(project.store, reduced.AXES, partition)
        if not is_current(axes, reduced.AXES_VERSION, reduced.plan_axes(project, partition)):
            return None, None, "The components have not been computed from the images as they are now."
        model = read_manifest(project.store, classified.DATASET, partition)
        if not is_current(model, classified.VERSION, classified.plan(project, partition)):
            return axes, None, "No classifier was learned from the images as they are now."
    except MissingInput as error:
        return axes, model, str(error)
    return axes, model, ""


def _tuned(project: Project, partition: ClassPartition) -> tuple[Manifest | None, str]:
    """The fine-tuned classifier if one is asked for and current, else why there is none."""
    if not project.settings.collections.fine_tune:
        return None, ""
    try:
        found = read_manifest(project.store, fine_tuned.DATASET, partition)
        if is_current(found, fine_tuned.VERSION, fine_tuned.plan(project, partition)):
            return found, ""
    except MissingInput as error:
        return None, str(error)
    return None, "The encoder has not been fine-tuned on the images as they are now."


def _tuned_mark(project: Project, partition: ClassPartition) -> dict[str, Any]:
    """What a report's identity says of fine-tuning: nothing where none is asked for."""
    if not project.settings.collections.fine_tune:
        return {}
    found, why = _tuned(project, partition)
    return {"tuned": [found and found.identity(), why]}


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    from groundplan.collections.report.html import page

    partition = planned.needs
    catalogs, rows = read_catalogs(project, partition)
    axes, model, why = _made(project, partition)
    told_axes = reduced.load_axes(project, partition) if axes else None
    found = classified.load(project, partition.collection) if model else None
    check()
    pictures = pictures_of(project, partition, told_axes, found)
    tuned_there, tuned_why = _tuned(project, partition)
    told = ReportData(
        collection=partition.collection,
        catalogs=catalogs,
        rows=rows,
        axes=told_axes,
        found=found,
        why_not=why,
        pictures=pictures,
        features=classified.feature_settings(project),
        reduced_at=project.store.uri(f"manifests/{reduced.DATASET}/{partition.collection}"),
        root=project.store.url,
        tuned=fine_tuned.load(project, partition.collection).card if tuned_there else None,
        tuned_why_not=tuned_why,
    )
    return Output(page(told).encode())


def describe(data: bytes) -> Facts:
    return {"bytes": len(data)}


def read_catalogs(project: Project, partition: ClassPartition) -> tuple[dict[str, Manifest], pd.DataFrame]:
    """Each class's manifest by its label, and the rows of all of them. Raises MissingInput."""
    import pandas as pd

    found = catalog.classes(project, partition.collection)
    if not found:
        raise MissingInput(f"collection {partition}", "it has no class", "Deliver images: `groundplan add-collection`")
    manifests = {each.label: need_manifest(project.store, catalog.DATASET, each) for each in found}
    return manifests, pd.concat([catalog.load(project, each) for each in found], ignore_index=True)


def pictures_of(
    project: Project, partition: ClassPartition, axes: pca.Axes | None, found: linear.ImageClassifier | None
) -> dict[str, bytes]:
    """The pictures that can be drawn of what there is: `scree`, `map`, `confusion`."""
    pictures = {}
    if axes is not None:
        pictures["scree"] = figures.scree(axes)
        with suppress(MissingInput):  # the components are there and no image is on them yet
            pictures["map"] = map_of(project, partition)
    if found is not None and found.card["test"]:
        pictures["confusion"] = figures.confusion(found.card["test"]["confusion"], found.labels)
    return pictures


def map_of(project: Project, partition: ClassPartition) -> bytes:
    """The collection, or a class of it, at its first two components, JPEG. Raises MissingInput."""
    frame, places = reduced.load(project, partition, most=2)
    thumbnails: list[figures.Thumbnail] = []
    if project.settings.collections.thumbnails:
        by_digest = np.argsort(frame["digest"].to_numpy(), kind="stable")  # as good as by lot, and always the same
        rows = figures.spread(places, [int(row) for row in by_digest])
        with ThreadPoolExecutor(FETCHES, thread_name_prefix="thumbnail") as pool:
            found = pool.map(lambda row: thumbnail(project, str(frame["key"][row]), row), rows)
            thumbnails = [each for each in found if each is not None]
    return figures.collection_map(places, frame["label"].tolist(), thumbnails)


def thumbnail(project: Project, key: str, row: int) -> figures.Thumbnail | None:
    """A small picture of an image; None when it was removed meanwhile, or changed into something that is none."""
    from PIL import Image

    try:
        pixels = decode(project.store.get(key), project.settings.collections.max_pixels, SIDE).pixels
    except (MissingInput, BadImage):
        return None
    small = Image.fromarray(pixels)
    small.thumbnail((SIDE, SIDE))
    return figures.Thumbnail(row, np.asarray(small))


def write_report(project: Project, collection: str) -> Path:
    """Copy the report to `previews/` in the store, and to `reports/` in the home: its path there.

    Raises MissingInput, BadConfig when the home cannot be written.
    """
    made = need_manifest(project.store, DATASET, ClassPartition(collection)).objects["report"]
    data = read_object(project.store, made)
    project.store.put(preview_key(collection), data)
    path = project.home / "reports" / f"{collection}.html"
    temporary = path.with_suffix(".part")
    try:
        path.parent.mkdir(exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise BadConfig(str(path), f"the report cannot be written ({error.strerror})", "Free the place") from error
    return path


def preview_key(collection: str) -> str:
    return f"previews/collections/{collection}/report.html"


STEP: Step[ClassPartition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.COLLECTION,
    reads=("image_classifier",),
    profile="io",
    about=About(
        title="The collection's report: one HTML page",
        description="Opens in a browser without a server: figures, a map of the collection with thumbnails (they can "
        "be switched off), confusion matrix, calibration, and a row for everything that could not be used.",
        group="collections",
        kinds=frozenset({"html"}),
    ),
)
