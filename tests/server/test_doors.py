"""Attacks on the door: after each, an innocent client gets in and is served."""

import logging
import math
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from wsproto.events import CloseConnection

from squire_gatherings import (
    CannotConnect,
    LogFull,
    Op,
    Server,
    ServerSettings,
    open_hall,
    open_store,
)
from squire_gatherings._server import accepting
from squire_gatherings.client import open_client
from tests.server.attacks import connect, is_closed, joined, reach, served, sockets
from tests.server.raw import RawClient
from tests.server.test_hostile import request
from tests.server.test_server import a_server, exchange, in_thread
from tests.ways_in.ways import Way, every_way, serving


async def test_silent_connections_take_no_clients_place() -> None:
    """Fifty silent ones once kept all clients out for ten seconds, if 50 clients were allowed."""
    async with (
        a_server(ServerSettings(max_connections=50)) as (_, server, url),
        sockets(url, 200, addresses=10) as silent,
    ):
        await reach(server, 200)
        await served(url)
        assert server.numbers().refused == {}
        assert not any(map(is_closed, silent))


async def test_thousands_of_silent_connections(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for them: a pause for each kept who came after them waiting for seconds."""
    monkeypatch.setattr(accepting, "DOOR_PAUSE", math.inf)
    settings = ServerSettings(max_handshakes=100, max_handshakes_per_address=50)
    async with (
        a_server(settings) as (_, server, url),
        sockets(url, 1500, addresses=30) as silent,
    ):
        while server.numbers().gave_way < 1400:
            await trio.testing.wait_all_tasks_blocked(0.001)
        await served(url)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.numbers().handshakes <= 100
        assert sum(map(is_closed, silent)) >= 1400
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_one_address_takes_only_its_own_places_at_the_door() -> None:
    settings = ServerSettings(max_handshakes=100, max_handshakes_per_address=20)
    async with (
        a_server(settings) as (_, server, url),
        sockets(url, 1) as innocent,
        sockets(url, 100, first=7),
    ):
        while server.numbers().gave_way < 80:
            await trio.testing.wait_all_tasks_blocked(0.001)
        await reach(server, 21)
        assert not is_closed(innocent[0])
        await served(url)


async def test_handshakes_one_byte_at_a_time_give_way_too() -> None:
    settings = ServerSettings(max_handshakes=20)
    async with a_server(settings) as (_, server, url), sockets(url, 20) as slow:
        for byte in request()[:40]:
            for one in slow:
                one.sendall(bytes([byte]))
        await reach(server, 20)
        await served(url)
        assert server.numbers().gave_way == 1


async def test_a_client_that_only_shook_hands_gives_way_too() -> None:
    settings = ServerSettings(max_handshakes=10, max_connections=5)
    async with a_server(settings) as (_, server, url), sockets(url, 10) as silent:
        for one in silent:
            one.sendall(request())
        while server.connections < 10:
            await trio.testing.wait_all_tasks_blocked(0.001)
        await reach(server, 10)
        for _ in range(3):
            await served(url)
        assert server.numbers().gave_way >= 1
        await reach(server, server.connections)


async def test_a_crowd_that_has_spoken_is_not_thrown_out_for_being_read_late() -> None:
    """All have sent their request before the server looks at any of them."""
    async with (
        a_server(ServerSettings(max_handshakes=100)) as (_, server, url),
        sockets(url, 80, addresses=80) as eager,
    ):
        for one in eager:
            one.sendall(request())
        while server.connections < 80:
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert server.numbers().gave_way == 0
        assert b" 101 " in eager[0].recv(65536)


async def test_a_storm_of_clients_larger_than_the_door_is_let_in() -> None:
    """All come at once, as after a restart, and have sent all before the server looks."""
    async with a_server(ServerSettings(max_handshakes=10)) as (_, server, url):
        host, _, port = url.removeprefix("ws://").partition(":")
        # The event loop stands still meanwhile, since this is its thread.
        storm = [connect(host, int(port), f"127.0.2.{number}") for number in range(1, 101)]
        for one in storm:
            one.sendall(request() + b"\x81\x8f\0\0\0\0" + b'{"type":"join"}')

        def all_are_in() -> None:
            for one in storm:
                answer = b""
                while b'"joined"' not in answer:
                    data = one.recv(65536)
                    assert data, answer
                    answer += data

        await in_thread(all_are_in)
        assert server.numbers().gave_way == 0
        assert server.numbers().refused == {}
        assert server.numbers().clients == 100
        for one in storm:
            one.close()
        await server.wait_empty()


async def test_the_door_is_left_however_a_handshake_ends() -> None:
    settings = ServerSettings(handshake_timeout=0.2, join_timeout=0.2, close_timeout=0.1)
    async with a_server(settings) as (_, server, url):
        async with sockets(url, 4) as some:
            some[0].sendall(b"nonsense")
            some[1].sendall(request())
            some[2].close()
            await reach(server, 0)
            while server.numbers().memory:
                await trio.testing.wait_all_tasks_blocked(0.001)
        await served(url)


async def test_more_clients_of_an_address_than_it_may_have() -> None:
    settings = ServerSettings(max_connections_per_address=2)
    async with a_server(settings) as (hall, server, url):

        def attack() -> None:
            with joined(url), joined(url) as two:
                answer = exchange(url, request())
                assert b"HTTP/1.1 503" in answer
                assert b"from your address" in answer
                assert b"Retry-After: 5" in answer
                # Other clients get in.
                with joined(url, own="127.0.9.9"):
                    pass
                two.say(type="leave")
                assert two.hear_close().code == 1000

        await in_thread(attack)
        await server.wait_empty()
        assert server.numbers().refused == {"connections_per_address": 1}
        assert hall.snapshot().refused == {"connections_per_address": 1}
        assert server.numbers().clients == 0
        await served(url)


async def test_it_fills_up_between_the_handshake_and_the_join() -> None:
    async with a_server(ServerSettings(max_connections=1)) as (_, server, url):

        def two_at_once() -> None:
            with RawClient(f"{url}/gatherings/a") as late, joined(url):
                late.say(type="join")
                error = late.hear()
                assert (error["type"], error["code"]) == ("error", "full")
                assert late.hear_close().code == 1013

        await in_thread(two_at_once)
        await server.wait_empty()
        await served(url)


def is_turned_away(url: str) -> None:
    """Check that a client that joins is told that it's full."""
    with RawClient(url) as late:
        late.say(type="join")
        assert late.hear()["code"] == "full"
        event = late.next()
        assert isinstance(event, CloseConnection)
        assert event.code == 1013


@every_way
async def test_each_way_in_counts_clients(way: Way) -> None:
    settings = ServerSettings(max_connections=2)
    async with serving(way, settings) as (hall, server, url):
        async with open_client(url) as client, client.join("a"), client.join("b"):
            if not isinstance(server, Server):
                await in_thread(partial(is_turned_away, f"{url}/gatherings/c"))
            else:
                answer = await trio.to_thread.run_sync(exchange, url, request())
                assert b"HTTP/1.1 503" in answer
        await server.wait_empty()
        assert hall.snapshot().refused == {"connections": 1}
        await served(url)


@every_way
@pytest.mark.parametrize(
    ("limit", "gathering"),
    [("max_connections_per_gathering", "a"), ("max_gatherings", "b")],
)
async def test_each_way_in_counts_what_a_hall_may_have(
    way: Way, limit: str, gathering: str
) -> None:
    async with serving(way, None, **{limit: 1}) as (hall, server, url):
        async with open_client(url) as client, client.join("a"):
            await in_thread(partial(is_turned_away, f"{url}/gatherings/{gathering}"))
        await server.wait_empty()
        assert hall.snapshot().refused == {limit.removeprefix("max_"): 1}
        await hall.disperse("a")
        await served(url)


async def test_a_client_is_told_why_it_cannot_come_in() -> None:
    async with a_server(max_connections_per_gathering=1) as (_, server, url):
        async with open_client(url) as client, client.join("room"):
            with pytest.raises(CannotConnect, match="all the clients that it takes: 1"):
                await served(url, "room")
        await server.wait_empty()
        await served(url, "room")


@every_way
@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (ServerSettings(rate_bytes=1000), "bytes"),
        (ServerSettings(rate_ops=2.5), "ops"),
    ],
)
async def test_rates_in_bytes_and_ops(way: Way, settings: ServerSettings, kind: str) -> None:
    async with serving(way, settings) as (hall, server, url):

        def flood() -> None:
            with joined(url) as client:
                ops = [{"pad": "x" * 250}] * 4
                codes: list[str] = []
                for number in range(5):
                    client.say(type="sync", id=f"s{number}", base=0, ops=ops)
                    answer = client.hear()
                    codes.append(answer.get("code", answer["type"]))
                    assert answer["id"] == f"s{number}"
                assert codes[0] == "synced"
                assert codes[-1] == "rate_limited"
                client.say(type="leave")
                assert client.hear_close().code in (1000, 4029)

        await in_thread(flood)
        await server.wait_empty()
        assert hall.snapshot().refused[kind] >= 3


