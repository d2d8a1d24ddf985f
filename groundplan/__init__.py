"""Groundplan's library: imagery, blocks, models and polygons.

Here belongs everything about pixels and polygons. Not here: anything of Dagster (assets, runs, partitions as keys),
which lives in assets/, resources/ and orchestration/; a test holds that border.
"""

__version__ = "0.1.0"
