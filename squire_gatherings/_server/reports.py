"""Reports: what the log says of connections that close, and of requests that get no WebSocket.

docs/logs.md has all of it. While the level `info` is off, each costs a look at the level.
"""

import logging

import trio
from attrs import frozen

from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._server.limits import Meter
from squire_gatherings._values.endings import CloseCode

_log = logging.getLogger(__name__)

CLOSED_A_SECOND = 100
"""How many lines a second the log gets of connections that were closed with the same code."""

REFUSED_A_SECOND = 10
"""How many it gets of requests that were refused with the same status."""

ABNORMAL = 1006
"""The code where no close frame came or went (RFC 6455, section 7.4.1)."""


@frozen
class Close:
    """How a connection was closed."""

    code: int | None
    """The close code; None where it isn't known."""
    by: str
    """Who was first: `server` or `client`; or `nobody`, where the connection was just gone."""
    why: str | None = None
    """What the server said."""

    @property
    def is_goodbye(self) -> bool:
        """Whether the client has left by itself, and means to."""
        return self.by == "client" and self.code == CloseCode.LEFT


def is_reported() -> bool:
    """Whether the log gets lines of closed connections, so that it's worth to look how."""
    return _log.isEnabledFor(logging.INFO)


def report_close(
    meter: Meter, membership: Membership | None, close: Close, began_at: float
) -> None:
    """Say that a connection has been closed.

    Args:
        meter: The connection's.
        membership: That of its client, if it had joined.
        close: How it was closed.
        began_at: When it had shaken hands.
    """
    now = trio.current_time()
    times = meter.quotas.lines.count(("close", close.code), now, CLOSED_A_SECOND)
    if not times:
        return
    told = {
        "code": close.code,
        "by": close.by,
        "why": close.why,
        "peer": meter.peer,
        "life": round(now - began_at, 3),
        "times": times,
    }
    if membership is not None:
        told["gathering"] = membership.gathering_id
        told["incarnation"] = membership.incarnation
        told["user"] = membership.identity.user
    _log.info("connection closed", extra=told)


def report_refusal(quotas: Quotas, peer: str | None, status: int, why: str) -> None:
    """Say that somebody who asked for a WebSocket got an HTTP status instead."""
    if not is_reported():
        return
    times = quotas.lines.count(("status", status), trio.current_time(), REFUSED_A_SECOND)
    if times:
        told = {"status": status, "why": why, "peer": peer, "times": times}
        _log.info("request refused", extra=told)
