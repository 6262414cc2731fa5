"""The state of a tournament: who plays, who meets whom, what they say of it, what counts.

Whatever a judge may take back is a record with the `seq` of the op that made it.
"""

from msgspec import Struct, field

Games = tuple[int, int, int]
"""Games of a match: won by the first player, won by the second, drawn."""

BYE_GAMES: Games = (2, 0, 0)


class Report(Struct):
    """What somebody says of a match."""

    seq: int
    by: str
    games: Games


class Match(Struct):
    """One table. Without a second player it's a bye."""

    table: int
    first: str
    second: str | None = None
    reports: dict[str, Report] = field(default_factory=dict)
    rulings: list[Report] = field(default_factory=list)

    @property
    def players(self) -> list[str]:
        """Those who sit here; the first may choose who begins."""
        return [self.first] if self.second is None else [self.first, self.second]

    @property
    def result(self) -> Games | None:
        """What counts: the last ruling, or what both players say; None as long as it's open."""
        if self.second is None:
            return BYE_GAMES
        if self.rulings:
            return self.rulings[-1].games
        said = [report.games for report in self.reports.values()]
        return said[0] if len(said) == 2 and said[0] == said[1] else None

    @property
    def disputed(self) -> bool:
        """Whether the players say different things, and no judge has decided."""
        return len(self.reports) == 2 and self.result is None


class Round(Struct):
    """One round, with its clock in milliseconds since 1970 (UTC)."""

    seq: int
    number: int
    began: int
    ends: int
    matches: list[Match]
    over: int | None = None
    """When the clock ran out, if it has."""

    def match_of(self, player: str) -> Match | None:
        """Return a player's match; None where it has none."""
        return next((one for one in self.matches if player in one.players), None)


class Player(Struct):
    """Somebody who has entered, from `first_round` on; `dropped` is the op by which it went."""

    seq: int
    number: int
    first_round: int
    dropped: int | None = None


class Tournament(Struct):
    """One tournament."""

    title: str = "Swiss night"
    planned: int = 4
    minutes: int = 50
    players: dict[str, Player] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    finished: int | None = None

    @property
    def present(self) -> list[str]:
        """Those who'll play the next round, in order of entry."""
        return [name for name, player in self.players.items() if player.dropped is None]

    @property
    def open_matches(self) -> list[tuple[int, Match]]:
        """The matches that have no result, each with its round's number."""
        return [
            (played.number, match)
            for played in self.rounds
            for match in played.matches
            if match.result is None
        ]

    def match_at(self, number: int, table: int) -> Match | None:
        """Return the match at a table in a round; None where there's none."""
        if not (0 < number <= len(self.rounds) and table > 0):
            return None
        return next((one for one in self.rounds[number - 1].matches if one.table == table), None)
