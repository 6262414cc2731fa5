"""How `websockets`' Sans-I/O layer is used: no logs, no garbage, and careful quotes."""

import logging

from websockets.exceptions import InvalidMessage
from websockets.protocol import Protocol

QUIET_LOG = logging.getLogger(__name__)
"""The log of each `Protocol` here.

At level DEBUG `websockets` would log what is in headers and frames, also tokens; at INFO each
connection.
"""
QUIET_LOG.setLevel(logging.WARNING)

MAX_QUOTE = 200
"""How many characters of what somebody outside said are repeated."""


def quote(what: object) -> str:
    """Return what somebody outside said, on one line, and at most `MAX_QUOTE` characters of it."""
    return "".join(char if char.isprintable() else "?" for char in str(what)[:MAX_QUOTE])


def reason_of(failure: Exception) -> Exception:
    """Return the error that says most about a failed handshake, or about frames that are wrong."""
    if isinstance(failure, InvalidMessage) and isinstance(failure.__cause__, Exception):
        return failure.__cause__
    return failure


def retire(protocol: Protocol) -> None:
    """Let go of all that `protocol` refers to, once nobody uses it any more.

    It refers to itself, by its parser and by the tracebacks of what went wrong. What is in a cycle
    stays in memory until Python's next full collection, and servers make those rare.

    Args:
        protocol: The connection's; take its `data_to_send` before.
    """
    vars(protocol).clear()
