"""Target: the bytes of a client after the handshake, through `websockets`' core and `Inbound`.

The result doesn't depend on how they are cut into pieces, and takes a bounded number of turns.
"""

from websockets.frames import Frame, Opcode

from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._server.framing import PORTION, TURN
from squire_gatherings._server.inbound import Arrival, ClosedByClient, Complaint, Inbound
from squire_gatherings._server.limits import Limits
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import BROKEN_OFF
from squire_gatherings._values.messages import ClientMessage
from squire_gatherings._values.settings import HallSettings
from squire_gatherings._wire.codecs import JSON, MSGPACK
from tests.fuzz.target import Target

ONE_BY_ONE = 0b110
"""The bits of an input's first byte of which none is set where its bytes come one by one."""

SETTINGS = ServerSettings(max_message_size=2000)
LIMITS = Limits(Quotas(HallSettings(max_ops=5)))
"""What clients share: nothing, since they have no address and leave."""


def a_frame(
    data: bytes | str, opcode: Opcode | None = None, *, fin: bool = True, mask: bytes = bytes(4)
) -> bytes:
    """Return a client's frame.

    A mask of zeros leaves the payload readable, so that the search can change it.
    """
    if opcode is None:
        opcode = Opcode.TEXT if isinstance(data, str) else Opcode.BINARY
    payload = data.encode() if isinstance(data, str) else data
    plain = Frame(opcode, payload, fin).serialize(mask=False)
    head = len(plain) - len(payload)
    masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    return plain[:1] + bytes([plain[1] | 0x80]) + plain[2:head] + mask + masked


def arrivals(how: int, data: bytes, size: int) -> list[tuple[object, ...]]:
    """Feed the bytes in pieces of this size; return what was read from them."""
    codec = MSGPACK if how & 1 else JSON
    meter = LIMITS.enter(SETTINGS, None, 0.0)
    inbound = Inbound(codec, SETTINGS, meter)
    found: list[tuple[object, ...]] = []
    closed = False
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        inbound.feed(piece)
        # Each turn takes frames in, or is the last.
        for _ in range(2 + len(piece)):
            seen = 0
            while (arrival := inbound.next()) is not None:
                seen += 1
                assert seen <= TURN + PORTION
                found.append(said(arrival))
                closed = closed or isinstance(arrival, ClosedByClient)
            assert inbound.noise >= 0
            assert inbound.spent >= 0
            replies = inbound.replies()
            # One pong answers the last ping only; a close frame may come besides.
            assert len(replies) <= 2 * 127
            if inbound.room >= 0:
                break
            inbound.room = TURN
        else:
            raise AssertionError("it never comes to an end")
        assert inbound.begun >= 0
        if inbound.broken or closed:
            break
    inbound.retire()
    meter.leave(0.0, BROKEN_OFF)
    return found


def said(arrival: Arrival) -> tuple[object, ...]:
    if isinstance(arrival, Complaint):
        assert arrival.text
        # If a message is too large, its beginning may have come only in part.
        return arrival.code, arrival.text, arrival.close_code
    if isinstance(arrival, ClosedByClient):
        return (None,)
    assert isinstance(arrival, ClientMessage), arrival
    return (arrival,)


def run(data: bytes) -> None:
    if len(data) < 2:
        return
    how, cut, rest = data[0], data[1], data[2:]
    whole = arrivals(how, rest, max(1, len(rest)))
    assert arrivals(how, rest, 1 + cut) == whole
    if not how & ONE_BY_ONE and len(rest) < 300:
        assert arrivals(how, rest, 1) == whole


_sync = '{"type":"sync","id":"1","base":0,"ops":[{"a":1}]}'
_parts = a_frame(_sync[:9], fin=False) + a_frame(_sync[9:].encode(), Opcode.CONT)
_mask = b"\x37\xfa\x21\x3d"

TARGETS = (
    Target(
        "frames",
        run,
        [
            b"\0\x07" + one
            for one in (
                a_frame(_sync),
                a_frame(_sync, mask=_mask),
                _parts,
                a_frame(b"\x82\xa4type\xa3ack\xa3seq\x01"),
                a_frame(b"", Opcode.PING) * 9 + a_frame(b"x", Opcode.PONG),
                a_frame(b"\x03\xe8bye", Opcode.CLOSE),
                a_frame(b"\x00", Opcode.CLOSE),
                a_frame("x" * 300) + a_frame(_sync),
                a_frame("x" * 3000),
                a_frame("\xe9"),
                a_frame(b"\xff", Opcode.TEXT),
                a_frame("{}") * 90,
            )
        ]
        + [b"\1\x03" + a_frame(b"\x82\xa4type\xa3ack\xa3seq\x01")],
        [b"\x81\x80" + bytes(4), b"\x89\x80" + bytes(4), b"\x88\x82" + bytes(4), b"\x81\xfe\x01"],
    ),
)
