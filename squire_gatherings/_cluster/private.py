"""Private sockets: Unix sockets on which processes of one user, and nobody else, reach each other.

Who listens has them in a folder that is its user's alone. Both ends look at whose the other one is.
"""

import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

import trio

from squire_gatherings._server.listening import BACKLOG

_CREDENTIALS = struct.Struct("3i")


class NotOurs(OSError):
    """The process at the other end is another user's."""


def listen_privately(path: str) -> socket.socket:
    """Return a socket that listens at a path; what another process left there goes.

    Raises:
        OSError: It can't listen there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        with suppress(FileNotFoundError):
            Path(path).unlink()
        listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


async def connect_privately(path: str) -> socket.socket:
    """Return a non-blocking socket that is connected to a process of ours.

    Raises:
        NotOurs: It's another user's.
        OSError: Nobody listens there.

    Cancellation: nothing is left open.
    """
    one = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with one:
        await one.connect(path)
        connected = socket.socket(fileno=one.detach())
    try:
        connected.setblocking(False)
        check_user(connected)
    except BaseException:
        connected.close()
        raise
    return connected


def check_user(one: socket.socket) -> None:
    """Check whose process is at the other end of a Unix socket, where the system says so.

    Raises:
        NotOurs: It's another user's.
    """
    if sys.platform == "linux":
        data = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(data)
        if uid != os.geteuid():
            raise NotOurs("another user's process is at the other end")
