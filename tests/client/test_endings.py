"""Which answers end a session for good and which don't; patience; tokens. On virtual time."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from squire_gatherings._values.errors import (
    BadSetting,
    CannotConnect,
    Replaced,
    Unauthorized,
)
from squire_gatherings.client import open_client
from tests.client.scripted import Peer, a_client, error, joined, synced
from tests.client.world import ROOM, a_world
from tests.ways_in.streams import StreamWay, over_every_way


def answering(status: int) -> Callable[[], Any]:
    """A proxy that answers every request with this status."""

    async def connect() -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        text = f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        await theirs.send_all(text.encode())
        return ours

    return connect


@over_every_way
@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 421, 426, 429, 500, 502, 503])
async def test_an_http_answer_is_not_the_end(
    status: int, way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (world, client), client.join(ROOM) as gathering:
        await gathering.submit({"n": 1})
        session = gathering._session
        session.open_stream = answering(status)
        world.cut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": 2})
            await trio.sleep(2)
            session.open_stream = world.connect
        assert gathering.seq == 2


async def test_an_http_answer_fails_the_first_join_unless_there_is_patience(
    autojump_clock: MockClock,
) -> None:
    start = trio.current_time()
    connect = answering(404)
    async with open_client("ws://memory", open_stream=connect) as client:
        with pytest.raises(CannotConnect, match="answered 404: no"):
            async with client.join(ROOM):
                pass
    assert trio.current_time() == start
    async with open_client("ws://memory", open_stream=connect, join_patience=60.0) as client:
        with pytest.raises(CannotConnect, match="answered 404: no"):
            async with client.join(ROOM):
                pass
    assert trio.current_time() == start + 60


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (4003, Unauthorized),
        (4009, Replaced),
        (error("unauthorized"), Unauthorized),
    ],
)
async def test_a_final_answer_of_the_server_is_the_end(
    last: Any, kind: type[Exception], autojump_clock: MockClock
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await trio.sleep(1)
        await peer.drop()

    async def refuse(peer: Peer) -> None:
        await peer.hear("join")
        if isinstance(last, int):
            await peer.close(last)
        else:
            await peer.say(last)
            await peer.wait()

    async with a_client(serve, refuse) as client, client.join(ROOM) as gathering:
        with pytest.raises(kind):
            await anext(gathering)


@over_every_way
@pytest.mark.parametrize("max_pause", [5.0, 30.0])
async def test_patience_is_exact_in_pauses(
    max_pause: float, way: StreamWay, autojump_clock: MockClock
) -> None:
    settings = {"patience": 60.0, "max_pause": max_pause}
    async with (
        a_world(way, client_settings=settings) as (world, client),
        client.join(ROOM) as gathering,
    ):
        world.hall = None
        world.cut()
        start = trio.current_time()
        with pytest.raises(CannotConnect, match="refused"):
            await gathering.submit({"n": 1})
        assert trio.current_time() == start + 60


@over_every_way
async def test_patience_is_exact_in_attempts(way: StreamWay, autojump_clock: MockClock) -> None:
    """Each attempt would last a minute: nobody answers."""
    settings = {"patience": 70.0, "connect_timeout": 60.0, "first_pause": 1.0, "max_pause": 1.0}

    async def hang() -> Any:
        await trio.sleep_forever()

    async def accept() -> Any:
        ours, theirs = memory_stream_pair()
        kept.append(theirs)
        return ours

    kept: list[Any] = []
    for connect in (hang, accept):
        async with (
            a_world(way, client_settings=settings) as (world, client),
            client.join(ROOM) as gathering,
        ):
            gathering._session.open_stream = connect
            world.cut()
            start = trio.current_time()
            with pytest.raises(CannotConnect, match="didn't let us in"):
                await gathering.submit({"n": 1})
            assert trio.current_time() == start + 70


async def test_the_first_join_is_patient_to_the_second(autojump_clock: MockClock) -> None:
    async def hang() -> Any:
        await trio.sleep_forever()

    start = trio.current_time()
    settings: dict[str, Any] = {"join_patience": 25.0, "connect_timeout": 10.0}
    async with open_client("ws://memory", open_stream=hang, **settings) as client:
        with pytest.raises(CannotConnect, match="didn't let us in"):
            async with client.join(ROOM):
                pass
    assert trio.current_time() == start + 25


# Tokens.


async def test_a_token_is_asked_for_on_each_connection(autojump_clock: MockClock) -> None:
    tokens: list[Any] = []

    async def serve(peer: Peer) -> None:
        tokens.append((await peer.hear("join")).get("token"))
        await peer.say(joined())
        await trio.sleep(1)
        await peer.drop()

    numbers = iter(range(100))

    async def fresh() -> str:
        await trio.sleep(0.1)
        return f"t{next(numbers)}"

    given: list[Any] = ["fixed", lambda: f"t{next(numbers)}", fresh, lambda: None]
    for token in given:
        async with (
            a_client(serve, serve, serve, token=token, patience=30.0) as client,
            client.join(ROOM) as gathering,
        ):
            with pytest.raises(CannotConnect):
                await anext(gathering)
    assert tokens[:3] == ["fixed"] * 3
    assert tokens[3:9] == [f"t{n}" for n in range(6)]
    assert tokens[9:] == [None] * 3


async def test_a_token_function_that_fails_is_a_pause_or_the_end(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await trio.sleep(1)
        await peer.drop()

    async def serve_submit(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await peer.say(synced(await peer.hear("sync"), 1))
        await peer.wait()

    outcomes: list[Any] = [OSError("away"), "first"]

    def token() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    scripts = (serve, serve, serve, serve, serve, serve_submit, serve, serve)
    async with a_client(*scripts, token=token, patience=100.0) as client:
        # The program that waits for the join gets the error unchanged.
        with pytest.raises(OSError, match="away"):
            async with client.join(ROOM):
                pass
        async with client.join(ROOM) as gathering:
            outcomes[:] = [OSError("away")] * 3 + ["second"]
            await trio.sleep(2)
            assert await gathering.submit({"n": 1}) == 1
            assert outcomes == []
        outcomes.append("third")
        async with client.join(ROOM) as gathering:
            outcomes.append(Unauthorized("signed out"))
            with pytest.raises(Unauthorized, match="signed out"):
                await anext(gathering)


@pytest.mark.parametrize("token", ["x" * 8193, "s3cret\ud800", b"s3cret", 7])
async def test_a_token_is_checked_without_being_told(token: Any, autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")

    async def join(given: Any) -> None:
        async with a_client(serve, token=given) as client, client.join(ROOM):
            pass

    for given in (token, lambda: token):
        with pytest.raises(BadSetting) as caught:
            await join(given)
        assert "s3cret" not in str(caught.value)


# Another client takes a client's place.


async def test_an_attempt_of_its_own_that_was_given_up_takes_its_place(
    autojump_clock: MockClock,
) -> None:
    """The first attempt hangs in a token check, and gets through after the second."""

    async def cut(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await trio.sleep(1)
        await peer.drop()

    async def hang(peer: Peer) -> None:
        await peer.hear("join")
        await peer.wait()

    async def replaced(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await trio.sleep(1)
        await peer.close(4009)

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await peer.say(synced(await peer.hear("sync"), 1))
        # Another client must have replaced us now: no attempt of ours is left.
        await peer.close(4009)

    scripts = (cut, hang, replaced, serve)
    async with a_client(*scripts) as client, client.join(ROOM) as gathering:
        await trio.sleep(15)
        assert await gathering.submit({"n": 1}) == 1
        with pytest.raises(Replaced):
            await anext(gathering)


async def test_a_join_that_is_replaced_twice_gives_up(
    autojump_clock: MockClock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.close(4009)

    async with a_client(serve, serve) as client:
        with pytest.raises(Replaced):
            async with client.join(ROOM):
                pass
