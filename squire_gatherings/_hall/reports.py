"""Reports: what the log says of gatherings that begin and end, and of clients that aren't let in.

docs/logs.md has all of it. While the level `info` is off, each costs a look at the level.
"""

import logging
from types import TracebackType

import trio
from attrs import define

from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.room import Room
from squire_gatherings._values.errors import (
    AuthenticationUnavailable,
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    StoreUnavailable,
)
from squire_gatherings._values.numbers import Ended
from squire_gatherings._values.text import sayable

_log = logging.getLogger(__name__)

REFUSED_A_SECOND = 10
"""How many lines a second the log gets of joins that were refused for the same reason."""

LONGEST = 300
"""How many characters of an error the log gets."""

_OURS = (AuthenticationUnavailable, GatheringCrashed, StoreUnavailable)
"""The refusals that are no fault of the client's."""


def report_birth(room: Room) -> None:
    """Say that a gathering was opened."""
    if _log.isEnabledFor(logging.INFO):
        _log.info("gathering opened", extra=room.names() | {"seq": room.log.committed})


def report_end(how: Ended, clients: int) -> None:
    """Say how a gathering has ended, and how many clients were told."""
    if not _log.isEnabledFor(logging.INFO):
        return
    told: dict[str, object] = {
        "gathering": how.gathering,
        "incarnation": how.incarnation,
        "rule": str(how.reason),
        "life": round(how.lifetime, 3),
        "messages": how.processed,
        "seq": how.seq,
        "clients": clients,
    }
    if how.lateness is not None:
        told["lateness"] = round(how.lateness, 6)
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
