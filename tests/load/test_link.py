"""Links: which calls of the poller they withstand, on real sockets."""

import socket

import trio
from trio.testing import wait_all_tasks_blocked

from squire_gatherings._load.clients import frames
from squire_gatherings._load.clients.link import Link
from squire_gatherings._poller import READ, WRITE, Poller


class Silent:
    """An owner that remembers how its link ended."""

    def __init__(self) -> None:
        self.why: list[str] = []

    def opened(self) -> None: ...
    def message(self, payload: bytes, now: float) -> None: ...
    def ponged(self) -> None: ...
    def closing(self, code: int, now: float) -> None: ...

    def ended(self, why: str) -> None:
        self.why.append(why)


async def test_a_closed_link_bears_that_it_was_found_ready_before() -> None:
    with Poller() as poller, socket.create_server(("127.0.0.1", 0)) as server:
        owner = Silent()
        link = Link(poller, server.getsockname(), "/", owner)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            while not link.is_open:
                await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked()
            # The kernel doesn't take all of it, so the link waits for the socket to be writable.
            link.send(frames.text(b"x" * 32 * 1024 * 1024))
            link.close()
            for events in (READ, WRITE, READ | WRITE):
                assert link.ready(events) == 0
            link.pause()
            link.resume()
            link.close()
            nursery.cancel_scope.cancel()
        assert owner.why == []
