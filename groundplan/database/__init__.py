"""The results' database: a copy of the manifests for those who ask, and the state of what is in hand.

Here: tables and their migrations, connections, loading and asking. Not here: what the store holds: it is the truth of
all that is made, and the database can be filled from it again. Only this room, serving/ and resources/ know SQLAlchemy.
"""
