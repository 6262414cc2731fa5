"""Who is here, against a model that knows each connection by itself and tells nobody anything."""

import math
from itertools import pairwise

import pytest
from attrs import define, field
from hypothesis import example, given, settings
from hypothesis import strategies as st

from squire_gatherings._rules.presence import SENDS, WhoIsHere
from squire_gatherings._values.messages import Presence, PresentUser
from squire_gatherings._values.op import Op
from tests.present import Watcher
from tests.support import examples

INTERVAL, MOST, GRACE = 0.25, 3, 10.0
USERS = ("alice", "bob", "carol", "dave", None)
NOTHING = Op.of({})


def a_state(number: int) -> Op:
    return Op.of({"n": number})


@define
class Known:
    user: str | None
    state: Op
    lost_until: float = math.inf
    hidden: bool = False


@define
class World:
    """The rules, those who are told by them, and the model."""

    here: WhoIsHere = field(factory=lambda: WhoIsHere(INTERVAL, MOST, GRACE))
    now: float = 0.0
    known: dict[str, Known] = field(factory=dict)
    """All that are shown or may be, in the order of their last words."""
    arrived: list[str] = field(factory=list)
    """The users that are shown, in the order in which they came."""
    watchers: dict[str, Watcher] = field(factory=dict)
    slow: set[str] = field(factory=set)
    told_at: list[float] = field(factory=list)

    def play(self, step: tuple[str, int, int]) -> None:
        what, number, value = step
        key, user = f"c{number}", USERS[number % len(USERS)]
        match what:
            case "came":
                self.here.came(key, user, a_state(value), self.now)
                self._newest(key, Known(user, a_state(value)))
                self.watchers[key] = Watcher()
            case "said" if key in self.watchers:
                self.here.said(key, a_state(value), self.now)
                self._newest(key, Known(user, a_state(value), hidden=self.known[key].hidden))
            case "lost" if key in self.watchers:
                self.here.lost(key, self.now)
                del self.watchers[key]
                if self.known[key].hidden:
                    del self.known[key]
                else:
                    self.known[key].lost_until = self.now + GRACE
            case "left" if key in self.watchers:
                self.here.left(key, self.now)
                del self.watchers[key], self.known[key]
            case "hide" if key in self.watchers:
                self.here.hide(key, self.now)
                self.known[key].hidden = True
            case "show" if key in self.watchers and self.known[key].hidden:
                self.here.show(key, self.now)
                self._newest(key, Known(user, self.known[key].state))
            case "slow":
                self.slow ^= {key}
            case "wait":
                self.wait(self.now + value / 8)
        self._look_who_came()

    def _newest(self, key: str, known: Known) -> None:
        self.known.pop(key, None)
        self.known[key] = known

    def _look_who_came(self) -> None:
        there = {one.user for one in self.known.values() if not one.hidden and one.user}
        self.arrived = [user for user in self.arrived if user in there]
        self.arrived += [user for user in USERS if user in there and user not in self.arrived]

    def wait(self, until: float) -> None:
        """Let time pass; those who are told something take it in, unless they're slow."""
        while self.here.due <= until:
            self.now = max(self.now, self.here.due)
            for key in [key for key, one in self.known.items() if one.lost_until <= self.now]:
                del self.known[key]
            self._look_who_came()
            if not self.here.advance(self.now):
                continue
            self.told_at.append(self.now)
            for key in self.here.to_tell():
                if key in self.slow:
                    self.here.put_off(self.now)
                elif (message := self.here.message(key)) is not None:
                    self.watchers[key].take(message)
        self.now = until

    def view(self) -> dict[str, PresentUser]:
        """Return what all who are told must know."""
        shown: dict[str, PresentUser] = {}
        for user in self.arrived[:MOST]:
            of_user = [one for one in self.known.values() if one.user == user and not one.hidden]
            shown[user] = PresentUser(user, len(of_user), of_user[-1].state)
        return shown

    def count_anonymous(self) -> int:
        return sum(one.user is None and not one.hidden for one in self.known.values())


Plan = list[tuple[str, int, int]]

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ("came", "came", "said", "said", "lost", "left", "hide", "show", "slow", "wait", "wait")
        ),
        st.integers(0, 9),
        st.integers(0, 40),
    ),
    max_size=60,
)


