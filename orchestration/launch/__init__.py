"""Launching runs: which pod a run gets, and how its silence is read.

Here: launch profiles, the run coordinator, the launcher. Not here: what a run does.
"""
