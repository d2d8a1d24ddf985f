"""The review page: one polygon at a time, and what a person says of it.

Here: its routes (routes.py) and its frame (review.html). Not here: which polygons (groundplan/reviews), rows
(groundplan/database/reviews.py), the page's script (serving/maps/static/review.js).
"""
