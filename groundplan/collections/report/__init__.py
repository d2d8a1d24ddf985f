"""The collection's report: one HTML page with tables and pictures.

Here: the step, its HTML and its figures. Not here: what the figures are computed from.
"""
