"""Changes: what became of each building since the year before, and its lasting id.

Here: the steps building_ids, change_null and building_changes, and what they decide by. Not here: the footprints and
probabilities that are compared (footprints/), or telling of them (quality/, previews/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
