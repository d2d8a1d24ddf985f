"""Checks of a country's file: every region is in it whole, and no two regions hold one building.

Here: both verdicts, a file in memory at a time. Not here: the list of checks (checks.py), making the file
(footprints/national.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundplan.core.manifest import Made, Manifest, need_manifest, read_manifest, read_object
from groundplan.core.partition import Partition
from groundplan.footprints import footprints, national
from groundplan.footprints.national_tables import bounds_of, from_bytes
from groundplan.project import Project
from groundplan.quality.verdict import Verdict

OVERLAP = 1.0  # m2 that two regions' buildings may share
MOST_WRONG = 50  # lines of a table
MOST_IDS = 16_000_000  # held at once, 8 bytes each; of more, a part at a time

Hashes = NDArray[np.uint64]


class Digest(NamedTuple):
    """Of a set of ids, whatever their order."""

    rows: int
    total: int


def national_whole(project: Project, partition: Partition) -> Verdict:
    """Check: each region's footprints are in the file, as they are now, and no id stands in it twice."""
    manifest = need_manifest(project.store, national.DATASET, partition)
    lacking = national.lacking(project, partition)
    inside = _regions(project, manifest)
    torn = sorted(name for name, digest in inside.items() if _outside(project, partition, name) != digest)
    twice = _twice(project, manifest)
    count = sum(digest.rows for digest in inside.values())
    facts: dict[str, Any] = {
        "buildings": count,
        "regions": len(inside),
        "regions not whole": len(torn),
        "ids twice": len(twice),
        "regions lacking": len({*lacking.unmade, *lacking.late}),
    }
    said = lacking.sentences()
    serious = bool(torn or twice or lacking.gone or lacking.late)
    if torn:
        said.append(f"not in it as they are now: {national.few(tuple(torn))}")
    if twice:
        said.append(f"{len(twice)} ids stand in it twice, such as {twice[0]}")
    if not said:
        return Verdict(passed=True, message=f"all {count} buildings of {len(inside)} regions, each once", facts=facts)
    lines = [*((name, "region") for name in torn), *((one, "id, twice") for one in twice)]
    return Verdict(
        passed=False,
        message="; ".join(said),
        serious=serious,
        facts=facts,
        remedy=f"Make what is missing, then `groundplan build {partition.options} --select {national.DATASET}`",
        wrong=(("what", "kind"), *lines[:MOST_WRONG]) if lines else (),
    )


def _regions(project: Project, manifest: Manifest[Any, Any]) -> dict[str, Digest]:
    """Digest of the ids that the file holds of each region."""
    found: dict[str, Digest] = {}
    for table in national.tables(project, list(manifest.objects.values()), ["id", "region"]):
        regions = table["region"].combine_chunks().dictionary_encode()
        hashes, codes = _hashes(table["id"]), regions.indices.to_numpy()
        for code, name in enumerate(regions.dictionary.to_pylist()):
            before, here = found.get(name, Digest(0, 0)), _digest(hashes[codes == code])
            found[name] = Digest(before.rows + here.rows, (before.total + here.total) % 2**64)
    return found


def _outside(project: Project, partition: Partition, region: str) -> Digest:
    """Digest of the ids of a region's own footprints; of nothing where they are gone."""
    manifest = read_manifest(project.store, footprints.DATASET, Partition(partition.year, region))
    if manifest is None:
        return Digest(0, 0)
    data = read_object(project.store, manifest.objects["footprints"])
    return _digest(_hashes(from_bytes(data, ["id"])["id"]))


def _hashes(ids: Any) -> Hashes:
    """A number (n,) for each id; two ids of a country of ten millions share one in a run of a hundred thousand."""
    from pandas.util import hash_array

    return np.asarray(hash_array(ids.to_numpy().astype(object), categorize=False), np.uint64)


def _digest(hashes: Hashes) -> Digest:
    return Digest(len(hashes), int(hashes.sum(dtype=np.uint64)))


def _twice(project: Project, manifest: Manifest[Any, Any]) -> list[str]:
    """Ids that stand in the file more than once, sorted. In passes, so that a country's ids need no more memory."""
    made = list(manifest.objects.values())
    passes = 1 + sum(one.facts["buildings"] for one in made) // MOST_IDS
    shared: list[Hashes] = []
    for turn in range(passes):
        all_ = (_hashes(table["id"]) for table in national.tables(project, made, ["id"]))
        mine = np.sort(np.concatenate([part[part % np.uint64(passes) == turn] for part in all_]))
        shared.append(mine[1:][mine[1:] == mine[:-1]])
    candidates = np.unique(np.concatenate(shared))
    if not len(candidates):
        return []
    ids: Counter[str] = Counter()
    for table in national.tables(project, made, ["id"]):
        ids.update(table["id"].filter(_mask(np.isin(_hashes(table["id"]), candidates))).to_pylist())
    return sorted(one for one, count in ids.items() if count > 1)


