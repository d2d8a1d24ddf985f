"""Plain files: the rooms of a folder store into which others put files, without what is no file there.

Here: which entries are links or devices, and listings that leave them out. Not here: requests and retries (store.py).

A delivery by FTP or over a network disk may hold symbolic links: in a loop, to another file of the machine, to a
folder elsewhere. None is followed below these rooms. The room itself may be a link: that is the operator's choice.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundplan.core.store import Found

FOREIGN = ("landing", "collections", "inbox")
"""Rooms in which others put files."""


Head = Callable[[str], "Found | None"]


def behind_link(root: Path, key: str) -> bool:
    """Whether a key of one of these rooms, or a folder that it lies in, is a link. What is not there is none."""
    parts = key.split("/")
    if parts[0] not in FOREIGN:
        return False
    try:
        return any(stat.S_ISLNK(os.lstat(root.joinpath(*parts[:end])).st_mode) for end in range(2, len(parts) + 1))
    except (OSError, ValueError):
        return False


class PlainFiles:
    """A folder store's rooms; `odd` are the keys of what is neither file nor folder, sorted."""

    def __init__(self, root: Path, rooms: Sequence[str]) -> None:
        self.root = root
        self.odd = sorted(key for room in rooms for key in _odd(root / room, room))
        self._around = {key.rsplit("/", depth)[0] for key in self.odd for depth in range(1, key.count("/") + 1)}

    def below(self, prefix: str, head: Head) -> tuple[list[str], list[Found]]:
        """Names of the folders directly below a prefix, and the files there, both sorted."""
        folders, files = self._entries(prefix.strip("/"))
        found = [item for key in files if (item := head(key))]
        return sorted(key.rsplit("/", 1)[-1] for key in folders), sorted(found, key=lambda item: item.key)

    def all_below(self, prefix: str, head: Head, whole: Callable[[str], list[Found]]) -> list[Found]:
        """All files below a prefix. whole: lists a folder in which all is plain, in its own quick way."""
        folders, files = self._entries(prefix.strip("/"))
        found = [item for key in files if (item := head(key))]
        for key in folders:
            found += self.all_below(key, head, whole) if key in self._around else whole(key)
        return found

    def _entries(self, prefix: str) -> tuple[list[str], list[str]]:
        """Keys of the folders and of the files directly in a folder; none of what lies behind a link."""
        folders: list[str] = []
        files: list[str] = []
        if prefix and behind_link(self.root, prefix):
            return folders, files
        try:
            with os.scandir(self.root / prefix) as entries:
                for entry in entries:
                    key = f"{prefix}/{entry.name}" if prefix else entry.name
                    follow = not prefix  # the rooms themselves
                    if entry.is_dir(follow_symlinks=follow):
                        folders.append(key)
                    elif entry.is_file(follow_symlinks=follow):
                        files.append(key)
        except (FileNotFoundError, NotADirectoryError):
            pass
        return folders, files


def _odd(folder: Path, key: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{key}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    yield from _odd(folder / entry.name, name)
                elif not entry.is_file(follow_symlinks=False):
                    yield name
    except (FileNotFoundError, NotADirectoryError):
        return
