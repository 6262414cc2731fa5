"""One client delays nobody else: the work of a turn, and what is kept in memory, are bounded."""

from collections.abc import Sequence
from typing import Any

import trio
from attrs import define
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import Outcome
from squire_gatherings._hall.restoring import FOLDED_AT_ONCE
from squire_gatherings._hall.turns import TURN_COST
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import LogBehaviour, Stamp
from squire_gatherings._rules.op_log import OP_OVERHEAD
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.log import Restored
from squire_gatherings._values.messages import Ack, ClientMessage, Fetch, Sync, Synced
from squire_gatherings._values.op import Op
from squire_gatherings.testing import FailingStore
from tests.support import Recorder

ROOM = "friday-night"


class Counting(LogBehaviour):
    """Counts the most ops that were folded without a turn for others."""

    folded = 0
    most = 0

    def fold(self, op: Op, stamp: Stamp) -> None:
        super().fold(op, stamp)
        Counting.folded += 1
        Counting.most = max(Counting.most, Counting.folded)

    @classmethod
    def reset(cls) -> None:
        Counting.folded = Counting.most = 0


async def take_turns(bystander: trio.CancelScope) -> None:
    """Take turns as other tasks do; each turn of ours ends one of the gathering's."""
    with bystander:
        while True:
            Counting.folded = 0
            await trio.lowlevel.checkpoint()


def tiny(name: str, count: int) -> Sync:
    return Sync(name, 0, tuple(Op(b"{}") for _ in range(count)))


async def test_a_turn_counts_ops(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), behaviour=Counting) as hall:
        membership = await hall.join(ROOM, Recorder())
        for number in range(50):
            await membership.deliver(tiny(f"warm{number}", 1))
        await wait_all_tasks_blocked()
        Counting.reset()
        async with trio.open_nursery() as nursery:
            bystander = trio.CancelScope()
            nursery.start_soon(take_turns, bystander)
            for number in range(50):
                await membership.deliver(tiny(f"s{number}", 1000))
            while hall.snapshot().gatherings[0].seq < 50_050:
                await trio.lowlevel.checkpoint()
            bystander.cancel()
        # The budget allows this much, and one message may exceed it; two turns of the gathering may
        # follow each other.
        assert 1000 <= Counting.most <= 2 * (TURN_COST // 100 + 1000)


async def test_a_restore_takes_turns(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with open_hall(store=store, snapshot_every=10**6) as hall:
        for _ in range(20):
            await hall.submit(ROOM, [{}] * 1000)
    async with open_hall(store=store, behaviour=Counting) as hall:
        Counting.reset()
        async with trio.open_nursery() as nursery:
            bystander = trio.CancelScope()
            nursery.start_soon(take_turns, bystander)
            await hall.open(ROOM)
            bystander.cancel()
        # Two of our turns may follow each other, in whichever order Trio runs its tasks.
        assert Counting.most <= 2 * FOLDED_AT_ONCE + 1


async def test_a_restore_is_small_however_large_the_ops(autojump_clock: MockClock) -> None:
    class Watching(MemoryStore):
        async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
            restored = await super().load(gathering, recent_syncs=recent_syncs)
            sizes.append(sum(len(one.json) for one in restored.ops))
            return restored

    sizes: list[int] = []
    store = Watching()
    for _ in range(5):
        async with open_hall(store=store, snapshot_bytes=10**6) as hall:
            for _ in range(30):
                await hall.submit(ROOM, [{"pad": "x" * 200_000}])
    assert len(sizes) == 5
    assert max(sizes) <= 10**6 + 200_100


async def test_the_tail_counts_what_it_takes_in_memory(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=100_000) as hall:
        for _ in range(10):
            await hall.submit(ROOM, [{}] * 1000)
        log = hall._registry.living[ROOM].room.log
        assert log.seq - log.tail_start + 1 <= 100_000 // OP_OVERHEAD


@define(eq=False, slots=False)
class Slow(FailingStore):
    """A store whose appends and reads take time, which counts the reads under way."""

    under_way: int = 0
    most_at_once: int = 0

    def __attrs_post_init__(self) -> None:
        self.trouble("append", "waits", seconds=1.0)
        self.trouble("read", "slow", seconds=1.0)

    def began(self, method: str, gathering: str) -> None:
        self.under_way += method == "read"
        self.most_at_once = max(self.most_at_once, self.under_way)

    def ended(self, method: str, gathering: str, outcome: Outcome) -> None:
        self.under_way -= method == "read"


async def deliver_all(membership: Any, messages: Sequence[Any], done: list[int]) -> None:
    for message in messages:
        await membership.deliver(message)
        done.append(1)


async def test_the_cost_of_a_clients_unprocessed_messages_is_bounded(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=Slow(), inbox_bytes=300_000) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        done: list[int] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                deliver_all, membership, [tiny(f"s{n}", 1000) for n in range(20)], done
            )
            await wait_all_tasks_blocked()
            # One or two syncs are being committed. Of the others, the first is always taken, and
            # three more cost as much as may wait.
            assert len(done) in (1 + 4, 2 + 4)
        # The client has filled a turn, so others come first; in the end all is processed.
        await recorder.wait_for(Synced, 20)
        assert (await hall.fetch(ROOM)).seq == 20_000


async def test_a_fetch_counts_until_it_is_answered(autojump_clock: MockClock) -> None:
    store = Slow()
    async with open_hall(store=store, tail_bytes=1, inbox_limit=64) as hall:
        await hall.submit(ROOM, [{}])
        await hall.submit(ROOM, [{}])
        store.most_at_once = 0
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, since=2)
        done: list[int] = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    deliver_all, membership, [Fetch(f"f{n}", 0) for n in range(10_000)], done
                )
                await wait_all_tasks_blocked()
                assert len(done) == 64
                await trio.sleep(10)
                assert 64 < len(done) <= 64 + 44
                assert store.most_at_once == 4
                scope.cancel()


