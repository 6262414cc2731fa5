"""Under way: what the kernel knows of how far the bytes are that it took.

It takes in more than a slow line carries in a minute, and tells that there's room for more only
when a third of that is free. Linux also tells how many bytes the peer's host hasn't acknowledged.
"""

import socket
import sys
from collections.abc import Callable

import trio

Underway = Callable[[], int]
"""How many bytes that were written the peer's host hasn't acknowledged; 0 where nobody knows."""


def nobody_knows() -> int:
    """How many bytes are under way, where that can't be told."""
    return 0


def underway(stream: trio.abc.Stream, plain: socket.socket | None = None) -> Underway:
    """Return what asks that of the socket behind a stream, where it has one."""
    if sys.platform != "linux":
        return nobody_knows
    found = plain if plain is not None else socket_of(stream)
    return nobody_knows if found is None else _Queue(found)


def socket_of(stream: trio.abc.Stream) -> "trio.socket.SocketType | None":
    """Return the socket at the bottom of a stream, also under TLS; None if there's none."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream.socket if isinstance(stream, trio.SocketStream) else None


if sys.platform == "linux":
    import fcntl
    import termios

    class _Queue:
        """Asks for the length of one socket's queue (`SIOCOUTQ`, which is `TIOCOUTQ`: tcp(7))."""

        __slots__ = ("_socket",)

        def __init__(self, one: "socket.socket | trio.socket.SocketType") -> None:
            self._socket = one

        def __call__(self) -> int:
            number = self._socket.fileno()
            if number < 0:
                return 0
            try:
                answer = fcntl.ioctl(number, termios.TIOCOUTQ, b"\0\0\0\0")
            except OSError:
                return 0
            return int.from_bytes(answer, sys.byteorder)
