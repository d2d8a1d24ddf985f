"""Fuzzing in short: the same inputs each time, a fixed number of each field; and whether fuzzing would notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import bounded
from fuzz.__main__ import KEPT, line
from fuzz.bounded import Share, fuzz
from fuzz.field import FIELDS, randomness
from misbehaving import BAD, SIGNS

SEED = 11
MISBEHAVING = 396  # one input or two of each way, so that the machinery has not to begin again and again
INPUTS = {"sheets": 100, "registers": 150, "pictures": 2000, "stored": 24, "addresses": 400}  # about 6 s of CPU each


@pytest.mark.slow  # 30 s in all: it starts a process and a server, and each field has its thousand ways to be wrong
@pytest.mark.bad_input
@pytest.mark.parametrize("name", FIELDS)
def test_spoiled_input_is_refused_or_read_and_does_nothing_else(name: str) -> None:
    tally = fuzz(name, Share(SEED, last=INPUTS[name]), KEPT)
    print(line(tally))
    assert [f"{failure.reason}: {failure.kept}" for failure in tally.failures] == []
    assert tally.inputs == INPUTS[name]
    assert min(tally.read, tally.refused) >= INPUTS[name] // 20


@pytest.mark.slow  # each misbehaviour takes its process with it
@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("Crash", "SIGSEGV"),
        ("Exit", "ended with 3"),
        ("Loop", "seconds of processor|said nothing for"),  # on a busy machine the clock is first
        ("Hang", "said nothing for"),
        ("Take", "MB, more than 60|MemoryError escaped"),  # by what the allocator does first
        ("Reserve", "MemoryError escaped"),
        ("Escape", "KeyError escaped: 'nobody thought of it'"),
        ("Lie", "a mask on the moon"),
    ],
)
def test_whatever_an_input_does_to_its_process_that_input_is_named_and_the_others_go_on(
    way: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "SILENCE", 3.0)
    name = f"misbehaving:{way}"
    signs = [str(randomness(MISBEHAVING, name, number).integers(SIGNS)).encode() for number in range(25)]
    bad = [number for number, sign in enumerate(signs) if sign == BAD]
    tally = fuzz(name, Share(MISBEHAVING, last=25), tmp_path)
    assert 1 <= len(bad) <= 2
    assert [failure.number for failure in tally.failures] == bad
    assert tally.inputs == 25
    for failure in tally.failures:
        assert any(one in failure.reason for one in reason.split("|"))
        assert (failure.kept / "sign").read_bytes() == BAD
        assert f"--seed {MISBEHAVING} --number {failure.number}" in (failure.kept / "WHY.txt").read_text()
    assert fuzz(name, Share(MISBEHAVING, bad[0], bad[0] + 1), tmp_path).failures[0].number == bad[0]
