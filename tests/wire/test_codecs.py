"""The codecs: any bytes become a message, or a clear refusal."""

import datetime
import json
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings._values.messages import (
    Fetched,
    Forward,
    Join,
    Leave,
    PresenceUpdate,
    Sync,
)
from squire_gatherings._values.op import MAX_OP_DEPTH, Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import (
    CODECS,
    JSON,
    MSGPACK,
    Codec,
    UndecodableMessage,
)
from squire_gatherings._wire.skimming import MAX_CONTAINERS

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


def decode_or_refuse(codec: Codec, data: bytes) -> object:
    """Decode; anything but a message or an `UndecodableMessage` with a reason is a bug."""
    refusal = ""
    try:
        return codec.decode(data)
    except UndecodableMessage as error:
        refusal = str(error)
    assert refusal
    return None


@pytest.mark.parametrize("codec", CODECS.values())
@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(codec: Codec, data: bytes) -> None:
    decode_or_refuse(codec, data)


@given(st.text(max_size=200))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    decode_or_refuse(JSON, text.encode())


@given(st.sampled_from(["sync", "join", "fetch", "ack", "leave", "x"]), junk, junk, junk)
def test_any_fields_are_decoded_or_refused(kind: str, one: Any, two: Any, three: Any) -> None:
    message = {"type": kind, "id": one, "base": two, "since": two, "seq": two, "ops": [three]}
    for codec, encode in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)):
        try:
            data = encode(message)
        except (OverflowError, ValueError, TypeError):
            continue
        decoded = decode_or_refuse(codec, data)
        assert decoded is None or type(decoded).__name__.lower() == kind


def packed(value: Any) -> bytes:
    """Pack anything; a map is a list of pairs, so that it may have any key, even twice."""
    if isinstance(value, Pairs):
        return b"\xdf%b%b" % (
            len(value.pairs).to_bytes(4, "big"),
            b"".join(packed(key) + packed(item) for key, item in value.pairs),
        )
    if isinstance(value, list):
        return b"\xdd%b%b" % (len(value).to_bytes(4, "big"), b"".join(map(packed, value)))
    return value if isinstance(value, bytes) else msgspec.msgpack.encode(value)


@frozen
class Pairs:
    """A map of MessagePack, which may have keys that no dict can have."""

    pairs: list[tuple[Any, Any]]


odd = st.recursive(
    st.sampled_from([None, True, 1, -1, 1.5, "a", "type", "id", "ops"])
    | st.sampled_from(
        [b"\xd4\x05\x00", b"\xd6\xff\xff\xff\xff\xff", b"\xc1", b"\xa1\xff", b"\xc4\x01x"]
    )
    | st.builds(lambda data: b"\xc7\x0c\xff" + data, st.binary(min_size=12, max_size=12)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(inner, inner), max_size=3).map(Pairs)
    ),
    max_leaves=12,
)


@given(st.sampled_from(["sync", "join", "x"]), odd, odd, st.lists(st.tuples(odd, odd), max_size=2))
def test_any_keys_in_messagepack_are_decoded_or_refused(
    kind: Any, one: Any, two: Any, more: list[Any]
) -> None:
    fields = [("type", kind), ("id", one), ("base", 0), ("ops", [Pairs([("a", two)])]), *more]
    decode_or_refuse(MSGPACK, packed(Pairs(fields)))
    decode_or_refuse(MSGPACK, packed(two))


@pytest.mark.parametrize("codec", CODECS.values())
def test_an_op_nests_so_deep_at_most(codec: Codec) -> None:
    """The limit is the same everywhere: what is accepted here can be decoded on a fuller stack."""
    encode = {JSON: msgspec.json.encode, MSGPACK: msgspec.msgpack.encode}[codec]
    value: dict[str, Any] = {}
    for _ in range(MAX_OP_DEPTH - 1):
        value = {"a": value}
    wide: list[Any] = [[{}] for _ in range(MAX_OP_DEPTH)]
    good = {"type": "sync", "id": "1", "base": 0, "ops": [value, {"a": wide}]}
    assert isinstance(codec.decode(encode(good)), Sync)
    for deeper in ({"a": value}, {"a": [value]}):
        bad = {**good, "ops": [deeper]}
        with pytest.raises(UndecodableMessage, match="at most 128 deep") as refused:
            codec.decode(encode(bad))
        assert refused.value.request_id == "1"


