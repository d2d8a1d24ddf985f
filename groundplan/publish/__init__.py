"""Publish: what is made, in the words of others: a QGIS project, a catalogue that STAC clients read.

Here: files to be given on, written anew as often as one likes. Not here: a single layer of footprints
(footprints/export.py), the map server (serving/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
