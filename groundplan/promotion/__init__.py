"""Promotion: which models there are, whether one may take another's place, and how to give one to others.

Here: finding models that were made, the gate before an alias, layouts of other registries. Not here: items and aliases
themselves (groundplan/registry), making models (training, collections/classification).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
