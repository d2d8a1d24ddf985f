"""The model hub: whether published weights lie on this machine already, or can be fetched now.

Here: looking, within seconds, before long work begins that needs them. Not here: fetching (the networks' own libraries
do, with retries that take minutes where nothing answers).
"""

from __future__ import annotations

import threading
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from groundplan.errors import ModelMismatch

SECONDS = 6.0
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def check_reachable(repository: str, what: str, remedy: str) -> None:
    """Return where a hub's weights are on this machine, or their hub answers within six seconds.

    repository: as the hub names it, `owner/name`. what: the weights, in words. Raises ModelMismatch, with `remedy`.
    """
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise ModelMismatch(what, "what fetches them is not installed", "Install the extra 'train'") from error
    if _is_here(Path(constants.HF_HUB_CACHE), repository):
        return
    if constants.is_offline_mode():
        raise ModelMismatch(what, "they are not on this machine, and HF_HUB_OFFLINE forbids to fetch them", remedy)
    if reason := _why_not(f"{constants.ENDPOINT}/api/models/{repository}"):
        raise ModelMismatch(what, f"they are not on this machine, and the model hub {reason}", remedy)


def _is_here(cache: Path, repository: str) -> bool:
    folder = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    return any(next(folder.glob(f"*/{name}"), None) is not None for name in WEIGHTS)


def _why_not(url: str) -> str:
    """Why an address does not answer, '' where it does. A look-up of a name has no time limit of its own: a thread."""
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(_ask(url)), daemon=True)
    asking.start()
    asking.join(SECONDS)
    return found[0] if found else f"did not answer within {SECONDS:.0f} s"


def _ask(url: str) -> str:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=SECONDS):
            return ""
    except HTTPError as error:
        return f"has none of that name ({error.code})" if error.code in (401, 404) else ""
    except (URLError, OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"cannot be reached ({reason})"