@settings(max_examples=examples(150))
@given(steps)
@example([("came", 0, 1), ("came", 5, 2), ("said", 0, 1), ("wait", 0, 8), ("left", 0, 0)])
@example([("came", 0, 1), ("wait", 0, 1), ("came", 1, 1), ("left", 1, 0), ("wait", 0, 8)])
@example([("came", 0, 1), ("came", 1, 1), ("wait", 0, 1), ("slow", 1, 0), ("said", 0, 2)])
@example(
    [("came", 0, 1), ("wait", 0, 1), ("hide", 0, 0), ("wait", 0, 4), ("show", 0, 0), ("wait", 0, 4)]
)
@example([("came", n, 1) for n in range(4)] + [("wait", 0, 4), ("left", 0, 0)])
def test_all_who_are_told_know_the_same_when_nothing_is_due(plan: Plan) -> None:
    world = World()
    for step in plan:
        world.play(step)
    world.slow.clear()
    world.wait(world.now + 2 * GRACE)
    assert world.here.due == math.inf
    shown = world.view()
    counted = len(world.arrived), world.count_anonymous()
    for key, watcher in world.watchers.items():
        if not world.known[key].hidden:
            assert (watcher.users, watcher.counted) == (shown, counted)
    assert list(world.here.users()) == list(shown.values())
    assert (world.here.count, world.here.anonymous) == counted
    assert world.here.size == sum(len(one.state.json) for one in world.known.values())
    for before, after in pairwise(world.told_at):
        assert after - before >= INTERVAL - 1e-9


@settings(max_examples=examples(50))
@given(steps)
def test_what_is_handed_over_makes_the_same_again(plan: Plan) -> None:
    world = World()
    for step in plan:
        world.play(step)
    other = WhoIsHere(INTERVAL, MOST, GRACE)
    lost = {key for key in world.known if key not in world.watchers}
    for key in lost:
        world.here.left(key, world.now)
    for key, state in world.here.states():
        other.came(key, world.known[key].user, state, 0.0)
        if world.known[key].hidden:
            other.hide(key, 0.0)
    assert list(other.users()) == list(world.here.users())
    assert (other.count, other.anonymous, len(other)) == (
        world.here.count,
        world.here.anonymous,
        len(world.here),
    )


def told(here: WhoIsHere, now: float) -> dict[str, Presence]:
    """Return what each connection is told at this time."""
    if not here.advance(now):
        return {}
    found = {key: here.message(key) for key in here.to_tell()}
    return {key: message for key, message in found.items() if message is not None}


def test_who_comes_and_goes_in_between_is_never_told() -> None:
    here = WhoIsHere(INTERVAL, MOST, GRACE)
    here.came("a", "alice", NOTHING, 0.0)
    assert set(told(here, 0.0)) == {"a"}
    here.came("b", "bob", NOTHING, 0.01)
    assert here.due == INTERVAL
    here.left("b", 0.02)
    assert told(here, INTERVAL) == {}
    assert here.due == math.inf


def test_a_connection_that_comes_back_in_time_changes_nothing_for_others() -> None:
    here = WhoIsHere(INTERVAL, MOST, GRACE)
    for key, user in (("a", "alice"), ("b", "bob")):
        here.came(key, user, NOTHING, 0.0)
    told(here, 0.0)
    here.lost("b", 1.0)
    here.came("b", "bob", NOTHING, 1.0 + GRACE - 0.1)
    after = told(here, here.due)
    assert set(after) == {"b"}
    assert len(after["b"].users) == 2
    assert here.due == math.inf
    here.lost("b", 30.0)
    assert here.due == 30.0 + GRACE
    [message] = told(here, here.due).values()
    assert (message.gone, message.users, message.count) == (("bob",), (), 1)


def test_the_state_that_was_set_last_is_the_one_of_its_user() -> None:
    here = WhoIsHere(INTERVAL, MOST, GRACE)
    here.came("phone", "alice", a_state(1), 0.0)
    here.came("desk", "alice", a_state(2), 0.0)
    assert [*here.users()] == [PresentUser("alice", 2, a_state(2))]
    assert here.said("phone", a_state(1), 0.0)
    assert [*here.users()] == [PresentUser("alice", 2, a_state(1))]
    assert not here.said("phone", a_state(1), 0.0)
    here.left("phone", 0.0)
    assert [*here.users()] == [PresentUser("alice", 1, a_state(2))]


@pytest.mark.parametrize("clients", [10, 1000, 10_000])
def test_a_crowd_is_told_less_often(clients: int) -> None:
    here = WhoIsHere(INTERVAL, MOST, GRACE)
    for number in range(clients):
        here.came(f"c{number}", f"u{number}", NOTHING, 0.0)
    assert len(told(here, 0.0)) == clients
    here.said("c0", a_state(1), 0.0)
    assert here.due == max(INTERVAL, clients / SENDS)
