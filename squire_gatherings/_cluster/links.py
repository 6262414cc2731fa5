"""Links: connections between nodes, each of which has a stream for each client that is relayed."""

import math
from collections.abc import Callable
from contextlib import suppress

import trio
from attrs import define, field

from squire_gatherings._cluster.relay import (
    MOST_HELD,
    Answered,
    Arrived,
    Asked,
    Broken,
    Ended,
    Event,
    Opened,
    Poked,
    Relay,
    Reset,
    StreamBroken,
    UsedUp,
    Writable,
)
from squire_gatherings._cluster.upkeep import Away, NotThere

RECEIVE_SIZE = 128 * 1024

MOST_PENDING = 256 * 1024
"""How many bytes may wait to be written, for all streams; who has more to say waits."""

KEEP_ALIVE = 5.0
"""A node that says nothing for so many seconds is asked whether it is there; after twice that it
isn't."""

PATIENCE = 5.0
"""How many seconds it may take until the other node takes a client."""


@define(eq=False)
class RelayedStream(trio.abc.HalfCloseableStream):
    """One client, on a link. Both nodes have such an end of it."""

    link: "Link"
    number: int
    answer: Answered | None = None
    """What the node said that was asked."""
    _received: bytearray = field(factory=bytearray)
    _has_ended: bool = False
    """Whether the other side has said all."""
    _is_broken: bool = False
    _has_finished: bool = False
    """Whether we have."""
    _is_closed: bool = False
    _heard: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _room: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    async def send_all(self, data: "bytes | bytearray | memoryview") -> None:
        """See `trio.abc.SendStream`."""
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            self._check()
            try:
                sent = self.link.send(self.number, view)
            except StreamBroken:
                raise trio.BrokenResourceError("the stream has ended") from None
            view = view[sent:]
            if view:
                await (self.link.room if self.link.is_full else self._room).park()

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await trio.lowlevel.checkpoint()
        self._check()

    async def send_eof(self) -> None:
        """See `trio.abc.HalfCloseableStream`."""
        await trio.lowlevel.checkpoint()
        if not self._has_finished:
            self._check()
            self._finish()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        await trio.lowlevel.checkpoint()
        while not self._received:
            if self._is_closed:
                raise trio.ClosedResourceError("this end was closed")
            if self._has_ended:
                return b""
            if self._is_broken:
                raise trio.BrokenResourceError("the stream has ended")
            await self._heard.park()
        size = len(self._received) if max_bytes is None else max_bytes
        data = bytes(self._received[:size])
        del self._received[:size]
        self.link.taken(self.number, len(data))
        return data

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`. What was sent still arrives."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """As `aclose`, without a checkpoint. Later calls do nothing."""
        if not self._is_closed:
            if not self._has_finished and not self._is_broken:
                self._finish()
            self._end()

    def abort(self) -> None:
        """Close it, and have the other side know that not all was said. Later calls do nothing."""
        if not self._is_closed:
            self._end()

    def _end(self) -> None:
        self._is_closed = True
        self.link.held -= len(self._received)
        self._received.clear()
        self.link.forget(self, resets=not (self._has_ended and self._has_finished))
        self._wake()

    async def wait_answer(self) -> Answered:
        """Return what the other node says of the client. Raises `Away` if it's gone."""
        while self.answer is None:
            if self._is_broken or self._has_ended:
                raise NotThere("it has gone")
            await self._heard.park()
        return self.answer

    def take(self) -> None:
        """Say that the client is taken. Raises `StreamBroken`."""
        self.link.relay.answer(self.number)
        self.link.wake_writer()

    def refuse(self, why: str) -> None:
        """Say why it isn't. Raises `StreamBroken`."""
        self._has_finished = True
        self.link.relay.answer(self.number, why)
        self.link.wake_writer()

    def _check(self) -> None:
        if self._is_closed or self._has_finished:
            raise trio.ClosedResourceError("this end was closed")
        if self._is_broken:
            raise trio.BrokenResourceError("the stream has ended")

    def _finish(self) -> None:
        self._has_finished = True
        with suppress(StreamBroken):
            self.link.relay.finish(self.number)
        self.link.wake_writer()

    def _wake(self) -> None:
        self._heard.unpark_all()
        self._room.unpark_all()

    # What the link tells it.

    def arrived(self, data: bytes) -> None:
        """Bytes have come."""
        self._received += data
        self._heard.unpark_all()

    def answered(self, answer: Answered) -> None:
        """The other node takes the client, or doesn't."""
        self.answer = answer
        self._heard.unpark_all()

    def ended(self) -> None:
        """The other side has said all."""
        self._has_ended = True
        self._heard.unpark_all()

    def broken(self) -> None:
        """It has ended before all was said. What has come can still be received."""
        self._is_broken = True
        self._wake()

    def has_room(self) -> None:
        """There may be room to say more."""
        self._room.unpark_all()

    @property
    def holds(self) -> int:
        """How many bytes wait to be received."""
        return len(self._received)


@define(eq=False)
class Link:
    """One connection to another node, on a stream that is proven to be the node's."""

    stream: trio.abc.Stream
    relay: Relay
    on_opened: "Callable[[RelayedStream, Asked], None] | None" = None
    """Called with each client that the other node relays; None where it may relay none."""
    on_poked: Callable[[], None] | None = None
    """Called when the other node has given us something."""
    streams: dict[int, RelayedStream] = field(factory=dict)
    held: int = 0
    """How many bytes wait to be received, of all streams."""
    room: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    """Who waits until less is to be written."""
    _pending: int = 0
    """How many were given to the relay since the writer has written last."""
    _to_write: trio.Event = field(factory=trio.Event)
    _is_over: bool = False
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _heard_at: float = -math.inf

    @property
    def is_full(self) -> bool:
        """Whether so much is to be written that nothing more is taken."""
        return self._pending >= MOST_PENDING

    async def open(self, asked: Asked) -> RelayedStream:
        """Relay a client; return its stream once the other node has taken it.

        Raises:
            Away: It doesn't take the client, or has gone.

        Cancellation: the client isn't relayed.
        """
        if self._is_over:
            raise NotThere("it has gone")
        try:
            number = self.relay.open(asked)
        except Broken as why:
            if isinstance(why, UsedUp):
                # After a billion clients. Those that are here come again.
                self._scope.cancel()
            raise Away(str(why)) from None
        stream = self.streams[number] = RelayedStream(self, number)
        self.wake_writer()
        try:
            with trio.move_on_after(PATIENCE):
                answer = await stream.wait_answer()
                if answer.is_taken:
                    return stream
                raise Away(answer.why)
            raise Away("it takes no clients now")
        except BaseException:
            stream.abort()
            raise

    async def run(self, received: bytes = b"") -> None:
        """Serve the streams until the connection has ended, which is closed then.

        Args:
            received: What has come already.

        Cancellation: it ends at once.
        """
        self._heard_at = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._write, nursery.cancel_scope)
                nursery.start_soon(self._keep_alive, nursery.cancel_scope)
                await self._read(received)
                # What is to be said of the end, such as why, is said if that needs no waiting.
                nursery.cancel_scope.deadline = trio.current_time() + 0.1
        finally:
            self._is_over = True
            self.room.unpark_all()
            for stream in tuple(self.streams.values()):
                stream.broken()
            await trio.aclose_forcefully(self.stream)

    async def _read(self, received: bytes) -> None:
        try:
            self._take(received)
            while data := await self.stream.receive_some(RECEIVE_SIZE):
                self._heard_at = trio.current_time()
                self._take(bytes(data))
        except (Broken, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            self.wake_writer()

    def _take(self, data: bytes) -> None:
        for event in self.relay.receive(data):
            self._understand(event)
        self.wake_writer()

    def _understand(self, event: Event) -> None:
        if isinstance(event, Opened):
            if self.on_opened is None:
                self.relay.reset(event.stream)
                return
            stream = self.streams[event.stream] = RelayedStream(self, event.stream)
            self.on_opened(stream, event.asked)
            return
        if isinstance(event, Poked):
            if self.on_poked is not None:
                self.on_poked()
            return
        if isinstance(event, Writable) and not event.stream:
            for stream in tuple(self.streams.values()):
                stream.has_room()
            return
        found = self.streams.get(event.stream)
        if found is None:
            # It was closed here: what still comes is of no use.
            if isinstance(event, Arrived):
                self.relay.taken(event.stream, len(event.data))
            return
        match event:
            case Arrived(data=data):
                self.held += len(data)
                found.arrived(data)
                if self.held > MOST_HELD:
                    self._relieve()
            case Answered():
                found.answered(event)
            case Ended():
                found.ended()
            case Reset():
                found.broken()
            case Writable():
                found.has_room()

    def _relieve(self) -> None:
        """End the stream that holds most."""
        most = max(self.streams.values(), key=lambda one: one.holds)
        most.broken()
        most.abort()

    # What its streams say.

    def send(self, number: int, data: memoryview) -> int:
        """Send as many bytes as may go out now; return how many. Raises `StreamBroken`."""
        if self._is_over:
            raise StreamBroken("the connection has ended")
        done = 0
        while done < len(data) and not self.is_full:
            sent = self.relay.send(number, data[done:])
            if not sent:
                break
            done += sent
            self._pending += sent
        if done:
            self.wake_writer()
        return done

    def taken(self, number: int, size: int) -> None:
        """Note that bytes of a stream were received by somebody."""
        self.held -= size
        self.relay.taken(number, size)
        self.wake_writer()

    def forget(self, stream: RelayedStream, *, resets: bool) -> None:
        """Note that a stream was closed here."""
        self.streams.pop(stream.number, None)
        if resets:
            self.relay.reset(stream.number)
        self.relay.forget(stream.number)
        self.wake_writer()

    def poke(self) -> None:
        """Have the other node look for what was given to it."""
        if not self._is_over:
            self.relay.poke()
            self.wake_writer()

    def wake_writer(self) -> None:
        """Have written what is to be sent."""
        self._to_write.set()

    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            while True:
                await self._to_write.wait()
                self._to_write = trio.Event()
                while data := self.relay.to_send():
                    self._pending = 0
                    await self.stream.send_all(data)
                    self.room.unpark_all()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel()

    async def _keep_alive(self, scope: trio.CancelScope) -> None:
        while True:
            await trio.sleep(KEEP_ALIVE / 2)
            silent = trio.current_time() - self._heard_at
            if silent > 2 * KEEP_ALIVE:
                scope.cancel()
            elif silent > KEEP_ALIVE:
                self.relay.ping()
                self.wake_writer()
