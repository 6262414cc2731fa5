"""Ops that embedding programs make: a value is kept as it was given, or refused."""

import datetime
import enum
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings import open_hall
from squire_gatherings._values.op import MAX_OP_DEPTH, Op

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), plain, max_size=4))
def test_an_op_is_what_was_given(value: dict[str, Any]) -> None:
    assert repr(Op.of(value).value) == repr(value)
    assert Op.of_json(value) == Op.of(value)


class Colour(enum.IntEnum):
    RED = 1


class Word(enum.StrEnum):
    YES = "yes"


class Flag(enum.Flag):
    UP = 1


@dataclass
class Data:
    a: int = 1


@frozen
class Attrs:
    a: int = 1


class Struct(msgspec.Struct):
    a: int = 1


Pair = namedtuple("Pair", "a b")


class Text(str):
    __slots__ = ()


class Number(float):
    pass


cyclic: list[Any] = []
cyclic.append(cyclic)
mutual: dict[str, Any] = {}
mutual["a"] = [mutual, mutual]

ODD = [
    float("nan"),
    float("inf"),
    -float("inf"),
    2**64,
    -(2**63) - 1,
    10**5000,
    b"x",
    bytearray(b"x"),
    memoryview(b"x"),
    "\ud800",
    "a\udfff",
    {1: 2},
    {None: 1},
    {True: 1},
    {b"a": 1},
    {(1, 2): 3},
    {Colour.RED: 1},
    {Word.YES: 1},
    {"\ud800": 1},
    {Text("a"): 1},
    (1, 2),
    Pair(1, 2),
    {1, 2},
    frozenset({"a"}),
    OrderedDict(a=1),
    Decimal("1.5"),
    1j,
    uuid.UUID(int=0),
    datetime.datetime(2026, 1, 1),
    datetime.date(2026, 1, 1),
    datetime.time(1),
    datetime.timedelta(1),
    Colour.RED,
    Word.YES,
    Flag.UP,
    Text("a"),
    Number(1.5),
    Data(),
    Attrs(),
    Struct(),
    msgspec.Raw(b"1"),
    msgspec.UNSET,
    msgspec.msgpack.Ext(5, b""),
    object(),
    int,
    iter([1]),
    cyclic,
    mutual,
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_what_is_no_plain_json_is_refused(odd: Any) -> None:
    for value in ({"a": odd}, {"a": [odd]}, {"a": {"b": [1, odd]}}):
        with pytest.raises(ValueError, match=r"an op|keys"):
            Op.of(value)


@pytest.mark.parametrize("odd", [None, 1, "a", [], [{}], OrderedDict(a=1), Struct(), ()])
def test_an_op_is_an_object(odd: Any) -> None:
    with pytest.raises(ValueError, match="an op is an object"):
        Op.of(odd)


@pytest.mark.parametrize("wrap", [lambda inner: {"a": inner}, lambda inner: [inner]])
def test_an_op_nests_so_deep_at_most(wrap: Any) -> None:
    inner: Any = {}
    for _ in range(MAX_OP_DEPTH - 2):
        inner = wrap(inner)
    assert Op.of({"a": inner}).value == {"a": inner}
    for deeper in (wrap(inner), wrap([inner, *[{}] * 200])):
        with pytest.raises(ValueError, match="at most 128 deep"):
            Op.of({"a": deeper})
        with pytest.raises(ValueError, match="at most 128 deep"):
            Op.of_json({"a": deeper})


def test_an_op_is_checked_on_a_stack_that_is_nearly_full() -> None:
    value: dict[str, Any] = {}
    for _ in range(MAX_OP_DEPTH - 1):
        value = {"a": value}

    def further_down() -> str:
        try:
            Op.of(value)
        except ValueError as error:
            return str(error)
        return further_down()

    assert "too deeply" in further_down()


async def test_a_hall_refuses_ops_that_are_no_plain_json() -> None:
    async with open_hall() as hall:
        for odd in ODD[:20]:
            with pytest.raises(ValueError, match=r"an op|keys"):
                await hall.submit("room", [{"a": odd}])
        assert (await hall.fetch("room")).seq == 0
