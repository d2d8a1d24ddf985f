"""A project's settings: `groundplan.toml` in its home folder, checked, each key overridable by the environment.

Here: their names, defaults and limits (sections.py, operating.py), and where they come from (sources.py). Not here:
what is done with them, and what the environment says to Dagster alone (orchestration/environment.py).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
