"""Skimming: finds out about a message without decoding it, by bounded work.

It counts objects and arrays, since each costs much more than its byte. It looks for the `type` and
the `id` of what can't be decoded, so that the sender is told which request failed.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
from attrs import frozen
from msgspec import Raw

from squire_gatherings._values.ids import MAX_ID_LENGTH

MAX_CONTAINERS = 20_000
"""How many objects and arrays a message may have.

256 KiB have room for more (one takes a byte in MessagePack), which would hold the thread too long.
"""

FEW = 256
"""Up to so many objects, and as many arrays, need no further look."""

MAX_STEPS = 2_000
"""After so many values the search for a `type` and an `id` ends, in what can't be decoded."""


@frozen
class Skimmed:
    """The `type` and the `id` of a message; None for what isn't text, or wasn't found."""

    type: str | None = None
    id: str | None = None

    @property
    def request_id(self) -> str | None:
        """The id, cut off where it's longer than an id may be: a refusal may repeat it."""
        return None if self.id is None else self.id[:MAX_ID_LENGTH]


class _Envelope(msgspec.Struct):
    """The two fields of a whole message, not decoded; all others are skipped."""

    type: Raw = Raw(b"")
    id: Raw = Raw(b"")


_UNSOUND = (msgspec.MsgspecError, ValueError, RecursionError)

