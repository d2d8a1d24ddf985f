"""Inference: an exported network over rasters of any size.

Here: the runtime and the sliding window. Not here: training (training/), or which model a partition takes
(training/models.py).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
