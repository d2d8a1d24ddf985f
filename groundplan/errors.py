"""The vocabulary of what can go wrong.

Here: one class for each kind of trouble that a caller treats differently. Every error names the thing, the reason and
the remedy, and is raised before anything was changed. Not here: catching; whoever cannot mend an error lets it pass. No
secret of an address enters an error (addresses.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from groundplan.addresses import redacted

NAMED = 12  # names that an error lists


class GroundplanError(Exception):
    """Base of all errors that a user can act on; `str()` is one readable line."""

    def __init__(self, thing: str, reason: str, remedy: str) -> None:
        thing, reason, remedy = redacted(thing), redacted(reason), redacted(remedy)
        super().__init__(thing, reason, remedy)  # all three as args, so that the error survives pickling
        self.thing, self.reason, self.remedy = thing, reason, remedy

    def __str__(self) -> str:
        return f"{self.thing}: {self.reason}. {self.remedy}"


class BadConfig(GroundplanError):
    """groundplan.toml, a command-line option or an environment variable does not make sense."""


def unknown(kind: str, name: str, known: Iterable[str], reason: str = "there is none of that name") -> BadConfig:
    """The error for a name that is none of the known ones: it offers the one that was meant, and says which there are.

    kind: of the thing, as in "region". reason: why it is none.
    """
    from difflib import get_close_matches

    names = {each.casefold(): each for each in known}
    meant = get_close_matches(name.casefold(), names, n=1, cutoff=0.6)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    remedy = f"Choose from: {', '.join(list(names.values())[:NAMED])}{more}" if names else "There are none yet"
    return BadConfig(f"{kind} '{name}'", reason, f"Did you mean '{names[meant[0]]}'? {remedy}" if meant else remedy)


class BadSheet(GroundplanError):
    """An image file as delivered that cannot be used; it is quarantined and the rest goes on."""


class BadRegister(GroundplanError):
    """A file of building polygons, an extent or a regions file that cannot be used."""


class MissingInput(GroundplanError):
    """What a step reads has not been made or delivered yet."""


class Damaged(MissingInput):
    """An object is in the store and is not what was made: of another size or content, or a text that is broken."""


class ModelMismatch(GroundplanError):
    """Weights or a trained model that do not fit the imagery, the encoder or the runtime."""


class StoreFailed(GroundplanError):
    """The object store refused or lost a request after all retries."""


class NewerFormat(StoreFailed):
    """An object was written by a newer version in a form that this one does not know; it is left as it is."""


class BlocksFailed(GroundplanError):
    """Some blocks of a partition could not be made; the others are kept and the partition is not committed."""


class BadMessage(GroundplanError):
    """A message that says nothing that is understood, and never will; it is set aside."""


class BrokerFailed(GroundplanError):
    """The broker of messages refused or lost a request; what was asked of it may have happened."""


class Stopped(BaseException):
    """The run was told to stop (SIGTERM, Ctrl-C). Not an Exception: nothing between may mistake it for a bad block."""
