"""Passing on: a client's socket goes to another process of the machine, with what it has said.

The socket itself goes (`SCM_RIGHTS`), so that the first process has nothing to do with it any more.
The other one says that it has taken a client before it answers it. So a client that wasn't taken
has got no answer, and the first process, which keeps its copy until then, can still give one.
"""

import logging
import socket
from contextlib import closing
from itertools import count

import msgspec
import trio
from attrs import define, field
from msgspec import Struct

from squire_gatherings._cluster.private import connect_privately
from squire_gatherings._cluster.upkeep import Away, NotThere, Upkeep
from squire_gatherings._handover.channel import Ended, FileChannel, close_all
from squire_gatherings._server.elsewhere import Beginning

_log = logging.getLogger(__name__)

UNDER_WAY = 64
"""How many clients may be on their way to one process; others wait."""

PATIENCE = 5.0
"""How many seconds a client waits at most until it is taken."""

MAX_SIZE = 512 * 1024
"""How many bytes a message may have: a request, and what was read with it."""


class Passed(Struct, frozen=True, array_like=True, tag="passed"):
    """A client. Its socket goes along."""

    number: int
    said: bytes
    peer: str | None
    is_proxied: bool
    is_local: bool
    passed: int
    """How many processes sent it on, this time included."""


class Taken(Struct, frozen=True, array_like=True, tag="taken"):
    """Answers `Passed`: it's the other process's now."""

    number: int


class Poked(Struct, frozen=True, array_like=True, tag="poked"):
    """Something was given to the other process, which is to look."""


Message = Passed | Taken | Poked


def passing_channel(one: socket.socket) -> FileChannel[Message]:
    """Return the channel of one connection between two processes."""
    return FileChannel(one, msgspec.msgpack.Decoder(Message).decode, MAX_SIZE)


@define(eq=False)
class _OnItsWay:
    """A client that is to be taken."""

    message: Passed
    one: socket.socket
    """Its socket, which is open while somebody waits."""
    is_over: trio.Event = field(factory=trio.Event)
    is_taken: bool = False


@define(eq=False)
class Passage:
    """The way to one other process, at whose private socket it is connected while that is there."""

    path: str
    upkeep: Upkeep = field(factory=Upkeep)
    _numbers: "count[int]" = field(factory=lambda: count(1))
    _on_their_way: dict[int, _OnItsWay] = field(factory=dict)
    _places: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(UNDER_WAY))
    _is_poking: bool = False
    _queue: "trio.MemorySendChannel[_OnItsWay | None] | None" = None
    """None while the process is away."""

    async def pass_on(self, one: socket.socket, peer: str | None, beginning: Beginning) -> None:
        """Have the other process serve a client; return once it has taken it.

        The caller's copy of the socket is then to be closed, and nothing else.

        Args:
            one: The client's socket.
            peer: Its address, or that of the proxy that it comes by.
            beginning: What is known of it.

        Raises:
            Away: It wasn't taken: it is to be answered here, and its socket shut down. A process
                that takes it later, all the same, gets nothing through it.

        Cancellation: it may be taken or not.
        """
        with trio.move_on_after(PATIENCE):
            async with self._places:
                await self._pass_on(one, peer, beginning)
            return
        raise Away("it takes no clients now")

    def poke(self) -> None:
        """Have the other process look for what was given to it, if it is there."""
        if not self._is_poking:
            self._is_poking = True
            if self._queue is not None:
                self._queue.send_nowait(None)

    async def _pass_on(self, one: socket.socket, peer: str | None, beginning: Beginning) -> None:
        # It may have come just now.
        await self.upkeep.wait_tried()
        queue = self._queue
        if queue is None:
            raise NotThere("it is away")
        number = next(self._numbers)
        message = Passed(
            number,
            bytes(beginning.said),
            peer,
            bool(beginning.is_proxied),
            bool(beginning.is_local),
            beginning.passed + 1,
        )
        client = self._on_their_way[number] = _OnItsWay(message, one)
        try:
            # There's room: nobody else puts in more than there are places.
            queue.send_nowait(client)
            await client.is_over.wait()
        finally:
            self._on_their_way.pop(number, None)
        if not client.is_taken:
            raise Away("it has gone")

    async def run(self) -> None:
        """Be connected whenever the other process is there, until cancelled.

        Cancellation: clients that weren't taken yet are `Away`.
        """
        await self.upkeep.run(self._connect)

    async def _connect(self) -> None:
        with closing(passing_channel(await connect_privately(self.path))) as channel:
            await self._use(channel)

    async def _use(self, channel: FileChannel[Message]) -> None:
        queue, coming = trio.open_memory_channel[_OnItsWay | None](UNDER_WAY + 1)
        self._queue = queue
        if self._is_poking:
            queue.send_nowait(None)
        self.upkeep.is_connected()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, channel, coming, nursery.cancel_scope)
                try:
                    await self._hear(channel)
                except Ended as why:
                    _log.info("another process is away", extra={"why": str(why)})
                nursery.cancel_scope.cancel()
        finally:
            self._queue = None
            for client in self._on_their_way.values():
                client.is_over.set()

    async def _send(
        self,
        channel: FileChannel[Message],
        coming: "trio.MemoryReceiveChannel[_OnItsWay | None]",
        scope: trio.CancelScope,
    ) -> None:
        try:
            async for client in coming:
                if self._is_poking:
                    self._is_poking = False
                    await channel.send(Poked())
                # Nobody may wait any more.
                if client is not None and client.message.number in self._on_their_way:
                    await self._send_one(channel, client)
        except Ended:
            scope.cancel()

    async def _send_one(self, channel: FileChannel[Message], client: _OnItsWay) -> None:
        try:
            # The client's task may end while it's being sent.
            copy = client.one.dup()
        except OSError:
            # No more files can be opened.
            client.is_over.set()
            return
        with closing(copy):
            await channel.send(client.message, [copy.fileno()])

    async def _hear(self, channel: FileChannel[Message]) -> None:
        while True:
            message, descriptors = await channel.receive()
            close_all(descriptors)
            if not isinstance(message, Taken):
                raise Ended("it sends what nobody understands")
            client = self._on_their_way.pop(message.number, None)
            if client is not None:
                client.is_taken = True
                client.is_over.set()
