"""Attending: lets a client into a gathering over a channel that a program has opened itself.

It says and does what our own server does over a WebSocket: the protocol of docs/protocol.md, with
the same limits, errors, notices and close codes. The channel does what belongs to frames (pings,
fragments, the size of what is received).
"""

import trio
from attrs import define, field

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.lateness import TookTooLong, attempt_within
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._rules.rate_limit import Spent
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._server.entry import Entry
from squire_gatherings._server.limits import limits_of
from squire_gatherings._server.reports import is_reported, report_close
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import BadSetting, GatheringDispersed, GatheringsError
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Join, Sync
from squire_gatherings._values.text import sayable
from squire_gatherings._ways_in.channel_connection import Channel, ChannelConnection, ClientLeft
from squire_gatherings._wire.codecs import (
    CODECS,
    JSON,
    Codec,
    Incoming,
    TooMany,
    UndecodableMessage,
)
from squire_gatherings._wire.refusals import close_code_of

EARLY_MESSAGES, EARLY_SIZE = 64, 64 * 1024
"""How many messages, and bytes of them, are read while the join is under way."""

NOISE = 2
"""A message that can't be understood counts as so many frames that say nothing."""


async def attend_channel(
    hall: Hall,
    gathering_id: str,
    channel: Channel,
    *,
    subprotocol: str = JSON.subprotocol,
    identity: Identity | None = None,
    request: HandshakeRequest | None = None,
    settings: ServerSettings | None = None,
    peer: str | None = None,
) -> None:
    """Let a client into a gathering; return when its connection has ended.

    The client's first message is `join`. At the end the channel is closed, with the close codes of
    docs/protocol.md, unless the client was first.

    Args:
        hall: The hall that has the gathering.
        gathering_id: The gathering's id.
        channel: Brings the client's messages, and takes what it is sent.
        subprotocol: One of `SUBPROTOCOLS`: the encoding of the messages.
        identity: Who the client is, if the program knows; its token is ignored then. Otherwise the
            hall's `authenticate` is asked, and sees the `request`.
        request: The HTTP request with which the client came, if there was one.
        settings: The connection's limits. Those about handshakes and pings don't apply here.
        peer: The client's address, under which anonymous clients share a rate limit. If None, it's
            the `request`'s.

    Raises:
        BadSetting: The subprotocol isn't one of ours.
        Exception: What the channel raises beyond its contract.

    Cancellation: the client is told that the server goes away, within `close_timeout` seconds.
    """
    codec = CODECS.get(subprotocol)
    if codec is None:
        raise BadSetting(f"a subprotocol is one of {', '.join(CODECS)}, not {subprotocol!r:.80}")
    settings = settings or ServerSettings()
    limits = limits_of(hall)
    if peer is None and request is not None:
        peer = request.peer
    meter = limits.enter(settings, peer, trio.current_time())
    connection = ChannelConnection(channel, codec, settings, meter)
    limits.holders.add(connection)
    entry = Entry(hall, gathering_id, meter, request, identity)
    attendance = _Attendance(entry, channel, connection, codec, settings)
    began_at = trio.current_time()
    async with open_hidden_nursery() as nursery:

        async def write() -> None:
            await connection.write_all()
            nursery.cancel_scope.cancel()

        nursery.start_soon(write)
        try:
            with connection.reading:
                await attendance.run()
        finally:
            limits.holders.discard(connection)
            attendance.detach()
            # If it isn't closing already; what has been sent goes out before.
            connection.close(CloseCode.GOING_AWAY, "server shutting down")
            if is_reported():
                report_close(meter, attendance.membership, connection.closing, began_at)
            meter.leave(trio.current_time(), connection.close_code)


