"""Behaviour: what a program plugs in to judge ops and to fold them into a state."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from squire_gatherings.values.identity import Identity
from squire_gatherings.values.op import Op


class Submission(msgspec.Struct, frozen=True):
    """The circumstances of a sync: who submits it, on what base, on top of which seq."""

    identity: Identity
    base: int
    seq: int

    @property
    def is_stale(self) -> bool:
        """Whether the submitter lacked ops when it made these."""
        return self.base < self.seq


class Behaviour(Protocol):
    """The state of one gathering, and the judge of what may change it.

    One object per incarnation, made by the factory that the hall was given. Its methods
    are called one at a time, may not wait, and decide from what they are given and have
    folded alone. Any exception but those named crashes this gathering, and no other.
    """

    serves_snapshots: bool
    """Whether a client without the ops is given `snapshot()`; if not, it's given every op."""

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        """Return the ops to be logged for these, all of them or none.

        They are `ops` themselves, or as many others into which they were merged with
        what the submitter lacked. Must not change the state. Raises `OpRejected` with
        the reason for the client, or `OpConflict` where it can't merge ops that were
        made on an old base.
        """
        ...

    def fold(self, op: Op) -> None:
        """Apply an op that was judged good. Not allowed to fail."""
        ...

    def snapshot(self) -> Any:
        """Return the whole state as a JSON value, from which `restore` makes it again."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Take over a state that `snapshot` returned, in this or an earlier process."""
        ...


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def encode_state(behaviour: Behaviour) -> bytes:
    """Return the state as JSON bytes, in which it's stored and sent."""
    return _encode(behaviour.snapshot())


def restore_state(behaviour: Behaviour, state: bytes) -> None:
    """Give a behaviour the state that `encode_state` returned."""
    behaviour.restore(_decode(state))


class LogBehaviour:
    """The default: an ordered log of opaque ops, in which nothing conflicts.

    It keeps how many there are; the ops themselves are in the store.
    """

    __slots__ = ("length",)

    serves_snapshots = False

    def __init__(self) -> None:
        self.length = 0

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        """Accept anything: appending merges with whatever came before."""
        return ops

    def fold(self, op: Op) -> None:
        """Count it."""
        self.length += 1

    def snapshot(self) -> int:
        """Return how many ops there are."""
        return self.length

    def restore(self, snapshot: int) -> None:
        """Take over the number of ops. Raises `ValueError` for anything else."""
        if type(snapshot) is not int or snapshot < 0:
            raise ValueError("not a number of ops")
        self.length = snapshot
