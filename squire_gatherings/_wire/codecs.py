"""Codecs: the two encodings of the wire protocol, JSON and MessagePack.

Everything that comes in may be hostile: `decode` returns a message or raises
`UndecodableMessage`, and takes no longer than a message of this size may.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
import ormsgpack
from msgspec import Raw

from squire_gatherings._values.errors import BadRequest, TooBig
from squire_gatherings._values.messages import (
    Ack,
    Fetch,
    Join,
    Leave,
    MessageId,
    Refresh,
    Seq,
    ServerMessage,
    Sync,
)
from squire_gatherings._values.op import MAX_OP_DEPTH as MAX_OP_DEPTH
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.skimming import (
    FEW,
    MAX_CONTAINERS,
    Skimmed,
    has_few_in_json,
    has_too_many_in_json,
    has_too_many_in_msgpack,
    length_of_array,
    skim_json,
    skim_msgpack,
)

Incoming = Join | Fetch | Sync | Ack | Refresh | Leave

MAX_OPS = 1000
"""How many ops a sync may have, unless `decode` is told otherwise."""


class UndecodableMessage(BadRequest):
    """A message that isn't one of the protocol's; `request_id` is its id, if it has one."""

    def __init__(self, text: str, request_id: str | None = None) -> None:
        super().__init__(text)
        self.request_id = request_id


class UnknownType(UndecodableMessage):
    """A message whose `type` the protocol doesn't know."""

    code: ClassVar[str] = "unknown_type"


class TooMany(UndecodableMessage):
    """A message with more ops, or more objects and arrays, than one may have."""

    code: ClassVar[str] = TooBig.code


class _TooManyOps(Exception):
    """Ends the decoding of a sync."""


class _Anything(msgspec.Struct):
    """Tells whether something can be decoded at all; what it has is skipped."""


_KNOWN_TYPES = frozenset({"join", "fetch", "sync", "ack", "refresh", "leave"})
_UNDECODABLE = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    RecursionError,
    OverflowError,
    NotImplementedError,
)
_AMPLE = 2 * MAX_CONTAINERS
"""A message of fewer bytes has no need for a look at how many objects it has."""


class Codec:
    """One encoding. `is_text` says in which kind of WebSocket frame it goes."""

    __slots__ = ()

    subprotocol: ClassVar[str]
    is_text: ClassVar[bool]

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as bytes."""
        raise NotImplementedError

    def decode(self, data: bytes | str, max_ops: int = MAX_OPS) -> Incoming:
        """Return the message; raises `UndecodableMessage` for anything else.

        Stops at the first op beyond `max_ops`.
        """
        raise NotImplementedError

    def skim(self, data: bytes) -> Skimmed:
        """Return the `type` and the `id` of a message, if they can be found at little cost."""
        raise NotImplementedError

    def _explain(self, data: bytes | str, error: Exception) -> UndecodableMessage:
        found = self.skim(data.encode(errors="replace") if isinstance(data, str) else data)
        request_id = found.request_id
        if isinstance(error, RecursionError):
            return UndecodableMessage("the message is nested too deeply", request_id)
        if found.type is None:
            why = "not a message" if request_id is None else "a message has a `type`, which is text"
            return UndecodableMessage(f"{why}: {error}"[:500], request_id)
        if found.type not in _KNOWN_TYPES:
            return UnknownType(f"unknown type {found.type[:64]!r}", request_id)
        return UndecodableMessage(f"bad {found.type}: {error}"[:500], request_id)

    def _too_many(self, data: bytes, what: str) -> TooMany:
        return TooMany(what, self.skim(data).request_id)

    def _too_many_ops(self, data: bytes, max_ops: int) -> TooMany:
        return self._too_many(data, f"a sync has at most {max_ops} ops")

    def _too_many_containers(self, data: bytes) -> TooMany:
        """Return the refusal, or raise what is worse with this message."""
        self._skip(data)
        return self._too_many(data, f"a message has at most {MAX_CONTAINERS} objects and arrays")

    def _skip(self, data: bytes) -> None:
        raise NotImplementedError


def encode_op(value: Any) -> Any:
    """An `enc_hook` for JSON: an op goes in as it is."""
    if isinstance(value, Op):
        return Raw(value.json)
    raise NotImplementedError(f"can't encode {type(value).__name__}")


def _op_from_json(_: type, value: Any) -> Op:
    return Op.of_json(value)


def _at_most(max_ops: int) -> Callable[[type, Any], Op]:
    left = max_ops

    def op_from_json(_: type, value: Any) -> Op:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooManyOps
        return Op.of_json(value)

    return op_from_json


def _finite(text: str) -> float:
    """Return what Python's own parser reads.

    Some numbers take `msgspec` a hundred times longer (1e308: 12 µs for five characters).
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


