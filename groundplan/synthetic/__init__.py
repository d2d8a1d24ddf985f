"""The drawn country: imagery and registers of invented towns, for the demo, tests and benchmarks.

Here: laying out, painting and delivering it. Not here: anything that a real project needs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
