"""What a person should look at among a region's sheets, in sentences.

Here: putting together what samples of single sheets showed. Not here: looking at a sheet (samples.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from groundplan.imagery.sheet import Sheet


def looks_of(sheets: Sequence[Sheet]) -> list[str]:
    """A sentence for each thing that sheets show and a person should look at; one for all of which it is true."""
    of: dict[str, list[Sheet]] = {}
    for sheet in sheets:
        for note in sheet.notes:
            of.setdefault(note, []).append(sheet)
    notes = [f"{named(found)}: {note}" for note, found in sorted(of.items())]
    orders: dict[tuple[str, ...], list[Sheet]] = {}
    for sheet in sheets:
        if sheet.colors:
            orders.setdefault(sheet.colors, []).append(sheet)
    if len(orders) > 1:
        said = "; ".join(f"{named(found)}: {', '.join(colors)}" for colors, found in sorted(orders.items()))
        notes.append(f"the bands of imagery.bands are not the same colours in all sheets ({said}). Deliver them alike")
    return notes


def named(sheets: Sequence[Sheet]) -> str:
    return sheets[0].name if len(sheets) == 1 else f"{len(sheets)} sheets, such as {sheets[0].name}"
