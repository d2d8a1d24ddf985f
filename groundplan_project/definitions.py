"""What a Dagster workspace of an installed wheel names: `python_module: groundplan_project.definitions`.

Here: the code location, with this project's folders before others of their names. Not here: what it holds
(orchestration/definitions.py, which a checkout and the images name themselves).
"""

from groundplan_project import put_first

put_first()

from orchestration.definitions import defs  # noqa: E402  # only now is it known which `orchestration` is meant

__all__ = ["defs"]
