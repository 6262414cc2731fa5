"""The times of ops: one for each commit, never going back, told to clients that ask."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import trio
from attrs import define, field
from msgspec import UNSET
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    Conflict,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Hall,
    Identity,
    Joined,
    Membership,
    Op,
    Stamp,
    Submission,
    Sync,
    Synced,
    open_hall,
)
from squire_gatherings._stores import MemoryStore
from tests.support import Recorder, Strict, Sum

ROOM = "friday-night"


@define
class WallClock:
    """A clock that a test sets, in milliseconds."""

    now: int = 1_700_000_000_000
    asked: int = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now / 1000


async def test_what_is_committed_together_has_one_time() -> None:
    clock, store = WallClock(), MemoryStore()
    async with open_hall(store=store, wall_clock=clock) as hall:
        membership = await hall.join(ROOM, Recorder())
        for n in range(3):
            ops = tuple(Op.of({"n": k}) for k in range(n + 1))
            membership.deliver_nowait(Sync(f"s{n}", 0, ops))
        asked = clock.asked
        await wait_all_tasks_blocked()
        assert clock.asked == asked + 1
        clock.now += 7
        await hall.submit(ROOM, [{"n": 9}])
        page = await hall.fetch(ROOM, since=0)
    assert page.times == (1_700_000_000_000,) * 6 + (1_700_000_000_007,)
    stored = await store.read(ROOM, after=0, up_to=9, max_bytes=10**6)
    assert tuple(one.time for one in stored) == page.times


async def test_a_time_never_goes_back_nor_does_it_after_a_restart() -> None:
    clock, store = WallClock(1000), MemoryStore()
    times: list[int] = []
    for now in (1000, 400, 1001, 2, 1001, 5000):
        clock.now = now
        async with open_hall(store=store, wall_clock=clock) as hall:
            await hall.submit(ROOM, [{"now": now}])
            times = list((await hall.fetch(ROOM, since=0)).times)
    assert times == [1000, 1000, 1001, 1001, 1001, 5000]


@define
class Told(Sum):
    """A behaviour that keeps what it was told."""

    stamps: list[Stamp] = field(factory=list)
    submissions: list[Submission] = field(factory=list)
    total: int = 0
    folded: int = 0
    serves_snapshots = False

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        self.submissions.append(submission)
        return super().judge(ops, submission)

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.stamps.append(stamp)
        super().fold(op, stamp)


async def test_a_behaviour_is_told_where_and_when_an_op_stands() -> None:
    clock, store = WallClock(), MemoryStore()
    made: list[Told] = []

    def make() -> Told:
        made.append(Told())
        return made[-1]

    expected: list[Stamp] = []
    for _ in range(2):
        async with open_hall(store=store, behaviour=make, wall_clock=clock) as hall:
            for user, count in (("alice", 1), (None, 3)):
                clock.now += 10
                ops = [{"add": 1}] * count
                seqs = await hall.submit(ROOM, ops, identity=Identity(user))
                expected += [Stamp(seq, clock.now, user) for seq in seqs]
                assert made[-1].submissions[-1].time == clock.now
                # The restored ops have times, too.
                assert made[-1].stamps == expected
    assert len(made) == 2


async def both(hall: Hall, **how: Any) -> tuple[Recorder, Recorder, Recorder, Membership]:
    """Join three clients: two are told times; return the membership of the third, which isn't."""
    timed, too, plain = Recorder(), Recorder(), Recorder()
    await hall.join(ROOM, timed, times=True, **how)
    await hall.join(ROOM, too, times=True, **how)
    return timed, too, plain, await hall.join(ROOM, plain, **how)


