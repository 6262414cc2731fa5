"""Behaviours that do what they mustn't: only their gathering crashes, and only once."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import Stamp, Submission
from squire_gatherings._rules.poison import POISON_LIMIT, Poison
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import (
    Forbidden,
    GatheringCrashed,
    OpConflict,
    OpRejected,
    StoreUnavailable,
)
from squire_gatherings._values.messages import Conflict, Error, Sync, Synced
from squire_gatherings._values.op import Op
from tests.support import Recorder, Strict

ROOM = "friday-night"


class Listing:
    """The state lists what was folded; the behaviour raises `trouble` when it's told to."""

    serves_snapshots = True
    judging: Callable[[Sequence[Op]], Any] = staticmethod(lambda ops: ops)
    trouble: dict[str, Exception]

    def __init__(self) -> None:
        self.state: list[int] = []

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        if any(op.value.get("bad") == "judge" for op in ops):
            raise self.trouble["judge"]
        judged: Sequence[Op] = type(self).judging(ops)
        return judged

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.state.append(op.value["n"])
        if op.value.get("bad") == "fold":
            raise self.trouble["fold"]

    def snapshot(self) -> Any:
        return self.state

    def restore(self, snapshot: Any) -> None:
        self.state = list(snapshot)


def listing(**attributes: Any) -> type[Listing]:
    return type("AListing", (Listing,), attributes)


@pytest.mark.parametrize(
    "error",
    [
        OpRejected("not now"),
        OpConflict("old"),
        Forbidden("no"),
        StoreUnavailable("away"),
        KeyError("n"),
    ],
)
@pytest.mark.parametrize("where", ["fold", "judge"])
async def test_what_a_behaviour_may_not_raise_crashes_it(
    where: str, error: Exception, autojump_clock: MockClock
) -> None:
    if where == "judge" and isinstance(error, OpRejected | OpConflict):
        return
    behaviour = listing(trouble={where: error})
    async with open_hall(store=MemoryStore(), behaviour=behaviour) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client, client="c")
        await hall.submit(ROOM, [{"n": 1}])
        with pytest.raises(GatheringCrashed):
            await hall.submit(ROOM, [{"n": 2}, {"n": 3, "bad": where}])
        assert client.closed[0][1] == CloseCode.CRASHED
        await hall.submit(ROOM, [{"n": 4}])
        # Nothing of the sync is in the state, nor in the log.
        fetched = await hall.fetch(ROOM)
        assert fetched.is_snapshot
        assert fetched.snapshot == [1, 4]
        logged = await hall.fetch(ROOM, since=0)
        assert isinstance(logged.ops, tuple)
        assert [op.value["n"] for op in logged.ops] == [1, 4]
        assert hall.snapshot().crashed == 1
        membership.detach()


