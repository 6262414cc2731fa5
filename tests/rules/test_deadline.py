"""The deadline: the earliest end of all rules, against a naive model that is asked each time."""

import math
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._rules.deadline import Deadline, Told
from squire_gatherings._values.end_rules import EndRules, Moved
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import BadSetting
from tests.support import examples

WALL = 1024.0
"""What the wall clock is ahead, at first."""


class Model:
    """All that ever happened, from which each question is answered anew."""

    def __init__(self, rules: EndRules) -> None:
        self.rules = rules
        self.ahead = WALL
        self.messages = [0.0]
        self.counts: list[tuple[float, int]] = []
        self.extended_to = -math.inf

    def since(self, most: int) -> float | None:
        """Return since when there are at most so many clients."""
        since = None
        for at, count in self.counts:
            since = None if count > most else at if since is None else since
        return since

    def ends(self) -> dict[str, float]:
        rules, last = self.rules, max(self.messages)
        ends = {"idle": last + rules.idle_timeout}
        empty, few = self.since(0), self.since(rules.alone_clients)
        if rules.empty_timeout is not None and empty is not None:
            ends["empty"] = empty + rules.empty_timeout
        ever = any(count for _, count in self.counts)
        if rules.unjoined_timeout is not None and empty is not None and not ever:
            ends["unjoined"] = empty + rules.unjoined_timeout
        if rules.alone_timeout is not None and few is not None:
            ends["alone"] = max(few, last) + rules.alone_timeout
        if rules.max_age is not None:
            ends["max_age"] = rules.max_age
        if rules.ends_at is not None:
            ends["ends_at"] = rules.ends_at - self.ahead
        return ends

    def held_to(self) -> float:
        hold = self.rules.hold_until
        return max(self.extended_to, -math.inf if hold is None else hold - self.ahead)

    def at(self) -> float:
        return max(min(self.ends().values()), self.held_to())

    def which(self) -> str | None:
        ends = self.ends()
        first = min(ends.values())
        return None if first == math.inf else next(n for n in ends if ends[n] == first)


def times(most: int = 400) -> st.SearchStrategy[float]:
    # Halves add up exactly.
    return st.integers(1, most).map(lambda number: number / 2)


def rules_at_random() -> st.SearchStrategy[EndRules]:
    instant = st.none() | times(800).map(lambda at: WALL + at)
    return st.builds(
        EndRules,
        idle_timeout=times() | st.just(math.inf),
        empty_timeout=st.none() | times(100),
        unjoined_timeout=st.none() | times(100),
        alone_timeout=st.none() | times(100),
        alone_clients=st.integers(1, 3),
        max_age=st.none() | times(800),
        ends_at=instant,
        hold_until=instant,
        warn_before=st.none() | times(60),
    )


steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), times(60)),
        st.tuples(st.just("message"), st.just(0)),
        st.tuples(st.just("clients"), st.integers(0, 4)),
        st.tuples(st.just("extend"), times(60)),
        st.tuples(st.just("set clock"), times(400).map(lambda at: at - 100)),
        st.tuples(st.just("rules"), rules_at_random()),
    ),
    max_size=30,
)


@settings(max_examples=examples(180, long=300), deadline=None)
@given(rules_at_random(), steps)
def test_the_end_is_the_earliest_of_all_rules_and_never_before_the_hold(
    rules: EndRules, plan: list[tuple[str, Any]]
) -> None:
    model, deadline = Model(rules), Deadline(rules, 0.0, 0.0)
    now = 0.0
    deadline.look(now, now + model.ahead)
    for what, value in plan:
        match what:
            case "wait":
                now += value
            case "message":
                model.messages.append(now)
                deadline.last_processed_at = now
            case "clients":
                model.counts.append((now, value))
                deadline.attended(value, now)
            case "extend":
                if model.at() < math.inf:
                    model.extended_to = model.at() + value
                deadline.extend(value)
            case "set clock":
                model.ahead = WALL + value
                deadline.look(now, now + model.ahead)
            case "rules":
                clients = model.counts[-1][1] if model.counts else 0
                if value.alone_clients != model.rules.alone_clients:
                    # Who was few before needn't have been few by this rule: it begins now.
                    value = attrs.evolve(value, alone_clients=model.rules.alone_clients)
                model.rules = value
                deadline.change(value, clients, now, now + model.ahead)
        assert dict(deadline.ends()) == model.ends()
        assert deadline.at == model.at() == max(model.at(), model.held_to())
        assert deadline.which == model.which()
        final = [model.ends().get(name, math.inf) for name in ("max_age", "ends_at")]
        assert deadline.final_at == max(min(final), model.held_to())
        assert deadline.next_at <= deadline.at


