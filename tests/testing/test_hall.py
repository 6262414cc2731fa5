"""The hall under test: members and raw clients, days that cost nothing, and its ends."""

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings import (
    CannotConnect,
    HallClosed,
    Identity,
    StoreUnavailable,
    Unauthorized,
)
from squire_gatherings.testing import FailingStore, HallUnderTest, open_test_hall
from tests.support import Stamped, Sum

ROOM = "friday-night"


async def test_members_see_what_users_see(autojump_clock: MockClock) -> None:
    async with open_test_hall(Sum) as room:
        alice, olga = await room.join("alice"), await room.join("olga", role="judge")
        assert olga.gathering.role == "judge"
        assert await alice.submit({"add": 1}) == 1
        assert await alice.submit_all({"add": 2}, {"add": 3}) == (2, 3)
        await olga.wait_seq(3)
        assert [(one.seq, one.by, one.op) for one in olga.changes] == [
            (1, "alice", {"add": 1}),
            (2, "alice", {"add": 2}),
            (3, "alice", {"add": 3}),
        ]
        assert alice.changes == []
        assert alice.state == olga.state == {"total": 6}
        assert (await olga.fetch(at=1)).snapshot == {"total": 1}
        await olga.leave()
        await room.settle()
        assert room.hall.snapshot().clients == 1


async def test_a_day_costs_nothing(autojump_clock: MockClock) -> None:
    async with open_test_hall(Stamped) as room:
        alice = await room.join("alice")
        first = room.wall_clock()
        await alice.submit({"add": 1})
        await trio.sleep(23 * 3600)
        await alice.submit({"add": 1})
        notice = await alice.wait_notice()
        assert (notice.reason, notice.idle_for) == ("idle", 86_400.0)
        assert trio.current_time() == pytest.approx(47 * 3600)
        assert room.hall.gatherings() == ()
        await alice.submit({"add": 1})  # awake again
        times = [stamp[1] for stamp in alice.state["stamps"]]
        assert [time / 1000 - first for time in times] == pytest.approx(
            [0, 23 * 3600, 47 * 3600], abs=0.01
        )


async def test_it_sleeps_and_wakes(autojump_clock: MockClock) -> None:
    async with open_test_hall(Sum) as room:
        alice = await room.join("alice")
        await alice.submit({"add": 1})
        await trio.sleep(1)
        assert await room.hall.evict(ROOM)
        await alice.submit({"add": 1})
        assert alice.state == {"total": 2}
        assert alice.notice is None


async def test_a_lost_connection_is_nothing_but_a_pause(autojump_clock: MockClock) -> None:
    async with open_test_hall(Sum) as room:
        alice, bob = await room.join("alice"), await room.join("bob")
        bob.cut("reset")
        alice.links[0].cut_after(10)  # in the middle of the answer
        await alice.submit({"add": 1})
        await bob.wait_seq(1)
        assert len(alice.links) == len(bob.links) == 2
        bob.stall(up=False)
        await alice.submit({"add": 1})
        await room.settle()
        assert bob.seq == 1
        bob.release()
        await bob.wait_seq(2)
        assert len(bob.links) == 2


@pytest.mark.parametrize("lands", [True, False])
async def test_what_is_acknowledged_survives_a_kill(lands: bool, autojump_clock: MockClock) -> None:
    async with open_test_hall(Sum) as room:
        alice = await room.join("alice")
        await alice.submit({"add": 1})
        room.store.trouble("append", "slow", seconds=60.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.submit, {"add": 2})
            await trio.sleep(1)
            assert alice.gathering.unanswered == 1
            await room.kill(lands=lands)
            assert (await room.hall.fetch(ROOM)).seq == 1 + lands
        assert alice.state == {"total": 3}
        assert (await room.hall.fetch(ROOM)).seq == 2


