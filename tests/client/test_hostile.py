"""Servers that aren't ours, or have lost their wits: a clear error, never a hang or a crash."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import wsproto
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair
from wsproto.events import AcceptConnection, Event, Request, TextMessage

from squire_gatherings.actors.nurseries import open_hidden_nursery
from squire_gatherings.client import Change, open_client
from squire_gatherings.values.errors import BadBase, CannotConnect, GatheringsError
from tests.client.world import ROOM

Serve = Callable[[trio.abc.Stream], Any]
JOINED = {
    "type": "joined",
    "gathering": ROOM,
    "incarnation": "i",
    "seq": 0,
    "role": "member",
    "user": None,
    "idle_timeout": 60.0,
    "expires_in": 60.0,
    "ops": [],
    "by": [],
}


async def join(
    serve: Serve, attempts: int = 1, take: int = 0, max_message_size: int = 2**20
) -> list[Change]:
    """Join a server that is `serve`, and take so many changes."""
    async with open_hidden_nursery() as nursery:
        left = attempts

        async def connect() -> trio.abc.Stream:
            nonlocal left
            await trio.lowlevel.checkpoint()
            left -= 1
            if left < 0:
                raise ConnectionRefusedError(111, "Connection refused")
            ours, theirs = memory_stream_pair()
            nursery.start_soon(run, theirs)
            return ours

        async def run(stream: trio.abc.Stream) -> None:
            # The client may hang up on what it hears.
            with suppress(trio.BrokenResourceError):
                await serve(stream)

        try:
            async with (
                open_client(
                    "ws://memory",
                    open_stream=connect,
                    patience=60.0,
                    max_message_size=max_message_size,
                ) as client,
                client.join(ROOM) as tournament,
            ):
                return [await anext(tournament) for _ in range(take)]
        finally:
            nursery.cancel_scope.cancel()


def answering(data: bytes) -> Serve:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(data)
        await stream.aclose()

    return serve


def saying(*messages: Any, subprotocol: str | None = "squire.v1+json") -> Serve:
    """A server that shakes hands, hears the join, says these, and is gone. Bytes go out bare."""

    async def serve(stream: trio.abc.Stream) -> None:
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)

        async def hear(kind: type[Event]) -> None:
            while True:
                for event in protocol.events():
                    if isinstance(event, kind):
                        return
                protocol.receive_data(bytes(await stream.receive_some()) or None)

        await hear(Request)
        await stream.send_all(protocol.send(AcceptConnection(subprotocol=subprotocol)))
        await hear(TextMessage)
        for message in messages:
            if isinstance(message, bytes):
                await stream.send_all(message)
                continue
            text = message if isinstance(message, str) else json.dumps(message)
            await stream.send_all(protocol.send(TextMessage(data=text)))
        await stream.aclose()

    return serve


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the connection broke"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nnobody", "answered 404: nobody"),
        (b"HTTP/1.1 404 Not Found\r\n\r\nnobody", "answered 404: nobody"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\ncut off", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answered 200"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9999999\r\n\r\n", "not a WebSocket server"),
        (b"HTTP/1.1 101 Sure\r\n\r\n", "not a WebSocket server"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "not a WebSocket server"),
        (b"\xff" * 200_000, "not a WebSocket server"),
    ],
)
async def test_it_is_no_websocket(data: bytes, says: str, autojump_clock: MockClock) -> None:
    start = trio.current_time()
    with pytest.raises(CannotConnect, match=says):
        await join(answering(data))
    # Nobody waits for a time-out where the answer is clear.
    assert trio.current_time() == start


@pytest.mark.parametrize(
    ("serve", "says"),
    [
        (saying(subprotocol=None), "doesn't speak squire.v1"),
        (saying("not JSON"), "something else than a message"),
        (saying("[" * 100_000), "something else than a message"),
        (saying({"type": "joined"}), "something else than a message"),
        (saying({"type": "synced", "id": "s", "seqs": [1]}), "answered the join with Synced"),
        (saying({"type": "error", "code": "crashed", "message": "sorry"}), "sorry"),
        (saying(), "the connection broke"),
    ],
)
async def test_it_is_no_gathering(serve: Serve, says: str, autojump_clock: MockClock) -> None:
    with pytest.raises(CannotConnect, match=says):
        await join(serve)


@pytest.mark.parametrize(
    ("serve", "says"),
    [
        (saying(b"\x82\x01a"), "binary"),
        (saying(b"\x81\x02\xff\xff"), "isn't UTF-8"),
        (saying(b"\x01\x00\x00\x01\xe2\x80\x01\x82"), "isn't UTF-8"),
        (saying(b"\x81\x7f\0\0\0\0\xff\xff\xff\xff"), "over 1000 bytes"),
        (saying(b"\x01\x7e\x01\xf4" + 500 * b"x" + b"\x80\x7e\x01\xf5"), "over 1000 bytes"),
        (saying(b"\x81\x85abcdhello"), "broken on the way"),
        (saying(b"\x80\x00"), "broken on the way"),
        (saying(b"\x83\x00"), "broken on the way"),
        (saying(b"\x88\x01a"), "broken on the way"),
        (saying(b"\x88\x00"), "the server closed: 1005"),
        (saying(b"\x88\x06\x03\xf5busy"), "the server closed: 1013 busy"),
    ],
)
async def test_its_frames_are_wrong(serve: Serve, says: str, autojump_clock: MockClock) -> None:
    with pytest.raises(CannotConnect, match=says):
        await join(serve, max_message_size=1000)


async def test_a_flood_of_pings_is_answered_and_what_is_in_fragments_is_heard(
    autojump_clock: MockClock,
) -> None:
    joined = json.dumps(JOINED).encode()
    parts = b"\x01\x05" + joined[:5] + 100 * b"\x89\x02hi\x00\x00"
    rest = b"\x80\x7e" + (len(joined) - 5).to_bytes(2, "big") + joined[5:]
    assert len(await join(saying(parts + rest, forward(1, 1)), take=1)) == 1


async def test_what_it_refuses_is_raised_as_what_it_is(autojump_clock: MockClock) -> None:
    error = {"type": "error", "code": "bad_base", "message": "no such seq"}
    with pytest.raises(BadBase, match="no such seq"):
        await join(saying(error))
    with pytest.raises(GatheringsError, match="new in version 2"):
        await join(saying({"type": "error", "code": "new_code", "message": "new in version 2"}))


def forward(seq: int, n: int) -> dict[str, Any]:
    return {"type": "forward", "seq": seq, "by": None, "op": {"n": n}}


async def test_what_a_later_version_says_is_ignored(autojump_clock: MockClock) -> None:
    news = {"type": "weather", "sun": True}
    joined = {**JOINED, "mood": "good"}
    taken = await join(saying(joined, news, forward(1, 1), {"type": "joined"}), take=1)
    assert taken == [Change(1, None, {"n": 1})]


async def test_a_gap_and_repetitions(autojump_clock: MockClock) -> None:
    """What is missing makes it come back and ask; what came before isn't shown again."""
    calls = iter(
        [
            saying(JOINED, forward(1, 1), forward(1, 1), forward(3, 3)),
            saying({**JOINED, "seq": 3, "ops": [{"n": 2}, {"n": 3}], "by": [None, "b"]}),
        ]
    )

    async def serve(stream: trio.abc.Stream) -> None:
        await next(calls)(stream)

    taken = await join(serve, attempts=2, take=3)
    assert [(change.seq, change.op["n"], change.by) for change in taken] == [
        (1, 1, None),
        (2, 2, None),
        (3, 3, "b"),
    ]


texts = st.one_of(
    st.text(max_size=50),
    st.dictionaries(
        st.sampled_from(["type", "id", "seq", "seqs", "by", "op", "ops", "code", "message"]),
        st.one_of(
            st.sampled_from(["forward", "synced", "error", "fetched", "conflict", "dispersed"]),
            st.integers(-3, 5),
            st.none(),
            st.lists(st.integers(-1, 3), max_size=3),
            st.lists(st.dictionaries(st.text(max_size=2), st.integers(), max_size=1), max_size=3),
        ),
    ),
)


@settings(max_examples=200, deadline=None)
@given(messages=st.lists(texts, max_size=6))
def test_whatever_it_says_ends_in_an_error_of_ours(messages: list[Any]) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await saying(JOINED, *messages)(stream)

    async def main() -> None:
        with pytest.raises(CannotConnect):
            await join(serve, take=100)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), prefix=st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 101 "]))
def test_whatever_bytes_it_sends_end_in_an_error_of_ours(data: bytes, prefix: bytes) -> None:
    async def main() -> None:
        with pytest.raises(CannotConnect):
            await join(answering(prefix + data))

    trio.run(main, clock=MockClock(autojump_threshold=0))
