"""Authentication: who somebody is who wants in, as the embedding program finds."""

from collections.abc import Awaitable, Callable

from squire_gatherings._values.errors import (
    Forbidden,
    GatheringsError,
    StoreUnavailable,
    Unauthorized,
)
from squire_gatherings._values.identity import ANONYMOUS, Identity

Authenticate = Callable[[str | None, str], Awaitable[Identity]]
"""Called with the token (or None) and the gathering id.

Raises `Unauthorized` or `Forbidden` for who isn't let in, `StoreUnavailable` where that can't be
told now. Anything else is a fault of the program's.
"""


class AuthenticationFailed(Exception):
    """The program raised what would mean something else to whoever wants in; says what."""


async def admit_everybody(token: str | None, gathering_id: str) -> Identity:
    """The default authentication: everybody is an anonymous member."""
    return ANONYMOUS


async def authenticated(authenticate: Authenticate, token: str | None, gathering: str) -> Identity:
    """Return what `authenticate` says, or raise what it may raise, or `AuthenticationFailed`."""
    try:
        return await authenticate(token, gathering)
    except (Unauthorized, Forbidden, StoreUnavailable):
        raise
    except GatheringsError as error:
        # It may have asked another hall.
        raise AuthenticationFailed(f"authenticate raised {error!r}") from error
