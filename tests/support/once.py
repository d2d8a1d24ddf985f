"""Fixtures that take minutes are made once in a test run, however many processes share its tests.

Here: the lock and what is kept. Not here: what is made (conftest.py).
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

Value = TypeVar("Value")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Value]) -> Value:
    """What `make` gives for a folder of that name; the first process makes it, the others wait and read it.

    It can be pickled, and nobody writes into the folder. When making it fails, the next process tries again elsewhere.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make(factory.mktemp(name))
    shared = factory.getbasetemp().parent  # each worker has a folder of its own in it
    kept = shared / f"{name}.pickle"
    with FileLock(shared / f"{name}.lock"):
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make(factory.mktemp(name))))
        value: Value = pickle.loads(kept.read_bytes())
    return value
