"""The cases of the Autobahn test suite for servers, by their numbers, as bytes that we send.

The suite itself needs Python 2 and is in no registry that we reach. It expects an echo, which our
server isn't: a message that the suite sends is right for WebSocket, but isn't JSON. Our server
answers it with `bad_message`, and the connection lives. Where the contents matter, we send them in
a sync and read them back.

Left out are 12 and 13, compression, which our server never agrees to.
"""

from collections.abc import Iterator
from itertools import chain

from attrs import frozen

from tests.system.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

BAD = "bad_message"
RSV1, RSV2, RSV3 = 64, 32, 16
PROTOCOL_ERROR, INVALID_TEXT = 1002, 1007


@frozen
class Case:
    """The pieces that a client sends, and what it must get."""

    number: str
    pieces: tuple[bytes, ...]
    errors: int = 0
    """The number of messages that get an error, since they aren't our protocol."""
    pongs: tuple[bytes, ...] = ()
    """The pongs; those for earlier pings may be missing (RFC 6455, section 5.5.3)."""
    close: tuple[int, ...] = ()
    """The codes with which the server may close; empty if the connection lives."""


def octets(*frames: bytes) -> tuple[bytes, ...]:
    """Return the bytes of frames, one at a time."""
    return tuple(bytes([byte]) for byte in b"".join(frames))


def together(*frames: bytes) -> tuple[bytes, ...]:
    """Return frames in one piece."""
    return (b"".join(frames),)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


HELLO = frame(TEXT, b"Hello, world!")
PINGED = frame(PING, b"after")
TWO = (frame(TEXT, b"fragment1", fin=False), frame(CONTINUATION, b"fragment2"))


def pings() -> Iterator[Case]:
    """2: pings and pongs."""
    yield Case("2.1", (frame(PING, b""),), pongs=(b"",))
    yield Case("2.2", (frame(PING, b"Hello, world!"),), pongs=(b"Hello, world!",))
    data = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
    yield Case("2.3", (frame(PING, data),), pongs=(data,))
    data = b"\xfe" * 125
    yield Case("2.4", (frame(PING, data),), pongs=(data,))
    yield Case("2.5", (frame(PING, b"\xfe" * 126),), close=(PROTOCOL_ERROR,))
    yield Case("2.6", octets(frame(PING, data)), pongs=(data,))
    yield Case("2.7", (frame(PONG, b""),))
    yield Case("2.8", (frame(PONG, b"unsolicited"),))
    yield Case("2.9", (frame(PONG, b"unsolicited"), frame(PING, b"ping")), pongs=(b"ping",))
    ten = [b"payload-%d" % number for number in range(10)]
    frames = [frame(PING, payload) for payload in ten]
    yield Case("2.10", together(*frames), pongs=tuple(ten))
    yield Case("2.11", octets(*frames), pongs=tuple(ten))


def reserved_bits() -> Iterator[Case]:
    """3: bits that no extension gave a meaning."""
    wrong = (PROTOCOL_ERROR,)
    yield Case("3.1", (frame(RSV3 | TEXT, b"small"),), close=wrong)
    then: tuple[bytes, ...] = (HELLO, frame(RSV2 | TEXT, b"small"), PINGED)
    yield Case("3.2", together(*then), errors=1, close=wrong)
    then = (HELLO, frame(RSV2 | RSV3 | TEXT, b"small"), PINGED)
    yield Case("3.3", then, errors=1, close=wrong)
    then = (HELLO, frame(RSV1 | TEXT, b"small"), PINGED)
    yield Case("3.4", octets(*then), errors=1, close=wrong)
    yield Case("3.5", (frame(RSV1 | RSV3 | BINARY, b"\x00\xff"),), close=wrong)
    yield Case("3.6", (frame(RSV1 | RSV2 | PING, b"ping"),), close=wrong)
    seven = RSV1 | RSV2 | RSV3
    yield Case("3.7", (frame(seven | CLOSE, (1000).to_bytes(2, "big")),), close=wrong)


