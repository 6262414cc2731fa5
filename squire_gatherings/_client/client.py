"""The client: a server's address and how to talk to it; joins gatherings there."""

import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Unpack

import attrs
import trio
from attrs import define, field

from squire_gatherings._client.address import Address, OpenStream, parse_address
from squire_gatherings._client.exchange import Exchange
from squire_gatherings._client.gathering import Gathering, check_message_id
from squire_gatherings._client.incoming import MAX_SEQ
from squire_gatherings._client.session import Session, Token, check_token
from squire_gatherings._client.settings import ClientOptions, ClientSettings
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._rules.change_queue import ChangeQueue
from squire_gatherings._rules.replica import Replica
from squire_gatherings._values.errors import BadBase, BadSetting, Left
from squire_gatherings._values.ids import check_gathering_id


@define(eq=False)
class Client:
    """A way to the gatherings of one server. Made by `open_client`."""

    address: Address
    settings: ClientSettings
    _token: Token = field(repr=False)
    _open_stream: OpenStream
    _exchanges: set[Exchange] = field(factory=set)
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
    ) -> AsyncIterator[Gathering]:
        """Join a gathering, which is opened if need be; leave it with the block.

        `behaviour` is the class that the server runs, for `snapshot`; None for no state.
        With `optimistic`, unanswered submits show in it at once, and are rolled back when
        they're refused. Iterating gives what comes after the join, or after the op `since`.
        `client_id` (random, if not given) makes sync ids repeatable by another process.

        Raises `BadGatheringId`, `Unauthorized`, `BadBase` if there's no op `since`, and
        `CannotConnect` if the server can't be reached: within `join_patience` seconds, by
        default at the first attempt; at once where TLS says no. A checkpoint; cancelled on the
        way in, it isn't joined. Cancelled or not, leaving says goodbye to the server for at most
        `close_timeout` seconds.

        What the block raises comes out as it is. Should the behaviour raise in the client's own
        tasks, that comes out in a group, with what the block raised, if it did.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        check_gathering_id(gathering_id)
        if client_id is not None:
            try:
                check_message_id(client_id)
            except ValueError as error:
                raise BadSetting(f"client_id: {error}") from None
        if since is not None and not 0 <= since <= MAX_SEQ:
            raise BadBase(f"since is {since}, which no op's seq is")
        if self._closed:
            raise Left("the client is closed")
        replica = Replica(ChangeQueue(self.settings.max_changes), behaviour, optimistic)
        if behaviour is None and since is not None:
            replica.seq = since
        exchange = Exchange(gathering_id, self.settings, replica, since)
        session = Session(
            self.address,
            gathering_id,
            client_id or secrets.token_hex(16),
            self._token,
            self.settings,
            self._open_stream,
            exchange,
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
    ssl_context: ssl.SSLContext | None = None,
    open_stream: OpenStream | None = None,
    **settings: Unpack[ClientOptions],
) -> AsyncIterator[Client]:
    """Make a client of the server at `url`: `ws://HOST:PORT`, or `wss://HOST:PORT` for TLS.

    `token` goes into each `join`, not into a URL; where it is a function, sync or async, that is
    asked on each connection. What it raises at a gathering's first join comes out of `join`; later,
    it is a pause like a lost connection, unless it is a `GatheringsError`. `open_stream` connects
    in your own way (a Unix socket, a proxy, a stream in memory); the `url` then only names the
    server. Every field of `ClientSettings` is a keyword argument. Raises `BadSetting`. Connects
    only when a gathering is joined; leaving the block ends the gatherings that other tasks still
    have with `Left`.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    address = parse_address(url)
    if token is not None and not callable(token):
        check_token(token)
    client = Client(
        address,
        attrs.evolve(ClientSettings(), **settings),
        token,
        open_stream or partial(address.open_stream, ssl_context),
    )
    try:
        yield client
    finally:
        client._closed = True
        for exchange in tuple(client._exchanges):
            exchange.fail(Left("the client was closed"))
