"""National footprints: all regions of a year in one set of files, along a Hilbert curve.

Here: the step `national_footprints`: a GeoParquet file for each square of ground, made once; reading them one at a
time; which regions are not in them. Not here: the cut (national_cut.py), regions into squares (national_pieces.py),
what is given on (publish/nation.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from groundplan.core.manifest import (
    Dataset,
    Made,
    Manifest,
    Planned,
    committed,
    fingerprint,
    need_manifest,
    object_key,
    read_object,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.footprints import footprints, national_pieces, national_tables
from groundplan.footprints.national_cut import cut_of
from groundplan.footprints.national_pieces import KEY, SquareRows
from groundplan.imagery.landing import delivered_partitions
from groundplan.project import Project
from groundplan.step import BBOX, GEOPARQUET, About, Scope, Step

if TYPE_CHECKING:
    import pyarrow as pa


class Facts(TypedDict):
    """What a manifest says of a square's file."""

    buildings: int
    area_m2: float
    bounds: list[float]
    """left, bottom, right, top of its buildings [m, the grid's CRS]."""
    regions: dict[str, int]
    """Buildings by region."""
    models: dict[str, int]
    """Buildings by model."""
    first_day: str | None
    last_day: str | None
    undated: int
    """Buildings of which only the year is known."""


DATASET: Dataset[Facts] = Dataset(national_pieces.NAME)
VERSION = "1"
Needs: TypeAlias = "list[tuple[str, str, SquareRows]]"
"""Region, key and place of each stream, by region."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """A file for each square in which any region has a building. Raises MissingInput where there is none."""
    pieces = need_manifest(project.store, national_pieces.DATASET, partition)
    squares: dict[str, list[tuple[str, str, SquareRows]]] = {}
    for region, made in sorted(pieces.objects.items()):
        for square, stream in made.facts["squares"].items():
            squares.setdefault(square, []).append((region, made.key, SquareRows(*stream)))
    if not squares:
        raise MissingInput(
            f"{DATASET} of {partition}",
            f"none of the year's {len(pieces.objects)} regions has a building",
            "Look at the footprints of a region: imagery, model and thresholds",
        )
    cut = cut_of(project).identity()
    return [_planned(partition, cut, square, streams) for square, streams in sorted(squares.items())]


def _planned(partition: Partition, cut: Any, square: str, streams: Needs) -> Planned[Needs]:
    digests = [[region, stream.digest] for region, _, stream in streams]
    mark = fingerprint(version=VERSION, cut=cut, square=square, streams=digests)
    key = object_key(DATASET, partition, square, mark, ".parquet")
    return Planned(name=square, fingerprint=mark, key=key, inputs=tuple(one[1] for one in streams), args=streams)


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """The buildings of a square, along the curve. Raises MissingInput, Damaged."""
    import pyarrow as pa

    found = []
    for _, key, stream in planned.needs:
        check()
        found.append(national_pieces.read(project, key, stream))
    table = pa.concat_tables(found).unify_dictionaries(national_tables.pool()).combine_chunks(national_tables.pool())
    del found
    table = national_tables.in_order(table, _order(table)).drop_columns([KEY])
    check()
    return Output(national_tables.to_bytes(table, project.grid.crs))


def _order(table: pa.Table) -> pa.Array:
    """By place on the curve; of one place by id, so that no order of regions shows."""
    import pyarrow.compute as pc

    return pc.sort_indices(table, sort_keys=[(KEY, "ascending"), ("id", "ascending")])


def describe(data: bytes) -> Facts:
    import pyarrow.compute as pc

    table = national_tables.from_bytes(data, ["region", "model", "image_date", "area", "bbox"])
    bounds = national_tables.bounds_of(table)
    days = pc.min_max(table["image_date"])
    return {
        "buildings": table.num_rows,
        "area_m2": round(float(pc.sum(table["area"]).as_py() or 0.0), 1),
        "bounds": [*bounds[:, :2].min(0).tolist(), *bounds[:, 2:].max(0).tolist()],
        "regions": _counts(table["region"]),
        "models": _counts(table["model"]),
        "first_day": days["min"].as_py(),
        "last_day": days["max"].as_py(),
        "undated": table["image_date"].null_count,
    }


def _counts(column: Any) -> dict[str, int]:
    found = {str(one["values"].as_py()): one["counts"].as_py() for one in column.value_counts()}
    return dict(sorted(found.items()))


# ------------------------------------------------------------------------------------------------------- reading


def tables(project: Project, made: list[Made[Any]], columns: list[str]) -> Iterator[pa.Table]:
    """Rows of files, one file in memory at a time, in the order that is given. Raises MissingInput, Damaged."""
    for one in made:
        yield national_tables.from_bytes(read_object(project.store, one), columns)


def by_region(made: Sequence[Made[Any]]) -> dict[str, int]:
    """Buildings by region, as the files' facts say."""
    found: Counter[str] = Counter()
    for one in made:
        found.update(one.facts["regions"])
    return dict(sorted(found.items()))


