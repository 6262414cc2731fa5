"""Turns: the server takes a few frames at a time from each client, and floods wait."""

import json
import struct
from collections.abc import Sequence
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair
from wsproto.frame_protocol import Opcode

from squire_gatherings import ServerSettings, open_hall, serve_stream
from squire_gatherings._server import handshake
from squire_gatherings._server.framing import PORTION, TURN
from squire_gatherings._server.inbound import CLOSED_BY_CLIENT, Complaint, Inbound
from squire_gatherings._server.limits import NOISE_BURST, NOISE_RATE, Limits
from squire_gatherings._server.portions import Cutter, beginning_of_larger, is_one_frame
from squire_gatherings._server.serving import AT_THE_DOOR, Serving
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import Ack, Sync
from squire_gatherings._wire.codecs import JSON, Incoming
from tests.server.test_hostile import request
from tests.server.test_timing import Client, a_client
from tests.support import examples


def frame(payload: bytes | str, opcode: int = Opcode.TEXT, *, fin: bool = True) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(data) < 126:
        head += bytes([0x80 | len(data)])
    elif len(data) < 65536:
        head += b"\xfe" + struct.pack("!H", len(data))
    else:
        head += b"\xff" + struct.pack("!Q", len(data))
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


def an_inbound(settings: ServerSettings | None = None) -> Inbound:
    settings = settings or ServerSettings()
    return Inbound(JSON, settings, Limits().enter(settings, None, 0.0))


ACK = b'{"type":"ack","seq":1}'


@given(
    first=st.sampled_from([0x81, 0x82]) | st.integers(0, 255),
    payload=st.sampled_from([ACK, ACK[:-1], '"ü"'.encode(), b"\xff", b"", bytes(601)])
    | st.binary(max_size=700),
    mask=st.binary(min_size=4, max_size=4),
    is_masked=st.sampled_from([True, True, False]),
    before=st.sampled_from(["nothing", "nothing", "a part", "deaf", "closing", "closed"]),
)
@settings(max_examples=examples(300))
def test_a_frame_that_comes_alone_is_what_it_is_in_pieces(
    first: int, payload: bytes, mask: bytes, is_masked: bool, before: str
) -> None:
    size = len(payload)
    head = bytes([first, 0x80 * is_masked | min(size, 126)]) + size.to_bytes(2) * (size > 125)
    one = head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    outcomes = []
    for pieces in ([one], [one[:1], one[1:]]):
        inbound = an_inbound(ServerSettings(max_message_size=600))
        if before == "a part":
            inbound.feed(frame('{"ty', fin=False))
            assert inbound.next() is None
        elif before == "closing":
            inbound.close(CloseCode.GOING_AWAY, "bye")
        elif before == "closed":
            inbound.feed(frame(b"", Opcode.CLOSE))
            assert inbound.next() is CLOSED_BY_CLIENT
        inbound.deaf = before == "deaf"
        found = []
        for piece in pieces:
            inbound.feed(piece)
            found += list(iter(inbound.next, None))
        said = [(one.code, one.close_code) if isinstance(one, Complaint) else one for one in found]
        outcomes.append((said, inbound.noise, inbound.replies(), inbound.begun > 0, inbound.broken))
    assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=300), st.booleans())
def test_what_came_alone_and_was_not_given_is_unread(payload: bytes, is_text: bool) -> None:
    inbound, other = an_inbound(), an_inbound()
    one = frame(payload, Opcode.TEXT if is_text else Opcode.BINARY)
    inbound.feed(one)
    assert not inbound.is_empty
    other.feed(inbound.unread())
    again = an_inbound()
    again.feed(one)
    assert [str(one) for one in iter(other.next, None)] == [
        str(one) for one in iter(again.next, None)
    ]


PING, PONG = frame(b"", Opcode.PING), frame(b"", Opcode.PONG)
sizes = st.integers(0, 200) | st.sampled_from([125, 126, 65_535, 65_536])


