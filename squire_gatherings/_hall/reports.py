"""Reports: what the log says of gatherings that begin and end, and of clients that aren't let in.

docs/logs.md has all of it. While the level `info` is off, each costs a look at the level.
"""

import logging
from types import TracebackType

import trio
from attrs import define

from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.room import Room
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import (
    AuthenticationUnavailable,
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    StoreUnavailable,
)
from squire_gatherings._values.text import sayable

_log = logging.getLogger(__name__)

REFUSED_A_SECOND = 10
"""How many lines a second the log gets of joins that were refused for the same reason."""

LONGEST = 300
"""How many characters of an error the log gets."""

_AT_ONCE = (
    DispersalReason.CRASHED,
    DispersalReason.SHUTDOWN,
    DispersalReason.ADMIN,
    DispersalReason.MOVED,
    DispersalReason.EVICTED,
)
"""The ends that nobody could foresee: they can't be late."""

_OURS = (AuthenticationUnavailable, GatheringCrashed, StoreUnavailable)
"""The refusals that are no fault of the client's."""


def report_birth(room: Room) -> None:
    """Say that a gathering was opened."""
    if _log.isEnabledFor(logging.INFO):
        _log.info("gathering opened", extra=room.names() | {"seq": room.log.committed})


def report_end(room: Room, reason: DispersalReason, clients: int, now: float) -> None:
    """Say that a gathering has ended, by which rule, and how late that was.

    Args:
        room: Its room.
        reason: Why it ended.
        clients: How many clients got the notice.
        now: When it came to its end, before the notice.
    """
    if not _log.isEnabledFor(logging.INFO):
        return
    told = room.names() | {
        "rule": str(reason),
        "life": round(now - room.deadline.opened_at, 3),
        "messages": room.processed,
        "seq": room.log.committed,
        "clients": clients,
    }
    late = now - room.deadline.at
    if late >= 0 and reason not in _AT_ONCE:
        told["lateness"] = round(late, 6)
    _log.info("gathering ended", extra=told)


@define(eq=False)
class JoinReport:
    """A block in which somebody is let in; says so if it isn't."""

    quotas: Quotas
    gathering_id: str
    peer: str | None
    user: str | None = None
    """Who it is, once that is known."""

    def __enter__(self) -> "JoinReport":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, GatheringsError) or isinstance(error, GatheringDispersed):
            return
        level = logging.WARNING if isinstance(error, _OURS) else logging.INFO
        if not _log.isEnabledFor(level):
            return
        times = self.quotas.lines.count(error.code, trio.current_time(), REFUSED_A_SECOND)
        if times:
            told = {
                "gathering": self.gathering_id,
                "peer": self.peer,
                "user": self.user,
                "error": error.code,
                "why": sayable(error, LONGEST),
                "times": times,
            }
            _log.log(level, "join refused", extra=told)
