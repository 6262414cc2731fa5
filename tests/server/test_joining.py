"""While a join takes its time, the server listens to the client."""

import json
import math
import time
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.frame_protocol import FrameProtocol, Opcode

from squire_gatherings import Hall, Proof, ServerSettings, open_hall
from squire_gatherings._server.pinging import keep_alive
from squire_gatherings._values.errors import GatheringDispersed, LogReplaced, Replaced
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import ANONYMOUS, Identity
from squire_gatherings._values.op import Op
from tests.server.raw import RawClient
from tests.server.test_server import a_server
from tests.server.test_timing import a_client
from tests.ways_in.ways import WAYS, Way, every_way, serving


class SlowDoor:
    """An authentication that takes its time, and notices when its client has gone."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.go = trio.Event()
        self.cancelled = trio.Event()

    async def __call__(self, token: str | None, gathering_id: str) -> Identity:
        self.asked.set()
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return ANONYMOUS


@every_way
@pytest.mark.parametrize("how", ["close", "hang up", "close and hang up"])
async def test_a_client_that_hung_up_does_not_join(how: str, way: Way) -> None:
    door = SlowDoor()
    async with serving(way, authenticate=door) as (hall, server, url):
        client = await trio.to_thread.run_sync(RawClient, f"{url}/gatherings/room")
        client.say(type="join")
        client.say(type="fetch", id="1")
        await door.asked.wait()
        if how.startswith("close"):
            client.socket.sendall(bytes(FrameProtocol(client=True, extensions=[]).close(1000)))
        if how.endswith("hang up"):
            client.socket.close()
        await door.cancelled.wait()
        await server.wait_empty()
        assert hall.gatherings() == ()
        if how == "close":
            assert (await trio.to_thread.run_sync(client.hear_close)).code == 1000
            client.socket.close()


@pytest.mark.parametrize("stream", ["memory", "socket"])
async def test_nonsense_during_a_join_ends_the_connection(stream: str) -> None:
    door = SlowDoor()
    nonsense = b"\xff" * 20
    if stream == "memory":
        async with open_hall(authenticate=door) as hall, a_client(hall) as (client, _, served):
            await client.say(type="join")
            await door.asked.wait()
            await client.answer(nonsense)
            await door.cancelled.wait()
            assert (await client.next())[1][0] == 1002
            await client.stream.send_stream.aclose()
            await served.wait()
        return
    async with a_server(authenticate=door) as (_, server, url):
        with await trio.to_thread.run_sync(RawClient, f"{url}/gatherings/room") as raw:
            raw.say(type="join")
            await door.asked.wait()
            raw.socket.sendall(nonsense)
            await door.cancelled.wait()
            assert (await trio.to_thread.run_sync(raw.hear_close)).code == 1002
        await server.wait_empty()


@pytest.mark.parametrize("stream", ["memory", *WAYS.values()], ids=["memory", *WAYS])
async def test_messages_during_a_join_are_kept_in_order(stream: str | Way) -> None:
    door = SlowDoor()
    count = 100
    if isinstance(stream, str):
        async with open_hall(authenticate=door) as hall, a_client(hall) as (client, _, _):
            await client.say(type="join")
            await door.asked.wait()
            for number in range(count):
                await client.say(type="fetch", id=str(number))
            await client.say(type="dance", id="100")
            await wait_all_tasks_blocked()
            door.go.set()
            assert (await client.hear())["type"] == "joined"
            got = [await client.hear() for _ in range(count + 1)]
    else:
        async with serving(stream, authenticate=door) as (_, _, url):
            raw = await trio.to_thread.run_sync(RawClient, f"{url}/gatherings/room")
            raw.say(type="join")
            await door.asked.wait()
            for number in range(count):
                raw.say(type="fetch", id=str(number))
            raw.say(type="dance", id="100")
            await wait_all_tasks_blocked()
            door.go.set()

            def hear_all() -> list[dict[str, object]]:
                with raw:
                    assert raw.hear()["type"] == "joined"
                    return [raw.hear() for _ in range(count + 1)]

            got = await trio.to_thread.run_sync(hear_all)
    ids = [message["id"] for message in got]
    assert sorted(ids, key=int) == [str(number) for number in range(count + 1)]
    # Errors don't wait for the gathering's turn.
    ids.remove("100")
    assert ids == [str(number) for number in range(count)]


@every_way
async def test_what_is_kept_during_a_join_is_bounded(way: Way) -> None:
    """Further messages wait in the socket, and aren't lost."""
    door = SlowDoor()
    async with serving(way, authenticate=door) as (_, _, url):
        raw = await trio.to_thread.run_sync(RawClient, f"{url}/gatherings/room")
        raw.say(type="join")
        await door.asked.wait()
        count, pad = 200, "x" * 20_000

        def say_much() -> None:
            for number in range(count):
                raw.say(type="sync", id=str(number), base=0, ops=[{"pad": pad}])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, say_much)
            await wait_all_tasks_blocked()
            door.go.set()

            def hear_all() -> list[object]:
                assert raw.hear()["type"] == "joined"
                return [raw.hear()["id"] for _ in range(count)]

            got = await trio.to_thread.run_sync(hear_all)
        assert got == [str(number) for number in range(count)]
        raw.socket.close()


