"""Image descriptors: features of each image, and their principal components.

Here: encoders, visual words, shards, exact merged PCA. Not here: learning classes from them (classification/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