@pytest.mark.parametrize(
    "text", ['{"id":"7"}', '{"id":"7","type":1}', '{"id":"7","type":"sync","base":[]}']
)
def test_the_id_of_a_malformed_message_is_reported(text: str) -> None:
    for codec, data in (
        (JSON, text.encode()),
        (MSGPACK, msgspec.msgpack.encode(msgspec.json.decode(text))),
    ):
        with pytest.raises(UndecodableMessage) as refused:
            codec.decode(data)
        assert (refused.value.code, refused.value.request_id) == ("bad_message", "7")


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
    with pytest.raises(ValueError, match="can't contain"):
        Op.of({"n": [value]})
    message = {"type": "sync", "id": "1", "base": 0, "ops": [{"n": [value]}]}
    with pytest.raises(UndecodableMessage, match="can't contain"):
        MSGPACK.decode(msgspec.msgpack.encode(message))


def test_snapshots_are_json_in_json_and_packed_in_messagepack() -> None:
    fetched = Outgoing(Fetched("1", 7, snapshot=msgspec.Raw(b'{"a":[1]}')))
    assert b'"snapshot":{"a":[1]}' in JSON.encode(fetched)
    assert msgspec.msgpack.decode(MSGPACK.encode(fetched))["snapshot"] == {"a": [1]}


ARRAY, INTEGER, FLOAT, BYTES, EXTENSION = (
    b"\x91\x01",
    b"\x07",
    b"\xca\0\0\0\0",
    b"\xc4\x01x",
    b"\xd4\x05\x00",
)
KEYS = [ARRAY, INTEGER, FLOAT, BYTES, EXTENSION, b"\x80", b"\xc0", b"\xc3"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_are_no_strings_are_refused_before_a_map_is_made(key: bytes) -> None:
    """Their hashes can be predicted: a quarter of a MiB of equal ones once took seconds."""
    bad = Pairs([(key, 1), (key, 2)])
    for op in (bad, Pairs([("a", bad)]), Pairs([("a", [[bad]])])):
        fields = [("type", "sync"), ("id", "1"), ("base", 0), ("ops", [op])]
        with pytest.raises(UndecodableMessage, match="invalid type") as refused:
            MSGPACK.decode(packed(Pairs(fields)))
        assert refused.value.request_id == "1"
    for name in ("type", "id", "base", "since", "token", "ops"):
        fields = [("type", "sync"), ("id", "1"), ("base", 0), ("ops", [Pairs([])])]
        fields = [*(pair for pair in fields if pair[0] != name), (name, bad)]
        with pytest.raises(UndecodableMessage) if name not in ("since", "token") else nullcontext():
            MSGPACK.decode(packed(Pairs(fields)))
    # Ignored fields are skipped, not made.
    assert isinstance(MSGPACK.decode(packed(Pairs([("type", "leave"), ("x", bad)]))), Leave)


@pytest.mark.parametrize("codec", CODECS.values())
def test_a_sync_has_so_many_ops_at_most(codec: Codec) -> None:
    encode = {JSON: msgspec.json.encode, MSGPACK: msgspec.msgpack.encode}[codec]
    for limit, more in ((1, {}), (3, {}), (1000, {}), (1000, {"x": "y" * 9000})):
        for count in (limit, limit + 1):
            data = encode({"type": "sync", "id": "7", "base": 0, "ops": [{}] * count, **more})
            if count == limit:
                assert isinstance(codec.decode(data, limit), Sync)
                continue
            with pytest.raises(UndecodableMessage, match="at most") as refused:
                codec.decode(data, limit)
            assert (refused.value.code, refused.value.request_id) == ("too_big", "7")


def test_the_first_op_too_many_is_the_last_that_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    of_json = Op.of_json
    monkeypatch.setattr(Op, "of_json", lambda value: made.append(value) or of_json(value))  # type: ignore[func-returns-value]
    ops = ",".join(["{}"] * 15_000)
    with pytest.raises(UndecodableMessage):
        JSON.decode(f'{{"type":"sync","id":"7","base":0,"ops":[{ops}]}}'.encode())
    assert len(made) == 1000


@pytest.mark.parametrize("codec", CODECS.values())
@pytest.mark.parametrize("empty", [{}, []])
def test_a_message_has_so_many_objects_and_arrays_at_most(codec: Codec, empty: Any) -> None:
    encode = {JSON: msgspec.json.encode, MSGPACK: msgspec.msgpack.encode}[codec]
    message = {"type": "sync", "id": "7", "base": 0}
    # The message itself, its ops, and the op's array count, too.
    many = MAX_CONTAINERS - 4
    fits = encode({**message, "ops": [{"a": [empty] * many, "b": "[{" * 30_000}]})
    assert isinstance(codec.decode(fits), Sync)
    with pytest.raises(UndecodableMessage, match="objects and arrays") as refused:
        codec.decode(encode({**message, "ops": [{"a": [empty] * (many + 1)}]}))
    assert (refused.value.code, refused.value.request_id) == ("too_big", "7")
    # Objects that are only skipped count, too; and bytes that are no message say so.
    with pytest.raises(UndecodableMessage, match="objects and arrays"):
        codec.decode(encode({"type": "leave", "x": [empty] * 60_000}))
    with pytest.raises(UndecodableMessage) as refused:
        codec.decode(encode([empty] * 60_000))
    assert refused.value.code == "bad_message"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"type":"sync","id":"7","base":0,"ops":[{"a":"\\ud800"}]}', "bad sync"),
        ('{"type":"sync","id":"7","base":0,"ops":[{"a":"\\udc00\\ud800"}]}', "bad sync"),
        ('{"type":"sync","id":"7","base":0,"ops":[{"a":1', "bad sync: .*truncated"),
        ('{"type":"sync","id":"7","base":0,"ops":[{"a":nul}]}', "bad sync"),
        ('{"type":"sync","id":"7","base":0,"ops":[{}]}}', "bad sync"),
        ('{"type":"dance","id":"7","steps":[', "unknown type"),
        ('{"ops":[{"id":"8","type":"x"}],"id":"7","type":"sync","base":-1}', "bad sync"),
        ('{"id":"7","type":"sync","ops":' + "[" * 3000, "deep"),
        ('{"type":"sync","ops":[' + "{}," * 900 + '1],"base":0,"id":"7"}', "bad sync"),
        ('{"ops":[' + "[[]]," * 3000 + '1],"base":0,"id":"7","type":"sync"}', "bad sync"),
    ],
)
def test_what_cannot_be_decoded_names_its_request(text: str, error: str) -> None:
    with pytest.raises(UndecodableMessage, match=error) as refused:
        JSON.decode(text.encode())
    assert refused.value.request_id == "7"


