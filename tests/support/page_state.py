"""What a map's page says of itself: what is drawn, which panels lie over each other, what axe finds wrong.

Here: questions to an open page. Not here: opening it (browser.py), what is right (tests).
"""

from __future__ import annotations

import itertools
from typing import Any

from browser import ROOT
from playwright.sync_api import Page

AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
BOXES = """Object.fromEntries(
  [...document.querySelectorAll('#side > section, #details, #tools, #foot > section, #credits')]
  .filter(one => one.offsetHeight > 0).map(one => {
    const side = one.closest('#side')?.getBoundingClientRect();  // which scrolls
    const box = one.getBoundingClientRect();
    const bottom = side ? Math.min(box.bottom, side.bottom) : box.bottom;
    return [one.id || one.getAttribute('aria-label'), [box.left, Math.min(box.top, bottom), box.right, bottom]];
  }))"""
NO_WEBGL = (
    "HTMLCanvasElement.prototype.getContext = new Proxy(HTMLCanvasElement.prototype.getContext, "
    "{apply: (get, at, given) => given[0].startsWith('webgl') ? null : Reflect.apply(get, at, given)})"
)
"""A script that takes WebGL away from a page."""


def state(page: Page, expression: str) -> Any:
    return page.evaluate(f"() => {expression}")


def shown(page: Page, layer: str, column: str) -> set[Any]:
    """A column of what WebGL was given to draw of a layer."""
    query = f"window.map.queryRenderedFeatures({{layers: ['{layer}']}}).map(feature => feature.properties.{column})"
    return set(state(page, query))


def overlapping(page: Page) -> list[tuple[str, str]]:
    """Panels that lie over each other or out of the window."""
    boxes: dict[str, Any] = state(page, BOXES)
    size = page.viewport_size
    assert size
    out = [
        (name, "window")
        for name, (left, top, right, bottom) in boxes.items()
        if left < 0 or top < 0 or right > size["width"] or bottom > size["height"]
    ]
    return out + [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes.items(), 2)
        if min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1
    ]


def faults(page: Page) -> list[str]:
    """What axe finds wrong with the page, by its rules."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations.map(one => `${one.id}: ${one.nodes[0].html}`)")
    return list(found)
