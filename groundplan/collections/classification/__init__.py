"""Image classification: a linear classifier on reduced features, or an encoder tuned further.

Here: fitting, calibration, cards. Not here: features (descriptors/), or the report (report/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
