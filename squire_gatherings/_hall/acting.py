"""Acting: what a gathering's behaviour does by itself, and what it is told of its life.

There is none where a behaviour has nothing of this.
"""

import logging
from typing import cast

from attrs import define

from squire_gatherings._hall.room import Room
from squire_gatherings._rules.acts import ActsByItself, acts_of, due_of
from squire_gatherings._rules.behaviour import BehaviourFailed, Stamp
from squire_gatherings._rules.op_log import fingerprint
from squire_gatherings._values.errors import GatheringsError

_log = logging.getLogger(__name__)

SCOPE = "by itself"
"""The scope of the syncs that nobody has sent: no client has it, since none begins so."""


@define(eq=False, weakref_slot=False)
class Acting:
    """What one incarnation's behaviour does by itself."""

    room: Room
    is_failing: bool = False
    """Whether it has crashed the gathering, which would crash again if it were opened again."""
    _is_open: bool = False

    @staticmethod
    def of(room: Room) -> "Acting | None":
        """Return what a behaviour that was just made needs; None where that's nothing."""
        names = ("due_at", "opened", "closed")
        if not any(hasattr(room.behaviour, name) for name in names):
            return None
        return Acting(room)

    # At an instant. The wall clock decides.

    def plan(self) -> None:
        """Note when it acts next. All that was folded is durable."""
        room = self.room
        self.is_failing = True
        room.deadline.acts_at_time = due_of(room.behaviour)
        self.is_failing = False
        if room.deadline.acts_at_time is not None:
            room.look()
            room.terms.instants.add(room)
            room.rearm()

    def put_off(self) -> None:
        """It doesn't act while something isn't durable: it is planned anew then."""
        self.room.deadline.acts_at_time = None

    @property
    def is_due(self) -> bool:
        """Whether it is to act now."""
        room = self.room
        due = room.deadline.acts_at_time
        return due is not None and room.accepting and round(room.terms.wall() * 1000) >= due

    def act_if_due(self) -> None:
        """Log what it does, if it is time. What it raises crashes the gathering."""
        due = self.room.deadline.acts_at_time
        # Where another process is about to have the gathering, it acts there.
        if due is not None and self.is_due and not self.room.quotas.is_leaving:
            self.is_failing = True
            self._act(due)
            self.is_failing = False

    def _act(self, due: int) -> None:
        room, log, behaviour = self.room, self.room.log, self.room.behaviour
        time = max(log.time, round(room.terms.wall() * 1000))
        ops = acts_of(cast(ActsByItself, behaviour), time)
        try:
            for seq, op in enumerate(ops, log.seq + 1):
                behaviour.fold(op, Stamp(seq, time, None))
        except GatheringsError as error:
            raise BehaviourFailed(f"fold raised {error!r}") from error
        after = due_of(behaviour)
        if after is not None and after <= due:
            # Before anything is logged: it would do so again and again, at each opening.
            raise BehaviourFailed(f"it has acted at {due}, and is to act at {after} next")
        log.add(ops, key=(SCOPE, f"{log.seq + 1}"), mark=fingerprint(ops), by=None, time=time)
        if room.log_is_limited:
            room.log_bytes += sum(len(op.json) for op in ops)
        self.put_off()

    # Its life.

    def opened(self) -> None:
        """Tell it that it is used from now on. Raises what it raises, or what `due_at` does."""
        due_of(self.room.behaviour)
        tell = getattr(self.room.behaviour, "opened", None)
        self._is_open = True
        if tell is not None:
            tell(self.room.id, self.room.incarnation)

    def closed(self, reason: str | None) -> None:
        """Tell it that it isn't used any more."""
        if not self._is_open:
            return
        self._is_open = False
        tell = getattr(self.room.behaviour, "closed", None)
        if tell is not None:
            try:
                tell(reason)
            except Exception:
                _log.exception("a behaviour failed when it was closed", extra=self.room.names())
