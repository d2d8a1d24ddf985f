"""Connections to the world outside: typed resources. Not here: what is done with them."""
