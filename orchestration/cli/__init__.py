"""The command line.

Here: options, tables, progress bars, exit codes. Not here: what a command does beyond asking the library or Dagster.
"""
