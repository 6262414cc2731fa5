"""An embedder's connection that raises, or returns nonsense, is lost; nothing else is."""

import logging
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.connection import Connection
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import Ack, Dispersed, Fetch, Sync
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from tests.support import Recorder

ROOM = "friday-night"


class Boom(Exception):
    """The error of a bad connection."""


class Bad(Connection):
    """A connection some of whose methods raise, and others return nonsense."""

    def __init__(self, raising: set[str], returning: dict[str, Any]) -> None:
        self.raising = raising
        self.returning = returning
        self.called: list[str] = []

    def _called(self, what: str, value: Any = None) -> Any:
        self.called.append(what)
        if what in self.raising:
            raise Boom(what)
        return self.returning.get(what, value)

    def send(self, outgoing: Outgoing) -> None:
        self._called("send")

    def send_soon(self, outgoing: Outgoing) -> None:
        self._called("send_soon")

    def close(self, code: CloseCode, reason: str) -> None:
        self._called("close")

    @property
    def backlog(self) -> int:
        return cast(int, self._called("backlog", 1))

    @property
    def in_transit(self) -> int:
        return cast(int, self._called("in_transit", 1))

    @property
    def progress(self) -> int:
        return cast(int, self._called("progress", 0))

    def read_arrived(self) -> None:
        self._called("read_arrived")

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()
        self._called("flush")

    def abort(self) -> None:
        self._called("abort")


EVERYTHING = (
    "send",
    "send_soon",
    "close",
    "backlog",
    "in_transit",
    "progress",
    "read_arrived",
    "flush",
    "abort",
)
RAISING: list[set[str]] = [{what} for what in EVERYTHING]
RETURNING = [
    {what: value} for what in ("backlog", "in_transit", "progress") for value in (None, "x", 1.5)
]
CASES: list[tuple[set[str], dict[str, Any]]] = [
    *((raising, {}) for raising in RAISING),
    *(({*raising, "abort"}, {}) for raising in RAISING),
    *((set[str](), returning) for returning in RETURNING),
    (set(EVERYTHING), {}),
]


@pytest.mark.parametrize(("raising", "returning"), CASES)
async def test_a_bad_connection_takes_nobody_along(
    raising: set[str],
    returning: dict[str, Any],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    async with open_hall(store=MemoryStore(), tail_bytes=200, batch_bytes=100) as hall:
        for number in range(20):
            await hall.submit(ROOM, [{"n": number}])
        good, bad = Recorder(), Bad(raising, returning)
        polite = await hall.join(ROOM, good, since=20)
        membership = await hall.join(ROOM, bad, since=0)
        await membership.deliver(Fetch("f", 19))
        await hall.submit(ROOM, [{"n": 20}])
        polite.deliver_nowait(Ack(21))
        await membership.deliver(Sync("s", 0, (Op.of({"n": 21}),)))
        await wait_all_tasks_blocked()
        seqs = [seq for _, seq, _, _ in good.forwards()]
        # A connection that was lost before can't submit any more.
        assert seqs in ([21], [21, 22])
        polite.deliver_nowait(Ack(seqs[-1]))
        await trio.sleep(60)
        assert not good.closed
        assert len(good.forwards()) == len(seqs)
        # Whether it was lost or given up, nothing of it is left.
        assert hall.snapshot().clients == 1
        assert hall.gatherings() == (ROOM,)
        # A connection that is bad at the end only, and one that was lost.
        await hall.join(ROOM, Bad(raising, returning), since=seqs[-1])
        await hall.disperse(ROOM)
        assert good.of(Dispersed)
        assert good.closed
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) <= 2, "each is logged once"
    assert "crashed" not in caplog.text


async def test_a_connection_that_failed_is_aborted_and_asked_nothing_more(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        bad = Bad({"send"}, {})
        await hall.join(ROOM, bad)
        for number in range(3):
            await hall.submit(ROOM, [{"n": number}])
        assert bad.called == ["send_soon", "send", "abort"]
        assert hall.snapshot().clients == 0


async def test_the_last_connection_to_fail_leaves_the_gathering_empty(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), empty_timeout=5.0) as hall:
        await hall.join(ROOM, Bad({"send"}, {}))
        await hall.submit(ROOM, [{"n": 1}])
        await trio.sleep(5.1)
        assert hall.gatherings() == ()


async def test_an_error_that_is_no_exception_goes_on(autojump_clock: MockClock) -> None:
    class Interrupted(Recorder):
        def send(self, outgoing: Outgoing) -> None:
            raise KeyboardInterrupt

    async def live() -> None:
        async with open_hall(store=MemoryStore()) as hall:
            await hall.join(ROOM, Interrupted())
            await hall.submit(ROOM, [{"n": 1}])

    with pytest.raises(BaseExceptionGroup) as caught:
        await live()
    assert caught.group_contains(KeyboardInterrupt)


async def test_a_flush_may_end_in_a_group_with_a_cancellation(
    autojump_clock: MockClock,
) -> None:
    """A cancellation stays one; all other errors in the group are the connection's fault."""

    class Grouped(Recorder):
        @property
        def backlog(self) -> int:
            return 1

        async def flush(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._fail_at_the_end)
                await trio.sleep_forever()

        async def _fail_at_the_end(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Boom("flush")

    async with open_hall(store=MemoryStore()) as hall:
        await hall.join(ROOM, Grouped())
        good = Recorder()
        await hall.join("other", good)
        await hall.disperse(ROOM)
        assert hall.gatherings() == ("other",)


async def test_a_detached_client_leaves_no_task_behind(autojump_clock: MockClock) -> None:
    """The flush never returns, so a task that waits in it must be ended."""
    async with open_hall(store=MemoryStore(), tail_bytes=200, batch_bytes=100) as hall:
        for number in range(20):
            await hall.submit(ROOM, [{"n": number}])
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        stuck = Recorder(stuck=True)
        membership = await hall.join(ROOM, stuck, since=0)
        await wait_all_tasks_blocked()
        membership.detach()
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == before
