"""The tournament's rules: who may do what, disputes, what a judge takes back, and replicas."""

from typing import Any

import msgspec
import pytest
import trio
from hypothesis import strategies as st
from trio.testing import MockClock

from examples.swiss_night.behaviour import SwissNight
from examples.swiss_night.pairing import next_pairings
from examples.swiss_night.standings import standings
from examples.swiss_night.tournament import Tournament
from squire_gatherings import Identity, Op, OpRejected, Stamp, open_hall
from squire_gatherings.testing import check_behaviour
from tests.examples.swiss_night.playing import Night
from tests.support import examples


@pytest.fixture
def night() -> Night:
    made = Night()
    made.judge({"do": "plan", "title": "Friday", "rounds": 3, "minutes": 50})
    made.enter("alice", "bob", "carol", "dave")
    return made


def table_of(night: Night, name: str) -> Any:
    return night.night.rounds[-1].match_of(name)


def report(night: Night, name: str, *games: int) -> int:
    return night.player(name, do="report", round=len(night.night.rounds), games=list(games))


def test_players_act_for_themselves_and_judges_for_all(night: Night) -> None:
    assert night.refused("erin", "observer", do="enter") == "only players and judges may do this"
    assert "for somebody else" in night.refused("erin", "player", do="enter", player="frank")
    assert night.refused("alice", "player", do="enter") == "alice has entered already"
    assert night.refused("olga", "judge", do="enter") == "say for which player"
    night.judge({"do": "enter", "player": "erin"})
    night.judge({"do": "drop", "player": "erin"})
    assert night.refused("erin", "player", do="drop") == "erin has dropped already"
    assert night.refused("frank", "player", do="drop") == "frank hasn't entered"
    for op in (
        {"do": "plan", "title": "Mine", "rounds": 1, "minutes": 1},
        {"do": "start_round", "round": 1, "pairings": [["alice", "bob"], ["carol", "dave"]]},
        {"do": "undo", "seq": 1},
        {"do": "rule", "round": 1, "table": 1, "games": [2, 0, 0]},
        {"do": "extend", "minutes": 1},
        {"do": "finish"},
    ):
        assert night.refused("alice", "player", **op) == "only a judge may do this"


@pytest.mark.parametrize(
    "op",
    [
        {},
        {"do": "dance"},
        {"do": "enter", "player": ""},
        {"do": "enter", "as": "judge"},
        {"do": "report", "round": 1, "games": [2, 0]},
        {"do": "report", "round": 1, "games": [2, 0, True]},
        {"do": "rule", "round": 0, "table": 1, "games": [2, 0, 0]},
        {"do": "start_round", "round": 1, "pairings": [[]]},
        {"do": "start_round", "round": 1, "pairings": [["a", "b", "c"]]},
        {"do": "plan", "title": "x", "rounds": 3, "minutes": 10**9},
    ],
)
def test_what_is_no_op_is_refused(night: Night, op: dict[str, Any]) -> None:
    assert night.refused("olga", "judge", **op).startswith("that's no op of a tournament")


def test_two_that_agree_are_enough(night: Night) -> None:
    night.start()
    one = table_of(night, "alice")
    first, second = one.players
    report(night, first, 2, 1, 0)
    assert one.result is None
    assert "table" in night.refused("olga", "judge", do="finish")
    report(night, second, 2, 1, 0)
    assert one.result == (2, 1, 0)
    assert "only a judge" in night.refused(first, "player", do="report", round=1, games=[0, 2, 0])


def test_a_dispute_is_a_judges(night: Night) -> None:
    night.start()
    one = table_of(night, "alice")
    first, second = one.players
    report(night, first, 2, 0, 0)
    report(night, second, 0, 2, 0)
    assert one.disputed
    ruled = night.rule(one.table, 1, 2)
    assert (one.result, one.disputed) == ((1, 2, 0), False)
    assert "a judge has decided" in night.refused(
        first, "player", do="report", round=1, games=[2, 0, 0]
    )
    night.judge({"do": "undo", "seq": ruled})
    assert one.disputed
    report(night, second, 2, 0, 0)  # who was wrong says so
    assert (one.result, one.disputed) == ((2, 0, 0), False)


