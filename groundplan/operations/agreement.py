"""What a look at the store found: what does not agree, and how much was looked at.

Here: the values, and adding them up. Not here: looking (store_audit.py, source_audit.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MOST = 200  # findings that are named; more are counted


@dataclass(frozen=True, slots=True)
class Finding:
    """An object that is not as its manifest or record says, and what mends it."""

    manifest: str
    key: str
    reason: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What was looked at, and what does not agree; `findings` holds at most MOST of `wrong`."""

    manifests: int = 0
    """Manifests, and records of registers."""
    objects: int = 0
    wrong: int = 0
    findings: tuple[Finding, ...] = ()
    read: int = 0
    """Objects whose content was read and compared with its SHA-256."""
    read_bytes: int = 0
    unknown: int = 0
    """Objects whose manifests state no SHA-256: a version before format 1.1 made them."""

    newer: int = 0
    """Manifests of a newer version: they are wrong here, and nothing is to be made again for it."""

    def __add__(self, other: Agreement) -> Agreement:
        findings = (*self.findings, *other.findings)[:MOST]
        counts = ("manifests", "objects", "wrong", "read", "read_bytes", "unknown", "newer")
        return Agreement(**{name: getattr(self, name) + getattr(other, name) for name in counts}, findings=findings)


Turn = Callable[[str], bool]
"""Whether an object of that key is to be read."""


def agreement_of(findings: list[Finding], manifests: int) -> Agreement:
    return Agreement(manifests=manifests, wrong=len(findings), findings=tuple(findings[:MOST]))
