"""Skimming: finds the type and id of messages that can't, or shouldn't, be decoded."""

import json
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings._wire import skimming
from squire_gatherings._wire.skimming import (
    Skimmed,
    has_too_many_in_json,
    has_too_many_in_msgpack,
    skim_json,
    skim_msgpack,
)

texts = st.text(st.sampled_from('ab"\\[]{}:,\néü€😀\x80'), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def containers(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(containers, value.values()))
    return 1 + sum(map(containers, value)) if isinstance(value, list) else 0


@given(values)
def test_objects_and_arrays_are_counted_exactly(value: Any) -> None:
    count = containers(value)
    with pytest.MonkeyPatch.context() as patch:
        for limit, too_many in ((count, False), (count - 1, True)):
            if limit < 0:
                continue
            patch.setattr(skimming, "MAX_CONTAINERS", limit)
            assert has_too_many_in_json(json.dumps(value).encode()) is too_many
            packed = msgpack.packb(value)
            assert has_too_many_in_msgpack(packed) is too_many or b"\xd9" in packed


@given(
    st.dictionaries(texts, values, max_size=4),
    texts,
    st.sampled_from(["sync", "join"]),
    st.integers(0, 100),
)
def test_the_type_and_the_id_are_found_also_in_what_is_cut_off(
    more: dict[str, Any], name: str, kind: str, cut: int
) -> None:
    message = {"type": kind, "id": name, **{f"x{key}": value for key, value in more.items()}}
    for skim, encode in (
        (skim_json, lambda v: json.dumps(v).encode()),
        (skim_msgpack, msgpack.packb),
    ):
        data = encode(message)
        head = len(encode({"type": kind, "id": name}))
        assert skim(data) == Skimmed(kind, name)
        assert skim(data[: max(head, len(data) - cut)]) == Skimmed(kind, name)


@given(values, st.binary(max_size=60), st.integers(0, 60))
def test_an_id_elsewhere_is_not_taken_for_it(value: Any, junk: bytes, cut: int) -> None:
    message = {"type": "sync", "ops": [{"id": "op", "type": "x", "v": value}, ["id", "no"]]}
    for skim, encode in (
        (skim_json, lambda v: json.dumps(v).encode()),
        (skim_msgpack, msgpack.packb),
    ):
        data = encode(message)
        for piece in (data, data[:-cut], data[:cut] + junk):
            assert skim(piece).id is None
        assert skim(junk).id is None or b"id" in junk


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'"',
        b'{"id"',
        b'{"id":',
        b'{"id":"',
        b'{"id":"\\ud800"}',
        b'{"id":"\xff"}',
        b'{"id":7}',
        b'{"id":["7"]}',
        b'["id":"7"]'[:-5],
        b"\x81\xa2id",
        b"\x81\xa2id\xa3a",
        b"\x81\xa2id\xa1\xff",
        b"\x81\xa2id\x07",
        b"\xdf\xff\xff\xff\xff\xc1",
    ],
)
def test_a_message_without_an_id_has_none_found(data: bytes) -> None:
    assert skim_json(data).id is None
    assert skim_msgpack(data).id is None
