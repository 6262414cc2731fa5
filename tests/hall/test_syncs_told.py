"""Which syncs ops came from: told to clients that ask, whoever has the ops; never whose ids."""

import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    Conflict,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Joined,
    Op,
    Outgoing,
    Sync,
    SyncRun,
    open_hall,
)
from squire_gatherings._stores import MemoryStore
from squire_gatherings._values.log import sync_of_each
from squire_gatherings._wire.codecs import JsonCodec, MsgpackCodec
from tests.support import Recorder, Strict, Sum, examples

ROOM = "friday-night"
SECRET = "known to one client only"


def told(recorder: Recorder, since: int = 0) -> dict[int, set[Any]]:
    """Return what a client that has joined so was told of each op's sync, each time."""
    found: dict[int, set[Any]] = {}

    def note(first: int, count: int, syncs: Any) -> None:
        runs = syncs if isinstance(syncs, tuple) else ()
        assert all(one.first_seq + one.count <= two.first_seq for one, two in pairwise(runs))
        of_each = sync_of_each(runs, first)
        for seq in range(first, first + count):
            found.setdefault(seq, set()).add(next(of_each) if syncs is not UNSET else UNSET)

    for _, message in recorder.received:
        match message:
            case Joined(ops=tuple(ops)):
                first = message.first_seq if isinstance(message.first_seq, int) else since + 1
                note(first, len(ops), message.syncs)
            case Forward(seq):
                note(seq, 1, UNSET if message.sync is UNSET else (message.sync,))
            case ForwardBatch(seq, _, ops):
                note(seq, len(ops), message.syncs)
            case _:
                pass
    return found


def each(runs: Sequence[SyncRun]) -> dict[int, set[Any]]:
    """Return what should have been told of each op."""
    return {seq: {one} for one in runs for seq in range(one.first_seq, one.first_seq + one.count)}


def a_sync(sync_id: str, *values: int, base: int = 0) -> Sync:
    return Sync(sync_id, base, tuple(Op.of({"add": value}) for value in values))


async def test_only_a_client_that_asks_is_told_the_syncs() -> None:
    async with open_hall() as hall:
        await hall.submit(ROOM, [{"n": 1}, {"n": 2}], sync_id="a")
        asks, asks_too, plain = Recorder(), Recorder(), Recorder()
        await hall.join(ROOM, asks, since=0, syncs=True)
        await hall.join(ROOM, asks_too, since=0, syncs=True)
        await hall.join(ROOM, plain, since=0, times=True)
        author = await hall.join(ROOM, Recorder(), client=SECRET)
        author.deliver_nowait(a_sync("b", 3))
        await wait_all_tasks_blocked()
        author.deliver_nowait(a_sync("c", 4, 5))
        author.deliver_nowait(a_sync("d", 6))
        await wait_all_tasks_blocked()
        runs = [SyncRun(1, 2, "a"), SyncRun(3, 1, "b"), SyncRun(4, 2, "c"), SyncRun(6, 1, "d")]
        assert told(asks) == each(runs)
        assert told(plain) == {seq: {UNSET} for seq in range(1, 7)}
        # Clients that ask for the same get the same message, encoded once.
        for one, other in zip(asks.received[1:], asks_too.received[1:], strict=True):
            assert one[1] is other[1]
        assert (await hall.fetch(ROOM, since=2, syncs=True)).syncs == tuple(runs[1:])
        assert (await hall.fetch(ROOM, since=4, syncs=True)).syncs == tuple(runs[2:])
        assert (await hall.fetch(ROOM, since=2, at=3, syncs=True)).syncs == (runs[1],)
        assert (await hall.fetch(ROOM, since=2)).syncs == ()
        assert SECRET not in repr([message for _, message in asks.received])


async def test_answers_tell_them_too() -> None:
    async with open_hall(behaviour=Strict) as hall:
        await hall.submit(ROOM, [{"add": 1}], sync_id="a")
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, tail=True, syncs=True)
        await hall.submit(ROOM, [{"add": 2}, {"add": 3}], sync_id="b")
        await membership.deliver(a_sync("late", 5, base=1))
        await membership.deliver(Fetch("f", 0))
        await membership.deliver(Fetch("g", 0, 1))
        await wait_all_tasks_blocked()
        assert recorder.of(Conflict)[0].syncs == (SyncRun(2, 2, "b"),)
        both = (SyncRun(1, 1, "a"), SyncRun(2, 2, "b"))
        assert [one.syncs for one in recorder.of(Fetched)] == [both, both[:1]]


async def test_a_snapshot_comes_without_them() -> None:
    async with open_hall(behaviour=Sum) as hall:
        await hall.submit(ROOM, [{"add": 1}])
        recorder = Recorder()
        await hall.join(ROOM, recorder, syncs=True)
        assert recorder.of(Joined)[0].syncs is UNSET


class Old(MemoryStore):
    """A store that has only what each must have, and can't tell."""

    syncs_of = None  # type: ignore[assignment]


