"""What a node may answer while something is done to it, or to what it needs."""

from squire_gatherings._load.clients.frames import NO_STATUS

AGAIN = {"store_unavailable", "unavailable", "rate_limited", "internal", "hall_closed", "moved"}
"""Errors after which a sync is sent again."""
PASSING = AGAIN | {"full", "authentication_unavailable", "crashed"}
"""Errors after which a join is tried again."""

MOVED, DISPERSED = "moved", 4001
"""A reason that ends a connection, and not its incarnation; and the close code of the others."""
GONE = {"shutdown", "crashed", MOVED}
"""Reasons of notices that aren't ends by a rule."""
CODES = {1001, 1011, 1012, 1013, DISPERSED, 4008, 4009, 4010, NO_STATUS}
"""How a node may close a connection."""
