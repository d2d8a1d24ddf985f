"""The model hub: whether published weights lie on this machine already, or can be fetched now; and fetching them.

Here: looking, within seconds, before long work begins that needs them; fetching with progress, in our words. Not here:
what a network's own library fetches besides, with retries that take minutes where nothing answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from groundplan.errors import ModelMismatch

Begin = Callable[..., AbstractContextManager[Callable[..., None]]]
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


def fetch(repository: str, file: str, revision: str | None, begin: Begin) -> None:
    """Bring a file of the hub onto this machine, where it is not there yet.

    begin: of a progress that is told of its bytes (core/progress.py). Raises what the hub's client raises.
    """
    from huggingface_hub import hf_hub_download

    bar: Any = partial(_HubBar, begin, f"download of {repository}")
    hf_hub_download(repository, file, revision=revision, tqdm_class=bar)


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Within this, the hub's client does not tell of its retries: the error that comes of them says it once."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


class _HubBar:
    """What the hub's client takes for a bar of its own kind, and tells of the bytes that came."""

    def __init__(self, begin: Begin, title: str, total: float | None = None, initial: float = 0, **_more: Any) -> None:
        self.total, self.n = total, initial
        self._task = begin(title, int(total or 0), int(initial), of_bytes=True)

    def __enter__(self) -> _HubBar:
        self._advance = self._task.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._task.__exit__(*error)

    def update(self, size: float | None = 1) -> None:
        self.n += size or 0
        self._advance(parts=int(size or 0))

    def set_description(self, *_: Any, **__: Any) -> None:
        """The title stays."""


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
