"""How long the edge waits for a client, with a virtual clock and streams in memory."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked
from wsproto.frame_protocol import FrameProtocol, Opcode

from squire_gatherings import Hall, ServerSettings, open_hall, serve_stream
from squire_gatherings._hall.store import Outcome
from squire_gatherings._server.pinging import keep_alive
from squire_gatherings._server.serving import Serving
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import StoreUnavailable, Unauthorized
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.log import Append
from tests.server.test_hostile import request
from tests.ways_in.streams import (
    HYPERCORN,
    OURS,
    StreamWay,
    over_every_way,
    over_every_way_but,
)

HYPERCORN_CLOSES_AT_ONCE = "hypercorn waits for no close frame after its own"
HYPERCORN_SHIELDS = "hypercorn shields its writing: the connection of who reads nothing stays open"

Stream = trio.StapledStream[Any, Any]


@define
class Client:
    """A client that does nothing by itself, on a stream in memory."""

    stream: Stream
    _framer: FrameProtocol = field(factory=lambda: FrameProtocol(client=True, extensions=[]))

    async def say(self, **message: Any) -> None:
        await self.stream.send_all(bytes(self._framer.send_data(json.dumps(message))))

    async def answer(self, frame: bytes) -> None:
        await self.stream.send_all(frame)

    async def next(self) -> tuple[Opcode, Any]:
        while True:
            for frame in self._framer.received_frames():
                return frame.opcode, frame.payload
            data = bytes(await self.stream.receive_some())
            assert data, "the stream has ended"
            self._framer.receive_bytes(data)

    async def hear(self) -> dict[str, Any]:
        opcode, payload = await self.next()
        assert opcode is Opcode.TEXT
        message: dict[str, Any] = json.loads(payload)
        return message

    async def next_message(self) -> dict[str, Any]:
        """Return what comes after pings."""
        while True:
            opcode, payload = await self.next()
            if opcode is not Opcode.PING:
                assert opcode is Opcode.TEXT
                message: dict[str, Any] = json.loads(payload)
                return message

    async def pong(self, payload: bytes) -> None:
        await self.answer(bytes(self._framer.pong(payload)))

    async def close(self, code: int) -> None:
        await self.answer(bytes(self._framer.close(code)))


@asynccontextmanager
async def a_client(
    hall: Hall,
    settings: ServerSettings | None = None,
    rest: bytes = b"",
    pair: tuple[Stream, Stream] | None = None,
    way: StreamWay = OURS,
) -> AsyncIterator[tuple[Client, Serving, trio.Event]]:
    """Give a client after its handshake, its server, and an event for the end of serving."""
    server = Serving((), ())
    served = trio.Event()
    ours, theirs = pair or memory_stream_pair()

    async def run() -> None:
        await way.serve(hall, ours, settings, None, server)
        served.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await theirs.send_all(request() + rest)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await theirs.receive_some(1)
        yield Client(theirs), server, served
        nursery.cancel_scope.cancel()


@over_every_way_but(HYPERCORN, HYPERCORN_CLOSES_AT_ONCE)
async def test_a_client_that_never_joins_is_closed(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with open_hall() as hall, a_client(hall, way=way) as (client, _, served):
        start = trio.current_time()
        assert (await client.hear())["code"] == "join_first"
        assert trio.current_time() == start + 10
        assert await client.next() == (Opcode.CLOSE, (1002, "no join came in time"))
        # It doesn't answer: the stream is closed after `close_timeout`.
        await served.wait()
        assert trio.current_time() == start + 15
        assert hall.gatherings() == ()


@over_every_way
async def test_an_answered_close_ends_at_once(way: StreamWay, autojump_clock: MockClock) -> None:
    async with open_hall() as hall, a_client(hall, way=way) as (client, _, served):
        await client.say(type="leave")
        await client.hear()
        assert (await client.next())[0] is Opcode.CLOSE
        start = trio.current_time()
        await client.close(1000)
        await served.wait()
        assert trio.current_time() == start


@over_every_way
async def test_a_client_that_closes_is_answered(way: StreamWay, autojump_clock: MockClock) -> None:
    async with open_hall() as hall, a_client(hall, way=way) as (client, _, served):
        await client.say(type="join")
        await client.hear()
        await client.close(4321)
        await served.wait()
        assert await client.next() == (Opcode.CLOSE, (4321, ""))
        assert hall.snapshot().clients == 0


class Stuck(MemoryStore):
    """A store whose appends wait for `go`."""

    go: trio.Event

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        if not self.go.is_set():
            raise trio.WouldBlock
        return super().append_nowait(append, ended)

    async def append(self, append: Append) -> None:
        await self.go.wait()
        await super().append(append)


async def test_a_client_that_the_gathering_holds_up_is_not_dropped(
    autojump_clock: MockClock,
) -> None:
    """While a client's messages wait, its pongs aren't read, but it doesn't count as dead."""
    store = Stuck()
    store.go = trio.Event()
    async with (
        open_hall(store=store, inbox_limit=1) as hall,
        a_client(hall) as (client, server, served),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(keep_alive, server, 20.0)
        await client.say(type="join")
        await client.hear()
        for number in range(1, 6):
            await client.say(type="sync", id=str(number), base=0, ops=[{}])
        await trio.sleep(200)
        assert not served.is_set()
        # The server pings it, so that proxies on the way don't close the connection.
        for _ in range(200 // 25):
            assert (await client.next())[0] is Opcode.PING
        store.go.set()
        for number in range(1, 6):
            answer = await client.next_message()
            assert answer == {"type": "synced", "id": str(number), "seqs": [number]}
        # Now the server reads it again, so it must answer pings.
        start = trio.current_time()
        assert (await client.next())[0] is Opcode.PING
        await client.pong(b"")
        assert (await client.next())[0] is Opcode.PING
        await served.wait()
        assert 60 < trio.current_time() - start <= 100
        nursery.cancel_scope.cancel()


async def no_entry(token: str | None, gathering_id: str) -> Identity:
    raise Unauthorized("no entry")


async def a_bug(token: str | None, gathering_id: str) -> Identity:
    raise ZeroDivisionError


async def store_is_gone(token: str | None, gathering_id: str) -> Identity:
    raise StoreUnavailable("the disk is full")


@over_every_way
@pytest.mark.parametrize(
    ("authenticate", "error", "close_code"),
    [(no_entry, "unauthorized", 4003), (store_is_gone, "store_unavailable", 1013)],
)
async def test_a_join_that_fails_closes_with_its_code(
    authenticate: Any, error: str, close_code: int, way: StreamWay, autojump_clock: MockClock
) -> None:
    async with (
        open_hall(authenticate=authenticate) as hall,
        a_client(hall, way=way) as (client, _, _),
    ):
        await client.say(type="join")
        assert (await client.hear())["code"] == error
        opcode, payload = await client.next()
        assert (opcode, payload[0]) == (Opcode.CLOSE, close_code)


@over_every_way
async def test_a_join_in_a_closed_hall_is_refused(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with open_hall() as hall:
        await hall.close()
        async with a_client(hall, way=way) as (client, _, _):
            await client.say(type="join")
            assert (await client.hear())["code"] == "hall_closed"
            assert (await client.next())[1][0] == 1001


async def test_an_unexpected_error_ends_one_connection() -> None:
    async with open_hall(authenticate=a_bug) as hall:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(
            request() + bytes(Client(theirs)._framer.send_data('{"type":"join"}'))
        )
        with pytest.RaisesGroup(ZeroDivisionError):
            await serve_stream(hall, ours)


async def test_what_comes_with_the_request_is_not_lost() -> None:
    framer = FrameProtocol(client=True, extensions=[])
    texts = ('{"type":"join"}', '{"type":"fetch","id":"1"}', '{"type":"fet')
    rest = b"".join(bytes(framer.send_data(text, fin=text.endswith("}"))) for text in texts)
    async with open_hall() as hall, a_client(hall, rest=rest[:-3]) as (client, _, _):
        assert (await client.hear())["type"] == "joined"
        assert (await client.hear())["type"] == "fetched"
        await client.answer(rest[-3:])
        await client.answer(bytes(framer.send_data('ch","id":"2"}')))
        assert (await client.hear())["id"] == "2"


@over_every_way
async def test_the_size_limit_is_in_bytes(way: StreamWay, autojump_clock: MockClock) -> None:
    settings = ServerSettings(max_message_size=40)
    async with open_hall() as hall, a_client(hall, settings, way=way) as (client, _, _):
        framer = FrameProtocol(client=True, extensions=[])
        # Any number of empty fragments costs nothing; the text's 23 characters are over 40 bytes.
        for _ in range(1000):
            await client.answer(bytes(framer.send_data("", fin=False)))
        await client.answer(bytes(framer.send_data('{"type":"join"}', fin=True)))
        assert (await client.hear())["type"] == "joined"
        await client.answer(bytes(framer.send_data("ü" * 20)))
        assert (await client.hear())["code"] == "bad_message"
        await client.answer(bytes(framer.send_data("ü" * 20 + "x")))
        assert (await client.hear())["code"] == "too_big"
        assert (await client.next())[1][0] == 1009


@over_every_way_but(HYPERCORN, HYPERCORN_SHIELDS)
@pytest.mark.parametrize("reads_again", [True, False])
async def test_too_slow_a_reader_is_closed(
    reads_again: bool, way: StreamWay, autojump_clock: MockClock
) -> None:
    """Writing to this stream always waits, as with TLS."""
    settings = ServerSettings(max_backlog=10_000)
    pair = lockstep_stream_pair()
    async with (
        open_hall() as hall,
        a_client(hall, settings, pair=pair, way=way) as (client, _, served),
    ):
        await client.say(type="join")
        await client.hear()
        start = trio.current_time()
        for _ in range(10):
            await hall.submit("room", [{"pad": "x" * 4000}])
            await wait_all_tasks_blocked()
        assert trio.current_time() == start
        if reads_again:
            # One frame was under way; the close frame replaced the others.
            assert (await client.hear())["seq"] == 1
            assert await client.next() == (Opcode.CLOSE, (4008, "too slow a reader"))
            await client.close(4008)
        await served.wait()
        assert trio.current_time() == start + (0 if reads_again else 5)
        assert hall.snapshot().clients == 0


@over_every_way_but(HYPERCORN, HYPERCORN_SHIELDS)
async def test_a_client_that_reads_nothing_delays_a_dispersal_by_close_timeout_at_most(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    """The server cuts off a client that reads nothing, which delays the dispersal no more."""
    pair = lockstep_stream_pair()
    async with (
        open_hall(close_grace=60.0) as hall,
        a_client(hall, pair=pair, way=way) as (client, _, served),
    ):
        await client.say(type="join")
        await client.hear()
        start = trio.current_time()
        await hall.disperse("room")
        assert trio.current_time() == start + 5
        await served.wait()


async def test_what_comes_after_too_big_a_message_is_not_processed(
    autojump_clock: MockClock,
) -> None:
    async with open_hall() as hall, a_client(hall) as (client, _, served):
        await client.say(type="join")
        await client.hear()
        await client.say(type="sync", id="x" * 300_000, base=0, ops=[{}])
        await client.say(type="sync", id="1", base=0, ops=[{}])
        await client.close(1000)
        assert (await client.hear())["code"] == "too_big"
        assert (await client.next())[1][0] == 1009
        await served.wait()
        assert (await hall.fetch("room")).seq == 0


async def test_a_bug_is_told_though_the_client_takes_nothing(autojump_clock: MockClock) -> None:
    """The time for telling the error passes: the client ends, and the error stays."""

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        raise ZeroDivisionError("a bug")

    async with open_hall(store=MemoryStore(), authenticate=authenticate) as hall:
        with pytest.RaisesGroup(ZeroDivisionError, allow_unwrapped=True, flatten_subgroups=True):
            async with a_client(hall, pair=lockstep_stream_pair()) as (client, _, served):
                await client.say(type="join")
                await served.wait()
