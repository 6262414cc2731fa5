"""Standings: a published one, and the examples of the rules."""

from fractions import Fraction
from pathlib import Path

import pytest

from examples.swiss_night.standings import standings
from examples.swiss_night.tournament import Match, Player, Report, Round, Tournament

PUBLISHED = Path(__file__).parents[1] / "published" / "standings.txt"


def match(table: int, first: str, second: str | None, *games: int) -> Match:
    made = Match(table, first, second)
    if second is not None:
        won, lost, drawn = games
        made.rulings.append(Report(0, "olga", (won, lost, drawn)))
    return made


def read_published() -> tuple[Tournament, list[tuple[str, int, list[float]]]]:
    night = Tournament()
    places: list[tuple[str, int, list[float]]] = []
    for line in PUBLISHED.read_text().splitlines():
        first, *rest = line.split()
        if first == "#":
            if rest[0] == "Round":
                night.rounds.append(Round(0, int(rest[1]), 0, 0, []))
        elif len(rest) == 4 and "." in rest[-1]:
            places.append((first, int(rest[0]), [float(one) for one in rest[1:]]))
        else:
            matches = night.rounds[-1].matches
            second = rest[0] if rest else None
            matches.append(match(len(matches) + 1, first, second, *map(int, rest[1:]), 0))
    # In order of entry that isn't the order of places.
    for number, (name, *_) in enumerate(reversed(places), 1):
        night.players[name] = Player(0, number, 1)
    return night, places


def test_a_published_final_standing() -> None:
    """Its publisher's floor is a third; it rounds each share to three digits, and means of them."""
    night, published = read_published()
    found = standings(night, floor=Fraction(1, 3))
    assert len(published) == len(found) == 27
    # Two equal in everything: the publisher lists them in an order of its own.
    assert {found[23].name, found[24].name} == {"p24", "p25"}
    assert found[23].rank == found[24].rank == 24
    found[23:25] = sorted(found[23:25], key=lambda place: place.name)
    for place, (name, points, shares) in zip(found, published, strict=True):
        assert (place.name, place.points) == (name, points)
        own = [place.opponents_matches, place.games, place.opponents_games]
        assert own == pytest.approx(shares, abs=0.0011)


def test_the_floor_of_the_rules_changes_one_place() -> None:
    """0.33 is less than a third: those who met somebody without a win are a little lower."""
    night, published = read_published()
    found = [place.name for place in standings(night)]
    found[23:25] = sorted(found[23:25])
    assert found[14:16] == ["p16", "p15"]
    found[14:16] = ["p15", "p16"]
    assert found == [name for name, *_ in published]


def night_of(*results: tuple[str, str | None, tuple[int, int, int]]) -> Tournament:
    """Return a tournament in which each match is a round of its own."""
    names = {name for first, second, _ in results for name in (first, second) if name}
    night = Tournament(players={name: Player(0, 1, 1) for name in sorted(names)})
    for number, (first, second, games) in enumerate(results, 1):
        night.rounds.append(Round(0, number, 0, 0, [match(1, first, second, *games)]))
    return night


@pytest.mark.parametrize(
    ("won", "lost", "drawn", "byes", "points", "share"),
    [  # the table of appendix C
        (5, 2, 1, 0, 16, 0.667),
        (1, 3, 0, 0, 3, 0.33),
        (2, 2, 0, 1, 9, 0.60),
    ],
)
def test_match_win_percentages_of_appendix_c(
    won: int, lost: int, drawn: int, byes: int, points: int, share: float
) -> None:
    """The share is what an only opponent gets for having met that player."""
    results: list[tuple[str, str | None, tuple[int, int, int]]] = [("it", None, (2, 0, 0))] * byes
    outcomes = [(2, 0, 0)] * won + [(0, 2, 0)] * lost + [(1, 1, 0)] * drawn
    results += [("it", f"other{one}", games) for one, games in enumerate(outcomes)]
    places = {place.name: place for place in standings(night_of(*results))}
    assert places["it"].points == points
    assert places["other0"].opponents_matches == pytest.approx(share, abs=0.0005)


@pytest.mark.parametrize(
    ("games", "first", "second"),
    [((2, 0, 0), 6, 0), ((2, 1, 0), 6, 3), ((2, 0, 1), 7, 1)],  # also from there
)
def test_game_points_of_appendix_c(games: tuple[int, int, int], first: int, second: int) -> None:
    places = {place.name: place for place in standings(night_of(("a", "b", games)))}
    possible = 3 * sum(games)
    assert places["a"].games == pytest.approx(first / possible)
    assert places["b"].games == pytest.approx(max(second / possible, 0.33))


def test_a_bye_is_no_opponent() -> None:
    night = night_of(("a", None, (2, 0, 0)), ("a", "b", (2, 1, 0)))
    [a, b] = standings(night)
    assert (a.name, a.points, a.record) == ("a", 6, (2, 0, 0))
    assert a.opponents_matches == 0.33
    assert a.games == pytest.approx(12 / 15)
    assert b.opponents_matches == 1


def test_nobody_has_played() -> None:
    night = Tournament(players={"a": Player(1, 1, 1), "b": Player(2, 2, 1)})
    assert [(one.rank, one.name, one.points) for one in standings(night)] == [
        (1, "a", 0),
        (1, "b", 0),
    ]
