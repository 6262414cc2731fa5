"""Stories: a hall, its clients and its store, to which events happen that one task brings about."""

from collections.abc import Callable
from typing import ClassVar

import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import open_hall
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import GatheringsError, StoreUnavailable
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.log import Append
from squire_gatherings._values.messages import Ack, Leave, Sync
from squire_gatherings._values.op import Op
from squire_gatherings.testing import FailingStore
from tests.model.traces import Event
from tests.schedules.orders import Batches
from tests.schedules.truth import Tap, Truth, number_of
from tests.support import Fragile

IDLE = 10.0
ROOM = "friday-night"
SLEEP_AFTER = 4.0

Moment = int | None
"""How many turns of Trio pass after an event; None: until all tasks wait for something."""

Plan = tuple[tuple[str, Moment], ...]


class HeldStore(FailingStore):
    """A store in memory whose appends end when the story says so, well or not."""

    def __init__(self, truth: Truth) -> None:
        super().__init__(MemoryStore())
        self.truth = truth
        self.holds = True
        self.failed: set[tuple[str, int]] = set()
        self.held: list[tuple[Append, Callable[[Outcome], None]]] = []
        self.durable: dict[str, int] = {}

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Keep an append, unless nothing is held any more."""
        if self.holds:
            self.held.append((append, ended))
            return False
        self._do_it(append)
        return True

    def let_go(self, outcome: Outcome = None, *, is_done: bool = True) -> None:
        """End the oldest append: it is done or not, and the hall is told this outcome."""
        if self.held:
            append, ended = self.held.pop(0)
            now = self.truth.woke_at = trio.current_time()
            where = (append.gathering, append.first_seq)
            if where not in self.failed:
                # What is tried again is no use of the gathering.
                self.truth.used_at = now
            if is_done:
                self._do_it(append)
            if outcome is not None:
                self.failed.add(where)
            ended(outcome)

    def _do_it(self, append: Append) -> None:
        assert self.inner.append_nowait(append, lambda _: None)
        last = append.first_seq + len(append.ops) - 1
        self.durable[append.gathering] = max(last, self.durable.get(append.gathering, 0))
        self.truth.logged.update(one.id for one in append.syncs)


@define(eq=False)
class Person:
    """A client: it joins, says things, and repeats later what wasn't answered."""

    name: str
    tap: Tap | None = None
    membership: Membership | None = None
    joining: trio.CancelScope | None = None
    said: list[Sync] = field(factory=list)
    count: int = 0


