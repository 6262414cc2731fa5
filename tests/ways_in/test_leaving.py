"""Who says goodbye is gone at once, through every way in; who is cut off may come back."""

import json

import pytest
import trio

from squire_gatherings import Identity, Present, attend_asgi, open_hall
from tests.support import Recorder
from tests.ways_in.test_asgi import CONNECT, SCOPE, Peer
from tests.ways_in.test_trio_websocket import open_websocket
from tests.ways_in.ways import WAYS, Way, every_way, serving

BOB = {"bob": Present(1, {})}
HERE = BOB | {"alice": Present(1, {})}
JOIN = json.dumps({"type": "join", "token": "alice", "presence": {}})


async def authenticate(token: str | None, gathering_id: str) -> Identity:
    return Identity(token)


@every_way
@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_goodbye_is_one_whoever_serves(way: Way, code: int) -> None:
    async with serving(way, authenticate=authenticate, presence=True) as (hall, server, url):
        # Somebody must be there for whom it is kept.
        await hall.join("room", Recorder(), identity=Identity("bob"), presence={})
        async with open_websocket(f"{url}/gatherings/room") as ws:
            await ws.send_message(JOIN)
            while json.loads(await ws.get_message())["type"] != "presence":
                pass
            assert hall.presence("room").users == HERE
            await ws.aclose(code)
        await server.wait_empty()
        assert hall.explain("room").clients == 1
        # hypercorn doesn't tell an application how its client has closed.
        is_told = code == 1000 and way is not WAYS["hypercorn"]
        assert hall.presence("room").users == (BOB if is_told else HERE)


@pytest.mark.parametrize("code", [1000, 1005, 1006])
async def test_an_asgi_server_may_say_that_it_was_a_goodbye(code: int) -> None:
    async with open_hall(authenticate=authenticate, presence=True) as hall:
        await hall.join("room", Recorder(), identity=Identity("bob"), presence={})
        join = {"type": "websocket.receive", "text": JOIN, "bytes": None}
        peer = Peer(CONNECT, join, {"type": "websocket.disconnect", "code": code})
        await attend_asgi(hall, "room", SCOPE, peer.receive, peer.send)
        assert peer.said
        assert hall.presence("room").users == (BOB if code == 1000 else HERE)


@every_way
async def test_a_connection_that_breaks_off_may_come_back(way: Way) -> None:
    async with serving(way, authenticate=authenticate, presence=True) as (hall, server, url):
        # Somebody must be there for whom it is kept.
        await hall.join("room", Recorder(), identity=Identity("bob"), presence={})
        async with open_websocket(f"{url}/gatherings/room") as ws:
            await ws.send_message(JOIN)
            while json.loads(await ws.get_message())["type"] != "presence":
                pass
            await trio.aclose_forcefully(ws._stream)
        await server.wait_empty()
        assert hall.presence("room").users == HERE
