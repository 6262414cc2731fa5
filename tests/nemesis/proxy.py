"""A proxy between two programs, which a test makes pass, stall or refuse what they send."""

from collections.abc import Awaitable, Callable
from enum import StrEnum

import trio
from attrs import define, field

PIECE = 65536
"""How many bytes are read at once."""


class Mode(StrEnum):
    """What the proxy does with what it gets."""

    PASSING = "passing"
    STALLED = "stalled"
    """Connections stay open, and nothing comes through, as where packets are lost."""
    REFUSING = "refusing"
    """Connections are reset, and none is made."""


Connect = Callable[[], Awaitable[trio.SocketStream]]


@define(eq=False)
class Proxy:
    """One way in to one program."""

    _connect: Connect
    host: str = "127.0.0.1"
    """Where it listens."""
    port: int = field(default=0, init=False)
    mode: Mode = field(default=Mode.PASSING, init=False)
    _turned: trio.Event = field(factory=trio.Event, init=False)
    """Set when the mode has changed, once for each change."""
    _open: set[trio.CancelScope] = field(factory=set, init=False)
    """The scope of each connection."""

    def turn(self, mode: Mode) -> None:
        """Do this from now on, with connections that are open, too."""
        self.mode = mode
        self._turned.set()
        self._turned = trio.Event()
        if mode is Mode.REFUSING:
            self.cut()

    def cut(self) -> None:
        """Reset all connections."""
        for scope in self._open:
            scope.cancel()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, on a free port.

        Cancellation: resets all connections.
        """
        listeners = await trio.open_tcp_listeners(0, host=self.host)
        self.port = listeners[0].socket.getsockname()[1]

        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._handle, listeners)
            task_status.started()
            await trio.sleep_forever()

    async def _handle(self, near: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                while self.mode is Mode.STALLED:
                    await self._turned.wait()
                if self.mode is Mode.REFUSING:
                    return
                try:
                    far = await self._connect()
                except OSError:
                    return
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, near, far, nursery.cancel_scope)
                    nursery.start_soon(self._pump, far, near, nursery.cancel_scope)
            finally:
                self._open.discard(scope)
                reset(near)

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope
    ) -> None:
        """Pass on what comes one way; end both ways with it."""
        try:
            while data := await source.receive_some(PIECE):
                while self.mode is Mode.STALLED:
                    await self._turned.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        while self.mode is Mode.STALLED:
            await self._turned.wait()
        both.cancel()


def reset(stream: trio.SocketStream) -> None:
    """Close a connection in such a way that its peer notices at once."""
    stream.socket.close()
