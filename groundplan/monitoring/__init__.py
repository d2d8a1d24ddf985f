"""Monitoring: whether imagery and predictions are like those that the model is known to do well on.

Here: figures of a block or an image (figures.py), comparing units with units (drift.py), the year's baseline
(baseline.py), the report of one region and year (report.py). Not here: telling anybody (operations/notifications.py,
orchestration/sensors/alerts.py), or figures for Prometheus (serving/metrics.py).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
