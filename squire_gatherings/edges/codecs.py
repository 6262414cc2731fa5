"""Codecs: the two encodings of the wire protocol, JSON and MessagePack.

Everything that comes in may be hostile: `decode` returns a message or raises `BadRequest`.
"""

import datetime
import math
from typing import Any, ClassVar

import msgspec

from squire_gatherings.values.errors import BadRequest
from squire_gatherings.values.messages import Ack, Fetch, Join, Leave, ServerMessage, Sync
from squire_gatherings.values.op import Op
from squire_gatherings.values.outgoing import Outgoing

Incoming = Join | Fetch | Sync | Ack | Leave


class UndecodableMessage(BadRequest):
    """A message that isn't one of the protocol's; `request_id` is its id, if it has one."""

    def __init__(self, text: str, request_id: str | None = None) -> None:
        super().__init__(text)
        self.request_id = request_id


class UnknownType(UndecodableMessage):
    """A message whose `type` the protocol doesn't know."""

    code: ClassVar[str] = "unknown_type"


class _Envelope(msgspec.Struct):
    type: Any = None
    id: Any = None


_KNOWN_TYPES = frozenset({"join", "fetch", "sync", "ack", "leave"})
_UNDECODABLE = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    RecursionError,
    OverflowError,
    NotImplementedError,
)

MAX_OP_DEPTH = 128
"""How deep objects and arrays in an op may nest.

Far below what the decoders take, because that depends on how full the stack happens to
be: an op that was accepted must be decodable wherever somebody looks at it later.
"""


class Codec:
    """One encoding. `is_text` says in which kind of WebSocket frame it goes."""

    __slots__ = ()

    subprotocol: ClassVar[str]
    is_text: ClassVar[bool]

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as bytes."""
        raise NotImplementedError

    def decode(self, data: bytes | str) -> Incoming:
        """Return the message; raises `UndecodableMessage` for anything else."""
        raise NotImplementedError

    def _envelope(self, data: bytes | str) -> _Envelope:
        raise NotImplementedError

    def _explain(self, data: bytes | str, error: Exception) -> UndecodableMessage:
        if isinstance(error, RecursionError):
            return UndecodableMessage("the message is nested too deeply")
        try:
            envelope = self._envelope(data)
        except _UNDECODABLE:
            return UndecodableMessage(f"not a message: {error}"[:500])
        request_id = envelope.id if isinstance(envelope.id, str) else None
        if request_id is not None:
            request_id = request_id[:128]
        if not isinstance(envelope.type, str):
            return UndecodableMessage("a message has a `type`, which is text", request_id)
        if envelope.type not in _KNOWN_TYPES:
            return UnknownType(f"unknown type {envelope.type[:64]!r}", request_id)
        return UndecodableMessage(f"bad {envelope.type}: {error}"[:500], request_id)


def _op_from_json(_: type, value: Any) -> Op:
    op = Op.of(value)
    # Most ops aren't that long, or haven't that many brackets, and needn't be taken apart.
    text = op.json
    if len(text) > 2 * MAX_OP_DEPTH and text.count(b"[") + text.count(b"{") > MAX_OP_DEPTH:
        _check_plain(value, MAX_OP_DEPTH)
    return op


def _op_from_msgpack(_: type, value: Any) -> Op:
    _check_plain(value, MAX_OP_DEPTH)
    return Op.of(value)


def _check_plain(value: Any, room: int) -> None:
    """Raise `ValueError` for what MessagePack can say and JSON can't, or for `room` levels more.

    `msgspec` would quietly turn bytes into base64 text, times into ISO 8601, NaN into null.
    """
    if isinstance(value, dict | list | tuple):
        if not room:
            raise ValueError(f"an op nests at most {MAX_OP_DEPTH} deep")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"the keys of an op are strings, not {type(key).__name__}")
            value = value.values()
        for item in value:
            _check_plain(item, room - 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"an op can't contain {value}")
    elif isinstance(value, bytes | msgspec.msgpack.Ext | datetime.datetime):
        raise ValueError(f"an op can't contain {type(value).__name__}, which JSON can't say")


def encode_op(value: Any) -> Any:
    """An `enc_hook` for JSON: an op goes in as it is."""
    if isinstance(value, Op):
        return msgspec.Raw(value.json)
    raise NotImplementedError(f"can't encode {type(value).__name__}")


def _msgpack_hook(value: Any) -> Any:
    if isinstance(value, Op):
        return value.value
    raise NotImplementedError(f"can't encode {type(value).__name__}")


class JsonCodec(Codec):
    """`squire.v1+json`: text frames."""

    __slots__ = ()

    subprotocol = "squire.v1+json"
    is_text = True

    _encoder = msgspec.json.Encoder(enc_hook=encode_op)
    _decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(
        Incoming, dec_hook=_op_from_json
    )
    _envelopes = msgspec.json.Decoder(_Envelope)

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as UTF-8 JSON."""
        return self._encoder.encode(outgoing.message)

    def decode(self, data: bytes | str) -> Incoming:
        """Return the message; raises `UndecodableMessage` for anything else."""
        try:
            return self._decoder.decode(data)
        except _UNDECODABLE as error:
            raise self._explain(data, error) from None

    def _envelope(self, data: bytes | str) -> _Envelope:
        return self._envelopes.decode(data)


class MsgpackCodec(Codec):
    """`squire.v1+msgpack`: binary frames."""

    __slots__ = ()

    subprotocol = "squire.v1+msgpack"
    is_text = False

    _encoder = msgspec.msgpack.Encoder(enc_hook=_msgpack_hook)
    _decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(
        Incoming, dec_hook=_op_from_msgpack
    )
    _envelopes = msgspec.msgpack.Decoder(_Envelope)

    def encode(self, outgoing: Outgoing) -> bytes:
        """Return the message as MessagePack."""
        message: ServerMessage = outgoing.message
        snapshot = getattr(message, "snapshot", None)
        if isinstance(snapshot, msgspec.Raw):
            # A gathering gives its snapshot as JSON, which `Raw` would pass on as it is.
            message = msgspec.structs.replace(message, snapshot=msgspec.json.decode(snapshot))
        return self._encoder.encode(message)

    def decode(self, data: bytes | str) -> Incoming:
        """Return the message; raises `UndecodableMessage` for anything else."""
        try:
            return self._decoder.decode(data if isinstance(data, bytes) else data.encode())
        except _UNDECODABLE as error:
            raise self._explain(data, error) from None

    def _envelope(self, data: bytes | str) -> _Envelope:
        return self._envelopes.decode(data if isinstance(data, bytes) else data.encode())


JSON = JsonCodec()
MSGPACK = MsgpackCodec()
CODECS: dict[str, Codec] = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}