async def test_a_slow_join_drops_nobody(autojump_clock: MockClock) -> None:
    """The result is the same whether its pongs are read or not."""

    async def ten_minutes(token: str | None, gathering_id: str) -> Identity:
        await trio.sleep(600)
        return ANONYMOUS

    for answers in (True, False):
        async with (
            open_hall(authenticate=ten_minutes, authenticate_timeout=math.inf) as hall,
            a_client(hall) as (client, server, _),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(keep_alive, server, 20.0)
            await client.say(type="join")
            pings = 0
            while True:
                opcode, payload = await client.next()
                if opcode is Opcode.TEXT:
                    break
                assert opcode is Opcode.PING
                pings += 1
                if answers:
                    await client.pong(bytes(payload))
            assert json.loads(payload)["type"] == "joined"
            assert pings >= 24
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("error", "code", "close_code"),
    [(Replaced, "replaced", 4009), (LogReplaced, "log_replaced", 4011)],
)
async def test_a_join_that_fails_says_why(
    error: type[Exception], code: str, close_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def join(*_: object, **__: object) -> None:
        raise error("no")

    monkeypatch.setattr(Hall, "join", join)
    async with open_hall() as hall, a_client(hall) as (client, _, _):
        await client.say(type="join")
        assert (await client.hear())["code"] == code
        assert await client.next() == (Opcode.CLOSE, (close_code, "no"))


async def test_a_join_that_the_hall_has_answered_is_not_answered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def join(hall: Hall, gathering_id: str, connection: object, **_: object) -> None:
        connection.close(4001, "idle")  # type: ignore[attr-defined]
        raise GatheringDispersed("it sleeps")

    monkeypatch.setattr(Hall, "join", join)
    async with open_hall() as hall, a_client(hall) as (client, _, served):
        await client.say(type="join")
        await client.say(type="fetch", id="1")
        assert await client.next() == (Opcode.CLOSE, (4001, "idle"))
        await client.close(4001)
        await served.wait()


async def test_a_join_that_came_in_time_is_taken_though_it_is_read_late() -> None:
    """The server was kept from listening, so what lies in the socket counts."""
    async with a_server(ServerSettings(join_timeout=0.05)) as (_, _, url):
        raw = await trio.to_thread.run_sync(RawClient, f"{url}/gatherings/room")
        raw.say(type="join")
        time.sleep(0.1)  # noqa: ASYNC251 (nothing else runs meanwhile)
        assert (await trio.to_thread.run_sync(raw.hear))["type"] == "joined"
        raw.socket.close()


async def test_what_a_join_says_reaches_the_hall(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, object] = {}

    async def join(hall: Hall, gathering_id: str, connection: object, **more: object) -> None:
        said.update(more)
        raise Replaced("enough")

    monkeypatch.setattr(Hall, "join", join)
    what: dict[str, Any] = {"since": 7, "epoch": "e1", "client": "c" * 16}
    what |= {
        "resume": "r1",
        "token": "t",
        "tail": True,
        "times": True,
        "proof": True,
        "syncs": True,
        "presence": {"typing": True},
    }
    known = {"seq": 5, "head": "0f"}
    async with open_hall() as hall, a_client(hall) as (client, _, _):
        await client.say(type="join", known=known, **what)
        await client.hear()
    request = said.pop("request")
    assert isinstance(request, HandshakeRequest)
    assert request.path == "/gatherings/room"
    told = {"known": Proof(5, "0f"), "identity": None, "presence": Op.of(what["presence"])}
    assert said == {**what, **told}
