"""The hops of one sync: which functions of ours it passes, from the first byte to the last.

Prints `file:function` in the order in which each is first called, for a hall with a connection
in memory and for our WebSocket server, with each store. Two clients are in the gathering: one
submits, the other is forwarded what was submitted.

    python -m benchmarks.hops
"""

import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import trio
import trio.testing
from websockets.frames import Frame, Opcode

import squire_gatherings
from squire_gatherings import CloseCode, Connection, Op, Outgoing, Server, Sync, open_hall, serve

PACKAGE = Path(squire_gatherings.__file__).parent
GATHERING = "friday-night"
SYNC = b'{"type": "sync", "id": "a", "base": 0, "ops": [{"n": 1}]}'
HANDSHAKE = (
    f"GET /gatherings/{GATHERING} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
).encode()


class Hops:
    """The functions that were called while `counting`, in any thread."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._is_counting = False

    def begin(self) -> None:
        """Forget what was counted before."""
        self.names.clear()

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Be told of a call; for `sys.setprofile`."""
        if not self._is_counting or event != "call":
            return
        code = frame.f_code
        path = Path(code.co_filename)
        # Calls that go on with a coroutine or a generator are as many, and no hops.
        if PACKAGE in path.parents and frame.f_lasti < 10:
            name = f"{path.relative_to(PACKAGE)}:{code.co_qualname}"
            self.names.setdefault(name.replace("<locals>.", ""))

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the calls that are made in the block."""
        self._is_counting = True
        try:
            yield
        finally:
            self._is_counting = False


class Memory(Connection):
    """A connection that keeps nothing but the last kind of message."""

    def __init__(self) -> None:
        self.last = ""
        self.came = trio.Event()

    def send(self, outgoing: Outgoing) -> None:
        """Take a message."""
        self.last = type(outgoing.message).__name__
        self.came.set()

    def close(self, code: CloseCode, reason: str) -> None:
        """Do nothing."""

    async def wait_for(self, kind: str) -> None:
        """Wait until the last message is of this kind."""
        while self.last != kind:
            self.came = trio.Event()
            await self.came.wait()


async def embedded(hops: Hops, store: str) -> None:
    """Submit by a membership; return once both clients have been told."""
    async with open_hall(store=store) as hall:
        submitter, other = Memory(), Memory()
        membership = await hall.join(GATHERING, submitter)
        await hall.join(GATHERING, other)
        await trio.testing.wait_all_tasks_blocked()
        sync = Sync("a", 0, (Op.of({"n": 1}),))
        with hops.counting():
            membership.deliver_nowait(sync)
            await submitter.wait_for("Synced")
            await other.wait_for("Forward")


async def served(hops: Hops, store: str) -> None:
    """Submit over a socket; return once both clients have been told."""
    async with open_hall(store=store) as hall, trio.open_nursery() as nursery:
        server: Server = await nursery.start(
            lambda **started: serve(hall, host="127.0.0.1", port=0, **started)
        )
        port = server.addresses[0][1]
        submitter, other = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        for stream in (submitter, other):
            await stream.send_all(HANDSHAKE)
            await _receive(stream, b"\r\n\r\n")
            await stream.send_all(_frame(b'{"type": "join"}'))
            await _receive(stream, b'"joined"')
        await trio.testing.wait_all_tasks_blocked()
        with hops.counting():
            await submitter.send_all(_frame(SYNC))
            await _receive(submitter, b'"synced"')
            await _receive(other, b'"forward"')
        nursery.cancel_scope.cancel()


def _frame(payload: bytes) -> bytes:
    return Frame(Opcode.TEXT, payload).serialize(mask=True)


async def _receive(stream: trio.SocketStream, until: bytes) -> None:
    received = b""
    while until not in received:
        received += await stream.receive_some()


def main() -> None:
    """Print the hops of a sync on each way; with `-q`, only how many they are."""
    is_quiet = "-q" in sys.argv
    ways: dict[str, Callable[[Hops, str], Awaitable[None]]] = {
        "embedded": embedded,
        "served": served,
    }
    hops = Hops()
    # Trio keeps its threads, and tells each only once what to call.
    threading.setprofile(hops.profile)
    sys.setprofile(hops.profile)
    for way, run in ways.items():
        for kind in ("memory", "sqlite"):
            hops.begin()
            with tempfile.TemporaryDirectory() as folder:
                store = "memory:" if kind == "memory" else f"sqlite:///{folder}/log.db"
                trio.run(run, hops, store)
            files = {name.split(":")[0] for name in hops.names}
            print(f"{way}, {kind}: {len(hops.names)} functions in {len(files)} files")
            if not is_quiet:
                for name in hops.names:
                    print(f"    {name}")


if __name__ == "__main__":
    main()