@every_way
async def test_messages_that_are_too_big_are_counted(way: Way) -> None:
    async with serving(way, ServerSettings(max_message_size=1000), max_ops=3) as (
        hall,
        server,
        url,
    ):

        def say() -> None:
            with joined(url) as client:
                for name, ops in (("many", [{}] * 4), ("large", [{"pad": "x" * 1000}])):
                    client.say(type="sync", id=name, base=0, ops=ops)
                    error = client.hear()
                    assert (error["id"], error["code"]) == (name, "too_big")
                assert client.hear_close().code == 1009

        await in_thread(say)
        await server.wait_empty()
        assert hall.snapshot().refused == {"too_big": 2}


async def test_a_log_that_is_full_is_read_on_and_takes_no_more() -> None:
    async with a_server(max_log_ops=3) as (hall, _, url):

        def fill() -> None:
            with joined(url) as client:
                client.say(type="sync", id="1", base=0, ops=[{"n": 1}, {"n": 2}])
                assert client.hear()["seqs"] == [1, 2]
                client.say(type="sync", id="2", base=2, ops=[{"n": 3}, {"n": 4}])
                error = client.hear()
                assert (error["id"], error["code"]) == ("2", "log_full")
                client.say(type="sync", id="3", base=2, ops=[{"n": 3}])
                assert client.hear()["seqs"] == [3]
                # An applied sync is answered as before.
                client.say(type="sync", id="1", base=0, ops=[{"n": 1}, {"n": 2}])
                assert client.hear()["seqs"] == [1, 2]
                client.say(type="fetch", id="f", since=2)
                assert client.hear()["seq"] == 3

        await in_thread(fill)
        assert hall.snapshot().refused == {"log_ops": 1}


