"""What may be done in a tournament: each op says who may do it, when, and what it changes.

An op is a JSON object; `do` names its kind. `check` never changes anything, and `apply` never fails
for what `check` let pass.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from examples.swiss_night.tournament import Games, Match, Player, Report, Round, Tournament
from squire_gatherings import Stamp

Name = Annotated[str, Meta(min_length=1, max_length=40)]
Count = Annotated[int, Meta(ge=0, le=3)]
Score = tuple[Count, Count, Count]
Minutes = Annotated[int, Meta(ge=1, le=600)]
Number = Annotated[int, Meta(ge=1, le=100_000)]


class Refused(Exception):
    """This can't be done now, or not by this person; says why, in words for that person."""


class Actor(Struct, frozen=True):
    """Who submits an op."""

    name: str
    role: str

    @property
    def is_judge(self) -> bool:
        """Whether this is a judge."""
        return self.role == "judge"

    def must_be_judge(self) -> None:
        """Refuse everybody else."""
        if not self.is_judge:
            raise Refused("only a judge may do this")

    def speaks_for(self, player: str | None) -> str:
        """Return whom an op is about: a player itself, or whom a judge names."""
        if self.is_judge:
            if player is None:
                raise Refused("say for which player")
            return player
        if self.role != "player":
            raise Refused("only players and judges may do this")
        if player not in (None, self.name):
            raise Refused("only a judge may do this for somebody else")
        return self.name


class Plan(Struct, tag_field="do", tag="plan", forbid_unknown_fields=True):
    """A judge says what the tournament is called, how many rounds it has, and of how long."""

    title: Annotated[str, Meta(min_length=1, max_length=80)]
    rounds: Annotated[int, Meta(ge=1, le=30)]
    minutes: Minutes

    def check(self, night: Tournament, actor: Actor) -> None:
        actor.must_be_judge()
        if self.rounds < len(night.rounds):
            raise Refused(f"{len(night.rounds)} rounds have begun already")

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        night.title, night.planned, night.minutes = self.title, self.rounds, self.minutes


class Enter(Struct, tag_field="do", tag="enter", forbid_unknown_fields=True):
    """A player enters. Who comes late plays from the next round on."""

    player: Name | None = None

    def check(self, night: Tournament, actor: Actor) -> None:
        name = actor.speaks_for(self.player)
        if night.finished is not None:
            raise Refused("the tournament has ended")
        if name in night.players:
            raise Refused(f"{name} has entered already")

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        name = self.player or stamp.by or ""
        number = len(night.players) + 1
        night.players[name] = Player(stamp.seq, number, len(night.rounds) + 1)


class Drop(Struct, tag_field="do", tag="drop", forbid_unknown_fields=True):
    """A player plays no further round."""

    player: Name | None = None

    def check(self, night: Tournament, actor: Actor) -> None:
        name = actor.speaks_for(self.player)
        if name not in night.players:
            raise Refused(f"{name} hasn't entered")
        if night.players[name].dropped is not None:
            raise Refused(f"{name} has dropped already")

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        night.players[self.player or stamp.by or ""].dropped = stamp.seq


class StartRound(Struct, tag_field="do", tag="start_round", forbid_unknown_fields=True):
    """A judge starts a round. Its pairings are in the log, and never worked out again."""

    round: Number
    pairings: Annotated[
        list[Annotated[list[Name], Meta(min_length=1, max_length=2)]], Meta(min_length=1)
    ]

    def check(self, night: Tournament, actor: Actor) -> None:
        actor.must_be_judge()
        if night.finished is not None:
            raise Refused("the tournament has ended")
        if self.round != len(night.rounds) + 1:
            raise Refused(f"the next round is {len(night.rounds) + 1}")
        if self.round > night.planned:
            raise Refused(f"there are {night.planned} rounds")
        _must_be_decided(night)
        seated = [name for pairing in self.pairings for name in pairing]
        if sorted(seated) != sorted(night.present):
            raise Refused("the pairings aren't of those who are there now, each once: pair again")
        if sum(len(pairing) == 1 for pairing in self.pairings) > 1:
            raise Refused("there are two byes")

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        matches = [
            Match(table, names[0], names[1] if len(names) == 2 else None)
            for table, names in enumerate(self.pairings, 1)
        ]
        ends = stamp.time + night.minutes * 60_000
        night.rounds.append(Round(stamp.seq, self.round, stamp.time, ends, matches))


class Extend(Struct, tag_field="do", tag="extend", forbid_unknown_fields=True):
    """A judge gives the round more minutes."""

    minutes: Minutes

    def check(self, night: Tournament, actor: Actor) -> None:
        actor.must_be_judge()
        _playing(night)

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        night.rounds[-1].ends += self.minutes * 60_000
        night.rounds[-1].over = None


class TimeIsUp(Struct, tag_field="do", tag="time_is_up", forbid_unknown_fields=True):
    """The round's clock has run out. The tournament logs this by itself."""

    round: Number

    def check(self, night: Tournament, actor: Actor) -> None:
        raise Refused("the clock says this by itself")

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        night.rounds[-1].over = stamp.time


