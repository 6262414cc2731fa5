"""Acts: ops that a behaviour logs by itself when an instant has come."""

from collections.abc import Sequence
from typing import Protocol

from squire_gatherings._rules.behaviour import Behaviour, BehaviourFailed
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.op import Op

LATEST = 2**53
"""No instant is later than so many milliseconds after 1970."""


class ActsByItself(Protocol):
    """What a behaviour may also have: it logs ops at instants that follow from its state."""

    def due_at(self) -> int | None:
        """Return when `act` is to be called next, as the state is now; None for never.

        It is asked when the gathering has been restored, and whenever something has become durable.
        It must depend on the state alone. An instant that has passed, while nobody had the
        gathering open for instance, is due at once.

        Returns:
            Milliseconds since 1970 (UTC), as `Stamp.time` has them.
        """
        ...

    def act(self, time: int) -> Sequence[Op]:
        """Return what is to be logged now that the instant has come: one op or more.

        They aren't judged. They are folded with `by` None, logged as one sync, and forwarded to
        everybody. Every sync that is judged from the instant on is judged after them. Must not
        change the state. Whatever it raises crashes the gathering, and so does a `due_at` that
        isn't later once they are folded.

        Args:
            time: The time that the ops will have: not before the instant.
        """
        ...


class HearsOfItsLife(Protocol):
    """What a behaviour may also have: it is told when it begins to be used, and when it ends."""

    def opened(self, gathering_id: str, incarnation: str) -> None:
        """Called when the state is restored, before anybody is let in.

        Must not change the state. What it raises is as if the state couldn't be restored.
        """
        ...

    def closed(self, reason: str | None) -> None:
        """Called once after `opened`, unless the process dies: this object isn't used any more.

        What it raises is logged, and nothing else.

        Args:
            reason: Why the gathering has dispersed (a `DispersalReason`), when all are told. None
                where it lives on: it has fallen asleep, or moved to another process.
        """
        ...


def due_of(behaviour: Behaviour) -> int | None:
    """Return when a behaviour acts next; None for never, and where it never does.

    Raises `BehaviourFailed`, or what it raises otherwise.
    """
    ask = getattr(behaviour, "due_at", None)
    if ask is None:
        return None
    try:
        due = ask()
    except GatheringsError as error:
        raise BehaviourFailed(f"due_at raised {error!r}") from error
    if due is None or (type(due) is int and due <= LATEST):
        return due
    raise BehaviourFailed(f"due_at returned something else than milliseconds: {due!r:.80}")


def acts_of(behaviour: ActsByItself, time: int) -> tuple[Op, ...]:
    """Return the ops with which a behaviour acts. Raises as `due_of`."""
    try:
        found = behaviour.act(time)
    except GatheringsError as error:
        raise BehaviourFailed(f"act raised {error!r}") from error
    if not isinstance(found, Sequence) or not all(type(op) is Op for op in found):
        raise BehaviourFailed(f"act returned something else than a sequence of Op: {found!r:.80}")
    if not found:
        raise BehaviourFailed("act returned no op, so the same would be due for ever")
    try:
        for op in found:
            op.check()
    except ValueError as error:
        raise BehaviourFailed(f"act returned what can't be logged: {error}") from error
    return tuple(found)
