"""A connection over a channel of messages: what a gathering sends waits in a queue."""

from collections import deque
from collections.abc import Awaitable
from typing import Protocol

import trio

from squire_gatherings._hall.connection import Connection
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._server.limits import Meter
from squire_gatherings._server.reports import Close
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import BROKEN_OFF, CloseCode, close_reason
from squire_gatherings._values.messages import Error
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import Codec

SLOWEST = 32 * 1024
"""So many bytes a second count as moved while a channel carries a message.

Nobody can see how many really have. A snapshot of 12 MB takes a minute over a slow line, and a
client that is sent one isn't given up for that. One that doesn't read it at all is given up six
minutes later.
"""


class ClientLeft(trio.EndOfChannel):
    """A channel's client has closed its connection, and said that it won't come back.

    A WebSocket's client says so by the close code 1000.
    """


class Channel(Protocol):
    """Messages in and out, over a connection that a program has accepted.

    It may be a WebSocket of any library, a message broker, or a test. `receive` and `send` are
    called at the same time, each by one task. `close` is called after the last `send`.
    """

    def receive(self) -> Awaitable[str | bytes]:
        """Wait for the next message: text or bytes, as the subprotocol has it.

        Raises:
            ClientLeft: The client has said that it leaves: it isn't shown any longer among those
                who are here (see docs/presence.md).
            trio.EndOfChannel: The client has gone, and may come back.

        Cancellation: no message was taken.
        """
        ...

    def send(self, data: str | bytes) -> Awaitable[None]:
        """Send a message.

        Raises:
            trio.BrokenResourceError: The client has gone.

        Cancellation: the channel may be broken.
        """
        ...

    def close(self, code: int, reason: str) -> Awaitable[None]:
        """Close the connection; return when that is done, or can't be done.

        What `receive` does meanwhile doesn't matter.

        Args:
            code: A WebSocket close code.
            reason: A few words for people, at most 123 bytes.

        Cancellation: comes after `close_timeout` seconds; the channel may be broken.
        """
        ...


