"""Results for everybody: OGC API Features and Tiles, TileJSON, WMTS, downloads, over the results' database.

Here: what these standards ask for. Not here: the queries (groundplan/database), the map (serving/maps).
"""
