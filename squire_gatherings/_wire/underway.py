"""Under way: how many of the bytes that the kernel took haven't reached the other host.

The kernel takes in more than a slow line carries in a minute, and says that there's room for more
only when a third of that is free. Linux also says how many bytes the other host hasn't
acknowledged.
"""

import socket
import sys
from collections.abc import Callable

import trio

Underway = Callable[[], int]
"""Returns how many bytes that were written the other host hasn't acknowledged; 0 if unknown."""


def nobody_knows() -> int:
    """Return 0: nobody can tell how many bytes are under way."""
    return 0


def underway(stream: trio.abc.Stream, plain: socket.socket | None = None) -> Underway:
    """Return what asks the socket behind a stream; `nobody_knows` if there's none to ask.

    Args:
        stream: What is written to.
        plain: Its socket, if it's known.
    """
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
        """Asks how long one socket's queue is (`SIOCOUTQ`, which is `TIOCOUTQ`: see tcp(7))."""

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
