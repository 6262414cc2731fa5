"""Dispersal: the notice, what arrives meanwhile, and that nothing is left behind."""

import gc
import math
import weakref
from typing import ClassVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.room import Room
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import GatheringCrashed, HallClosed
from squire_gatherings._values.messages import Dispersed, Joined, ServerMessage, Sync, Synced
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from tests.support import Fragile, Recorder, slow_store

ROOM = "friday-night"


def sync(name: str, base: int = 0) -> Sync:
    return Sync(name, base, (Op.of({"n": name}),))


@pytest.mark.parametrize("says_later", [False, True])
async def test_a_slow_commit_straddles_the_deadline(
    says_later: bool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = slow_store(nursery=nursery if says_later else None)
    async with open_hall(store=store, idle_timeout=10.0) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        start = trio.current_time()
        await trio.sleep(9.5)
        membership.deliver_nowait(sync("late"))
        await client.wait_for(Synced)
        assert trio.current_time() == start + 10.5
        await client.wait_closed()
        assert trio.current_time() == start + 20.5
        assert client.closed[0][1:] == (CloseCode.DISPERSED, "idle")


async def test_a_join_that_waits_at_a_crash_is_served_by_the_next(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = slow_store(nursery=nursery)
    async with open_hall(store=store, behaviour=Fragile) as hall:
        membership = await hall.join(ROOM, Recorder())
        membership.deliver_nowait(sync("first"))
        await wait_all_tasks_blocked()
        # While the first is committed, both wait.
        membership.deliver_nowait(Sync("second", 0, (Op.of({"boom": True}),)))
        late = Recorder()
        await hall.join(ROOM, late)
        assert [one.seq for one in late.of(Joined)] == [1]


@pytest.mark.parametrize("says_later", [False, True])
@pytest.mark.parametrize("how", ["cancelled", "ended"])
async def test_an_end_during_a_commit_leaves_it_to_the_store(
    says_later: bool, how: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The commit ends when all clients have gone; the next incarnation has what it made durable."""
    store = slow_store(nursery=nursery if says_later else None)
    client = Recorder()
    with trio.CancelScope() as scope:
        async with open_hall(store=store, close_grace=0.5) as hall:
            membership = await hall.join(ROOM, client, client="one of them")
            membership.deliver_nowait(sync("late"))
            await trio.sleep(0.2)
            if how == "cancelled":
                scope.cancel()
            else:
                await hall.close()
    assert client.closed[0][1:] == (CloseCode.GOING_AWAY, "shutdown")
    await trio.sleep(5)
    async with open_hall(store=store) as hall:
        again = Recorder()
        membership = await hall.join(ROOM, again, client="one of them")
        membership.deliver_nowait(sync("late"))
        await trio.sleep(5)
        assert again.of(Synced) == [Synced("late", (1,))]


@pytest.mark.parametrize("says_later", [False, True])
async def test_messages_during_a_commit_go_into_the_next_at_once(
    says_later: bool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = slow_store(nursery=nursery if says_later else None)
    async with open_hall(store=store) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        start = trio.current_time()
        for number in range(4):
            membership.deliver_nowait(sync(f"s{number}"))
            await trio.sleep(0.25)
        await client.wait_for(Synced, 4)
        assert [when - start for when, it in client.received if isinstance(it, Synced)] == [
            1.0,
            2.0,
            2.0,
            2.0,
        ]


@pytest.mark.parametrize("sender_first", [False, True])
async def test_a_message_at_the_instant_of_expiry_keeps_it_open(
    sender_first: bool, autojump_clock: MockClock
) -> None:
    """Trio runs the tasks of one instant in random order: many rounds meet both orders."""
    for _ in range(50):
        store = MemoryStore()
        async with (
            open_hall(store=store, idle_timeout=10.0) as hall,
            trio.open_nursery() as nursery,
        ):

            async def send(hall: Hall, expiry: float, name: str) -> None:
                if sender_first:
                    await trio.sleep_until(expiry)
                else:
                    with trio.move_on_at(expiry):
                        await trio.sleep_forever()
                await hall.submit(ROOM, [{"n": name}], sync_id=name)

            client = Recorder()
            membership = await hall.join(ROOM, client)
            expiry = trio.current_time() + 10.0
            nursery.start_soon(send, hall, expiry, "a")
            nursery.start_soon(send, hall, expiry, "b")
            await trio.sleep_until(expiry)
            await membership.deliver(sync("c"))
            await wait_all_tasks_blocked()
            fetched = await hall.fetch(ROOM, since=0)
            assert isinstance(fetched.ops, tuple)
            assert sorted(op.value["n"] for op in fetched.ops) == ["a", "b", "c"]


async def test_a_hundred_joins_and_syncs_during_a_dispersal_are_served(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), close_grace=5.0) as hall:
        stuck = Recorder(stuck=True)
        await hall.join(ROOM, stuck)
        await hall.submit(ROOM, [{"n": 0}])
        [old] = [one.incarnation for one in hall.snapshot().gatherings]
        joined: list[Recorder] = []
        seqs: list[int] = []
        alive: list[int] = []

        async def join() -> None:
            recorder = Recorder()
            await hall.join(ROOM, recorder)
            joined.append(recorder)
            alive.append(len(hall.snapshot().gatherings))

        async def submit(number: int) -> None:
            seqs.extend(await hall.submit(ROOM, [{"n": number}]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hall.disperse, ROOM)
            await wait_all_tasks_blocked()
            assert hall.gatherings() == ()
            for number in range(100):
                nursery.start_soon(join)
                nursery.start_soon(submit, number)
            await wait_all_tasks_blocked()
            # The old incarnation still waits for the stuck client, so the next one hasn't begun.
            assert not joined
            assert not seqs
        incarnations = {recorder.of(Joined)[0].incarnation for recorder in joined}
        assert len(joined) == 100
        assert len(incarnations) == 1
        assert old not in incarnations
        assert sorted(seqs) == list(range(2, 102))
        assert set(alive) == {1}


async def test_a_client_that_reads_nothing_delays_no_other(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=60.0, close_grace=5.0) as hall:
        recorders = [Recorder(stuck=number == 42) for number in range(100)]
        for recorder in recorders:
            await hall.join(ROOM, recorder)
        due = trio.current_time() + 60.0
        await trio.sleep_until(due)
        await wait_all_tasks_blocked()
        for recorder in recorders:
            assert len(recorder.of(Dispersed)) == 1
            assert recorder.received[-1][0] == due
            assert recorder.closed == [(due, CloseCode.DISPERSED, "idle")]
        assert not recorders[42].aborted
        await trio.sleep_until(due + 5.0)
        await wait_all_tasks_blocked()
        assert recorders[42].aborted
        assert hall.snapshot().dispersed == {"idle": 1}


async def test_the_notice_is_tried_once_even_when_sending_fails(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Recorder):
        tries = 0

        def send(self, outgoing: Outgoing) -> None:
            if isinstance(outgoing.message, Dispersed):
                self.tries += 1
                raise OSError("no")
            super().send(outgoing)

    async with open_hall(store=MemoryStore(), idle_timeout=60.0) as hall:
        failing, other = Failing(), Recorder()
        await hall.join(ROOM, failing)
        await hall.join(ROOM, other)
        await trio.sleep(120)
        assert failing.tries == 1
        assert len(other.of(Dispersed)) == 1
        assert hall.gatherings() == ()


async def test_a_dispersed_gathering_leaves_nothing(autojump_clock: MockClock) -> None:
    # Log records that pytest keeps may hold what crashed in earlier tests.
    earlier = [one for one in gc.get_objects() if type(one) is Room]
    async with open_hall(store=MemoryStore(), idle_timeout=60.0) as hall:
        await trio.testing.wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        membership = await hall.join(ROOM, Recorder())
        await hall.join(ROOM, Recorder())
        membership.deliver_nowait(sync("a"))
        await wait_all_tasks_blocked()
        gatherings = [
            weakref.ref(one)
            for one in gc.get_objects()
            if type(one) is Room and not any(one is other for other in earlier)
        ]
        assert any(ref().id == ROOM for ref in gatherings if ref() is not None)  # type: ignore[union-attr]
        await trio.sleep(120)
        membership.detach()
        del membership
        gc.collect()
        assert [ref for ref in gatherings if ref() is not None] == []
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert hall.snapshot().gatherings == ()


async def test_a_crash_takes_nobody_else_down(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hall(store=MemoryStore(), behaviour=Fragile) as hall:
        client, elsewhere = Recorder(), Recorder()
        await hall.join(ROOM, client)
        await hall.join("other", elsewhere)
        assert await hall.submit(ROOM, [{"n": 1}]) == (1,)
        with pytest.raises(GatheringCrashed):
            await hall.submit(ROOM, [{"boom": True}])
        await client.wait_closed()
        assert client.closed[0][1:] == (CloseCode.CRASHED, "crashed")
        assert client.of(Dispersed)[0].reason == "crashed"
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ("other",)
        assert hall.snapshot().crashed == 1
        assert not elsewhere.closed
        again = Recorder()
        await hall.join(ROOM, again, since=0)
        [joined] = again.of(Joined)
        assert isinstance(joined.ops, tuple)
        assert [op.value for op in joined.ops] == [{"n": 1}]
        assert "gathering crashed" in caplog.text


async def test_leaving_the_hall_gives_notice(autojump_clock: MockClock) -> None:
    client = Recorder()
    async with open_hall(store=MemoryStore()) as hall:
        await hall.join(ROOM, client)
    assert client.closed[0][1:] == (CloseCode.GOING_AWAY, "shutdown")
    with pytest.raises(HallClosed):
        await hall.open(ROOM)


@pytest.mark.parametrize("says_later", [False, True])
async def test_nothing_makes_closing_last_longer_than_the_grace(
    says_later: bool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A commit that never ends, and a client that reads nothing, in one gathering."""
    store = slow_store(seconds=math.inf, nursery=nursery if says_later else None)
    client, stuck = Recorder(), Recorder(stuck=True)
    async with open_hall(store=store, close_grace=5.0) as hall:
        membership = await hall.join(ROOM, client)
        await hall.join(ROOM, stuck)
        await hall.join("another", Recorder(stuck=True))
        membership.deliver_nowait(sync("never durable"))
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await hall.close()
        assert trio.current_time() == start + 5
    assert client.closed == [(start + 5, CloseCode.GOING_AWAY, "shutdown")]
    assert stuck.aborted
    assert not client.of(Synced)


async def test_cancelling_the_owner_ends_everything(autojump_clock: MockClock) -> None:
    client, stuck = Recorder(), Recorder(stuck=True)
    start = trio.current_time()
    with trio.move_on_after(10) as scope:
        async with open_hall(store=MemoryStore(), close_grace=5.0) as hall:
            await hall.join(ROOM, client)
            await hall.join(ROOM, stuck)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == start + 15
    assert client.closed[0] == (start + 10, CloseCode.GOING_AWAY, "shutdown")


async def test_an_error_in_the_owner_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    client = Recorder()
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012 (the block is what's tested)
        async with open_hall(store=MemoryStore()) as hall:
            await hall.join(ROOM, client)
            raise KeyError("mine")
    assert client.closed[0][1:] == (CloseCode.GOING_AWAY, "shutdown")


async def test_a_cancelled_join_leaves_no_client_behind(autojump_clock: MockClock) -> None:
    async with open_hall(store=slow_store("load", 5.0)) as hall:
        patient = Recorder()
        async with trio.open_nursery() as nursery:

            async def impatient() -> None:
                with trio.move_on_after(1):
                    await hall.join(ROOM, Recorder())

            async def wait() -> None:
                await hall.join(ROOM, patient)

            nursery.start_soon(impatient)
            await wait_all_tasks_blocked()
            nursery.start_soon(wait)
        assert len(patient.of(Joined)) == 1
        assert hall.snapshot().clients == 1


async def test_the_notice_may_go_out_with_the_close_frame(autojump_clock: MockClock) -> None:
    """It is handed over as what may wait until the turn's end, so that one write brings both."""

    class Waits(Recorder):
        soon: ClassVar[list[ServerMessage]] = []

        def send_soon(self, outgoing: Outgoing) -> None:
            assert not self.closed
            self.soon.append(outgoing.message)

    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        client = Waits()
        await hall.join("room", client)
        await client.wait_closed()
        assert isinstance(client.soon[-1], Dispersed)
        assert not client.of(Dispersed)
