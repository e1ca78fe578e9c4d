"""Muster from the outside: the one room that sees both services.

Runs them (`muster up`), feeds them, and checks them. Nothing in `shared` or `services` imports from here.
"""

__version__ = "0.0.1"
