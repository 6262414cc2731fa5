"""Codecs: the two encodings of the wire protocol, JSON and MessagePack.

Everything that comes in may be hostile. `decode` returns a message or raises `UndecodableMessage`,
and takes no longer than a message of this size may take.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import msgspec
import ormsgpack
from msgspec import UNSET, Raw, UnsetType

from squire_gatherings._values.errors import BadRequest, TooBig
from squire_gatherings._values.messages import (
    Ack,
    Fetch,
    Join,
    Leave,
    MessageId,
    PresenceUpdate,
    Refresh,
    Seq,
    ServerMessage,
    Sync,
)
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

Incoming = Join | Fetch | Sync | Ack | Refresh | PresenceUpdate | Leave

MAX_OPS = 1000
"""How many ops a sync may have, if `decode` isn't told otherwise."""


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

    def __init__(self, max_ops: int) -> None:
        super().__init__()
        self.max_ops = max_ops


class _TooManyContainers(Exception):
    """Ends the decoding of a message with too many objects and arrays."""


class _Anything(msgspec.Struct):
    """Tells whether something can be decoded at all. Its fields are skipped."""


_KNOWN_TYPES = frozenset({"join", "fetch", "sync", "ack", "refresh", "presence", "leave"})
_UNDECODABLE = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    RecursionError,
    OverflowError,
    NotImplementedError,
    _TooManyOps,
    _TooManyContainers,
)
_AMPLE = 2 * MAX_CONTAINERS
"""A message of up to so many bytes can't have too many objects: each takes two bytes of JSON."""


class Codec(Protocol):
    """One encoding of the protocol's messages."""

    @property
    def subprotocol(self) -> str:
        """The WebSocket subprotocol that stands for it."""
        ...

    @property
    def is_text(self) -> bool:
        """Whether a message goes in a text frame; otherwise it goes in a binary one."""
        ...

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as bytes."""
        ...

    def decode(self, data: bytes, max_ops: int = MAX_OPS) -> Incoming:
        """Return the message.

        Args:
            data: What came, whole.
            max_ops: How many ops a sync may have. Decoding stops at the first one beyond.

        Raises:
            UndecodableMessage: It isn't a message of the protocol, or has too much in it.
        """
        ...

    def skim(self, data: bytes) -> Skimmed:
        """Return the `type` and the `id` of a message, if they can be found at little cost."""
        ...


def _refusal(found: Skimmed, error: Exception) -> UndecodableMessage:
    """Return the refusal of a message whose decoding raised `error`; `found` is what it is."""
    request_id = found.request_id
    if isinstance(error, _TooManyOps):
        return TooMany(f"a sync has at most {error.max_ops} ops", request_id)
    if isinstance(error, _TooManyContainers):
        text = f"a message has at most {MAX_CONTAINERS} objects and arrays"
        return TooMany(text, request_id)
    if isinstance(error, RecursionError):
        return UndecodableMessage("the message is nested too deeply", request_id)
    if found.type is None:
        why = "not a message" if request_id is None else "a message has a `type`, which is text"
        return UndecodableMessage(f"{why}: {error}"[:500], request_id)
    if found.type not in _KNOWN_TYPES:
        return UnknownType(f"unknown type {found.type[:64]!r}", request_id)
    return UndecodableMessage(f"bad {found.type}: {error}"[:500], request_id)


def encode_op(value: Any) -> Any:
    """Put an op into JSON as it is; an `enc_hook` of `msgspec`."""
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
            raise _TooManyOps(max_ops)
        return Op.of_json(value)

    return op_from_json


def _finite(text: str) -> float:
    """Return a number as Python's own parser reads it.

    `msgspec` takes a hundred times longer for some numbers (1e308: 12 µs for five characters).
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


