"""Components from sums of parts against scikit-learn with all data in memory, and the Parquet that comes of them."""

from __future__ import annotations

import ast
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from collection_shards import deliver, draw, features_of, reduce, step, write_catalog, write_features
from conftest import new_project
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplan.collections import catalog
from groundplan.collections.descriptors import pca, reduced
from groundplan.collections.descriptors.pca import Axes, Sums, axes_of, merge_all, sums_of
from groundplan.core.partition import ClassPartition
from groundplan.errors import MissingInput
from groundplan.project import Project

EXACT = 1e-9


def cloud(seed: int, count: int, width: int, offset: float = 0.0) -> np.ndarray:
    """Rows whose variance falls from axis to axis, so that each component is well determined; float32."""
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(width, width)))
    spread = 3.0 * 0.75 ** np.arange(width)
    return ((random.normal(size=(count, width)) * spread) @ turn + offset).astype(np.float32)


def oracle(rows: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's components, variances, ratios and projection; signs by our rule."""
    from sklearn.decomposition import PCA

    wide = rows.astype(np.float64)
    fitted = PCA(n_components=share, svd_solver="full").fit(wide)
    components = pca.with_signs(fitted.components_)
    places = (wide - fitted.mean_) @ components.T
    return components, fitted.explained_variance_, fitted.explained_variance_ratio_, places


def assert_same(axes: Axes, rows: np.ndarray, share: float) -> None:
    components, variance, ratio, places = oracle(rows, share)
    assert axes.components.shape == components.shape
    np.testing.assert_allclose(axes.components, components, rtol=0, atol=EXACT)
    np.testing.assert_allclose(axes.variance[: axes.kept], variance, rtol=EXACT)
    np.testing.assert_allclose(axes.ratio[: axes.kept], ratio, rtol=0, atol=EXACT)
    np.testing.assert_allclose(pca.project(axes, rows), places, rtol=1e-6, atol=1e-5)  # stored as float32


def split(rows: np.ndarray, cuts: list[float]) -> list[np.ndarray]:
    return np.split(rows, sorted(int(cut * len(rows)) for cut in cuts))


# --- the components ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_components_are_those_of_scikit_learn(share: float, offset: float) -> None:
    rows = cloud(1, 500, 20, offset)
    assert_same(axes_of(sums_of(rows), share), rows, share)


def test_fewer_images_than_features() -> None:
    rows = cloud(2, 9, 20)
    axes = axes_of(sums_of(rows), 0.95)
    assert_same(axes, rows, 0.95)
    assert len(axes.variance) == 8


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 5),
    cuts=st.lists(st.floats(0, 1), max_size=7),
    order=st.randoms(use_true_random=False),
    offset=st.sampled_from([0.0, -50.0]),
)
def test_whatever_the_parts_and_their_order(seed: int, cuts: list[float], order: object, offset: float) -> None:
    rows = cloud(seed, 120, 12, offset)
    parts = split(rows, cuts)  # some of them empty
    order.shuffle(parts)  # type: ignore[attr-defined]
    merged = merge_all(sums_of(part) for part in parts)
    assert merged.count == len(rows)
    assert_same(axes_of(merged, 0.95), rows, 0.95)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.floats(0, 1), max_size=5))
def test_the_same_order_is_the_same_to_the_bit(cuts: list[float]) -> None:
    """Also through the stored bytes: what was read from the store is what was in memory."""
    parts = [sums_of(part) for part in split(cloud(3, 90, 10), cuts)]
    stored = [pca.sums_from_bytes(pca.sums_to_bytes(part)) for part in parts]
    direct, read = axes_of(merge_all(parts), 0.95), axes_of(merge_all(stored), 0.95)
    assert pca.axes_to_bytes(direct) == pca.axes_to_bytes(read)
    again = pca.axes_from_bytes(pca.axes_to_bytes(direct))
    assert pca.axes_to_bytes(again) == pca.axes_to_bytes(direct)


