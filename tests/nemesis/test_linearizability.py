"""The search, on histories whose verdict is known from the literature, and against brute force."""

import math
from collections.abc import Hashable, Sequence
from itertools import permutations
from typing import Literal, TypeVar

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nemesis.linearizability import Specification, Undecided, check
from tests.support import examples


@frozen
class Call:
    """An operation on a register or a queue; `value` is what was written, taken or read."""

    invoked: float
    returned: float
    kind: Literal["write", "read", "cas", "enqueue", "dequeue"]
    value: Hashable = None
    expected: Hashable = None


class Register:
    """A register that begins with 0."""

    initial: int = 0

    def step(self, state: Hashable, call: Call) -> Hashable | None:
        if call.kind == "write":
            return call.value
        if call.kind == "read":
            return state if state == call.value else None
        return call.value if state == call.expected else None

    def is_read(self, call: Call) -> bool:
        return call.kind == "read"


class Queue:
    """A queue that takes out first what was put in first."""

    initial: tuple[Hashable, ...] = ()

    def step(self, state: tuple[Hashable, ...], call: Call) -> tuple[Hashable, ...] | None:
        if call.kind == "enqueue":
            return (*state, call.value)
        return state[1:] if state[:1] == (call.value,) else None

    def is_read(self, call: Call) -> bool:
        return False


def write(invoked: float, returned: float, value: int) -> Call:
    return Call(invoked, returned, "write", value)


def read(invoked: float, returned: float, value: int) -> Call:
    return Call(invoked, returned, "read", value)


def cas(invoked: float, returned: float, expected: int, value: int) -> Call:
    return Call(invoked, returned, "cas", value, expected)


def put(invoked: float, returned: float, value: str) -> Call:
    return Call(invoked, returned, "enqueue", value)


def take(invoked: float, returned: float, value: str) -> Call:
    return Call(invoked, returned, "dequeue", value)


NEVER = math.inf


@pytest.mark.parametrize(
    ("history", "is_linearizable"),
    [
        # Herlihy and Wing (1990), figure 1: queues.
        ([put(0, 3, "x"), put(1, 2, "y"), take(4, 6, "x"), take(5, 7, "y"), put(8, 9, "z")], True),
        ([put(0, 3, "x"), put(1, 2, "y"), take(4, 5, "y"), take(6, 7, "x")], True),
        ([put(0, 1, "x"), put(2, 3, "y"), take(4, 5, "y")], False),
        ([put(0, 4, "x"), take(1, 2, "x")], True),
        ([put(0, 1, "x"), put(0, 3, "y"), take(4, 6, "y"), take(5, 7, "y")], False),
        # One that never returned may have been done, or not; it can't be done before it began.
        ([put(0, NEVER, "x"), put(1, 2, "y"), take(3, 4, "x"), take(5, 6, "y")], True),
        ([put(0, NEVER, "x"), put(1, 2, "y"), take(3, 4, "y")], True),
        ([take(0, 1, "x"), put(2, NEVER, "x")], False),
        ([put(0, 1, "x"), take(2, NEVER, "x"), take(3, 4, "x")], True),
        ([put(0, 1, "x"), take(2, 3, "x"), take(2, 4, "x")], False),
    ],
)
def test_queues(history: list[Call], is_linearizable: bool) -> None:
    assert check(history, Queue()).is_linearizable == is_linearizable


