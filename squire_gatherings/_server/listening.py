"""Listening: the sockets on which a server waits for connections."""

import errno
import socket
from typing import Any

import trio

BACKLOG = 1024

_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


async def listen(host: str | None, port: int) -> list[socket.socket]:
    """Open a standard-library listening socket for each address of `host`.

    Not `trio.open_tcp_listeners`: a connection's own socket object is needed to write to
    it without waiting, and one that refuses after it was closed.
    """
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, kind, proto, _, address in dict.fromkeys(found):
            if port == 0 and listeners:
                address = (address[0], listeners[0].getsockname()[1], *address[2:])
            try:
                listeners.append(_listener(family, kind, proto, address))
            except OSError as error:
                # "localhost" may name an IPv6 address on a machine that has no IPv6.
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if absent is not None and not listeners:
            raise absent
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    finally:
        absent = None
    return listeners


def _listener(family: int, kind: int, proto: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, kind, proto)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
