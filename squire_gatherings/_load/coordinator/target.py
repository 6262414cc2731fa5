"""The target: which server is tested, and whether it answers."""

import os
import socket

import trio
from attrs import frozen

CONNECT_TIMEOUT = 5.0


class ServerFailed(Exception):
    """The server can't be started or reached; says why."""


@frozen(kw_only=True)
class Target:
    """A server that runs already, or one of our own."""

    address: tuple[str, int] | None
    """Host and port of one that runs already; None for one of our own."""

    store: str
    """The store of our own server, as `serve` takes it."""


def resolve(host: str, port: int) -> tuple[str, int]:
    """Return the address of a host, as an IP address and a port.

    Raises:
        ServerFailed: There is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerFailed(f"can't find {host}: {error.strerror or error}") from None
    return str(found[0][4][0]), port


async def must_answer(address: tuple[str, int]) -> None:
    """Connect once, to see whether somebody listens.

    Raises:
        ServerFailed: Nobody does, or not within `CONNECT_TIMEOUT` seconds.

    Cancellation: the connection is closed.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    why = f"no answer within {CONNECT_TIMEOUT:g} s"
    with trio.move_on_after(CONNECT_TIMEOUT), trio.socket.socket(family) as probe:
        try:
            await probe.connect(address)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
        else:
            return
    raise ServerFailed(f"can't connect to {address[0]} port {address[1]}: {why}")
