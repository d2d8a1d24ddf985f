"""Dimensionality reduction: every image on the components that carry most of the collection's variance.

Here: three steps - `feature_sums` (a class: sums of each shard), `feature_axes` (a collection: the components),
`reduced_features` (a class: each shard on the components) - and reading them. Not here: the arithmetic (pca.py).

Components are fitted to training images only, so that figures on test images say what new images will meet; all images
are put on them. A class that is added makes its own shards' sums; what is merged is sums, in the order of their keys,
never features. The merge moves the axes, so the reduced shards of all classes are written anew: one product each.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from groundplan.collections import catalog
from groundplan.collections.descriptors import features, pca
from groundplan.collections.descriptors.shards import COLUMNS, from_parquet
from groundplan.core.manifest import (
    Dataset,
    Made,
    Manifest,
    Planned,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import ClassPartition
from groundplan.errors import MissingInput
from groundplan.project import Project
from groundplan.step import About, Scope, Step

if TYPE_CHECKING:
    import pandas as pd


class SumsFacts(TypedDict):
    """What a manifest says of a shard's sums."""

    images: int
    features: int


class AxesFacts(TypedDict):
    """What a manifest says of a collection's components."""

    components: int
    variance: float  # share that they explain
    features: int
    images: int


class Facts(TypedDict):
    """What a manifest says of a shard."""

    images: int
    components: int


SUMS: Dataset[SumsFacts] = Dataset("feature_sums")
AXES: Dataset[AxesFacts] = Dataset("feature_axes")
DATASET: Dataset[Facts] = Dataset("reduced_features")
SUMS_VERSION, AXES_VERSION, VERSION = "1", "1", "1"
FIRST = "pc_"  # a column's name begins so: pc_001, pc_002 ...


def whole(partition: ClassPartition) -> ClassPartition:
    """The partition of what belongs to the collection as a whole."""
    return ClassPartition(partition.collection)


# ------------------------------------------------------------------------------------------------ sums of a class


def plan_sums(project: Project, partition: ClassPartition) -> list[Planned[Made[Any]]]:
    """A planned object for each shard of the class's features. Raises MissingInput."""
    plan = []
    for name, made in need_manifest(project.store, features.DATASET, partition).objects.items():
        digest = fingerprint(version=SUMS_VERSION, features=made.fingerprint)
        key = object_key(SUMS, partition, name, digest, ".npz")
        plan.append(Planned(name=name, fingerprint=digest, key=key, inputs=(made.key,), args=made))
    return plan


def make_sums(project: Project, planned: Planned[Made[Any]], check: Cancellation) -> Output:
    frame, rows = load_object(project.store, planned.needs, from_parquet)
    check()
    return Output(pca.part_to_bytes(rows[frame["split"].to_numpy() == "train"]))


def describe_sums(data: bytes) -> SumsFacts:
    arrays = pca.unpack(data)
    if "rows" in arrays:
        return {"images": len(arrays["rows"]), "features": arrays["rows"].shape[1]}
    return {"images": int(arrays["count"]), "features": len(arrays["mean"])}


# -------------------------------------------------------------------------------------------- axes of a collection


def plan_axes(project: Project, partition: ClassPartition) -> list[Planned[tuple[Made[Any], ...]]]:
    """One planned object, from the sums of all classes. Raises MissingInput while a class has none, and where all of
    them together have fewer than two training images.
    """
    count = sum(train_images(project, partition).values())
    if count < 2:
        raise MissingInput(
            f"components of {partition}",
            f"they need two training images or more, and there are {count}",
            "Deliver more images that can be read: the report says what is wrong with the others",
        )
    parts = [
        (f"{each.path}/{name}", made.fingerprint, made)
        for each in catalog.classes(project, partition.collection)
        for name, made in need_manifest(project.store, SUMS, each).objects.items()
    ]
    parts.sort(key=lambda part: part[0])  # by key: the order decides the last bits
    share = project.settings.collections.variance
    digest = fingerprint(version=AXES_VERSION, share=share, sums=[part[:2] for part in parts])
    sums = tuple(part[2] for part in parts)
    return [
        Planned(
            name="axes",
            fingerprint=digest,
            key=object_key(AXES, partition, "axes", digest, ".npz"),
            inputs=tuple(made.key for made in sums),
            args=sums,
        )
    ]


def train_images(project: Project, partition: ClassPartition) -> dict[str, int]:
    """Training images of each class of the collection that has any. Raises MissingInput."""
    found = {}
    for each in catalog.classes(project, partition.collection):
        objects = need_manifest(project.store, SUMS, each).objects.values()
        found[each.label] = sum(made.facts["images"] for made in objects)
    return {label: count for label, count in found.items() if count}


def make_axes(project: Project, planned: Planned[tuple[Made[Any], ...]], check: Cancellation) -> Output:
    def parts() -> Iterator[pca.Sums]:
        for made in planned.needs:
            check()
            yield load_object(project.store, made, pca.sums_from_bytes)

    merged = pca.merge_all(parts())
    return Output(pca.axes_to_bytes(pca.axes_of(merged, project.settings.collections.variance)))


def describe_axes(data: bytes) -> AxesFacts:
    axes = pca.axes_from_bytes(data)
    return {
        "components": axes.kept,
        "variance": round(axes.explained, 6),
        "features": len(axes.mean),
        "images": axes.count,
    }