@pytest.mark.parametrize(
    ("judging", "says"),
    [
        (lambda ops: ops[:1], "returned 1 ops for 2"),
        (lambda ops: [*ops, *ops], "returned 4 ops for 2"),
        (lambda ops: None, "something else than a sequence"),
        (lambda ops: 7, "something else than a sequence"),
        (lambda ops: "ab", "something else than a sequence"),
        (lambda ops: [op.value for op in ops], "something else than a sequence"),
        (lambda ops: dict.fromkeys(ops, 1), "something else than a sequence"),
        (lambda ops: iter(ops), "something else than a sequence"),
        (lambda ops: [Op(b"[1]"), ops[1]], "what can't be logged"),
        (lambda ops: [ops[0], Op(b"{")], "what can't be logged"),
        (lambda ops: [Op("{}"), ops[1]], "what can't be logged"),  # type: ignore[arg-type]
    ],
)
async def test_what_judge_may_not_return_crashes_it(
    judging: Any, says: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hall(
        store=MemoryStore(), behaviour=listing(judging=staticmethod(judging))
    ) as hall:
        with pytest.raises(GatheringCrashed):
            await hall.submit(ROOM, [{"n": 1}, {"n": 2}])
        assert hall.snapshot().crashed == 1
    assert says in str(caplog.text)


@pytest.mark.parametrize("kind", [list, tuple])
async def test_its_author_is_told_what_was_logged_instead(
    kind: Any, autojump_clock: MockClock
) -> None:
    def merge(ops: Sequence[Op]) -> Any:
        return kind(Op.of({"n": op.value["n"] * 10}) for op in ops)

    async with open_hall(
        store=MemoryStore(), behaviour=listing(judging=staticmethod(merge))
    ) as hall:
        author = Recorder()
        membership = await hall.join(ROOM, author, client="c")
        sync = Sync("s", 0, (Op.of({"n": 1}), Op.of({"n": 2})))
        membership.deliver_nowait(sync)
        [synced] = await author.wait_for(Synced)
        logged = (Op.of({"n": 10}), Op.of({"n": 20}))
        assert synced == Synced("s", (1, 2), logged)
        # It is told again if it asks again.
        membership.deliver_nowait(sync)
        assert (await author.wait_for(Synced, 2))[1] == synced


async def test_a_sync_that_crashed_is_refused_from_then_on(autojump_clock: MockClock) -> None:
    """The author repeats the sync, as it must; the gathering crashes once."""
    behaviour = listing(trouble={"fold": KeyError("score")})
    async with open_hall(store=MemoryStore(), behaviour=behaviour) as hall:
        for again in range(20):
            author = Recorder()
            membership = await hall.join(ROOM, author, client="c")
            membership.deliver_nowait(Sync("good", 0, (Op.of({"n": 1}),)))
            membership.deliver_nowait(Sync("bad", 0, (Op.of({"n": 2, "bad": "fold"}),)))
            await wait_all_tasks_blocked()
            if again:
                [error] = author.of(Error)
                assert (error.code, error.id) == ("rejected", "bad")
                assert "crashed" in error.message
                assert author.of(Synced) == [Synced("good", (1,))]
            membership.detach()
        # The same id from another client is another sync.
        other = Recorder()
        membership = await hall.join(ROOM, other, client="d")
        membership.deliver_nowait(Sync("bad", 0, (Op.of({"n": 3}),)))
        assert await other.wait_for(Synced) == [Synced("bad", (2,))]
        assert hall.snapshot().crashed == 1


async def test_a_state_that_cannot_be_put_down_crashes_it_once(autojump_clock: MockClock) -> None:
    class Unspeakable(Listing):
        def snapshot(self) -> Any:
            if 13 in self.state:
                raise OSError("no paper")
            return super().snapshot()

    async with open_hall(store=MemoryStore(), behaviour=Unspeakable, snapshot_every=1) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        with pytest.raises(GatheringCrashed):
            await hall.submit(ROOM, [{"n": 13}], sync_id="unlucky")
        with pytest.raises(OpRejected):
            await hall.submit(ROOM, [{"n": 13}], sync_id="unlucky")
        assert await hall.submit(ROOM, [{"n": 2}]) == (2,)
        assert hall.snapshot().crashed == 1


def test_poison_is_bounded() -> None:
    poison = Poison()
    for number in range(3 * POISON_LIMIT):
        poison.remember(f"g{number % 7}", [("scope", f"s{number}")])
        poison.remember(f"g{number % 7}", [("scope", f"s{number}")])
        poison.remember("nothing", [])
    kept = [key for n in range(7) for key in poison.of(f"g{n}")]
    assert len(kept) == POISON_LIMIT
    assert ("scope", f"s{3 * POISON_LIMIT - 1}") in kept
    assert poison.of("nothing") == frozenset()


# Only other clients' ops make a base old.


async def test_nobody_lacks_its_own_ops(autojump_clock: MockClock) -> None:
    """Pipelined syncs on one base don't conflict with each other, also after a reconnect."""
    async with open_hall(store=MemoryStore(), behaviour=Strict) as hall:
        await hall.submit(ROOM, [{"add": 1}])
        author = Recorder()
        membership = await hall.join(ROOM, author, client="c")
        for number in range(4):
            membership.deliver_nowait(Sync(f"s{number}", 1, (Op.of({"add": 1}),)))
        synced = await author.wait_for(Synced, 4)
        assert [one.seqs for one in synced] == [(2,), (3,), (4,), (5,)]
        again = Recorder()
        membership = await hall.join(ROOM, again, client="c", since=1)
        membership.deliver_nowait(Sync("s3", 1, (Op.of({"add": 1}),)))
        membership.deliver_nowait(Sync("s4", 1, (Op.of({"add": 1}),)))
        assert [one.seqs for one in await again.wait_for(Synced, 2)] == [(5,), (6,)]
        # The same holds after a dispersal.
        assert await hall.disperse(ROOM)
        last = Recorder()
        membership = await hall.join(ROOM, last, client="c", since=1)
        membership.deliver_nowait(Sync("s5", 1, (Op.of({"add": 1}),)))
        assert [one.seqs for one in await last.wait_for(Synced)] == [(7,)]
        # Other clients' ops make it old, and then the ops before them count, too.
        await hall.submit(ROOM, [{"add": 1}])
        membership.deliver_nowait(Sync("s6", 7, (Op.of({"add": 1}),)))
        [conflict] = await last.wait_for(Conflict)
        assert (conflict.message, conflict.seq) == ("the base is old", 8)
        assert len(conflict.ops) == 1


async def test_a_sync_without_a_base_is_based_on_the_log_when_it_is_judged(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), behaviour=Strict) as hall:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(hall.submit, ROOM, [{"add": 1}])
        assert (await hall.fetch(ROOM)).seq == 10
        with pytest.raises(OpConflict):
            await hall.submit(ROOM, [{"add": 1}], base=9)