class ReportResult(Struct, tag_field="do", tag="report", forbid_unknown_fields=True):
    """A player says how its match of this round went: games won by the first player, by the second,
    and drawn. When both say the same, that counts; otherwise a judge decides.
    """

    round: Number
    games: Score

    def check(self, night: Tournament, actor: Actor) -> None:
        if actor.role != "player":
            raise Refused("only players report; a judge decides")
        playing = _playing(night)
        if self.round != playing.number:
            raise Refused(f"round {self.round} isn't being played")
        match = playing.match_of(actor.name)
        if match is None or match.second is None:
            raise Refused("you have no match in this round")
        if match.rulings:
            raise Refused("a judge has decided this match")
        if match.result is not None:
            raise Refused("you've both said the same: only a judge changes it now")
        _must_be_result(self.games)

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        by = stamp.by or ""
        match = night.rounds[-1].match_of(by)
        assert match is not None
        match.reports[by] = Report(stamp.seq, by, self.games)


class Rule(Struct, tag_field="do", tag="rule", forbid_unknown_fields=True):
    """A judge decides a match, of this round or an earlier one."""

    round: Number
    table: Number
    games: Score

    def check(self, night: Tournament, actor: Actor) -> None:
        actor.must_be_judge()
        match = night.match_at(self.round, self.table)
        if match is None or match.second is None:
            raise Refused(f"nobody plays at table {self.table} in round {self.round}")
        _must_be_result(self.games)

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        match = night.match_at(self.round, self.table)
        assert match is not None
        match.rulings.append(Report(stamp.seq, stamp.by or "", self.games))


class Finish(Struct, tag_field="do", tag="finish", forbid_unknown_fields=True):
    """A judge says that the standings are final."""

    def check(self, night: Tournament, actor: Actor) -> None:
        actor.must_be_judge()
        _playing(night)
        _must_be_decided(night)

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        night.finished = stamp.seq


class Undo(Struct, tag_field="do", tag="undo", forbid_unknown_fields=True):
    """A judge takes an op back: a report or ruling, a drop, an entry, the last round, the end.

    The log keeps both, the op and that it was taken back.
    """

    seq: Number

    def check(self, night: Tournament, actor: Actor) -> None:
        actor.must_be_judge()
        if night.finished not in (None, self.seq):
            raise Refused("the tournament has ended: take that back first")
        for name, player in night.players.items():
            if player.seq == self.seq and any(one.match_of(name) for one in night.rounds):
                raise Refused(f"{name} has been paired: let it drop")
        for played in night.rounds[:-1]:
            if played.seq == self.seq:
                raise Refused(f"round {played.number} isn't the last one")
        if not self._found(night):
            raise Refused(f"there's nothing to take back in op {self.seq}")

    def _found(self, night: Tournament) -> bool:
        return (
            self.seq == night.finished
            or (bool(night.rounds) and night.rounds[-1].seq == self.seq)
            or any(self.seq in (one.seq, one.dropped) for one in night.players.values())
            or any(
                self.seq == report.seq
                for played in night.rounds
                for match in played.matches
                for report in (*match.reports.values(), *match.rulings)
            )
        )

    def apply(self, night: Tournament, stamp: Stamp) -> None:
        if night.finished == self.seq:
            night.finished = None
        if night.rounds and night.rounds[-1].seq == self.seq:
            night.rounds.pop()
        for name, player in list(night.players.items()):
            if player.dropped == self.seq:
                player.dropped = None
            if player.seq == self.seq:
                del night.players[name]
        for number, player in enumerate(night.players.values(), 1):
            player.number = number
        for played in night.rounds:
            for match in played.matches:
                match.rulings = [one for one in match.rulings if one.seq != self.seq]
                match.reports = {
                    by: one for by, one in match.reports.items() if one.seq != self.seq
                }


AnyOp = Plan | Enter | Drop | StartRound | Extend | TimeIsUp | ReportResult | Rule | Finish | Undo


def read_op(value: object) -> AnyOp:
    """Return the op that a JSON value says. Raises `Refused`."""
    try:
        found: AnyOp = msgspec.convert(value, AnyOp)
    except msgspec.ValidationError as error:
        raise Refused(f"that's no op of a tournament: {error}") from None
    return found


def _playing(night: Tournament) -> Round:
    if night.finished is not None:
        raise Refused("the tournament has ended")
    if not night.rounds:
        raise Refused("no round is being played")
    return night.rounds[-1]


def _must_be_decided(night: Tournament) -> None:
    """Refuse to go on while a match has no result."""
    if found := night.open_matches:
        named = [f"table {match.table} of round {number}" for number, match in found[:5]]
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise Refused(f"without a result: {', '.join(named)}{more}")


def _must_be_result(games: Games) -> None:
    first, second, drawn = games
    if first + second + drawn == 0:
        raise Refused("somebody must have won a game, or drawn one")
    if max(first, second) > 2 or first == second == 2:
        raise Refused("a match is best of three: who has two games has won it")
