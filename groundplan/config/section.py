"""What all sections of a project's settings share: they refuse what they do not know, and addresses that hold secrets.

Here: the base class and the type of an address. Not here: the sections (sections.py, operating.py).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from groundplan.addresses import check_address, check_public_address

# fields of addresses have repr=False too: neither a message nor a traceback quotes their values
Address = Annotated[str, AfterValidator(check_address)]
PublicAddress = Annotated[str, AfterValidator(check_public_address)]


class Section(BaseModel):
    """A table of groundplan.toml; what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class NamedShares(dict[str, float]):
    """NamedShares by name that are not changed any more: what is kept by a project's settings is found by them."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))
