"""Authentication: who a client is, asked of the program's own function, under a time limit."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import define

from squire_gatherings._values.errors import AuthenticationUnavailable
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import ANONYMOUS, Identity

Authenticate = (
    Callable[[str | None, str], Awaitable[Identity]]
    | Callable[[str | None, str, HandshakeRequest | None], Awaitable[Identity]]
)
"""A program's own check of who a client is.

It is called with the token of the `join` (or None) and the gathering's id, and, if it has a third
parameter, with the `HandshakeRequest` (None where there was none). It returns an `Identity`, or
raises `Unauthorized`, which is final, or `AuthenticationUnavailable`, after which clients try
again. It is given `authenticate_timeout` seconds, after which it is cancelled.
"""

LATE = 0.5
"""A timer that fires this many seconds late was kept from it, as the check may have been."""


async def admit_everybody(token: str | None, gathering_id: str) -> Identity:
    """The default authentication: everybody is an anonymous member."""
    return ANONYMOUS


@define(eq=False)
class Authenticator:
    """Calls a program's `Authenticate` as it wants to be called, and not for too long."""

    _check: Callable[..., Awaitable[Identity]]
    _timeout: float
    _sees_request: bool

    @classmethod
    def of(cls, authenticate: Authenticate, timeout: float) -> "Authenticator":
        """Make one whose checks may take `timeout` seconds."""
        return cls(authenticate, timeout, _takes(authenticate, 3))

    async def identify(
        self, token: str | None, gathering_id: str, request: HandshakeRequest | None
    ) -> Identity:
        """Return who the client is.

        Raises what the check raises, `AuthenticationUnavailable` when it takes too long, and
        `TypeError` when it returns no `Identity`. A check that was interrupted because this
        process was kept from running is made again.
        """
        seen = (request,) if self._sees_request else ()
        while True:
            due = trio.current_time() + self._timeout
            with trio.move_on_at(due):
                identity = await self._check(token, gathering_id, *seen)
                if not isinstance(identity, Identity):
                    raise TypeError(f"who joins is an Identity, not {identity!r:.80}")
                return identity
            if trio.current_time() < due + LATE:
                raise AuthenticationUnavailable("the check of who this is takes too long")


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        # A callable that can't be inspected is called as the simpler one.
        return False
    return True
