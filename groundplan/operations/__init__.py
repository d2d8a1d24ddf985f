"""Operations: the policy of a project that runs for years.

Here: what is missing, what it waits for, what a night makes and costs, what is overdue, whom to tell, whether the store
holds what manifests promise, the map of the country. Pure decisions, the clock an argument. Not here: starting runs or
sending messages (orchestration/, resources/).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