@pytest.mark.parametrize(
    ("history", "is_linearizable"),
    [
        # As those of Porcupine's README and tests.
        ([write(0, 100, 100), read(25, 75, 100), read(30, 60, 0)], True),
        ([write(0, 100, 200), read(10, 30, 200), read(40, 90, 0)], False),
        ([write(0, 100, 100), read(25, 75, 100), read(30, 30, 0), read(30, 30, 0)], True),
        ([write(0, 100, 200), read(10, 10, 200), read(10, 10, 200), read(40, 90, 0)], False),
        # Herlihy and Wing (1990), figure 1: registers.
        ([write(0, 1, 0), write(2, 9, 1), read(3, 4, 1), read(5, 6, 1)], True),
        ([write(0, 1, 0), write(2, 9, 1), read(3, 4, 1), read(5, 6, 0)], False),
        # A read sees what a write did that never returned, and later ones see no less.
        ([write(0, NEVER, 1), read(1, 2, 0), read(3, 4, 1)], True),
        ([write(0, NEVER, 1), read(1, 2, 1), read(3, 4, 0)], False),
        # Two who both compare and set from the same value, as split brains do.
        ([cas(0, 5, 0, 1), cas(1, 6, 0, 2)], False),
        ([cas(0, 5, 0, 1), cas(1, 6, 1, 2), read(7, 8, 2)], True),
        ([cas(0, 5, 0, 1), cas(6, 7, 0, 2)], False),
        # What ends when another begins overlaps it.
        ([write(0, 1, 1), read(1, 2, 0)], True),
    ],
)
def test_registers(history: list[Call], is_linearizable: bool) -> None:
    assert check(history, Register()).is_linearizable == is_linearizable


def test_an_order_is_shown_or_how_far_one_comes() -> None:
    late, early = read(40, 90, 0), read(10, 30, 200)
    first = write(0, 100, 200)
    verdict = check([late, first, early], Register())
    assert verdict.order == (first, early)
    assert verdict.unexplained == late
    verdict = check([early, first], Register())
    assert verdict.order == (first, early)
    assert verdict.unexplained is None


def test_a_search_has_an_end() -> None:
    history = [write(0, 100, n) for n in range(12)] + [read(0, 100, 99)]
    with pytest.raises(Undecided):
        check(history, Register(), steps=1_000)
    # What was seen is not searched again: 12! orders lead to 12 * 2**11 places.
    assert not check(history, Register(), steps=400_000).is_linearizable


VALUES = st.integers(0, 2)


@st.composite
def histories(draw: st.DrawFn, kinds: Sequence[str]) -> list[Call]:
    """Up to six calls at few instants, some of which never return."""
    calls = []
    for _ in range(draw(st.integers(1, 6))):
        invoked = draw(st.integers(0, 8))
        returned = draw(st.one_of(st.integers(invoked, 9), st.just(math.inf)))
        kind = draw(st.sampled_from(kinds))
        calls.append(Call(invoked, returned, kind, draw(VALUES), draw(VALUES)))  # type: ignore[arg-type]
    return calls


State = TypeVar("State", bound=Hashable)


def is_legal(order: Sequence[Call], specification: Specification[State, Call]) -> bool:
    """Whether this order is a run of the specification, and agrees with the times."""
    state, now = specification.initial, -math.inf
    for call in order:
        now = max(now, call.invoked)
        after = specification.step(state, call)
        if after is None or call.returned < now:
            return False
        state = after
    return True


def has_an_order(history: list[Call], specification: Specification[State, Call]) -> bool:
    """Try every order of all that returned and some of the others."""
    returned = {n for n, call in enumerate(history) if call.returned < math.inf}
    return any(
        returned <= set(order) and is_legal([history[n] for n in order], specification)
        for size in range(len(returned), len(history) + 1)
        for order in permutations(range(len(history)), size)
    )


@settings(max_examples=examples(150), deadline=None)
@given(histories(["write", "read", "cas"]))
def test_registers_against_brute_force(history: list[Call]) -> None:
    verdict = check(history, Register())
    assert verdict.is_linearizable == has_an_order(history, Register())
    assert is_legal(verdict.order, Register())


@settings(max_examples=examples(100), deadline=None)
@given(histories(["enqueue", "dequeue"]))
def test_queues_against_brute_force(history: list[Call]) -> None:
    verdict = check(history, Queue())
    assert verdict.is_linearizable == has_an_order(history, Queue())
    assert is_legal(verdict.order, Queue())
