"""The datasets as Dagster assets: declarations that read, call the library and return metadata.

One module a dataset. Not here: pixels and polygons (groundplan/), wiring (orchestration/).
"""
