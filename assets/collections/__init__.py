"""Image collections: the datasets from images to a classifier as Dagster assets, one module each."""
