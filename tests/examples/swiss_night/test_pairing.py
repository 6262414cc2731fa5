"""Pairing: as others publish it, and what holds for every round whatever happens."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.swiss_night.dutch import CHESS, MAGIC, CannotPair, Past, pair
from tests.examples.swiss_night.playing import Night
from tests.support import examples

PUBLISHED = Path(__file__).parents[1] / "published" / "dutch.txt"


def read_published() -> tuple[dict[int, list[Past]], list[tuple[int, int]]]:
    history: dict[int, list[Past]] = {}
    pairs: list[tuple[int, int]] = []
    for line in PUBLISHED.read_text().splitlines():
        first, *rest = line.split()
        if first == "#":
            continue
        if len(rest) == 1:
            pairs.append((int(first), int(rest[0])))
        else:
            history[int(first)] = [Past(one[-1], int(one[:-2]), one[-2]) for one in rest]
    return history, pairs


# All rounds from the second on agree; this looks at some.
@pytest.mark.parametrize("number", [2, 8, 14])
def test_published_pairings(number: int) -> None:
    history, _ = read_published()
    before = {player: pasts[: number - 1] for player, pasts in history.items()}
    expected = {
        (player, pasts[number - 1].opponent)
        for player, pasts in history.items()
        if pasts[number - 1].side == "w"
    }
    assert len(expected) == 30
    assert set(pair(before, list(before), 15, CHESS)) == expected


def test_what_another_program_pairs_is_paired_the_same_in_the_same_order() -> None:
    history, last = read_published()
    assert pair(history, list(history), 15, CHESS) == last


def test_nobody_is_there() -> None:
    with pytest.raises(CannotPair):
        pair({}, [], 3, MAGIC)
    with pytest.raises(CannotPair):
        pair({1: [], 2: []}, [], 3, MAGIC)


def test_one_alone_has_the_bye_again_and_again() -> None:
    history: dict[int, list[Past]] = {1: []}
    for _ in range(3):
        assert pair(history, [1], 3, MAGIC) == [(1, None)]
        history[1].append(Past("U"))


def test_two_meet_again_when_there_is_nobody_else() -> None:
    night = Night()
    night.judge({"do": "plan", "title": "Duel", "rounds": 3, "minutes": 50})
    night.enter("alice", "bob")
    for _ in range(3):
        night.start()
        night.rule(1, 2, 0)
    assert [sorted(one.matches[0].players) for one in night.night.rounds] == [["alice", "bob"]] * 3


def test_those_who_met_longest_ago_meet_again_first() -> None:
    night = Night()
    night.judge({"do": "plan", "title": "Four", "rounds": 6, "minutes": 50})
    night.enter("a", "b", "c", "d")
    for _ in range(6):
        night.start()
        for table in (1, 2):
            night.rule(table, 1, 1)
    met = [{frozenset(match.players) for match in played.matches} for played in night.night.rounds]
    assert met[3:] == met[:3]


@settings(max_examples=examples(4), deadline=None)
@given(data=st.data())
def test_each_round_has_everybody_once_and_nobody_meets_twice(data: st.DataObject) -> None:
    night = Night()
    rounds = data.draw(st.integers(1, 5), label="rounds")
    night.judge({"do": "plan", "title": "Any", "rounds": rounds, "minutes": 50})
    number = data.draw(st.integers(2 * rounds + 4, 24), label="players")
    names = [f"p{one}" for one in range(number)]
    night.enter(*names)
    state = night.night
    for current in range(1, rounds + 1):
        night.start()
        played = state.rounds[-1]
        seated = [name for match in played.matches for name in match.players]
        assert sorted(seated) == sorted(state.present)
        assert sum(match.second is None for match in played.matches) == len(seated) % 2
        for match in played.matches:
            before = [
                earlier.match_of(match.first)
                for earlier in state.rounds[:-1]
                if earlier.match_of(match.first)
            ]
            if match.second is None:  # nobody has a second bye
                assert all(one.second is not None for one in before)
            else:
                assert all(match.second not in one.players for one in before)
                games = data.draw(st.sampled_from([(2, 0, 0), (1, 2, 0), (1, 1, 1), (0, 0, 3)]))
                night.rule(match.table, *games)
        if current < rounds:
            here = state.present
            for name in data.draw(st.lists(st.sampled_from(here), max_size=1), label="drops"):
                night.player(name, do="drop")
            if data.draw(st.booleans(), label="late"):
                night.enter(f"late{current}")


def test_leaders_meet_leaders() -> None:
    """With a power of two, no draws and sides that don't matter, each score has its own matches."""
    night = Night()
    night.judge({"do": "plan", "title": "Sixteen", "rounds": 4, "minutes": 50})
    night.enter(*(f"p{one:02}" for one in range(16)))
    points = dict.fromkeys(night.night.players, 0)
    for _ in range(4):
        night.start()
        for match in night.night.rounds[-1].matches:
            assert points[match.first] == points[match.second]
            night.rule(match.table, *((2, 0) if match.table % 2 else (0, 2)))
        for match in night.night.rounds[-1].matches:
            points[match.first if match.table % 2 else match.second] += 3
    assert sorted(points.values(), reverse=True)[:5] == [12, 9, 9, 9, 9]
