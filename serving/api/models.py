"""`/v1/models`: which models there are, as STAC items, what their aliases mean, and moving an alias.

Here: HTTP. Not here: items, aliases and the gate (groundplan/registry, groundplan/promotion).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request
from pydantic import BaseModel, Field

from groundplan.errors import BadConfig, GroundplanError, MissingInput
from groundplan.project import Project
from groundplan.registry import entries, names, read_aliases
from groundplan.registry.entries import as_item, entry_of
from serving.api.keys import LOCAL, Caller
from serving.api.predict import WORD
from serving.api.problems import Problem
from serving.api.service import Service, needs, service

log = logging.getLogger("groundplan.api")
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
router = APIRouter(tags=["models"])
Reader = Annotated[Caller, Depends(needs("read"))]
Admin = Annotated[Caller, Depends(needs("admin"))]


class Promotion(BaseModel):
    """What an alias is to mean, and why though the gate holds it back."""

    version: str = Field(min_length=1, max_length=80)
    anyway: str = Field("", max_length=500, description="why, though the gate holds it back; the history keeps it")


@router.get("/v1/models", summary="All models, their versions and aliases")
async def models(request: Request, caller: Reader = LOCAL) -> dict[str, Any]:
    here = service(request)
    listed = await asyncio.to_thread(_guarded, _all, here.project)
    used = {word: shown.entry.version for word, shown in here.gallery.shown.items()}
    return {"models": [{**one, "answers": used.get(one["name"])} for one in listed]}


@router.get("/v1/models/{model}", summary="A version as a STAC item", responses={404: {}})
async def model(request: Request, model: Annotated[str, Path(pattern=WORD)], caller: Reader = LOCAL) -> dict[str, Any]:
    """The extension for machine learning (MLM) says bands, shapes, types and where the file lies."""
    return await asyncio.to_thread(_guarded, _item, service(request).project, model)


@router.post("/v1/models/{model}/aliases/{alias}", summary="Let an alias mean a version", responses={404: {}, 409: {}})
async def promote(
    request: Request,
    model: Annotated[str, Path(pattern=NAME)],
    alias: Annotated[str, Path(pattern="^(production|candidate)$")],
    wanted: Annotated[Promotion, Body()],
    caller: Admin = LOCAL,
) -> dict[str, Any]:
    """Production goes through the gate: 409 says what holds it back. Judging takes a minute or more."""
    here = service(request)
    found = await asyncio.to_thread(_guarded, _promoted, here.project, model, alias, wanted, caller.name)
    await asyncio.to_thread(_tell, here)
    await here.gallery.look_soon()
    return found


def _all(project: Project) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "aliases": dict(read_aliases(project.store, name).versions),
            "versions": [entry.version for entry in entries(project.store, name)],
        }
        for name in names(project.store)
    ]


def _item(project: Project, word: str) -> dict[str, Any]:
    from groundplan.single.registered import resolve

    return as_item(resolve(project, word)).to_dict(include_self_link=False, transform_hrefs=False)


def _promoted(project: Project, name: str, alias: str, wanted: Promotion, who: str) -> dict[str, Any]:
    from groundplan.promotion.gate import promote
    from groundplan.registry.aliases import CANDIDATE, set_alias

    entry = entry_of(project.store, name, wanted.version)
    if alias == CANDIDATE:
        changed = set_alias(project.store, name, alias, entry.version, who=who, why="chosen")
        return {"name": name, "aliases": dict(changed.versions)}
    try:
        entry, judged, changed = promote(project, name, entry.version, who=who, alias=alias, anyway=wanted.anyway)
    except BadConfig as error:
        raise Problem(409, "gate", error.reason) from error
    conditions = [{"name": one.name, "holds": one.holds, "words": one.words} for one in judged.conditions]
    return {"name": name, "aliases": dict(changed.versions), "conditions": conditions, "figures": judged.figures}


def _tell(here: Service) -> None:
    """Write the event of a move; the alias is moved in any case, and whoever works messages off looks again."""
    from sqlalchemy.exc import DBAPIError

    from resources.moved_aliases import tell_moves

    try:
        tell_moves(here.project, here.engine())
    except (DBAPIError, GroundplanError) as error:
        log.warning("nobody is told yet that an alias moved: %s", type(error).__name__)


def _guarded(work: Any, *given: Any) -> Any:
    """What is said of a name that there is none of is for the caller; what is said of a store is not."""
    try:
        return work(*given)
    except (BadConfig, MissingInput) as error:
        raise Problem(404, "model", "There is no such model, version or alias; GET /v1/models lists them") from error
    except GroundplanError as error:
        raise Problem(503, "store", "The store does not answer, or holds something broken", retry=5) from error
