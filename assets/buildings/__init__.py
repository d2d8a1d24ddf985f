"""Buildings: the datasets from sheets to footprints as Dagster assets, one module each, and their checks."""
