"""Redirects: a node that doesn't have the gathering may name the one that does (HTTP 307).

Only the place is another one: what was asked for, and by whom, stays the same. A client says that
it follows; who doesn't say so is relayed.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from attrs import define, evolve

from squire_gatherings._client.address import Address, OpenStream, parse_address
from squire_gatherings._client.settings import ClientSettings
from squire_gatherings._client.websocket import Lost, Redirected
from squire_gatherings._client.wire import Wire, open_wire
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.handshake import FOLLOWS

MOST_HOPS = 3
"""How often a client is sent on, at most, until it is relayed."""

Opener = Callable[[Address], OpenStream]
"""Returns what connects to an address."""


def opening(context: ssl.SSLContext | None) -> Opener:
    """Return what connects by TCP, and for wss by TLS over it."""
    return lambda address: partial(address.open_stream, context)


@define(eq=False)
class Redirects:
    """Where one client of a gathering is sent, and whether that has helped."""

    opener: Opener | None
    """Connects elsewhere; None where the program connects in its own way, and none is followed."""
    _are_followed: bool = True
    """False since one is followed, until somebody was reached."""

    @asynccontextmanager
    async def open_wire(
        self,
        address: Address,
        gathering_id: str,
        headers: Mapping[str, str],
        settings: ClientSettings,
        open_stream: OpenStream,
    ) -> AsyncIterator[Wire]:
        """Connect as `wire.open_wire` does, to where we are sent."""
        place, opens, hops = address, open_stream, 0
        async with AsyncExitStack() as stack:
            while True:
                follows = self.opener is not None and hops < MOST_HOPS
                follows = follows and (self._are_followed or hops > 0)
                told = {**headers, **FOLLOWS} if follows else headers
                try:
                    wire = await stack.enter_async_context(
                        open_wire(place, gathering_id, told, settings, opens)
                    )
                    break
                except Redirected as redirected:
                    if not follows or self.opener is None:
                        raise
                    place, hops = _there(place, redirected), hops + 1
                    opens, self._are_followed = self.opener(place), False
                except Lost:
                    if not hops:
                        raise
                    # Where we were sent nobody is: we ask to be relayed.
                    place, opens, hops = address, open_stream, 0
            self._are_followed = True
            yield wire


def _there(address: Address, redirected: Redirected) -> Address:
    """Return where a client is sent. Raises `Lost` where it had better not go."""
    scheme, mark, rest = redirected.location.partition("://")
    try:
        found = parse_address(f"{scheme}{mark}{rest.partition('/')[0]}")
    except BadSetting:
        raise Lost("the server sends us to what is no server's URL") from None
    if address.secure and not found.secure:
        raise Lost("the server sends us to where there's no TLS")
    return evolve(address, host=found.host, port=found.port, secure=found.secure)
