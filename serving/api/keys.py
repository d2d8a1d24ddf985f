"""Keys: who may ask for what, and how often. Without a key only this machine is answered.

Here: making, listing and revoking keys in the database, and judging a request. Not here: what is then answered.

A key is 32 random bytes, shown once; the database holds their SHA-256, which nobody can turn back. Keys are read into
memory every few seconds, so that no request asks the database: a revoked key is refused that much later.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from groundplan.errors import BadConfig, unknown
from serving.api.problems import Problem

if TYPE_CHECKING:
    from sqlalchemy import Engine

SCOPES = ("read", "predict", "review", "admin")
"""read: results and jobs. predict: images and areas. review: verdicts. admin: all of it, and aliases of models."""
PREFIX = "gp_"
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key as the database has it; digest: SHA-256 of its 32 bytes, in hexadecimal. rate: requests a second."""

    digest: str
    name: str
    scopes: frozenset[str]
    rate: float | None = None
    made: datetime | None = None
    expires: datetime | None = None
    revoked: datetime | None = None

    def allows(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def valid(self, now: datetime) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)


@dataclass
class Bucket:
    """Tokens of one key: `rate` come back a second, `most` are held."""

    rate: float
    most: float
    tokens: float
    at: float

    def take(self, now: float) -> float:
        """0 where one was taken, else the seconds until there is one."""
        self.tokens, self.at = min(self.most, self.tokens + (now - self.at) * self.rate), now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate


@dataclass(frozen=True)
class Caller:
    """Who asks: a key's name and digest; '' of a person at this machine."""

    name: str
    digest: str = ""
    admin: bool = False


LOCAL = Caller("this machine", admin=True)


@dataclass(kw_only=True)
class Keyring:
    """The keys that are known, and what is left of their rates. rate: of keys that state none."""

    rate: float
    keys: tuple[Key, ...] = ()
    clock: Callable[[], float] = time.monotonic
    buckets: dict[str, Bucket] = field(default_factory=dict)

    def replace(self, keys: Iterable[Key]) -> None:
        """The keys as the database has them now."""
        self.keys = tuple(keys)
        known = {key.digest for key in self.keys}
        for digest in self.buckets.keys() - known:
            del self.buckets[digest]

    def judge(self, request: Request, scope: str) -> Caller:
        """Who asks, where they may. Raises Problem 401, 403, 429."""
        given = presented(request)
        if given is None:
            if is_local(request):
                return LOCAL
            raise Problem(401, "key", "Give a key: Authorization: Bearer gp_...")
        key = self._known(given)
        if key is None:
            raise Problem(401, "key", "The key is not known, or not any more")
        if not key.allows(scope):
            raise Problem(403, "scope", f"The key lacks the scope '{scope}'", scope=scope)
        self._take(key)
        return Caller(key.name, key.digest, "admin" in key.scopes)

    def _known(self, given: str) -> Key | None:
        """All keys are looked at, so that how long it takes tells nothing."""
        digest, found = digest_of(given) or "", None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found if found is not None and found.valid(datetime.now(UTC)) else None

    def _take(self, key: Key) -> None:
        rate, now = key.rate or self.rate, self.clock()
        bucket = self.buckets.get(key.digest)
        if bucket is None or bucket.rate != rate:
            most = max(1.0, rate)
            bucket = self.buckets[key.digest] = Bucket(rate, most, most, now)
        if wait := bucket.take(now):
            raise Problem(429, "rate", f"The key may ask {rate:g} times a second", retry=wait)


def presented(request: Request) -> str | None:
    """The key of a request; None where it has none. Never in the address: those are written into logs."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value:
        return value.strip()
    return request.headers.get("x-api-key")


def is_local(request: Request) -> bool:
    """Whether a request comes from a person or program of this machine: not by a proxy, not from a strange web page."""
    if any(name in request.headers for name in FORWARDED):
        return False
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def digest_of(given: str) -> str | None:
    """SHA-256 of a key's bytes, in hexadecimal; None for what has no key's form."""
    if not given.startswith(PREFIX) or len(given) != len(PREFIX) + 43:
        return None
    try:
        raw = base64.b64decode(given[len(PREFIX) :] + "=", altchars=b"-_", validate=True)
    except ValueError:
        return None
    return hashlib.sha256(raw).hexdigest()


# --- in the database --------------------------------------------------------------------------------------------------


def make_key(
    engine: Engine, name: str, scopes: Sequence[str], rate: float | None = None, days: float | None = None
) -> str:
    """A new key; its text is here for the only time. Raises BadConfig where the name is taken or a scope is none."""
    from sqlalchemy import select

    from groundplan.database.connect import writing
    from groundplan.database.tables import api_key

    for scope in scopes:
        if scope not in SCOPES:
            raise unknown("scope", scope, SCOPES)
    if not scopes or not 1 <= len(name) <= 100 or not name.isprintable():
        raise BadConfig(f"key '{name[:40]}'", "it needs a name of 1 to 100 characters and a scope", "Give both")
    raw, now = secrets.token_bytes(32), datetime.now(UTC)
    row = {
        "hash": hashlib.sha256(raw).hexdigest(),
        "name": name,
        "scopes": sorted(set(scopes)),
        "rate": rate,
        "made": now,
        "expires": now + timedelta(days=days) if days else None,
    }
    with writing(engine) as connection:
        if connection.execute(select(api_key.c.hash).where(api_key.c.name == name)).first():
            raise BadConfig(f"key '{name}'", "there is one of that name", "Revoke it, or give another name")
        connection.execute(api_key.insert(), row)
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def list_keys(engine: Engine) -> list[Key]:
    """All keys, revoked ones too, by name."""
    from sqlalchemy import select

    from groundplan.database.tables import api_key

    with engine.connect() as connection:
        rows = connection.execute(select(api_key).order_by(api_key.c.name)).mappings().all()
    return [_key(row) for row in rows]


def _key(row: Any) -> Key:
    return Key(
        digest=row["hash"],
        name=row["name"],
        scopes=frozenset(row["scopes"]),
        rate=row["rate"],
        made=row["made"],
        expires=row["expires"],
        revoked=row["revoked"],
    )


def revoke_key(engine: Engine, name: str) -> None:
    """From the services' next look at the keys on it is refused. Raises BadConfig where there is none."""
    from groundplan.database.connect import writing
    from groundplan.database.tables import api_key

    with writing(engine) as connection:
        changed = connection.execute(
            api_key.update()
            .where(api_key.c.name == name, api_key.c.revoked.is_(None))
            .values(revoked=datetime.now(UTC))
        )
    if not changed.rowcount:
        known = [key.name for key in list_keys(engine) if key.revoked is None]
        raise unknown("key", name, known)
