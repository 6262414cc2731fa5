"""The failing store: each trouble, for whom it is ordered, and what it can do besides."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    Archive,
    EventStore,
    Op,
    Outcome,
    StoreUnavailable,
    open_hall,
    open_store,
)
from squire_gatherings._hall.sleep_store import SleepStore
from squire_gatherings._stores import MemoryStore
from squire_gatherings._values.log import Append, LoggedOp
from squire_gatherings.testing import FailingStore, StoreBroke, Trouble

ROOM = "friday-night"


def append(seq: int = 1) -> Append:
    return Append(ROOM, seq, (LoggedOp(Op.of({"n": seq}).json, None),), (), None)


async def length(store: FailingStore) -> int:
    return (await store.inner.load(ROOM, recent_syncs=1)).seq


@pytest.mark.parametrize(
    ("what", "raises", "lands", "takes"),
    [
        ("none", None, True, 0.0),
        ("slow", None, True, 2.0),
        ("waits", None, True, 2.0),
        ("busy", StoreUnavailable, False, 2.0),
        ("full", StoreUnavailable, False, 0.0),
        ("torn", StoreUnavailable, True, 2.0),
        ("broken", StoreBroke, False, 2.0),
        ("broken torn", StoreBroke, True, 2.0),
    ],
)
async def test_each_trouble_of_an_append(
    what: Trouble,
    raises: type[Exception] | None,
    lands: bool,
    takes: float,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    for given in (nursery, None):
        store = FailingStore(MemoryStore(), given)
        store.trouble("append", what, seconds=2.0)
        begun = trio.current_time()
        error: Outcome = None
        try:
            if not await appended(store):
                await store.append(append())
        except (StoreUnavailable, StoreBroke) as found:
            error = found
        assert trio.current_time() - begun == takes
        assert type(error) is (type(None) if raises is None else raises)
        assert await length(store) == lands
        store.heal()
        assert store.append_nowait(append(1 + lands), lambda _: None)


async def appended(store: FailingStore) -> bool:
    """Append without waiting; return false if the caller must wait. Raises what comes later."""
    put, get = trio.open_memory_channel[Outcome](1)
    try:
        if store.append_nowait(append(), put.send_nowait):
            return True
    except trio.WouldBlock:
        return False
    if (error := await get.receive()) is not None:
        raise error
    return True


async def test_one_that_hangs_goes_on_when_it_is_healed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = FailingStore()
    store.trouble("load", "hangs", calls=1)
    done: list[Any] = []

    async def load() -> None:
        done.append(await store.load(ROOM, recent_syncs=1))

    nursery.start_soon(load)
    await trio.sleep(1000)
    await store.append(append())
    await store.load(ROOM, recent_syncs=1)
    await wait_all_tasks_blocked()
    assert done == []
    store.heal()
    await wait_all_tasks_blocked()
    assert len(done) == 1


async def test_a_trouble_may_be_that_of_some_calls(autojump_clock: MockClock) -> None:
    store = FailingStore()
    store.trouble("reading", "full", after=1, calls=2, error=OSError("no disk"))
    outcomes = []
    for _ in range(4):
        try:
            await store.size(ROOM)
            outcomes.append("well")
        except OSError as error:
            outcomes.append(str(error))
    assert outcomes == ["well", "no disk", "no disk", "well"]
    await store.load(ROOM, recent_syncs=1)  # it counts its own calls
    with pytest.raises(OSError, match="no disk"):
        await store.load(ROOM, recent_syncs=1)
    assert store.calls["size"] == 4
    with pytest.raises(ValueError, match="a store has no call 'lod'"):
        store.trouble("lod", "full")  # type: ignore[arg-type]


@pytest.mark.parametrize("lands", [True, False])
async def test_one_that_is_killed_answers_nobody(
    lands: bool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = FailingStore(MemoryStore(), nursery)
    store.trouble("append", "slow", seconds=5.0)
    ended: list[Outcome] = []
    assert not store.append_nowait(append(), ended.append)
    await trio.sleep(1)
    store.kill(lands=lands)
    with trio.move_on_after(1000) as patience:
        await store.load(ROOM, recent_syncs=1)
    assert patience.cancelled_caught
    assert ended == []
    assert await length(store) == lands
    nursery.cancel_scope.cancel()


async def test_a_load_has_all_appends_behind_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = FailingStore(MemoryStore(), nursery)
    store.trouble("append", "slow", seconds=5.0)
    store.append_nowait(append(), lambda _: None)
    assert (await store.load(ROOM, recent_syncs=1)).seq == 1
    assert trio.current_time() == 5.0


def test_it_can_what_the_other_can() -> None:
    class Plain(MemoryStore):
        """A store that has only what each must have."""

        snapshot_at = write_events = write_sleep = None  # type: ignore[assignment]

    for kind in (Archive, EventStore, SleepStore):
        assert isinstance(FailingStore(), kind)
        assert not isinstance(FailingStore(Plain()), kind)


async def test_in_front_of_a_file(tmp_path: Any) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'rooms.sqlite3'}") as inner:
        store = FailingStore(inner)
        async with open_hall(store=store, commit_retry_interval=0.01) as hall:
            store.trouble("append", "torn", calls=1)
            refused = 0
            seqs: tuple[int, ...] = ()
            with trio.fail_after(60):
                while not seqs:
                    try:
                        seqs = await hall.submit(ROOM, [{"n": 1}], sync_id="one")
                    except StoreUnavailable:
                        refused += 1
            assert seqs == (1,)
            assert refused
            assert (await hall.fetch(ROOM)).seq == 1
