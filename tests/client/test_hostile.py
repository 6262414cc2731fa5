"""Hostile or broken servers: the client gives a clear error, and never hangs or crashes."""

import json
import logging
import re
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

from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._rules.behaviour import LogBehaviour
from squire_gatherings._values.errors import (
    BadBase,
    CannotConnect,
    GatheringsError,
)
from squire_gatherings.client import Change, open_client
from tests.client.scripted import Peer, a_client, joined
from tests.client.world import ROOM, SELDOM
from tests.support import examples

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
    """Join a server that runs `serve`, and take this many changes."""
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
            # The client may hang up because of what it hears.
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
                client.join(ROOM) as gathering,
            ):
                return [await anext(gathering) for _ in range(take)]
        finally:
            nursery.cancel_scope.cancel()


def answering(data: bytes) -> Serve:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(data)
        await stream.aclose()

    return serve


def saying(*messages: Any, subprotocol: str | None = "squire.v1+json") -> Serve:
    """A server that shakes hands, reads the join, sends these, and is gone. It sends bytes bare."""

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
async def test_a_server_that_speaks_no_websocket_is_an_error(
    data: bytes, says: str, autojump_clock: MockClock
) -> None:
    start = trio.current_time()
    with pytest.raises(CannotConnect, match=says):
        await join(answering(data))
    # The answer is clear, so no client waits for a time-out.
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
async def test_a_server_without_gatherings_is_an_error(
    serve: Serve, says: str, autojump_clock: MockClock
) -> None:
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
async def test_wrong_frames_are_an_error(
    serve: Serve, says: str, autojump_clock: MockClock
) -> None:
    with pytest.raises(CannotConnect, match=says):
        await join(serve, max_message_size=1000)


async def test_a_flood_of_pings_is_answered_and_what_is_in_fragments_is_heard(
    autojump_clock: MockClock,
) -> None:
    joined = json.dumps(JOINED).encode()
    parts = b"\x01\x05" + joined[:5] + 100 * b"\x89\x02hi\x00\x00"
    rest = b"\x80\x7e" + (len(joined) - 5).to_bytes(2, "big") + joined[5:]
    assert len(await join(saying(parts + rest, forward(1, 1)), take=1)) == 1


async def test_a_refusal_is_raised_as_its_error(autojump_clock: MockClock) -> None:
    error = {"type": "error", "code": "bad_base", "message": "no such seq"}
    with pytest.raises(BadBase, match="no such seq"):
        await join(saying(error))
    with pytest.raises(GatheringsError, match="new in version 2"):
        await join(saying({"type": "error", "code": "new_code", "message": "new in version 2"}))


def forward(seq: int, n: int) -> dict[str, Any]:
    return {"type": "forward", "seq": seq, "by": None, "op": {"n": n}}


async def test_messages_of_a_later_version_are_ignored(autojump_clock: MockClock) -> None:
    news = {"type": "weather", "sun": True}
    joined = {**JOINED, "mood": "good"}
    taken = await join(saying(joined, news, forward(1, 1), {"type": "joined"}), take=1)
    assert taken == [Change(1, None, {"n": 1})]


async def test_a_gap_and_repetitions(autojump_clock: MockClock) -> None:
    """After a gap the client reconnects and asks; it shows earlier ops only once."""
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


FIELDS = [
    "type",
    "id",
    "seq",
    "seqs",
    "by",
    "op",
    "ops",
    "code",
    "message",
    "role",
    "rights_expire_in",
]
TYPES = [
    "forward",
    "synced",
    "error",
    "fetched",
    "conflict",
    "dispersed",
    "refreshed",
    "renew",
    "ending",
]
texts = st.one_of(
    st.text(max_size=50),
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.one_of(
            st.sampled_from(TYPES),
            st.integers(-3, 5),
            st.none(),
            st.lists(st.integers(-1, 3), max_size=3),
            st.lists(st.dictionaries(st.text(max_size=2), st.integers(), max_size=1), max_size=3),
        ),
    ),
)


