"""Every call that waits is a checkpoint, and atomic about cancellation. All on virtual time."""

from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings.client import Gathering
from tests.client.scripted import Peer, a_client, dispersed, fetched, forward, joined
from tests.client.world import ROOM, a_world
from tests.support import examples
from tests.ways_in.streams import StreamWay, over_every_way


async def expired(call: Any) -> bool:
    """Call under a time limit that is over; return whether it was cancelled."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await call()
    return scope.cancelled_caught


@over_every_way
async def test_an_expired_limit_takes_no_change(way: StreamWay, autojump_clock: MockClock) -> None:
    async with (
        a_world(way) as (_, client),
        client.join(ROOM) as reader,
        client.join(ROOM) as author,
    ):
        for n in range(1, 7):
            await author.submit({"n": n})
        await wait_all_tasks_blocked()
        for _ in range(3):
            assert await expired(reader.__anext__)
        assert [(await anext(reader)).seq for _ in range(6)] == [1, 2, 3, 4, 5, 6]


@over_every_way
async def test_an_expired_limit_takes_no_end(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way, idle_timeout=3600.0) as (_, client), client.join(ROOM) as reader:
        await trio.sleep(2 * 3600)
        for _ in range(3):
            assert await expired(reader.__anext__)
        assert reader.dispersed is None
        assert [change async for change in reader] == []
        assert reader.dispersed is not None


async def test_a_page_that_was_fetched_for_a_reader_who_gave_up_is_kept(
    autojump_clock: MockClock,
) -> None:
    """The page is fetched once, however often the reader gives up."""
    fetches = []

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=2, snapshot=2))
        while True:
            fetch = await peer.hear("fetch")
            fetches.append(fetch["since"])
            await trio.sleep(5)
            await peer.say(fetched(fetch, 2, 1, 2))

    async with a_client(serve) as client, client.join(ROOM, since=0) as reader:
        for _ in range(3):
            with trio.move_on_after(1):
                await anext(reader)
        await trio.sleep(5)
        assert [(await anext(reader)).seq for _ in range(2)] == [1, 2]
    assert fetches == [0]


@settings(max_examples=examples(150), deadline=None)
@given(
    script=st.lists(
        st.one_of(
            st.tuples(st.just("forward"), st.just(0.0)),
            st.tuples(st.just("disperse"), st.just(0.0)),
            st.tuples(st.just("try"), st.sampled_from([0.0, 0.5, 1.0, 2.0])),
            st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0])),
        ),
        max_size=30,
    )
)
def test_each_change_and_end_comes_once_whatever_the_limits(script: list[Any]) -> None:
    async def main() -> None:
        inbox_send, inbox = trio.open_memory_channel[str](1000)
        expected: list[Any] = []
        got: list[Any] = []
        seq = 0

        async def serve(peer: Peer) -> None:
            nonlocal seq
            await peer.hear("join")
            await peer.say(joined(seq=seq))
            async for what in inbox:
                await trio.sleep(0.5)
                if what == "disperse":
                    expected.append("end")
                    await peer.say(dispersed(seq=seq))
                    await peer.close(4001)
                    return
                seq += 1
                expected.append(seq)
                await peer.say(forward(seq))

        async def try_to_take(gathering: Gathering, limit: float) -> bool:
            with trio.move_on_after(limit):
                try:
                    got.append((await anext(gathering)).seq)
                except StopAsyncIteration:
                    got.append("end")
                    await gathering.rejoin()
                return True
            return False

        async with (
            a_client(*[serve] * 100) as client,
            client.join(ROOM) as gathering,
        ):
            for what, seconds in script:
                if what == "try":
                    await try_to_take(gathering, seconds)
                elif what == "wait":
                    await trio.sleep(seconds)
                else:
                    inbox_send.send_nowait(what)
            while await try_to_take(gathering, 60):
                pass
        assert got == expected

    trio.run(main, clock=MockClock(autojump_threshold=0))


@over_every_way
async def test_an_expired_limit_submits_nothing(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way) as (_, client), client.join(ROOM) as gathering:
        assert await expired(lambda: gathering.submit({"n": 1}))
        assert await expired(lambda: gathering.submit_all([{"n": 1}, {"n": 2}]))
        assert gathering.unanswered == 0
        assert await gathering.submit({"n": 3}) == 1
        assert await expired(gathering.rejoin)


@over_every_way
async def test_an_expired_limit_joins_nothing(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way) as (world, client):

        async def join() -> None:
            async with client.join(ROOM):
                raise AssertionError

        assert await expired(join)
        assert world.opened == 0


@over_every_way
async def test_calls_that_have_nothing_to_wait_for_are_checkpoints(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    async with a_world(way) as (_, client), client.join(ROOM) as one, client.join(ROOM) as two:
        for n in range(10):
            await two.submit({"n": n})
        await wait_all_tasks_blocked()
        with trio.testing.assert_checkpoints():
            await anext(one)
        with trio.testing.assert_checkpoints():
            await one.rejoin()


async def test_an_answer_that_has_come_is_returned(autojump_clock: MockClock) -> None:
    """The limit expires at the moment when the answer comes: the answer isn't lost."""

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        sync = await peer.hear("sync")
        await trio.sleep(1)
        await peer.say({"type": "synced", "id": sync["id"], "seqs": [1]})
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM) as gathering:
        scope = trio.CancelScope()
        seqs = []

        async def submit() -> None:
            with scope:
                seqs.append(await gathering.submit({"n": 1}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            while gathering.seq == 0:
                await gathering._session.exchange.news.wait()
            scope.cancel()
        assert seqs == [1]


async def test_a_sync_id_may_be_asked_about_again(autojump_clock: MockClock) -> None:
    """A submit that was given up is still under way: repeating it waits for its answer."""

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        sync = await peer.hear("sync")
        await trio.sleep(10)
        await peer.say({"type": "synced", "id": sync["id"], "seqs": [1]})
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM) as gathering:
        with trio.move_on_after(1):
            await gathering.submit({"n": 1}, sync_id="mine")
        with pytest.raises(ValueError, match="under way"):
            await gathering.submit({"n": 2}, sync_id="mine")
        assert await gathering.submit({"n": 1}, sync_id="mine") == 1


async def test_a_sync_that_was_withdrawn_unsent_is_never_sent(autojump_clock: MockClock) -> None:
    heard = []

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        # It reads nothing, so that the client's sending is stuck.
        await trio.sleep(10)
        for _ in range(2):
            sync = await peer.hear("sync")
            heard.append(sync["ops"])
            await peer.say({"type": "synced", "id": sync["id"], "seqs": [len(heard)]})
        await peer.wait()

    async with (
        a_client(serve) as client,
        client.join(ROOM) as gathering,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(gathering.submit, {"n": 1})
        with trio.move_on_after(0):
            await gathering.submit({"n": 2}, sync_id="mine")
        nursery.start_soon(lambda: gathering.submit({"n": 3}, sync_id="mine"))
    assert heard == [[{"n": 1}], [{"n": 3}]]


@over_every_way
@pytest.mark.parametrize("sync_id", ["", "x" * 129, "\ud800"])
async def test_a_sync_id_is_checked(
    sync_id: str, way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (_, client), client.join(ROOM) as gathering:
        with pytest.raises(ValueError):  # noqa: PT011 (the third is a UnicodeError)
            await gathering.submit({"n": 1}, sync_id=sync_id)
        assert await gathering.submit({"n": 1}) == 1
