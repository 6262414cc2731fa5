"""The world: a hall that comes and goes, its disk, its network, and all its clients."""

import logging
import math
import socket
import weakref
from contextlib import suppress
from functools import partial
from typing import Any

import trio
from attrs import define, evolve, field, fields
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    ANONYMOUS,
    Behaviour,
    EndRuleOptions,
    GatheringsError,
    Hall,
    HallOptions,
    Identity,
    LifecycleEvent,
    Role,
    ServerSettings,
    open_hall,
    serve_stream,
)
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._poller import Poller
from squire_gatherings._server.outbox import Flusher
from squire_gatherings._server.pinging import keep_alive
from squire_gatherings._server.serving import ServerStep, Serving
from squire_gatherings.testing import ENDLESS, LinkEnd
from tests.system import tls
from tests.system.book import Book, Boom, SnapshotBook, TameBook, TameSnapshotBook
from tests.system.events import Events
from tests.system.life import Rules
from tests.system.link import WatchedLink, relay
from tests.system.lives import Lives
from tests.system.people import Person
from tests.system.rest import check_nothing_is_left, come_to_rest
from tests.system.setup import CLOSE_GRACE, ROOMS, Setup
from tests.system.store import Disk, TroubledStore
from tests.system.strangers import Stranger
from tests.system.tap import Tap
from tests.system.truth import Fault, Truth
from tests.system.watch import Watch

LONGEST = 50_000.0
"""The seconds that a life may last, unless a gathering was to live longer: one that takes longer
waits for what never comes."""


