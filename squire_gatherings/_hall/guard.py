"""The guard before a connection: what that raises, or wrongly returns, harms its client alone."""

from types import TracebackType
from typing import Protocol

from attrs import define

from squire_gatherings._hall.connection import Connection
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.outgoing import Outgoing


class Guarded(Protocol):
    """A client before whose connection a guard stands."""

    def lost(self, what: str, error: BaseException) -> None:
        """Note that its connection has failed when it was asked this."""
        ...


@define(eq=False)
class Guard:
    """Guards what is asked of a client's connection: if that raises, the client is lost."""

    client: Guarded
    what: str

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        rest: BaseException | None = None
        if isinstance(error, BaseExceptionGroup):
            error, rest = error.split(Exception)
        elif not isinstance(error, Exception):
            return False
        if error is None:
            return False
        self.client.lost(self.what, error)
        if rest is None:
            return True
        try:
            # A cancellation, for instance, that was in a group with it.
            raise rest
        finally:
            # The traceback refers to this frame.
            del rest


def checked(value: object) -> int:
    """Return a number of bytes. Raises `TypeError` if it isn't one."""
    if not isinstance(value, int):
        raise TypeError(f"a number of bytes is an int, not {type(value).__name__}")
    return value


class _Gone(Connection):
    """Stands in for a connection that failed; sends nothing."""

    __slots__ = ()

    def send(self, outgoing: Outgoing) -> None:
        pass

    def close(self, code: CloseCode, reason: str) -> None:
        pass


GONE = _Gone()
"""The connection of a client whose own has failed."""
