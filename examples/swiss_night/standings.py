"""Standings, with the tie-breakers of Magic's tournament rules.

Magic Tournament Rules, 3.1 and appendix C (https://blogs.magicjudges.org/rules/mtr-appendix-c/):
match points, then the opponents' match-win percentage, the own game-win percentage, the opponents'
game-win percentage. No percentage of a player counts as less than 0.33.
"""

from collections.abc import Sequence
from fractions import Fraction

from attrs import Factory, define, frozen

from examples.swiss_night.tournament import Tournament

FLOOR = Fraction(33, 100)
DIGITS = 9
"""Percentages are compared to so many digits, so that a page that counts in doubles agrees."""


@frozen
class Standing:
    """A player's place. Who is equal in everything shares it."""

    rank: int
    name: str
    points: int
    record: tuple[int, int, int]
    """Matches won, lost and drawn."""
    opponents_matches: float
    games: float
    opponents_games: float
    dropped: bool


@define
class _Tally:
    points: int = 0
    record: list[int] = Factory(lambda: [0, 0, 0])
    game_points: int = 0
    games: int = 0
    opponents: list[str] = Factory(list)

    def add(self, won: int, lost: int, drawn: int) -> None:
        """Count a match, as the player sees it."""
        outcome = 0 if won > lost else 1 if lost > won else 2
        self.record[outcome] += 1
        self.points += (3, 0, 1)[outcome]
        self.game_points += 3 * won + drawn
        self.games += won + lost + drawn

    def matches_won(self, floor: Fraction) -> Fraction:
        return _share(self.points, sum(self.record), floor)

    def games_won(self, floor: Fraction) -> Fraction:
        return _share(self.game_points, self.games, floor)


def _share(points: int, played: int, floor: Fraction) -> Fraction:
    return max(floor, Fraction(points, 3 * played)) if played else floor


def _mean(shares: Sequence[Fraction]) -> Fraction:
    return sum(shares, Fraction(0)) / len(shares) if shares else Fraction(0)


def standings(tournament: Tournament, floor: Fraction = FLOOR) -> list[Standing]:
    """Return the standings by all results that count so far, the first place first.

    Who is equal in everything stands in order of entry.
    """
    tallies = {name: _Tally() for name in tournament.players}
    for played in tournament.rounds:
        for match in played.matches:
            if match.result is None:
                continue
            first, second, drawn = match.result
            tallies[match.first].add(first, second, drawn)
            if match.second is not None:
                tallies[match.second].add(second, first, drawn)
                tallies[match.first].opponents.append(match.second)
                tallies[match.second].opponents.append(match.first)

    keys = {}
    for name, tally in tallies.items():
        met = [tallies[other] for other in tally.opponents]
        shares = (
            _mean([other.matches_won(floor) for other in met]),
            tally.games_won(floor),
            _mean([other.games_won(floor) for other in met]),
        )
        keys[name] = (tally.points, *(float(round(share, DIGITS)) for share in shares))

    ordered = sorted(tournament.players, key=lambda name: [-part for part in keys[name]])
    places: list[Standing] = []
    for index, name in enumerate(ordered):
        is_tied = index > 0 and keys[name] == keys[ordered[index - 1]]
        won, lost, drawn = tallies[name].record
        _, matches, games, opponents_games = keys[name]
        places.append(
            Standing(
                rank=places[-1].rank if is_tied else index + 1,
                name=name,
                points=tallies[name].points,
                record=(won, lost, drawn),
                opponents_matches=matches,
                games=games,
                opponents_games=opponents_games,
                dropped=tournament.players[name].dropped is not None,
            )
        )
    return places
