"""Capacity planning: what a country's backfill on spot nodes would take.

Here: costs of a block, the simulation, what follows from it. Not here: running anything.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
