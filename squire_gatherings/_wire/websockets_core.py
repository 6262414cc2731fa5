"""How `websockets`' Sans-I/O layer is used here: no logs, no garbage, and quoted with care."""

import logging

from websockets.exceptions import InvalidMessage
from websockets.protocol import Protocol

QUIET_LOG = logging.getLogger(__name__)
"""For every `Protocol` here."""
# At level DEBUG `websockets` logs what is in the headers and frames, tokens among it; at INFO
# each connection.
QUIET_LOG.setLevel(logging.WARNING)


MAX_QUOTE = 200
"""How many characters of what somebody outside said are repeated."""


def quote(what: object) -> str:
    """Return what somebody outside said: on one line, whatever it was, and not too long."""
    return "".join(char if char.isprintable() else "?" for char in str(what)[:MAX_QUOTE])


def reason_of(failure: Exception) -> Exception:
    """Return what says most about a failed handshake, or about frames that are wrong."""
    if isinstance(failure, InvalidMessage) and isinstance(failure.__cause__, Exception):
        return failure.__cause__
    return failure


def retire(protocol: Protocol) -> None:
    """Let nothing outlive `protocol`, which takes nothing more in: it and its parser are a cycle.

    What is among its `data_to_send` stays there.
    """
    protocol.parser.close()
    for failure in (protocol.parser_exc, protocol.handshake_exc):
        error: BaseException | None = failure
        while error is not None:
            # The frames that it came through refer to the protocol. What was under way
            # meanwhile may be somebody else's, and keeps its own.
            error.__traceback__ = error.__context__ = None
            error = error.__cause__
