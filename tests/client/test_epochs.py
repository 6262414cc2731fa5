"""Logs that were replaced, joins that resume, and own ops that were logged differently."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._rules.behaviour import Submission
from squire_gatherings._values.errors import BadBase, OpConflict
from squire_gatherings._values.op import Op
from squire_gatherings.client import Change, Gathering, LogReplaced
from tests.client.scripted import (
    HungUp,
    Peer,
    a_client,
    dispersed,
    error,
    fetched,
    forward,
    joined,
    synced,
)
from tests.client.world import ROOM, until
from tests.support import Strict, Sum


def ops(*numbers: int) -> dict[str, Any]:
    return {"ops": [{"n": number} for number in numbers], "by": [None] * len(numbers)}


async def be_lost(gathering: Gathering) -> None:
    await until(lambda: not gathering.is_connected, lambda: gathering._session.exchange.news)


async def joins_after(
    *said: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]],
    first: dict[str, Any] | None = None,
    submits: int = 0,
) -> dict[str, Any]:
    """Tell a client these, then cut the connection; return its second join."""
    joins: list[dict[str, Any]] = []
    came_back = trio.Event()

    async def serve(peer: Peer) -> None:
        joins.append(await peer.hear("join"))
        if len(joins) == 2:
            came_back.set()
            await peer.wait()
            return
        await peer.say(first or joined())
        for message in said:
            if callable(message):
                message = message(await peer.hear("sync"))
            await peer.say(message)
        await trio.sleep(1)
        await peer.drop()

    async with (
        a_client(serve, serve) as client,
        client.join(ROOM) as gathering,
        trio.open_nursery() as nursery,
    ):

        async def submit() -> None:
            try:
                await gathering.submit({"n": 1})
            except OpConflict:
                return

        for _ in range(submits):
            nursery.start_soon(submit)
        await came_back.wait()
        nursery.cancel_scope.cancel()
    return joins[1]


async def test_the_epoch_of_the_last_op_is_sent_with_since(autojump_clock: MockClock) -> None:
    # If the epoch is left out, it is the incarnation.
    join = await joins_after(forward(1), forward(2))
    assert (join["since"], join["epoch"], join["resume"]) == (2, "i1", "i1")
    join = await joins_after(forward(1), forward(2, epoch="older"))
    assert (join["since"], join["epoch"]) == (2, "older")
    # An op that came before changes nothing.
    join = await joins_after(forward(1), forward(1, epoch="older"))
    assert (join["since"], join["epoch"]) == (1, "i1")
    join = await joins_after(first=joined(seq=2, **ops(1, 2), epoch="older"))
    assert (join["since"], join["epoch"]) == (2, "older")
    join = await joins_after(first=joined(seq=5, snapshot=5, epoch="older"))
    assert (join["since"], join["epoch"]) == (5, "older")
    join = await joins_after(first=joined(seq=5, **ops(1, 2, 3), epoch="older"))
    assert (join["since"], join["epoch"]) == (3, "older")
    join = await joins_after(lambda sync: synced(sync, 1), submits=1)
    assert (join["since"], join["epoch"]) == (1, "i1")
    # Ops from before the join come as ops, our own ones included.
    earlier = joined(seq=3, **ops(1, 2), epoch="older")
    join = await joins_after(lambda sync: synced(sync, 3), first=earlier, submits=1)
    assert (join["since"], join["epoch"]) == (2, "older")
    conflict = {"type": "conflict", "seq": 2, **ops(1, 2), "epoch": "older"}
    join = await joins_after(lambda sync: conflict | {"id": sync["id"]}, submits=1)
    assert (join["since"], join["epoch"]) == (2, "older")
    # Ops from the time before epochs have none.
    join = await joins_after(forward(1, epoch=""))
    assert (join["since"], "epoch" in join) == (1, False)
    join = await joins_after()
    assert "since" not in join
    assert "epoch" not in join


async def test_a_client_with_something_to_ask_does_not_resume(autojump_clock: MockClock) -> None:
    joins: list[dict[str, Any]] = []

    async def serve(peer: Peer) -> None:
        joins.append(await peer.hear("join"))
        await peer.say(joined(seq=1, snapshot=1, incarnation=f"i{len(joins)}"))
        await peer.wait()

    async def serve_and_cut(peer: Peer) -> None:
        with trio.move_on_after(10):
            await serve(peer)
        await peer.drop()

    async with a_client(*[serve_and_cut] * 6) as client, client.join(ROOM, since=0) as gathering:
        await trio.sleep(15)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": 1})
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert [join.get("resume") for join in joins] == [None, "i1", None]
    joins.clear()
    async with a_client(*[serve_and_cut] * 6) as client, client.join(ROOM, since=0) as gathering:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, gathering)
            await trio.sleep(15)
            nursery.cancel_scope.cancel()
        # The fetch for the iterating program isn't answered.
        assert [join.get("resume") for join in joins] == [None, None]


async def test_a_client_whose_program_waits_to_join_does_not_resume(
    autojump_clock: MockClock,
) -> None:
    joins: list[dict[str, Any]] = []

    async def serve(peer: Peer) -> None:
        joins.append(await peer.hear("join"))
        await peer.say(joined())
        await trio.sleep(1)
        await peer.drop()

    settings = {"first_pause": 100.0, "max_pause": 100.0}
    async with a_client(serve, serve, **settings) as client, client.join(ROOM) as gathering:
        await be_lost(gathering)
        await gathering.rejoin()
        assert "resume" not in joins[1]


async def test_a_join_that_resumes_may_be_told_that_it_is_over(autojump_clock: MockClock) -> None:
    joins: list[dict[str, Any]] = []

    async def first(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(), forward(1))
        await trio.sleep(1)
        await peer.drop()

    async def over(peer: Peer) -> None:
        joins.append(await peer.hear("join"))
        await peer.say(dispersed(seq=1))
        await peer.close(4001)

    async def again(peer: Peer) -> None:
        joins.append(await peer.hear("join"))
        await peer.say(joined(seq=1, incarnation="i2"))
        await peer.say(synced(await peer.hear("sync"), 2))
        await peer.wait()

    async with a_client(first, over, again) as client, client.join(ROOM) as gathering:
        # It's like any dispersal: the loop ends, and the gathering sleeps.
        assert [change.seq async for change in gathering] == [1]
        assert gathering.dispersed is not None
        assert gathering.dispersed.reason == "idle"
        assert gathering.is_asleep
        await trio.sleep(10**6)
        assert [join.get("resume") for join in joins] == ["i1"]
        assert await gathering.submit({"n": 2}) == 2
        assert [join.get("resume") for join in joins] == ["i1", None]


async def test_a_client_that_asks_meanwhile_is_not_left_asleep(autojump_clock: MockClock) -> None:
    """The submit comes while the join that resumes is under way."""

    async def first(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await trio.sleep(1)
        await peer.drop()

    async def over(peer: Peer) -> None:
        assert "resume" in await peer.hear("join")
        await trio.sleep(5)
        await peer.say(dispersed())
        await peer.close(4001)

    async def again(peer: Peer) -> None:
        assert "resume" not in await peer.hear("join")
        await peer.say(joined(incarnation="i2"))
        await peer.say(synced(await peer.hear("sync"), 1))
        await peer.wait()

    async with a_client(first, over, again) as client, client.join(ROOM) as gathering:
        await trio.sleep(3)
        assert await gathering.submit({"n": 1}) == 1


async def take_all(gathering: Gathering) -> None:
    async for _ in gathering:
        pass


def replaced_by_error(code: str, has_close: bool = True) -> Any:
    async def serve(peer: Peer) -> None:
        join = await peer.hear("join")
        assert join["since"]
        await peer.say(error(code))
        if has_close:
            await peer.close(4011)

    return serve


async def replaced_by_close(peer: Peer) -> None:
    await peer.hear("join")
    await peer.close(4011)


async def replaced_later(peer: Peer) -> None:
    join = await peer.hear("join")
    await peer.say(joined(seq=join["since"]), error("log_replaced"))
    await peer.wait()


@pytest.mark.parametrize(
    "says",
    [
        replaced_by_error("log_replaced"),
        replaced_by_error("log_replaced", has_close=False),
        replaced_by_error("bad_base"),
        replaced_by_close,
        replaced_later,
    ],
)
async def test_a_replaced_log_is_said_once_and_started_over(
    says: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def old(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=2, **ops(1, 2)), forward(3), forward(4))
        await trio.sleep(1)
        await peer.drop()

    async def new(peer: Peer) -> None:
        join = await peer.hear("join")
        assert "since" not in join
        assert "epoch" not in join
        await peer.say(joined(seq=2, incarnation="i2", **ops(10, 20)), forward(3))
        await peer.wait()

    async with a_client(old, says, new) as client, client.join(ROOM) as gathering:
        assert (await anext(gathering)).seq == 3
        # The fourth op counts no more, even if the program has taken it.
        with pytest.raises(LogReplaced):
            await take_all(gathering)
        assert [await anext(gathering) for _ in range(3)] == [
            Change(1, None, {"n": 10}),
            Change(2, None, {"n": 20}),
            Change(3, None, {"n": 3}),
        ]
        assert (gathering.seq, gathering.snapshot()) == (3, 3)
    assert sum("begins again" in message for message in caplog.messages) == 1


async def test_unanswered_submits_are_repeated_to_the_new_log(
    autojump_clock: MockClock,
) -> None:
    syncs: list[dict[str, Any]] = []

    async def old(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=2, **ops(1, 2)))
        syncs.append(await peer.hear("sync"))
        await peer.drop()

    async def new(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=1, incarnation="i2", **ops(10)))
        syncs.append(await peer.hear("sync"))
        await peer.say(synced(syncs[1], 2), forward(3))
        await peer.wait()

    scripts = (old, replaced_by_error("log_replaced"), new)
    async with a_client(*scripts) as client, client.join(ROOM) as gathering:
        assert await gathering.submit({"n": 7}) == 2
        assert syncs[0]["id"] == syncs[1]["id"]
        # The sync was based on nothing of the new log.
        assert (syncs[0]["base"], syncs[1]["base"]) == (2, 0)
        with pytest.raises(LogReplaced):
            await anext(gathering)
        assert [(await anext(gathering)).seq for _ in range(2)] == [1, 3]
        assert gathering.snapshot() == 3


async def test_a_reader_who_waits_for_a_page_of_the_old_log(autojump_clock: MockClock) -> None:
    async def old(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=9, snapshot=9))
        await peer.hear("fetch")
        await peer.drop()

    async def new(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=2, snapshot=2, incarnation="i2"))
        await peer.say(fetched(await peer.hear("fetch"), 2, 10, 20))
        await peer.wait()

    scripts = (old, replaced_by_error("log_replaced"), new)
    async with a_client(*scripts) as client, client.join(ROOM, since=5) as gathering:
        with pytest.raises(LogReplaced):
            await anext(gathering)
        assert [(await anext(gathering)).op["n"] for _ in range(2)] == [10, 20]


async def test_a_server_that_says_so_for_ever_is_no_storm(autojump_clock: MockClock) -> None:
    opened = 0

    async def old(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=2, **ops(1, 2)))
        await trio.sleep(1)
        await peer.drop()

    async def mad(peer: Peer) -> None:
        nonlocal opened
        opened += 1
        await peer.hear("join")
        await peer.close(4011)

    async with a_client(old, *[mad] * 10000) as client, client.join(ROOM) as gathering:
        with pytest.raises(LogReplaced):
            await anext(gathering)
        with trio.move_on_after(3600):
            await anext(gathering)
        assert opened < 1000


async def test_the_first_join_after_an_op_of_another_log_is_refused(
    autojump_clock: MockClock,
) -> None:
    for code, kind in (("bad_base", BadBase), ("log_replaced", LogReplaced)):
        async with a_client(replaced_by_error(code)) as client:
            with pytest.raises(kind):
                async with client.join(ROOM, behaviour=None, since=7):
                    pass


# Joins that don't ask for the past.


async def test_a_client_without_a_state_is_not_sent_the_past(autojump_clock: MockClock) -> None:
    joins: list[dict[str, Any]] = []

    async def serve(peer: Peer) -> None:
        joins.append(await peer.hear("join"))
        seq = 10**6 if len(joins) == 1 else joins[-1]["since"]
        await peer.say(joined(seq=seq, epoch="older"), forward(seq + 1))
        await trio.sleep(1)
        await peer.drop()

    async with (
        a_client(serve, serve) as client,
        client.join(ROOM, behaviour=None) as gathering,
    ):
        assert gathering.seq == 10**6
        assert [(await anext(gathering)).seq for _ in range(2)] == [10**6 + 1, 10**6 + 2]
    assert joins[0]["tail"] is True
    assert "tail" not in joins[1]
    assert (joins[1]["since"], joins[1]["epoch"]) == (10**6 + 1, "i1")


@pytest.mark.parametrize("how", [{"snapshot": 3}, ops(1, 2, 3), ops(1)])
async def test_an_older_server_may_send_the_past_all_the_same(
    how: dict[str, Any], autojump_clock: MockClock
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=3, **how))
        if how == ops(1):
            await peer.say(forward(2), forward(3))
        await peer.say(forward(4))
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM, behaviour=None) as gathering:
        assert (await anext(gathering)).seq == 4


async def test_a_client_with_a_state_or_a_since_is_sent_the_past(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        assert "tail" not in await peer.hear("join")
        await peer.say(joined(seq=1, **ops(1)))
        await peer.wait()

    async with a_client(serve, serve) as client:
        async with client.join(ROOM) as gathering:
            assert gathering.snapshot() == 1
        async with client.join(ROOM, behaviour=None, since=0) as gathering:
            assert (await anext(gathering)).seq == 1


# Ops as the server logged them.


class Plain(Sum):
    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        raise AssertionError("nobody asks")


async def test_logged_ops_are_folded_without_another_judgement(
    autojump_clock: MockClock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(max_ops=1000))
        logged = [{"add": 10}, {"add": 20}]
        await peer.say(synced(await peer.hear("sync"), 1, 2, ops=logged))
        # The answer has no ops, so they were logged as they were sent.
        await peer.say(synced(await peer.hear("sync"), 3))
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM, behaviour=Plain) as gathering:
        await gathering.submit_all([{"add": 1}, {"add": 2}])
        assert gathering.snapshot() == {"total": 30}
        await gathering.submit({"add": 4})
        await wait_all_tasks_blocked()
        assert gathering.snapshot() == {"total": 34}


async def test_the_behaviours_reason_for_a_conflict_is_told(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        conflict = {"type": "conflict", "seq": 0, "ops": [], "by": []}
        sync = await peer.hear("sync")
        await peer.say(conflict | {"id": sync["id"], "message": "bob was faster"})
        sync = await peer.hear("sync")
        await peer.say(conflict | {"id": sync["id"]})
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM) as gathering:
        with pytest.raises(OpConflict, match="bob was faster"):
            await gathering.submit({"n": 1})
        with pytest.raises(OpConflict, match="can't be merged"):
            await gathering.submit({"n": 1})


async def test_its_own_ops_do_not_make_a_client_stale(autojump_clock: MockClock) -> None:
    """With four ops in flight and no other client, the view has all four, before and after."""

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        # The server is older than `max_ops`, so the client judges again.
        await peer.say(joined())
        syncs = [await peer.hear("sync") for _ in range(4)]
        await trio.sleep(10)
        for seq, sync in enumerate(syncs, start=1):
            await peer.say(synced(sync, seq))
        with pytest.raises(HungUp):
            await peer.hear("join")

    async with (
        a_client(serve) as client,
        client.join(ROOM, behaviour=Strict, optimistic=True) as gathering,
        trio.open_nursery() as nursery,
    ):
        for n in range(4):
            nursery.start_soon(gathering.submit, {"add": 10**n})
        await trio.sleep(5)
        assert gathering.snapshot() == {"total": 1111}
        await trio.sleep(10)
        assert (gathering.seq, gathering.snapshot()) == (4, {"total": 1111})
        assert gathering.is_connected


async def test_the_ops_of_others_make_a_client_stale(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await peer.hear("sync")
        await trio.sleep(5)
        await peer.say(forward(1, op={"add": 100}))
        await peer.wait()

    async with (
        a_client(serve) as client,
        client.join(ROOM, behaviour=Strict, optimistic=True) as gathering,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(gathering.submit, {"add": 1})
        await trio.sleep(1)
        assert gathering.snapshot() == {"total": 1}
        await trio.sleep(10)
        # The server will refuse the op, so the view leaves it out.
        assert gathering.snapshot() == {"total": 100}
        nursery.cancel_scope.cancel()


async def test_a_conflict_that_overtakes_an_answer_shows_nothing_of_ours(
    autojump_clock: MockClock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        first = await peer.hear("sync")
        second = await peer.hear("sync")
        lacking = {"ops": [{"n": 0}, first["ops"][0]], "by": [None, None]}
        await peer.say({"type": "conflict", "id": second["id"], "seq": 2, **lacking})
        await trio.sleep(1)
        await peer.say(synced(first, 2))
        await peer.say(forward(3))
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM) as gathering:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": 1})
            await wait_all_tasks_blocked()
            with pytest.raises(OpConflict):
                await gathering.submit({"n": 2})
        assert [(await anext(gathering)).seq for _ in range(2)] == [1, 3]
        assert gathering.snapshot() == 3
