"""Quality: what must hold of each dataset, and how good the result is.

Here: verdicts, checks, accuracy assessment on a region. Not here: the measures (polygons/metrics.py), or when a check
runs and what it blocks (assets/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
