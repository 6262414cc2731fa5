"""The tester's own model of the protocol, and the JSON Schema, say the same about any message."""

import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from squire_gatherings._conform.links import Link
from squire_gatherings._conform.logs import Log
from squire_gatherings._conform.messages import FIELDS, what_is_wrong
from squire_gatherings._conform.room import Room
from tests.schema import validator
from tests.support import examples

# To a schema, 1.0 is a whole number.
FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda one: one != int(one))
SCALARS = st.none() | st.booleans() | st.integers(-2, 2**64) | FLOATS | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "ops": st.lists(st.just({}), max_size=2),
    "known": st.fixed_dictionaries({"seq": st.integers(-1, 2)}, optional={"head": st.just("h")}),
    "token": st.just("t"),
    "seq": st.integers(-1, 2**63),
    "base": st.integers(-1, 2**63),
    "id": st.text(max_size=129),
    "state": st.just({}),
}
NAMES = sorted({name for fields in FIELDS.values() for name in fields})
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from([*FIELDS, "forward", "dance"])},
    optional={name: VALUES | RIGHT.get(name, SCALARS) for name in NAMES},
)


@settings(max_examples=examples(150))
@given(MESSAGES | VALUES)
@example({"type": "ping"})
@example({"type": "ping", "id": None})
def test_they_agree_about_what_a_client_says(value: Any) -> None:
    wrong = what_is_wrong(value)
    assert (wrong is None) == validator("client").is_valid(value)
    assert wrong is None or wrong.startswith("sent ")


@pytest.mark.parametrize("wants", list(itertools.product([True, False], repeat=3)))
def test_what_the_server_of_a_story_says_is_in_the_schema(wants: tuple[bool, ...]) -> None:
    join: dict[str, Any] = dict(zip(("times", "syncs", "proof"), wants, strict=True))
    link = cast(Link, SimpleNamespace(join=join, told=0, syncs=set()))
    room = Room(gathering="g", log=Log("first"))
    sync = {"type": "sync", "id": "s", "base": 0, "ops": [room.op()]}
    said = [room.joined(link), *room.others(link, 2), room.apply(link, sync, [{"merged": 1}])]
    room.more(2, None)
    room.new_incarnation()
    said += [room.forward(link, 1, 5), room.forward(link, 4), room.joined(link, 2)]
    said += [room.error("full", link, sync), room.error("bad_message"), room.dispersed("admin")]
    room.new_log(2)
    said.append(room.joined(link, first_seq=1))
    for message in said:
        validator("server").validate(message)