def load_axes(project: Project, partition: ClassPartition) -> pca.Axes:
    """The axes that the collection's reduced features are on. Raises MissingInput."""
    made = need_manifest(project.store, AXES, whole(partition)).objects["axes"]
    return load_object(project.store, made, pca.axes_from_bytes)


def facts_of_axes(project: Project, partition: ClassPartition) -> AxesFacts:
    """What is said of the collection's axes: components, variance, features, images. Raises MissingInput."""
    return need_manifest(project.store, AXES, whole(partition)).objects["axes"].facts


# -------------------------------------------------------------------------------------------- reduced features


def plan(project: Project, partition: ClassPartition) -> list[Planned[tuple[Made[Any], Made[Any]]]]:
    """A planned object for each shard of the class's features. Raises MissingInput."""
    axes = need_manifest(project.store, AXES, whole(partition)).objects["axes"]
    planned = []
    for name, made in need_manifest(project.store, features.DATASET, partition).objects.items():
        digest = fingerprint(version=VERSION, features=made.fingerprint, axes=axes.fingerprint)
        key = object_key(DATASET, partition, name, digest, ".parquet")
        planned.append(Planned(name=name, fingerprint=digest, key=key, inputs=(made.key, axes.key), args=(made, axes)))
    return planned


def make(project: Project, planned: Planned[tuple[Made[Any], Made[Any]]], check: Cancellation) -> Output:
    shard, made = planned.needs
    frame, rows = load_object(project.store, shard, from_parquet)
    axes = load_object(project.store, made, pca.axes_from_bytes)
    check()
    return Output(to_parquet(frame, pca.project(axes, rows)))


def to_parquet(frame: pd.DataFrame, places: np.ndarray) -> bytes:
    """A column for each component, float32: a query reads only those that it names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(frame[name], pa.string()) for name in COLUMNS}
    columns |= {
        f"{FIRST}{number + 1:03d}": pa.array(np.ascontiguousarray(places[:, number]))
        for number in range(places.shape[1])
    }
    buffer = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        buffer,
        compression="zstd",
        use_dictionary=["label", "split"],
        write_statistics=[*COLUMNS, f"{FIRST}001", f"{FIRST}002"],
    )
    return buffer.getvalue()


def describe(data: bytes) -> Facts:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    return {"images": file.metadata.num_rows, "components": file.metadata.num_columns - len(COLUMNS)}


def current(project: Project, partition: ClassPartition) -> list[tuple[str, Manifest]]:
    """Each class's label and its manifest of reduced features, all on the same axes. Raises MissingInput."""
    axes = need_manifest(project.store, AXES, whole(partition)).objects["axes"]
    found = []
    for each in catalog.classes(project, partition.collection):
        manifest = need_manifest(project.store, DATASET, each)
        if any(axes.key not in made.inputs for made in manifest.objects.values()):
            raise MissingInput(
                f"{DATASET} of {each}",
                "the components have moved since, as images came or went",
                f"Run `groundplan build {each.options} --select {DATASET}`",
            )
        found.append((each.label, manifest))
    return found


def load(project: Project, partition: ClassPartition, most: int | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """Reduced features of a class, or of all classes: key, label, digest, split, group; float32 (N, k).

    most: read only so many components.

    Rows are in the order of classes and shards. Raises MissingInput.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifests = (
        [need_manifest(project.store, DATASET, partition)]
        if partition.label
        else [manifest for _, manifest in current(project, partition)]
    )
    shards = [made for manifest in manifests for made in manifest.objects.values()]
    if not shards:
        raise MissingInput(
            f"reduced features of {partition}", "no image of it can be used", "See the collection's report"
        )
    components = load_axes(project, partition).kept
    names = [f"{FIRST}{number + 1:03d}" for number in range(min(components, most or components))]
    wanted = [*COLUMNS, *names]

    def columns(data: bytes) -> pa.Table:
        return pq.read_table(io.BytesIO(data), columns=wanted)

    table = pa.concat_tables([load_object(project.store, made, columns) for made in shards])
    places = np.empty((table.num_rows, len(names)), np.float32)
    for number, name in enumerate(names):
        places[:, number] = table.column(name).to_numpy()
    return table.select(COLUMNS).to_pandas(), places


SUMS_STEP: Step[ClassPartition] = Step(
    name=SUMS,
    version=SUMS_VERSION,
    plan=plan_sums,
    make=make_sums,
    describe=describe_sums,
    scope=Scope.CLASS,
    reads=(features.DATASET,),
    comes_with=features.DATASET,
)
AXES_STEP: Step[ClassPartition] = Step(
    name=AXES,
    version=AXES_VERSION,
    plan=plan_axes,
    make=make_axes,
    describe=describe_axes,
    scope=Scope.COLLECTION,
    reads=(SUMS,),
    comes_with=DATASET,
)
STEP: Step[ClassPartition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.CLASS,
    reads=(features.DATASET, AXES),
    reads_around=(features.DATASET,),
    about=About(
        title="Reduced features: each image on the collection's principal components",
        description="Exact principal components from the sums of all classes' training images: the same as on one "
        "machine with all data in memory. Parquet with a column for each component, to be queried where it lies.",
        group="collections",
        kinds=frozenset({"parquet", "scipy"}),
        columns=(
            ("key", "string", "the image's object in the store"),
            ("label", "string", "its class"),
            ("digest", "string", "SHA-256 of the stored image"),
            ("split", "string", "train, validation or test"),
            ("group", "string", "near-duplicates share one"),
            ("pc_001", "float", "place on the first component; pc_002 ... as many as were kept"),
        ),
    ),
)
