"""Credits: who is to be named for a region and year, and under which licences its data are given.

Here: the one answer that exports, pictures, maps and STAC show: what the sheets' own tags state, else `[credits]` of
groundplan.toml, else null and a word. Not here: reading tags (stated_credit.py), the settings (config/credits.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from groundplan.core.manifest import load_object, read_manifest
from groundplan.core.partition import Partition
from groundplan.imagery import catalog
from groundplan.project import Project

UNKNOWN = "not stated: neither by the files nor by [credits] in groundplan.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Who is to be named for one kind of data, and its licence: plain text of strangers, to be escaped where shown."""

    attribution: str | None  # None: nobody says
    licence: str | None
    source: str  # what says it: files, credits, files and credits; or UNKNOWN

    @property
    def line(self) -> str | None:
        """Both in a line, such as `Beeldmateriaal Nederland (CC-BY-4.0)`; None where neither is known."""
        if self.attribution and self.licence and self.licence not in self.attribution:
            return f"{self.attribution} ({self.licence})"
        return self.attribution or self.licence


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """The credits of a region in a year, by kind of data."""

    imagery: Credit
    register: Credit
    footprints: Credit

    @property
    def line(self) -> str | None:
        """All that is known in one line, for the edge of a map or picture; None where nothing is known."""
        told = (("Imagery", self.imagery), ("Register", self.register), ("Footprints", self.footprints))
        return " · ".join(f"{kind}: {credit.line}" for kind, credit in told if credit.line) or None

    @property
    def imagery_line(self) -> str | None:
        """For the edge of a picture of imagery alone."""
        return f"Imagery: {self.imagery.line}" if self.imagery.line else None

    @property
    def sources_line(self) -> str | None:
        """What footprints rest on: imagery and register, in one line."""
        told = (("Imagery", self.imagery), ("Register", self.register))
        return " · ".join(f"{kind}: {credit.line}" for kind, credit in told if credit.line) or None


def credits_of(project: Project, partition: Partition) -> Credits:
    """Attribution and licence of a region's imagery, register and footprints in a year.

    Costs reading the region's catalogue, where there is one; no delivered file is opened. Raises StoreFailed.
    """
    manifest = read_manifest(project.store, catalog.DATASET, partition)
    made = manifest.objects.get("catalogue") if manifest else None
    sheets = load_object(project.store, made, catalog.from_parquet).sheets if made else ()
    return credits_by(project, partition, sheets)


def credits_by(project: Project, partition: Partition, sheets: Iterable[catalog.Sheet]) -> Credits:
    """As `credits_of`, where the region's sheets are known already."""
    words = project.settings.credits.of(partition.region, partition.year)
    pairs = {sheet.credit for sheet in sheets} or {("", "")}
    return Credits(
        imagery=_merged(pairs, words.imagery, words.imagery_licence),
        register=_merged([("", "")], words.registers, words.registers_licence),
        footprints=_merged([("", "")], words.footprints, words.footprints_licence),
    )


def _merged(stated: Iterable[tuple[str, str]], attribution: str, licence: str) -> Credit:
    """What files state; where one of them says nothing, what the settings say in its place."""
    pairs = sorted(stated)
    named = [(of_file[0] or attribution, of_file[1] or licence) for of_file in pairs]
    by_files = any(text for pair in pairs for text in pair)
    by_settings = any(full != pair for full, pair in zip(named, pairs, strict=True))
    told = " and ".join(name for name, says in (("files", by_files), ("credits", by_settings)) if says)
    return Credit(attribution=_joined(named, 0), licence=_joined(named, 1), source=told or UNKNOWN)


def _joined(pairs: Iterable[tuple[str, str]], place: int) -> str | None:
    return "; ".join(sorted({pair[place] for pair in pairs} - {""})) or None
