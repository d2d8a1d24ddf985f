"""Groundplan's library: imagery, blocks, models and polygons.

Here belongs everything about pixels and polygons; what a notebook needs first has its name right here (api.py). Not
here: anything of Dagster (assets, runs, partitions as keys), which lives in assets/, resources/ and orchestration/; a
test holds that border.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
