"""The proxy between listeners and a server, which cuts connections."""

import socket
import struct
from functools import partial

import trio
from attrs import define, field

from benchmarks.resumes.cuts import ROOM, WHOLE, AtByte, AtWord, Cut, Cuts, Way

AT_ONCE = 65536
HEAD = 8192
"""A request's head is no longer, and comes before anything else."""


@define(eq=False)
class Link:
    """One connection through the proxy, both ends of it."""

    client: trio.SocketStream
    server: trio.SocketStream
    room: str
    cut: Cut | None
    counted: dict[Way, int] = field(factory=lambda: {"up": 0, "down": 0})
    late: bytes = b""
    """The last bytes that went down, in which a word may have begun."""

    def before_cut(self, way: Way, data: bytes) -> int | None:
        """Return how many bytes of `data` go through before the cut; None if all do."""
        cut = self.cut
        if isinstance(cut, AtByte) and cut.way == way:
            left = cut.count - self.counted[way]
            if left <= len(data):
                return left
        elif isinstance(cut, AtWord) and way == "down":
            seen = self.late + data
            at = seen.find(cut.word)
            if at >= 0:
                return max(0, at + cut.after - len(self.late))
            self.late = seen[-len(cut.word) :]
        self.counted[way] += len(data)
        return None


async def serve_proxy(
    cuts: Cuts, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Pass connections to a server on this port of loopback until cancelled, and cut them.

    For `nursery.start`, which returns the proxy's own port.
    """
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
    handle = partial(_pass_on, cuts, port)
    own = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, listeners)
        task_status.started(own)


async def _pass_on(cuts: Cuts, port: int, client: trio.SocketStream) -> None:
    server = None
    try:
        head = await _head(client)
        found = ROOM.search(head)
        if found is None:
            return
        room = found[0].decode()
        server = await trio.open_tcp_stream("127.0.0.1", port)
        link = Link(client, server, room, cuts.next(room))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pump, cuts, link, "up", head, nursery.cancel_scope)
            nursery.start_soon(_pump, cuts, link, "down", b"", nursery.cancel_scope)
        if room == WHOLE:
            cuts.whole = dict(link.counted)
    except (trio.BrokenResourceError, OSError):
        pass
    finally:
        await trio.aclose_forcefully(client)
        if server is not None:
            await trio.aclose_forcefully(server)


async def _head(client: trio.SocketStream) -> bytes:
    """Return what a client sends first, at least its request's head."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD:
        data = await client.receive_some(AT_ONCE)
        if not data:
            break
        head += data
    return head


async def _pump(cuts: Cuts, link: Link, way: Way, first: bytes, both: trio.CancelScope) -> None:
    """Pass on what goes one way, until its end or the cut; then end the other way, too."""
    source, sink = (link.client, link.server) if way == "up" else (link.server, link.client)
    try:
        data = first or await source.receive_some(AT_ONCE)
        while data:
            size = link.before_cut(way, data)
            if size is not None:
                await sink.send_all(data[:size])
                cuts.note(link.room)
                _reset(link)
                break
            await sink.send_all(data)
            data = await source.receive_some(AT_ONCE)
    except (trio.BrokenResourceError, OSError):
        pass
    finally:
        both.cancel()


def _reset(link: Link) -> None:
    """Have every other connection close with a reset, as where a machine is gone."""
    if sum(link.room.encode()) % 2:
        for stream in (link.client, link.server):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