@settings(max_examples=examples(200), deadline=None)
@given(messages=st.lists(texts, max_size=6))
def test_any_messages_end_in_an_error_of_ours(messages: list[Any]) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await saying(JOINED, *messages)(stream)

    async def main() -> None:
        with pytest.raises(CannotConnect):
            await join(serve, take=100)

    trio.run(main, clock=MockClock(autojump_threshold=0))


OP = {"n": 1}
VALID: dict[str, dict[str, Any]] = {
    "joined": JOINED
    | {
        "seq": 2,
        "ops": [OP, OP],
        "by": [None, "b"],
        "epoch": "e",
        "max_ops": 5,
        "rights_expire_in": 3.0,
        "times": [1, 2],
        "proof": {"seq": 2, "head": "ab"},
        "ends_in": 9.5,
        "syncs": [[1, 2, "s"]],
    },
    "joined with a state": {key: value for key, value in JOINED.items() if key not in ("ops", "by")}
    | {"seq": 2, "snapshot": 2},
    "forward": {"type": "forward", "seq": 1, "by": "a", "op": OP, "epoch": "e", "time": 3}
    | {"sync": [1, 1, "s"]},
    "batch": {"type": "forward", "seq": 1, "by": ["a", None], "ops": [OP, OP], "times": [3, 4]}
    | {"syncs": [[1, 1, "s"], [2, 1, "s"]]},
    "synced": {"type": "synced", "id": "mine", "seqs": [1, 2], "ops": [OP, OP], "time": 4},
    "conflict": {
        "type": "conflict",
        "id": "mine",
        "seq": 2,
        "ops": [OP, OP],
        "by": [None, "b"],
        "message": "no",
        "times": [1, 2],
    },
    "fetched": {"type": "fetched", "id": "FETCH", "seq": 2, "ops": [OP, OP], "by": ["a", "b"]},
    "refreshed": {"type": "refreshed", "id": "mine", "role": "judge", "rights_expire_in": 5.0},
    "renew": {"type": "renew", "rights_expire_in": 1.0},
    "ending": {
        "type": "ending",
        "gathering": ROOM,
        "incarnation": "i",
        "rule": "idle",
        "expires_in": 5.0,
        "at_time": 1,
    },
    "presence": {
        "type": "presence",
        "version": 1,
        "count": 2,
        "anonymous": 1,
        "users": [{"user": "a", "connections": 1, "state": OP}],
    },
    "presence since": {
        "type": "presence",
        "version": 2,
        "since": 1,
        "count": 1,
        "anonymous": 0,
        "users": [],
        "gone": ["a"],
    },
    "error": {"type": "error", "code": "rejected", "message": "no", "id": "mine"},
    "dispersed": {
        "type": "dispersed",
        "gathering": ROOM,
        "incarnation": "i",
        "reason": "idle",
        "seq": 2,
        "idle_for": 1.0,
    },
}
"""Return valid messages of each kind, for several situations."""

WRONG: list[Any] = [
    None,
    True,
    -1,
    0,
    3,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    10**400,
    -0.5,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    "x" * 1000,
    [],
    [None],
    [None] * 3,
    [OP],
    [OP] * 3,
    [1],
    [1, 3],
    [2, 1],
    [0, 1],
    [-1, 0],
    [3, 4],
    [1, 2, 3],
    [2**63 - 1, 2**63],
    [[]],
    ["a", {}],
    {},
    {"n": 2**70},
    {"n": float("nan")},
    {"": {"": [[]]}},
]
LEFT_OUT = object()


def change_inside(value: Any, wrong: Any, where: int) -> Any:
    """Put something wrong into a list or an object."""
    if isinstance(value, list) and value:
        index = where % len(value)
        return [wrong if number == index else one for number, one in enumerate(value)]
    if isinstance(value, dict) and value:
        key = list(value)[where % len(value)]
        return value | {key: wrong}
    return wrong


