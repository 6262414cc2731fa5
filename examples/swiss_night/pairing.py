"""The next round of a tournament: its history in the words of the pairing system."""

from examples.swiss_night.dutch import ABSENT, BYE, DRAW, LOSS, MAGIC, WIN, Past, pair
from examples.swiss_night.tournament import Match, Tournament


def next_pairings(tournament: Tournament) -> list[list[str]]:
    """Return who sits at tables 1, 2, 3, …, as `start_round` takes it: a bye is one alone.

    It depends on the state alone. A round of 200 players takes more than a second, so this is no
    work for a behaviour, which all gatherings of the server would wait for.

    Raises:
        CannotPair: Nobody is there.
    """
    names = {player.number: name for name, player in tournament.players.items()}
    numbers = {name: number for number, name in names.items()}
    history = {
        number: [_past(played.match_of(name), name, numbers) for played in tournament.rounds]
        for number, name in names.items()
    }
    present = [numbers[name] for name in tournament.present]
    pairs = pair(history, present, tournament.planned, MAGIC)
    return [
        [names[first]] if second is None else [names[first], names[second]]
        for first, second in pairs
    ]


def _past(match: Match | None, name: str, numbers: dict[str, int]) -> Past:
    if match is None or match.result is None:
        return Past(ABSENT)
    if match.second is None:
        return Past(BYE)
    first, second, _ = match.result
    is_first = match.first == name
    won, lost = (first, second) if is_first else (second, first)
    return Past(
        WIN if won > lost else LOSS if lost > won else DRAW,
        numbers[match.second if is_first else match.first],
        "w" if is_first else "b",
    )
