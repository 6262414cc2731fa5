"""ASGI: an application on Trio makes a client of a gathering from what it is called with."""

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings import HandshakeRequest, Identity, attend_asgi, open_hall

SCOPE: dict[str, Any] = {
    "type": "websocket",
    "path": "/rooms/zürich",
    "raw_path": b"/rooms/z%C3%BCrich",
    "query_string": b"a=b",
    "headers": [(b"cookie", b"session=abc")],
    "client": ("192.0.2.7", 4711),
    "subprotocols": ["other", "squire.v1+json"],
}


class Peer:
    """An ASGI server with one client, which sends `events` and then nothing."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.said: list[dict[str, Any]] = []
        self._in: Any
        self._in, self._out = trio.open_memory_channel[dict[str, Any]](100)
        for event in events:
            self._in.send_nowait(event)
        self.gone = False

    async def receive(self) -> dict[str, Any]:
        event: dict[str, Any] = await self._out.receive()
        return event

    async def send(self, event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if self.gone:
            raise OSError("gone")
        self.said.append(event)


CONNECT = {"type": "websocket.connect"}
LEFT = {"type": "websocket.disconnect", "code": 1006}


def text(**message: Any) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": json.dumps(message), "bytes": None}


async def test_an_asgi_client_joins_and_leaves(autojump_clock: MockClock) -> None:
    asked: list[Any] = []

    async def authenticate(token: str | None, gathering: str, request: Any) -> Identity:
        asked.append(request)
        return Identity("alice")

    peer = Peer(CONNECT, text(type="join"), text(type="leave"))
    async with open_hall(authenticate=authenticate) as hall:
        await attend_asgi(hall, "room", SCOPE, peer.receive, peer.send)
    accept, joined, close = peer.said
    assert accept == {"type": "websocket.accept", "subprotocol": "squire.v1+json", "headers": []}
    assert json.loads(joined["text"])["user"] == "alice"
    assert (close["type"], close["code"]) == ("websocket.close", 1000)
    [request] = asked
    assert isinstance(request, HandshakeRequest)
    assert request.path == "/rooms/z%C3%BCrich?a=b"
    assert request.cookies == {"session": "abc"}
    assert request.peer == "192.0.2.7"
    assert request.subprotocols == ("other", "squire.v1+json")


async def test_messagepack_goes_in_bytes(autojump_clock: MockClock) -> None:
    scope = {**SCOPE, "subprotocols": ["squire.v1+msgpack"], "client": None, "raw_path": None}
    join = {"type": "websocket.receive", "bytes": b"\x81\xa4type\xa4join"}
    leave = {"type": "websocket.receive", "bytes": b"\x81\xa4type\xa5leave"}
    peer = Peer(CONNECT, join, leave)
    async with open_hall() as hall:
        await attend_asgi(hall, "room", scope, peer.receive, peer.send)
    assert peer.said[0]["subprotocol"] == "squire.v1+msgpack"
    assert b"joined" in peer.said[1]["bytes"]


async def test_a_client_that_offers_none_of_ours_is_refused(autojump_clock: MockClock) -> None:
    peer = Peer(CONNECT)
    async with open_hall() as hall:
        await attend_asgi(hall, "room", {**SCOPE, "subprotocols": ["x"]}, peer.receive, peer.send)
    assert [event["type"] for event in peer.said] == ["websocket.close"]


async def test_a_client_that_is_gone_already_is_told_nothing(autojump_clock: MockClock) -> None:
    peer = Peer(LEFT)
    async with open_hall() as hall:
        await attend_asgi(hall, "room", SCOPE, peer.receive, peer.send)
    assert peer.said == []


async def test_a_client_that_goes_while_it_is_told_something_harms_nobody(
    autojump_clock: MockClock,
) -> None:
    peer = Peer(CONNECT, text(type="join"))
    async with open_hall() as hall, trio.open_nursery() as nursery:
        nursery.start_soon(attend_asgi, hall, "room", SCOPE, peer.receive, peer.send)
        await trio.testing.wait_all_tasks_blocked()
        assert hall.snapshot().gatherings[0].clients == 1
        peer.gone = True
        await hall.submit("room", [{}])
    assert len(peer.said) == 2


async def test_a_scope_that_is_no_websocket_is_refused(autojump_clock: MockClock) -> None:
    peer = Peer()
    async with open_hall() as hall:
        with pytest.raises(ValueError, match="of type 'http', not 'websocket'"):
            await attend_asgi(hall, "room", {**SCOPE, "type": "http"}, peer.receive, peer.send)
