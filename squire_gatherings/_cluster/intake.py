"""The intake: clients that other processes of the machine pass on to this one."""

import logging
import socket
from collections.abc import Callable
from contextlib import closing

import trio
from attrs import define

from squire_gatherings._cluster.passing import Message, Passed, Poked, Taken, passing_channel
from squire_gatherings._cluster.private import NotOurs, check_user
from squire_gatherings._hall.hall import Hall
from squire_gatherings._handover.channel import Ended, FileChannel, close_all
from squire_gatherings._server.accepting import TASK_NAME, room_for
from squire_gatherings._server.attending import serve_socket
from squire_gatherings._server.elsewhere import Beginning
from squire_gatherings._server.serving import Serving

_log = logging.getLogger(__name__)


def _nothing() -> None:
    """Do nothing: nothing is given to one that has its own store."""


@define(eq=False)
class Intake:
    """Takes clients in as the server accepts them: while there is room at the door."""

    hall: Hall
    server: Serving
    nursery: trio.Nursery
    """Has the clients' tasks."""
    on_poked: Callable[[], None] = _nothing
    """Called when another process has given us something."""
    taken: int = 0
    """How many came so far."""

    async def run(self, listener: socket.socket) -> None:
        """Take in whoever comes by a private socket, until cancelled; then close it.

        Cancellation: clients that weren't taken are the other processes' still.
        """
        with closing(listener):
            accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            await trio.serve_listeners(self._hear, [accepting])

    async def _hear(self, stream: trio.SocketStream) -> None:
        with closing(passing_channel(socket.socket(fileno=stream.socket.detach()))) as channel:
            try:
                check_user(channel.one)
                while True:
                    await self._take_one(channel)
            except NotOurs as why:
                _log.warning("a connection was refused", extra={"why": str(why)})
            except Ended as why:
                _log.info("another process passes nobody on any more", extra={"why": str(why)})

    async def _take_one(self, channel: FileChannel[Message]) -> None:
        server = self.server
        await server.until_resumed()
        # Who isn't taken waits at the other process.
        while not await room_for(server, 1):
            pass
        message, descriptors = await channel.receive()
        if isinstance(message, Poked) and not descriptors:
            self.on_poked()
            return
        if not isinstance(message, Passed) or len(descriptors) != 1:
            close_all(descriptors)
            raise Ended("it sends what nobody understands")
        client = socket.socket(fileno=descriptors[0])
        try:
            client.setblocking(False)
            # Not answered before the other process knows that it is to give no answer.
            await channel.send(Taken(message.number))
        except BaseException:
            client.close()
            raise
        self.taken += 1
        server.expect(1)
        beginning = Beginning(
            said=bytearray(message.said),
            is_proxied=message.is_proxied,
            is_local=message.is_local,
            passed=message.passed,
        )
        self.nursery.start_soon(
            serve_socket,
            client,
            message.peer,
            self.hall,
            server,
            server.settings,
            None,
            beginning,
            name=TASK_NAME,
        )
