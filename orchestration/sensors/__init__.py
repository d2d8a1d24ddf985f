"""Sensors: what looks at the world at short intervals and asks for runs, or tells a person.

Here: reading and acting. Not here: the decisions (groundplan/ingest, groundplan/operations).
"""
