"""Labels: from a building register to class masks.

Here: registers, the classes of a label block, drawing them, and how far a register lies beside the image. Not here:
learning from them (training/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
