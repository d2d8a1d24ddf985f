"""Under which names the server may be asked: against web pages that give their own name this machine's address.

Here: what a `Host` header may say. Not here: who may connect (connections.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "*.localhost")
HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(?::[0-9]{1,5})?")


def is_this_machine(host: str) -> bool:
    """Whether an address to listen at is reached from this machine only."""
    name = host.strip("[]").lower()
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return _fits(name, LOOPBACK)


def names_of(url: str, further: Iterable[str], host: str) -> frozenset[str]:
    """Names that are answered besides addresses and this machine's own; `*.example.org` stands for all below it."""
    given = [urlsplit(url).hostname or "", host, *further]
    return frozenset(name.strip("[]").lower().rstrip(".") for name in given if name)


def is_ours(header: str, names: Iterable[str]) -> bool:
    """Whether a request with this `Host` was meant for this server. An address always was: a page that plays with names
    has a name, and a browser sends it. So are probes, which know a pod by its address alone."""
    found = HOST.fullmatch(header.strip())
    if found is None:
        return False
    name = found["name"].strip("[]").lower().rstrip(".")
    try:
        ip_address(name)
    except ValueError:
        return _fits(name, (*LOOPBACK, *names))
    return True


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(
        name == pattern or (pattern.startswith("*.") and len(name) > len(pattern) - 1 and name.endswith(pattern[1:]))
        for pattern in patterns
    )
