"""The operation: one JSON object, opaque to the hall, and what such an object may contain.

The same for ops that come over the wire and for those of an embedding program: an op is what was
given, or it is refused. Nothing is stored as something else.
"""

import math
from types import NoneType
from typing import Any

import msgspec

MAX_OP_DEPTH = 128
"""How deep objects and arrays in an op may nest.

Far below what the decoders take, because that depends on how full the stack happens to
be: an op that was accepted must be decodable wherever somebody looks at it later.
"""

_LEAST, _MOST = -(2**63), 2**64 - 1
"""The integers that MessagePack has."""
_ALWAYS_PLAIN = frozenset({str, bool, NoneType})

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_encode_msgpack = msgspec.msgpack.Encoder().encode


class Op:
    """One JSON object, kept as the bytes in which it is stored and sent.

    A plain slotted class, because `msgspec` takes an `attrs` class apart field by field
    where an op must be taken whole (see `squire_gatherings._wire.codecs`).
    """

    __slots__ = ("json",)

    json: bytes
    """The object as compact UTF-8 JSON."""

    def __init__(self, json: bytes) -> None:
        self.json = json

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Op":
        """Make an op of a dict, whose `Op.value` then equals it.

        In it may be `dict` (with keys of `str`), `list`, `str`, `int` of 64 bits, `bool`, finite
        `float` and None, at most 128 levels deep. Raises `ValueError` for anything else, also for
        subclasses of these, tuples, and text that isn't Unicode (lone surrogates).
        """
        if type(value) is not dict:
            raise ValueError("an op is an object")
        try:
            check_plain(value)
            return cls(_encode_json(value))
        except RecursionError:
            # The caller's stack was nearly full.
            raise _not_plain("it is nested too deeply") from None
        except (UnicodeError, OverflowError, TypeError, msgspec.MsgspecError) as error:
            raise _not_plain(str(error)) from None

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> "Op":
        """Make an op of what a JSON decoder made, and which can only be wrong in few ways.

        Its floats must be finite. Raises `ValueError` like `of`, several times faster.
        """
        if type(value) is not dict:
            raise ValueError("an op is an object")
        try:
            # Refuses integers beyond 64 bits.
            _encode_msgpack(value)
            text = _encode_json(value)
        except (OverflowError, TypeError, msgspec.MsgspecError, RecursionError) as error:
            raise _not_plain(str(error)) from None
        # Most ops aren't that long, or haven't that many brackets, and needn't be taken apart.
        if len(text) > 2 * MAX_OP_DEPTH and text.count(b"[") + text.count(b"{") > MAX_OP_DEPTH:
            _check_depth(value, MAX_OP_DEPTH)
        return cls(text)

    def check(self) -> None:
        """Raise `ValueError` where `json` isn't what `of` could have made an op of.

        Somebody may have made it of bytes of his own.
        """
        if type(self.json) is not bytes:
            raise _not_plain(f"it is kept as bytes, not {type(self.json).__name__}")
        try:
            value = self.value
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise _not_plain(str(error)) from None
        Op.of(value)

    @property
    def value(self) -> dict[str, Any]:
        """The object, decoded afresh: the caller may keep and change it."""
        return _decode_json(self.json)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Op) and self.json == other.json

    def __hash__(self) -> int:
        return hash(self.json)

    def __repr__(self) -> str:
        return f"Op({self.json!r})"


def check_plain(value: dict[str, Any] | list[Any], room: int = MAX_OP_DEPTH) -> None:
    """Raise `ValueError` for what JSON can't say, for `room` levels more, and for large integers.

    `msgspec` would quietly turn bytes into base64 text, times into ISO 8601, NaN into null.
    """
    if not room:
        raise _too_deep()
    items: Any = value
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                raise _not_plain(f"its keys are strings, not {type(key).__name__}")
        items = value.values()
    for item in items:
        kind = type(item)
        if kind in _ALWAYS_PLAIN:
            continue
        if kind is dict or kind is list:
            check_plain(item, room - 1)
        elif kind is float:
            if not math.isfinite(item):
                raise _not_plain(f"it can't contain {item}")
        elif kind is not int:
            raise _not_plain(f"it can't contain {kind.__name__}")
        elif not _LEAST <= item <= _MOST:
            raise _not_plain("its integers have at most 64 bits")


def _check_depth(value: dict[str, Any] | list[Any], room: int) -> None:
    if not room:
        raise _too_deep()
    for item in value.values() if type(value) is dict else value:
        if type(item) is dict or type(item) is list:
            _check_depth(item, room - 1)


def _too_deep() -> ValueError:
    return ValueError(f"an op nests at most {MAX_OP_DEPTH} deep")


def _not_plain(why: str) -> ValueError:
    return ValueError(f"an op must be plain JSON: {why}")
