"""Refusals of joins and of messages are told the same on all ways in."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock
from wsproto.frame_protocol import Opcode

from squire_gatherings import Identity, attend_channel, open_hall, serve_stream
from squire_gatherings._values.errors import (
    BadBase,
    Forbidden,
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    HallClosed,
    LogReplaced,
    Replaced,
    StoreUnavailable,
    Unauthorized,
)
from tests.server.test_hostile import request
from tests.server.test_timing import Client
from tests.ways_in.channels import MemoryChannel

Authenticate = Callable[[str | None, str], Awaitable[Identity]]
Heard = list[dict[str, Any]]

JSON_REQUEST = request()
MSGPACK_REQUEST = JSON_REQUEST.replace(
    b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: squire.v1+msgpack\r\n\r\n"
)


def raising(error: Exception | None) -> Authenticate:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        await trio.lowlevel.checkpoint()
        if error is None:
            return None  # type: ignore[return-value]
        raise error

    return authenticate


async def over_a_stream(
    *said: str | bytes, authenticate: Authenticate | None = None, subprotocol: str = "json"
) -> tuple[Heard, int]:
    """Send all this; return the answers, and the close code."""
    how = {} if authenticate is None else {"authenticate": authenticate}
    ours, theirs = trio.testing.memory_stream_pair()
    heard: Heard = []
    code = 0
    async with open_hall(**how) as hall, trio.open_nursery() as nursery:  # type: ignore[arg-type]

        async def serve() -> None:
            with suppress(Exception):
                await serve_stream(hall, ours)

        nursery.start_soon(serve)
        await theirs.send_all(JSON_REQUEST if subprotocol == "json" else MSGPACK_REQUEST)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await theirs.receive_some(1)
        client = Client(theirs)
        for data in said:
            await client.answer(bytes(client._framer.send_data(data)))
        while True:
            opcode, payload = await client.next()
            if opcode is Opcode.CLOSE:
                code = payload[0]
                break
            heard.append(decoded(payload))
        nursery.cancel_scope.cancel()
    return heard, code


async def over_a_channel(
    *said: str | bytes, authenticate: Authenticate | None = None, subprotocol: str = "json"
) -> tuple[Heard, int]:
    how = {} if authenticate is None else {"authenticate": authenticate}
    channel = MemoryChannel()
    async with open_hall(**how) as hall, trio.open_nursery() as nursery:  # type: ignore[arg-type]

        async def attend() -> None:
            with suppress(Exception):
                await attend_channel(hall, "room", channel, subprotocol=f"squire.v1+{subprotocol}")

        nursery.start_soon(attend)
        for data in said:
            channel.say_raw(data)
        heard = [decoded(data) async for data in channel.outward[1]]
        nursery.cancel_scope.cancel()
    return heard, channel.closed[0][0]


def decoded(payload: str | bytes) -> dict[str, Any]:
    message: dict[str, Any] = (
        json.loads(payload) if isinstance(payload, str) else msgspec.msgpack.decode(payload)
    )
    return message


both = pytest.mark.parametrize("way", [over_a_stream, over_a_channel])
JOIN = '{"type": "join"}'


@both
@pytest.mark.parametrize(
    ("error", "code", "close_code"),
    [
        (Unauthorized("no"), "unauthorized", 4003),
        (Unauthorized("who is \ud800?"), "unauthorized", 4003),
        (Unauthorized("no" * 10**6), "unauthorized", 4003),
        (Forbidden("banned"), "forbidden", 4003),
        (StoreUnavailable("away"), "store_unavailable", 1013),
        *(
            (error, "internal", 1011)
            for error in (
                GatheringDispersed("another's"),
                GatheringCrashed("another's"),
                HallClosed("another"),
                BadBase("b"),
                LogReplaced("l"),
                Replaced("r"),
                GatheringsError("\ud800"),
                KeyError("k"),
                ExceptionGroup("many", [Unauthorized("no")]),
                None,
            )
        ),
    ],
    ids=lambda value: repr(value)[:20].encode(errors="replace").decode(),
)
async def test_the_client_is_told_once_whatever_authentication_raises(
    way: Callable[..., Awaitable[tuple[Heard, int]]],
    error: Exception | None,
    code: str,
    close_code: int,
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(1000):
        [told], closed = await way(JOIN, authenticate=raising(error))
    assert (told["type"], told["code"], closed) == ("error", code, close_code)
    assert len(told["message"]) <= 1000


@both
@pytest.mark.parametrize("subprotocol", ["json", "msgpack"])
@pytest.mark.parametrize("kind", ["sync", "fetch"])
async def test_a_client_that_does_not_join_first_is_told_what_was_refused(
    way: Callable[..., Awaitable[tuple[Heard, int]]],
    subprotocol: str,
    kind: str,
    autojump_clock: MockClock,
) -> None:
    message = {"type": kind, "id": "mine", "base": 0, "ops": [{}]}
    data: Any = json.dumps(message)
    if subprotocol == "msgpack":
        data = msgspec.msgpack.encode(message)
    [told], closed = await way(data, subprotocol=subprotocol)
    assert (told["code"], told["id"], closed) == ("join_first", "mine", 1002)


@both
@pytest.mark.parametrize("subprotocol", ["json", "msgpack"])
async def test_a_message_in_the_wrong_kind_of_frame_is_named(
    way: Callable[..., Awaitable[tuple[Heard, int]]], subprotocol: str, autojump_clock: MockClock
) -> None:
    wrong: Any = '{"type": "sync", "base": 0, "ops": [{}], "id": "mine"}'
    join, leave = {"type": "join"}, {"type": "leave"}
    encode: Any = msgspec.msgpack.encode
    if subprotocol == "json":
        wrong, encode = wrong.encode(), json.dumps
    [_, told], closed = await way(encode(join), wrong, encode(leave), subprotocol=subprotocol)
    assert (told["code"], told["id"], closed) == ("bad_message", "mine", 1000)
