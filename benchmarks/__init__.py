"""One command per figure: `python -m benchmarks.cutting`. See README.md in this folder."""
