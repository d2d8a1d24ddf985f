"""What a browser reads besides Dagster: pictures, maps and tiles, read-only.

Here: HTTP, HTML and JavaScript. Not here: pixels and polygons (groundplan/), Dagster (assets/, orchestration/).
"""
