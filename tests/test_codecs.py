"""The codecs: whatever comes in, a message or a clear refusal comes out."""

import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings.edges.codecs import CODECS, JSON, MSGPACK, Codec, UndecodableMessage
from squire_gatherings.values.messages import Fetched, Forward, Sync
from squire_gatherings.values.op import Op
from squire_gatherings.values.outgoing import Outgoing

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
junk = st.recursive(
    scalars | st.datetimes(timezones=st.just(datetime.UTC)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
jsons = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=10,
    ),
    max_size=4,
)


def decode_or_refuse(codec: Codec, data: bytes | str) -> object:
    """Decode; anything but a message or an `UndecodableMessage` that says why is a bug."""
    refusal = ""
    try:
        return codec.decode(data)
    except UndecodableMessage as error:
        refusal = str(error)
    assert refusal
    return None


@pytest.mark.parametrize("codec", CODECS.values())
@given(st.binary(max_size=200))
def test_any_bytes(codec: Codec, data: bytes) -> None:
    decode_or_refuse(codec, data)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    decode_or_refuse(JSON, text)


@given(st.sampled_from(["sync", "join", "fetch", "ack", "leave", "x"]), junk, junk, junk)
def test_any_fields(kind: str, one: Any, two: Any, three: Any) -> None:
    message = {"type": kind, "id": one, "base": two, "since": two, "seq": two, "ops": [three]}
    for codec, encode in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)):
        try:
            data = encode(message)
        except (OverflowError, ValueError, TypeError):
            continue
        decoded = decode_or_refuse(codec, data)
        assert decoded is None or type(decoded).__name__.lower() == kind


@given(jsons)
def test_an_op_is_the_same_in_both(value: dict[str, Any]) -> None:
    for codec, encode in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)):
        data = encode({"type": "sync", "id": "1", "base": 0, "ops": [value]})
        sync = codec.decode(data)
        assert isinstance(sync, Sync)
        [op] = sync.ops
        forward = Outgoing(Forward(7, "alice", op))
        assert msgspec.json.decode(JSON.encode(forward))["op"] == value
        assert msgspec.msgpack.decode(MSGPACK.encode(forward))["op"] == value


@pytest.mark.parametrize("value", [b"x", float("nan"), datetime.datetime.now(datetime.UTC), 2**64])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    if value == 2**64:
        with pytest.raises(ValueError, match="plain JSON"):
            Op.of({"n": value})
        return
    message = {"type": "sync", "id": "1", "base": 0, "ops": [{"n": [value]}]}
    with pytest.raises(UndecodableMessage, match="can't contain"):
        MSGPACK.decode(msgspec.msgpack.encode(message))


def test_snapshots_are_json_in_json_and_packed_in_messagepack() -> None:
    fetched = Outgoing(Fetched("1", 7, snapshot=msgspec.Raw(b'{"a":[1]}')))
    assert b'"snapshot":{"a":[1]}' in JSON.encode(fetched)
    assert msgspec.msgpack.decode(MSGPACK.encode(fetched))["snapshot"] == {"a": [1]}
