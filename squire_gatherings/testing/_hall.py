"""The hall under test: a hall on a virtual clock, its store, its network, and who joins it.

Everything is in memory and real: clients are those of the client library, and speak to the server
over WebSockets. Only the sockets are missing, and time passes as fast as the tasks run.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol, Unpack

import trio
from attrs import define, field
from trio.testing import wait_all_tasks_blocked

from squire_gatherings._client.client import Client, open_client
from squire_gatherings._client.settings import ClientOptions
from squire_gatherings._hall.authentication import Authenticate
from squire_gatherings._hall.event_delivery import EventSink, OnEvent
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.store import Store
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._server.attending import serve_stream
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import HallClosed, Unauthorized
from squire_gatherings._values.identity import ANONYMOUS, Identity
from squire_gatherings._values.settings import HallOptions
from squire_gatherings.testing._link import LinkEnd
from squire_gatherings.testing._member import Member
from squire_gatherings.testing._network import Network
from squire_gatherings.testing._raw import RawClient, open_raw_client
from squire_gatherings.testing._store import FailingStore
from squire_gatherings.testing._wall_clock import WallClock

ROOM = "friday-night"
"""The gathering that is meant where none is named."""

SELDOM = 3600.0
"""The seconds between pings: every 20 s, they would be most of what happens in a day."""


class ServeStream(Protocol):
    """Serves one client on a stream until it has gone, as `serve_stream` does."""

    async def __call__(
        self, hall: Hall, stream: trio.abc.Stream, settings: ServerSettings | None = None, /
    ) -> None:
        """Serve one client."""
        ...


@define(eq=False)
class HallUnderTest:
    """A hall, all that it is connected to, and who joins it. Made by `open_test_hall`."""

    behaviour: Callable[[], Behaviour]
    """What the hall and all members run."""
    store: FailingStore
    """The store of the hall that is open; another one, with the same logs, after `kill`."""
    network: Network
    """The links of all clients."""
    wall_clock: WallClock
    """The hall's time of day."""
    members: list[Member] = field(factory=list, init=False)
    """All that ever joined, from first to last."""
    _open: Callable[[FailingStore], Any] = field(repr=False)
    """Opens a hall on this store: an async context manager."""
    _nursery: trio.Nursery = field(repr=False)
    _client_settings: ClientOptions = field(repr=False)
    _hall: Hall | None = field(default=None, init=False)
    _stop: trio.Event = field(factory=trio.Event, init=False, repr=False)
    _stopped: trio.Event = field(factory=trio.Event, init=False, repr=False)
    _power: trio.CancelScope = field(factory=trio.CancelScope, init=False, repr=False)

    @property
    def hall(self) -> Hall:
        """The hall itself. Raises `HallClosed` while there is none."""
        if self._hall is None:
            raise HallClosed("no hall is open")
        return self._hall

    # Who is there.

    async def join(
        self,
        name: str | None,
        gathering_id: str = ROOM,
        *,
        role: str = "member",
        token: str | None = None,
        **join: Any,
    ) -> Member:
        """Join as somebody, with the client library; a task of the test's hall reads from then on.

        Args:
            name: The user; None for an anonymous one. The network knows its links by that name.
            gathering_id: The gathering.
            role: What the user is.
            token: What the client says instead, where the test has an `authenticate` of its own.
            **join: As `Client.join` takes it; the behaviour is the hall's.

        Returns:
            Who has joined. It leaves with `leave`, or with the test's hall.

        Raises:
            GatheringsError: As `Client.join`.

        Cancellation: A checkpoint. Cancelled, nobody has joined.
        """
        member: Member = await self._nursery.start(
            partial(self._stay, name, gathering_id, token or token_of(name, role), join)
        )
        self.members.append(member)
        return member

    async def _stay(
        self,
        name: str | None,
        gathering_id: str,
        token: str | None,
        join: dict[str, Any],
        *,
        task_status: trio.TaskStatus[Member],
    ) -> None:
        join.setdefault("behaviour", self.behaviour)
        member: Member | None = None
        try:
            with trio.CancelScope() as stay:
                async with (
                    self._open_client(name or "", token) as client,
                    client.join(gathering_id, **join) as gathering,
                ):
                    member = Member(name or "", gathering, network=self.network, stay=stay)
                    task_status.started(member)
                    await member.read()
        finally:
            if member is not None:
                member.gone.set()

    def open_client(
        self, name: str | None, *, role: str = "member", token: str | None = None
    ) -> AbstractAsyncContextManager[Client]:
        """Open a client of the library, for programs that are given one.

        Args:
            name: As for `join`.
            role: As for `join`.
            token: As for `join`.

        Returns:
            A block that gives the `Client`, as the library's `open_client`.
        """
        return self._open_client(name or "", token or token_of(name, role))

    def _open_client(self, name: str, token: str | None) -> AbstractAsyncContextManager[Client]:
        connect = partial(self.network.connect, name)
        return open_client(
            "ws://memory",
            token=token,
            open_stream=connect,
            wall_clock=self.wall_clock,
            **self._client_settings,
        )

    async def connect(
        self, gathering_id: str = ROOM, *, name: str = "", subprotocol: str = "squire.v1+json"
    ) -> RawClient:
        """Connect without the client library, to speak the protocol by hand.

        Args:
            gathering_id: The gathering.
            name: The name by which the network knows its link.
            subprotocol: `squire.v1+json` or `squire.v1+msgpack`.

        Returns:
            A client that has shaken hands, and hasn't joined.

        Cancellation: A checkpoint. Cancelled, it isn't connected.
        """
        end = await self.network.connect(name)
        client: RawClient = await self._nursery.start(
            open_raw_client, end, gathering_id, subprotocol
        )
        return client

    # Its life.

    async def settle(self) -> None:
        """Return when all tasks wait for something: no time passes.

        Cancellation: A checkpoint.
        """
        await wait_all_tasks_blocked()

    async def open(self) -> None:
        """Open the hall after `close`. Raises as `open_hall`. Cancellation: it isn't opened."""
        await self._nursery.start(self._keep)

    async def close(self) -> None:
        """Close the hall as a server does that stops: everybody is told.

        Cancellation: It closes all the same.
        """
        self.network.is_down = True
        self._stop.set()
        await self._stopped.wait()

    async def restart(self) -> None:
        """Close the hall, and open it again on the same store; clients come back by themselves.

        Cancellation: A hall that was closed may not be open again.
        """
        await self.close()
        await self.open()

    async def kill(self, *, lands: bool = False) -> None:
        """End the hall as `kill -9` does, and open another one on what is durable.

        Nobody is told: connections break.

        Args:
            lands: Whether appends that are under way become durable all the same.

        Cancellation: No other hall may be open.
        """
        store = self.store
        store.kill(lands=lands)
        self.network.is_down = True
        self.network.cut(how="reset")
        self._power.cancel()
        await self._stopped.wait()
        self.store = FailingStore(store.inner)
        await self.open()

    async def _keep(self, *, task_status: trio.TaskStatus[None]) -> None:
        self._stop, self._stopped = trio.Event(), trio.Event()
        try:
            with trio.CancelScope() as self._power:
                async with open_hidden_nursery() as writers:
                    self.store.nursery = writers
                    async with self._open(self.store) as hall:
                        await self._serve_all(hall, task_status)
                    writers.cancel_scope.cancel()
        finally:
            self._hall, self.network.is_down, self.store.nursery = None, True, None
            self._stopped.set()

    async def _serve_all(self, hall: Hall, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as connections:
            self._hall = hall
            self.network.nursery, self.network.is_down = connections, False
            task_status.started()
            await self._stop.wait()
            await hall.close()
            self._hall = None
            await wait_all_tasks_blocked()
            connections.cancel_scope.cancel()

    async def _serve(
        self, serve: ServeStream, settings: ServerSettings | None, end: LinkEnd
    ) -> None:
        """Serve a client as long as the hall is there."""
        hall = self._hall
        if hall is None:
            await trio.aclose_forcefully(end)
            return
        await serve(hall, end, settings)


@asynccontextmanager
async def open_test_hall(
    behaviour: Callable[[], Behaviour] = LogBehaviour,
    *,
    store: Store | None = None,
    authenticate: Authenticate | None = None,
    wall_clock: WallClock | None = None,
    on_event: OnEvent | EventSink | None = None,
    serve: ServeStream | None = None,
    server_settings: ServerSettings | None = None,
    client_settings: ClientOptions | None = None,
    **settings: Unpack[HallOptions],
) -> AsyncIterator[HallUnderTest]:
    """Open a hall for a test, with a network in memory.

    Run it on a `trio.testing.MockClock(autojump_threshold=0)` (the fixture `autojump_clock` of
    pytest-trio), so that time costs nothing.

    Args:
        behaviour: What makes the behaviour of each incarnation, and that of each member.
        store: Where logs last. By default they are in memory. Any store but a `FailingStore` is put
            behind one.
        authenticate: As for `open_hall`. By default everybody is who `join` says.
        wall_clock: The time of day. By default it goes with Trio's clock.
        on_event: As for `open_hall`.
        serve: Serves each client; by default `serve_stream`.
        server_settings: The limits of each connection. By default it's pinged every hour only.
        client_settings: The settings of each member's client, as for `open_client`; it pings every
            hour, too, unless they say otherwise.
        **settings: Every field of `HallSettings`, by its name.

    Returns:
        A block that gives the hall.

    Raises:
        BadSetting: As by `open_hall`.
        StoreUnavailable: The store can't be opened now.

    Cancellation: The hall closes, and everybody leaves.
    """
    clock = WallClock() if wall_clock is None else wall_clock

    def open_on(store: FailingStore) -> Any:
        return open_hall(
            store=store,
            behaviour=behaviour,
            authenticate=authenticate or authenticate_by_name,
            wall_clock=clock,
            on_event=on_event,
            **settings,
        )

    if not isinstance(store, FailingStore):
        store = FailingStore(MemoryStore() if store is None else store)
    async with open_hidden_nursery() as nursery:
        quiet: ClientOptions = {"ping_interval": SELDOM}
        network = Network(nursery, trio.aclose_forcefully)
        under_test = HallUnderTest(
            behaviour, store, network, clock, open_on, nursery, quiet | (client_settings or {})
        )
        network.serve = partial(
            under_test._serve,
            serve or serve_stream,
            server_settings or ServerSettings(ping_interval=SELDOM),
        )
        try:
            await under_test.open()
            yield under_test
            for member in under_test.members:
                await member.leave()
            await under_test.close()
        finally:
            nursery.cancel_scope.cancel()


def token_of(name: str | None, role: str) -> str | None:
    """Return what a member says of itself to `authenticate_by_name`."""
    return None if name is None and role == "member" else json.dumps([name, role])


async def authenticate_by_name(token: str | None, gathering_id: str) -> Identity:
    """Let everybody in as who they say they are. Raises `Unauthorized` for any other token."""
    await trio.lowlevel.checkpoint()
    if token is None:
        return ANONYMOUS
    try:
        name, role = json.loads(token)
        return Identity(name, role)
    except (ValueError, TypeError) as error:
        raise Unauthorized("that's no token of a test") from error
