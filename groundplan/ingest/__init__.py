"""Ingest: noticing what was delivered, and deciding what follows.

Here: adding imagery, listings, events of a bucket, deliveries that are over, inputs that changed. Decisions are pure
functions of what was seen and the time. Not here: catalogs and blocks (imagery/), or starting runs (orchestration/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
