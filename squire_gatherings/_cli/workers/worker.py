"""A worker: what one of several serving processes is told by the process that has started it."""

import os
import socket
from collections.abc import MutableMapping, Sequence

import click
import msgspec
import trio
from msgspec import Struct

from squire_gatherings._cli.environment import WORKER


class Worker(Struct, frozen=True, kw_only=True):
    """One worker of several."""

    number: int
    """From 0 on."""
    workers: int
    """How many there are."""
    folder: str
    """Where their private sockets are."""
    listeners: list[int]
    """The descriptors of the sockets on which all of them listen."""
    admin: list[int] = []
    """Those of its own admin port."""
    lifeline: int
    """One end of a pair of sockets. The other end is closed when it is to end, and when the process
    that keeps the workers has gone."""

    def to_environment(self) -> dict[str, str]:
        """Return the variable that tells it."""
        return {WORKER: msgspec.json.encode(self).decode()}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All descriptors that it is started with."""
        return (*self.listeners, *self.admin, self.lifeline)


def find_worker(environment: MutableMapping[str, str] = os.environ) -> Worker | None:
    """Return which worker this process is, if it is one.

    What says so is taken out of the environment: it is for this process alone.

    Raises:
        click.UsageError: It can't be what is said.
    """
    text = environment.pop(WORKER, None)
    if text is None:
        return None
    try:
        worker = msgspec.json.decode(text, type=Worker)
        for number in worker.descriptors:
            os.set_inheritable(number, False)
    except (msgspec.MsgspecError, OSError):
        raise click.UsageError(f"{WORKER} is for `serve --workers` alone") from None
    return worker


def sockets_of(numbers: Sequence[int]) -> list[socket.socket]:
    """Return the sockets that have these descriptors; they don't block."""
    found = [socket.socket(fileno=number) for number in numbers]
    for one in found:
        one.setblocking(False)
    return found


async def wait_dismissed(worker: Worker) -> None:
    """Return once the worker is to end, or nobody keeps it any more.

    Cancellation: the socket is closed that tells it.
    """
    with trio.socket.from_stdlib_socket(socket.socket(fileno=worker.lifeline)) as lifeline:
        try:
            while await lifeline.recv(1):
                pass
        except OSError:
            return
