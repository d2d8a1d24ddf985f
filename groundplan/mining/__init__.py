"""Mining: places on empty ground where a model sees buildings, and the proof that learning from them pays.

Here: which ground is known to be empty, the places on it, the trial of three arms and its judgment. Not here: windows
that are learned from (training/mined.py), the check of the trial (quality/), the command (orchestration/cli/mine.py).
"""
