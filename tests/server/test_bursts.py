"""Many gatherings that end at once: all clients are told first, then connections are taken down."""

from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair
from wsproto.frame_protocol import Opcode

from squire_gatherings import CloseCode, Hall, ServerSettings, open_hall, serve, serve_stream
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._hall.turnstile import AT_ONCE
from squire_gatherings._server.serving import Serving
from tests.server.test_hostile import request
from tests.server.test_turns import frame, hear_of
from tests.support import Recorder

MANY = 20 * AT_ONCE
CLOSE = frame(b"\x0f\xa1", Opcode.CLOSE)


class Counted(Recorder):
    """A client in memory that counts among those that were told."""

    def __init__(self, crowd: "Crowd") -> None:
        super().__init__()
        self.crowd = crowd

    def close(self, code: CloseCode, reason: str) -> None:
        super().close(code, reason)
        self.crowd.told += 1
        if self.crowd.told == MANY:
            self.crowd.on_last()


class Crowd:
    """Some WebSockets, and many clients in memory, in gatherings that are due at one instant."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self.server = Serving((), ())
        self.told = 0
        """How many of those in memory have been told that it ends."""
        self.on_last: Callable[[], None] = lambda: None
        """Called when all of them have."""
        self.taken_down: list[int] = []
        """For each WebSocket that is gone, how many had been told by then."""

    async def come(self, nursery: trio.Nursery, *, answers: bool) -> None:
        for number in range(4):
            ours, theirs = memory_stream_pair()
            nursery.start_soon(self._serve, ours)
            said = request().replace(b"/gatherings/room", b"/gatherings/first-%d" % number)
            await theirs.send_all(said + frame('{"type":"join"}'))
            await hear_of(theirs, b"joined")
            nursery.start_soon(self._listen, theirs, answers)
        # All within one instant of the clock: these come after the others.
        for number in range(MANY):
            await self.hall.join(f"room-{number}", Counted(self))

    async def _serve(self, stream: trio.abc.Stream) -> None:
        await serve_stream(self.hall, stream, server=self.server)
        self.taken_down.append(self.told)

    async def _listen(self, stream: trio.abc.Stream, answers: bool) -> None:
        await hear_of(stream, b"\x88\x06\x0f\xa1idle")
        # At once, whoever else is still to be told.
        assert self.told < MANY
        if answers:
            await stream.send_all(CLOSE)
        else:
            await stream.aclose()


@pytest.mark.parametrize("answers", [True, False], ids=["by a close frame", "by hanging up"])
async def test_all_are_told_before_the_first_is_taken_down(
    answers: bool, autojump_clock: MockClock
) -> None:
    async with open_hall(idle_timeout=10.0) as hall:
        crowd = Crowd(hall)
        async with trio.open_nursery() as nursery:
            await crowd.come(nursery, answers=answers)
        # Those of the last pass were nobody's to wait for.
        assert len(crowd.taken_down) == 4
        assert min(crowd.taken_down) >= MANY - 2 * AT_ONCE
        assert crowd.server.connections == 0


async def test_nobody_who_answers_is_read_before_all_are_told(mock_clock: MockClock) -> None:
    """By real sockets, which one task reads; each answer costs as much as a notice."""
    async with open_hall(idle_timeout=10.0) as hall, trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        crowd, clients = Crowd(hall), []
        for number in range(4):
            client = await trio.open_tcp_stream(*server.addresses[0])
            said = request().replace(b"/gatherings/room", b"/gatherings/first-%d" % number)
            await client.send_all(said + frame('{"type":"join"}'))
            await hear_of(client, b"joined")
            clients.append(client)
        for number in range(MANY):
            await hall.join(f"room-{number}", Counted(crowd))
        closes = quotas_of(hall).tally.closes
        closed: list[int] = []
        crowd.on_last = lambda: closed.append(closes.total())
        mock_clock.jump(10.0)

        async def answer(client: trio.SocketStream) -> None:
            await hear_of(client, b"\x88\x06\x0f\xa1idle")
            assert crowd.told < MANY
            await client.send_all(CLOSE)
            # The server closes when it has read that.
            assert await client.receive_some() == b""
            await client.aclose()

        async with trio.open_nursery() as answers:
            for client in clients:
                answers.start_soon(answer, client)
        assert closed == [0]
        assert closes[CloseCode.DISPERSED] == 4
        nursery.cancel_scope.cancel()


async def test_one_that_does_not_answer_in_time_is_taken_down_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(idle_timeout=10.0) as hall:
        settings = ServerSettings(close_timeout=3.0)
        ours, theirs = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_stream, hall, ours, settings)
            await theirs.send_all(request() + frame('{"type":"join"}'))
            await hear_of(theirs, b"joined")
            ended_at = hall.explain("room").deadline
        assert trio.current_time() == pytest.approx(ended_at + 3, abs=1e-6)
