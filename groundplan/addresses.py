"""What of an address is a secret: such an address is refused, and no message ever shows the secret.

Here: user names, passwords, signatures, keys and tokens in URLs and connection strings. Not here: which settings are
addresses (config/sections.py), or opening them (core/store.py). Credentials come from the environment, under each
cloud's own names, or from the machine's identity: an address stands in logs, metadata and pages.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

REMEDY = (
    "Give the address alone, and credentials by environment variables (AWS_ACCESS_KEY_ID, AZURE_STORAGE_SAS_TOKEN, "
    "GOOGLE_APPLICATION_CREDENTIALS ...) or by the machine's identity"
)
USER = "it holds a user name or password"
QUERY = "it has a query or fragment, where keys and signatures stand"
TOKEN = "a part of it looks like a key or token"

_FORMATS = re.compile(  # as their makers document them
    r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}|\bgh[opusr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bxox[abeprs]-[\w-]{8,}"
    r"|\bsk-[\w-]{20,}|\bSG\.[\w-]{16,}|\bAIza[\w-]{30,}|\beyJ[\w-]{10,}\.[\w-]+|-----BEGIN[A-Z ]*KEY",
)
_NAMED = re.compile(
    r"([\w-]*(?:sig|signature|token|secret|passwd|password|pwd|key|keyid|key_id|auth|credentials?|sas|jwt))=([^\s&;'\"]+)",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(?<![^\s'\"(/=])[^\s/:@'\"]+:[^\s/@'\"]+@")  # user:password@, also where slashes are missing
_AUTHORITY = re.compile(r"^[a-z][\w+.-]*:/{1,2}([^/?#]*)", re.IGNORECASE)
_FOUND = re.compile(r"[a-z][\w+.-]*:/{1,3}[^\s'\"<>`]+", re.IGNORECASE)
_RANDOM = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}")
_LONG = re.compile(r"(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{40,}")


class SecretInAddress(ValueError):
    """An address that holds a secret; its text says where, and never what."""

    remedy = REMEDY


def check_address(value: str) -> str:
    """The address as it is. Raises SecretInAddress."""
    if told := secret_in(value):
        raise SecretInAddress(f"cannot be used: {told}")
    return value


def check_public_address(value: str) -> str:
    """As `check_address`, for what pages or chat programs are reached by: no path that is itself a token."""
    if told := secret_in(value) or (TOKEN if has_random_path(value) else ""):
        raise SecretInAddress(f"cannot be used: {told}")
    return value


def secret_in(text: str) -> str:
    """What of an address is a secret, in words that do not show it; '' where nothing is."""
    plain = unquote(unquote(text))
    if _LOGIN.search(plain) or any(_is_login(part) for part in _AUTHORITY.findall(plain)):
        return USER
    if _FORMATS.search(plain) or _NAMED.search(plain):
        return TOKEN
    if _AUTHORITY.search(plain) and re.search(r"[?#]", text):
        return QUERY
    return ""


def has_random_path(address: str) -> bool:
    """Whether a part of the path is what a generator of tokens makes, and no person."""
    path = _AUTHORITY.sub("", unquote(unquote(address)))
    return bool(_RANDOM.search(path) or _LONG.search(path))


def _is_login(authority: str) -> bool:
    """A port is a number; a password may hold a slash, and then the '@' is beyond what looks like the host."""
    port = re.sub(r"^\[[^\]]*\]", "", authority).partition(":")[2].rstrip(".,;:)")
    return "@" in authority or not (port == "" or port.isdigit())


def redacted(text: str) -> str:
    """A message with the secrets of its addresses blotted out. The second wall: the first is that none is accepted."""
    text = _FOUND.sub(lambda found: _without(found[0]), text)
    return _NAMED.sub(r"\1=***", _LOGIN.sub("***@", _FORMATS.sub("***", text)))


def _without(address: str) -> str:
    scheme, slashes, rest = re.split(r"(:/+)", address, maxsplit=1)
    authority, query = rest.partition("/")[0], re.search(r"\?.+", rest)
    if slashes != ":///" and _is_login(authority):
        at = rest.find("@")
        rest = "***@" + rest[at + 1 :] if at >= 0 else "***"
    return scheme + slashes + (re.sub(r"\?.+", "?***", rest) if query else rest)


def quoted(value: Any) -> str:
    """A wrong value as a message may show it; '' where it could hold a secret, or shows nothing."""
    text = repr(value)
    unsafe = isinstance(value, dict) or re.search(r"://|[@=?]", text) or secret_in(text) or has_random_path(text)
    return "" if unsafe else text if len(text) < 200 else f"{text[:200]}..."