async def test_a_restart_tells_everybody(autojump_clock: MockClock) -> None:
    async with open_test_hall(Sum) as room:
        alice = await room.join("alice")
        await alice.submit({"add": 1})
        before = room.hall
        await room.close()
        with pytest.raises(HallClosed):
            assert room.hall
        await room.open()
        assert room.hall is not before
        assert await alice.submit({"add": 1}) == 2
        assert alice.error is None


@pytest.mark.parametrize("subprotocol", ["squire.v1+json", "squire.v1+msgpack"])
async def test_the_protocol_by_hand(subprotocol: str, autojump_clock: MockClock) -> None:
    async with open_test_hall(Sum) as room:
        client = await room.connect(subprotocol=subprotocol)
        await client.say(type="join", since=0)
        assert (await client.hear())["type"] == "joined"
        await client.say(type="sync", id="s", base=0, ops=[{"add": 1}])
        assert (await client.hear())["seqs"] == [1]
        await client.say(type="dance")
        assert (await client.hear("error"))["code"] == "unknown_type"
        await client.send(b"\xff" if client.is_packed else "{")
        assert (await client.hear())["code"] == "bad_message"
        await client.say(type="leave")
        assert await client.hear_end() == (1000, "left")
        with pytest.raises(EOFError):
            await client.say(type="leave")
        other = await room.connect()
        other.link.cut("reset")
        with pytest.raises(EOFError):
            await other.hear()
        assert other.closed == (1006, "")


async def test_who_may_not_come_in_is_told_so(autojump_clock: MockClock) -> None:
    async def nobody(token: str | None, gathering_id: str) -> Identity:
        raise Unauthorized(f"not {token}")

    async with open_test_hall(Sum, authenticate=nobody) as room:
        with pytest.raises(Unauthorized, match="not secret"):
            await room.join("alice", token="secret")
        assert room.members == []
    async with open_test_hall(Sum, max_connections_per_gathering=1) as room:
        await room.join("alice")
        with pytest.raises(CannotConnect, match="all the clients that it takes"):
            await room.join("bob")
        with pytest.raises(Unauthorized, match="no token of a test"):
            await room.join("carol", "other", token="carol")


async def test_what_the_block_raises_comes_out(autojump_clock: MockClock) -> None:
    class Stop(Exception):
        pass

    store = FailingStore()

    async def stop() -> None:
        async with open_test_hall(Sum, store=store) as room:
            alice = await room.join("alice")
            await alice.submit({"add": 1})
            raise Stop

    with pytest.raises(Stop):
        await stop()
    async with open_test_hall(Sum, store=store) as room:
        assert (await room.join("bob")).state == {"total": 1}


async def test_a_store_that_fails_is_waited_for(
    hall: HallUnderTest, store: FailingStore, autojump_clock: MockClock
) -> None:
    """`hall` and `store` are the plugin's."""
    alice = await hall.join("alice")
    store.trouble("append", "busy", calls=2)
    assert await alice.submit({"add": 1}) == 1
    assert store.calls["append"] == 3


@pytest.fixture
def behaviour() -> type[Sum]:
    return Sum


async def test_the_plugins_hall_has_the_tests_behaviour(
    hall: HallUnderTest, autojump_clock: MockClock
) -> None:
    alice = await hall.join("alice")
    await alice.submit({"add": 5})
    assert alice.state == {"total": 5}
    assert (await alice.wait_notice()).idle_for == 86_400.0


@pytest.mark.xfail(raises=pytest.RaisesGroup(RuntimeError), strict=True)
async def test_the_plugins_hall_wants_a_virtual_clock(hall: HallUnderTest) -> None:
    """It says so before the test begins: otherwise a day would last a day."""


async def test_a_hall_that_cannot_be_opened_says_so(autojump_clock: MockClock) -> None:
    async with open_test_hall(Sum) as room:
        room.store.trouble("sleeping", "full", calls=1)
        with pytest.raises(StoreUnavailable):
            await room.restart()
        await room.open()
        await (await room.join("alice")).submit({"add": 1})
