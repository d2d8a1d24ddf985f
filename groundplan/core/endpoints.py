"""Endpoints: where the environment leads a kind of store to, and whether plain http may be spoken there.

Here: the variables of S3, Azure and Google that name a server, in the order in which the client takes them. Not here:
asking it anything (store.py), what it can (capabilities.py).

Over plain http everybody on the way reads what is stored, so it is for servers of this machine, cluster or own network.
Elsewhere somebody must want it: AWS_ALLOW_HTTP, AZURE_ALLOW_HTTP, GOOGLE_ALLOW_HTTP = true.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from groundplan.errors import BadConfig

VARIABLES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
}
CLOUDS = {"s3": "AWS_", "az": "AZURE_", "gs": "GOOGLE_"}
"""What the names of a cloud's variables begin with."""
ACCOUNTS = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH")  # files that may name a server too
EMULATOR = ("AZURE_STORAGE_USE_EMULATOR", "AZURITE_BLOB_STORAGE_URL")
INTERNAL = (".svc", ".cluster.local", ".internal", ".local", ".localhost", ".lan", ".home.arpa")
"""Ends of names that are no host of the public net: of clusters, and those kept for own networks (RFC 6762, 8375)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that the environment names instead of the cloud's own. variable: which said so."""

    variable: str
    url: str

    @property
    def is_plain(self) -> bool:
        return self.url.lower().startswith("http://")


def endpoint_of(scheme: str, environment: Mapping[str, str] | None = None) -> Endpoint | None:
    """The server that stands in for a cloud; None where requests go to the cloud itself."""
    here = os.environ if environment is None else environment
    if scheme == "az" and here.get(EMULATOR[0], "").lower() in ("true", "1", "yes", "on"):
        return Endpoint(EMULATOR[1], here.get(EMULATOR[1]) or "http://127.0.0.1:10000")
    for variable in VARIABLES.get(scheme, ()):
        if here.get(variable):
            return Endpoint(variable, here[variable])
    if scheme == "gs":
        for variable in ACCOUNTS:
            if url := _in_account(here.get(variable, "")):
                return Endpoint(variable, url)
    return None


def plain_http(scheme: str) -> bool:
    """Whether requests to a kind of store go over plain http. Raises BadConfig where they would, and may not."""
    found = endpoint_of(scheme)
    if found is None or not found.is_plain:
        return False
    allow = f"{CLOUDS[scheme]}ALLOW_HTTP"
    if not (is_internal(found.url) or os.environ.get(allow, "").lower() in ("true", "1", "yes", "on")):
        host = urlsplit(found.url).hostname or "its host"
        raise BadConfig(
            f"store {scheme}://",
            f"{found.variable} leads to {host} over plain http: no server of this machine, cluster or own network",
            f"Give an address with https://, or set {allow}=true if everybody on the way may read what is stored",
        )
    return True


def is_internal(url: str) -> bool:
    """Whether a URL's host is this machine, of a cluster or of an own network, as far as its name tells."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(INTERNAL))
    return address.is_loopback or address.is_private or address.is_link_local


@contextmanager
def environment_of(prefix: str) -> Iterator[None]:
    """Within, the clouds' variables are those with a prefix and no others: `TO_AWS_REGION` as AWS_REGION.

    For two stores of one kind with credentials of their own. To be used before threads are started: the environment is
    the process's. '' changes nothing.
    """
    if not prefix:
        yield
        return
    before = {name: os.environ[name] for name in os.environ if name.startswith(tuple(CLOUDS.values()))}
    given = {name.removeprefix(prefix): os.environ[name] for name in os.environ if name.startswith(prefix)}
    mine = {name: value for name, value in given.items() if name.startswith(tuple(CLOUDS.values()))}
    try:
        for name in before:
            del os.environ[name]
        os.environ.update(mine)
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
        os.environ.update(before)


def _in_account(path: str) -> str:
    """The server that a service account's file names; '' where it is not to be read: the client says why."""
    with suppress(OSError, ValueError, AttributeError):
        return str(json.loads(Path(path).read_text("utf-8")).get("gcs_base_url") or "") if path else ""
    return ""