async def test_what_a_store_cannot_tell_is_left_out(autojump_clock: MockClock) -> None:
    async with open_hall(store=Old(), tail_bytes=1) as hall:
        await hall.submit(ROOM, [{"n": 1}], sync_id="a")
        recorder = Recorder()
        await hall.join(ROOM, recorder, since=0, syncs=True)
        assert told(recorder) == {1: {None}}


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec()])
async def test_both_encodings_have_them_as_arrays(codec: Any) -> None:
    async with open_hall() as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder, syncs=True)
        await hall.submit(ROOM, [{"n": 1}], sync_id="a")
        await hall.submit(ROOM, [{"n": 2}, {"n": 3}], sync_id="b")
        await wait_all_tasks_blocked()
        decode = msgspec.json.decode if codec.is_text else msgspec.msgpack.decode
        sent = [decode(codec.encode(Outgoing(one))) for _, one in recorder.received]
        assert sent[1]["sync"] == [1, 1, "a"]
        assert sent[2]["syncs"] == [[2, 2, "b"]]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_fork_that_cuts_a_sync_knows_nothing_of_it(kind: str, tmp_path: Path) -> None:
    store = MemoryStore() if kind == "memory" else f"sqlite:///{tmp_path}/rooms.sqlite3"
    async with open_hall(store=store) as hall:
        for sync_id, count in (("a", 2), ("b", 3)):
            await hall.submit(ROOM, [{"n": n} for n in range(count)], sync_id=sync_id)
        await hall.logs.fork(ROOM, "other", at=4)
        await hall.submit("other", [{"n": 9}], sync_id="c")
        known = (SyncRun(1, 2, "a"), SyncRun(5, 1, "c"))
        assert (await hall.fetch("other", since=0, syncs=True)).syncs == known
        assert (await hall.fetch("other", since=3, syncs=True)).syncs == known[1:]
    async with open_hall(store=store, tail_bytes=1) as hall:
        recorder = Recorder()
        await hall.join("other", recorder, since=0, syncs=True)
        await until_told(recorder, 5)
        assert told(recorder) == {**each(known), 3: {None}, 4: {None}}


PLANS = st.lists(
    st.one_of(
        st.tuples(st.just("sync"), st.integers(1, 5)),
        st.tuples(st.just("together"), st.integers(2, 4)),
        st.just(("restart", 0)),
        st.just(("compact", 0)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(30), deadline=None)
@given(
    PLANS,
    st.sampled_from([1, 700, 10**6]),
    st.sampled_from([60, 10**6]),
    st.integers(1, 3),
    st.booleans(),
)
def test_whoever_has_the_ops_tells_the_same(
    plan: list[tuple[str, int]],
    tail_bytes: int,
    batch_bytes: int,
    recent_syncs: int,
    in_memory: bool,
) -> None:
    sizes: dict[str, Any] = {
        "tail_bytes": tail_bytes,
        "batch_bytes": batch_bytes,
        "recent_syncs": recent_syncs,
    }
    with tempfile.TemporaryDirectory() as folder:
        store = MemoryStore() if in_memory else f"sqlite:///{folder}/rooms.sqlite3"
        trio.run(partial(live, plan, store, sizes))


async def live(
    plan: list[tuple[str, int]], store: MemoryStore | str, sizes: dict[str, Any]
) -> None:
    """Submit, restart and cut short as planned; who asks is told the truth each time."""
    runs: list[SyncRun] = []
    first, last = 1, 0
    steps = [*plan, ("restart", 0)]
    while steps:
        async with open_hall(store=store, snapshot_every=2, **sizes) as hall:
            early, late, began = Recorder(), Recorder(), first
            await hall.join(ROOM, early, since=0, syncs=True)
            authors = [await hall.join(ROOM, Recorder(), client=f"{SECRET} {n}") for n in (1, 2)]
            while steps[0][0] not in ("restart", "compact"):
                step, count = steps.pop(0)
                for size in range(1, count + 1) if step == "together" else (count,):
                    # Two clients may use the same id.
                    runs.append(SyncRun(last + 1, size, f"s{len(runs) // 2}"))
                    last += size
                    authors[len(runs) % 2].deliver_nowait(a_sync(runs[-1].id, *range(size)))
            if last >= began:
                await until_told(early, last)
            if steps.pop(0)[0] == "compact" and last:
                first = await hall.logs.compact(ROOM, up_to=last)
            await hall.join(ROOM, late, since=first - 1, syncs=True)
            left = [one for one in runs if one.first_seq >= first]
            if left:
                await until_told(late, last, first - 1)
            assert told(late, first - 1) == each(left)
            assert told(early) == each([one for one in runs if one.first_seq >= began])
            page = await hall.fetch(ROOM, since=first - 1, syncs=True)
            stop = first + len(page.ops)
            assert page.syncs == tuple(one for one in left if one.first_seq < stop)


async def until_told(recorder: Recorder, seq: int, since: int = 0) -> None:
    """Wait until a client that has joined so has all ops up to this one."""
    await recorder.wait_until(lambda: max(told(recorder, since), default=0) == seq)
