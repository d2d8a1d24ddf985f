"""Images of a collection: decoding, metadata, faces, near-duplicates.

Here: one image as bytes and pixels. Not here: datasets made of many.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
