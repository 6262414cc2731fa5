"""Presence, as the client library shows it: through lost connections, refusals and dispersals."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import Identity, Unauthorized
from squire_gatherings.client import Client, Gathering, Left, PresenceView, Present, TooBig
from tests.client.scripted import Peer, a_client, error, joined
from tests.client.world import ROOM, World, a_world
from tests.ways_in.streams import OURS, StreamWay, over_every_way

TYPES, RESTS = {"typing": True}, {"typing": False}


async def by_name(token: str | None, gathering_id: str) -> Identity:
    if token == "":
        raise Unauthorized("who?")
    return Identity(token)


class Names:
    """Tokens for one client after the other; a client that joins again has its own."""

    def __init__(self) -> None:
        self.next: str | None = None

    def __call__(self) -> str | None:
        return self.next


@asynccontextmanager
async def people(way: StreamWay = OURS, **more: Any) -> AsyncIterator[tuple[World, Client, Names]]:
    names = Names()
    settings = {"token": names, "first_pause": 0.01}
    hall: dict[str, Any] = {"presence": True, "authenticate": by_name} | more
    async with a_world(way, client_settings=settings, **hall) as (world, client):
        yield world, client, names


def states(gathering: Gathering) -> dict[str, Any]:
    view = gathering.presence
    assert view is not None
    return {name: one.state for name, one in view.users.items()}


async def settled(seconds: float = 1.0) -> None:
    await trio.sleep(seconds)
    await wait_all_tasks_blocked()


@over_every_way
async def test_clients_see_each_other(way: StreamWay, autojump_clock: MockClock) -> None:
    async with people(way) as (_, client, names):
        names.next = "alice"
        async with client.join(ROOM, presence=TYPES) as alice:
            assert (await alice.wait_presence()).users == {"alice": Present(1, TYPES)}
            names.next = None
            async with client.join(ROOM, presence={}) as nobody, client.join(ROOM) as other:
                await settled()
                assert nobody.presence == PresenceView({"alice": Present(1, TYPES)}, 1, 1)
                assert nobody.presence == alice.presence
                assert other.presence is None
                alice.set_presence(RESTS)
                await settled()
                assert states(nobody) == {"alice": RESTS}
                with pytest.raises(ValueError, match="plain JSON"):
                    alice.set_presence({"no": float("nan")})
            # Some ways in don't tell whether it has said goodbye.
            await settled(11)
            assert alice.presence is not None
            assert alice.presence.anonymous == 0


async def test_a_lost_connection_is_no_change_for_others(autojump_clock: MockClock) -> None:
    async with people() as (world, client, names):
        names.next = "alice"
        async with client.join(ROOM, presence={}) as alice:
            names.next = "bob"
            async with client.join(ROOM, presence=TYPES) as bob:
                await settled()
                before = alice.presence
                world.cut()
                await wait_all_tasks_blocked()
                assert bob.presence is None
                bob.set_presence(RESTS)
                bob.set_presence(TYPES)
                assert (await bob.wait_presence()) == before
                await settled(60)
                assert alice.presence is before
                world.cut()
                bob.set_presence(RESTS)
                await settled(60)
                assert states(alice) == states(bob) == {"alice": {}, "bob": RESTS}
            await settled()
            assert states(alice) == {"alice": {}}


async def test_a_dispersal_ends_it_and_the_next_join_says_it_again(
    autojump_clock: MockClock,
) -> None:
    async with people(idle_timeout=100.0) as (world, client, names):
        names.next = "alice"
        async with client.join(ROOM, presence=TYPES) as alice:
            await settled(10)
            alice.set_presence(RESTS)
            async for _ in alice:
                pass
            assert trio.current_time() == 100
            assert alice.presence is None
            alice.set_presence(TYPES)
            await settled(1000)
            assert alice.is_asleep
            await alice.rejoin()
            assert (await alice.wait_presence()).users == {"alice": Present(1, TYPES)}
            assert world.opened == 2


async def test_waiting_ends_with_the_stay(autojump_clock: MockClock) -> None:
    async with people() as (_, client, _):
        async with client.join(ROOM, presence={}) as gathering:
            known = await gathering.wait_presence()
        with pytest.raises(Left):
            await gathering.wait_presence(other_than=known)


async def test_a_state_that_is_too_large_is_refused(autojump_clock: MockClock) -> None:
    async with people() as (_, client, names):
        names.next = "alice"
        with pytest.raises(TooBig):
            async with client.join(ROOM, presence={"text": "x" * 2000}):
                pass
        async with client.join(ROOM, presence={}) as alice:
            alice.set_presence({"text": "x" * 2000})
            await settled()
            assert states(alice) == {"alice": {}}
            alice.set_presence(TYPES)
            await settled()
            assert states(alice) == {"alice": TYPES}


async def test_a_server_without_it_is_none(autojump_clock: MockClock) -> None:
    async with a_world(OURS) as (_, client), client.join(ROOM, presence={}) as gathering:
        gathering.set_presence(TYPES)
        await gathering.submit({"n": 1})
        await settled()
        assert gathering.presence is None
        assert gathering.seq == 1


async def test_what_another_connection_of_ours_has_said_is_said_over(
    autojump_clock: MockClock,
) -> None:
    async with people() as (_, client, names):
        names.next = "alice"
        async with client.join(ROOM, presence=TYPES) as phone, client.join(ROOM) as desk:
            desk.set_presence(RESTS)
            await settled()
            assert states(phone) == {"alice": RESTS}
            phone.set_presence(TYPES)
            await settled()
            assert states(desk) == {"alice": TYPES}


# Against servers that follow a script.


def presence(version: int, *names: str, **more: Any) -> dict[str, Any]:
    users = [{"user": name, "connections": 1, "state": {}} for name in names]
    count = more.pop("count", len(names))
    return {
        "type": "presence",
        "version": version,
        "count": count,
        "anonymous": 0,
        "users": users,
    } | more


async def test_of_many_states_the_newest_goes_out_and_not_too_often(
    autojump_clock: MockClock,
) -> None:
    heard: list[tuple[float, Any]] = []

    async def script(peer: Peer) -> None:
        assert (await peer.hear())["presence"] == {"n": 0}
        await peer.say(joined())
        while True:
            message = await peer.hear("presence")
            heard.append((trio.current_time(), message["state"]["n"]))
            if message["state"]["n"] == 99 and trio.current_time() < 2:
                await peer.say(error("rate_limited", message))

    async with a_client(script) as client, client.join(ROOM, presence={"n": 0}) as gathering:
        for number in range(1, 100):
            gathering.set_presence({"n": number})
            await trio.sleep(0.01)
        await trio.sleep(10)
    assert [number for _, number in heard] == [25, 50, 75, 99, 99]
    times = [at for at, _ in heard]
    assert times == [0.25, 0.5, 0.75, 1.0, 3.0]


async def test_what_is_said_while_a_join_is_under_way_goes_out_after_it(
    autojump_clock: MockClock,
) -> None:
    heard: list[Any] = []

    async def first(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await peer.drop()

    async def second(peer: Peer) -> None:
        assert (await peer.hear("join"))["presence"] == {"n": 0}
        await trio.sleep(1)
        await peer.say(joined())
        heard.append((await peer.hear("presence"))["state"])
        await peer.wait()

    async with (
        a_client(first, second, first_pause=0.01) as client,
        client.join(ROOM, presence={"n": 0}) as gathering,
    ):
        await trio.sleep(0.5)
        gathering.set_presence({"n": 1})
        await trio.sleep(5)
    assert heard == [{"n": 1}]


async def test_what_is_told_is_put_together(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(), presence(4, "alice", "bob", count=7))
        changed = presence(5, "bob", "carol", since=4, gone=["alice"], count=6)
        changed["users"][0]["state"] = TYPES
        await peer.say(changed)
        await peer.wait()

    async with a_client(script) as client, client.join(ROOM, presence={}) as gathering:
        await settled()
        users = {"bob": Present(1, TYPES), "carol": Present(1, {})}
        assert gathering.presence == PresenceView(users, 6, 0)


WRONG: list[tuple[list[dict[str, Any]], str]] = [
    ([presence(0)], "version 0"),
    ([presence(1, "alice", "alice")], "a user twice"),
    ([presence(1, "")], "without a proper name"),
    ([presence(1, "alice", count=0)], "shows 1 of 0 users"),
    ([presence(1, count=-1)], "-1 users"),
    ([presence(1, gone=["bob"])], "whole, and without some"),
    ([presence(2, since=1)], "since 1"),
    ([presence(2, since=2)], "since 2"),
    ([presence(1, "alice"), presence(3, since=2)], "since 2"),
]


@pytest.mark.parametrize(("messages", "says"), WRONG, ids=[says for _, says in WRONG])
async def test_nonsense_ends_the_connection(
    messages: list[dict[str, Any]], says: str, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(), *messages)
        await peer.wait()

    async def last(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(error("unauthorized"))

    async with a_client(script, last, first_pause=0.01) as client:
        async with client.join(ROOM, presence={}) as gathering:
            with pytest.raises(Unauthorized):
                await gathering.wait_presence(other_than=PresenceView({"alice": Present(1, {})}, 1))
        assert gathering.presence is None