async def test_only_a_client_that_asks_is_told_the_times() -> None:
    clock = WallClock(500)
    async with open_hall(wall_clock=clock) as hall:
        await hall.submit(ROOM, [{"n": 1}, {"n": 2}])
        clock.now = 600
        await hall.submit(ROOM, [{"n": 3}])
        timed, too, plain, membership = await both(hall, since=0)
        assert timed.of(Joined)[0].times == (500, 500, 600)
        assert plain.of(Joined)[0].times is UNSET
        clock.now = 700
        await hall.submit(ROOM, [{"n": 4}])
        clock.now = 800
        await hall.submit(ROOM, [{"n": 5}, {"n": 6}])
        await wait_all_tasks_blocked()
        assert [one.time for one in timed.of(Forward)] == [700]
        assert [one.times for one in timed.of(ForwardBatch)] == [(800, 800)]
        assert [one.time for one in plain.of(Forward)] == [UNSET]
        assert [one.times for one in plain.of(ForwardBatch)] == [UNSET]
        # Clients that ask for the same get the same message, encoded once.
        for one, other in zip(timed.received[1:], too.received[1:], strict=True):
            assert one[1] is other[1]
        membership.deliver_nowait(Fetch("f", 4))
        membership.deliver_nowait(Sync("s", 6, (Op.of({"n": 7}),)))
        await wait_all_tasks_blocked()
        assert plain.of(Fetched)[0].times is UNSET
        assert plain.of(Synced)[0].time is UNSET


async def test_answers_have_times_also_when_they_are_repeated(autojump_clock: MockClock) -> None:
    clock = WallClock(500)
    async with open_hall(wall_clock=clock, behaviour=Strict) as hall:
        await hall.submit(ROOM, [{"add": 1}, {"add": 2}])
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, times=True, tail=True)
        clock.now = 600
        sync = Sync("s", 2, (Op.of({"add": 3}), Op.of({"add": 4})))
        for _ in range(2):
            await membership.deliver(sync)
            await wait_all_tasks_blocked()
            clock.now += 1
        await membership.deliver(Sync("late", 1, (Op.of({"add": 5}),)))
        await membership.deliver(Fetch("f", 0))
        await wait_all_tasks_blocked()
        assert [one.time for one in recorder.of(Synced)] == [600, 600]
        assert recorder.of(Conflict)[0].times == (500, 600, 600)
        assert recorder.of(Fetched)[0].times == (500, 500, 600, 600)


async def test_times_of_ops_from_the_store_and_of_retries(autojump_clock: MockClock) -> None:
    clock = WallClock(500)
    async with open_hall(wall_clock=clock, tail_bytes=1, batch_bytes=40, retry_limit=2.0) as hall:
        for n in range(6):
            clock.now += 1
            await hall.submit(ROOM, [{"n": n}])
        timed, _, plain, _ = await both(hall, since=0)
        await trio.sleep(1.9)
        for recorder in (timed, plain):
            seen: dict[int, set[object]] = {}
            joined = recorder.of(Joined)[0]
            assert joined.ops is not UNSET
            assert len(joined.ops) < 6
            for one in recorder.of(Forward):
                seen.setdefault(one.seq, set()).add(one.time)
            for batch in recorder.of(ForwardBatch):
                times = batch.times if isinstance(batch.times, tuple) else [UNSET] * 9
                for seq, (_, time) in enumerate(zip(batch.ops, times, strict=False), batch.seq):
                    seen.setdefault(seq, set()).add(time)
            # Some were sent more than once.
            assert len(recorder.of(Forward)) + len(recorder.of(ForwardBatch)) > len(seen)
            expected = {seq: {500 + seq} if recorder is timed else {UNSET} for seq in seen}
            assert seen == expected
            assert max(seen) == 6


async def test_a_log_is_in_the_order_of_its_times() -> None:
    clock = WallClock(500)
    async with open_hall(wall_clock=clock, tail_bytes=1) as hall:
        async with trio.open_nursery() as nursery:
            for n in range(20):
                clock.now += (-1) ** n * n
                nursery.start_soon(hall.submit, ROOM, [{"n": n}] * (n % 3 + 1))
                if n % 4 == 0:
                    await wait_all_tasks_blocked()
        page = await hall.fetch(ROOM, since=0)
        assert len(page.times) == len(page.ops) == page.seq
        assert all(one <= other for one, other in pairwise(page.times))
