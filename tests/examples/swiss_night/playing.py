"""A tournament in memory: a behaviour that judges and folds, without a hall."""

from typing import Any

import pytest

from examples.swiss_night.behaviour import SwissNight
from examples.swiss_night.pairing import next_pairings
from squire_gatherings import Identity, Op, OpRejected, Stamp, Submission


class Night:
    """A behaviour, and people who submit to it."""

    def __init__(self) -> None:
        self.behaviour = SwissNight()
        self.seq = 0
        self.time = 1_700_000_000_000
        self.log: list[tuple[dict[str, Any], Stamp]] = []

    @property
    def night(self) -> Any:
        return self.behaviour.night

    def do(self, who: str, role: str, *values: dict[str, Any]) -> int:
        """Submit ops as one sync; return the last seq."""
        ops = [Op.of(value) for value in values]
        identity = Identity(who, role)
        submission = Submission(identity, self.seq, self.seq, self.time)
        before = self.behaviour.snapshot()
        try:
            judged = self.behaviour.judge(ops, submission)
        finally:
            assert self.behaviour.snapshot() == before  # judging changes nothing
        for op in judged:
            self.seq += 1
            stamp = Stamp(self.seq, self.time, who)
            self.behaviour.fold(op, stamp)
            self.log.append((op.value, stamp))
        return self.seq

    def passes(self, minutes: int) -> None:
        """Let time pass, and the tournament do by itself what is due then."""
        self.time += minutes * 60_000
        due = self.behaviour.due_at()
        if due is not None and due <= self.time:
            for op in self.behaviour.act(self.time):
                self.seq += 1
                stamp = Stamp(self.seq, self.time, None)
                self.behaviour.fold(op, stamp)
                self.log.append((op.value, stamp))
            later = self.behaviour.due_at()
            assert later is None or later > due

    def judge(self, *values: dict[str, Any]) -> int:
        return self.do("olga", "judge", *values)

    def player(self, name: str, **value: Any) -> int:
        return self.do(name, "player", value)

    def refused(self, who: str, role: str, **value: Any) -> str:
        """Submit what must be refused; return why it is."""
        with pytest.raises(OpRejected) as raised:
            self.do(who, role, value)
        return str(raised.value)

    def enter(self, *names: str) -> None:
        for name in names:
            self.player(name, do="enter")

    def start(self) -> int:
        """Start the next round as the pairing system says."""
        pairings = next_pairings(self.night)
        number = len(self.night.rounds) + 1
        return self.judge({"do": "start_round", "round": number, "pairings": pairings})

    def rule(self, table: int, *games: int, number: int = 0) -> int:
        number = number or len(self.night.rounds)
        score = [*games, 0, 0, 0][:3]
        return self.judge({"do": "rule", "round": number, "table": table, "games": score})
