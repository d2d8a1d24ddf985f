"""The service that answers about single images and areas, at once: predictions, models, jobs, health.

Here: HTTP, admission, keys. Not here: what is said of an image (groundplan/single), maps (serving/maps), what is done
later by message (serving/work).
"""