@settings(max_examples=examples(180, long=300), deadline=None)
@given(rules_at_random(), steps)
def test_a_warning_comes_so_long_before_the_end_and_once(
    rules: EndRules, plan: list[tuple[str, Any]]
) -> None:
    """Driven as by a gathering: it acts whenever `next_at` says so."""
    deadline = Deadline(rules, 0.0, 0.0)
    now, ahead = 0.0, WALL
    deadline.look(now, now + ahead)
    told: list[tuple[str, float]] = []
    for what, value in plan:
        match what:
            case "wait":
                until = now + value
                while deadline.next_at <= until:
                    now = max(now, deadline.next_at)
                    if now >= deadline.at:
                        return
                    warned = deadline.warn(now)
                    assert warned is not None
                    before = deadline.rules.warn_before
                    assert before is not None
                    assert warned.at - before <= now <= warned.at
                    assert warned.at == max(dict(deadline.ends())[warned.rule], deadline.held_to)
                    assert deadline.warn(now) is None, "once"
                    told.append((warned.rule, warned.at))
                    assert len(told) < 2 or told[-1] != told[-2]
                now = until
            case "message":
                deadline.last_processed_at = now
            case "clients":
                deadline.attended(value, now)
            case "extend":
                deadline.extend(value)
            case "set clock":
                ahead = WALL + value
                deadline.look(now, now + ahead)
            case "rules":
                deadline.change(value, 0, now, now + ahead)
        if not deadline.stands:
            deadline.told = None
            told.append(("off", now))


def test_a_rule_that_is_shorter_than_the_warning_gives_none() -> None:
    deadline = Deadline(EndRules(idle_timeout=10, warn_before=10), 0.0, 0.0)
    assert deadline.warn_at == math.inf
    deadline = Deadline(EndRules(idle_timeout=10, max_age=100, warn_before=10), 0.0, 0.0)
    # Whatever comes sooner without a warning: this one has one.
    assert deadline.warn_at == 90


def test_of_several_rules_with_the_same_end_one_that_a_message_moves_is_named() -> None:
    deadline = Deadline(EndRules(idle_timeout=10, max_age=10), 0.0, 0.0)
    before = deadline.which
    deadline.last_processed_at = 1.0
    assert [before, deadline.which] == [DispersalReason.IDLE, DispersalReason.MAX_AGE]


NONSENSE = [
    {"idle_timeout": 0},
    {"idle_timeout": math.nan},
    {"idle_timeout": None},
    {"empty_timeout": -1},
    {"unjoined_timeout": "1"},
    {"alone_timeout": True},
    {"alone_clients": 0},
    {"alone_clients": 1.5},
    {"max_age": 0},
    {"ends_at": "noon"},
    {"ends_at": math.nan},
    {"hold_until": 10**400},
    {"warn_before": math.inf},
    {"warn_before": 0},
]


@pytest.mark.parametrize("rules", NONSENSE, ids=str)
def test_rules_that_make_no_sense_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(BadSetting, match=next(iter(rules))):
        EndRules(**rules)


# Handing over.


@settings(max_examples=examples(50))
@given(rules_at_random(), times(), times(), times(), st.integers(-50, 50))
def test_another_process_goes_on_by_its_own_clock(
    rules: EndRules, opened: float, used: float, emptied: float, ahead: int
) -> None:
    ours = Deadline(rules, opened, used)
    ours.attended(1, opened)
    ours.attended(0, emptied)
    ours.look(used, WALL + used)
    ours.extend(3.0)
    ours.told = Told(DispersalReason.IDLE, used + 8, used)
    state = ours.state(Moved("sync", "anna", used), ahead)
    theirs = Deadline(rules, 0.0, 0.0)
    theirs.resume(state, 0.0)
    theirs.look(used + ahead, WALL + used)
    assert theirs.at == ours.at + ahead
    assert theirs.which == ours.which
    assert theirs.ends() == [(rule, at + ahead) for rule, at in ours.ends()]
    assert (theirs.opened_at, theirs.last_processed_at) == (opened + ahead, used + ahead)
    assert theirs.extended_to == ours.extended_to + ahead
    assert theirs.told == Told(DispersalReason.IDLE, used + 8 + ahead, used + ahead)
    assert theirs.moved == Moved("sync", "anna", used + ahead)
    # And back.
    back = Deadline(rules, 0.0, 0.0)
    back.resume(state, -ahead)
    back.look(used, WALL + used)
    assert back.ends() == ours.ends()
    assert (back.opened_at, back.at, back.told) == (opened, ours.at, ours.told)
    assert (back.moved, back.extended_to) == (Moved("sync", "anna", used), ours.extended_to)


def test_an_act_is_due_by_the_wall_clock() -> None:
    deadline = Deadline(EndRules(idle_timeout=100.0), 0.0, 0.0)
    deadline.acts_at_time = 2_000_000
    deadline.look(10.0, 1990.0)
    assert deadline.acts_at == 20.0
    assert deadline.next_at == 20.0


def test_it_sleeps_so_long_after_it_was_used() -> None:
    deadline = Deadline(EndRules(idle_timeout=100.0), 0.0, 20.0)
    deadline.sleep_after = 5.0
    assert deadline.sleep_at == deadline.next_at == 25.0
    deadline.awake_to = 30.0
    assert deadline.sleep_at == 30.0