@pytest.mark.parametrize("kind", ["memory:", "sqlite"])
async def test_a_log_has_a_largest_size_in_bytes(kind: str, tmp_path: Path) -> None:
    """The same holds after a restart, when only the store has most of it."""
    url = kind if kind == "memory:" else f"sqlite:///{tmp_path}/rooms.sqlite3"
    op = {"pad": "x" * 988}
    size = len(Op.of(op).json)
    async with open_store(url) as store:
        for first in (0, 4):
            async with open_hall(store=store, max_log=8 * size + 10, snapshot_every=1) as hall:
                for number in range(first, first + 4):
                    assert await hall.submit("room", [op]) == (number + 1,)
        async with open_hall(store=store, max_log=8 * size + 10) as hall:
            with pytest.raises(LogFull, match=f"the log has {8 * size} bytes and takes at most"):
                await hall.submit("room", [op])
            assert await hall.submit("room", [{}]) == (9,)
            assert hall.snapshot().refused == {"log_bytes": 1}
            assert (await hall.fetch("room", since=8)).seq == 9
            # Another gathering has its own limit.
            assert await hall.submit("other", [op]) == (1,)


async def test_a_limit_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with a_server(ServerSettings(max_connections=1)) as (_, server, url):

        def refused() -> None:
            with joined(url):
                for _ in range(20):
                    assert b"503" in exchange(url, request())

        await in_thread(refused)
        assert server.numbers().refused == {"connections": 20}
    [record] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert record.getMessage() == "limit enforced"
    told = {name: record.__dict__[name] for name in ("limit", "why", "times", "peer")}
    assert told == {
        "limit": "connections",
        "why": "the server has all the clients that it takes",
        "times": 1,
        "peer": "127.0.0.1",
    }
