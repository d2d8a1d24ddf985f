"""Polygon geometry: arrays and polygons in, polygons out.

Here: instance separation, tracing, regularization, accuracy measures, reading foreign vector files, GeoParquet. Not
here: anything that knows a project, a store or a partition.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