# JSON. A string is skipped as a whole; a quote that nothing closes ends the search.
_TO_A_CONTAINER = re.compile(rb'(?:[^"\[{]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_TOKEN = re.compile(rb'"((?:[^"\\]++|\\.)*+)("?)|[{}\[\]:,]', re.DOTALL)
_text_of_json = msgspec.json.Decoder(str).decode
_envelope_of_json = msgspec.json.Decoder(_Envelope).decode


def has_too_many_in_json(data: bytes) -> bool:
    """Whether a JSON text has more than `MAX_CONTAINERS` objects and arrays."""
    if data.count(b"{") + data.count(b"[") <= MAX_CONTAINERS:
        return False
    # They may stand in strings.
    at = 0
    for _ in range(MAX_CONTAINERS + 1):
        at = _end(_TO_A_CONTAINER, data, at) + 1
        if at > len(data):
            return False
    return True


def has_few_in_json(data: bytes) -> bool:
    """Whether there are at most `FEW` objects and `FEW` arrays. For most messages that's quick."""
    return _has_few(data, b"{") and _has_few(data, b"[")


def _has_few(data: bytes, mark: bytes) -> bool:
    # If there are few, finding them takes a tenth of the time that counting takes.
    at = -1
    for _ in range(FEW + 1):
        at = data.find(mark, at + 1)
        if at < 0:
            return True
    return False


def skim_json(data: bytes) -> Skimmed:
    """Return what can be found in data that may be cut off, or no JSON at all."""
    try:
        envelope = _envelope_of_json(data)
        return _skimmed(bytes(envelope.type), bytes(envelope.id), _text_of_json)
    except _UNSOUND:
        pass
    found: dict[bytes, bytes] = {}
    depth = 0
    text = key = None
    for step, token in enumerate(_TOKEN.finditer(data)):
        if step > MAX_STEPS:
            break
        mark = token[0]
        if token[1] is not None:
            if not token[2]:
                break
            if depth == 1 and key is not None:
                found.setdefault(key, mark)
            text, key = (token[1] if depth == 1 else None), None
            continue
        key = text if mark == b":" else None
        text = None
        if mark in b"{[":
            depth += 1
        elif mark in b"]}":
            depth -= 1
    return _skimmed(found.get(b"type"), found.get(b"id"), _text_of_json)


# MessagePack: https://github.com/msgpack/msgpack/blob/master/spec.md
_SCALAR = (
    rb"[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1].{2}|[\xca\xce\xd2].{4}"
    rb"|[\xcb\xcf\xd3].{8}|\xd4.{2}|\xd5.{3}|\xd6.{5}|\xd7.{9}|\xd8.{17}"
    + b"".join(b"|[%b].{%d}" % (bytes([0xA0 + size]), size) for size in range(32))
)
_ONE_SCALAR = re.compile(_SCALAR, re.DOTALL)
_SCALARS = re.compile(rb"(?:[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]++|" + _SCALAR + rb")*+", re.DOTALL)
_HEADS = bytes(range(0x80, 0xA0)) + b"\xdc\xdd\xde\xdf"
_NO_HEADS = bytes(byte for byte in range(256) if byte not in _HEADS)
_WIDTHS = {
    **dict.fromkeys(b"\xc4\xc7\xd9", 1),
    **dict.fromkeys(b"\xc5\xc8\xda\xdc\xde", 2),
    **dict.fromkeys(b"\xc6\xc9\xdb\xdd\xdf", 4),
}
"""How many bytes say how long a value is, by the value's first byte."""
_text_of_msgpack = msgspec.msgpack.Decoder(str).decode
_envelope_of_msgpack = msgspec.msgpack.Decoder(_Envelope).decode


def has_too_many_in_msgpack(data: bytes) -> bool:
    """Whether MessagePack data has more than `MAX_CONTAINERS` maps and arrays.

    A text with a longer head than it needs counts as one, too.
    """
    if len(data.translate(None, _NO_HEADS)) <= MAX_CONTAINERS:
        return False
    # They may be parts of texts and numbers.
    at = 0
    for _ in range(MAX_CONTAINERS + 1):
        at = _end(_SCALARS, data, at)
        if at >= len(data):
            return False
        at, _ = _step(data, at)
    return True


def length_of_array(data: bytes) -> int | None:
    """Return how many items an array of MessagePack has; None if it isn't an array."""
    first = data[0] if data else 0
    if first & 0xF0 == 0x90:
        return first & 0x0F
    if first in (0xDC, 0xDD):
        return int.from_bytes(data[1 : 1 + _WIDTHS[first]], "big")
    return None


def skim_msgpack(data: bytes) -> Skimmed:
    """Return what can be found in data that may be cut off, or no MessagePack at all."""
    try:
        envelope = _envelope_of_msgpack(data)
        return _skimmed(bytes(envelope.type), bytes(envelope.id), _text_of_msgpack)
    except _UNSOUND:
        pass
    found: dict[bytes, bytes] = {}
    at, items = _step(data, 0) if data[:1] and data[0] in _HEADS else (0, 0)
    steps = 0
    while items > 1 and at < len(data) and steps < MAX_STEPS:
        start = at
        at = middle = _end_of_value(data, at)
        at = _end_of_value(data, at)
        found.setdefault(data[start:middle], data[middle:at])
        items -= 2
        steps += 2 + (at - start) // 16
    return _skimmed(found.get(b"\xa4type"), found.get(b"\xa2id"), _text_of_msgpack)


def _end_of_value(data: bytes, at: int) -> int:
    pending = 1
    for _ in range(MAX_STEPS):
        if not pending or at >= len(data):
            break
        at, items = _step(data, at)
        pending += items - 1
    return at if not pending else len(data)


def _step(data: bytes, at: int) -> tuple[int, int]:
    """Return where a head or a scalar ends, and how many values belong to it."""
    first = data[at]
    if first <= 0x8F and first >= 0x80:
        return at + 1, 2 * (first & 0x0F)
    if first & 0xF0 == 0x90:
        return at + 1, first & 0x0F
    width = _WIDTHS.get(first)
    if width is None:
        # It's a scalar, or it isn't MessagePack: then the search ends.
        one = _ONE_SCALAR.match(data, at)
        return (len(data) if one is None else one.end()), 0
    length = int.from_bytes(data[at + 1 : at + 1 + width], "big")
    at += 1 + width
    if first in (0xDC, 0xDD):
        return at, length
    if first in (0xDE, 0xDF):
        return at, 2 * length
    return at + length + (first in (0xC7, 0xC8, 0xC9)), 0


def _end(pattern: "re.Pattern[bytes]", data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    return at if found is None else found.end()


def _skimmed(kind: bytes | None, name: bytes | None, text_of: Callable[[bytes], Any]) -> Skimmed:
    return Skimmed(_text(kind, text_of), _text(name, text_of))


def _text(data: bytes | None, text_of: Callable[[bytes], Any]) -> str | None:
    if not data:
        return None
    try:
        text: str = text_of(data)
    except (msgspec.MsgspecError, ValueError):
        return None
    return text
