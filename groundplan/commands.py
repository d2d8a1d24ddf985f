"""Commands as a person can paste them: the program as it can be run from there, words quoted for a shell, the project.

Here: finishing the commands that texts name between backticks. Not here: the commands (orchestration/cli), or which
texts name them: an error says `groundplan build --year 2024`, and whoever prints it knows where the reader stands.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

PROGRAM = "groundplan"
HOMELESS = ("init", "demo")  # they are told their folder by another word
_NAMED = re.compile(rf"`{PROGRAM} ([a-z][a-z-]*)([^`]*)`")


def quoted(word: str) -> str:
    """A word between quotes, as a POSIX shell takes it back."""
    return "'" + word.replace("'", "'\"'\"'") + "'"


def program(started: str, here: Path | None) -> str:
    """How the running program is called from the folder `here`: by its name where that is found, else by its path.

    here: None for readers who may be anywhere, such as those of a web page. started: `sys.argv[0]`; of a program that a
    shell found by its name, that is a path too.
    """
    path = Path(started)
    if path.name != PROGRAM:  # python -m, a test, a server: the program stands beside their interpreter
        path = Path(sys.executable).with_name(PROGRAM)
    elif os.sep not in started:
        return PROGRAM
    found = shutil.which(PROGRAM)
    if not path.is_file() or (found is not None and os.path.samefile(found, path)):
        return PROGRAM
    return shortest(here, Path(os.path.abspath(path)))


def shortest(here: Path | None, path: Path) -> str:
    """A path as it is shortest to write in a shell: from the folder `here` where it lies in it."""
    inside = here is not None and path.is_relative_to(here)
    return shlex.quote(str(path.relative_to(here)) if inside and here is not None else str(path))


def pasteable(text: str, called: str, home: Path | None, here: Path | None) -> str:
    """A text whose commands can be pasted as they stand.

    called: how the program is called. home: the project to name in them, where they would not find it by themselves.
    """

    def finish(match: re.Match[str]) -> str:
        command, rest = match.groups()
        ours = home is not None and command not in HOMELESS and "--home" not in rest
        place = f" --home {shortest(here, home)}" if ours and home is not None else ""
        return f"`{called} {command}{rest}{place}`"

    return _NAMED.sub(finish, text)
