"""Nodes that share a store: whichever is asked, the owner serves, and moves are noticed at once."""

import pytest
import trio
import trio.testing

from squire_gatherings._cluster.node_directory import NodeDirectory
from squire_gatherings._rules.placement import FEW, place
from squire_gatherings.client import open_client
from tests.cluster.sharing import sharing
from tests.cluster.test_passing import request
from tests.server.test_server import exchange

ROOM = "friday-night"
BYE = b"\x88\x80\0\0\0\0"


@pytest.mark.parametrize("machines", [("m", "m"), ("m", "n")])
async def test_any_node_answers(machines: tuple[str, ...]) -> None:
    async with (
        sharing(*machines) as (one, other),
        open_client(one.url) as here,
        open_client(other.url) as there,
        here.join(ROOM) as first,
    ):
        # Nobody had it: the node that was asked has it now.
        assert one.server.connections == 1
        async with there.join(ROOM) as second:
            await first.submit({"n": 1})
            assert await second.submit({"n": 2}) == 2
            assert one.server.connections == 2
            assert (other.router.tally.routed["passed_on"], other.router.tally.between) == (
                (1, 0) if machines == ("m", "m") else (0, 1)
            )
            # One that is new goes to nobody else.
            async with there.join("another") as third:
                assert await third.submit({"n": 1}) == 1
                assert other.server.connections == 1


@pytest.mark.parametrize("machines", [("m", "m"), ("m", "n")])
async def test_what_moves_is_found_at_once_and_no_op_is_lost(machines: tuple[str, ...]) -> None:
    async with (
        sharing(*machines) as (one, other),
        open_client(one.url) as client,
        client.join(ROOM) as gathering,
    ):
        for number in range(1, 6):
            assert await gathering.submit({"n": number}) == number
        began = trio.current_time()
        assert await one.local.move([ROOM], other.local.node) == 1
        # Its giver says so: it isn't left until the next beat.
        while ROOM not in other.local.registry.living:
            assert trio.current_time() - began < other.local.beats.interval / 2
            await trio.sleep(0.002)
        assert await gathering.submit({"n": 6}) == 6
        assert other.server.connections == 1


@pytest.mark.parametrize("machines", [("m", "m", "m"), ("m", "n", "o")])
async def test_where_one_has_given_it_away_and_gone_a_client_is_brought_to_who_has_it(
    machines: tuple[str, ...],
) -> None:
    async with sharing(*machines) as (one, other, third), open_client(one.url) as client:
        await other.hall.open(ROOM)
        async with client.join(ROOM):
            pass
        # The first one remembers for a second who had it.
        assert await other.local.move([ROOM], third.local.node) == 1
        other.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        async with client.join(ROOM) as gathering:
            assert await gathering.submit({"n": 1}) == 1
        assert third.local.registry.living.keys() == {ROOM}


async def test_where_nobody_can_say_who_has_it_a_client_comes_again() -> None:
    async with sharing("m", "m") as (one, _):
        one.store.trouble("owner_of", "full")
        answer = await trio.to_thread.run_sync(exchange, one.url, request(ROOM))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"nobody can say now" in answer
        one.store.heal()
        answer = await trio.to_thread.run_sync(exchange, one.url, request(ROOM) + BYE)
        assert answer.startswith(b"HTTP/1.1 101 ")


async def test_one_that_drains_opens_nothing_more() -> None:
    async with sharing("m", "m") as (one, other), open_client(one.url) as client:
        async with client.join(ROOM) as gathering:
            await gathering.submit({"n": 1})
            assert await one.hall.drain() == 0
            assert await gathering.submit({"n": 2}) == 2
        async with client.join("new") as new:
            await new.submit({"n": 1})
            assert "new" in other.local.registry.living
            assert not one.local.registry.living


async def test_one_that_has_more_than_its_share_opens_only_what_it_is_chosen_for() -> None:
    rooms = [f"room-{number}" for number in range(40)]
    async with sharing("m", "m") as (one, other):
        for number in range(2 * FEW):
            await one.hall.open(f"before-{number}")
        # Both know it.
        for node in (one, other):
            await node.local.beats.say_so()
        chosen = {room: place(room, one.local.nodes) for room in rooms}
        async with open_client(one.url) as client:
            for room in rooms:
                async with client.join(room):
                    pass
        there = {room for room in rooms if room in other.local.registry.living}
        assert there == {room for room, node in chosen.items() if node == other.local.node}
        assert len(there) > len(rooms) / 2
        # The other one has little, so it opens all that it is asked for.
        async with open_client(other.url) as client, client.join("one-more"):
            assert "one-more" in other.local.registry.living


async def test_what_another_node_has_chosen_it_for_it_opens() -> None:
    async with sharing("m", "m") as (one, other):
        for number in range(2 * FEW):
            await one.hall.open(f"before-{number}")
        await one.local.beats.say_so()
        room = next(
            room
            for room in (f"room-{number}" for number in range(1000))
            if place(room, one.local.nodes) == other.local.node
        )
        directory = NodeDirectory(one.local)
        assert await directory.find(room, passed=0) == other.local.node
        assert await directory.find(room, passed=1) is None
