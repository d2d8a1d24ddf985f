"""`python -m fuzz`: the command.

Here: options, and what is printed: the seed, a row per field, and of each failure where it lies and how to repeat it.
Not here: trying anything (bounded.py).
"""

from __future__ import annotations

import argparse
import sys
import time

from fuzz.bounded import ROOT, Share, Tally, again, fuzz
from fuzz.field import FIELDS

KEPT = ROOT / "build" / "fuzz"
TITLES = ("field", "inputs", "refused", "read", "failures", "inputs/s", "peak MB")


def main() -> int:
    """0 where nothing failed, else 1."""
    asked = _asked()
    print(f"seed {asked.seed}; inputs that fail are kept in {KEPT}")
    print("{:<12}{:>9}{:>9}{:>9}{:>10}{:>10}{:>9}".format(*TITLES))
    failures, end = [], time.monotonic() + asked.seconds
    for left, name in zip(range(len(asked.fields), 0, -1), asked.fields, strict=True):
        now = time.monotonic()
        share = Share(asked.seed, end=now + (end - now) / left)
        if asked.number is not None:
            share = Share(asked.seed, asked.number, asked.number + 1)
        tally = fuzz(name, share, KEPT)
        print(line(tally), flush=True)
        failures += tally.failures
    for failure in failures:
        print(f"\n{failure.field} {failure.number}: {failure.reason}\n  {failure.kept}")
        print(f"  {again(failure.field, asked.seed, failure.number)}")
    return 1 if failures else 0


def line(tally: Tally) -> str:
    """A row of the table."""
    pace = tally.inputs / tally.seconds if tally.seconds else 0.0
    counts = f"{tally.inputs:>9,}{tally.refused:>9,}{tally.read:>9,}{len(tally.failures):>10,}"
    return f"{tally.field:<12}{counts}{pace:>10.1f}{tally.peak:>9.0f}"


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser("fuzz", description="Try spoiled input against everything that reads input.")
    parser.add_argument("fields", nargs="*", help=f"of {', '.join(FIELDS)}; all where none is named")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed draws the same inputs")
    parser.add_argument("--number", type=int, help="try this one input")
    parser.add_argument("--seconds", type=float, default=300.0, help="in all, shared by the fields")
    asked = parser.parse_args()
    if unknown := set(asked.fields) - set(FIELDS):
        parser.error(f"there is no field {', '.join(sorted(unknown))}; there are {', '.join(FIELDS)}")
    asked.fields = asked.fields or list(FIELDS)
    return asked


if __name__ == "__main__":
    sys.exit(main())