def opcodes() -> Iterator[Case]:
    """4: opcodes that aren't given to anything."""
    for part, first in ((1, 3), (2, 11)):
        wrong = (PROTOCOL_ERROR,)
        yield Case(f"4.{part}.1", (frame(first, b""),), close=wrong)
        yield Case(f"4.{part}.2", (frame(first + 1, b"reserved"),), close=wrong)
        then = (HELLO, frame(first + 2, b""), PINGED)
        yield Case(f"4.{part}.3", together(*then), errors=1, close=wrong)
        then = (HELLO, frame(first + 3, b"reserved"), PINGED)
        yield Case(f"4.{part}.4", then, errors=1, close=wrong)
        then = (HELLO, frame(first + 4, b"reserved"), PINGED)
        yield Case(f"4.{part}.5", octets(*then), errors=1, close=wrong)


def fragments() -> Iterator[Case]:
    """5: fragmentation."""
    wrong = (PROTOCOL_ERROR,)
    halves: tuple[bytes, ...] = (
        frame(PING, b"fragment1", fin=False),
        frame(CONTINUATION, b"fragment2"),
    )
    yield Case("5.1", halves, close=wrong)
    halves = (frame(PONG, b"fragment1", fin=False), frame(CONTINUATION, b"fragment2"))
    yield Case("5.2", halves, close=wrong)
    yield Case("5.3", TWO, errors=1)
    yield Case("5.4", together(*TWO), errors=1)
    yield Case("5.5", octets(*TWO), errors=1)
    between: tuple[bytes, ...] = (TWO[0], frame(PING, b"between"), TWO[1])
    yield Case("5.6", between, errors=1, pongs=(b"between",))
    yield Case("5.7", together(*between), errors=1, pongs=(b"between",))
    yield Case("5.8", octets(*between), errors=1, pongs=(b"between",))
    for number, fin in ((9, True), (12, False)):
        lonely: tuple[bytes, ...] = (frame(CONTINUATION, b"nothing", fin=fin), HELLO)
        yield Case(f"5.{number}", lonely, close=wrong)
        yield Case(f"5.{number + 1}", together(*lonely), close=wrong)
        yield Case(f"5.{number + 2}", octets(*lonely), close=wrong)
    more = frame(CONTINUATION, b"fragment3", fin=False)
    yield Case("5.15", together(*TWO, more, HELLO), errors=1, close=wrong)
    for number, fin in ((16, False), (17, True)):
        lonely = (frame(CONTINUATION, b"fragment1", fin=fin), *TWO)
        yield Case(f"5.{number}", (*lonely, *lonely), close=wrong)
    again = (frame(TEXT, b"fragment1", fin=False), frame(TEXT, b"fragment2"))
    yield Case("5.18", again, close=wrong)
    five = (
        frame(TEXT, b"fragment1", fin=False),
        frame(CONTINUATION, b"fragment2", fin=False),
        frame(PING, b"pongme 1!"),
        frame(CONTINUATION, b"fragment3", fin=False),
        frame(CONTINUATION, b"fragment4", fin=False),
        frame(PING, b"pongme 2!"),
        frame(CONTINUATION, b"fragment5"),
    )
    pongs = (b"pongme 1!", b"pongme 2!")
    yield Case("5.19", five, errors=1, pongs=pongs)
    yield Case("5.20", together(*five), errors=1, pongs=pongs)


GREEK = bytes.fromhex("cebae1bdb9cf83cebcceb5")
"""Kosme, with an omicron of three bytes."""
GOOD = "Hello-µ@ßöäüàá-UTF-8!!".encode()


