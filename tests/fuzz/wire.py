"""Targets: messages of clients, in both encodings, and skimming those that are refused.

Decoding gives a message or raises `UndecodableMessage`, and nothing else. Both codecs make the same
of a message, each in its own encoding.
"""

from zlib import crc32

import msgspec

from squire_gatherings._values.ids import MAX_ID_LENGTH
from squire_gatherings._values.op import Op
from squire_gatherings._wire.codecs import (
    JSON,
    MSGPACK,
    Codec,
    Incoming,
    UndecodableMessage,
    encode_op,
)
from squire_gatherings._wire.skimming import (
    MAX_CONTAINERS,
    has_few_in_json,
    has_too_many_in_json,
    has_too_many_in_msgpack,
)
from tests.fuzz.target import Target, clear

FEW_OPS = 3
LARGE = MAX_CONTAINERS + 2000
"""A message of this many bytes may have too many objects and arrays."""


def _op_as_value(value: object) -> object:
    if isinstance(value, Op):
        return value.value
    raise NotImplementedError


_json = msgspec.json.Encoder(enc_hook=encode_op).encode
_msgpack = msgspec.msgpack.Encoder(enc_hook=_op_as_value).encode


def refused(error: UndecodableMessage) -> None:
    assert error.code in ("bad_message", "unknown_type", "too_big"), error.code
    assert error.request_id is None or len(error.request_id) <= MAX_ID_LENGTH
    # The error goes out as JSON.
    msgspec.json.encode([clear(error), error.request_id])


def decoded(codec: Codec, data: bytes, max_ops: int = 1000) -> Incoming | None:
    """Decode; check that a refusal has a clear error, and names a request only by a possible id."""
    try:
        message = codec.decode(data, max_ops)
    except UndecodableMessage as error:
        refused(error)
        return None
    skimmed = codec.skim(data)
    assert skimmed.type == type(message).__struct_config__.tag, skimmed
    assert skimmed.id == getattr(message, "id", None) or not hasattr(message, "id"), skimmed
    states = (getattr(message, name, None) for name in ("presence", "state"))
    for op in (*getattr(message, "ops", ()), *(one for one in states if isinstance(one, Op))):
        op.check()
    return message


def both(codec: Codec, data: bytes) -> None:
    message = decoded(codec, data)
    few = decoded(codec, data, FEW_OPS)
    if message is None:
        assert few is None
        return
    ops = len(getattr(message, "ops", ()))
    assert few == (message if ops <= FEW_OPS else None)
    assert JSON.decode(_json(message)) == message
    assert MSGPACK.decode(_msgpack(message)) == message


def run_json(data: bytes) -> None:
    both(JSON, data)


def run_msgpack(data: bytes) -> None:
    both(MSGPACK, data)


def run_skimming(data: bytes) -> None:
    """Skim any bytes, also more than a message may have.

    The latter takes a hundred times as long, so one input of 256 does it.
    """
    inputs = [data]
    if crc32(data) % 256 == 0:
        inputs.append(data * (LARGE // (len(data) or 1)))
    for one in inputs:
        for codec in (JSON, MSGPACK):
            found = codec.skim(one)
            for text in (found.type, found.id):
                assert text is None or isinstance(text, str)
        heads = one.count(b"{") + one.count(b"[")
        # Brackets in strings don't count.
        assert not has_too_many_in_json(one) or heads > MAX_CONTAINERS
        assert not has_few_in_json(one) or heads <= 512
        assert not has_too_many_in_msgpack(one) or len(one) > MAX_CONTAINERS


MESSAGES = (
    {"type": "join"},
    {"type": "join", "token": "t", "since": 7, "client": "c", "epoch": "e", "resume": "i"},
    {"type": "join", "tail": True, "presence": {"a": [1]}},
    {"type": "fetch", "id": "1", "since": 0},
    {"type": "sync", "id": "1", "base": 3, "ops": [{}]},
    {"type": "sync", "id": "é", "base": 2**63 - 1, "ops": [{"a": [1, -1.5, None, True, "x"]}]},
    {"type": "sync", "id": "2", "base": 0, "ops": [{"n": 2**64 - 1, "m": -(2**63)}, {}, {}, {}]},
    {"type": "ack", "seq": 12},
    {"type": "refresh", "id": "1", "token": "t"},
    {"type": "presence", "id": "1", "state": {"typing": True}},
    {"type": "leave", "more": {"x": [[], {}]}},
    {"type": "dance", "id": "7"},
    {"id": "7", "type": 1},
    [1, 2],
)
NAMES = [
    "type",
    "id",
    "base",
    "since",
    "ops",
    "token",
    "client",
    "epoch",
    "resume",
    "tail",
    "seq",
    "presence",
    "state",
]
KINDS = ["join", "fetch", "sync", "ack", "refresh", "presence", "leave"]
_jsons = [msgspec.json.encode(one) for one in MESSAGES]
_packed = [msgspec.msgpack.encode(one) for one in MESSAGES]

TARGETS = (
    Target(
        "json",
        run_json,
        [*_jsons, b'{"type":"sync","id":"1","base":0,"ops":[{"a":"\\ud83d\\ude00\\u0000"}]}'],
        [f'"{one}"' for one in (*NAMES, *KINDS)] + ["1e308", "\\ud800", "-0.0", "[[[[", "}]"],
    ),
    Target(
        "msgpack",
        run_msgpack,
        _packed,
        [msgspec.msgpack.encode(one) for one in (*NAMES, *KINDS)]
        + [b"\xc1", b"\xd4\x05\x00", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01", b"\xd9\x01a"],
    ),
    Target("skimming", run_skimming, [*_jsons, *_packed], [f'"{one}"' for one in NAMES]),
)
