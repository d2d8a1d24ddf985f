"""Wiring: definitions, partitions, jobs, the command line. Not here: pixels, polygons, or what an asset does."""
