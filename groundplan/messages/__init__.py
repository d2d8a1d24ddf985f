"""Messages: what is said between processes about images and results, and what a broker must do for them.

Here: values, their ids and their form, and the interface of a broker. Not here: brokers (resources/brokers), who sends
and receives (serving/work), object events of others (ingest/object_events.py).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