def test_what_cannot_be_unpacked_names_its_request() -> None:
    whole = msgspec.msgpack.encode({"type": "sync", "id": "7", "base": 0, "ops": [{"a": "b"}]})
    for data in (whole[:-1], whole + b"\xc0", whole[:-1] + b"\xff", b"\x85\x01\x02" + whole[1:]):
        with pytest.raises(UndecodableMessage, match="bad sync") as refused:
            MSGPACK.decode(data)
        assert refused.value.request_id == "7"


@pytest.mark.parametrize("number", ["1e999", "-1e400", "1" * 400 + ".5"])
def test_numbers_out_of_range_are_refused(number: str) -> None:
    with pytest.raises(UndecodableMessage, match="out of range") as refused:
        JSON.decode(f'{{"type":"sync","id":"7","base":0,"ops":[{{"a":{number}}}]}}'.encode())
    assert refused.value.request_id == "7"


def test_floats_that_the_library_reads_slowly_are_read_by_another_parser() -> None:
    """`msgspec` alone would read 40,000 of these in half a second."""
    text = "[1e308,1.7976931348623157e308,5e-324,-0.0,0.1,1e22]"
    sync = JSON.decode(f'{{"type":"sync","id":"7","base":0,"ops":[{{"a":{text}}}]}}'.encode())
    assert isinstance(sync, Sync)
    assert repr(sync.ops[0].value["a"]) == repr(json.loads(text))


@given(jsons)
def test_a_state_of_presence_is_the_same_in_both(value: dict[str, Any]) -> None:
    for codec, encode in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)):
        update = codec.decode(encode({"type": "presence", "id": "p", "state": value}))
        assert update == PresenceUpdate("p", Op.of(value))
        join = codec.decode(encode({"type": "join", "client": "c", "presence": value}))
        assert join == Join(client="c", presence=Op.of(value))


@pytest.mark.parametrize("wrong", [[], "text", True, None, {"a": b"x"}, {1: 2}, {"a": {1: 2}}])
def test_what_is_no_state_of_presence_is_refused(wrong: Any) -> None:
    for said in (
        {"type": "presence", "id": "p", "state": wrong},
        {"type": "join", "id": "p", "presence": wrong},
    ):
        with pytest.raises(UndecodableMessage) as refused:
            MSGPACK.decode(msgspec.msgpack.encode(said))
        assert refused.value.request_id == "p"
        if not isinstance(wrong, dict):
            with pytest.raises(UndecodableMessage):
                JSON.decode(msgspec.json.encode(said))
