"""Raster blocks: cloud-optimized GeoTIFFs on the grid, and their neighbors' edges.

Here: writing and reading a block's file, whole, in windows, or with a halo. Not here: which sheets it is cut from
(imagery/), or what its values mean (labels/, footprints/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