@given(st.lists(sizes, max_size=40), st.lists(st.integers(0, 400), max_size=60), st.integers(1, 9))
def test_portions_end_with_frames(plan: list[int], cuts: list[int], most: int) -> None:
    frames = [frame(bytes(size), Opcode.BINARY) for size in plan]
    data = b"".join(frames)
    ends = [0]
    for one in frames:
        ends.append(ends[-1] + len(one))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    cutter = Cutter()
    for start, end in pairwise(places):
        chunk, at = data[start:end], 0
        while at < len(chunk):
            assert cutter.between == (start + at in ends)
            if cutter.between:
                assert is_one_frame(chunk) == (chunk in frames and len(chunk) < 65_544) or at
            to = cutter.cut(chunk, at, most)
            within = [one for one in ends if start + at < one < start + to]
            assert len(within) < most
            assert to == len(chunk) or start + to in ends
            if cutter.skipped < to - at:
                assert start + at + cutter.skipped in ends
            at = to
    assert cutter.between


@given(st.integers(0, 3), st.integers(100, 70_000), st.integers(1, 200))
def test_the_beginning_of_too_large_a_frame_is_enough_to_refuse_it(
    before: int, size: int, most: int
) -> None:
    payload = bytes(n % 251 for n in range(size))
    data = frame(b"x" * 50) * before + frame(payload)
    assert beginning_of_larger(data, 99, most) == payload[:most]
    assert beginning_of_larger(data, size, most) == b""


def taken(inbound: Inbound) -> list[Incoming | Complaint]:
    found: list[Incoming | Complaint] = []
    while (arrival := inbound.next()) is not None:
        assert not isinstance(arrival, type(None))
        found.append(arrival)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    "tiny", [PING, PONG, frame("", Opcode.CONTINUATION, fin=False), frame("{}"), frame(b"x", 2)]
)
def test_a_turn_takes_so_many_frames_at_most(tiny: bytes) -> None:
    """64 KiB have ten thousand of these frames."""
    inbound = an_inbound()
    if tiny[0] & 0x0F == Opcode.CONTINUATION:
        inbound.feed(frame("", fin=False))
        assert inbound.next() is None
    count = 65_536 // len(tiny)
    inbound.feed(tiny * count)
    turns = seen = 0
    while True:
        seen += len(taken(inbound))
        turns += 1
        assert inbound.noise <= 2 * (TURN + PORTION)
        inbound.noise = 0
        if inbound.room >= 0:
            break
        inbound.room = TURN
    assert turns >= count // (TURN + PORTION)
    assert seen in (0, count)


def test_ops_count_in_a_turn() -> None:
    inbound = an_inbound()
    ops = ",".join(["{}"] * 1000)
    sync = frame(f'{{"type":"sync","id":"1","base":0,"ops":[{ops}]}}')
    inbound.feed(sync * 5)
    assert len(taken(inbound)) == 1
    assert inbound.spent > TURN
    rest = []
    while inbound.room < 0:
        inbound.room = TURN
        rest += taken(inbound)
    assert [type(one) for one in rest] == [Sync] * 4


@given(st.lists(st.integers(1, 700), max_size=50))
def test_nothing_is_lost_or_reordered_between_turns(cuts: Sequence[int]) -> None:
    parts = [frame(json.dumps({"type": "ack", "seq": n, "x": "y" * (n % 300)})) for n in range(150)]
    data = b"".join(part + PING * (n % 3) for n, part in enumerate(parts))
    inbound = an_inbound()
    found: list[Incoming | Complaint] = []
    while data:
        size = cuts[len(found) % len(cuts)] if cuts else 4000
        piece, data = data[:size], data[size:]
        inbound.feed(piece)
        found += taken(inbound)
        while inbound.room < 0:
            inbound.room = TURN
            found += taken(inbound)
    assert found == [Ack(n) for n in range(150)]


def test_only_the_last_of_several_pings_is_answered() -> None:
    inbound = an_inbound()
    inbound.feed(b"".join(frame(b"%d" % n, Opcode.PING) for n in range(20)) + frame(b"", 8))
    while inbound.next() is not None:
        pass
    assert inbound.replies() == b"\x8a\x0219" + b"\x88\x00"
    assert inbound.replies() == b""


