"""How `benchmarks.endings` judges when rooms ended, and who was told."""

from typing import Any

from benchmarks.endings.__main__ import judge
from benchmarks.endings.catalogue import ENDERS

BY_KEY = {one.key: one for one in ENDERS}


def stay(room: str, **more: Any) -> dict[str, Any]:
    return {
        "room": room,
        "said": 100.0,
        "left": 0.0,
        "told": 0.0,
        "closed": 0.0,
        "code": None,
    } | more


def test_idle_rooms_are_judged_by_what_their_clients_saw() -> None:
    stays = [
        stay("e-0", told=105.002, closed=105.01, code=4001),
        stay("e-1", told=104.98, closed=104.98, code=4001),
        stay("e-2", closed=105.5),
        stay("e-3"),
    ]
    found = judge(BY_KEY["ours"], stays, {}, 5.0)
    assert found.p50 is not None
    assert round(found.p50) == 2
    assert found.max is not None
    assert round(found.max) == 500
    assert found.early == 1
    assert round(found.earliest) == 20
    assert found.told == {"4001": 2}
    assert found.untold == 2
    assert found.never == 1


def test_rooms_that_were_left_are_judged_by_what_the_server_said() -> None:
    stays = [stay(f"e-{number}", left=101.0, closed=101.0) for number in range(3)]
    ended = {"e-0": 106.004, "e-1": 105.9995}
    found = judge(BY_KEY["ours-left"], stays, ended, 5.0)
    assert found.max is not None
    assert round(found.max) == 4
    assert found.early == 0, "servers tell whole milliseconds"
    assert found.never == 1
    from_message = judge(BY_KEY["hocuspocus-left"], stays, ended, 5.0)
    assert from_message.max is not None
    assert round(from_message.max) == 1004
    at_once = judge(BY_KEY["pycrdt-left"], stays, ended, 5.0)
    assert at_once.max is not None
    assert round(at_once.max) == 5004


def test_without_any_end_there_are_no_figures() -> None:
    found = judge(BY_KEY["ours"], [stay("e-0")], {}, 5.0)
    assert (found.p50, found.p99, found.max) == (None, None, None)
    assert (found.early, found.never, found.untold) == (0, 1, 1)
