"""The drawing of the rooms' imports in docs/architecture.md: `python docs/draw_imports.py docs/images/imports.png`.

Read by grimp, which import-linter stands on. A row holds the rooms that stand on the rows below it; an arrow points to
what is imported. Exits with 1 where rooms import each other in a circle.
"""

from __future__ import annotations

import sys

import grimp

PACKAGES = ("groundplan", "assets", "resources", "orchestration", "serving")


def rooms_of(graph: grimp.ImportGraph) -> set[str]:
    found = {child for package in PACKAGES for child in graph.find_children(package)}
    return {room for room in found if room.startswith("groundplan.")} | {*PACKAGES} - {"groundplan"}


def arrows_of(graph: grimp.ImportGraph, rooms: set[str]) -> dict[str, set[str]]:
    def room(module: str) -> str | None:
        return next((name for name in rooms if module == name or module.startswith(f"{name}.")), None)

    found: dict[str, set[str]] = {name: set() for name in rooms}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            here, there = room(module), room(imported)
            if here and there and here != there:
                found[here].add(there)
    return found


def floors_of(arrows: dict[str, set[str]]) -> dict[str, int]:
    """How high each room stands. Raises ValueError for a circle."""
    floors: dict[str, int] = {}
    while len(floors) < len(arrows):
        ready = {name for name, below in arrows.items() if name not in floors and below <= floors.keys()}
        if not ready:
            raise ValueError(f"a circle among {', '.join(sorted(arrows.keys() - floors.keys()))}")
        floors |= {name: 1 + max((floors[other] for other in arrows[name]), default=0) for name in ready}
    return floors


def draw(arrows: dict[str, set[str]], floors: dict[str, int], target: str) -> None:
    import matplotlib.pyplot as plt

    rows: dict[int, list[str]] = {}
    for name, floor in sorted(floors.items()):
        rows.setdefault(floor, []).append(name)
    places = {
        name: ((index + 0.5) / len(names), floor) for floor, names in rows.items() for index, name in enumerate(names)
    }
    figure, axes = plt.subplots(figsize=(11, 9), dpi=110)
    for name, below in arrows.items():
        for other in below:
            near = floors[name] - floors[other] == 1
            style = {"arrowstyle": "-|>", "color": "#2b6aa8" if near else "#b8c4d0", "lw": 1.0 if near else 0.6}
            axes.annotate("", xy=places[other], xytext=places[name], arrowprops={**style, "shrinkA": 14, "shrinkB": 14})
    for name, (x, y) in places.items():
        text = name.removeprefix("groundplan.")
        box = {
            "boxstyle": "round,pad=0.4",
            "fc": "white" if name.startswith("groundplan.") else "#fdf3dc",
            "ec": "#5c6672",
        }
        axes.text(x, y, text, ha="center", va="center", fontsize=10, bbox=box, zorder=3)
    count = sum(map(len, arrows.values()))
    axes.set_title(f"{len(arrows)} rooms, {max(floors.values())} floors, {count} arrows, no circle", fontsize=11)
    axes.set_ylim(0.4, max(floors.values()) + 0.6)
    axes.axis("off")
    figure.tight_layout()
    figure.savefig(target)


def main(target: str) -> None:
    graph = grimp.build_graph(*PACKAGES)
    arrows = arrows_of(graph, rooms_of(graph))
    floors = floors_of(arrows)
    draw(arrows, floors, target)
    print(f"{len(arrows)} rooms, {max(floors.values())} floors, {sum(map(len, arrows.values()))} arrows, no circle")


if __name__ == "__main__":
    main(sys.argv[1])
