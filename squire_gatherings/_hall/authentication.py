"""Authentication: who a client is, asked of the program's own function, under a time limit."""

from collections.abc import Awaitable, Callable

from attrs import define

from squire_gatherings._hall.lateness import TookTooLong, attempt_within
from squire_gatherings._values.calls import takes
from squire_gatherings._values.errors import (
    AuthenticationUnavailable,
    Forbidden,
    GatheringsError,
    StoreUnavailable,
    Unauthorized,
)
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import ANONYMOUS, Identity

Authenticate = (
    Callable[[str | None, str], Awaitable[Identity]]
    | Callable[[str | None, str, HandshakeRequest | None], Awaitable[Identity]]
)
"""A program's own check of who a client is.

It is called with the token of the `join` (or None) and the gathering's id, and, if it has a third
parameter, with the `HandshakeRequest` (None where there was none). It returns an `Identity`, or
raises `Unauthorized` or `Forbidden`, which are final, or `AuthenticationUnavailable` or
`StoreUnavailable`, after which clients try again. Anything else is a fault of the program's. It is
given `authenticate_timeout` seconds, after which it is cancelled.
"""

MEANT = (Unauthorized, Forbidden, AuthenticationUnavailable, StoreUnavailable)


class AuthenticationFailed(Exception):
    """The program raised what would mean something else to the client; says what."""


async def admit_everybody(token: str | None, gathering_id: str) -> Identity:
    """Let everybody in, as an anonymous client: the default authentication."""
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
        return cls(authenticate, timeout, takes(authenticate, 3))

    async def identify(
        self, token: str | None, gathering_id: str, request: HandshakeRequest | None
    ) -> Identity:
        """Return what the check says that the client is, which needn't be an `Identity`.

        A check that was interrupted because this process was kept from running is made again.

        Raises:
            AuthenticationUnavailable: It takes too long.
            AuthenticationFailed: The check raised an error of ours that means something else.
            Exception: What else the check raised.

        Cancellation: the check is cancelled.
        """
        if self._check is admit_everybody:
            # No time limit for what takes none: Trio keeps its scope for long after it was left.
            return ANONYMOUS
        seen = (request,) if self._sees_request else ()

        async def check() -> Identity:
            try:
                return await self._check(token, gathering_id, *seen)
            except GatheringsError as error:
                if isinstance(error, MEANT):
                    raise
                # It may have asked another hall.
                raise AuthenticationFailed(f"authenticate raised {error!r}") from error

        try:
            return await attempt_within(self._timeout, check)
        except TookTooLong:
            text = "the check of who this is takes too long"
            raise AuthenticationUnavailable(text) from None
