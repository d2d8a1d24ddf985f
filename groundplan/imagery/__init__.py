"""Imagery: from delivered sheets to aligned blocks.

Here: the landing folder, sheets and their validation, the catalog, regions and which blocks they own, aerial tiles. Not
here: deciding that a delivery is over (ingest/), or what is learned from the tiles.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
