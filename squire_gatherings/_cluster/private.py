"""Private sockets: Unix sockets on which processes of one user, and nobody else, reach each other.

Who listens has them in a folder that is its user's alone. Both ends look at whose the other one is.
"""

import os
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from squire_gatherings._server.listening import BACKLOG
from squire_gatherings._values.errors import BadSetting

MOST_FOLDER = 60
"""How long the path of the folder may be in which that of the sockets is made; of a socket's path
the system takes about a hundred bytes."""

_CREDENTIALS = struct.Struct("3i")


class NotOurs(OSError):
    """The process at the other end is another user's."""


@contextmanager
def private_folder() -> Iterator[str]:
    """Make a folder for private sockets, which is deleted at the end.

    Raises:
        BadSetting: None can be made.
    """
    try:
        folder = tempfile.gettempdir()
        # A socket's path is short.
        folder = folder if len(os.fsencode(folder)) <= MOST_FOLDER else "/tmp"
        made = tempfile.TemporaryDirectory(prefix="squire-gatherings-", dir=folder)
    except OSError as error:
        why = error.strerror or error
        raise BadSetting(f"no folder can be made for private sockets ($TMPDIR): {why}") from None
    with made as path:
        yield path


def listen_privately(path: str) -> socket.socket:
    """Return a socket that listens at a path; what another process left there goes.

    Raises:
        BadSetting: It can't listen there.
    """
    try:
        return _listening(path)
    except OSError as error:
        why = error.strerror or error
        raise BadSetting(f"can't listen at {path} for other processes: {why}") from None


def _listening(path: str) -> socket.socket:
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
