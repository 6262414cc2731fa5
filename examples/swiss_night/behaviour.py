"""The tournament as a behaviour: judges ops by role, and folds them into the state."""

from typing import Any

import msgspec

from examples.swiss_night.ops import Actor, Refused, read_op
from examples.swiss_night.tournament import Tournament
from squire_gatherings import JudgesOneByOne, Op, OpRejected, Stamp, Submission


class SwissNight(JudgesOneByOne):
    """A tournament. Judges, players and everybody else are told apart by their roles."""

    serves_snapshots = True

    def __init__(self) -> None:
        self.night = Tournament()

    def judge_op(self, op: Op, submission: Submission) -> Op:
        """Let pass what this person may do now."""
        user = submission.identity.user
        if user is None:
            raise OpRejected("sign in first")
        try:
            read_op(op.value).check(self.night, Actor(user, submission.identity.role))
        except Refused as error:
            raise OpRejected(str(error)) from None
        return op

    def fold(self, op: Op, stamp: Stamp) -> None:
        """Apply what was let pass."""
        read_op(op.value).apply(self.night, stamp)

    def due_at(self) -> int | None:
        """Return when the clock of the round runs out that is being played."""
        night = self.night
        if night.finished is not None or not night.rounds or night.rounds[-1].over is not None:
            return None
        return night.rounds[-1].ends

    def act(self, time: int) -> list[Op]:
        """Say that it has, so that all copies of the tournament and the log know."""
        return [Op.of({"do": "time_is_up", "round": len(self.night.rounds)})]

    def snapshot(self) -> Any:
        """Return the tournament as JSON."""
        return msgspec.to_builtins(self.night)

    def restore(self, snapshot: Any) -> None:
        """Take over a tournament."""
        self.night = msgspec.convert(snapshot, Tournament)
