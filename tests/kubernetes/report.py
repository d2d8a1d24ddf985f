"""What the disturbances cost, for the summary at the end of a test run.

Here: the lines and their table. Not here: measuring.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """One disturbance: seconds until the run was known to be dead, until work went on, and blocks."""

    name: str
    noticed: float
    working: float
    kept: int
    made: int
    twice: int
    lost: int
    node: str


LINES: list[Line] = []


def disturbance(name: str, **figures: object) -> None:
    LINES.append(Line(name=name, **figures))  # type: ignore[arg-type]


def table() -> list[str]:
    names = ("noticed s", 10), ("working s", 10), ("kept", 6), ("made", 6), ("stored twice", 14), ("in hand", 9)
    header = f"{'disturbance':22}" + "".join(f"{name:>{wide}}" for name, wide in names)
    return [
        header,
        *(
            f"{line.name:22}{line.noticed:10.1f}{line.working:10.1f}{line.kept:6}{line.made:6}{line.twice:14}"
            f"{f'<= {line.lost}':>9}  {line.node}"
            for line in LINES
        ),
    ]
