"""The operation: one JSON object, opaque to the hall."""

from typing import Any

import msgspec

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_encode_msgpack = msgspec.msgpack.Encoder().encode


class Op:
    """One JSON object, kept as the bytes in which it is stored and sent.

    A plain slotted class, because `msgspec` takes an `attrs` class apart field by field
    where an op must be taken whole (see `squire_gatherings.edges.codecs`).
    """

    __slots__ = ("json",)

    json: bytes
    """The object as compact UTF-8 JSON."""

    def __init__(self, json: bytes) -> None:
        self.json = json

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Op":
        """Make an op of a JSON-compatible dict.

        Raises `ValueError` where either encoding of the wire protocol can't say `value`
        (an integer of more than 64 bits, say, has no MessagePack form): an op that one
        client can send is one that every other client can be sent.
        """
        if type(value) is not dict:
            raise ValueError("an op is an object")
        try:
            _encode_msgpack(value)
            return cls(_encode_json(value))
        except (OverflowError, TypeError, msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"an op must be plain JSON: {error}") from None

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
