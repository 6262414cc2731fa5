"""Whatever a client sends, the server ends the connection in order and raises nothing."""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from wsproto.frame_protocol import FrameProtocol

from squire_gatherings import open_hall
from tests.support import logged
from tests.ways_in.streams import OURS, StreamWay, over_every_way

HEADERS = [
    b"Host: x",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]


def request(subprotocol: str | None = None) -> bytes:
    more = [] if subprotocol is None else [f"Sec-WebSocket-Protocol: {subprotocol}".encode()]
    return b"\r\n".join([b"GET /gatherings/room HTTP/1.1", *HEADERS, *more, b"", b""])


def survive(*pieces: bytes, way: StreamWay = OURS) -> bytes:
    """Serve one client that sends `pieces` and then nothing; return what it got.

    The clock jumps, so that a server which waits for more gives up in its own time.
    """

    async def one_client() -> bytes:
        ours, theirs = memory_stream_pair()
        async with open_hall(presence=True) as hall:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, theirs)
                with trio.fail_after(100):
                    await way.serve(hall, ours, None, None, None)
                nursery.cancel_scope.cancel()
            await wait_all_tasks_blocked()
            assert hall.snapshot().clients == 0
        got = bytearray()
        while data := await theirs.receive_some():
            got += data
        return bytes(got)

    async def send(theirs: trio.abc.HalfCloseableStream) -> None:
        with suppress(trio.BrokenResourceError):
            for piece in pieces:
                await theirs.send_all(piece)
                if way is OURS:
                    await trio.lowlevel.checkpoint()
                else:
                    # The other servers' handshakes lose what comes before their answer.
                    await wait_all_tasks_blocked()
            await trio.sleep(60)
            await theirs.send_eof()

    return trio.run(one_client, clock=MockClock(autojump_threshold=0))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=4), st.booleans())
def test_any_bytes_instead_of_a_request_end_in_order(pieces: list[bytes], ends: bool) -> None:
    got = survive(*pieces, *([b"\r\n\r\n"] if ends else []))
    assert got == b"" or got.startswith(b"HTTP/1.1 4")


header = st.one_of(
    st.sampled_from(HEADERS),
    st.builds(
        lambda name, value: name + b": " + value,
        st.sampled_from([line.partition(b":")[0] for line in HEADERS])
        | st.sampled_from(
            [b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions", b"Content-Length"]
        ),
        st.binary(max_size=20)
        | st.sampled_from([b"xn--a", b"a" * 70, b"a..b", b",", b"permessage-deflate", b"13"]),
    ),
    st.binary(max_size=30),
)
target = st.one_of(
    st.just(b"/gatherings/room"),
    st.builds(lambda rest: b"/gatherings/" + rest, st.binary(max_size=20)),
    st.sampled_from(
        [b"http://[x/", b"//[/gatherings/a", b"*", b"/gatherings/%FF", b"/gatherings/a?b"]
    ),
)


@settings(deadline=None)
@given(target, st.lists(header, max_size=3), st.sets(st.integers(0, 4), max_size=2))
def test_requests_that_are_nearly_right_end_in_order(
    path: bytes, more: list[bytes], dropped: set[int]
) -> None:
    lines = [line for number, line in enumerate(HEADERS) if number not in dropped]
    got = survive(b"\r\n".join([b"GET " + path + b" HTTP/1.1", *lines, *more, b"", b""]))
    assert got == b"" or got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 101"))


def test_secrets_reach_no_log(caplog: pytest.LogCaptureFixture) -> None:
    framer = FrameProtocol(client=True, extensions=[])
    with caplog.at_level(logging.DEBUG):
        survive(request(), bytes(framer.send_data('{"type":"join","token":"a secret"}')))
    assert "secret" not in logged(caplog)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_instead_of_frames_end_in_order(pieces: list[bytes]) -> None:
    assert survive(request(), *pieces).startswith(b"HTTP/1.1 101")


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KNOWN = ("join", "fetch", "sync", "ack", "refresh", "presence", "leave")
message = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from([*KNOWN, "dance"])},
        optional={
            "id": st.sampled_from(["1", "2", "", 3]),
            "base": st.sampled_from([0, 1, -1, 2**63]),
            "since": st.sampled_from([0, 1, None, 1e9]),
            "seq": st.sampled_from([0, 1, 2**64]),
            "ops": st.lists(st.dictionaries(st.text(), junk, max_size=2) | junk, max_size=2),
            "client": st.sampled_from(["c", None, 1]),
            "presence": st.dictionaries(st.text(), junk, max_size=2) | junk,
            "state": st.dictionaries(st.text(), junk, max_size=2) | junk,
            "token": st.sampled_from(["t", "x" * 8193, None, 1]),
        },
    ),
    junk,
)
encoders: dict[str, Callable[[Any], bytes]] = {
    "squire.v1+json": lambda value: json.dumps(value).encode(),
    "squire.v1+msgpack": msgspec.msgpack.encode,
}


@over_every_way
def test_any_messages_end_in_order(way: StreamWay) -> None:
    @settings(max_examples=way.examples(100, long=100), deadline=None)
    @given(
        st.sampled_from(sorted(encoders)),
        st.booleans(),
        st.lists(st.tuples(message, st.booleans(), st.sampled_from([1, 2, 7])), max_size=6),
    )
    def messages(subprotocol: str, joins: bool, plan: Sequence[tuple[object, bool, int]]) -> None:
        sent = frames(subprotocol, [({"type": "join"}, False, 1), *plan] if joins else plan)
        if way is OURS:
            # All comes in one piece with the request: what follows the request isn't lost.
            got = survive(request(subprotocol) + b"".join(sent))
        else:
            got = survive(request(subprotocol), *sent, way=way)
        assert got.startswith(b"HTTP/1.1 101")
        if joins:
            assert b"joined" in got

    messages()


def frames(subprotocol: str, plan: Sequence[tuple[object, bool, int]]) -> list[bytes]:
    """Return the frames of messages: for each, whether it is text, and in how many parts."""
    framer = FrameProtocol(client=True, extensions=[])
    made: list[bytes] = []
    for value, as_text, parts in plan:
        try:
            data = encoders[subprotocol](value)
        except OverflowError:
            continue
        payload: bytes | str = data
        if subprotocol.endswith("json") or as_text:
            payload = data.decode("utf-8", "replace")
        step = max(1, len(payload) // parts)
        for start in range(0, max(1, len(payload)), step):
            piece = payload[start : start + step]
            finished = start + step >= len(payload)
            made.append(bytes(framer.send_data(piece, fin=finished)))
    return made
