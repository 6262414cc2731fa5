"""Delivery: to everybody but the author, again until acknowledged, given up in the end."""

import time
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
import trio
from msgspec import UNSET
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.forwards import BLOCK, CROWD, WEIGHT, forward_of
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.terms import Terms
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import OpConflict, OpRejected
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.log import LoggedOp, SyncRecord
from squire_gatherings._values.messages import (
    Ack,
    Conflict,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Joined,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.settings import HallSettings
from squire_gatherings._wire.codecs import JSON
from tests.support import Recorder, Strict, Sum

ROOM = "friday-night"


def sync(name: str, base: int = 0, size: int = 0) -> Sync:
    return Sync(name, base, (Op.of({"n": name, "pad": "x" * size}),))


async def test_a_forward_is_sent_again_until_it_is_acknowledged(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        reader = Recorder()
        membership = await hall.join(ROOM, reader)
        await hall.submit(ROOM, [{"n": 1}], identity=Identity("alice"))
        start = trio.current_time()
        await trio.sleep(0.249)
        assert reader.forwards() == [(start, 1, "alice", {"n": 1})]
        await trio.sleep(0.001)
        await wait_all_tasks_blocked()
        again = (start + 0.25, 1, "alice", {"n": 1})
        assert reader.forwards()[1:] == [again]
        membership.deliver_nowait(Ack(1))
        await trio.sleep(100)
        assert len(reader.forwards()) == 2
        assert not reader.closed
        assert hall.snapshot().gatherings[0].unacked == 0


async def test_a_client_without_progress_is_given_up_after_the_limit(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        mute, polite = Recorder(), Recorder()
        await hall.join(ROOM, mute)
        membership = await hall.join(ROOM, polite)
        await hall.submit(ROOM, [{"n": 1}])
        start = trio.current_time()
        membership.deliver_nowait(Ack(1))
        await trio.sleep(60)
        [(at, code, _)] = mute.closed
        assert (at, code) == (start + 10, CloseCode.UNRESPONSIVE)
        assert [at - start for at, *_ in mute.forwards()] == [0, 0.25, 0.75, 1.75, 3.75, 7.75]
        assert not polite.closed
        assert hall.snapshot().clients == 1


async def test_progress_restarts_the_clock(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        slow = Recorder()
        membership = await hall.join(ROOM, slow)
        for number in range(5):
            await hall.submit(ROOM, [{"n": number}])
        for seq in range(1, 6):
            await trio.sleep(9)
            membership.deliver_nowait(Ack(seq))
        await trio.sleep(60)
        assert not slow.closed


async def test_a_forward_that_waits_in_our_queue_is_not_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        stuck = Recorder(stuck=True)
        await hall.join(ROOM, stuck)
        await hall.submit(ROOM, [{"n": 1}])
        start = trio.current_time()
        await stuck.wait_closed()
        assert trio.current_time() == start + 10
        assert len(stuck.forwards()) == 1
        stuck.abort()


async def test_there_is_one_retry_timer_however_many_clients(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        for _ in range(100):
            await hall.join(ROOM, Recorder())
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(50):
            await hall.submit(ROOM, [{"n": number}])
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before + 1
        await trio.sleep(60)
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_the_author_gets_no_copy_and_nothing_out_of_order(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        recorders = [Recorder() for _ in range(10)]
        memberships = [await hall.join(ROOM, recorder) for recorder in recorders]
        for number, membership in enumerate(memberships):
            # All syncs come in one turn: each author lacks another part of the batch.
            membership.deliver_nowait(sync(f"s{number}"))
        await wait_all_tasks_blocked()
        for number, recorder in enumerate(recorders):
            seen: list[int] = []
            for _, message in recorder.received:
                if isinstance(message, Synced):
                    assert message.seqs == (number + 1,)
                    seen.append(number + 1)
                elif not isinstance(message, Joined):
                    assert hasattr(message, "seq")
                    seen.extend(
                        range(message.seq, message.seq + len(getattr(message, "ops", (0,))))
                    )
            assert seen == list(range(1, 11))


async def test_a_returning_client_gets_exactly_what_it_missed(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=500, batch_bytes=400) as hall:
        for number in range(100):
            await hall.submit(ROOM, [{"n": number, "pad": "x" * 50}])
        for since in (0, 1, 42, 90, 99, 100):
            back = Recorder()
            membership = await hall.join(ROOM, back, since=since)
            [joined] = back.of(Joined)
            assert joined.seq == 100
            assert isinstance(joined.ops, tuple)
            got = [op.value["n"] for op in joined.ops]
            membership.deliver_nowait(Ack(100))
            await trio.sleep(0.1)
            got += [op["n"] for _, _, _, op in back.forwards()]
            assert got == list(range(since, 100))
            assert [seq for _, seq, _, _ in back.forwards()] == list(
                range(since + len(joined.ops) + 1, 101)
            )
            assert len(joined.ops) <= 6
            membership.detach()


async def test_fetch_reads_memory_and_store(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=500) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await hall.submit(ROOM, [{"n": number, "pad": "x" * 50} for number in range(100)])
        for since in (0, 60, 99, 100):
            membership.deliver_nowait(Fetch(f"f{since}", since))
            await wait_all_tasks_blocked()
            fetched = client.of(Fetched)[-1]
            assert (fetched.id, fetched.seq) == (f"f{since}", 100)
            assert isinstance(fetched.ops, tuple)
            assert [op.value["n"] for op in fetched.ops] == list(range(since, 100))


async def test_snapshots_are_served_and_restored(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    made: list[Sum] = []

    def behaviour() -> Sum:
        made.append(Sum())
        return made[-1]

    async with open_hall(
        store=store, behaviour=behaviour, snapshot_every=10, idle_timeout=60.0
    ) as hall:
        for number in range(25):
            await hall.submit(ROOM, [{"add": number}])
        with pytest.raises(OpRejected):
            await hall.submit(ROOM, [{"add": 1}, {"add": -1000}])
        await trio.sleep(61)
        client = Recorder()
        await hall.join(ROOM, client)
        [joined] = client.of(Joined)
        assert isinstance(joined.snapshot, msgspec.Raw)
        assert bytes(joined.snapshot) == b'{"total":300}'
        assert joined.seq == 25
        # The state is restored from the snapshot after the 20th op and the five ops after it.
        assert [one.folded for one in made] == [25, 5]


async def test_a_strict_behaviour_conflicts(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), behaviour=Strict) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await hall.submit(ROOM, [{"add": 1}, {"add": 2}])
        with pytest.raises(OpConflict):
            await hall.submit(ROOM, [{"add": 3}], base=1)
        membership.deliver_nowait(Sync("late", 1, (Op.of({"add": 3}),)))
        await wait_all_tasks_blocked()
        assert client.of(Conflict) == [
            Conflict("late", 2, (Op.of({"add": 2}),), (None,), "the base is old")
        ]
        membership.deliver_nowait(Sync("late", 2, (Op.of({"add": 3}),)))
        await wait_all_tasks_blocked()
        assert client.of(Synced) == [Synced("late", (3,))]


async def test_a_newer_connection_of_the_client_replaces_the_older(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        older, newer, other = Recorder(), Recorder(), Recorder()
        old_membership = await hall.join(ROOM, older, client="c")
        await hall.join(ROOM, other, client="c", identity=Identity("somebody else"))
        await hall.join(ROOM, newer, client="c")
        assert [code for _, code, _ in older.closed] == [CloseCode.REPLACED]
        assert not other.closed
        old_membership.detach()
        assert hall.snapshot().clients == 2


async def test_a_sync_is_applied_once_however_old(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), recent_syncs=4, idle_timeout=60.0) as hall:
        seqs = {}
        for number in range(50):
            seqs[number] = await hall.submit(ROOM, [{"n": number}], sync_id=f"id{number}")
        for number in (49, 0, 17):
            again = await hall.submit(ROOM, [{"n": number}], sync_id=f"id{number}")
            assert again == seqs[number]
        await trio.sleep(100)
        assert hall.gatherings() == ()
        for number in (3, 49):
            again = await hall.submit(ROOM, [{"n": number}], sync_id=f"id{number}")
            assert again == seqs[number]
        fetched = await hall.fetch(ROOM, since=0)
        assert fetched.seq == 50


class Counting(MemoryStore):
    """A store that counts how often it's asked about old syncs."""

    asked: list[str]

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        self.asked.append("find_syncs")
        return await super().find_syncs(gathering, keys)

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        self.asked.append("sync_ids")
        return await super().sync_ids(gathering, scope, limit=limit)


async def test_new_syncs_need_no_look_at_the_store(autojump_clock: MockClock) -> None:
    store = Counting()
    store.asked = []
    async with open_hall(store=store, recent_syncs=4, idle_timeout=60.0) as hall:
        for number in range(300):
            await hall.submit(ROOM, [{"n": number}], sync_id=f"id{number}")
        # By chance a new id may look like an old one, so that the store is asked.
        assert len(store.asked) < 30
        await trio.sleep(100)
        store.asked.clear()
        for number in range(300, 400):
            await hall.submit(ROOM, [{"n": number}], sync_id=f"id{number}")
        assert store.asked.count("sync_ids") == 1
        assert store.asked.count("find_syncs") < 20
        assert await hall.submit(ROOM, [{"n": 7}], sync_id="id7") == (8,)
        assert (await hall.fetch(ROOM, since=399)).seq == 400


async def test_a_large_crowd_keeps_nobody_else_waiting(autojump_clock: MockClock) -> None:
    """Either gathering may have the first turn: the small one needn't wait for the whole crowd."""
    order: list[str] = []

    class Ordered(Recorder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def send(self, outgoing: Outgoing) -> None:
            super().send(outgoing)
            order.append(self.name)

    async with open_hall(store=MemoryStore()) as hall:
        crowd = [Ordered("crowd") for _ in range(3 * CROWD + 1)]
        memberships = [await hall.join(ROOM, one) for one in crowd]
        few = Ordered("few")
        other = await hall.join("other", few)
        order.clear()
        memberships[0].deliver_nowait(sync("s"))
        other.deliver_nowait(sync("s"))
        await wait_all_tasks_blocked()
        assert order.index("few") <= CROWD + 1
        assert all(len(one.forwards()) == (one is not crowd[0]) for one in crowd)
        assert crowd[0].of(Synced) == [Synced("s", (1,))]


class Counted(Recorder):
    """Encodes what isn't encoded yet, and says how long it is."""

    def __init__(self, encoded: Counter[int], kept: list[Outgoing]) -> None:
        super().__init__()
        self.encoded = encoded
        self.kept = kept

    def send(self, outgoing: Outgoing) -> None:
        super().send(outgoing)
        self.kept.append(outgoing)
        if not outgoing.encoded:
            outgoing.encoded["test"] = JSON.encode(outgoing)
            self.encoded[id(outgoing)] = len(outgoing.encoded["test"])


async def test_authors_of_many_ops_get_those_of_others_in_blocks(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client lacks other parts of the batch: they don't get a message or an encoding each."""
    # All syncs come in one turn, so that they make one batch.
    monkeypatch.setattr("squire_gatherings._hall.turns.TURN_COST", 10**9)
    encoded: Counter[int] = Counter()
    kept: list[Outgoing] = []
    async with open_hall(store=MemoryStore()) as hall:
        authors = [Counted(encoded, kept) for _ in range(8)]
        memberships = [await hall.join(ROOM, one) for one in authors]
        encoded.clear()
        for number, membership in enumerate(memberships):
            ops = tuple(Op.of({"n": n, "by": number}) for n in range(1000))
            membership.deliver_nowait(Sync(f"s{number}", 0, ops))
        await wait_all_tasks_blocked()
        for number, one in enumerate(authors):
            expected = [seq for seq in range(1, 8001) if (seq - 1) // 1000 != number]
            assert [seq for _, seq, _, _ in one.forwards()] == expected
            assert len(one.received) <= 7000 / BLOCK + 4 * BLOCK + 2
        alone = len(JSON.encode(Outgoing(Forward(8000, None, Op.of({"n": 999, "by": 1})))))
        assert encoded.total() <= 8000 * alone


async def test_a_large_batch_is_brought_to_fewer_at_a_time(autojump_clock: MockClock) -> None:
    order: list[str] = []

    class Ordered(Recorder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def send(self, outgoing: Outgoing) -> None:
            super().send(outgoing)
            order.append(self.name)

    async with open_hall(store=MemoryStore()) as hall:
        crowd = [Ordered("crowd") for _ in range(CROWD)]
        memberships = [await hall.join(ROOM, one) for one in crowd]
        few = Ordered("few")
        other = await hall.join("other", few)
        order.clear()
        memberships[0].deliver_nowait(sync("s", size=200_000))
        other.deliver_nowait(sync("s"))
        await wait_all_tasks_blocked()
        assert order.index("few") <= 2 * CROWD * WEIGHT / 200_000 + 2
        assert all(len(one.forwards()) == (one is not crowd[0]) for one in crowd)


async def test_the_crowd_may_change_while_a_batch_is_brought(autojump_clock: MockClock) -> None:
    class Leaving(Recorder):
        """Detaches other clients when it is sent something."""

        others: Sequence[Membership] = ()

        def send(self, outgoing: Outgoing) -> None:
            super().send(outgoing)
            for other in self.others:
                other.detach()

    async with open_hall(store=MemoryStore()) as hall:
        crowd = [Leaving() for _ in range(2 * CROWD + 50)]
        memberships = [await hall.join(ROOM, one) for one in crowd]
        for number, one in enumerate(crowd):
            one.others = memberships[::2] if number % 2 else ()
        await hall.submit(ROOM, [{"n": 1}])
        await hall.submit(ROOM, [{"n": 2}])
        await wait_all_tasks_blocked()
        for one in crowd[1::2]:
            assert [seq for _, seq, _, _ in one.forwards()] == [1, 2]
        for one in crowd[::2]:
            assert [seq for _, seq, _, _ in one.forwards()] in ([], [1])
        assert hall.snapshot().clients == CROWD + 25
        await trio.sleep(60)
        # A client that never acknowledges is given up, and leaves nothing behind.
        assert all(one.closed for one in crowd[1::2])
        assert hall.snapshot().clients == 0


def attached(asked: list[int], nursery: trio.Nursery) -> tuple[list[bool], list[Recorder]]:
    """Attach connections of one client, which asked in this order; return which were let in."""
    settings = HallSettings()
    room = Room(ROOM, settings, MemoryStore(), Terms(settings, time.time, nursery))
    recorders = [Recorder() for _ in asked]
    let_in = []
    for number, (one, recorder) in enumerate(zip(asked, recorders, strict=True), start=1):
        window = DeliveryWindow(settings.retry_interval, settings.retry_limit, 0)
        client = Client(number, recorder, Identity("bob"), False, "scope", window, asked=one)
        let_in.append(room.attach(client))
        assert client.attached == let_in[-1]
    assert len(room.clients) == 1
    return let_in, recorders


@pytest.mark.parametrize(
    ("asked", "let_in", "closed"),
    [
        ([1, 2], [True, True], [True, False]),
        ([2, 1], [True, False], [False, False]),
        ([2, 1, 3], [True, False, True], [True, False, False]),
        # A client that isn't known to have asked earlier counts as the newest.
        ([2, 0], [True, True], [True, False]),
        ([0, 1], [True, True], [True, False]),
    ],
)
async def test_the_join_that_asked_last_wins(
    asked: list[int], let_in: list[bool], closed: list[bool]
) -> None:
    async with trio.open_nursery() as nursery:
        found, recorders = attached(asked, nursery)
    assert found == let_in
    assert [bool(one.closed) for one in recorders] == closed


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        (["now"], UNSET),
        (["then"], "then"),
        # The epoch of the last op counts.
        (["then", "now"], UNSET),
        (["now", "then"], "then"),
        # The op was logged before there were epochs, so its epoch isn't the present one.
        ([""], ""),
    ],
)
def test_a_forward_tells_the_epoch_where_it_isnt_the_incarnations(
    epochs: list[str], said: object
) -> None:
    entries = [LoggedOp(Op.of({"n": 1}).json, None, epoch) for epoch in epochs]
    message = forward_of("now", 7, entries).message
    assert isinstance(message, Forward | ForwardBatch)
    assert message.seq == 7
    assert message.epoch == said
    encoded = msgspec.json.decode(JSON.encode(Outgoing(message)))
    assert ("epoch" in encoded) == (said is not UNSET)


async def test_tasks_for_a_client_end_with_it() -> None:
    window = DeliveryWindow(0.25, 10.0, 0)
    client = Client(1, Recorder(), Identity(), False, "", window)
    ended = []

    async def work(name: str) -> None:
        with client.under_way():
            try:
                await trio.sleep_forever()
            finally:
                ended.append(name)

    async with trio.open_nursery() as nursery:
        client.attached = True
        nursery.start_soon(work, "a")
        nursery.start_soon(work, "b")
        await wait_all_tasks_blocked()
        assert not ended
        client.left()
        # A delivery that begins too late ends at once.
        nursery.start_soon(work, "c")
    assert sorted(ended) == ["a", "b", "c"]
