"""Training: from labeled windows to a model with its card.

Here: the split by place, windows, chips, augmentation, network, loop, checkpoints, thresholds, export. Not here:
running an exported model (inference/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
