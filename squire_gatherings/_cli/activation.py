"""Activation: listening sockets that systemd has opened, as sd_listen_fds(3) has it.

They stay open in systemd while the server is started anew, so that clients who come meanwhile wait
instead of being turned away; and the server may listen on ports below 1024 without any rights.
"""

import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import ExitStack

from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.origins import is_loopback

FIRST = 3
"""The first descriptor that is passed."""

_MOST = 64
_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def passed_listeners(
    environment: MutableMapping[str, str] = os.environ, first: int = FIRST
) -> list[socket.socket]:
    """Return the sockets that the process was started with; none, if it was started without.

    What says so is taken out of the environment: it is for this process alone.

    Args:
        environment: The environment that it was started with.
        first: The first descriptor; the others follow.

    Raises:
        BadSetting: One of them isn't a TCP socket that listens.
    """
    count, owner, *_ = (environment.pop(name, "") for name in _VARIABLES)
    if owner != str(os.getpid()):
        return []
    if not count.isascii() or not count.isdigit() or int(count[:9]) > _MOST:
        raise BadSetting(f"LISTEN_FDS must be a number up to {_MOST}, not {count[:20]!r}")
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listener(first + one)) for one in range(int(count))]
        stack.pop_all()
    return listeners


def _listener(number: int) -> socket.socket:
    what = f"the socket that systemd passes (descriptor {number})"
    try:
        os.set_inheritable(number, False)
        listener = socket.socket(fileno=number)
    except OSError as error:
        raise BadSetting(f"{what} can't be used: {error.strerror}") from None
    try:
        is_tcp = listener.family in (socket.AF_INET, socket.AF_INET6)
        is_tcp = is_tcp and listener.type == socket.SOCK_STREAM
        if not is_tcp or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise BadSetting(f"{what} must be a TCP socket that listens (ListenStream=, Accept=no)")
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def exposed(listeners: Sequence[socket.socket]) -> str | None:
    """Return the first address among them that other machines reach; None if there's none."""
    addresses = (str(listener.getsockname()[0]) for listener in listeners)
    return next((address for address in addresses if not is_loopback(address)), None)