async def hear_of(stream: trio.abc.ReceiveStream, what: bytes) -> None:
    got = b""
    while what not in got:
        got += await stream.receive_some()


async def test_only_a_client_that_floods_has_to_wait(autojump_clock: MockClock) -> None:
    seconds = 10
    async with open_hall() as hall, a_client(hall) as (client, server, _):
        await client.say(type="join")
        await client.hear()
        ours, theirs = memory_stream_pair()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await serve_stream(hall, ours, server=server)

            nursery.start_soon(serve)
            await theirs.send_all(request() + frame('{"type":"join"}'))
            await hear_of(theirs, b"joined")
            start = trio.current_time()
            count = NOISE_BURST + seconds * NOISE_RATE
            await theirs.send_all(PONG * count + frame('{"type":"fetch","id":"late"}'))
            await client.say(type="fetch", id="1")
            assert (await client.hear())["id"] == "1"
            assert trio.current_time() == start
            await hear_of(theirs, b'"late"')
            assert start + seconds - 1 <= trio.current_time() <= start + seconds + 1
            nursery.cancel_scope.cancel()


async def test_an_address_has_a_budget_of_its_own(autojump_clock: MockClock) -> None:
    """More connections are no way around it; a client that doesn't flood is served."""
    async with open_hall() as hall, trio.open_nursery() as nursery:
        server = Serving((), ())
        clients = []
        for _ in range(5):
            ours, theirs = memory_stream_pair()

            async def serve(stream: trio.abc.Stream = ours) -> None:
                await serve_stream(hall, stream, server=server, peer="192.0.2.7")

            nursery.start_soon(serve)
            await theirs.send_all(request() + frame('{"type":"join"}'))
            clients.append(Client(theirs))
        for client in clients:
            await hear_of(client.stream, b"joined")
        start = trio.current_time()
        for client in clients[:4]:
            await client.answer(PONG * NOISE_BURST + frame('{"type":"fetch","id":"late"}'))
        await clients[4].answer(frame('{"type":"fetch","id":"now"}'))
        await hear_of(clients[4].stream, b'"now"')
        assert trio.current_time() == start
        for client in clients[:4]:
            await hear_of(client.stream, b'"late"')
        # These are 4 bursts. The address had two; then its own rate counts, that of two
        # connections.
        assert start + 3 <= trio.current_time() <= start + 5
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [10, 10_000, 200_000])
def test_a_refused_message_counts_by_its_size(size: int) -> None:
    inbound = an_inbound()
    inbound.feed(frame("x" * size))
    while inbound.next() is not None:
        pass
    assert size // 128 <= inbound.noise <= size // 128 + 4


async def test_nothing_is_decoded_after_a_client_has_left() -> None:
    async with open_hall() as hall, a_client(hall) as (client, server, _):
        await client.say(type="join")
        await client.hear()
        [connection] = server._connections
        await client.say(type="leave")
        opcode, _ = await client.next()
        assert opcode is Opcode.CLOSE
        await client.say(type="fetch", id="1")
        await trio.testing.wait_all_tasks_blocked()
        assert connection._inbound.deaf


async def test_a_turn_takes_few_of_a_crowd_of_new_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clients that have joined get their turns in between."""
    turns = 0
    at: list[int] = []
    understand = handshake._understand

    def counted(*asked: object) -> object:
        at.append(turns)
        return understand(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(handshake, "_understand", counted)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with open_hall() as hall, trio.open_nursery() as nursery:
        pairs = [memory_stream_pair() for _ in range(50)]
        for _, theirs in pairs:
            await theirs.send_all(request())
        nursery.start_soon(take_turns)
        for ours, _ in pairs:
            nursery.start_soon(serve_stream, hall, ours)
        for _, theirs in pairs:
            assert (await theirs.receive_some()).startswith(b"HTTP/1.1 101")
        nursery.cancel_scope.cancel()
    assert len(at) == 50
    assert max(at.count(turn) for turn in at) <= 2 * AT_THE_DOOR