class JsonCodec(Codec):
    """`squire.v1+json`: text frames."""

    __slots__ = ()

    subprotocol = "squire.v1+json"
    is_text = True

    _encoder = msgspec.json.Encoder(enc_hook=encode_op)
    _decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(
        Incoming, dec_hook=_op_from_json, float_hook=_finite
    )

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as UTF-8 JSON."""
        return self._encoder.encode(outgoing.message)

    def decode(self, data: bytes | str, max_ops: int = MAX_OPS) -> Incoming:
        """See `Codec`."""
        size = len(data)
        try:
            # An op has two bytes at least, and a comma.
            if size <= 3 * max_ops and size <= _AMPLE:
                return self._decoder.decode(data)
            return self._decode_large(data, max_ops)
        except _UNDECODABLE as error:
            if isinstance(error, UndecodableMessage):
                raise
            raise self._explain(data, error) from None

    def _decode_large(self, data: bytes | str, max_ops: int) -> Incoming:
        data = data if isinstance(data, bytes) else data.encode()
        if max_ops >= FEW and has_few_in_json(data):
            return self._decoder.decode(data)
        if len(data) > _AMPLE and has_too_many_in_json(data):
            raise self._too_many_containers(data)
        decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(
            Incoming, dec_hook=_at_most(max_ops), float_hook=_finite
        )
        try:
            return decoder.decode(data)
        except _TooManyOps:
            raise self._too_many_ops(data, max_ops) from None

    def skim(self, data: bytes) -> Skimmed:
        """See `Codec`."""
        return skim_json(data)

    def _skip(self, data: bytes) -> None:
        msgspec.json.decode(data, type=_Anything)


class _PackedSync(msgspec.Struct, tag_field="type", tag="sync"):
    """A sync whose ops aren't decoded yet: `msgspec` would take anything as the key of a map."""

    id: MessageId
    base: Seq
    ops: Raw


def _msgpack_hook(value: Any) -> Any:
    if isinstance(value, Op):
        return value.value
    raise NotImplementedError(f"can't encode {type(value).__name__}")


class MsgpackCodec(Codec):
    """`squire.v1+msgpack`: binary frames.

    Nothing here makes a map whose keys aren't strings. The hashes of numbers, and of what consists
    of numbers, are no secret, so that a client could choose keys which are all found equal.
    """

    __slots__ = ()

    subprotocol = "squire.v1+msgpack"
    is_text = False

    _encoder = msgspec.msgpack.Encoder(enc_hook=_msgpack_hook)
    _decoder: msgspec.msgpack.Decoder[Join | Fetch | _PackedSync | Ack | Refresh | Leave] = (
        msgspec.msgpack.Decoder(Join | Fetch | _PackedSync | Ack | Refresh | Leave)
    )
    _items = msgspec.msgpack.Decoder(list[Raw])

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as MessagePack."""
        message: ServerMessage = outgoing.message
        snapshot = getattr(message, "snapshot", None)
        if isinstance(snapshot, Raw):
            # A gathering gives its snapshot as JSON, which `Raw` would pass on as it is.
            message = msgspec.structs.replace(message, snapshot=msgspec.json.decode(snapshot))
        return self._encoder.encode(message)

    def decode(self, data: bytes | str, max_ops: int = MAX_OPS) -> Incoming:
        """See `Codec`."""
        data = data if isinstance(data, bytes) else data.encode(errors="replace")
        try:
            if len(data) > MAX_CONTAINERS and has_too_many_in_msgpack(data):
                raise self._too_many_containers(data)
            message = self._decoder.decode(data)
            if not isinstance(message, _PackedSync):
                return message
            packed = bytes(message.ops)
            length = length_of_array(packed)
            if length is not None and length > max_ops:
                raise self._too_many_ops(data, max_ops)
            if not length:
                raise ValueError("`ops` is an array of one op or more")
            ops = tuple([_op_from_msgpack(one) for one in self._items.decode(packed)])
            return Sync(message.id, message.base, ops)
        except _UNDECODABLE as error:
            if isinstance(error, UndecodableMessage):
                raise
            raise self._explain(data, error) from None

    def skim(self, data: bytes) -> Skimmed:
        """See `Codec`."""
        return skim_msgpack(data)

    def _skip(self, data: bytes) -> None:
        msgspec.msgpack.decode(data, type=_Anything)


def _op_from_msgpack(packed: Raw) -> Op:
    # It takes strings as keys, and nothing else. What isn't JSON otherwise, `Op.of` refuses.
    value = ormsgpack.unpackb(bytes(packed), ext_hook=msgspec.msgpack.Ext)
    if type(value) is not dict:
        raise ValueError("an op is an object")
    return Op.of(value)


JSON = JsonCodec()
MSGPACK = MsgpackCodec()
CODECS: dict[str, Codec] = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}

SUBPROTOCOLS = tuple(CODECS)
"""The WebSocket subprotocols that are spoken here; without one it's the first."""