def _mask(here: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(here)


# ------------------------------------------------------------------------------------------------- overlaps


class Overlap(NamedTuple):
    """Two buildings of two regions that share ground."""

    one: str
    other: str
    regions: str
    area_m2: float
    x: float
    y: float


def national_apart(project: Project, partition: Partition) -> Verdict:
    """Check: no building of one region lies on another region's by more than a square metre."""
    manifest = need_manifest(project.store, national.DATASET, partition)
    regions = {name for made in manifest.objects.values() for name in made.facts["regions"]}
    if len(regions) < 2:
        return Verdict(passed=True, compared=False, message=f"there is one region: {', '.join(regions)}")
    found = sorted(overlaps(project, manifest.objects), key=lambda one: -one.area_m2)
    facts = {"regions": len(regions), "overlaps": len(found)}
    if not found:
        return Verdict(passed=True, message=f"no building of {len(regions)} regions lies on another's", facts=facts)
    pairs = sorted({one.regions for one in found})
    return Verdict(
        passed=False,
        message=f"{len(found)} pairs of buildings share more than {OVERLAP:g} m2 across regions: "
        f"{national.few(tuple(pairs))}",
        facts={**facts, "worst [m2]": found[0].area_m2},
        remedy="Look whether both regions were delivered the same ground, and whether one was made before the other's "
        "tiles; make both anew, or add a polygon file of regions",
        wrong=(tuple(Overlap._fields), *(tuple(map(str, one)) for one in found[:MOST_WRONG])),
    )


def overlaps(project: Project, objects: Mapping[str, Made[Any]]) -> Iterator[Overlap]:
    """Pairs across regions that share more than OVERLAP, each once: each file with those whose bounds it meets.

    Two files are in memory at a time, and of both only what lies where another region has buildings too.
    """
    named = sorted(objects.items())
    boxes = np.array([made.facts["bounds"] for _, made in named])
    for index, (_, made) in enumerate(named):
        meeting = [other for other in range(index, len(named)) if _meet(boxes[index], boxes[other])]
        regions = [set(named[other][1].facts["regions"]) for other in meeting]
        if len(set[str]().union(*regions)) < 2:
            continue
        mine = _PartRows(project, made)
        yield from _shared(mine, mine, same=True)
        for other in meeting[1:]:
            yield from _shared(mine, _PartRows(project, named[other][1]), same=False)


def _meet(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool((one[:2] <= other[2:]).all() and (other[:2] <= one[2:]).all())


def _box(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([bounds[:, :2].min(0), bounds[:, 2:].max(0)])


class _PartRows:
    """A file's buildings: ids, regions, boxes, and outlines that are parsed when they are asked for."""

    def __init__(self, project: Project, made: Made[Any]) -> None:
        table = from_bytes(read_object(project.store, made), ["id", "region", "geometry", "bbox"])
        regions = table["region"].combine_chunks().dictionary_encode()
        self.ids, self.wkb, self.bounds = table["id"], table["geometry"], bounds_of(table)
        self.codes, self.names = regions.indices.to_numpy(), regions.dictionary.to_pylist()

        self.rows = {name: np.flatnonzero(self.codes == code) for code, name in enumerate(self.names)}
        self.boxes = {name: _box(self.bounds[rows]) for name, rows in self.rows.items()}
        """The ground on which each region has buildings here."""

    def near(self, others: Mapping[str, NDArray[np.float64]]) -> NDArray[np.int64]:
        """Rows whose box meets the ground of another region than their own."""
        near = np.zeros(len(self.codes), bool)
        for name, rows in self.rows.items():
            for other, box in others.items():
                if other != name and _meet(self.boxes[name], box):
                    left, bottom, right, top = self.bounds[rows].T
                    meets = (left <= box[2]) & (bottom <= box[3]) & (right >= box[0]) & (top >= box[1])
                    near[rows[meets]] = True
        return np.flatnonzero(near)

    def shapes(self, rows: NDArray[np.int64]) -> Any:
        import pyarrow as pa
        import shapely

        return shapely.from_wkb(self.wkb.take(pa.array(rows)).to_numpy())


def _shared(one: _PartRows, other: _PartRows, same: bool) -> Iterator[Overlap]:
    """Pairs of two files' buildings; same: of one file with itself, where each pair counts once."""
    import shapely

    left, right = one.near(other.boxes), other.near(one.boxes)
    if not len(left) or not len(right):
        return
    shapes, others = one.shapes(left), other.shapes(right)
    i, j = shapely.STRtree(others).query(shapes, predicate="intersects")
    names, names_ = (
        np.array(one.names, object)[one.codes[left[i]]],
        np.array(other.names, object)[other.codes[right[j]]],
    )
    apart = (names != names_) & ((i < j) if same else np.ones(len(i), bool))
    i, j = i[apart], j[apart]
    ground = shapely.intersection(shapes[i], others[j])
    area, middle = shapely.area(ground), shapely.centroid(ground)
    for at in np.flatnonzero(area > OVERLAP):
        regions = " and ".join(sorted((names[apart][at], names_[apart][at])))
        ids = one.ids[int(left[i[at]])].as_py(), other.ids[int(right[j[at]])].as_py()
        x, y = round(float(middle[at].x), 1), round(float(middle[at].y), 1)
        yield Overlap(*ids, regions, round(float(area[at]), 2), x, y)