def test_a_part_is_kept_in_the_smaller_form_and_read_as_the_same_sums() -> None:
    few, many = cloud(6, 11, 10)[:10], cloud(7, 300, 10)
    for rows in (few, many):
        stored = pca.part_to_bytes(rows)
        assert pca.sums_to_bytes(pca.sums_from_bytes(stored)) == pca.sums_to_bytes(sums_of(rows))
    assert len(pca.part_to_bytes(many)) < many.nbytes / 4
    wide = np.zeros((20, 400), np.float32)
    assert len(pca.part_to_bytes(wide)) < wide.nbytes + 1000 < len(pca.sums_to_bytes(sums_of(wide)))
    with pytest.raises(ValueError, match="finite"):
        pca.part_to_bytes(np.full((2, 3), np.inf, np.float32))


def test_threads_parse_parts_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once fail now and then in CPython 3.11, "AST constructor recursion depth mismatch"."""
    part = pca.part_to_bytes(np.random.default_rng(3).normal(size=(40, 8)).astype(np.float32))
    parsing, most, load = set[int](), list[int](), ast.literal_eval

    def parse(text: str) -> object:
        parsing.add(threading.get_ident())
        most.append(len(parsing))
        time.sleep(0.002)  # others get a turn
        parsing.discard(threading.get_ident())
        return load(text)

    monkeypatch.setattr(ast, "literal_eval", parse)
    with ThreadPoolExecutor(4) as pool:
        assert {sums.count for sums in pool.map(pca.sums_from_bytes, [part] * 40)} == {40}
    assert len(most) >= 40
    assert max(most) == 1


def test_the_largest_loading_is_positive_and_ties_do_not_flip() -> None:
    turned = pca.with_signs(np.array([[0.1, -0.9, 0.2], [-0.7, 0.7 + 1e-12, 0.1]]))
    np.testing.assert_allclose(turned, [[-0.1, 0.9, -0.2], [0.7, -0.7, -0.1]])
    rows = cloud(4, 60, 8)
    for side in (rows, -rows):  # the data turned inside out has the same axes
        kept = axes_of(sums_of(side), 1.0).components
        assert (kept[np.arange(8), np.abs(kept).argmax(axis=1)] > 0).all()


def test_images_that_are_all_the_same_have_one_axis_without_variance() -> None:
    axes = axes_of(sums_of(np.ones((5, 4), np.float32)), 0.95)
    assert (axes.kept, axes.total, axes.explained) == (1, 0.0, 0.0)
    assert (pca.project(axes, np.ones((5, 4), np.float32)) == 0).all()


@pytest.mark.bad_input
def test_what_cannot_be_reduced_is_refused() -> None:
    with pytest.raises(ValueError, match="not a finite"):
        sums_of(np.array([[1.0, np.nan]], np.float32))
    with pytest.raises(ValueError, match="two images"):
        axes_of(sums_of(np.ones((1, 3), np.float32)), 0.95)
    with pytest.raises(ValueError, match="at most"):
        sums_of(np.zeros((1, pca.MOST_FEATURES + 1), np.float32))
    with pytest.raises(ValueError, match="nothing"):
        merge_all([])
    with pytest.raises(ValueError, match="features"):
        merge_all([sums_of(np.ones((2, 3))), sums_of(np.ones((2, 4)))])


def test_a_part_of_nothing_changes_nothing() -> None:
    some = sums_of(cloud(5, 30, 6))
    for both in ([some, pca.no_sums(6)], [pca.no_sums(6), some]):
        merged = merge_all(both)
        assert isinstance(merged, Sums)
        assert pca.sums_to_bytes(merged) == pca.sums_to_bytes(some)


# --- the steps, on a store --------------------------------------------------------------------------------------------


@pytest.fixture
def fruits(tmp_path: Path) -> Project:
    """A collection of three classes with catalogue and features, and nothing reduced yet."""
    project = new_project(tmp_path / "home", collections={"variance": 0.9})
    deliver(project, draw(tmp_path / "folder"), "fruits")
    for each in catalog.classes(project, "fruits"):
        write_catalog(project, each)
        write_features(project, each)
    return project


def test_stored_components_are_those_of_all_training_images_in_memory(fruits: Project) -> None:
    assert {name: len(made) for name, made in reduce(fruits).items()} == {
        reduced.SUMS: 9,
        reduced.AXES: 1,
        reduced.DATASET: 9,
    }
    features, splits = features_of(fruits, "fruits")
    assert {"train", "test"} <= set(splits)
    axes = reduced.load_axes(fruits, ClassPartition("fruits"))
    assert_same(axes, features[splits == "train"], 0.9)
    frame, places = reduced.load(fruits, ClassPartition("fruits"))
    np.testing.assert_allclose(places, project_rows(axes, features), atol=1e-6)
    assert frame["split"].tolist() == splits.tolist()
    assert all(not made for made in reduce(fruits).values()), "nothing is made twice"


def project_rows(axes: Axes, features: np.ndarray) -> np.ndarray:
    return (features.astype(np.float64) - axes.mean) @ axes.components.T


def test_one_class_more_makes_its_own_sums_and_the_merge(fruits: Project, tmp_path: Path) -> None:
    reduce(fruits)
    axes = reduced.load_axes(fruits, ClassPartition("fruits"))
    deliver(fruits, draw(tmp_path / "more", ("Orangen",)), "fruits")
    orange = ClassPartition("fruits", "Orangen")
    write_catalog(fruits, orange)
    write_features(fruits, orange)
    for name, each in ((reduced.SUMS, orange), (reduced.AXES, ClassPartition("fruits")), (reduced.DATASET, orange)):
        step(fruits, name, each)
    with pytest.raises(MissingInput, match="components have moved"):  # the others still lie on the axes of before
        reduced.current(fruits, ClassPartition("fruits"))
    made = reduce(fruits)
    assert (made[reduced.SUMS], made[reduced.AXES]) == ([], [])
    assert len(made[reduced.DATASET]) == 9
    features, splits = features_of(fruits, "fruits")
    again = reduced.load_axes(fruits, ClassPartition("fruits"))
    assert_same(again, features[splits == "train"], 0.9)
    assert again.count > axes.count


def test_duckdb_and_pandas_query_the_parquet_where_it_lies(fruits: Project, tmp_path: Path) -> None:
    """The query that the report shows, also while objects of an earlier build lie beside those that count."""
    import duckdb
    import pandas as pd

    from groundplan.collections.report.html import query

    reduce(fruits)
    deliver(fruits, draw(tmp_path / "more", count=14), "fruits")
    for each in catalog.classes(fruits, "fruits"):
        write_catalog(fruits, each)
        write_features(fruits, each)
    reduce(fruits)
    root = fruits.home / "store"
    assert len(list((root / reduced.DATASET / "fruits").rglob("*.parquet"))) > 9, "there is nothing stale to trip over"
    frame, places = reduced.load(fruits, ClassPartition("fruits"))
    with duckdb.connect() as connection:
        found = connection.execute(query(f"{root}/manifests/{reduced.DATASET}/fruits/*.json", str(root))).fetchall()
    expected = pd.DataFrame({"label": frame["label"], "pc": places[:, 0]}).groupby("label")["pc"].agg(["count", "mean"])
    assert [(label, count) for label, count, _ in found] == list(expected["count"].items())
    assert [mean for *_, mean in found] == pytest.approx(expected["mean"].tolist(), abs=1e-6)
    made = step(fruits, reduced.DATASET, catalog.classes(fruits, "fruits")[0]).manifest.objects["s000"]
    one = pd.read_parquet(root / made.key, columns=["label", "pc_001"])
    assert one["pc_001"].dtype == np.float32
    assert len(one) == made.facts["images"]


@pytest.mark.bad_input
def test_a_single_training_image_has_no_components(tmp_path: Path) -> None:
    project = new_project(tmp_path / "home")
    deliver(project, draw(tmp_path / "folder", ("one",), count=1), "fruits")
    each = catalog.classes(project, "fruits")[0]
    write_catalog(project, each)
    write_features(project, each)
    step(project, reduced.SUMS, each)
    with pytest.raises(MissingInput, match="two training images or more, and there are 1"):
        step(project, reduced.AXES, ClassPartition("fruits"))
