"""Times and proofs in the client: asked for, folded, shown, and sent back."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import Identity, LogBehaviour
from squire_gatherings._stores import MemoryStore
from squire_gatherings.client import CannotConnect, Change, Gathering, LogReplaced, SyncRun
from tests.client.scripted import Peer, a_client, fetched, forward, joined, synced
from tests.client.world import ROOM, a_world, until
from tests.support import Stamped
from tests.ways_in.streams import StreamWay, over_every_way

HEAD = "0123456789abcdef" * 4


async def first_join(**how: Any) -> dict[str, Any]:
    joins: list[dict[str, Any]] = []

    async def serve(peer: Peer) -> None:
        joins.append(await peer.hear("join"))
        await peer.say(joined())
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM, **how):
        return joins[0]


async def test_times_are_asked_for_with_a_behaviour_of_ones_own(autojump_clock: MockClock) -> None:
    assert "times" not in await first_join()
    assert "times" not in await first_join(behaviour=None)
    assert "times" not in await first_join(behaviour=Stamped, times=False)
    assert (await first_join(behaviour=Stamped))["times"] is True
    assert (await first_join(behaviour=LogBehaviour, times=True))["times"] is True
    assert (await first_join(behaviour=None, times=True))["times"] is True


async def test_times_are_folded_and_shown(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        ops = {"ops": [{"add": 1}] * 2, "by": ["a", None], "times": [5, 6]}
        await peer.say(joined(seq=2, user="me", **ops))
        await peer.say(forward(3, op={"add": 1}, time=7))
        await peer.say(synced(await peer.hear("sync"), 4, 5, time=8))
        both = {"ops": [{"add": 1}] * 2, "by": ["a", "b"], "times": [9, 9]}
        await peer.say({"type": "forward", "seq": 6} | both)
        # The server tells no times.
        await peer.say(forward(8, op={"add": 1}))
        await peer.wait()

    async with (
        a_client(serve) as client,
        client.join(ROOM, behaviour=Stamped, since=0) as gathering,
    ):
        await gathering.submit_all([{"add": 1}] * 2)
        changes = [await anext(gathering) for _ in range(6)]
        assert [(one.seq, one.time) for one in changes] == [
            (1, 5), (2, 6), (3, 7), (6, 9), (7, 9), (8, 0)
        ]  # fmt: skip
        assert gathering.snapshot()["stamps"] == [
            [1, 5, "a"], [2, 6, None], [3, 7, None], [4, 8, "me"], [5, 8, "me"], [6, 9, "a"],
            [7, 9, "b"], [8, 0, None],
        ]  # fmt: skip


async def test_syncs_are_asked_for_and_shown(autojump_clock: MockClock) -> None:
    assert "syncs" not in await first_join()
    assert (await first_join(syncs=True))["syncs"] is True

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        ops = {"ops": [{"n": n} for n in (1, 2, 3)], "by": ["a", "b", None]}
        await peer.say(joined(seq=3, **ops, syncs=[[1, 1, "s"], [3, 2, "s"]]))
        await peer.say(forward(4, sync=[3, 2, "s"]))
        await peer.say(synced(await peer.hear("sync"), 5))
        both = {"ops": [{"n": 6}, {"n": 7}], "by": ["a", "b"], "syncs": [[6, 2, "t"]]}
        await peer.say({"type": "forward", "seq": 6} | both)
        # The server can't tell.
        await peer.say(forward(8))
        look = await peer.hear("fetch")
        await peer.say(fetched(look, 3, 1, 2, 3, syncs=[[1, 1, "s"], [2, 2, "u"]]))
        await peer.wait()

    async with (
        a_client(serve) as client,
        client.join(ROOM, since=0, syncs=True) as gathering,
    ):
        await gathering.submit({"n": 5})
        changes = [await anext(gathering) for _ in range(7)]
        first, second, third = SyncRun(1, 1, "s"), SyncRun(3, 2, "s"), SyncRun(6, 2, "t")
        assert [(one.seq, one.sync) for one in changes] == [
            (1, first), (2, None), (3, second), (4, second), (6, third), (7, third), (8, None)
        ]  # fmt: skip
        page = await gathering.fetch(at=3)
        assert page.syncs == (SyncRun(1, 1, "s"), SyncRun(2, 2, "u"))


async def test_syncs_of_changes_that_were_fetched(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=2, snapshot={"total": 2, "stamps": []}))
        await peer.say(fetched(await peer.hear("fetch"), 2, 1, 2, syncs=[[1, 2, "s"]]))
        await peer.wait()

    async with (
        a_client(serve) as client,
        client.join(ROOM, behaviour=Stamped, since=0, syncs=True) as gathering,
    ):
        assert [(await anext(gathering)).sync for _ in range(2)] == [SyncRun(1, 2, "s")] * 2


async def test_what_is_fetched_has_times(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=2, snapshot={"total": 2, "stamps": []}))
        await peer.say(fetched(await peer.hear("fetch"), 2, 1, 2, times=[5, 6]))
        await peer.wait()

    async with (
        a_client(serve) as client,
        client.join(ROOM, behaviour=Stamped, since=0) as gathering,
    ):
        assert await anext(gathering) == Change(1, None, {"n": 1}, 5)
        assert await anext(gathering) == Change(2, None, {"n": 2}, 6)


async def test_what_is_not_answered_has_the_time_that_is_expected(
    autojump_clock: MockClock,
) -> None:

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=1, ops=[{"add": 1}], by=[None], times=[3]))
        await peer.hear("sync")
        await trio.sleep(1)
        await peer.say(forward(2, op={"add": 1}, time=9000))
        await peer.wait()

    async with (
        a_client(serve, wall_clock=lambda: trio.current_time() + 0.005) as client,
        client.join(ROOM, behaviour=Stamped, optimistic=True) as gathering,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(gathering.submit, {"add": 1})
        await wait_all_tasks_blocked()
        assert gathering.unanswered == 1
        assert gathering.snapshot()["stamps"] == [[1, 3, None], [2, 5, None]]
        await anext(gathering)
        # The expected time can't be before those of ops that have come meanwhile.
        assert gathering.snapshot()["stamps"] == [[1, 3, None], [2, 9000, None], [3, 9000, None]]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
async def test_what_is_expected_is_the_servers_time_once_it_is_known(
    off: float, autojump_clock: MockClock
) -> None:
    """A client's clock may be set to anything."""

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await peer.say(synced(await peer.hear("sync"), 1, time=round(server_clock() * 1000)))
        await peer.wait()

    def server_clock() -> float:
        return trio.current_time() + 5000

    def wall_clock() -> float:
        return server_clock() + off

    async with (
        a_client(serve, wall_clock=wall_clock) as client,
        client.join(ROOM, behaviour=Stamped, optimistic=True) as gathering,
        trio.open_nursery() as nursery,
    ):
        await gathering.submit({"add": 1})
        await trio.sleep(10)
        nursery.start_soon(gathering.submit, {"add": 1})
        await wait_all_tasks_blocked()
        time = gathering.snapshot()["stamps"][1][1]
        assert time == pytest.approx(server_clock() * 1000, abs=2)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "wrong",
    [
        {"times": [1]},
        {"times": [2, 1]},
        {"times": [-1, 1]},
        {"times": [1, 2, 3]},
        {"times": [1.5, 2]},
        {"times": 5},
        {"proof": {"seq": -1, "head": HEAD}},
        {"proof": {"seq": 1}},
        {"proof": HEAD},
    ],
)
async def test_malformed_times_and_proofs_are_refused(
    wrong: dict[str, Any], autojump_clock: MockClock
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=2, ops=[{"n": 1}] * 2, by=[None] * 2, **wrong))
        await peer.wait()

    async with a_client(serve) as client:
        with pytest.raises(CannotConnect, match=r"nonsense|something else than a message"):
            async with client.join(ROOM, since=0):
                pass