@define(eq=False)
class _Attendance:
    """One client's stay: what the task does that reads its messages."""

    _entry: Entry
    _channel: Channel
    _connection: ChannelConnection
    _codec: Codec
    _settings: ServerSettings
    membership: Membership | None = None
    _early: list[str | bytes] = field(factory=list)
    """What came while the join was under way."""
    _end: trio.EndOfChannel | None = None
    """The end of the channel, where it came then."""
    _has_left: bool = False
    """Whether the client has said that it won't come back."""

    async def run(self) -> None:
        """Join, deliver what comes, and return when the client has gone or nothing is left."""
        try:
            join = await self._wait_for_join()
            if join is not None:
                await self._join(join)
            early, self._early = self._early, []
            for data in early:
                await self._take(data)
            if self._end is not None:
                raise self._end
            while True:
                await self._take(await self._channel.receive())
        except trio.EndOfChannel as end:
            self._has_left = isinstance(end, ClientLeft)
            # If we are closing, the writer knows when that is done.
            if not self._connection.is_closing:
                self._connection.abort()

    def detach(self) -> None:
        """Let the gathering forget the client."""
        if self.membership is not None:
            self.membership.detach(left=self._has_left)

    async def _wait_for_join(self) -> Join | None:
        try:
            return await attempt_within(self._settings.join_timeout, self._first_message)
        except TookTooLong:
            self._refuse("join_first", "no join came in time")
            return None

    async def _first_message(self) -> Join | None:
        while True:
            message = await self._understand(await self._channel.receive())
            if isinstance(message, Join):
                return message
            if message is not None:
                found = getattr(message, "id", None)
                self._refuse("join_first", "the first message is join", found)
            if self._connection.is_closing:
                return None

    async def _join(self, join: Join) -> None:
        """Join, and listen meanwhile: a client that hangs up doesn't join."""
        failure: Exception | None = None
        with trio.CancelScope() as joining:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_early, joining)
                try:
                    self.membership = await self._entry.join(self._connection, join)
                except Exception as error:
                    failure = error
                nursery.cancel_scope.cancel()
        if joining.cancelled_caught and self._end is not None:
            raise self._end
        if failure is None:
            return
        if not isinstance(failure, GatheringsError):
            self._connection.fail("internal", "the server failed")
            self._connection.close(CloseCode.CRASHED, "the server failed")
            raise failure
        if not isinstance(failure, GatheringDispersed):
            # Otherwise the hall itself has told the client.
            why = sayable(failure)
            self._connection.fail(failure.code, why)
            self._connection.close(close_code_of(failure), why)

    async def _read_early(self, joining: trio.CancelScope) -> None:
        size = 0
        try:
            while len(self._early) < EARLY_MESSAGES and size < EARLY_SIZE:
                data = await self._channel.receive()
                self._early.append(data)
                size += len(data)
        except trio.EndOfChannel as end:
            # It may be said once only.
            self._end = end
            joining.cancel()

    async def _take(self, data: str | bytes) -> None:
        """Deliver a message; wait while the gathering has too many of this client's."""
        message = await self._understand(data)
        if message is None or self._connection.is_closing or self.membership is None:
            return
        if isinstance(message, Join):
            self._connection.fail("already_joined", "this connection has joined already")
            return
        try:
            self.membership.take_nowait(message)
        except trio.WouldBlock:
            await self.membership.take(message)

    async def _understand(self, data: str | bytes) -> Incoming | None:
        """Return the message; tell the client if it isn't one, and return None."""
        if self._connection.is_closing:
            return None
        raw = data.encode(errors="replace") if isinstance(data, str) else data
        if len(raw) > self._settings.max_message_size:
            text = f"messages have at most {self._settings.max_message_size} bytes"
            self._entry.meter.enforced(Limit.TOO_BIG, text)
            self._connection.fail("too_big", text, self._codec.skim(raw).request_id)
            self._connection.close(CloseCode.TOO_BIG, text)
            return None
        now = trio.current_time()
        allowance = self._entry.meter.allowance
        spent = None if allowance is None else allowance.spent(len(raw), now)
        if spent is not None:
            await self._over_the_limit(raw, spent, now)
            return None
        try:
            if isinstance(data, str) is not self._codec.is_text:
                kind = "text" if self._codec.is_text else "binary"
                # JSON that came as bytes, or JSON where MessagePack is due.
                text = f"{self._codec.subprotocol} goes in {kind} messages"
                raise UndecodableMessage(text, JSON.skim(raw).request_id)
            message = self._codec.decode(raw, self._entry.hall.settings.max_ops)
        except UndecodableMessage as error:
            if isinstance(error, TooMany):
                self._entry.meter.enforced(Limit.TOO_BIG, str(error))
            self._connection.fail(error.code, str(error), error.request_id)
        else:
            if allowance is not None and isinstance(message, Sync):
                spent = allowance.spent_on_ops(len(message.ops), now)
                if spent is not None:
                    await self._over_the_limit(raw, spent, now)
                    return None
            return message
        await trio.sleep(self._entry.meter.noise(NOISE, now))
        return None

    async def _over_the_limit(self, raw: bytes, spent: Spent, now: float) -> None:
        meter, kind = self._entry.meter, spent.value
        refused = 0 if meter.allowance is None else meter.allowance.refused
        meter.enforced(Limit(kind), f"too many {kind} from a client")
        is_sent_away = refused > self._settings.rate_burst or self.membership is None
        text = f"too many {kind}" if is_sent_away else f"too many {kind}; this one was dropped"
        self._connection.fail("rate_limited", text, self._codec.skim(raw).request_id)
        if is_sent_away:
            self._connection.close(CloseCode.RATE_LIMIT, text)
        await trio.sleep(self._entry.meter.noise(NOISE, now))

    def _refuse(self, code: str, text: str, request_id: str | None = None) -> None:
        self._connection.fail(code, text, request_id)
        self._connection.close(CloseCode.PROTOCOL_ERROR, text)
