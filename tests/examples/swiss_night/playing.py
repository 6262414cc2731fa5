"""A tournament in memory: a rehearsal of the behaviour, with the people who submit to it."""

from typing import Any

import pytest

from examples.swiss_night.behaviour import SwissNight
from examples.swiss_night.pairing import next_pairings
from squire_gatherings import OpRejected
from squire_gatherings.testing import Rehearsal


class Night(Rehearsal):
    """A rehearsed tournament."""

    def __init__(self) -> None:
        super().__init__(SwissNight)

    @property
    def night(self) -> Any:
        return self.behaviour.night

    def do(self, who: str, role: str, *values: dict[str, Any]) -> int:
        """Submit ops as one sync; return the last seq."""
        return self.submit(*values, user=who, role=role)[-1]

    def passes(self, minutes: int) -> None:
        """Let time pass."""
        self.pass_time(60 * minutes)

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