@pytest.mark.parametrize("games", [(0, 0, 0), (2, 2, 0), (3, 0, 0)])
def test_what_no_match_can_come_to(night: Night, games: tuple[int, int, int]) -> None:
    night.start()
    for who, role in (("alice", "player"), ("olga", "judge")):
        op = {"do": "report", "round": 1, "games": list(games)}
        if role == "judge":
            op |= {"do": "rule", "table": 1}
        assert "game" in night.refused(who, role, **op)


def test_rounds_follow_each_other(night: Night) -> None:
    pairings = [["alice", "bob"], ["carol", "dave"]]
    start = {"do": "start_round", "round": 1, "pairings": pairings}
    assert night.refused("olga", "judge", **start | {"round": 2}) == "the next round is 1"
    night.judge(start)
    assert "table 1 of round 1" in night.refused("olga", "judge", **start | {"round": 2})
    night.rule(1, 2, 0)
    night.rule(2, 2, 0)
    for wrong in (
        [["alice", "bob"]],
        [["alice", "alice"], ["carol", "dave"]],
        [["alice", "bob"], ["carol", "zoe"]],
    ):
        refused = night.refused("olga", "judge", do="start_round", round=2, pairings=wrong)
        assert "pair again" in refused
    alone = [["alice"], ["bob"], ["carol", "dave"]]
    assert "two byes" in night.refused("olga", "judge", do="start_round", round=2, pairings=alone)
    for _ in (2, 3):
        night.start()
        night.rule(1, 2, 0)
        night.rule(2, 2, 0)
    assert "3 rounds" in night.refused("olga", "judge", **start | {"round": 4})
    night.judge({"do": "finish"})
    assert "has ended" in night.refused("zoe", "player", do="enter")


def test_a_judge_may_pair_by_hand_and_nobody_pairs_who_went(night: Night) -> None:
    pairings = next_pairings(night.night)
    night.player("dave", do="drop")  # while the pairing was worked out
    refused = night.refused("olga", "judge", do="start_round", round=1, pairings=pairings)
    assert "pair again" in refused
    night.judge({"do": "start_round", "round": 1, "pairings": [["bob"], ["carol", "alice"]]})
    assert night.night.rounds[0].matches[0].result == (2, 0, 0)


def test_the_clock_is_in_the_state(night: Night) -> None:
    night.start()
    assert night.night.rounds[0].ends == night.time + 50 * 60_000
    night.judge({"do": "extend", "minutes": 10})
    assert night.night.rounds[0].ends == night.time + 60 * 60_000


def test_a_late_entry_plays_from_the_next_round_on(night: Night) -> None:
    night.start()
    night.enter("erin")
    for table in (1, 2):
        night.rule(table, 2, 0)
    night.start()
    seated = [name for one in night.night.rounds[1].matches for name in one.players]
    assert sorted(seated) == ["alice", "bob", "carol", "dave", "erin"]


def test_undo(night: Night) -> None:
    dropped = night.player("dave", do="drop")
    night.judge({"do": "undo", "seq": dropped})
    assert night.night.present == ["alice", "bob", "carol", "dave"]
    late = night.player("erin", do="enter")
    night.judge({"do": "undo", "seq": late})
    assert "erin" not in night.night.players

    begun = night.start()
    said = report(night, "alice", 2, 0, 0)
    night.judge({"do": "undo", "seq": said})
    assert table_of(night, "alice").reports == {}
    night.judge({"do": "undo", "seq": begun})
    assert night.night.rounds == []

    begun = night.start()
    entered = night.night.players["alice"].seq
    assert "let it drop" in night.refused("olga", "judge", do="undo", seq=entered)
    for table in (1, 2):
        night.rule(table, 2, 0)
    night.start()
    assert "isn't the last" in night.refused("olga", "judge", do="undo", seq=begun)
    assert "nothing to take back" in night.refused("olga", "judge", do="undo", seq=1)
    for table in (1, 2):
        night.rule(table, 2, 0)
    ended = night.judge({"do": "finish"})
    assert "has ended" in night.refused("olga", "judge", do="undo", seq=begun)
    night.judge({"do": "undo", "seq": ended})
    assert night.night.finished is None


def test_a_result_of_an_earlier_round_may_be_decided_anew(night: Night) -> None:
    night.start()
    for table in (1, 2):
        night.rule(table, 2, 0)
    night.start()
    before = {place.name: place.points for place in standings(night.night)}
    night.rule(1, 0, 2, number=1)
    after = {place.name: place.points for place in standings(night.night)}
    first, second = night.night.rounds[0].matches[0].players
    assert (before[first], before[second]) == (3, 0)
    assert (after[first], after[second]) == (0, 3)