def part_lines(objects: Mapping[str, Made[Any]]) -> list[tuple[str, int, int, str]]:
    """A line for each file: its name, buildings, regions, megabytes; along the curve."""
    return [
        (name, one.facts["buildings"], len(one.facts["regions"]), f"{one.bytes / 1e6:.2f}")
        for name, one in sorted(objects.items())
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """Regions that a year's national footprints are without, by why; each list sorted."""

    unmade: tuple[str, ...]
    """Imagery of the year was delivered, and their footprints are not made."""
    gone: tuple[str, ...]
    """They are in the file, and their footprints are no longer there."""
    late: tuple[str, ...]
    """Their footprints were made, or made anew, since."""
    empty: tuple[str, ...]
    """Made, and without a building."""
    not_flown: tuple[str, ...]
    """Footprints of the year before are there, and nothing was delivered for the year."""

    def sentences(self) -> list[str]:
        """Each reason that holds, in words."""
        said = {
            "delivered and not made": self.unmade,
            "in it, and no longer there": self.gone,
            "made since": self.late,
            "without a building": self.empty,
            "made the year before, and not delivered": self.not_flown,
        }
        return [f"{why}: {few(names)}" for why, names in said.items() if names]


def few(names: tuple[str, ...], most: int = 8) -> str:
    """Names in a sentence: the first, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def lacking(project: Project, partition: Partition, pieces: Manifest[Partition, Any] | None = None) -> Lacking:
    """Which regions are not in a year's national footprints, or not as they are now. Raises MissingInput."""
    pieces = pieces or need_manifest(project.store, national_pieces.DATASET, partition)
    made = {one.partition.region for one in committed(project.store, footprints.DATASET, partition.year)}
    before = {one.partition.region for one in committed(project.store, footprints.DATASET, partition.year - 1)}
    delivered = {one.region for one in delivered_partitions(project) if one.year == partition.year}
    inside = set(pieces.objects)
    planned = {one.name: one.fingerprint for one in national_pieces.plan(project, partition)} if made else {}
    late = {name for name, mark in planned.items() if name not in inside or pieces.objects[name].fingerprint != mark}
    empty = {name for name, one in pieces.objects.items() if not one.facts["buildings"]}
    found = (delivered - made, inside - made, late, empty, before - made - delivered)
    unmade, gone, late_, empty_, not_flown = (tuple(sorted(names)) for names in found)
    return Lacking(unmade=unmade, gone=gone, late=late_, empty=empty_, not_flown=not_flown)


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.YEAR,
    reads=(footprints.DATASET,),
    wanted=lambda settings: settings.nation.merge,
    automated=True,
    starts_when="new footprints of any region; none is in the making",
    profile="io",
    about=About(
        title="All regions of a year in one set of files, along a Hilbert curve",
        description="The footprints of all regions of a year, a GeoParquet 1.1 file for each square of ground "
        "(`nation.part`), sorted so that near buildings lie near in the file: a reader of a window skips the rest. "
        "A new region makes anew only the squares that it touches. `groundplan nation` gives them on, with tiles, a "
        "catalogue and a list of what changed.",
        group="footprints",
        kinds=frozenset({"geoparquet"}),
        format=GEOPARQUET,
        page="docs/nation.md",
        columns=(
            ("id", "string", "of the footprint, in its year"),
            ("building_id", "string", "of the building through the years; null where no dataset names it"),
            ("region", "string", "region that owns the building"),
            *(column for column in footprints.STEP.about.columns if column[0] not in ("id", "bbox")),
            BBOX,
        ),
    ),
)
