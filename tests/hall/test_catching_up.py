"""Catching up from the store: own ops left out, answers in order, no client wrongly given up."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.log import LoggedOp
from squire_gatherings._values.messages import (
    Ack,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Joined,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from tests.support import Recorder

ROOM = "friday-night"


class Gated(Recorder):
    """A connection whose flush waits until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()

    async def flush(self) -> None:
        await self.gate.wait()

    def open(self) -> None:
        self.gate.set()

    def told(self) -> list[int]:
        """Every seq that it was told of, in that order."""
        seqs: list[int] = []
        for _, message in self.received:
            if isinstance(message, Joined):
                assert isinstance(message.ops, tuple)
                seqs.extend(range(1, len(message.ops) + 1))
            elif isinstance(message, Forward):
                seqs.append(message.seq)
            elif isinstance(message, ForwardBatch):
                seqs.extend(range(message.seq, message.seq + len(message.ops)))
            elif isinstance(message, Synced):
                seqs.extend(message.seqs)
        return seqs


def sync(name: str, count: int = 1) -> Sync:
    return Sync(name, 0, tuple(Op.of({"by": name, "n": n}) for n in range(count)))


async def fill(hall: Hall, count: int) -> None:
    for number in range(count):
        await hall.submit(ROOM, [{"n": number, "pad": "x" * 50}])


async def test_own_ops_while_the_last_page_goes_out_are_answered_and_not_forwarded(
    autojump_clock: MockClock,
) -> None:
    """Own ops aren't forwarded, the answer comes after all before it, and all is acknowledged."""
    async with open_hall(store=MemoryStore(), tail_bytes=100, batch_bytes=4000) as hall:
        await fill(hall, 100)
        reader = Gated()
        membership = await hall.join(ROOM, reader, since=0)
        await wait_all_tasks_blocked()
        membership.deliver_nowait(sync("own", 3))
        await wait_all_tasks_blocked()
        reader.open()
        await wait_all_tasks_blocked()
        assert reader.told() == list(range(1, 104))
        assert reader.of(Synced) == [Synced("own", (101, 102, 103))]
        membership.deliver_nowait(Ack(103))
        await hall.submit(ROOM, [{"n": 104}])
        membership.deliver_nowait(Ack(104))
        await trio.sleep(60)
        assert not reader.closed
        assert reader.told() == list(range(1, 105))


async def test_own_ops_between_those_of_others_are_not_forwarded_while_it_catches_up(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=100, batch_bytes=1500) as hall:
        await fill(hall, 100)
        reader = Gated()
        membership = await hall.join(ROOM, reader, since=0)
        await wait_all_tasks_blocked()
        for number in range(10):
            membership.deliver_nowait(sync(f"own{number}", number + 1))
            await wait_all_tasks_blocked()
            await fill(hall, 5)
        reader.open()
        await wait_all_tasks_blocked()
        last = 100 + 55 + 50
        assert reader.told() == list(range(1, last + 1))
        assert len(reader.of(Synced)) == 10
        forwarded = [op for *_, op in reader.forwards()]
        assert not [op for op in forwarded if "by" in op]
        membership.deliver_nowait(Ack(last))
        await trio.sleep(60)
        assert not reader.closed
        assert hall.snapshot().gatherings[0].unacked == 0


async def test_a_repeated_sync_is_answered_at_once_and_its_ops_come_as_ops(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=100, batch_bytes=1500) as hall:
        earlier = await hall.join(ROOM, Recorder(), client="c")
        await fill(hall, 50)
        earlier.deliver_nowait(sync("old"))
        await wait_all_tasks_blocked()
        await fill(hall, 50)
        reader = Gated()
        membership = await hall.join(ROOM, reader, since=0, client="c")
        await wait_all_tasks_blocked()
        membership.deliver_nowait(sync("old"))
        membership.deliver_nowait(sync("old"))
        await wait_all_tasks_blocked()
        reader.open()
        await wait_all_tasks_blocked()
        # Each request gets its answer.
        assert reader.of(Synced) == [Synced("old", (51,))] * 2
        assert [one for one in reader.told() if one != 51] == [*range(1, 51), *range(52, 102)]
        assert reader.told().count(51) == 3


async def test_held_answers_count_as_unanswered(autojump_clock: MockClock) -> None:
    async with open_hall(
        store=MemoryStore(), tail_bytes=100, batch_bytes=1500, inbox_limit=3
    ) as hall:
        await fill(hall, 100)
        reader = Gated()
        membership = await hall.join(ROOM, reader, since=0)
        await wait_all_tasks_blocked()
        for number in range(3):
            membership.deliver_nowait(sync(f"own{number}"))
            await wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            membership.deliver_nowait(sync("own3"))
        reader.open()
        await membership.deliver(sync("own3"))
        await wait_all_tasks_blocked()
        assert [one.id for one in reader.of(Synced)] == [f"own{n}" for n in range(4)]
        assert reader.told() == list(range(1, 105))
        membership.detach()


async def test_a_client_that_fetched_ahead_of_its_pages_and_said_so_stays(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=100, batch_bytes=3000) as hall:
        await fill(hall, 100)
        reader = Gated()
        membership = await hall.join(ROOM, reader, since=0)
        await wait_all_tasks_blocked()
        has = 0
        while has < 100:
            membership.deliver_nowait(Fetch("f", has))
            await wait_all_tasks_blocked()
            ops = reader.of(Fetched)[-1].ops
            assert isinstance(ops, tuple)
            has += len(ops)
        membership.deliver_nowait(Ack(100))
        await wait_all_tasks_blocked()
        reader.open()
        await trio.sleep(60)
        assert not reader.closed
        assert hall.snapshot().clients == 1
        await hall.submit(ROOM, [{"n": 100}])
        start = trio.current_time()
        await reader.wait_closed()
        assert trio.current_time() == start + 10


class Slow(MemoryStore):
    """A store that takes its time to read, once it's told to."""

    delay = 0.0

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        await trio.sleep(self.delay)
        return await super().read(gathering, after=after, up_to=up_to, max_bytes=max_bytes)


async def test_time_that_the_store_takes_is_not_held_against_anybody(
    autojump_clock: MockClock,
) -> None:
    store = Slow()
    async with open_hall(store=store, tail_bytes=100, batch_bytes=3000, inbox_limit=2) as hall:
        await fill(hall, 100)
        reader = Recorder()
        membership = await hall.join(ROOM, reader, since=0)
        store.delay = 15.0
        await trio.sleep(16)
        assert reader.forwards()
        # Its acknowledgement waits behind answers that wait for the store.
        membership.deliver_nowait(sync("a"))
        membership.deliver_nowait(sync("b"))
        await wait_all_tasks_blocked()
        await membership.deliver(Ack(20))
        await trio.sleep(1)
        assert not reader.closed
        membership.detach()
