"""Leaving: the process that hands everything over, and goes on itself where the other one can't.

Until the other process is ready, this one serves as ever. Then it stops reading, lets all that was
asked be done, says where it is, and does nothing at all before the other one has answered: so
neither of them can say anything in the other's turn.
"""

from collections.abc import Callable
from typing import TypeVar

import trio
from attrs import define, field, frozen

from squire_gatherings._hall.clock import boot_time
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.moving import (
    NotAtRest,
    farewell,
    hall_state,
    leave,
    pause,
    room_state,
    rooms,
)
from squire_gatherings._handover.channel import AT_ONCE, Channel, Ended
from squire_gatherings._handover.messages import (
    Everything,
    Hello,
    Message,
    Newcomers,
    Prepared,
    Property,
    Ready,
    Refused,
    Yours,
)
from squire_gatherings._handover.sharing import Shareable
from squire_gatherings._server.moving import Departures
from squire_gatherings._server.serving import Serving
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.handover import FORMAT, Newcomer

M = TypeVar("M", bound=Message)

LOOK_AGAIN = 0.001
"""How many seconds pass until we look again whether all is at rest."""


class CalledOff(Exception):
    """The other process doesn't go on with what is here, which goes on as ever; says why."""


@frozen(kw_only=True)
class Patience:
    """How many seconds each step may take."""

    start: float = 60.0
    """Until the other process has understood its options, and until it has the store."""
    rest: float = 5.0
    """Until all that was asked is done; nothing is read meanwhile."""
    answer: float = 10.0
    """Until the other process is ready to go on; nothing happens meanwhile."""


@define(eq=False)
class Leaving:
    """One attempt to hand over a hall, its server and its store."""

    hall: Hall
    server: Serving
    store: Shareable
    channel: Channel
    patience: Patience = Patience()
    clock: Callable[[], float] = boot_time
    """A clock that both processes have."""
    _departures: Departures = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._departures = Departures(self.server)

    async def run(self) -> int:
        """Hand everything over; return how many connections went along.

        After that, nothing here may be said to a client that went along; `Hall.close` and the end
        of the server's task close our copies of its socket, and nobody notices.

        Raises:
            CalledOff: The other process can't go on with it. All is as it was.

        Cancellation: called off.
        """
        try:
            await self._prepare()
            await self._announce()
            await self.store.fold()
            await self._announce()
            farewell(self.hall, self._departures.can_go)
            pause(self.hall, leaving=True)
            self.server.pause()
            everything = await self._come_to_rest()
            # No checkpoint from here on: it's either here or there.
            self._hand_over(everything)
        except (Ended, StoreUnavailable) as error:
            raise CalledOff(str(error)) from None
        except NotAtRest as error:
            raise CalledOff(f"it takes too long: {error}") from None
        finally:
            pause(self.hall, leaving=False)
            self.server.resume()
        return len(everything.connections)

    async def _prepare(self) -> None:
        hello = await self._answer(Hello)
        if hello.format != FORMAT:
            theirs = f"{hello.format} of version {hello.version}"
            raise CalledOff(f"it hands over by format {theirs}, and this one by {FORMAT}")
        listeners = [listener.fileno() for listener in self.server.listeners]
        store = self.store.descriptors
        await self.channel.send(Property(len(store)), [*store, *listeners])
        await self._answer(Prepared)

    async def _answer(self, kind: type[M]) -> M:
        with trio.move_on_after(self.patience.start):
            message, _ = await self.channel.receive()
            return _expected(message, kind)
        raise CalledOff(f"it didn't answer within {self.patience.start:g} s")

    async def _announce(self) -> None:
        """Give the other process all connections that can go along, and that it doesn't have."""
        some: list[Newcomer] = []
        descriptors: list[int] = []
        for newcomer, plain in self._departures.newcomers():
            some.append(newcomer)
            descriptors.append(plain.fileno())
            if len(some) == AT_ONCE:
                await self.channel.send(Newcomers(some), descriptors)
                await trio.lowlevel.checkpoint()
                some, descriptors = [], []
        if some:
            await self.channel.send(Newcomers(some), descriptors)

    async def _come_to_rest(self) -> Everything:
        """Wait until nothing is under way; return where everything is then.

        Raises:
            NotAtRest: It takes too long.
        """
        until = trio.current_time() + self.patience.rest
        while True:
            try:
                return self._everything()
            except NotAtRest:
                if trio.current_time() >= until:
                    raise
            await self._announce()
            await trio.sleep(LOOK_AGAIN)

    def _everything(self) -> Everything:
        if not self.store.is_at_rest:
            raise NotAtRest("the store writes")
        if self.server.coming or self._departures.has_more:
            raise NotAtRest("a client has just come")
        # In this order: an instant may become a little later, and never sooner.
        now = trio.current_time()
        ahead = self.clock() - now
        state = hall_state(self.hall)
        number_of = self._departures.number_of
        inside = [room_state(self.hall, one, number_of, ahead) for one in rooms(self.hall)]
        return Everything(state, inside, self._departures.states(ahead))

    def _hand_over(self, everything: Everything) -> None:
        within = self.patience.answer
        self.channel.send_now(everything, within)
        _expected(self.channel.receive_now(within), Ready)
        self.channel.send_now(Yours(), within)
        self.store.hand_over()
        leave(self.hall)
        self._departures.leave()
        self.server.stop_accepting()


def _expected(message: Message, kind: type[M]) -> M:
    if isinstance(message, kind):
        return message
    why = message.why if isinstance(message, Refused) else f"it says {type(message).__name__}"
    raise CalledOff(why)
