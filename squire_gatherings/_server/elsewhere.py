"""Elsewhere: a client whose gathering another process has, and who brings it there.

Any of several processes may be asked for any gathering. Which one has it is known once the request
is there; who then brings the client to it is a `Router`, which knows the others.
"""

import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
from attrs import field, frozen

from squire_gatherings._values.handshake import HandshakeRequest

Way = Callable[[], Awaitable[None]]
"""Does what is left to do for a client that another process serves. It is awaited once."""


@frozen(kw_only=True)
class Beginning:
    """What is known already of a client that another process let come."""

    said: bytearray = field(factory=bytearray, repr=False)
    """What it has said: a part of its request, or all of it, or more. Who reads on takes it out."""
    is_proxied: bool | None = None
    """Whether its address is that of a proxy which says in the request whose connection it is; None
    if the address tells that."""
    is_local: bool | None = None
    """Whether it came to an address that only this machine reaches; None if its socket tells."""
    passed: int = 0
    """How many processes sent it on."""


@frozen(kw_only=True, eq=False)
class Guest:
    """A client that has sent its request, and would be let in."""

    gathering: str
    request: HandshakeRequest
    stream: trio.abc.Stream
    """What it is connected by: a socket, or TLS over one. Nobody reads it now."""
    plain: socket.socket | None
    """The socket, where the stream is nothing else."""
    peer: str | None
    """Its address; that of a proxy, if `beginning.is_proxied`."""
    beginning: Beginning


class Router(Protocol):
    """Brings clients to the process that has their gathering."""

    async def bring(self, guest: Guest) -> Way | None:
        """Bring a client where its gathering is.

        Returns:
            None if that's this process: it serves the client. Otherwise the client isn't this
            process's to answer, and what is returned does what is left to do.

        Raises:
            Refused: Nobody can serve the client now.

        Cancellation: the client is served elsewhere, or nowhere.
        """
        ...
