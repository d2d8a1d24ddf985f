"""Building footprints: from imagery and a model to polygons with their provenance.

Here: the steps predictions, outlines and footprints, and export. Not here: the geometry (polygons/), or judging the
result (quality/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
