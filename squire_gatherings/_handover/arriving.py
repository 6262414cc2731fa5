"""Arriving: the process that goes on with what another one hands over.

It makes everything ready while the other one still serves, and follows what happens there. Until
that says that all is its own, it says nothing to anybody, writes nothing to the store, and whatever
goes wrong is its end.
"""

import socket
from collections.abc import Callable
from importlib.metadata import version

import trio
from attrs import define, field

from squire_gatherings._hall.arriving import Arriving
from squire_gatherings._hall.clock import boot_time
from squire_gatherings._hall.hall import Hall
from squire_gatherings._handover.channel import Channel, Ended, close_all
from squire_gatherings._handover.messages import (
    Changes,
    Everything,
    Hello,
    Known,
    Newcomers,
    Prepared,
    Property,
    Ready,
    Refused,
    Yours,
)
from squire_gatherings._handover.sharing import Shareable
from squire_gatherings._server.moving import Arrivals
from squire_gatherings._server.serving import Serving
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.errors import GatheringsError

YOURS_WITHIN = 10.0
"""How many seconds the other process may take to say that all is ours."""


class NotOurs(GatheringsError):
    """The other process goes on itself; says why."""


@define(eq=False)
class Takeover:
    """One attempt to go on for another process. The methods are called in this order."""

    channel: Channel
    clock: Callable[[], float] = boot_time
    """A clock that both processes have."""
    store: list[int] = field(factory=list)
    """What the other process shares of its store."""
    listeners: list[socket.socket] = field(factory=list)
    admin: list[socket.socket] = field(factory=list)
    """The listeners of the admin port, if they were asked for."""

    pause: float = 0.0
    """How many seconds it took from when we knew everything until it was ours, in the end."""

    async def begin(self, *, tells_events: bool = False, has_admin: bool = False) -> None:
        """Say hello, and get the descriptors of the store and of the listeners.

        Args:
            tells_events: Whether lifecycle events are told here.
            has_admin: Whether there is an admin port here.

        Raises:
            NotOurs: The other process doesn't answer.
        """
        hello = Hello(version=version("squire-gatherings"), events=tells_events, admin=has_admin)
        try:
            await self.channel.send(hello)
            message, descriptors = await self.channel.receive()
        except Ended as error:
            raise NotOurs(str(error)) from None
        if not isinstance(message, Property):
            close_all(descriptors)
            raise NotOurs(f"it says {type(message).__name__}")
        self.store = descriptors[: message.store]
        sockets = [socket.socket(fileno=one) for one in descriptors[message.store :]]
        for listener in sockets:
            listener.setblocking(False)
        of_all = len(sockets) - message.admin
        self.listeners, self.admin = sockets[:of_all], sockets[of_all:]

    async def finish(
        self,
        hall: Hall,
        server: Serving,
        settings: ServerSettings,
        store: Shareable,
        nursery: trio.Nursery,
    ) -> int:
        """Go on with everything, and return how many connections came.

        Args:
            hall: A new hall, whose store is the other process's.
            server: Its server, which is paused, and listens on `listeners`. It's resumed.
            settings: The limits of each connection.
            store: The hall's store.
            nursery: Has the tasks of the connections.

        Raises:
            NotOurs: It isn't to be: the other process goes on.

        Cancellation: as if it had failed. The process must end.
        """
        arrivals, arriving = Arrivals(hall, server, settings, nursery), Arriving(hall)
        try:
            await self.channel.send(Prepared())
            everything = await self._follow(arrivals, arriving)
            began = trio.current_time()
            ahead = await self._apply(everything.changes, arrivals, arriving)
            arriving.check()
            self.channel.send_now(Ready(), YOURS_WITHIN)
            if not isinstance(self.channel.receive_now(YOURS_WITHIN), Yours):
                raise NotOurs("it doesn't say that all is ours")
        except Ended as error:
            raise NotOurs(str(error)) from None
        # No checkpoint since we were ready, and all that was the other's is ours now.
        count = len(arrivals.connections)
        arriving.begin(everything.hall)
        arrivals.begin(everything.connections, ahead)
        store.take_over()
        server.resume()
        self.channel.close()
        self.pause = trio.current_time() - began
        return count

    async def refuse(self, why: str) -> None:
        """Tell the other process why we can't. Doesn't raise; cancellable."""
        try:
            await self.channel.send(Refused(why))
        except Ended:
            return

    async def _follow(self, arrivals: Arrivals, arriving: Arriving) -> Everything:
        """Follow the other process until it stops; return where it is then."""
        while True:
            message, descriptors = await self.channel.receive()
            if isinstance(message, Newcomers) and len(message.connections) == len(descriptors):
                for newcomer, descriptor in zip(message.connections, descriptors, strict=True):
                    arrivals.welcome(newcomer, descriptor)
                continue
            close_all(descriptors)
            if isinstance(message, Everything):
                return message
            if not isinstance(message, Changes):
                raise NotOurs(f"it says {type(message).__name__}")
            await self._apply(message, arrivals, arriving)
            await arriving.prepare()
            await self.channel.send(Known())

    async def _apply(self, changes: Changes, arrivals: Arrivals, arriving: Arriving) -> float:
        """Be where the other process is; return how far Trio's clock is ahead of both's."""
        await arrivals.wait_ready()
        # In this order: an instant may become a little later, and never sooner.
        then = self.clock()
        ahead = trio.current_time() - then
        arrivals.admit(
            await arriving.follow(
                changes.rooms,
                changes.asleep,
                changes.ended,
                arrivals.connections,
                ahead,
                changes.base,
            )
        )
        arrivals.drop(changes.gone)
        return ahead


def why_not(error: BaseException) -> str:
    """Return what the other process is told of an error that ends this one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error) if isinstance(error, GatheringsError) else ""
    return text or type(error).__name__
