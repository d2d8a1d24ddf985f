"""Image collections: pictures in class folders, from delivery to a classifier.

Here: everything about collections, a module to each dataset (catalog, words, features ...) and to each concern (images,
privacy, splits ...). Not here: aerial imagery, whose block contract, store and settings are shared; Dagster.
"""