async def come_back(*scripts: Callable[[Peer], Awaitable[None]], **how: Any) -> list[Any]:
    """Join servers that follow these scripts in turn; return the `known` of each join."""
    known: list[Any] = []
    done = trio.Event()

    def serving(script: Callable[[Peer], Awaitable[None]]) -> Callable[[Peer], Awaitable[None]]:
        async def serve(peer: Peer) -> None:
            join = await peer.hear("join")
            assert join["proof"] is True
            known.append(join.get("known"))
            await script(peer)
            await peer.drop()

        return serve

    async def last(peer: Peer) -> None:
        await peer.say(joined())
        done.set()
        await peer.wait()

    async with (
        a_client(*map(serving, (*scripts, last))) as client,
        client.join(ROOM, **how) as gathering,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(read_on, gathering)
        await done.wait()
        nursery.cancel_scope.cancel()
    return known


async def read_on(gathering: Gathering) -> None:
    while True:
        try:
            await anext(gathering)
        except LogReplaced:
            continue


async def test_a_proof_is_said_again(autojump_clock: MockClock) -> None:
    first, later = {"seq": 2, "head": HEAD}, {"seq": 5, "head": HEAD[::-1]}

    async def let_in(peer: Peer) -> None:
        await peer.say(joined(seq=2, snapshot=2, proof=first))
        await trio.sleep(1)

    async def say_nothing_new(peer: Peer) -> None:
        await peer.say(joined(seq=2))
        await trio.sleep(1)

    async def fetch(peer: Peer) -> None:
        await peer.say(joined(seq=3, ops=[{"n": 3}], by=["a"]))
        await peer.say(fetched(await peer.hear("fetch"), 3, 1, 2, 3, proof=later))
        await trio.sleep(1)

    async def another_log(peer: Peer) -> None:
        await peer.say({"type": "error", "code": "log_replaced", "message": "another"})

    known = await come_back(let_in, say_nothing_new, fetch, another_log, since=0)
    # The client sends no proof for the other log.
    assert known == [None, first, first, later, None]


@over_every_way
async def test_a_log_that_was_changed_is_another_log(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    store = MemoryStore()
    async with a_world(way, store=store) as (world, client):
        assert world.hall is not None
        await world.hall.submit(ROOM, [{"n": 1}])
        async with client.join(ROOM, since=0) as gathering:
            await anext(gathering)
            world.cut()
            await until(lambda: gathering.is_connected, lambda: gathering._session.exchange.news)
            await world.hall.submit(ROOM, [{"n": 2}])
            assert (await anext(gathering)).seq == 2
            # Nothing is wrong so far. Now another program changes an op and makes a new chain.
            heads = store._logs[ROOM].heads
            heads |= dict.fromkeys(heads, b"x" * 32)
            await world.hall.disperse(ROOM)
            with pytest.raises(StopAsyncIteration):
                await anext(gathering)
            await gathering.rejoin()
            with pytest.raises(LogReplaced, match="up to op"):
                await anext(gathering)
            assert (await anext(gathering)).seq == 1


@over_every_way
async def test_a_replica_is_told_what_the_hall_is_told(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    clock = trio.current_time
    async with a_world(way, behaviour=Stamped, tail_bytes=500, wall_clock=clock) as (world, client):
        assert world.hall is not None
        async with client.join(ROOM, behaviour=Stamped) as gathering:
            for number in range(12):
                await trio.sleep(0.3)
                await gathering.submit_all([{"add": 1}] * (number % 3 + 1))
                await world.hall.submit(ROOM, [{"add": 1}], identity=Identity("bob"))
                if number % 4 == 3:
                    world.cut()
            page = await world.hall.fetch(ROOM)
            await until(lambda: gathering.seq == page.seq, lambda: gathering._session.exchange.news)
            assert page.snapshot == gathering.snapshot()
            assert len({time for _, time, _ in page.snapshot["stamps"]}) == 12
