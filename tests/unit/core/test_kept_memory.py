"""Memory that a process keeps: page faults are the oracle, the environment has the last word."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from groundplan.core.kept_memory import keep_memory

PIECES = """
import resource, sys
from groundplan.core.kept_memory import keep_memory
print(keep_memory() if sys.argv[1] == "kept" else None)
def again():
    both = bytearray(24 << 20), bytearray(24 << 20)  # let go together: more than glibc keeps by itself
for round in range(7):
    if round == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    again()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[str, int]:
    """What it answered, and page faults of five times two pieces."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PIECES, how]
    said, count = subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout.split()
    return said, int(count)


def test_what_is_let_go_is_taken_again() -> None:
    said, kept = faults("kept")
    assert said == str(platform.libc_ver()[0] == "glibc"), "no other C library knows of it"
    if said == "True":
        assert kept < 500
        assert faults("plain")[1] > 10 * max(kept, 1)


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_memory()
