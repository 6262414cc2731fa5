"""A program sees its submits, changes, state and endings of a gathering. All on virtual time."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import DispersalReason, Identity, Role, ServerSettings
from squire_gatherings._rules.behaviour import Stamp, Submission
from squire_gatherings._values.errors import (
    BadBase,
    BadGatheringId,
    BadSetting,
    CannotConnect,
    Forbidden,
    Left,
    OpConflict,
    OpRejected,
    SyncIdReused,
    TooBig,
    Unauthorized,
)
from squire_gatherings._values.op import Op
from squire_gatherings.client import Change, Gathering, open_client
from tests.client.world import ROOM, SELDOM, a_world, until
from tests.support import Strict, Sum, slow_store
from tests.ways_in.streams import StreamWay, over_every_way

DAY = 24 * 60 * 60


async def take(gathering: Gathering, count: int) -> list[Change]:
    return [await anext(gathering) for _ in range(count)]


@over_every_way
async def test_everybody_sees_what_the_others_did(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (_, client), client.join(ROOM) as alice, client.join(ROOM) as bob:
        assert await alice.submit({"n": 1}) == 1
        assert await bob.submit_all([{"n": 2}, {"n": 3}]) == (2, 3)
        assert await take(bob, 1) == [Change(1, None, {"n": 1})]
        assert await take(alice, 2) == [Change(2, None, {"n": 2}), Change(3, None, {"n": 3})]
        assert (alice.seq, bob.seq) == (3, 3)
        assert (alice.snapshot(), bob.snapshot()) == (3, 3)


@over_every_way
async def test_a_day_passes_and_a_submit_wakes_it(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way, **SELDOM) as (world, client), client.join(ROOM) as gathering:
        await gathering.submit({"n": 1})
        used = trio.current_time()
        assert gathering.expires_in == DAY
        await trio.sleep(DAY / 2)
        assert gathering.expires_in == DAY / 2
        assert [change async for change in gathering] == []
        # No client's pings or retries have prolonged its life: it lasted exactly a day.
        assert trio.current_time() == used + DAY
        assert gathering.dispersed is not None
        assert (gathering.dispersed.reason, gathering.dispersed.seq) == ("idle", 1)
        assert gathering.is_asleep
        assert not gathering.is_connected
        assert gathering.expires_in is None
        # For a week, no client connects at all.
        await trio.sleep(7 * DAY)
        assert world.opened == 1
        assert world.hall is not None
        assert world.hall.gatherings() == ()
        assert await gathering.submit({"n": 2}) == 2
        assert not gathering.is_asleep
        assert world.hall.gatherings() == (ROOM,)
        assert (world.opened, gathering.snapshot()) == (2, 2)


@over_every_way
async def test_rejoin_wakes_it_and_the_loop_goes_on(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with (
        a_world(way, **SELDOM) as (world, client),
        client.join(ROOM) as one,
        client.join(ROOM) as two,
    ):
        await two.submit({"n": 1})
        assert [change.seq async for change in one] == [1]
        assert [change.seq async for change in two] == []
        await two.submit({"n": 2})
        # Changes from its absence come once it is back, and not before.
        assert (one.seq, one.is_asleep) == (1, True)
        await one.rejoin()
        await one.rejoin()
        assert await take(one, 1) == [Change(2, None, {"n": 2})]
        assert world.opened == 4


@over_every_way
async def test_changes_before_a_dispersal_come_before_the_end(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with (
        a_world(way, **SELDOM) as (_, client),
        client.join(ROOM) as slow,
        client.join(ROOM) as other,
    ):
        await other.submit({"n": 1})
        await trio.sleep(2 * DAY)
        await other.submit({"n": 2})
        await slow.rejoin()
        assert [change.seq async for change in slow] == [1]
        assert slow.dispersed is not None
        assert [change.seq async for change in slow] == [2]


@over_every_way
async def test_a_submit_during_a_dispersal_gets_the_next_incarnation(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    async with a_world(way) as (world, client), client.join(ROOM) as gathering:
        assert world.hall is not None
        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(gathering.submit, {"n": n})
            nursery.start_soon(world.hall.disperse, ROOM)
        fetched = await world.hall.fetch(ROOM, since=0)
        assert isinstance(fetched.ops, tuple)
        assert sorted(op.value["n"] for op in fetched.ops) == [0, 1, 2, 3, 4]


@over_every_way
async def test_many_in_flight_keep_their_order(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way) as (_, client), client.join(ROOM) as one, client.join(ROOM) as two:
        seqs: dict[int, int] = {}

        async def submit(n: int) -> None:
            seqs[n] = await one.submit({"n": n})

        async with trio.open_nursery() as nursery:
            for n in range(500):
                nursery.start_soon(submit, n)
                await wait_all_tasks_blocked()
        assert [seqs[n] for n in range(500)] == list(range(1, 501))
        assert [change.op["n"] for change in await take(two, 500)] == list(range(500))


@over_every_way
async def test_history_is_iterated_from_since_on(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way, batch_bytes=64) as (_, client), client.join(ROOM) as author:
        for n in range(1, 21):
            await author.submit({"n": n})
        async with client.join(ROOM) as fresh, client.join(ROOM, since=5) as since:
            await author.submit({"n": 21})
            assert [c.seq for c in await take(fresh, 1)] == [21]
            assert [c.seq for c in await take(since, 16)] == list(range(6, 22))
            assert (fresh.snapshot(), since.snapshot()) == (21, 21)
        async with client.join(ROOM, since=5, behaviour=None) as stateless:
            assert [c.seq for c in await take(stateless, 16)] == list(range(6, 22))
            with pytest.raises(LookupError):
                stateless.snapshot()
        with pytest.raises(BadBase, match="since is 22"):
            async with client.join(ROOM, since=22):
                pass


@over_every_way
@pytest.mark.parametrize("since", [-1, 2**63])
async def test_a_seq_that_cannot_be_is_refused(
    since: int, way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (_, client):
        with pytest.raises(BadBase, match="since is"):
            async with client.join(ROOM, since=since, behaviour=None):
                pass


@over_every_way
async def test_history_behind_a_snapshot_is_fetched(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with (
        a_world(way, behaviour=Sum, batch_bytes=64) as (_, client),
        client.join(ROOM, behaviour=Sum) as author,
    ):
        for n in range(1, 21):
            await author.submit({"add": n})
        async with client.join(ROOM, behaviour=Sum, since=5) as since:
            assert since.snapshot() == {"total": 210}
            assert [c.op["add"] for c in await take(since, 15)] == list(range(6, 21))
            await author.submit({"add": 100})
            assert [c.op["add"] for c in await take(since, 1)] == [100]
            assert since.snapshot() == {"total": 310}


@over_every_way
async def test_a_slow_reader_loses_nothing(way: StreamWay, autojump_clock: MockClock) -> None:
    """It missed more changes than it may keep in memory, and its own op is among them."""
    settings = {"max_changes": 100}
    async with (
        a_world(way, client_settings=settings, batch_bytes=64) as (_, client),
        client.join(ROOM) as slow,
        client.join(ROOM) as other,
    ):
        for n in range(1, 101):
            await (slow if n % 10 == 0 else other).submit({"n": n})
        await until(lambda: slow.seq == 100, lambda: slow._session.exchange.news)
        assert slow._session.exchange.replica.changes._size <= 100
        theirs = [n for n in range(1, 101) if n % 10]
        assert [c.op["n"] for c in await take(slow, 90)] == theirs
        await other.submit({"n": 101})
        assert [c.seq for c in await take(slow, 1)] == [101]


@over_every_way
async def test_two_cannot_iterate_at_once(way: StreamWay, autojump_clock: MockClock) -> None:
    async with (
        a_world(way) as (_, client),
        client.join(ROOM) as gathering,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(anext, gathering)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(gathering)
        nursery.cancel_scope.cancel()


# Refusals.


@over_every_way
async def test_a_rejected_op_is_rolled_back(way: StreamWay, autojump_clock: MockClock) -> None:
    async with (
        a_world(way, behaviour=Sum, store=slow_store()) as (_, client),
        client.join(ROOM, behaviour=Sum, optimistic=True) as gathering,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(gathering.submit, {"add": 5})
        await wait_all_tasks_blocked()
        # The op shows at once, before the server has answered, but only if the program asked for
        # that.
        assert (gathering.snapshot(), gathering.seq) == ({"total": 5}, 0)
        with pytest.raises(OpRejected, match="would be negative"):
            await gathering.submit({"add": -9})
        assert gathering.snapshot() == {"total": 5}
        assert (gathering.seq, gathering.unanswered) == (1, 0)


class Tally(Sum):
    """Judges by what only the server knows: the client's own judgement accepts everything."""

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return ops