class JsonCodec:
    """`squire.v1+json`: text frames."""

    __slots__ = ()

    subprotocol: ClassVar[str] = "squire.v1+json"
    is_text: ClassVar[bool] = True

    _encoder = msgspec.json.Encoder(enc_hook=encode_op)
    _decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(
        Incoming, dec_hook=_op_from_json, float_hook=_finite
    )

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as UTF-8 JSON."""
        return self._encoder.encode(outgoing.message)

    def decode(self, data: bytes, max_ops: int = MAX_OPS) -> Incoming:
        """See `Codec`."""
        size = len(data)
        try:
            # An op has two bytes at least, and a comma.
            if size <= 3 * max_ops and size <= _AMPLE:
                return self._decoder.decode(data)
            return self._decode_large(data, max_ops)
        except _UNDECODABLE as error:
            raise _refusal(skim_json(data), error) from None

    def _decode_large(self, data: bytes, max_ops: int) -> Incoming:
        if max_ops >= FEW and has_few_in_json(data):
            return self._decoder.decode(data)
        if len(data) > _AMPLE and has_too_many_in_json(data):
            # What is no JSON at all is refused as such.
            msgspec.json.decode(data, type=_Anything)
            raise _TooManyContainers
        decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(
            Incoming, dec_hook=_at_most(max_ops), float_hook=_finite
        )
        return decoder.decode(data)

    def skim(self, data: bytes) -> Skimmed:
        """See `Codec`."""
        return skim_json(data)


# What has ops, or the like, isn't decoded at once: `msgspec` takes anything as the key of a map.
class _PackedSync(msgspec.Struct, tag_field="type", tag="sync"):
    id: MessageId
    base: Seq
    ops: Raw


class _PackedPresence(msgspec.Struct, tag_field="type", tag="presence"):
    id: MessageId
    state: Raw


class _PackedJoin(Join, frozen=True, tag="join"):
    presence: Raw | UnsetType = UNSET  # type: ignore[assignment]


_Packed = _PackedJoin | Fetch | _PackedSync | Ack | Refresh | _PackedPresence | Leave


def _msgpack_hook(value: Any) -> Any:
    if isinstance(value, Op):
        return value.value
    raise NotImplementedError(f"can't encode {type(value).__name__}")


class MsgpackCodec:
    """`squire.v1+msgpack`: binary frames.

    Nothing here makes a map whose keys aren't strings. The hashes of numbers, and of what consists
    of numbers, are no secret: a client could choose keys that all have the same hash.
    """

    __slots__ = ()

    subprotocol: ClassVar[str] = "squire.v1+msgpack"
    is_text: ClassVar[bool] = False

    _encoder = msgspec.msgpack.Encoder(enc_hook=_msgpack_hook)
    _decoder: msgspec.msgpack.Decoder[_Packed] = msgspec.msgpack.Decoder(_Packed)
    _items = msgspec.msgpack.Decoder(list[Raw])

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as MessagePack."""
        message: ServerMessage = outgoing.message
        snapshot = getattr(message, "snapshot", None)
        if isinstance(snapshot, Raw):
            # A gathering gives its snapshot as JSON. `Raw` would pass that on as it is.
            message = msgspec.structs.replace(message, snapshot=msgspec.json.decode(snapshot))
        return self._encoder.encode(message)

    def decode(self, data: bytes, max_ops: int = MAX_OPS) -> Incoming:
        """See `Codec`."""
        try:
            if len(data) > MAX_CONTAINERS and has_too_many_in_msgpack(data):
                # What is no MessagePack at all is refused as such.
                msgspec.msgpack.decode(data, type=_Anything)
                raise _TooManyContainers
            message = self._decoder.decode(data)
            if not isinstance(message, _PackedSync):
                return _unpacked(message)
            packed = bytes(message.ops)
            length = length_of_array(packed)
            if length is not None and length > max_ops:
                raise _TooManyOps(max_ops)
            if not length:
                raise ValueError("`ops` is an array of one op or more")
            ops = tuple([_op_from_msgpack(one) for one in self._items.decode(packed)])
            return Sync(message.id, message.base, ops)
        except _UNDECODABLE as error:
            raise _refusal(skim_msgpack(data), error) from None

    def skim(self, data: bytes) -> Skimmed:
        """See `Codec`."""
        return skim_msgpack(data)


def _unpacked(
    message: _PackedJoin | Fetch | Ack | Refresh | _PackedPresence | Leave,
) -> Incoming:
    if isinstance(message, _PackedPresence):
        return PresenceUpdate(message.id, _op_from_msgpack(message.state))
    if isinstance(message, _PackedJoin):
        said = msgspec.structs.asdict(message)
        if isinstance(message.presence, Raw):
            said["presence"] = _op_from_msgpack(message.presence)
        return Join(**said)
    return message


def _op_from_msgpack(packed: Raw) -> Op:
    # It takes only strings as keys. `Op.of` refuses everything else that isn't JSON.
    value = ormsgpack.unpackb(bytes(packed), ext_hook=msgspec.msgpack.Ext)
    if type(value) is not dict:
        raise ValueError("an op is an object")
    return Op.of(value)


JSON = JsonCodec()
MSGPACK = MsgpackCodec()
CODECS: dict[str, Codec] = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}

SUBPROTOCOLS = tuple(CODECS)
"""The WebSocket subprotocols that are spoken here. A client that asks for none gets the first."""
