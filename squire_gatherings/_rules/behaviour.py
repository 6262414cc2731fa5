"""Behaviour: what a program plugs in to judge ops and to fold them into a state."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.errors import GatheringsError, OpConflict, OpRejected
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.op import Op


class Submission(msgspec.Struct, frozen=True):
    """The circumstances of a sync: who submits it, on what base, on top of which seq, and when.

    `time` is what its ops will have, in milliseconds since 1970 (UTC). `base` is the last seq that
    the submitter had. Where all that came after it are the submitter's own ops, sent before these,
    it is `seq`: nobody lacks its own ops.
    """

    identity: Identity
    base: int
    seq: int
    time: int = 0

    @property
    def is_stale(self) -> bool:
        """Whether the submitter lacked ops of others when it made these."""
        return self.base < self.seq


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """Where and when an op stands in the log, and who submitted it (None: an anonymous client).

    `time` is when its commit began, in milliseconds since 1970 (UTC); it never goes back within a
    log. It is 0 for an op from before there were times.
    """

    seq: int
    time: int
    by: str | None


class Behaviour(Protocol):
    """The state of one gathering, and the judge of what may change it.

    One object per incarnation, made by the factory that the hall was given. Its methods
    are called one at a time, may not wait, and decide from what they are given and have
    folded alone. Any exception but those named crashes this gathering, and no other: of the sync
    that was being processed nothing is applied, and it is refused when it comes again.
    """

    serves_snapshots: bool
    """Whether a client without the ops is given `snapshot()`; if not, it's given every op."""

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        """Return the ops to be logged for these, all of them or none.

        They are `ops` themselves, or as many others (`Op.of`) into which they were merged
        with what the submitter lacked, who is told them. Must not change the state. Raises
        `OpRejected` or `OpConflict` (where it can't merge ops that were made on an old base),
        with the reason for the client. Anything else, also another number of ops or what isn't
        an `Op`, crashes the gathering.
        """
        ...

    def fold(self, op: Op, stamp: Stamp) -> None:
        """Apply an op that was judged good, and logged as `stamp` says.

        Whatever it raises crashes the gathering.
        """
        ...

    def snapshot(self) -> Any:
        """Return the whole state as a JSON value, from which `restore` makes it again."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Take over a state that `snapshot` returned, in this or an earlier process."""
        ...


class EndsByRule(Protocol):
    """What a behaviour may also have: it says by which rules its gathering ends."""

    def end_rules(self, rules: EndRules) -> EndRules | None:
        """Return the rules by which the gathering ends, as the state is now.

        Asked when the gathering has been restored, and after each sync that was folded. What it
        returns holds once the sync is durable. It must depend on the state alone, since `fold` is
        called again for old ops when a gathering is restored, and this then once, at the end. For
        times it uses `Stamp.time`, and `ends_at` or `hold_until`. Whatever it raises crashes the
        gathering.

        Args:
            rules: The hall's, or those that the gathering was opened with.

        Returns:
            All rules, for instance `attrs.evolve(rules, max_age=3600)`; None for `rules`. What the
            program has changed by `change_rules` and `hold` comes before these.
        """
        ...


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class BehaviourFailed(Exception):
    """A behaviour did what it isn't allowed to; says what."""


def judge_and_fold(
    behaviour: Behaviour, ops: tuple[Op, ...], submission: Submission
) -> tuple[Op, ...]:
    """Let the behaviour judge ops and fold what it wants logged; return that.

    Raises `OpRejected` and `OpConflict`, with nothing folded. What it raises else, or returns that
    it may not, comes as some other exception that isn't a `GatheringsError`.
    """
    try:
        found = behaviour.judge(ops, submission)
    except (OpRejected, OpConflict):
        raise
    except GatheringsError as error:
        raise BehaviourFailed(f"judge raised {error!r}") from error
    if found is not ops:
        found = _checked(found, ops)
    fold, seq = behaviour.fold, submission.seq
    time, by = submission.time, submission.identity.user
    try:
        for op in found:
            seq += 1
            fold(op, Stamp(seq, time, by))
    except GatheringsError as error:
        raise BehaviourFailed(f"fold raised {error!r}") from error
    return found


def _checked(found: Sequence[Op], ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """Return what `judge` returned for `ops`, as a tuple. Raises `BehaviourFailed`."""
    if not isinstance(found, Sequence) or not all(type(op) is Op for op in found):
        raise BehaviourFailed(f"judge returned something else than a sequence of Op: {found!r:.80}")
    checked = tuple(found)
    if len(checked) != len(ops):
        raise BehaviourFailed(f"judge returned {len(checked)} ops for {len(ops)}")
    for op, given in zip(checked, ops, strict=True):
        if op is not given:
            try:
                op.check()
            except ValueError as error:
                raise BehaviourFailed(f"judge returned what can't be logged: {error}") from error
    return checked


def rules_from(behaviour: Behaviour, rules: EndRules) -> EndRules | None:
    """Return what a behaviour says of the rules; None where it doesn't.

    Raises `BehaviourFailed`, or what it raises otherwise.
    """
    ask = getattr(behaviour, "end_rules", None)
    if ask is None:
        return None
    try:
        said = ask(rules)
    except GatheringsError as error:
        raise BehaviourFailed(f"end_rules raised {error!r}") from error
    if said is not None and not isinstance(said, EndRules):
        raise BehaviourFailed(f"end_rules returned something else than EndRules: {said!r:.80}")
    return said


def encode_state(behaviour: Behaviour) -> bytes:
    """Return the state as JSON bytes, in which it's stored and sent.

    What `snapshot` raises isn't a `GatheringsError` afterwards.
    """
    try:
        return _encode(behaviour.snapshot())
    except GatheringsError as error:
        raise BehaviourFailed(f"snapshot raised {error!r}") from error


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

    def fold(self, op: Op, stamp: Stamp) -> None:
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
