"""The client: a server's address and how to talk to it; joins gatherings there."""

import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Unpack

import attrs
import trio
from attrs import define, field

from squire_gatherings._client.address import Address, OpenStream, parse_address
from squire_gatherings._client.credentials import Credentials, Headers, Token
from squire_gatherings._client.exchange import Exchange
from squire_gatherings._client.gathering import Gathering, check_message_id
from squire_gatherings._client.incoming import MAX_SEQ
from squire_gatherings._client.redirects import Opener, Redirects, opening
from squire_gatherings._client.session import Session
from squire_gatherings._client.settings import ClientOptions, ClientSettings
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._rules.change_queue import ChangeQueue
from squire_gatherings._rules.replica import Replica
from squire_gatherings._rules.server_clock import ServerClock
from squire_gatherings._values.errors import BadBase, BadSetting, Left
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.op import Op

LEAST_CLIENT_ID = 16
"""How many characters a client's id has at least. It is a secret: anyone who knows it can take the
client's place (docs/protocol.md)."""


@define(eq=False)
class Client:
    """A way to the gatherings of one server. Made by `open_client`."""

    _address: Address
    settings: ClientSettings
    _credentials: Credentials = field(repr=False)
    _open_stream: OpenStream
    _opener: Opener | None
    _wall_clock: Callable[[], float] = time.time
    _exchanges: set[Exchange] = field(factory=set, repr=False)
    _closed: bool = False

    @asynccontextmanager
    async def join(
        self,
        gathering_id: str,
        *,
        behaviour: Callable[[], Behaviour] | None = LogBehaviour,
        optimistic: bool = False,
        since: int | None = None,
        client_id: str | None = None,
        times: bool | None = None,
        syncs: bool = False,
        presence: dict[str, Any] | None = None,
    ) -> AsyncIterator[Gathering]:
        """Join a gathering, which is opened if need be; leave it with the block.

        What the block raises comes out as it is. Should the behaviour raise in the client's own
        tasks, that comes out in a group, with what the block raised, if it did.

        Args:
            gathering_id: 1 to 128 of `A-Z a-z 0-9 . _ ~ -`.
            behaviour: The class that the server runs, for `Gathering.snapshot`; None for no state.
            optimistic: Whether submits that aren't answered show in the snapshot at once. They are
                rolled back when they're refused.
            since: Iterating begins after the op with this seq; without it, after the join.
            client_id: A random text of 16 to 128 characters, kept secret. It makes sync ids
                repeatable by another process. Without it, one is made for this block.
            times: Whether to ask for the times of ops, for `Change.time` and for what the behaviour
                is told. By default that is asked with a `behaviour` of your own.
            syncs: Whether to ask which syncs ops came from, for `Change.sync` and `Page.syncs`.
            presence: A JSON object with which to be shown among those who are here, for
                `Gathering.presence`. Without it, this client is neither shown nor told.

        Returns:
            A block that gives the `Gathering`.

        Raises:
            BadGatheringId: For a `gathering_id` that isn't one.
            BadSetting: For a `client_id` that isn't one, or credentials that can't be sent.
            BadBase: There is no op `since`.
            TooBig: `presence` is larger than the server takes.
            ValueError: `presence` isn't JSON.
            Unauthorized: The server doesn't let this client in.
            CannotConnect: The server can't be reached within `join_patience` seconds, which by
                default is one attempt; at once where TLS says no.
            Left: The client is closed.

        Cancellation: A checkpoint. Cancelled on the way in, it isn't joined. Cancelled or not,
        leaving says goodbye to the server for at most `close_timeout` seconds.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        check_gathering_id(gathering_id)
        if client_id is not None:
            _check_client_id(client_id)
        if since is not None and not 0 <= since <= MAX_SEQ:
            raise BadBase(f"since is {since}, which no op's seq is")
        shown = None if presence is None else Op.of(presence)
        if self._closed:
            raise Left("the client is closed")
        if times is None:
            times = behaviour not in (None, LogBehaviour)
        clock = ServerClock(self._wall_clock, trio.current_time) if times else None
        replica = Replica(ChangeQueue(self.settings.max_changes), behaviour, optimistic, clock)
        if behaviour is None and since is not None:
            replica.seq = since
        exchange = Exchange(gathering_id, self.settings, replica, since, times, syncs)
        exchange.presence.state = shown
        session = Session(
            self._address,
            gathering_id,
            client_id or secrets.token_hex(16),
            self._credentials,
            self.settings,
            self._open_stream,
            exchange,
            Redirects(self._opener),
        )
        self._exchanges.add(exchange)
        try:
            async with open_hidden_nursery() as nursery:
                await nursery.start(session.run)
                try:
                    yield Gathering(session)
                finally:
                    nursery.cancel_scope.cancel()
        finally:
            self._exchanges.discard(exchange)


@asynccontextmanager
async def open_client(
    url: str,
    *,
    token: Token = None,
    headers: Headers | None = None,
    ssl_context: ssl.SSLContext | None = None,
    open_stream: OpenStream | None = None,
    wall_clock: Callable[[], float] = time.time,
    **settings: Unpack[ClientOptions],
) -> AsyncIterator[Client]:
    """Make a client of a server. It connects only when a gathering is joined.

    Leaving the block ends the gatherings that other tasks still have with `Left`.

    Args:
        url: `ws://HOST:PORT`, or `wss://HOST:PORT` for TLS. With a path, the server's gatherings
            are below it: `wss://HOST/live` has them at `/live/gatherings/ID`. With `{gathering}`
            in its path or query, it says where each is: `wss://HOST/socket?room={gathering}`.
        token: Goes into each `join`, not into the URL. A function, sync or async, is asked on each
            connection. What it raises at a gathering's first join comes out of `join`; later, it
            is a pause like a lost connection, unless it is a `GatheringsError`.
        headers: Go into each opening request (`Authorization`, `Cookie`, `Origin`…); a mapping, or
            a function as for `token`. Names and values are ASCII, and none is the handshake's own.
        ssl_context: Instead of Python's default context.
        open_stream: Connects in your own way (a Unix socket, a proxy, a stream in memory); the
            `url` then only names the server.
        wall_clock: The time of day, in seconds since 1970. With `optimistic` the behaviour is told
            it as the time of ops that aren't logged yet, where it doesn't contradict what the
            server said of its own.
        **settings: Every field of `ClientSettings`, in seconds and bytes.

    Returns:
        A block that gives the `Client`.

    Raises:
        BadSetting: For an argument that can't be right; without its value, which may be a secret.

    Cancellation: Entering the block does nothing if it is cancelled already. Leaving it doesn't
    wait.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    address = parse_address(url)
    credentials = Credentials(token, headers)
    credentials.check()
    client = Client(
        address,
        attrs.evolve(ClientSettings(), **settings),
        credentials,
        open_stream or opening(ssl_context)(address),
        None if open_stream else opening(ssl_context),
        wall_clock,
    )
    try:
        yield client
    finally:
        client._closed = True
        for exchange in tuple(client._exchanges):
            exchange.fail(Left("the client was closed"))


def _check_client_id(client_id: str) -> None:
    try:
        check_message_id(client_id)
    except ValueError as error:
        raise BadSetting(f"client_id: {error}") from None
    if len(client_id) < LEAST_CLIENT_ID:
        raise BadSetting(
            f"client_id: it is a secret of at least {LEAST_CLIENT_ID} random characters"
        )
