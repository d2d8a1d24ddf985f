"""Fuzzing: foreign input of five kinds, spoiled at random, against what reads it. `python -m fuzz --help` tells more.

Here: drawing inputs, trying each in a bounded process, and saying what must not be. Not here: cases that somebody
thought of (test_bad_input.py and others), which have names of their own; what fuzzing finds becomes one of those.
"""
