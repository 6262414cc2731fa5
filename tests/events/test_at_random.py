"""Whole lives at random: openings, joins, leaves, ends, failures and kills; no event is missing."""

from contextlib import suppress
from functools import partial
from typing import Any

import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.event_delivery import LONGEST_PAUSE
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.events import EventKind, LifecycleEvent
from squire_gatherings._values.messages import Dispersed, Joined
from tests.events.telling import Flaky, Taker, check, once
from tests.support import Fragile, Recorder, examples

ROOMS = ("a", "b", "c")
IDLE, EMPTY = 20, 7

room = st.sampled_from(ROOMS)
steps = st.one_of(
    st.tuples(st.sampled_from(["open", "join", "join", "submit", "boom", "disperse"]), room),
    st.tuples(st.just("give up opening"), room),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.3, 1.0, EMPTY, EMPTY + 0.1, IDLE])),
    st.tuples(st.just("callback"), st.integers(0, 9)),
    st.tuples(st.sampled_from(["writes", "reads", "forgets", "has_it_all_the_same"])),
    st.tuples(st.sampled_from(["together", "away"]), st.integers(1, 9)),
    st.tuples(st.just("slow"), st.sampled_from([0.0, 0.5])),
    st.tuples(st.just("kill at a write"), st.integers(0, 4), st.booleans()),
    st.tuples(st.sampled_from(["kill", "cancel", "restart"])),
)


@define(eq=False)
class World:
    """Halls, one after the other, on what the last one has left."""

    store: Flaky = field(factory=Flaky)
    taker: Taker = field(factory=Taker)
    told: list[LifecycleEvent] = field(factory=list)
    members: list[tuple[Membership, Recorder]] = field(factory=list)
    clients: list[Recorder] = field(factory=list)
    emptied: dict[str, int] = field(factory=dict)
    """How often the last client left, by the incarnation."""
    was_killed: bool = False

    async def live(self, steps: list[tuple[Any, ...]]) -> None:
        """Have halls live until nothing is left to be done, and to be delivered."""
        while True:
            with trio.CancelScope() as scope:
                async with open_hall(
                    store=self.store,
                    on_event=self.taker,
                    behaviour=Fragile,
                    idle_timeout=IDLE,
                    empty_timeout=EMPTY,
                    close_grace=2,
                ) as hall:
                    self.store.dying = partial(self._die, scope)
                    await self._play(hall, steps, scope)
            self.told += self.taker.events
            if not steps and not scope.cancelled_caught:
                break
            self.taker, self.members = Taker(), []
        self._heal()
        last = Taker()
        async with open_hall(store=self.store, on_event=last):
            await trio.sleep(LONGEST_PAUSE)
        self.told += last.events

    async def _play(
        self, hall: Hall, steps: list[tuple[Any, ...]], scope: trio.CancelScope
    ) -> None:
        while steps:
            what, *how = steps.pop(0)
            if what == "kill":
                self._die(scope)
                await trio.lowlevel.checkpoint()
            elif what == "cancel":
                scope.cancel()
                await trio.lowlevel.checkpoint()
            elif what == "restart":
                return
            else:
                with trio.move_on_after(3):
                    await self._do(hall, what, *how)
        # What was put off may still bring it down.
        await trio.sleep(2)
        self._heal()

    def _die(self, scope: trio.CancelScope) -> None:
        """Let nothing happen any more, as far as anybody can tell."""
        self.was_killed = True
        self.store.dying = lambda: None
        self.told += self.taker.events
        left = self.store.kill()
        dead, self.taker = self.taker, Taker()
        dead.is_dead = True
        self.store = left
        for client in self.clients:
            # It hears nothing more.
            client.closed = client.closed or [(0.0, CloseCode.GOING_AWAY, "killed")]
        scope.cancel()

    def _heal(self) -> None:
        store = self.store
        store.writes = store.reads = store.forgets = True
        store.dies_at = None
        self.taker.failures = 0

    async def _do(self, hall: Hall, what: str, *how: Any) -> None:
        with suppress(GatheringsError):
            match what:
                case "open":
                    await hall.open(*how)
                case "give up opening":
                    with trio.move_on_after(0.2):
                        await hall.open(*how)
                case "join":
                    client = Recorder()
                    self.clients.append(client)
                    self.members.append((await hall.join(how[0], client), client))
                case "submit":
                    await hall.submit(how[0], [{"n": 1}])
                case "boom":
                    await hall.submit(how[0], [{"boom": 1}])
                case "disperse":
                    await hall.disperse(*how)
                case "leave" if self.members:
                    self._leave(hall, *self.members.pop(how[0] % len(self.members)))
                case "sleep":
                    await trio.sleep(*how)
                case "callback":
                    self.taker.failures = how[0]
                case "together":
                    async with trio.open_nursery() as nursery:
                        for number in range(how[0]):
                            call = ("open", "join", "disperse")[number // 3]
                            nursery.start_soon(partial(self._do, hall, call, ROOMS[number % 3]))
                case "away":
                    self.store.writes = False
                    await self._do(hall, "together", *how)
                    self.store.writes = True
                case "slow":
                    self.store.seconds = how[0]
                case "kill at a write":
                    self.store.dies_at = how[0], how[1]
                case "writes" | "reads" | "forgets" | "has_it_all_the_same":
                    setattr(self.store, what, not getattr(self.store, what))

    def _leave(self, hall: Hall, member: Membership, client: Recorder) -> None:
        before = {one.incarnation: one.clients for one in hall.snapshot().gatherings}
        member.detach()
        if before.get(member.incarnation) == 1 and not client.closed:
            self.emptied[member.incarnation] = self.emptied.get(member.incarnation, 0) + 1


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(steps, min_size=20, max_size=40))
def test_no_event_is_missing_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    async def play() -> World:
        world = World()
        await world.live(list(steps))
        await wait_all_tasks_blocked()
        return world

    world = trio.run(play, clock=MockClock(autojump_threshold=0))
    kinds = check(world.told, all_ended=True)
    for client in world.clients:
        for joined in client.of(Joined):
            # Who was let in knows of no incarnation that nobody is told of.
            assert kinds[joined.incarnation][:2] == [EventKind.OPENED, EventKind.JOINED_FIRST]
        for notice in client.of(Dispersed):
            assert kinds[notice.incarnation][-1] == EventKind.DISPERSED
    if not world.was_killed:
        for incarnation, times in world.emptied.items():
            assert kinds[incarnation].count(EventKind.EMPTIED) == times
    for event in once(world.told):
        if event.kind is EventKind.DISPERSED and event.data["reason"] in ("idle", "empty"):
            assert event.data["lateness"] in (0.0, None)
