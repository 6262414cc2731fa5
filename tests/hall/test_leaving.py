"""A client that leaves is answered first: each request before gets its one answer."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._open_hall import open_hall
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.messages import Dispersed, Error, Fetch, Fetched, Leave, Sync, Synced
from squire_gatherings._values.op import Op
from tests.hall.test_one_answer import TINY, Reluctant
from tests.support import Recorder

ROOM = "friday-night"
SYNC = Sync("s", 0, (Op.of({"n": 1}),))


@pytest.mark.parametrize("delay", [0.0, 3.0])
async def test_a_sync_is_answered_first(delay: float, autojump_clock: MockClock) -> None:
    store = Reluctant()
    async with open_hall(store=store) as hall:
        membership = await hall.join(ROOM, recorder := Recorder())
        store.delay = delay
        for message in (SYNC, Leave(), Leave()):
            membership.deliver_nowait(message)
        await recorder.wait_closed()
        assert recorder.of(Synced) == [Synced("s", (1,))]
        assert [code for _, code, _ in recorder.closed] == [CloseCode.LEFT]
        assert hall.snapshot().clients == 0


async def test_a_commit_that_fails_holds_nobody_up(autojump_clock: MockClock) -> None:
    store = Reluctant()
    async with open_hall(store=store) as hall:
        membership = await hall.join(ROOM, recorder := Recorder())
        store.delay, store.trouble = 1.0, StoreUnavailable("away")
        membership.deliver_nowait(SYNC)
        membership.deliver_nowait(Leave())
        await recorder.wait_closed()
        assert [(one.code, one.id) for one in recorder.of(Error)] == [("store_unavailable", "s")]
        # A client that comes while the store is away leaves at once, too.
        membership = await hall.join(ROOM, recorder := Recorder())
        membership.deliver_nowait(Leave())
        await recorder.wait_closed()
        assert recorder.closed[0][1] == CloseCode.LEFT


@pytest.mark.parametrize("trouble", [None, StoreUnavailable("away")])
async def test_fetches_are_answered_first(
    trouble: StoreUnavailable | None, autojump_clock: MockClock
) -> None:
    store = Reluctant()
    async with open_hall(store=store, **TINY) as hall:
        await hall.submit(ROOM, [{"n": number} for number in range(9)])
        membership = await hall.join(ROOM, recorder := Recorder(), since=9)
        store.delay, store.trouble = 2.0, trouble
        for number in range(9):
            membership.deliver_nowait(Fetch(f"f{number}", 0))
        membership.deliver_nowait(Leave())
        await recorder.wait_closed()
        told: list[Any] = [*recorder.of(Fetched), *recorder.of(Error)]
        assert sorted(one.id for one in told) == [f"f{number}" for number in range(9)]
        assert recorder.closed[0][1] == CloseCode.LEFT
        assert hall.snapshot().clients == 0


async def test_a_read_that_waits_for_the_commit_comes_first(autojump_clock: MockClock) -> None:
    store = Reluctant()
    async with open_hall(store=store, **TINY) as hall:
        await hall.submit(ROOM, [{"n": number} for number in range(9)])
        other = await hall.join(ROOM, Recorder(), since=9)
        membership = await hall.join(ROOM, recorder := Recorder(), since=9)
        store.delay = 2.0
        other.deliver_nowait(SYNC)
        membership.deliver_nowait(Fetch("f", 0))
        membership.deliver_nowait(Leave())
        await recorder.wait_closed()
        assert [(one.id, one.seq) for one in recorder.of(Fetched)] == [("f", 10)]
        assert recorder.closed[0][1] == CloseCode.LEFT


@pytest.mark.parametrize("trouble", [None, StoreUnavailable("away")])
async def test_what_is_read_while_a_commit_is_under_way_comes_first(
    trouble: StoreUnavailable | None, autojump_clock: MockClock
) -> None:
    class SlowHeads(Reluctant):
        async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
            await trio.sleep(1.0)
            return await super().find_head(gathering, seq=seq)

    store = SlowHeads()
    async with open_hall(store=store) as hall:
        other = await hall.join(ROOM, Recorder())
        membership = await hall.join(ROOM, recorder := Recorder(), proof=True)
        await hall.submit(ROOM, [{"n": 0}])
        for number in range(3):
            membership.deliver_nowait(Fetch(f"f{number}", 0))
        membership.deliver_nowait(Leave())
        await trio.sleep(0.5)
        store.delay, store.trouble = 1.0, trouble
        other.deliver_nowait(SYNC)
        await recorder.wait_closed()
        told: list[Any] = recorder.of(Error) if trouble else recorder.of(Fetched)
        assert sorted(one.id for one in told) == ["f0", "f1", "f2"]
        assert recorder.closed[0][:2] == (1.5, CloseCode.LEFT)


async def test_an_answer_that_waits_for_its_turn_comes_first(autojump_clock: MockClock) -> None:
    store = Reluctant()
    async with open_hall(store=store, **TINY) as hall:
        await hall.submit(ROOM, [{"n": number} for number in range(9)])
        membership = await hall.join(ROOM, recorder := Recorder(), since=0)
        store.delay = 1.0
        await wait_all_tasks_blocked()
        membership.deliver_nowait(SYNC)
        membership.deliver_nowait(Leave())
        await recorder.wait_closed()
        assert recorder.of(Synced) == [Synced("s", (10,))]
        assert max(seq for _, seq, _, _ in recorder.forwards()) == 9
        assert hall.snapshot().clients == 0


async def test_a_client_that_leaves_a_gathering_that_ends_is_told(
    autojump_clock: MockClock,
) -> None:
    store = Reluctant()
    async with open_hall(store=store, **TINY) as hall:
        await hall.submit(ROOM, [{"n": number} for number in range(9)])
        membership = await hall.join(ROOM, recorder := Recorder(), since=9)
        store.delay = 100.0
        membership.deliver_nowait(Fetch("f", 0))
        membership.deliver_nowait(Leave())
        await trio.sleep(1)
        store.delay = 0.0
        assert await hall.disperse(ROOM)
        assert trio.current_time() < 100
        assert len(recorder.of(Dispersed)) == len(recorder.closed) == 1
        assert recorder.closed[0][1] == CloseCode.DISPERSED
