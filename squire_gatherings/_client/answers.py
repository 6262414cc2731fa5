"""Answers: what tasks wait for, and the session's receiver brings; and errors by their codes."""

from typing import Generic, TypeVar

import trio
from attrs import define, field
from outcome import Outcome

from squire_gatherings._values import errors
from squire_gatherings._values.errors import (
    AuthenticationUnavailable,
    Full,
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    HallClosed,
    StoreUnavailable,
    TakenAway,
)

T = TypeVar("T")


@define(eq=False)
class Answer(Generic[T]):
    """One answer or error, for one task."""

    _outcome: Outcome[T] | None = None
    _there: trio.Event = field(factory=trio.Event)

    def give(self, outcome: Outcome[T]) -> None:
        """Wake the task; only the first outcome counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._there.set()

    async def wait(self) -> T:
        """Return the answer, or raise the error. To be called once."""
        await self._there.wait()
        assert self._outcome is not None
        return self._outcome.unwrap()


RATE_LIMITED = "rate_limited"

PASSING = {
    StoreUnavailable.code,
    AuthenticationUnavailable.code,
    GatheringCrashed.code,
    GatheringDispersed.code,
    HallClosed.code,
    TakenAway.code,
    Full.code,
    RATE_LIMITED,
}
"""Errors after which the same may be asked again, and is: nothing was wrong with it."""

FOR_THE_WIRE = {
    "join_first",
    "already_joined",
    GatheringCrashed.code,
    GatheringDispersed.code,
    HallClosed.code,
    TakenAway.code,
}
"""Errors that, without an id, mean that this connection is of no more use."""

_BY_CODE: dict[str, type[GatheringsError]] = {
    one.code: one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, GatheringsError)
}


def error_from(code: str, message: str) -> GatheringsError:
    """Return the exception that the wire protocol's error `code` stands for."""
    return _BY_CODE.get(code, GatheringsError)(message)
