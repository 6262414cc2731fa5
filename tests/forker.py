"""A process that has imported the program, and forks others that run it.

`python -m tests.forker FD` takes orders from the socket FD until its other end is closed. Each is a
line, the JSON of an `Order`, and comes with four descriptors: three are the standard streams of the
process that is forked; on the last one its id is told, and its exit code when it has ended.
"""

import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import TypedDict

from squire_gatherings._cli import cli

IMPORTED = (
    "squire_gatherings._cli.serve",
    "squire_gatherings._auth.authenticator",
    "squire_gatherings._webhook.posting",
    "squire_gatherings.admin",
)
"""What a server imports when it starts, or because of its options."""

LARGEST = 65536
"""How many bytes are read at once."""


class Order(TypedDict):
    """What a process runs, and where."""

    code: str | None
    """Instead of the program."""
    arguments: list[str]
    folder: str
    environment: dict[str, str]


def fork_all(orders: socket.socket) -> Order | None:
    """Fork a process for each order; return the order in that process, and None in the end."""
    reports: dict[int, int] = {}

    def report_ends(_: int, __: FrameType | None) -> None:
        while reports:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            report = reports.pop(pid)
            _tell(report, os.waitstatus_to_exitcode(status))
            os.close(report)

    signal.signal(signal.SIGCHLD, report_ends)
    while True:
        line, descriptors, _, _ = socket.recv_fds(orders, LARGEST, 4)
        if not line:
            return None
        while not line.endswith(b"\n"):
            line += orders.recv(LARGEST)
        *streams, report = descriptors
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            orders.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            for one in (*streams, report, *reports.values()):
                os.close(one)
            order: Order = json.loads(line)
            return order
        reports[pid] = report
        _tell(report, pid)
        for stream in streams:
            os.close(stream)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _tell(report: int, number: int) -> None:
    # Nobody may be interested any more.
    with suppress(BrokenPipeError):
        os.write(report, f"{number}\n".encode())


if __name__ == "__main__":
    for name in IMPORTED:
        import_module(name)
    # A collection in each of them needn't look at what was imported.
    gc.freeze()
    order = fork_all(socket.socket(fileno=int(sys.argv[1])))
    if order is not None:
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = ["squire-gatherings" if order["code"] is None else "-c", *order["arguments"]]
        if order["code"] is None:
            cli.main()
        else:
            exec(order["code"], {"__name__": "__main__"})
