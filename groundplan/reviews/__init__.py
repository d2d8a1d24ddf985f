"""Reviews: people say what is a building where the model is unsure, and labels are made anew from what they said.

Here: which polygons are asked about (tasks.py), what verdicts mean (verdicts.py), verdicts as a register of their own
(register.py), and files for QGIS and JOSM (files.py). Not here: rows of the database (groundplan/database/reviews.py),
the page (serving/review).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
