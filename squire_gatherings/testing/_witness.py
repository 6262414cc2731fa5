"""The witness: stands before a behaviour, and checks each call of it against the rules.

Next to the behaviour it keeps a twin, which was restored from a snapshot and folds the same ops.
Both must judge alike and come to the same state: otherwise some copy of the state, on the server,
in a client or after a restart, would be another.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from attrs import define, field

from squire_gatherings._rules.acts import due_of
from squire_gatherings._rules.behaviour import Behaviour, Stamp, Submission
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.errors import OpConflict, OpRejected
from squire_gatherings._values.op import Op
from squire_gatherings.testing._saying import BrokenRule, difference, not_plain, short
from squire_gatherings.testing._watching import watched

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

FOLLOWS = (1, 2, 3, 5, 8, 13)
"""Over how many ops one twin after the other follows, until it is restored anew."""


@define(eq=False)
class Contract:
    """What is known of all objects of one behaviour, and who is told of its faults."""

    make: Callable[[], Behaviour]
    report: Callable[[str], None]
    """Called with a sentence for each rule that is broken; it may raise."""
    merged: dict[tuple[Op, ...], set[tuple[Op, ...]]] = field(factory=dict)
    """What `judge` has returned in place of ops."""
    _last: Behaviour | None = None
    _initial: bytes | None = None

    def new(self) -> Behaviour:
        """Make an object, whose state must be as that of the first one was."""
        behaviour = self.make()
        if behaviour is self._last:
            self.report(
                "what makes behaviours has returned the same object twice: each incarnation, and "
                "each client, needs one of its own"
            )
        self._last = behaviour
        state = _encode(behaviour.snapshot())
        if self._initial is None:
            self._initial = state
        elif said := difference(_decode(self._initial), _decode(state)):
            self.report(
                f"a new object has a state already ({said}): objects share it, in an attribute of "
                "the class, or in a mutable default argument"
            )
        return behaviour

    def restored(self, state: bytes) -> Behaviour:
        """Make an object with this state."""
        behaviour = self.new()
        behaviour.restore(_decode(state))
        return behaviour


@define(eq=False)
class Witness:
    """A `Behaviour` that does what another does, and checks it."""

    contract: Contract
    behaviour: Behaviour = field(init=False)
    """The behaviour itself."""
    serves_snapshots: bool = field(init=False)
    """As the behaviour says."""
    _state: bytes = field(init=False)
    """The state as it must be now."""
    _twin: Behaviour = field(init=False)
    _turn: int = 0
    _left: int = 1
    """How many more ops the twin follows."""

    def __attrs_post_init__(self) -> None:
        self.behaviour = self.contract.new()
        self.serves_snapshots = self.behaviour.serves_snapshots
        self._state = self._snapshot(self.behaviour)
        self._twin = self.contract.restored(self._state)

    def __getattr__(self, name: str) -> Any:
        """Return what else the behaviour has: `due_at`, `act`, `opened`, `closed`."""
        if name == "behaviour" or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.behaviour, name)

    # What a behaviour does.

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        """Judge, three times over: by the behaviour, by it again, and by its twin."""
        before = [op.json for op in ops]
        found: list[str] = []
        try:
            verdict = watched(found, self.behaviour.judge, ops, submission)
        except (OpRejected, OpConflict) as error:
            self._judged(ops, submission, before, found, error)
            raise
        except Exception as error:
            self._report(
                f"judge raised {error!r} for {_listed(ops)}: for what isn't allowed it raises "
                "OpRejected, and anything else crashes the gathering"
            )
            raise
        self._judged(ops, submission, before, found, verdict)
        if wrong := _no_verdict(verdict, ops):
            self._report(f"judge has returned {wrong}, for {_listed(ops)}")
        elif verdict is not ops:
            self.contract.merged.setdefault(tuple(ops), set()).add(tuple(verdict))
        return verdict

    def _judged(
        self,
        ops: Sequence[Op],
        submission: Submission,
        before: list[bytes],
        found: list[str],
        verdict: Any,
    ) -> None:
        self._check_calls("judge", found)
        if [op.json for op in ops] != before:
            self._report(f"judge has changed the ops that it was given: {_listed(ops)}")
        state = self._snapshot(self.behaviour)
        if said := difference(_decode(self._state), _decode(state)):
            self._report(f"judge changes the state ({said}) over {_listed(ops)}: only fold may")
            self._state = state
        said = _verdict(verdict)
        if said != (again := _verdict_of(self.behaviour, ops, submission)):
            self._report(
                f"judge isn't deterministic: of {_listed(ops)} it says {said}, and then {again}"
            )
        elif said != (other := _verdict_of(self._twin, ops, submission)):
            self._report(
                f"the snapshot doesn't have the whole state: of {_listed(ops)} judge says {said}, "
                f"and an object that was restored from the snapshot says {other}"
            )

    def fold(self, op: Op, stamp: Stamp) -> None:
        """Fold, and have the twin fold: both must come to the same."""
        before, state = op.json, self._state
        found: list[str] = []
        try:
            watched(found, self.behaviour.fold, op, stamp)
        except Exception as error:
            self._report(
                f"fold raised {error!r} over {_named(op, stamp)}, which judge let pass: judge must "
                "refuse what fold can't take"
            )
            raise
        self._check_calls("fold", found)
        if op.json != before:
            self._report(f"fold has changed the op that it was given: {_named(op, stamp)}")
        self._state = self._snapshot(self.behaviour)
        self._follow(op, stamp, state)

    def _follow(self, op: Op, stamp: Stamp, before: bytes) -> None:
        twins = self._fold(self._twin, op, stamp)
        said = difference(_decode(self._state), twins)
        if said:
            self._report(self._why(op, stamp, before, said))
        elif (due := due_of(self.behaviour)) != (other := due_of(self._twin)):
            self._report(
                f"the snapshot doesn't have the whole state: due_at says {due}, and an object that "
                f"was restored from the snapshot says {other}"
            )
        self._left -= 1
        if said or self._left <= 0:
            self.renew()

    def _why(self, op: Op, stamp: Stamp, before: bytes, said: str) -> str:
        """Return why two objects came to different states."""
        over = f"over {_named(op, stamp)}"
        one, other = (self._fold(self.contract.restored(before), op, stamp) for _ in range(2))
        if also := difference(one, other):
            return f"fold isn't deterministic: two equal objects differ {over}: {also}"
        return (
            "the snapshot doesn't have the whole state: an object that was restored from it comes "
            f"to another one {over}: {said}"
        )

    def _fold(self, behaviour: Behaviour, op: Op, stamp: Stamp) -> Any:
        try:
            # With objects of its own, so that nothing can be kept and changed for both.
            behaviour.fold(Op(op.json), Stamp(stamp.seq, stamp.time, stamp.by))
        except Exception as error:
            return f"fold raised {error!r}"
        return _decode(self._snapshot(behaviour))

    def snapshot(self) -> Any:
        """Return the behaviour's snapshot."""
        return self.behaviour.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Have the behaviour take a snapshot over: its own snapshot must then be the same."""
        state = _encode(snapshot)
        found: list[str] = []
        try:
            watched(found, self.behaviour.restore, snapshot)
        except Exception as error:
            self._report(f"restore raised {error!r} for a snapshot: {short(_decode(state))}")
            raise
        self._check_calls("restore", found)
        self._state = self._snapshot(self.behaviour)
        if said := difference(_decode(state), _decode(self._state)):
            self._report(f"restore doesn't bring back what snapshot said: {said}")
        self.renew()

    def end_rules(self, rules: EndRules) -> EndRules | None:
        """Return what the behaviour says of its end, if it does; its twin must say the same."""
        found: list[str] = []
        said, other = (
            None if (ask := getattr(one, "end_rules", None)) is None else watched(found, ask, rules)
            for one in (self.behaviour, self._twin)
        )
        self._check_calls("end_rules", found)
        if said != other:
            self._report(
                f"the snapshot doesn't have the whole state: end_rules says {said}, and an object "
                f"that was restored from the snapshot says {other}"
            )
        return said

    # What is checked.

    def renew(self) -> None:
        """Restore another twin from the snapshot as it is now."""
        self._turn += 1
        self._left = FOLLOWS[self._turn % len(FOLLOWS)]
        try:
            self._twin = self.contract.restored(self._state)
        except BrokenRule:
            raise
        except Exception as error:
            self._report(f"restore raised {error!r} for {short(_decode(self._state))}")
            raise
        if said := difference(_decode(self._state), _decode(self._snapshot(self._twin))):
            self._report(f"restore doesn't bring back what snapshot said: {said}")

    def _snapshot(self, behaviour: Behaviour) -> bytes:
        found: list[str] = []
        try:
            snapshot = watched(found, behaviour.snapshot)
            if wrong := not_plain(snapshot):
                self._report(
                    f"snapshot has {wrong}: JSON can't say that, so restore is given something else"
                )
            state = _encode(snapshot)
        except BrokenRule:
            raise
        except Exception as error:
            self._report(f"snapshot can't be taken: {error!r}")
            raise
        self._check_calls("snapshot", found)
        return state

    def _check_calls(self, method: str, found: list[str]) -> None:
        if found:
            self._report(
                f"{method} asks for {found[0]}: other copies of the state get another answer. The "
                "time is in the stamp, and in the submission; what is random belongs into the op"
            )

    def _report(self, text: str) -> None:
        self.contract.report(text)


def _verdict_of(behaviour: Behaviour, ops: Sequence[Op], submission: Submission) -> str:
    try:
        return _verdict(behaviour.judge(ops, submission))
    except Exception as error:
        return _verdict(error)


def _verdict(said: Any) -> str:
    if isinstance(said, OpRejected | OpConflict):
        return f"no ({type(said).__name__}: {said})"
    if isinstance(said, Exception):
        return repr(said)
    return "yes" if _no_verdict(said, said) else f"yes, {_listed(said)}"


def _no_verdict(verdict: Any, ops: Any) -> str | None:
    """Return what is wrong with what `judge` has returned, if it isn't ops."""
    if not isinstance(verdict, Sequence) or not all(type(op) is Op for op in verdict):
        return f"{short(verdict)}, which isn't a sequence of Op"
    if len(verdict) != len(ops):
        return f"{len(verdict)} ops for {len(ops)}"
    for op in verdict:
        try:
            op.check()
        except ValueError as error:
            return f"an op that can't be logged ({error})"
    return None


def _listed(ops: Sequence[Op]) -> str:
    return ", ".join(short(op.value) for op in ops)


def _named(op: Op, stamp: Stamp) -> str:
    return f"op {stamp.seq}, {short(op.value)}"
