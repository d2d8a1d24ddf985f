"""Pages of the documentation, as they are written: what Dagster's pages and the map's link to.

Here: /docs/NAME.md, from the checkout that the server runs from. Not here: the documentation as a site (`make docs`),
or where else it is read (`serving.docs_url`).
"""

from __future__ import annotations

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serving.maps.http import Refused

FOLDER = Path(__file__).parents[2] / "docs"


async def document(request: Request) -> Response:
    """A page of docs/ as text: Markdown is read by people too, and a browser shows it in place."""
    name = request.path_params["name"]
    page = FOLDER / name
    if not re.fullmatch(r"[a-z-]{1,40}\.md", name) or not page.is_file():
        raise Refused(404, "there is no such page; serving.docs_url says where the documentation is read")
    return PlainTextResponse(page.read_text("utf-8"), headers={"cache-control": "no-cache"})
