"""The operation: one JSON object, opaque to the hall, and what such an object may contain.

The same rules hold for ops that come over the wire and for those of an embedding program: an op is
exactly what was given, or it is refused.
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

    It isn't an `attrs` class, since `msgspec` would encode one field by field, and an op must be
    taken whole (see `squire_gatherings._wire.codecs`).
    """

    __slots__ = ("json",)

    json: bytes
    """The object as compact UTF-8 JSON."""

    def __init__(self, json: bytes) -> None:
        self.json = json

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Op":
        """Make an op of a dict; its `Op.value` then equals it.

        Args:
            value: May contain `dict` (with keys of `str`), `list`, `str`, `int` of 64 bits,
                `bool`, finite `float` and None, at most 128 levels deep.

        Raises:
            ValueError: It contains anything else: subclasses of these, for instance, tuples, or
                text that isn't Unicode (lone surrogates).
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
        """Make an op of what a JSON decoder made, several times faster than `of`.

        Args:
            value: What the decoder made. Its floats must be finite.

        Raises:
            ValueError: As by `of`.
        """
        if type(value) is not dict:
            raise ValueError("an op is an object")
        try:
            # Refuses integers beyond 64 bits.
            _encode_msgpack(value)
            text = _encode_json(value)
        except (OverflowError, TypeError, msgspec.MsgspecError, RecursionError) as error:
            raise _not_plain(str(error)) from None
        # Most ops are shorter, or have fewer brackets, and can't nest too deeply.
        if len(text) > 2 * MAX_OP_DEPTH and text.count(b"[") + text.count(b"{") > MAX_OP_DEPTH:
            _check_depth(value, MAX_OP_DEPTH)
        return cls(text)

    def check(self) -> None:
        """Check `json`, since a program may have made the op of bytes of its own.

        Raises:
            ValueError: `of` could not have made this op.
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
        """The object, decoded anew each time: the caller may keep and change it."""
        return _decode_json(self.json)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Op) and self.json == other.json

    def __hash__(self) -> int:
        return hash(self.json)

    def __repr__(self) -> str:
        return f"Op({self.json!r})"


def check_plain(value: dict[str, Any] | list[Any], room: int = MAX_OP_DEPTH) -> None:
    """Check that a value is plain JSON.

    `msgspec` would quietly turn bytes into base64 text, times into ISO 8601, NaN into null.

    Args:
        value: What is checked, with all that it contains.
        room: How many levels deep it may nest.

    Raises:
        ValueError: JSON can't say it, it nests too deeply, or an integer has more than 64 bits.
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