async def test_tiny_ops_cost_no_more_memory_than_large_ones(autojump_clock: MockClock) -> None:
    """The tail that 20 syncs of a thousand empty ops leave is as large as any."""
    async with open_hall(store=MemoryStore()) as hall:
        for _ in range(20):
            await hall.submit(ROOM, [{}] * 1000)
        log = hall._registry.living[ROOM].room.log
        assert log.seq - log.tail_start + 1 <= 256 * 1024 // OP_OVERHEAD


async def test_a_client_that_fills_a_turn_comes_after_others(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), inbox_bytes=10**9) as hall:
        heavy, light = Recorder(), Recorder()
        much = await hall.join(ROOM, heavy)
        little = await hall.join(ROOM, light)
        for number in range(30):
            much.deliver_nowait(tiny(f"m{number}", 1000))
        for number in range(5):
            little.deliver_nowait(tiny(f"l{number}", 1))
        await heavy.wait_for(Synced, 30)
        mine = [message.seqs[0] for message in light.of(Synced)]
        others = [message.seqs[0] for message in heavy.of(Synced)]
        # Each client's own syncs stay in order, and a client that says little waits for one turn.
        assert mine == sorted(mine)
        assert others == sorted(others)
        assert max(mine) < others[len(others) // 2]


class Wasteful(Recorder):
    """A connection that adds up the cost of its client's useless messages."""

    cost = 0

    def wasted(self, cost: int) -> None:
        self.cost += cost


async def test_messages_that_come_to_nothing_are_counted(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        connection = Wasteful()
        membership = await hall.join(ROOM, connection)

        async def cost_of(*messages: ClientMessage) -> int:
            before = connection.cost
            for message in messages:
                await membership.deliver(message)
            await wait_all_tasks_blocked()
            return connection.cost - before

        sync = tiny("s", 100)
        assert await cost_of(sync) == 0
        assert await cost_of(Ack(100)) == 0
        assert await cost_of(Fetch("f", 0)) == 0
        # A repeated sync, an acknowledgement of acknowledged ops, and a wrong request.
        assert await cost_of(sync) > 1
        assert await cost_of(Ack(100), Ack(50)) == 2
        assert await cost_of(Sync("t", 10**6, sync.ops)) > 1
        assert await cost_of(Fetch("g", 10**6)) > 1


class Asked(MemoryStore):
    """Counts how often it's asked about syncs."""

    asked = 0

    async def find_syncs(self, gathering: str, keys: Any) -> Any:
        self.asked += 1
        return await super().find_syncs(gathering, keys)


async def test_a_repeated_old_sync_is_looked_up_once(autojump_clock: MockClock) -> None:
    store = Asked()
    async with open_hall(store=store, recent_syncs=1) as hall:
        for number in range(5):
            membership = await hall.join(ROOM, Recorder(), client="c" * 16)
            await membership.deliver(tiny(f"s{number}", 1))
            await wait_all_tasks_blocked()
        await hall.disperse(ROOM)
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, client="c" * 16)
        for _ in range(50):
            membership.deliver_nowait(tiny("s0", 1))
        synced = await recorder.wait_for(Synced, 50)
        assert {message.seqs for message in synced} == {(1,)}
        assert store.asked <= 2
