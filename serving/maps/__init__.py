"""The map server: pictures, tiles and footprints of a project for a browser. Read-only.

Here: routes, pages, caches, bounds. Not here: pixels (groundplan/previews).
"""
