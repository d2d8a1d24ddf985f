"""Blocks made once: the contract that every dataset keeps, and what it stands on.

Here: the grid, the object store, partitions, manifests, making what is missing, progress. Not here: pixels,
polygons, or what any dataset contains.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
