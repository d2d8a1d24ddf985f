"""Where the four folders of an installation lie, so that `pip install groundplan` takes no common name from anybody.

The folders are named `assets`, `orchestration`, `resources` and `serving`, by which every module here imports them. In
a checkout they lie beside this one. A wheel holds them in `groundplan_project/inside`, out of the way of another
package of such a name; the program puts that folder before all others, for itself and for the processes that it starts.

Here: that folder, and putting it first. Not here: what is in it. Nothing but the standard library may be imported here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDERS = ("assets", "orchestration", "resources", "serving")


def place() -> Path:
    """The folder that holds the four."""
    here = Path(__file__).resolve().parent
    return here / "inside" if (here / "inside").is_dir() else here.parent


def put_first() -> None:
    """Let the four names mean this project's folders, here and in processes that are started from here.

    Raises ImportError where one of the names was imported from elsewhere before.
    """
    folder = str(place())
    for name in FOLDERS:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and not Path(file).resolve().is_relative_to(folder):
            raise ImportError(f"'{name}' of {file} was imported first: start Groundplan in a process of its own")
    sys.path[:] = [folder, *(one for one in sys.path if one != folder)]
    others = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one not in ("", folder)]
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *others])


def main() -> None:
    """The program `groundplan`."""
    put_first()
    from orchestration.cli.main import main as run

    run()