def text_in_parts() -> Iterator[Case]:
    """6.1 to 6.4: text in fragments."""
    yield Case("6.1.1", (frame(TEXT, b""),), errors=1)
    empty = frame(CONTINUATION, b"", fin=False)
    first, last = frame(TEXT, b"", fin=False), frame(CONTINUATION, b"")
    yield Case("6.1.2", (first, empty, last), errors=1)
    middle = frame(CONTINUATION, b"middle frame payload", fin=False)
    yield Case("6.1.3", (first, middle, last), errors=1)
    yield Case("6.2.1", (frame(TEXT, GOOD),), errors=1)
    halves = (frame(TEXT, GOOD[:6], fin=False), frame(CONTINUATION, GOOD[6:]))
    yield Case("6.2.2", halves, errors=1)
    yield Case("6.2.3", one_by_one(GOOD), errors=1)
    yield Case("6.2.4", one_by_one(GREEK), errors=1)
    broken = GREEK + b"\xed\xa0\x80" + b"edited"
    wrong = (INVALID_TEXT,)
    yield Case("6.3.1", (frame(TEXT, broken),), close=wrong)
    yield Case("6.3.2", one_by_one(broken), close=wrong)
    # These expect the connection to fail at the wrong part. Ours fails at the end of the message:
    # the suite calls that "non-strict", and allows it.
    for number, parts in (
        (1, (GREEK, b"\xf4\x90\x80\x80", b"edited")),
        (2, (GREEK + b"\xf4", b"\x90", b"\x80\x80edited")),
    ):
        frames = (
            frame(TEXT, parts[0], fin=False),
            frame(CONTINUATION, parts[1], fin=False),
            frame(CONTINUATION, parts[2]),
        )
        yield Case(f"6.4.{number}", frames, close=wrong)
        whole = frame(TEXT, b"".join(parts))
        at = len(whole) - sum(map(len, parts)) + len(parts[0])
        chops = (whole[:at], whole[at : at + len(parts[1])], whole[at + len(parts[1]) :])
        yield Case(f"6.4.{number + 2}", chops, close=wrong)


def one_by_one(payload: bytes) -> tuple[bytes, ...]:
    """Return a text message in fragments of one byte."""
    last = len(payload) - 1
    return tuple(
        frame(TEXT if not at else CONTINUATION, payload[at : at + 1], fin=at == last)
        for at in range(len(payload))
    )


def _hex(*texts: str) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


_NO_CHARACTERS = [
    f"{first}{second}bf{third}"
    for first in ("f0", "f1", "f2", "f3", "f4")
    for second in ("8f", "9f", "af", "bf")
    for third in ("be", "bf")
    if (first, second) != ("f0", "8f") and (first != "f4" or second == "8f")
]
_TRUNCATED = _hex(
    "c0", "e080", "f08080", "f8808080", "fc80808080",
    "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf",
)  # fmt: skip