def test_ops_of_one_sync_are_judged_one_after_the_other() -> None:
    night = Night()
    enter = {"do": "enter", "player": "alice"}
    drop = {"do": "drop", "player": "alice"}
    night.judge(enter, drop)
    assert night.night.players["alice"].dropped == 2
    with pytest.raises(OpRejected, match="bob has dropped already"):
        night.judge(
            {"do": "enter", "player": "bob"},
            {"do": "drop", "player": "bob"},
            drop | {"player": "bob"},
        )
    assert "bob" not in night.night.players


OPS = st.one_of(
    st.fixed_dictionaries({"do": st.sampled_from(["enter", "drop", "finish"])}),
    st.fixed_dictionaries(
        {"do": st.sampled_from(["enter", "drop"]), "player": st.sampled_from("abcdef")}
    ),
    st.fixed_dictionaries(
        {
            "do": st.just("report"),
            "round": st.integers(1, 3),
            "games": st.lists(st.integers(0, 2), min_size=3, max_size=3),
        }
    ),
    st.fixed_dictionaries(
        {
            "do": st.just("rule"),
            "round": st.integers(1, 3),
            "table": st.integers(1, 3),
            "games": st.lists(st.integers(0, 2), min_size=3, max_size=3),
        }
    ),
    st.fixed_dictionaries({"do": st.just("undo"), "seq": st.integers(1, 25)}),
    st.fixed_dictionaries({"do": st.just("extend"), "minutes": st.integers(1, 9)}),
)
USERS = dict.fromkeys("abcd", "player") | {"olga": "judge", "olaf": "judge", "eve": "observer"}


def test_the_clock_of_a_round_runs_out_by_itself(night: Night) -> None:
    night.start()
    last = night.night.rounds[-1]
    op = {"do": "time_is_up", "round": 1}
    assert night.refused("olga", "judge", **op) == "the clock says this by itself"
    night.passes(49)
    assert last.over is None
    night.passes(1)
    assert last.over == last.ends == night.time
    assert night.log[-1][0].value == op
    night.judge({"do": "extend", "minutes": 5})
    assert last.over is None
    night.passes(5)
    assert last.over == last.ends
    # Who has played on reports all the same.
    report(night, last.matches[0].first, 2, 0, 0)
    night.passes(500)
    assert night.behaviour.due_at() is None


async def test_a_hall_has_the_clock_run_out(autojump_clock: MockClock) -> None:
    def wall() -> float:
        return 1_700_000_000 + trio.current_time()

    judge = Identity("olga", "judge")
    async with open_hall(behaviour=SwissNight, wall_clock=wall, sleep_after=20) as hall:
        plan = {"do": "plan", "title": "Friday", "rounds": 1, "minutes": 1}
        enter = [{"do": "enter", "player": name} for name in ("alice", "bob")]
        start = {"do": "start_round", "round": 1, "pairings": [["alice", "bob"]]}
        await hall.submit("friday", [plan, *enter, start], identity=judge)
        await trio.sleep(100)
        page = await hall.fetch("friday", since=4)
        assert [op.value for op in page.ops] == [{"do": "time_is_up", "round": 1}]
        assert page.times == (1_700_000_060_000,)


def ops(state: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return ops for a tournament in this state: among them the next round."""
    night = msgspec.convert(state, Tournament)
    if not night.present or night.finished is not None:
        return OPS
    number = len(night.rounds) + 1
    pairings = next_pairings(night) if not night.open_matches else [["a"]]
    start = {"do": "start_round", "round": number, "pairings": pairings}
    return st.one_of(OPS, OPS, OPS, st.just(start))


class Checked(SwissNight):
    """A tournament that is looked at after each op."""

    def fold(self, op: Op, stamp: Stamp) -> None:
        super().fold(op, stamp)
        for played in self.night.rounds:
            seated = [name for match in played.matches for name in match.players]
            assert len(seated) == len(set(seated)), "somebody sits at two tables"
        again = msgspec.convert(self.snapshot(), Tournament)
        assert standings(again) == standings(self.night)


def test_every_copy_comes_to_the_same_whatever_people_submit() -> None:
    check_behaviour(Checked, ops, users=USERS, max_examples=examples(20), lives=examples(3))
