"""Quotas: what all gatherings of a hall may use together."""

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings import (
    BadSetting,
    Full,
    Hall,
    HallSettings,
    HandshakeRequest,
    Identity,
    open_hall,
)
from squire_gatherings._hall.parts import quotas_of
from tests.support import Recorder


async def fill(hall: Hall, *names: str) -> list[Recorder]:
    made = [Recorder() for _ in names]
    for name, recorder in zip(names, made, strict=True):
        await hall.join(name, recorder)
    return made


async def test_one_gathering_too_many_is_refused(autojump_clock: MockClock) -> None:
    async with open_hall(max_gatherings=2) as hall:
        await fill(hall, "a", "b")
        for ask in (
            lambda: hall.join("c", Recorder()),
            lambda: hall.open("c"),
            lambda: hall.submit("c", [{}]),
            lambda: hall.fetch("c"),
        ):
            with pytest.raises(Full, match="all the gatherings that it takes: 2"):
                await ask()
        # Gatherings that are open stay open to all.
        await fill(hall, "a", "b")
        assert hall.snapshot().refused == {"gatherings": 4}
        await hall.disperse("a")
        await fill(hall, "c")


async def test_the_stalest_makes_room(autojump_clock: MockClock) -> None:
    async with open_hall(max_gatherings=3, when_full="stalest") as hall:
        for name in ("old", "young"):
            membership = await hall.join(name, Recorder())
            await hall.submit(name, [{"n": 1}])
            membership.detach()
            await trio.sleep(1)
        [busy] = await fill(hall, "busy")
        await hall.open("new")
        assert set(hall.gatherings()) == {"young", "busy", "new"}
        await fill(hall, "new", "fourth")
        assert set(hall.gatherings()) == {"busy", "new", "fourth"}
        # No client that is there is thrown out.
        with pytest.raises(Full):
            await hall.open("fifth")
        assert not busy.closed
        assert hall.snapshot().dispersed == {"evicted": 2}
        # Nothing is lost.
        await hall.disperse("fourth")
        assert (await hall.fetch("old")).seq == 1


async def test_a_visit_makes_it_fresh(autojump_clock: MockClock) -> None:
    async with open_hall(max_gatherings=2, when_full="stalest") as hall:
        for name in ("a", "b"):
            await hall.submit(name, [{"n": 1}])
            await trio.sleep(1)
        await hall.submit("a", [{"n": 2}])
        await hall.open("c")
        assert set(hall.gatherings()) == {"a", "c"}


async def test_many_openers_at_once(autojump_clock: MockClock) -> None:
    """Some find none that could give way, since all are being opened; never are there too many."""
    told: list[str] = []
    async with open_hall(max_gatherings=5, when_full="stalest") as hall:

        async def use(name: str) -> None:
            try:
                await hall.submit(name, [{"n": 1}])
                told.append("served")
            except Full:
                told.append("full")
            assert quotas_of(hall).openers.total <= 5

        for wave in range(3):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(use, f"{wave}-{number}")
        assert len(told) == 60
        assert told.count("served") >= 15
        assert len(hall.gatherings()) == quotas_of(hall).openers.total == 5


async def test_the_user_that_opened_it_is_charged(autojump_clock: MockClock) -> None:
    alice, bob = Identity("alice"), Identity("bob")
    async with open_hall(max_gatherings_per_user=2) as hall:
        await hall.join("a1", Recorder(), identity=alice)
        await hall.submit("a2", [{}], identity=alice)
        with pytest.raises(Full, match="one user opens at most 2"):
            await hall.join("a3", Recorder(), identity=alice)
        # A user may join what others have opened, and others may open more.
        await hall.join("b1", Recorder(), identity=bob)
        await hall.join("b1", Recorder(), identity=alice)
        await hall.disperse("a1")
        await hall.join("a3", Recorder(), identity=alice)
        # Anonymous clients at one address share a quota.
        here = HandshakeRequest(path="/", peer="2001:db8::1")
        near = HandshakeRequest(path="/", peer="2001:db8::2")
        for name, request in (("c1", here), ("c2", near)):
            await hall.join(name, Recorder(), request=request)
        with pytest.raises(Full):
            await hall.join("c3", Recorder(), request=here)
        await hall.join("c3", Recorder(), request=HandshakeRequest(path="/", peer="192.0.2.1"))
        # The program itself has no quota.
        for number in range(5):
            await hall.open(f"ours{number}")
        assert hall.snapshot().refused == {"gatherings_per_user": 2}


async def test_connections_of_a_user(autojump_clock: MockClock) -> None:
    alice = Identity("alice")
    async with open_hall(max_connections_per_user=2) as hall:
        first = await hall.join("a", Recorder(), identity=alice, client="one" * 6)
        await hall.join("b", Recorder(), identity=alice)
        with pytest.raises(Full, match="a user has at most 2 connections"):
            await hall.join("c", Recorder(), identity=alice)
        # A client that replaces its older connection counts once.
        await hall.join("a", Recorder(), identity=alice, client="one" * 6)
        await hall.join("a", Recorder())
        first.detach()
        await hall.disperse("b")
        await hall.join("c", Recorder(), identity=alice)
        assert quotas_of(hall).users.of("alice") == 2


async def test_connections_in_a_gathering(autojump_clock: MockClock) -> None:
    async with open_hall(max_connections_per_gathering=2) as hall:
        one, _ = await hall.join("a", Recorder()), await hall.join("a", Recorder())
        with pytest.raises(Full, match="all the clients that it takes: 2"):
            await hall.join("a", Recorder())
        one.detach()
        await hall.join("a", Recorder())


async def test_nothing_is_counted_after_the_end(autojump_clock: MockClock) -> None:
    async with open_hall(max_memory=10**9) as hall:
        await hall.join("a", Recorder(), identity=Identity("alice"))
        await hall.submit("a", [{"pad": "x" * 1000}] * 50)
        budget = quotas_of(hall).budget
        assert budget.tails > 50_000
        assert hall.snapshot().memory == budget.used
        await hall.disperse("a")
        assert budget.used == 0
        assert quotas_of(hall).users.total == quotas_of(hall).openers.total == 0


async def test_without_memory_no_gathering_is_opened(autojump_clock: MockClock) -> None:
    async with open_hall(max_memory=100_000, tail_bytes=10**9) as hall:
        await hall.submit("a", [{"pad": "x" * 900}] * 100)
        with pytest.raises(Full, match="no memory for one more gathering"):
            await hall.open("b")
        await hall.submit("a", [{"n": 1}])
        await hall.disperse("a")
        await hall.open("b")
        assert hall.snapshot().refused == {"memory": 1}


def test_when_full_has_two_values() -> None:
    for wrong in ("panic", None, 1):
        with pytest.raises(BadSetting, match="when_full must be 'refuse' or 'stalest'"):
            HallSettings(when_full=wrong)  # type: ignore[arg-type]
