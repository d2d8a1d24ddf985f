"""Which folders a wheel holds, and under which names: the four common names only inside of `groundplan_project`.

An editable installation keeps them where they are, and so does everything that works in a checkout. All else of the
package stands in pyproject.toml.
"""

import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

FOLDERS = ("assets", "orchestration", "resources", "serving")
EDITABLE = "editable_wheel" in sys.argv
INSIDE = "" if EDITABLE else "groundplan_project.inside."
DATA = {
    "assets": ["**/*.html.j2"],
    "serving": ["maps/static/*", "maps/static/vendor/*", "maps/templates/*", "api/*.html", "review/*.html"],
}

SETTINGS = "dagster.yaml"  # beside the folders, in a checkout as in a wheel: what a new home's Dagster is told


class BuildWithSettings(build_py):
    """Python files, and beside the folders of a wheel the settings of Dagster."""

    def run(self) -> None:
        super().run()
        if not EDITABLE:
            self.copy_file(SETTINGS, str(Path(self.build_lib, *INSIDE.split("."), SETTINGS)))


setup(
    cmdclass={"build_py": BuildWithSettings},
    packages=[
        *find_packages(include=["groundplan", "groundplan.*", "groundplan_project"]),
        *(
            INSIDE + name
            for name in find_packages(include=[f"{name}{rest}" for name in FOLDERS for rest in ("", ".*")])
        ),
    ],
    package_dir={} if EDITABLE else {INSIDE + name: name for name in FOLDERS},
    package_data={
        # its types are checked where it is imported
        "groundplan": ["py.typed", "**/*.pyi", "**/*.html.j2", "**/*.mako", "starter/model.zip"],
        **{INSIDE + name: patterns for name, patterns in DATA.items()},
    },
)
