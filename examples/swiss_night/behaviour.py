"""The tournament as a behaviour: judges ops by role, and folds them into the state."""

import copy
from collections.abc import Sequence
from typing import Any

import msgspec

from examples.swiss_night.ops import Actor, Refused, read_op
from examples.swiss_night.tournament import Tournament
from squire_gatherings import Op, OpRejected, Stamp, Submission


class SwissNight:
    """A tournament. Judges, players and everybody else are told apart by their roles."""

    serves_snapshots = True

    def __init__(self) -> None:
        self.night = Tournament()

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        """Let pass what this person may do now. Each op is judged on top of those before it."""
        user = submission.identity.user
        if user is None:
            raise OpRejected("sign in first")
        actor = Actor(user, submission.identity.role)
        night = self.night if len(ops) == 1 else copy.deepcopy(self.night)
        try:
            for seq, op in enumerate(ops, submission.seq + 1):
                found = read_op(op.value)
                found.check(night, actor)
                if night is not self.night:
                    found.apply(night, Stamp(seq, submission.time, user))
        except Refused as error:
            raise OpRejected(str(error)) from None
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        """Apply what was let pass."""
        read_op(op.value).apply(self.night, stamp)

    def snapshot(self) -> Any:
        """Return the tournament as JSON."""
        return msgspec.to_builtins(self.night)

    def restore(self, snapshot: Any) -> None:
        """Take over a tournament."""
        self.night = msgspec.convert(snapshot, Tournament)
