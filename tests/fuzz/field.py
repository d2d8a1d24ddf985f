"""Field: one kind of foreign input, how it is drawn, and what may come of it.

Here: what every field gives, and how an input follows from a seed and a number alone. Not here: the fields themselves
(sheets.py, registers.py, pictures.py, stored.py, addresses.py), running them (bounded.py).
"""

from __future__ import annotations

import zlib
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol, cast

import numpy as np

Input = dict[str, bytes]
"""Files by name: all that an input is."""
READ, REFUSED = "read", "refused"
FIELDS = {
    "sheets": "fuzz.sheets:Sheets",
    "registers": "fuzz.registers:Registers",
    "pictures": "fuzz.pictures:Pictures",
    "stored": "fuzz.stored:Stored",
    "addresses": "fuzz.addresses:Addresses",
}


class Wrong(Exception):
    """What must never be: the input is kept, and fuzzing fails."""


class Field(Protocol):
    """One kind of input. Made once per process with an empty folder of its own; then asked for one input at a time."""

    megabytes: ClassVar[int]  # that one input may take, beyond what the process has when it is ready
    seconds: ClassVar[int]  # of processor that one input may take

    def __init__(self, folder: Path) -> None: ...

    def draw(self, random: np.random.Generator) -> Input:
        """An input; nothing but `random` decides it."""
        ...

    def attempt(self, given: Input, folder: Path) -> str:
        """READ or REFUSED. given: an input, as it lies in `folder` too. Raises Wrong, and whatever escapes."""
        ...

    def peak(self) -> float:
        """Most megabytes that were held since the last call of `forget_peak`, by whatever reads the input."""
        ...

    def forget_peak(self) -> None: ...


class InThisProcess:
    """Memory of a field whose inputs are read by the process itself."""

    def peak(self) -> float:
        return peak_of("self")

    def forget_peak(self) -> None:
        forget_peak_of("self")


def peak_of(process: int | str) -> float:
    """Most megabytes that a process held since its peak was forgotten."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def forget_peak_of(process: int | str) -> None:
    Path(f"/proc/{process}/clear_refs").write_text("5")


def field_of(name: str, folder: Path) -> Field:
    """One of FIELDS, or any that is named by its module and class."""
    module, _, kind = FIELDS.get(name, name).partition(":")
    return cast(Field, getattr(import_module(module), kind)(folder))


def randomness(seed: int, name: str, number: int) -> np.random.Generator:
    """All chance of one input: it is the same whichever inputs came before."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), number])
