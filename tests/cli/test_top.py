"""How `top` looks, and what it knows: rates, order, and a server that can't be asked."""

import io
from typing import Any

import msgspec
from rich.console import Console

from squire_gatherings._admin.api.end_shapes import Endings
from squire_gatherings._admin.api.shapes import Gatherings, HallState
from squire_gatherings._cli.operators.asking import Answer
from squire_gatherings._cli.operators.top_state import Order, Sample, Top
from squire_gatherings._cli.operators.top_view import view

NOW = 1_795_839_472.0


def answer(shape: type, **values: Any) -> Answer:
    return Answer(msgspec.convert(values, shape), values)


def gathering(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "incarnation": f"{name}-1",
        "stage": "open",
        "opened_at": NOW - 7200,
        "deadline": NOW + 45,
        "ends_in": 45.0,
        "last_processed_at": NOW,
        "processed": 100,
        "clients": 2,
        "seq": 12,
        "unacked": 0,
        **changes,
    }


def sample(
    *gatherings: dict[str, Any], later: float = 0.0, messages: int = 500, asleep: int = 0
) -> Sample:
    hall = answer(
        HallState,
        now=NOW + later,
        version="0.2.0",
        started_at=NOW - 10_920,
        closing=False,
        store="memory:",
        stages={"open": 2 - asleep, "asleep": asleep},
        clients=3,
        connections=4,
        opened=5,
        ended={"idle": 2, "max_age": 0},
        refused={"rate": 1},
        messages=messages,
        memory=4096,
        outbound=0,
    )
    listed = answer(Gatherings, now=NOW + later, gatherings=list(gatherings), matched=2, next=None)
    end = {"id": "gone", "incarnation": "1", "reason": "idle", "ended_at": NOW - 90}
    end |= {"lateness": 0.0004, "lifetime": 86400.0, "processed": 3, "seq": 1}
    return Sample(hall, listed, answer(Endings, now=NOW + later, endings=[end]), at=later)


def drawn(state: Top, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(view(state, **options))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_it_fits_into_80_columns() -> None:
    state = Top(Order("deadline"))
    never = gathering("b" * 128, ends_in=None, deadline=None, stage="open", clients=100_000)
    ending = gathering("c", stage="ending", ends_in=0.0)
    state.take(sample(gathering("a"), never, ending))
    assert drawn(state, at=0.0) == [
        "squire_gatherings 0.2.0, up 3h 2m, memory:",
        "2 gatherings, 3 clients, 500 messages, 4.0 KiB",
        "ended: idle 2; refused: rate 1",
        "",
        "gathering                                ends in▼ clients  msg/s     seq     age",
        "a                                             45s       2      -      12      2h",
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb…     never  100000      -      12      2h",
        "c                                          ending       2      -      12      2h",
        "",
        "last ends                                   rule        late   lived       ended",
        "gone                                        idle       0.4ms      1d  1m 30s ago",
    ]


def test_those_that_sleep() -> None:
    state = Top(Order("deadline"))
    state.take(sample(gathering("a"), gathering("b", stage="asleep"), asleep=1))
    lines = drawn(state, at=0.0)
    assert lines[1] == "2 gatherings (1 asleep), 3 clients, 500 messages, 4.0 KiB"
    assert [line.split()[3] for line in lines[5:7]] == ["-", "asleep"]


def test_rates_are_between_two_answers_and_countdowns_go_on() -> None:
    state = Top(Order("messages"))
    state.take(sample(gathering("a"), gathering("new", processed=0)))
    again = gathering("new", processed=0, incarnation="new-2")
    state.take(sample(gathering("a", processed=125), again, later=2.0, messages=700))
    lines = drawn(state, at=4.5)
    assert "500" not in lines[1]
    assert lines[1].startswith("2 gatherings, 3 clients, 700 messages (100/s)")
    rows = {line.split()[0]: line.split()[1:] for line in lines[5:7]}
    assert rows == {"a": ["42s", "2", "12.5", "12", "2h"], "new": ["42s", "2", "-", "12", "2h"]}
    # Another server, whose numbers begin anew.
    other = sample(gathering("a", processed=1), later=3.0, messages=1)
    other.hall.started_at = NOW
    state.take(other)
    assert state.total_rate is None
    assert state.rate(other.listed.gatherings[0]) is None


def test_what_does_not_fit_on_the_screen_is_left_out() -> None:
    state = Top(Order("id"))
    state.take(sample(*(gathering(f"g{number:03}") for number in range(50))))
    for height in (24, 12, 9):
        lines = drawn(state, at=0.0, height=height)
        assert len(lines) <= max(height, 9)
        assert "q quit" in lines[-1]
        assert any(line.startswith("g000") for line in lines)


def test_trouble_is_shown_and_what_was_known_stays() -> None:
    state = Top(Order("deadline"))
    state.take(sample(gathering("a")))
    state.fail("can't ask the admin port")
    lines = drawn(state, at=0.0)
    assert lines[2] == "can't ask the admin port"
    assert lines[5].startswith("a ")


def test_keys_change_the_order() -> None:
    state = Top(Order("deadline"))
    assert state.order.direction == "ascending"
    assert state.press("c")
    assert (state.order, state.order.direction) == (Order("clients"), "descending")
    assert state.press("r")
    assert state.order.direction == "ascending"
    assert not state.press("x")
    assert state.order == Order("clients", True)
