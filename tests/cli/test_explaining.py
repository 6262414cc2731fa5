"""What `explain` says, word for word."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from squire_gatherings._admin.api.end_shapes import Explanation, Moved
from squire_gatherings._cli.operators.explaining import end_of, explanation
from squire_gatherings._cli.operators.instants import parse_instant
from squire_gatherings._cli.operators.wording import instant, span, when

NOW = datetime(2026, 11, 28, 6, 57, 48, 250_000, UTC).timestamp()
HOUR = 3600.0


def said(**changes: Any) -> Explanation:
    """Return an explanation, but for what is changed."""
    rules = {
        "idle_timeout": 24 * HOUR,
        "empty_timeout": None,
        "unjoined_timeout": None,
        "alone_timeout": None,
        "alone_clients": 1,
        "max_age": None,
        "ends_at": None,
        "hold_until": None,
        "warn_before": None,
    }
    rules |= changes.pop("rules", {})
    values: dict[str, Any] = {
        "now": NOW,
        "id": "friday-night",
        "incarnation": "99d9b230eb5056a1ce66",
        "opened_at": NOW - 26 * HOUR,
        "last_processed_at": NOW - 12,
        "clients": 3,
        "deadline": NOW + 24 * HOUR - 12,
        "ends_in": 24 * HOUR - 12,
        "rule": "idle",
        "ends": {"idle": NOW + 24 * HOUR - 12},
        "held_until": None,
        "warns_at": None,
        "warned": False,
        "rules": rules,
        "moved": {"what": "sync", "by": "ann", "at": NOW - 12},
    }
    return msgspec.convert(values | changes, Explanation)


def test_an_end_beyond_the_year_9999_is_an_instant_as_any_other() -> None:
    seconds = 10_000 * 365.2425 * 86400
    [line, *_] = explanation(said(deadline=NOW + seconds, ends_in=seconds))
    assert line.startswith("friday-night lives until +12026-11-28T06:57:48.250Z (in 3652425d")


def test_an_idle_timeout() -> None:
    assert explanation(said()) == [
        "friday-night lives until 2026-11-29T06:57:36.250Z (in 23h 59m): rule idle, no message"
        " for 24h.",
        "Last moved 12s ago by a message: sync of user ann.",
        "3 clients are connected; opened 1d 2h ago, last message 12s ago.",
    ]


def test_several_rules_and_a_warning() -> None:
    several = said(
        deadline=NOW + HOUR,
        rule="max_age",
        ends={"idle": NOW + 2 * HOUR, "max_age": NOW + HOUR, "alone": NOW + 3 * HOUR},
        rules={"max_age": 27 * HOUR, "alone_timeout": 4 * HOUR, "alone_clients": 2},
        warns_at=NOW + 3300,
        clients=1,
    )
    assert explanation(several) == [
        "friday-night lives until 2026-11-28T07:57:48.250Z (in 1h): rule max_age, open for 27h.",
        "Last moved 12s ago by a message: sync of user ann.",
        "Rule idle would end it at 2026-11-28T08:57:48.250Z (in 2h).",
        "Rule alone would end it at 2026-11-28T09:57:48.250Z (in 3h).",
        "Its clients are warned at 2026-11-28T07:52:48.250Z (in 55m).",
        "1 client is connected; opened 1d 2h ago, last message 12s ago.",
    ]


def test_a_hold() -> None:
    held = said(
        deadline=NOW + 30 * HOUR,
        held_until=NOW + 30 * HOUR,
        rules={"hold_until": NOW + 30 * HOUR},
        moved={"what": "hold", "by": "uid 0 (root)", "at": NOW - 0.25},
        warned=True,
    )
    assert explanation(held) == [
        "friday-night lives until 2026-11-29T12:57:48.250Z (in 1d 6h): it is held until then, and"
        " rule idle ends it.",
        "Last moved 250ms ago by an operator or the program: hold (uid 0 (root)).",
        "Without the hold, rule idle, no message for 24h would end it at"
        " 2026-11-29T06:57:36.250Z (in 23h 59m).",
        "Its clients have been told that it ends.",
        "3 clients are connected; opened 1d 2h ago, last message 12s ago.",
    ]
    short = said(rules={"hold_until": NOW + HOUR})
    assert (
        "It is held until 2026-11-28T07:57:48.250Z (in 1h), which is before its end."
        in explanation(short)
    )
    assert not any("held" in line for line in explanation(said(rules={"hold_until": NOW - 1})))


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"deadline": None, "rule": None, "ends": {}}, "friday-night lives on: no rule ends it."),
        ({"rule": "ends_at", "rules": {"ends_at": NOW + 60}}, "rule ends_at, which is set to"),
        ({"rule": "empty", "rules": {"empty_timeout": 0.25}}, "rule empty, nobody connected for"),
        ({"rule": "unjoined", "rules": {"unjoined_timeout": 5.0}}, "joined by nobody for 5s."),
        ({"rule": "\x1b[2J", "ends": {}}, "rule \\u001b[2J."),
        ({"deadline": NOW - 1}, "(1.0s ago): rule idle"),
        ({"rule": None}, "(in 23h 59m)."),
    ],
)
def test_other_ends(changes: dict[str, Any], ends: str) -> None:
    assert ends in end_of(said(**changes))


@pytest.mark.parametrize(
    ("what", "by", "says"),
    [
        ("opened", None, "Nothing has moved that since it was opened, 1m ago."),
        ("left", "ann", "Last moved 1m ago, when user ann had gone."),
        ("left", None, "Last moved 1m ago, when a client had gone."),
        ("returned", "ann", "Last moved 1m ago, when user ann came back."),
        ("behaviour", None, "Last moved 1m ago by its behaviour."),
        ("extend", None, "Last moved 1m ago by an operator or the program: extend."),
        ("join", None, "Last moved 1m ago by a message: join."),
        ("\x1b", "\x1b", "Last moved 1m ago by a message: \\u001b of user \\u001b."),
    ],
)
def test_what_moved_it(what: str, by: str | None, says: str) -> None:
    assert explanation(said(moved=Moved(what=what, by=by, at=NOW - 60)))[1] == says


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0004, "0ms"),
        (0.25, "250ms"),
        (9.96, "10.0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m 59s"),
        (3605, "1h"),
        (10_920, "3h 2m"),
        (86_400 * 400 + 7200, "400d 2h"),
        (-5, "-5.0s"),
    ],
)
def test_about_how_long(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_instants_are_written_as_they_are_read() -> None:
    assert parse_instant(instant(NOW)) == NOW
    assert when(NOW + 1.5, NOW) == "2026-11-28T06:57:49.750Z (in 1.5s)"
    assert when(NOW - 61, NOW) == "2026-11-28T06:56:47.250Z (1m 1s ago)"
    assert parse_instant("2026-11-28T07:57:48.250+01:00") == NOW


def test_who_is_here() -> None:
    def last(users: int, anonymous: int) -> str:
        return explanation(said(here={"users": users, "anonymous": anonymous}))[-1]

    assert last(2, 0) == "Shown as being here: 2 users."
    assert last(1, 1) == "Shown as being here: 1 user and 1 connection of nobody known."
    assert last(0, 3) == "Shown as being here: 3 connections of nobody known."
    assert last(0, 0).startswith("3 clients are connected")
