"""The registry: models as STAC items beside their files, and the aliases by which they are used.

Here: what is known of a version, and which version an alias means. Not here: whether a version is good enough, finding
models that were made, and other programs' layouts (groundplan/promotion); the models' files (training/models.py,
collections/classification).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
