"""Swiss pairing by numbers: the FIDE (Dutch) system, by py4swiss.

The rules are C.04.3 of the FIDE handbook, in the version until January 2026
(https://handbook.fide.com/chapter/C0403Till2026), and the notation that of FIDE's tournament report
files (TRF16). A card game has no colours: whoever has white here may choose who begins.
"""

from collections.abc import Collection, Mapping, Sequence

from attrs import evolve, frozen
from py4swiss.engines import DutchEngine
from py4swiss.engines.common import PairingError
from py4swiss.trf import ParsedTrf
from py4swiss.trf.codes import PlayerCode
from py4swiss.trf.results import (
    ColorToken,
    ResultToken,
    RoundResult,
    ScoringPointSystem,
    ScoringPointSystemCode,
)
from py4swiss.trf.sections import PlayerSection, XSection

WIN, DRAW, LOSS = "1", "=", "0"
BYE, ABSENT = "U", "Z"
FULL_POINT, HALF_POINT = "F", "H"

_UNPLAYED = {WIN: FULL_POINT, DRAW: HALF_POINT, LOSS: ABSENT}


@frozen
class Past:
    """What a player's round came to: a result of TRF16, and for a match the opponent and side."""

    result: str
    opponent: int = 0
    side: str = "-"

    @property
    def forgotten(self) -> "Past":
        """The same points, without that these two have met."""
        return Past(_UNPLAYED.get(self.result, self.result))


@frozen
class Points:
    """What results are worth."""

    win: int
    draw: int
    loss: int = 0


MAGIC = Points(win=30, draw=10)
"""3, 1 and 0 match points, in tenths."""

CHESS = Points(win=10, draw=5)

History = Mapping[int, Sequence[Past]]
Pair = tuple[int, int | None]


class CannotPair(Exception):
    """There are no two players left who may meet."""


def pair(history: History, present: Collection[int], rounds: int, points: Points) -> list[Pair]:
    """Return who plays whom in the next round, best tables first; None has the bye.

    The same history always gives the same pairs. Nobody meets anybody twice while that is possible;
    then first those who met longest ago.

    Args:
        history: What each player did in each round so far, by numbers 1, 2, 3, … The lower number
            comes first among equals.
        present: Who plays the next round.
        rounds: How many there will be in all: in the last, leaders may have a side once more.
        points: What results are worth.

    Raises:
        CannotPair: There is nobody to pair.
    """
    played = max(map(len, history.values()), default=0)
    for forgotten in range(played + 1):
        known = {
            number: [past.forgotten for past in pasts[:forgotten]] + list(pasts[forgotten:])
            for number, pasts in history.items()
        }
        try:
            return _pair(known, present, rounds, points)
        except PairingError:
            continue
    # Everybody has had a bye, too.
    again = {
        number: [evolve(past.forgotten, result=_no_bye(past.forgotten.result)) for past in pasts]
        for number, pasts in history.items()
    }
    try:
        return _pair(again, present, rounds, points)
    except PairingError as error:
        raise CannotPair("there is nobody to pair") from error


def _no_bye(result: str) -> str:
    return FULL_POINT if result == BYE else result


def _pair(history: History, present: Collection[int], rounds: int, points: Points) -> list[Pair]:
    if not present:
        raise PairingError
    scoring = ScoringPointSystem()
    scoring.apply_code(ScoringPointSystemCode.WIN, points.win)
    scoring.apply_code(ScoringPointSystemCode.DRAW, points.draw)
    scoring.apply_code(ScoringPointSystemCode.LOSS, points.loss)
    scoring.apply_code(ScoringPointSystemCode.PAIRING_ALLOCATED_BYE, points.win)
    sections = []
    for number in sorted(history):
        results = [
            RoundResult(
                id=past.opponent, color=ColorToken(past.side), result=ResultToken(past.result)
            )
            for past in history[number]
        ]
        total = sum(map(scoring.get_points_times_ten, results))
        sections.append(
            PlayerSection(
                code=PlayerCode.PLAYER,
                starting_number=number,
                points_times_ten=total,
                rank=number,
                results=results,
            )
        )
    known = ParsedTrf(
        player_sections=sections,
        x_section=XSection(
            number_of_rounds=rounds,
            scoring_point_system=scoring,
            zeroed_ids=set(history) - set(present),
        ),
    )
    return [(found.white, found.black or None) for found in DutchEngine.generate_pairings(known)]
