"""Fields of fuzzing with an input that does to its process what a library may do: does anybody notice which it was?

Here: one field for each way to misbehave. Not here: the fields that there are (tests/fuzz).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from fuzz.field import READ, REFUSED, Input, InThisProcess, Wrong

BAD, GOOD = b"7", b"3"
SIGNS = 20


class Crash(InThisProcess):
    megabytes, seconds = 60, 1

    def __init__(self, folder: Path) -> None:
        self.kept = b""

    def draw(self, random: np.random.Generator) -> Input:
        return {"sign": str(random.integers(SIGNS)).encode()}

    def attempt(self, given: Input, folder: Path) -> str:
        assert (folder / "sign").read_bytes() == given["sign"]
        if given["sign"] == BAD:
            self.misbehave()
        return READ if given["sign"] == GOOD else REFUSED

    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class Exit(Crash):
    def misbehave(self) -> None:
        os._exit(3)


class Loop(Crash):
    def misbehave(self) -> None:
        while True:
            pass


class Hang(Crash):
    def misbehave(self) -> None:
        time.sleep(600)


class Take(Crash):
    def misbehave(self) -> None:
        self.kept = b"x" * (80 * 2**20)
        self.kept = b""


class Reserve(Crash):
    def misbehave(self) -> None:
        bytearray(2**40)


class Escape(Crash):
    def misbehave(self) -> None:
        raise KeyError("nobody thought of it")


class Lie(Crash):
    def misbehave(self) -> None:
        raise Wrong("a mask on the moon")
