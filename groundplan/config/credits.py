"""Who is to be named, and under which licence, where the files do not say it themselves.

Here: the table `[credits]` of groundplan.toml. Not here: what sheets state in their tags (imagery/stated_credit.py),
or which of both counts for a region and year (imagery/credits.py).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from groundplan.config.section import Section


def _one_line(value: str) -> str:
    if any(not sign.isprintable() for sign in value):
        raise ValueError("must be one line of plain text: it stands at the edge of maps and pictures")
    return value.strip()


Words = Annotated[str, AfterValidator(_one_line), Field(max_length=300)]
Year = Annotated[int, Field(ge=1900, le=2099)]


class CreditWords(Section):
    """Attribution and licence of the three kinds of data; '' where they are not known."""

    imagery: Words = Field("", description="who is to be named for the imagery")
    imagery_licence: Words = Field("", description="of the imagery, such as CC-BY-4.0")
    registers: Words = Field("", description="who is to be named for the register")
    registers_licence: Words = Field("", description="of the register, such as ODbL-1.0")
    footprints: Words = Field("", description="who is to be named for the footprints")
    footprints_licence: Words = Field("", description="under which the footprints are given on")


class CreditException(CreditWords):
    """Other words for some regions and years; a word that is '' stays as it is elsewhere."""

    regions: tuple[str, ...] = Field((), description="for which it counts; empty: all")
    years: tuple[Year, ...] = Field((), description="for which it counts; empty: all")

    def counts_for(self, region: str, year: int) -> bool:
        return (not self.regions or region in self.regions) and (not self.years or year in self.years)


class CreditSettings(CreditWords):
    """For the whole project, and where some regions or years differ."""

    only: tuple[CreditException, ...] = Field((), description="[[credits.only]]: other words for regions and years")

    def of(self, region: str, year: int) -> CreditWords:
        """The words that count for a region and year: the last exception that says something wins."""
        words = {name: getattr(self, name) for name in CreditWords.model_fields}
        for one in self.only:
            if one.counts_for(region, year):
                words |= {name: said for name in CreditWords.model_fields if (said := getattr(one, name))}
        return CreditWords(**words)