@st.composite
def almost_valid(draw: Any) -> dict[str, Any]:
    message = dict(draw(st.sampled_from(list(VALID.values()))))
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(message)))
        wrong = draw(st.sampled_from([LEFT_OUT, *WRONG]))
        if wrong is LEFT_OUT:
            del message[name]
        elif draw(st.booleans()):
            message[name] = wrong
        else:
            message[name] = change_inside(message[name], wrong, draw(st.integers(0, 3)))
        if not message:
            break
    return message


async def talk_nonsense(
    first: dict[str, Any], rest: list[dict[str, Any]], behaviour: Any, optimistic: bool
) -> None:
    """Let a client submit, fetch and iterate, while a server sends these and is gone."""

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(json.dumps(first))
        for message in rest:
            if message.get("id") == "FETCH":
                with trio.move_on_after(1):
                    fetch = await peer.hear("fetch")
                    message = message | {"id": fetch["id"]}
            await peer.say(json.dumps(message))
        await peer.wait()

    how: dict[str, Any] = {"behaviour": behaviour, "optimistic": optimistic}
    async with (
        a_client(
            *[serve] * 3,
            patience=60.0,
            max_pause=5.0,
            token=lambda: "t",
            **SELDOM["client_settings"],
        ) as client,
        client.join(ROOM, since=0, client_id="me" * 8, **how) as gathering,
    ):

        async def submit() -> None:
            with suppress(GatheringsError):
                await gathering.submit_all([OP, OP], sync_id="mine")

        async def iterate() -> None:
            for _ in range(20):
                with suppress(StopAsyncIteration, GatheringsError):
                    await anext(gathering)
                with suppress(GatheringsError):
                    await gathering.rejoin()

        with trio.move_on_after(3600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(submit)
                await iterate()


@settings(max_examples=examples(200, long=500), deadline=None)
@given(
    first=st.one_of(st.sampled_from([JOINED, *list(VALID.values())[:2]]), almost_valid()),
    rest=st.lists(almost_valid(), max_size=4),
    behaviour=st.sampled_from([LogBehaviour, None]),
    optimistic=st.booleans(),
)
def test_almost_valid_messages_end_in_an_error_of_ours(
    first: dict[str, Any], rest: list[dict[str, Any]], behaviour: Any, optimistic: bool
) -> None:
    async def main() -> None:
        # The join is refused, the connection is lost for good, or nothing is wrong: no other error.
        with suppress(GatheringsError):
            await talk_nonsense(first, rest, behaviour, optimistic and behaviour is not None)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("joined", {"by": [None]}, "1 in `by` for 2 ops"),
        ("joined", {"ops": LEFT_OUT, "by": LEFT_OUT}, "neither ops"),
        ("joined", {"by": LEFT_OUT}, "neither ops"),
        ("joined", {"snapshot": 1}, "both ops and a snapshot"),
        ("joined", {"seq": -1}, "up to the seq -1|the seq -1"),
        ("joined", {"seq": 1}, "2 ops up to the seq 1"),
        ("joined", {"gathering": "another"}, "another gathering"),
        ("joined", {"incarnation": ""}, "incarnation"),
        ("joined", {"max_ops": 0}, "max_ops is 0"),
        ("joined", {"idle_timeout": -1.0}, "idle_timeout is -1"),
        ("joined", {"expires_in": float("nan")}, "something else"),
        ("joined", {"epoch": 129 * "x"}, "epoch"),
        ("joined with a state", {"snapshot": "two"}, "state"),
        ("joined with a state", {"snapshot": {"n": [1]}}, "state"),
        ("forward", {"seq": 0}, "the seq 0"),
        ("forward", {"seq": -5}, "the seq -5"),
        ("forward", {"seq": 2**63}, "the seq 9"),
        ("forward", {"seq": 2**63 - 1}, "came after"),
        ("forward", {"ops": [OP]}, "contradict"),
        ("batch", {"by": ["a"]}, "1 in `by` for 2 ops"),
        ("batch", {"by": "a"}, "contradict"),
        ("batch", {"ops": [], "by": []}, "no op"),
        ("batch", {"ops": [OP, {"n": 2**70}]}, "something else"),
        ("batch", {"syncs": [[1, 1, "s"], [1, 2, "t"]]}, "a sync from the op 1 on"),
        ("batch", {"syncs": [[1, 1, "s"]] * 3}, "3 syncs for 2 ops"),
        ("batch", {"syncs": [[1, 0, "s"]]}, "something else"),
        ("batch", {"syncs": [[2**63 - 1, 2, "s"]]}, "the seq 9"),
        ("forward", {"sync": [1, 1]}, "something else"),
        ("forward", {"sync": [1, 1, ""]}, "something else"),
        ("synced", {"seqs": []}, "without seqs"),
        ("synced", {"seqs": [1]}, "2 ops under 1 seqs"),
        ("synced", {"seqs": [1], "ops": LEFT_OUT}, "1 seqs to 2 ops"),
        ("synced", {"seqs": [1, 2, 3], "ops": [OP] * 3}, "3 seqs to 2 ops"),
        ("synced", {"seqs": [1, 3]}, "don't follow"),
        ("synced", {"seqs": [2, 1]}, "don't follow"),
        ("synced", {"seqs": [0, 1]}, "don't follow"),
        ("synced", {"seqs": [1, 2.5]}, "something else"),
        ("synced", {"ops": [OP]}, "1 ops under 2 seqs"),
        ("conflict", {"by": []}, "0 in `by`"),
        ("conflict", {"seq": 1}, "2 ops from 0 to 1"),
        ("conflict", {"seq": -1}, "the seq -1"),
        ("fetched", {"ops": LEFT_OUT, "by": LEFT_OUT}, "neither ops"),
        ("fetched", {"ops": LEFT_OUT, "by": LEFT_OUT, "snapshot": 1}, "gave a snapshot"),
        ("fetched", {"ops": [], "by": []}, "0 ops after 0"),
        ("fetched", {"seq": 1}, "2 ops up to the seq 1"),
        ("dispersed", {"seq": -1}, "the seq -1"),
        ("dispersed", {"idle_for": -1.0}, "idle_for is -1"),
        ("dispersed", {"gathering": "another"}, "another gathering"),
    ],
)
async def test_what_is_wrong_is_said(
    kind: str,
    change: dict[str, Any],
    says: str,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = {
        name: value for name, value in (VALID[kind] | change).items() if value is not LEFT_OUT
    }
    if kind.startswith("joined"):
        with pytest.raises(CannotConnect, match=says):
            await join(saying(json.dumps(message)))
        return

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        state = VALID["joined with a state"]
        await peer.say(state if kind == "fetched" else joined())
        asked = await peer.hear("fetch" if kind == "fetched" else "sync")
        await peer.say(json.dumps(message | {"id": asked["id"]}))
        await peer.wait()

    # The client logs the server's words as the reason of the loss; then nobody listens.
    caplog.set_level(logging.INFO, "squire_gatherings")
    async with (
        a_client(serve, patience=10.0) as client,
        client.join(ROOM, since=0) as gathering,
    ):
        ask = anext(gathering) if kind == "fetched" else gathering.submit_all([OP, OP])
        with pytest.raises(CannotConnect):
            await ask
    assert re.search(says, caplog.messages[0])


@settings(max_examples=examples(200), deadline=None)
@given(data=st.binary(max_size=200), prefix=st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 101 "]))
def test_any_bytes_end_in_an_error_of_ours(data: bytes, prefix: bytes) -> None:
    async def main() -> None:
        with pytest.raises(CannotConnect):
            await join(answering(prefix + data))

    trio.run(main, clock=MockClock(autojump_threshold=0))