@over_every_way
async def test_the_server_may_reject_an_op_that_the_client_judged_good(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    async with (
        a_world(way, behaviour=Sum, store=slow_store()) as (_, client),
        client.join(ROOM, behaviour=Tally, optimistic=True) as gathering,
        client.join(ROOM, behaviour=Sum) as other,
    ):
        shown = []
        async with trio.open_nursery() as nursery:

            async def refused() -> None:
                with pytest.raises(OpRejected):
                    await gathering.submit({"add": -9})

            # While this is being committed the server answers nothing.
            nursery.start_soon(other.submit, {"add": 0})
            await wait_all_tasks_blocked()
            nursery.start_soon(refused)
            await wait_all_tasks_blocked()
            shown.append(gathering.snapshot())
        shown.append(gathering.snapshot())
        assert shown == [{"total": -9}, {"total": 0}]


@over_every_way
async def test_a_conflict_is_rolled_back_onto_what_the_others_did(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    async with (
        a_world(way, behaviour=Strict) as (world, client),
        client.join(ROOM, behaviour=Strict, optimistic=True) as gathering,
    ):
        assert world.hall is not None
        async with trio.open_nursery() as nursery:

            async def conflicting() -> None:
                with pytest.raises(OpConflict):
                    await gathering.submit({"add": 7})
                # The client has what it lacked, and may try again on that base.
                assert gathering.snapshot() == {"total": 1}
                await gathering.submit({"add": 7})

            nursery.start_soon(world.hall.submit, ROOM, [{"add": 1}])
            nursery.start_soon(conflicting)
        assert gathering.snapshot() == {"total": 8}
        assert [change.op for change in await take(gathering, 1)] == [{"add": 1}]


@over_every_way
async def test_only_members_submit_and_only_objects(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        if token is None:
            raise Unauthorized("show a token")
        return Identity(token, Role.OBSERVER)

    async with a_world(way, authenticate=authenticate) as (_, client):
        with pytest.raises(Unauthorized, match="show a token"):
            async with client.join(ROOM):
                pass
    settings = {"token": "s3cr3t"}
    async with a_world(way, authenticate=authenticate, client_settings=settings) as (_, client):
        assert "s3cr3t" not in repr(client)
        async with client.join(ROOM) as gathering:
            with pytest.raises(Forbidden):
                await gathering.submit({"n": 1})
            with pytest.raises(ValueError, match="plain JSON"):
                await gathering.submit({"n": object()})
            with pytest.raises(ValueError, match="at least one"):
                await gathering.submit_all([])


@over_every_way
async def test_a_sync_id_is_for_one_sync(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way) as (_, client):
        async with client.join(ROOM, client_id="me" * 8) as before:
            assert await before.submit({"n": 1}, sync_id="first") == 1
        async with client.join(ROOM, client_id="me" * 8) as after:
            # The program was started anew, and doesn't know whether its op was logged.
            assert await after.submit({"n": 1}, sync_id="first") == 1
            with pytest.raises(SyncIdReused):
                await after.submit({"n": 2}, sync_id="first")
            assert after.seq == 1


@over_every_way
async def test_the_one_that_is_too_big_is_refused_and_the_others_get_through(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    settings = ServerSettings(max_message_size=300)
    async with (
        a_world(way, server_settings=settings) as (_, client),
        client.join(ROOM) as gathering,
    ):
        seqs = []

        async def submit(size: int) -> None:
            seqs.append(await gathering.submit({"pad": "x" * size}))

        async def fail(size: int) -> None:
            with pytest.raises(TooBig, match="at most 300 bytes"):
                await submit(size)

        async with trio.open_nursery() as nursery:
            for size in (1, 2):
                nursery.start_soon(submit, size)
                nursery.start_soon(fail, 1000 * size)
        assert sorted(seqs) == [1, 2]
        assert await gathering.submit({"pad": ""}) == 3


@over_every_way
async def test_a_client_over_the_rate_limit_waits(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    settings = ServerSettings(rate_limit=10, rate_burst=5)
    async with (
        a_world(way, server_settings=settings) as (_, client),
        client.join(ROOM) as gathering,
        client.join(ROOM) as other,
    ):
        async with trio.open_nursery() as nursery:
            for n in range(8):
                nursery.start_soon(gathering.submit, {"n": n})
        assert sorted(c.op["n"] for c in await take(other, 8)) == list(range(8))


# The beginning and the end.


@over_every_way
async def test_the_first_join_fails_at_once(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way) as (world, client):
        hall, world.hall = world.hall, None
        with pytest.raises(CannotConnect, match="can't reach ws://memory:80"):
            async with client.join(ROOM):
                pass
        world.hall = hall
        with pytest.raises(BadGatheringId):
            async with client.join("a/b"):
                pass
    with pytest.raises(Left):
        async with client.join(ROOM):
            pass


@pytest.mark.parametrize(
    "url",
    ["http://x", "ws://", "ws://u:secret@x", "ws://x/?token=secret", "ws://x:99999", "ws://x/ä"],
)
async def test_a_bad_url_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(BadSetting) as caught:
        async with open_client(url):
            pass
    assert "secret" not in str(caught.value)


@over_every_way
async def test_leaving_says_goodbye(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way, empty_timeout=0.0) as (world, client):
        assert world.hall is not None
        async with client.join(ROOM):
            assert world.hall.snapshot().clients == 1
        await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        assert world.hall.gatherings() == ()


@over_every_way
async def test_what_the_block_raises_comes_out_as_it_is(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (_, client):
        with pytest.raises(KeyError, match="mine"):
            async with client.join(ROOM):
                raise KeyError("mine")


@over_every_way
async def test_a_task_that_waits_is_told_when_the_block_is_left(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    told: list[str] = []
    async with trio.open_nursery() as nursery, a_world(way) as (_, client):

        async def watch(*, task_status: trio.TaskStatus[None]) -> None:
            async with client.join(ROOM) as gathering:
                task_status.started()
                try:
                    await anext(gathering)
                except Left as left:
                    told.append(str(left))

        await nursery.start(watch)
    assert told == ["the client was closed"]


@over_every_way
async def test_a_cancelled_submit_that_was_not_sent_is_withdrawn(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    async with a_world(way) as (world, client), client.join(ROOM) as gathering:
        assert world.hall is not None
        await world.hall.disperse(ROOM, DispersalReason.SHUTDOWN)
        hall, world.hall = world.hall, None
        with trio.move_on_after(60) as scope:
            await gathering.submit({"n": 1})
        assert scope.cancelled_caught
        assert gathering.unanswered == 0
        world.hall = hall
        await gathering.rejoin()
        assert await gathering.submit({"n": 2}) == 1


@over_every_way
async def test_merged_ops_are_the_same_on_both_sides(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    class Doubling(Sum):
        """Logs another op than the one that was submitted."""

        def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
            return [Op.of({"add": 2 * op.value["add"]}) for op in ops]

    async with (
        a_world(way, behaviour=Doubling) as (_, client),
        client.join(ROOM, behaviour=Doubling) as author,
        client.join(ROOM, behaviour=Doubling) as other,
    ):
        await author.submit_all([{"add": 1}, {"add": 2}])
        assert [change.op for change in await take(other, 2)] == [{"add": 2}, {"add": 4}]
        assert author.snapshot() == other.snapshot() == {"total": 6}


@over_every_way
async def test_a_client_that_judges_differently_takes_the_servers_state(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    class Miser(Sum):
        """An older version of the behaviour, which refuses ops that the server accepts."""

        def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
            raise OpRejected("never")

    async with (
        a_world(way, behaviour=Sum) as (world, client),
        client.join(ROOM, behaviour=Miser) as miser,
        client.join(ROOM, behaviour=Sum) as other,
    ):
        assert await miser.submit({"add": 3}) == 1
        await other.submit({"add": 4})
        await until(lambda: miser.seq == 2, lambda: miser._session.exchange.news)
        assert miser.snapshot() == {"total": 7}
        # The server says what it has logged, so the client needn't start over.
        assert world.opened in (2, 3)
        # Its own op still doesn't count as another client's.
        assert [change.op for change in await take(miser, 1)] == [{"add": 4}]


class Players(Sum):
    """A behaviour that trusts what it is given."""

    serves_snapshots = False

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.total += 1
        self.total += op.value["add"] - 1

    def judge(self, ops: Any, submission: Any) -> Any:
        for op in ops:
            if "judge" in op.value:
                raise TypeError("no such thing")
        return ops


@over_every_way
async def test_what_the_behaviour_raises_over_is_not_in_the_optimistic_view(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    async with (
        a_world(way, behaviour=Players, store=slow_store()) as (_, client),
        client.join(ROOM, behaviour=Players, optimistic=True) as gathering,
        trio.open_nursery() as nursery,
    ):
        refused: list[dict[str, Any]] = []

        async def submit(op: dict[str, Any]) -> None:
            try:
                await gathering.submit(op)
            except OpRejected:
                refused.append(op)

        ops: list[dict[str, Any]] = [{"add": 1}, {"poison": 1}, {"judge": 1}, {"add": 2}]
        for op in ops:
            nursery.start_soon(submit, op)
            await wait_all_tasks_blocked()
        assert gathering.unanswered == 4
        assert gathering.snapshot() == {"total": 3}
        await trio.sleep(60)
        assert gathering.unanswered == 0
        assert refused == [{"poison": 1}, {"judge": 1}]
        assert gathering.snapshot() == {"total": 3}


@over_every_way
async def test_an_id_may_be_used_again_the_moment_it_is_answered(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    async with a_world(way) as (_, client), client.join(ROOM) as gathering:
        seqs: list[int] = []

        async def again() -> None:
            exchange = gathering._session.exchange
            await until(lambda: gathering.unanswered == 0, lambda: exchange.news)
            seqs.append(await gathering.submit({"n": 1}, sync_id="x"))

        # Which of two tasks that are woken together runs first is random.
        for _ in range(20):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(gathering.submit, {"n": 1})
                    await wait_all_tasks_blocked()
                    nursery.start_soon(again)
                    seqs.append(await gathering.submit({"n": 1}, sync_id="x"))
        assert set(seqs) == {2}
        assert len(seqs) == 40
