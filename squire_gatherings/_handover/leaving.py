"""Leaving: the process that hands everything over, and goes on itself where the other one can't.

It tells the other process where it is while it serves as ever, in rounds, each of what has changed
since the last. When little is left, it stops reading, lets all that was asked be done, tells the
rest, and does nothing at all before the other one has answered: so neither of them can say anything
in the other's turn.
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import trio
from attrs import define, field, frozen

from squire_gatherings._hall.clock import boot_time
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.moving import (
    Living,
    NotAtRest,
    Telling,
    check_rest,
    farewell,
    hall_state,
    leave,
    living,
    living_so_far,
    pause,
)
from squire_gatherings._hall.parts import events_of
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._handover.channel import AT_ONCE, Channel, Ended
from squire_gatherings._handover.messages import (
    Changes,
    Everything,
    Hello,
    Known,
    Message,
    Newcomers,
    Prepared,
    Property,
    Ready,
    Refused,
    Yours,
)
from squire_gatherings._handover.sharing import Shareable
from squire_gatherings._server.moving import Departures, JustCome
from squire_gatherings._server.serving import Serving
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.handover import FORMAT

M = TypeVar("M", bound=Message)

LOOK_AGAIN = 0.001
"""How many seconds pass until we look again whether all is at rest."""

ROUNDS = 12
"""How many rounds there are at most."""

FEW = 200
"""So few gatherings and clients are told while nothing else happens: they take a few ms."""

LESS = 0.75
"""A round that has more than so many times as much to tell as the one before is the last."""

PORTION = 256
"""About how many gatherings and clients go into one message; others get their turn after it."""


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


def _do_nothing() -> None:
    pass


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
    admin: Sequence[socket.socket] = ()
    """The listeners of the admin port."""
    on_left: Callable[[], None] = _do_nothing
    """Called when the other process goes on: what is left to be done here can wait."""
    pause: float = 0.0
    """How many seconds nothing was read, in the end."""
    _departures: Departures = field(init=False)
    _telling: Telling = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._departures = Departures(self.server)
        self._telling = Telling(self.hall, self._departures.number_of)

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
            weight = await self._tell()
            await self.store.fold()
            async with AsyncExitStack() as stack:
                events = events_of(self.hall)
                if events is not None:
                    await stack.enter_async_context(events.paused(self.patience.rest))
                await self._tell_the_rest(weight)
                farewell(self.hall, self._departures.can_go)
                pause(self.hall, leaving=True)
                self.server.pause()
                began = trio.current_time()
                everything = await self._come_to_rest()
                # No checkpoint from here on: it's either here or there.
                count = self._departures.count
                self._hand_over(everything, began)
        except (Ended, StoreUnavailable) as error:
            raise CalledOff(str(error)) from None
        except NotAtRest as error:
            raise CalledOff(f"it takes too long: {error}") from None
        finally:
            pause(self.hall, leaving=False)
            self.server.resume()
        return count

    async def _prepare(self) -> None:
        hello = await self._answer(Hello)
        if hello.format != FORMAT:
            theirs = f"{hello.format} of version {hello.version}"
            raise CalledOff(f"it hands over by format {theirs}, and this one by {FORMAT}")
        if hello.events is not (events_of(self.hall) is not None):
            raise CalledOff("only one of them tells lifecycle events")
        admin = self.admin if hello.admin else ()
        listeners = [one.fileno() for one in (*self.server.listeners, *admin)]
        store = self.store.descriptors
        await self.channel.send(Property(len(store), len(admin)), [*store, *listeners])
        await self._answer(Prepared)

    async def _answer(self, kind: type[M]) -> M:
        with trio.move_on_after(self.patience.start):
            message, _ = await self.channel.receive()
            return _expected(message, kind)
        raise CalledOff(f"it didn't answer within {self.patience.start:g} s")

    async def _announce(self) -> None:
        """Give the other process all connections that can go along, and that it doesn't have."""
        newcomers = self._departures.newcomers()
        for start in range(0, len(newcomers), AT_ONCE):
            some = newcomers[start : start + AT_ONCE]
            descriptors = [plain.fileno() for _, plain in some]
            await self.channel.send(Newcomers([one for one, _ in some]), descriptors)
            await trio.lowlevel.checkpoint()

    async def _tell_the_rest(self, weight: int) -> None:
        """Tell what has changed, until that's little, or doesn't become less; `weight` was told."""
        for _ in range(ROUNDS):
            before, weight = weight, await self._tell()
            if weight < FEW or weight > before * LESS:
                return

    async def _tell(self) -> int:
        """Tell what has changed; return how much that was."""
        await self._announce()
        weight = 0
        some = self._nothing()
        in_some = 0
        for one in self._telling.changed(living_so_far(self.hall)):
            if not self._telling.is_there(one):
                continue
            self._add(some, one, self._ahead(), at_rest=False)
            in_some += _weight(one)
            if in_some >= PORTION:
                await self._say(some)
                weight += in_some
                some, in_some = self._nothing(), 0
        some.ended.extend(self._telling.ended(living_so_far(self.hall)))
        some.gone.extend(self._departures.gone())
        await self._say(some)
        return weight + in_some

    def _nothing(self) -> Changes:
        """Return changes to which some are to be added."""
        return Changes([], base=self._telling.base())

    def _add(self, changes: Changes, one: Living, ahead: float, *, at_rest: bool) -> None:
        """Add where a gathering is. Raises `NotAtRest` where it must be at rest, and isn't."""
        if isinstance(one, Sleeper):
            changes.asleep.append(self._telling.sleeper(one, ahead, at_rest=at_rest))
        else:
            changes.rooms.append(self._telling.state(one, ahead, at_rest=at_rest))

    async def _say(self, changes: Changes) -> None:
        """Tell what has changed, and wait until the other one is there, too."""
        await self.channel.send(changes)
        await self._answer(Known)

    def _ahead(self) -> float:
        # In this order: an instant may become a little later, and never sooner.
        now = trio.current_time()
        return self.clock() - now

    async def _come_to_rest(self) -> Everything:
        """Wait until nothing is under way; return where everything is then.

        Raises:
            NotAtRest: It takes too long.
        """
        until = trio.current_time() + self.patience.rest
        busy = living_so_far(self.hall)
        while True:
            try:
                self._check(busy)
                return self._everything()
            except JustCome:
                await self._announce()
            except NotAtRest:
                if trio.current_time() >= until:
                    raise
                await trio.sleep(LOOK_AGAIN)

    def _check(self, busy: list[Living]) -> None:
        """Look at what may be busy, before we look closer; take out those that are at rest."""
        while busy:
            one = busy[-1]
            if not isinstance(one, Sleeper) and one.room.accepting:
                check_rest(one)
            busy.pop()
        if not self.store.is_at_rest:
            raise NotAtRest("the store writes")
        if self.server.coming:
            raise NotAtRest("a client has just come")

    def _everything(self) -> Everything:
        state, ahead, inside = hall_state(self.hall), self._ahead(), living(self.hall)
        states, gone = self._departures.states(ahead)
        changes = self._nothing()
        for one in self._telling.changed(inside):
            self._add(changes, one, ahead, at_rest=True)
        changes.ended.extend(self._telling.ended(inside))
        changes.gone.extend(gone)
        return Everything(state, changes, states)

    def _hand_over(self, everything: Everything, began: float) -> None:
        within = self.patience.answer
        self.channel.send_now(everything, within)
        _expected(self.channel.receive_now(within), Ready)
        self.channel.send_now(Yours(), within)
        self.pause = trio.current_time() - began
        self.on_left()
        self.store.hand_over()
        leave(self.hall)
        self._departures.leave()
        self.server.stop_accepting()


def _expected(message: Message, kind: type[M]) -> M:
    if isinstance(message, kind):
        return message
    why = message.why if isinstance(message, Refused) else f"it says {type(message).__name__}"
    raise CalledOff(why)


def _weight(one: Living) -> int:
    return 1 + len(one.clients if isinstance(one, Sleeper) else one.room.clients)