@define(eq=False)
class Story:
    """One telling. `EVENTS` are what may happen; an event whose time isn't there does nothing."""

    hall: Hall
    store: HeldStore
    clock: MockClock
    nursery: trio.Nursery
    truth: Truth
    room: str = ROOM
    anna: Person = field(factory=lambda: Person("anna"))
    bob: Person = field(factory=lambda: Person("bob"))

    async def follow(self, plan: Plan) -> None:
        """Have the events of a plan happen."""
        for name, moment in plan:
            self.EVENTS[name](self)
            if moment is None:
                await wait_all_tasks_blocked()
            else:
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()

    async def finish(self, traces: list[list[Event]]) -> None:
        """All is well again: everybody comes back for what wasn't answered; then nobody does.

        What the clients saw until all had ended is added to `traces`.
        """
        self.store.holds = False
        while self.store.held:
            self.store.let_go()
        self.clock.autojump_threshold = 0
        await trio.sleep(2)
        for person in (self.anna, self.bob):
            self.says(person)
        await trio.sleep(1)
        self.truth.look()
        await trio.sleep(3 * IDLE)
        self.truth.all_has_ended(self.hall, self.room)
        traces.append(list(self.truth.trace))
        for person in (self.anna, self.bob):
            await self.join(person)
            assert person.membership is not None, f"all is well: {self.truth.taps[-1].refused!r}"
            for sync in person.said:
                person.membership.deliver_nowait(sync)
            await trio.sleep(1)
        page = await self.hall.fetch(self.room, since=0)
        self.truth.used_at = trio.current_time()
        self.truth.is_the_log(page, [sync for one in (self.anna, self.bob) for sync in one.said])
        await trio.sleep(3 * IDLE)
        self.truth.all_has_ended(self.hall, self.room)

    # What happens.

    async def join(self, person: Person) -> None:
        """Join; a second connection takes the place of the first."""
        tap = self.truth.tap(person.name, self.room, self.store.durable)
        with trio.CancelScope() as scope:
            person.joining = scope
            try:
                membership = await self.hall.join(
                    self.room,
                    tap,
                    identity=Identity(person.name),
                    client=person.name,
                    since=0,
                )
            except GatheringsError as error:
                tap.refused = error
                return
        if scope.cancelled_caught:
            tap.is_cut = True
            return
        person.tap, person.membership = tap, membership

    def joins(self, person: Person) -> None:
        """Begin to join."""
        self.nursery.start_soon(self.join, person)

    def gives_up(self, person: Person) -> None:
        """Give up joining."""
        if person.joining is not None:
            person.joining.cancel()

    def says(self, person: Person, **value: object) -> None:
        """Submit an op."""
        person.count += 1
        name = f"{person.name} {person.count}"
        sync = Sync(name, 0, (Op.of({"by": name, **value}),))
        if not value:
            person.said.append(sync)
        if person.membership is not None and person.tap is not None:
            try:
                goes_on = person.membership.take_nowait(sync)
            except trio.WouldBlock:
                person.tap.note("late", number_of(sync.id))
                self.nursery.start_soon(person.membership.take, sync)
            else:
                self.truth.used_at = trio.current_time()
                person.tap.asked(sync.id, goes_on=goes_on and not value)

    def acks(self, person: Person) -> None:
        """Acknowledge all that has come."""
        if person.membership is not None and person.tap is not None:
            person.membership.take_nowait(Ack(person.tap.last_seq))
            self.truth.used_at = trio.current_time()

    def leaves(self, person: Person) -> None:
        """Say goodbye."""
        if person.membership is not None and person.tap is not None:
            person.membership.take_nowait(Leave())
            person.tap.is_leaving = True
            self.truth.used_at = trio.current_time()

    def is_cut(self, person: Person) -> None:
        """Its connection is lost."""
        if person.membership is not None and person.tap is not None:
            if not (person.tap.is_cut or person.tap.closed):
                person.tap.note("cut")
            person.membership.detach()
            person.tap.is_cut = True

    def strikes(self) -> None:
        """It is time for the end, to the instant."""
        for one in self.hall.snapshot().gatherings:
            if one.gathering == self.room:
                self.passes(max(0.0, one.deadline - trio.current_time()))

    def passes(self, seconds: float) -> None:
        """Time passes, of which nobody sees anything."""
        self.clock.jump(seconds)
        self.truth.woke_at = trio.current_time()

    def fails(self, *, is_done: bool) -> None:
        """An append fails, or seems to."""
        self.store.let_go(StoreUnavailable("it was ordered"), is_done=is_done)

    def puts_out(self, person: Person) -> None:
        """The program puts somebody out, who may come back."""
        self.hall.kick(person.name)
        if person.tap is not None:
            person.tap.is_put_out = True

    async def disperse(self) -> None:
        """The program has it end."""
        await self.hall.disperse(self.room)

    async def evict(self) -> None:
        """The program has it fall asleep."""
        await self.hall.evict(self.room)

    EVENTS: ClassVar[dict[str, Callable[["Story"], None]]] = {
        "anna says": lambda self: self.says(self.anna),
        "anna crashes it": lambda self: self.says(self.anna, boom=1),
        "anna acks": lambda self: self.acks(self.anna),
        "anna leaves": lambda self: self.leaves(self.anna),
        "anna is cut": lambda self: self.is_cut(self.anna),
        "anna joins": lambda self: self.joins(self.anna),
        "bob joins": lambda self: self.joins(self.bob),
        "bob gives up": lambda self: self.gives_up(self.bob),
        "bob says": lambda self: self.says(self.bob),
        "bob is cut": lambda self: self.is_cut(self.bob),
        "a commit ends": lambda self: self.store.let_go(),
        "a commit fails": lambda self: self.fails(is_done=False),
        "a commit seems to fail": lambda self: self.fails(is_done=True),
        "the deadline strikes": lambda self: self.strikes(),
        "half a second passes": lambda self: self.passes(0.5),
        "the program ends it": lambda self: self.nursery.start_soon(self.disperse),
        "it is to sleep": lambda self: self.nursery.start_soon(self.evict),
        "bob is put out": lambda self: self.puts_out(self.bob),
    }


async def tell(plans: list[Plan], clock: MockClock, batches: Batches) -> list[list[Event]]:
    """Tell stories in one hall, one after the other, each in a gathering of its own.

    What happens before the second event of each, and after the last, isn't watched.

    Returns:
        What the clients saw, as the model takes it.

    Raises:
        AssertionError: Something doesn't hold.
    """
    traces: list[list[Event]] = []
    truth = Truth()
    store = HeldStore(truth)
    async with (
        trio.open_nursery() as nursery,
        open_hall(
            store=store,
            behaviour=Fragile,
            idle_timeout=IDLE,
            recent_syncs=2,
            sleep_after=SLEEP_AFTER,
        ) as hall,
    ):
        for number, plan in enumerate(plans):
            clock.autojump_threshold = float("inf")
            store.holds = True
            truth.reset()
            story = Story(hall, store, clock, nursery, truth, f"{ROOM}-{number}")
            await story.follow(plan[:1])
            batches.watch()
            await story.follow(plan[1:])
            batches.rest()
            await story.finish(traces)
        nursery.cancel_scope.cancel()
    return traces
