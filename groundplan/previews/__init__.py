"""Previews: pictures and web tiles of what lies in the store.

Here: drawing blocks, footprints and curves for a person. Not here: serving them (serving/), or the map of the country
(operations/country_map.py).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