SEQUENCES: dict[int, list[bytes]] = {
    5: [*(f"hello{one}world".encode() for one in "$¢€𤭢"), GREEK],
    6: [GREEK[: at + 1] for at in range(len(GREEK))],
    7: _hex("00", "c280", "e0a080", "f0908080"),
    8: _hex("f888808080", "fc8480808080"),
    9: _hex("7f", "dfbf", "efbfbf", "f48fbfbf"),
    10: _hex("f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"),
    11: _hex("ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "f4908080"),
    12: [
        *_hex("80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf"),
        bytes(range(0x80, 0xBF)),
    ],
    13: [
        b"".join(bytes([byte]) + b" " for byte in range(first, last))
        for first, last in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    ],
    14: _TRUNCATED,
    15: [b"".join(_TRUNCATED)],
    16: _hex("fe", "ff", "fefeffff"),
    17: _hex("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"),
    18: _hex("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"),
    19: _hex("c080", "e08080", "f0808080", "f880808080", "fc8080808080"),
    20: _hex("eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"),
    21: [
        bytes.fromhex(high + low)
        for high in ("eda080", "edadbf", "edae80", "edafbf")
        for low in ("edb080", "edbfbf")
    ],
    22: _hex("efbfbe", "efbfbf", *_NO_CHARACTERS),
    23: _hex("efbfb9", "efbfba", "efbfbb", "efbfbc", "efbfbd", "efbfbe", "efbfbf"),
}  # fmt: skip
"""6.5 to 6.23: sequences of bytes that are or aren't UTF-8 (Kuhn's stress test)."""

VALID = {5: 5, 7: 4, 9: 4, 22: 34, 23: 7}
"""The groups whose sequences are all valid, with the number of sequences in each."""

SOME_VALID = {6: (2, 5, 7, 9, 11), 11: (1, 2, 3, 4)}
"""The valid sequences in the other groups."""


def is_valid(group: int, number: int) -> bool:
    """Return whether the suite says that this sequence is UTF-8."""
    return group in VALID or number in SOME_VALID.get(group, ())


def sequences() -> Iterator[Case]:
    """6.5 to 6.23."""
    for group, found in SEQUENCES.items():
        for number, payload in enumerate(found, start=1):
            name, sent = f"6.{group}.{number}", (frame(TEXT, payload),)
            if is_valid(group, number):
                yield Case(name, sent, errors=1)
            else:
                yield Case(name, sent, close=(INVALID_TEXT,))


def closing() -> Iterator[Case]:
    """7: close frames."""
    yield Case("7.1.1", (HELLO, close()), errors=1, close=(1000,))
    yield Case("7.1.2", (close(), close()), close=(1000,))
    yield Case("7.1.3", together(close(), PINGED), close=(1000,))
    yield Case("7.1.4", together(close(), HELLO), close=(1000,))
    # `websockets` takes the unfinished message as an error.
    unfinished = together(TWO[0], close(), TWO[1])
    yield Case("7.1.5", unfinished, close=(1000, PROTOCOL_ERROR))
    yield Case("7.3.1", (close(None),), close=(1000, 1005))
    yield Case("7.3.2", (frame(CLOSE, b"a"),), close=(PROTOCOL_ERROR,))
    yield Case("7.3.3", (close(),), close=(1000,))
    yield Case("7.3.4", (close(1000, b"Hello World!"),), close=(1000,))
    yield Case("7.3.5", (close(1000, b"*" * 123),), close=(1000,))
    yield Case("7.3.6", (close(1000, b"*" * 124),), close=(PROTOCOL_ERROR,))
    yield Case("7.5.1", (close(1000, GREEK + b"\xed\xa0\x80edited"),), close=(INVALID_TEXT,))
    good = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    for number, code in enumerate(good, start=1):
        yield Case(f"7.7.{number}", (close(code),), close=(code,))
    bad = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
    for number, code in enumerate(bad, start=1):
        yield Case(f"7.9.{number}", (close(code),), close=(PROTOCOL_ERROR,))
    # These two only inform: they use codes that nobody may use.
    yield Case("7.13.1", (close(5000),), close=(PROTOCOL_ERROR, 5000))
    yield Case("7.13.2", (close(65535),), close=(PROTOCOL_ERROR, 65535))


CASES = tuple(
    chain(pings(), reserved_bits(), opcodes(), fragments(), text_in_parts(), sequences(), closing())
)

SIZES = (0, 125, 126, 127, 128, 65535, 65536, 65536)
"""1.1 and 1.2: the sizes of whole messages; the last comes in pieces of 997 bytes."""

LARGE = (64 * 1024, 256 * 1024, 1024**2, 4 * 1024**2, 8 * 1024**2, 16 * 1024**2)
"""9.1 and 9.2."""

FRAGMENTS = (64, 256, 1024, 4096, 16384, 65536, 262144, 1024**2, 4 * 1024**2)
"""9.3 and 9.4: the sizes of the fragments of 4 MiB."""

CHOPS = (128, 256, 512, 1024, 2048, 4096)
"""9.5 and 9.6: the sizes of the pieces in which 1 MiB arrives."""

ROUNDS = (0, 16, 64, 256, 1024, 4096)
"""9.7 and 9.8: the sizes of a thousand messages, each sent when the last was answered."""