class ChannelConnection(Connection):
    """A gathering's way out through a channel. `write_all` carries what was sent, in order."""

    __slots__ = (
        "_allowance",
        "_backlog",
        "_changed",
        "_channel",
        "_close",
        "_codec",
        "_ended",
        "_key",
        "_meter",
        "_progress",
        "_queue",
        "_scope",
        "_settings",
        "_since",
        "_size",
        "reading",
    )

    def __init__(
        self, channel: Channel, codec: Codec, settings: ServerSettings, meter: Meter
    ) -> None:
        self._channel = channel
        self._meter = meter
        self._codec = codec
        self._key = ("message", codec.subprotocol)
        self._settings = settings
        self._queue: deque[bytes] = deque()
        self._backlog = self._progress = self._size = 0
        self._allowance = 0
        """How much more may wait, while a large message goes out that found nothing waiting."""
        self._since = 0.0
        """When the channel began to carry the present message, which has `_size` bytes."""
        self._close: tuple[CloseCode, str] | None = None
        """The code and the reason of the close, once everything before has gone out."""
        self._ended = False
        """Whether nothing more can go out."""
        self._changed = trio.Event()
        self._scope = trio.CancelScope(shield=True)
        """Around all writing, and shielded: a message that is cut off would break the channel.
        It ends `close_timeout` seconds after `close`."""
        self.reading = trio.CancelScope()
        """Around all reading. It ends at the same time, since a channel may shield its `send` from
        our scope, and the gathering needn't keep a client whose channel is stuck there."""

    # What a gathering does with it.

    def send(self, outgoing: Outgoing) -> None:
        """Queue a message, encoded once for all channels with this subprotocol.

        One that finds nothing waiting is taken whatever its size; past `max_backlog` the client
        is closed as too slow a reader.
        """
        if self.is_closing:
            return
        data = outgoing.encoded.get(self._key)
        if data is None:
            data = outgoing.encoded[self._key] = self._codec.encode(outgoing)
        if not self._backlog:
            self._allowance = len(data) if len(data) > self._settings.max_backlog else 0
        elif self._backlog + len(data) > self._settings.max_backlog + self._allowance:
            self._meter.enforced(Limit.BACKLOG, "too slow a reader")
            self._drop()
            self.close(CloseCode.UNRESPONSIVE, "too slow a reader")
            return
        self._queue.append(data)
        self._tell()
        self._waits(self._backlog + len(data))

    @property
    def held(self) -> int:
        """Bytes that wait here for a slow reader."""
        return self._backlog

    def give_up(self, why: str) -> None:
        """Close with 4008, and free what waits, since others need the memory."""
        if self.is_closing:
            self.abort()
            return
        self._drop()
        self.close(CloseCode.UNRESPONSIVE, why)

    def close(self, code: CloseCode, reason: str) -> None:
        """Close after what was sent."""
        if not self.is_closing:
            self._close = code, close_reason(reason)
            deadline = trio.current_time() + self._settings.close_timeout
            self._scope.deadline = self.reading.deadline = deadline
            self._tell()

    @property
    def close_code(self) -> int:
        """The code with which it was closed; 1006 if it broke off."""
        return BROKEN_OFF if self._close is None else self._close[0]

    @property
    def backlog(self) -> int:
        """Bytes that the channel hasn't taken yet."""
        return self._backlog

    @property
    def progress(self) -> int:
        """Bytes that the channel has taken, and may have of the message that it carries."""
        return self._progress + self._carried

    @property
    def in_transit(self) -> int:
        """Bytes that the channel hasn't taken, as far as that can be told."""
        return max(0, self._backlog - self._carried)

    @property
    def _carried(self) -> int:
        if not self._size:
            return 0
        return min(self._size - 1, int((trio.current_time() - self._since) * SLOWEST))

    async def flush(self) -> None:
        """Wait until the backlog is gone.

        Cancellation: the backlog stays as it is.
        """
        while self._backlog and not self._ended:
            await self._changed.wait()

    def abort(self) -> None:
        """Drop what waits, and let the connection end."""
        self._ended = True
        self._drop()
        self._scope.cancel()
        self.reading.cancel()
        self._tell()

    # What its tasks do with it.

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is sent to the client, or heard from it."""
        return self._close is not None or self._ended

    @property
    def closing(self) -> Close:
        """How the connection was closed, as far as a channel tells."""
        if self._close is None:
            return Close(None, "client")
        code, reason = self._close
        return Close(int(code), "server", reason)

    def fail(self, code: str, message: str, request_id: str | None = None) -> None:
        """Tell the client that something failed."""
        self.send(Outgoing(Error(code, message, request_id)))

    async def write_all(self) -> None:
        """Carry what is sent, until the connection is closed or the client has gone.

        Cancellation: changes nothing. It ends by `abort`, or `close_timeout` seconds after `close`.
        """
        try:
            with self._scope:
                while not self._ended:
                    if self._queue:
                        await self._write(self._queue.popleft())
                    elif self._close is not None:
                        await self._channel.close(*self._close)
                        break
                    else:
                        await self._changed.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._ended = True
            self._drop()
            self._tell()

    async def _write(self, data: bytes) -> None:
        self._size, self._since = len(data), trio.current_time()
        try:
            await self._channel.send(data.decode() if self._codec.is_text else data)
        finally:
            self._size = 0
        # It may have been dropped meanwhile.
        self._waits(max(0, self._backlog - len(data)))
        self._allowance = max(0, self._allowance - len(data))
        self._progress += len(data)
        self._tell()

    def _drop(self) -> None:
        self._queue.clear()
        self._waits(0)

    def _waits(self, backlog: int) -> None:
        """Note how many bytes wait now. May close connections, this one as well: comes last."""
        grown = backlog - self._backlog
        self._backlog = backlog
        budget = self._meter.quotas.budget
        budget.outbound += grown
        if grown > 0:
            budget.grown()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