@define(eq=False)
class World:
    """Everything, on one virtual clock."""

    setup: Setup
    clock: MockClock = field(factory=lambda: MockClock(autojump_threshold=0))
    truth: Truth = field(init=False)
    disk: Disk = field(init=False)
    lives: Lives = field(init=False)
    nursery: trio.Nursery = field(init=False)
    hall: Hall | None = None
    """The hall; None while nobody listens."""
    any_hall: Hall | None = None
    """The hall, even while it closes."""
    store: TroubledStore = field(init=False)
    taps: list[Tap] = field(factory=list)
    strangers: list[Stranger] = field(factory=list)
    people: list[Person] = field(factory=list)
    calls: int = 0
    """The number of calls into the hall."""
    wall_at: float = 1_800_000_000.0
    set_back: float = 0.0
    """The seconds by which the wall clock was set back so far."""
    """The wall clock's time at the virtual time 0."""
    terms: dict[str, float] = field(factory=dict)
    """How long rights last, in seconds, for users whose rights end."""
    waiting: set[trio.CancelScope] = field(factory=set)
    """Calls that wait for the store itself: they end with its process."""
    exports: list[tuple[bytes, ...]] = field(factory=list)
    refused_events: int = 0
    """How many more lifecycle events the program fails to take."""
    calling: int = 0
    """The number of calls that are under way."""
    _connections: trio.Nursery = field(init=False)
    _server: Serving | None = None
    made: "list[weakref.ref[Any]]" = field(factory=list)
    patience: trio.CancelScope = field(init=False)
    """Around the whole life."""
    _stop: trio.Event = field(init=False)
    _stopped: trio.Event = field(init=False)
    _power: trio.CancelScope = field(init=False)
    _doing: str = "its beginning"
    _may_forget: bool = False
    """Whether the next hall may not know who slept in the last one."""

    def __attrs_post_init__(self) -> None:
        setup = self.setup
        self.truth = Truth(setup.rules, CLOSE_GRACE, self.clock.current_time, self.wall)
        if setup.events:
            self.truth.events = Events()
        self.disk = Disk(truth=self.truth)
        self.lives = Lives(self)
        for number in range(4):
            packed = setup.packed and number % 2 == 1
            token = ("user:alice", "user:bob", None, "observer:olga")[number]
            self.strangers.append(Stranger(self, f"s{number}", ROOMS[number // 3], token, packed))
        for number in range(3):
            self.people.append(Person(self, f"p{number}", ROOMS[number // 2], number % 2 == 1))

    @property
    def client_behaviour(self) -> type[Book]:
        return TameSnapshotBook if self.setup.snapshots else TameBook

    # The hall.

    async def open(self) -> None:
        """Open the hall, unless it is open."""
        if self.hall is None and self.any_hall is None:
            await self.nursery.start(self._keep_hall)

    async def close(self) -> None:
        """Close the hall as a server does when it stops, and wait for its end."""
        if self.hall is not None:
            writes = self.store.writes_events and self.store.writes_sleep
            if self.truth.events is not None and not writes:
                self.truth.events.unnoted()
            # It isn't noted who sleeps before what was told of it is durable.
            self._may_forget = not (self.store.writes_sleep and self.store.writes_events)
            self._stop.set()
            await self._stopped.wait()

    async def kill(self, *, lands: bool) -> None:
        """End the server as `kill -9` does; with `lands`, writes under way become durable."""
        if self.hall is None:
            return
        self.store.kill(lands=lands)
        self._may_forget = True
        if self.truth.events is not None:
            self.truth.events.unnoted()
        self._let_go_of_store()
        self.hall, self.truth.is_closing = None, True
        for tap in self.taps:
            if not tap.is_gone:
                tap.link.cut("reset")
        self._power.cancel()
        await self._stopped.wait()

    def _let_go_of_store(self) -> None:
        """End the calls that wait for the store: its process ends."""
        for scope in self.waiting:
            scope.cancel()

    def waits_for_store(self, hall: Hall, scope: trio.CancelScope) -> None:
        """Cancel a call that waits for the store when the store's process is killed."""
        self.waiting.add(scope)
        if hall is not self.any_hall or self.store.is_dead:
            scope.cancel()

    async def _keep_hall(self, *, task_status: trio.TaskStatus[None]) -> None:
        setup = self.setup
        self._stop, self._stopped = trio.Event(), trio.Event()
        self.lives.new_hall()
        self.truth.rules = setup.rules
        self.truth.denied.clear()
        self.truth.is_closing = False
        try:
            with trio.CancelScope() as self._power:
                async with trio.open_nursery() as writers:
                    self.store = TroubledStore(self.disk, writers)
                    async with open_hall(
                        store=self.store,
                        on_event=partial(self._take, self.store) if setup.events else None,
                        behaviour=self._make_book,
                        authenticate=self.who,
                        wall_clock=self.wall,
                        **self.setup.usual_settings(),
                    ) as self.any_hall:
                        self._take_up(self.any_hall)
                        await self._serve(self.any_hall, task_status)
                    writers.cancel_scope.cancel()
        finally:
            self.hall = self.any_hall = self._server = None
            # The old store's answers to its appends are lost.
            self._stopped.set()

    def _take_up(self, hall: Hall) -> None:
        """Note which incarnations the hall goes on with."""
        names = {room: hall.explain(room).incarnation for room in hall.gatherings()}
        self.truth.taken_up(names, may_forget=self._may_forget)
        self._may_forget = False

    async def _serve(self, hall: Hall, task_status: trio.TaskStatus[None]) -> None:
        flusher = Flusher()
        with Poller(ServerStep(quotas_of(hall).round, flusher)) as poller:
            async with trio.open_nursery() as tasks:
                if self.setup.way == "sockets":
                    self._server = Serving((), (), poller, flusher)
                    tasks.start_soon(flusher.run)
                    tasks.start_soon(poller.run)
                    tasks.start_soon(keep_alive, self._server, 20.0)
                async with trio.open_nursery() as self._connections:
                    self.hall = hall
                    task_status.started()
                    await self._stop.wait()
                    # The command `serve` does the same.
                    self.hall, self.truth.is_closing = None, True
                    await hall.close()
                    self._let_go_of_store()
                    await wait_all_tasks_blocked()
                    self._connections.cancel_scope.cancel()
                tasks.cancel_scope.cancel()

    async def who(self, token: str | None, gathering: str) -> Identity:
        """Identify people by their tokens: `user:NAME` and `observer:NAME`."""
        await trio.lowlevel.checkpoint()
        if token is None:
            return ANONYMOUS
        kind, _, name = token.partition(":")
        role = Role.OBSERVER if kind == "observer" else Role.MEMBER
        term = self.terms.get(name)
        return Identity(name, role, None if term is None else self.wall() + term)

    def wall(self) -> float:
        """Return what the wall clock says."""
        return self.wall_at + self.clock.current_time()

    def _make_book(self) -> Behaviour:
        book = SnapshotBook() if self.setup.snapshots else Book()
        self.made.append(weakref.ref(book))
        return book

    # Rights.

    def deny(self, user: str, how: str) -> None:
        """Revoke a user's rights, or make it an observer, until `allow`."""
        hall, truth = self.hall, self.truth
        if hall is None:
            return
        if how == "revoke":
            truth.put_out_at = truth.now()
            hall.revoke(user, until=math.inf)
        else:
            hall.change_role(user, Role.OBSERVER, until=math.inf)
        truth.denied.setdefault(user, truth.now())

    def allow(self, user: str) -> None:
        """Give a user all rights again."""
        self.truth.denied.pop(user, None)
        if self.hall is not None:
            self.hall.revoke(user, until=0.0)
            self.hall.change_role(user, Role.MEMBER, until=0.0)

    # Ends, and settings.

    def hold(self, room: str, seconds: float | None) -> None:
        """Let no rule end a gathering for so long, if it is open; None takes that back."""
        if self.hall is not None:
            until = None if seconds is None else self.wall() + seconds
            with suppress(GatheringsError):
                self.hall.hold(room, until=until)
                self.truth.held(room, until)

    def change_rules(self, room: str, changes: EndRuleOptions) -> None:
        """Have a gathering that is open live by other rules."""
        if self.hall is not None:
            with suppress(GatheringsError):
                self.hall.change_rules(room, **changes)
                self.truth.changed(room, dict(changes))

    def change_settings(self, changes: HallOptions) -> None:
        """Give the hall other settings; gatherings that are open keep their rules."""
        if self.hall is not None:
            self.hall.change_settings(**changes)
            names = {one.name for one in fields(Rules)} & changes.keys()
            rules = {name: changes[name] for name in names}  # type: ignore[literal-required]
            self.truth.rules = evolve(self.truth.rules, **rules)

    # Lifecycle events.

    async def _take(self, store: TroubledStore, event: LifecycleEvent) -> None:
        await trio.lowlevel.checkpoint()
        if store.is_dead:
            raise Boom("its process is killed")
        if self.refused_events:
            self.refused_events -= 1
            raise Boom("not now")
        assert self.truth.events is not None
        self.truth.events.told.append(event)

    # The network.

    async def connect(
        self, *, room: int = ENDLESS, piece: int = 65536
    ) -> tuple[LinkEnd, Tap] | None:
        """Connect to the server; None if nobody listens.

        Args:
            room: The bytes that the server may send before the client must receive some.
            piece: The most bytes that arrive at the server at once.
        """
        await trio.lowlevel.checkpoint()
        if self.hall is None:
            return None
        link = WatchedLink(is_relayed=self.setup.way != "streams")
        link.down.room, link.up.piece = room, piece
        tap = Tap(self.truth, link, len(self.taps) + 1)
        self.taps.append(tap)
        end = link.server_end
        self.made.append(weakref.ref(end))
        self._connections.start_soon(self._serve_one, self.hall, end)
        return link.client_end, tap

    async def _serve_one(self, hall: Hall, end: LinkEnd) -> None:
        settings = ServerSettings(max_backlog=2000)
        try:
            if self.setup.way == "streams":
                await serve_stream(hall, end, settings)
                return
            ours, theirs = socket.socketpair()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
            for one in (ours, theirs):
                one.setblocking(False)
            stream, far = (
                trio.SocketStream(trio.socket.from_stdlib_socket(one)) for one in (ours, theirs)
            )
            async with trio.open_nursery() as nursery:
                if self.setup.way == "tls":
                    nursery.start_soon(relay, end, tls.over(far))
                    await serve_stream(hall, stream, settings, ssl_context=tls.server_context())
                else:
                    nursery.start_soon(relay, end, far)
                    await serve_stream(hall, stream, settings, server=self._server, plain=ours)
        except* Exception as errors:
            self.truth.fault(f"a connection failed: {errors.exceptions}")

    # Time.

    def jump(self, seconds: float) -> None:
        """Let the machine sleep for this many seconds, whatever is under way."""
        self.truth.jumped_from = trio.current_time()
        self.clock.jump(seconds)
        self.truth.jumped_at = trio.current_time()

    async def pause(self, how: str) -> None:
        """Let other tasks run as long as `how` says; no time passes."""
        if how == "settle":
            await self.settle()
        for _ in range({"tick": 1, "ticks": 6}.get(how, 0)):
            await trio.lowlevel.checkpoint()

    async def settle(self) -> None:
        """Let other tasks run until all of them wait."""
        await wait_all_tasks_blocked()
        for tap in self.taps:
            tap.check_told()

    # The whole life.

    async def run(self, plan: Any) -> None:
        """Follow a plan to its end, and check that nothing is left. Raises nothing but bugs."""
        watch = Watch(self.truth)
        log = logging.getLogger("squire_gatherings")
        log.addHandler(watch)
        log.propagate = False
        try:
            async with trio.open_nursery() as self.nursery:
                with trio.move_on_after(LONGEST) as self.patience, suppress(Fault):
                    await self._follow(plan)
                if self.patience.cancelled_caught:
                    self.truth.fault(f"waits for what never comes, in {self._doing}")
                self.truth.is_over = True
                self.nursery.cancel_scope.cancel()
        finally:
            log.removeHandler(watch)
            log.propagate = True
        if not self.truth.faults:
            self.truth.is_over = False
            check_nothing_is_left(self)

    def be_patient(self, until: float) -> None:
        """Let the life last until then, and longer."""
        self.patience.deadline = max(self.patience.deadline, until + LONGEST)

    async def _follow(self, plan: Any) -> None:
        await self.open()
        if self.setup.are_there:
            await self._let_all_in()
        for step in plan:
            self._doing = str(step)
            await self.pause(step.pause)
            await step.act(self)
            self.truth.settle()
        self._doing = "its end"
        await come_to_rest(self)
        self.truth.settle()

    async def _let_all_in(self) -> None:
        for person in self.people:
            await person.arrive()
        for stranger in self.strangers:
            await stranger.join("all", room=ENDLESS, piece=65536)
        await self.settle()
