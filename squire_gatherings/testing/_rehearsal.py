"""The rehearsal: a behaviour that is played by hand, without a hall, and checked at each step."""

from collections.abc import Callable
from typing import Any

import msgspec
from attrs import define, field

from squire_gatherings._rules.acts import acts_of, due_of
from squire_gatherings._rules.behaviour import Behaviour, Stamp, Submission
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.op import Op
from squire_gatherings.testing._saying import BrokenRule, difference
from squire_gatherings.testing._wall_clock import DAY_ONE
from squire_gatherings.testing._witness import Contract, Witness

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

RULES = EndRules(idle_timeout=86_400.0)
"""The hall's rules, as a behaviour that has `end_rules` is asked with."""


def _raise(text: str) -> None:
    raise BrokenRule(text)


@define(eq=False)
class Rehearsal:
    """A behaviour and its log, without a hall.

    Each call checks what must hold of every behaviour: `judge` changes nothing, `fold` is
    deterministic, the snapshot has the whole state, and so on. `BrokenRule` says what doesn't.
    """

    make: Callable[[], Behaviour]
    """Makes the behaviour, as `open_hall` is given it."""
    time: int = int(DAY_ONE * 1000)
    """The time of the next ops, in milliseconds since 1970 (UTC). It never goes back."""
    log: list[tuple[Op, Stamp]] = field(factory=list, init=False)
    """What was let pass."""
    _witness: Witness = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._witness = Witness(Contract(self.make, _raise))

    @property
    def behaviour(self) -> Any:
        """The behaviour itself; another object after `sleep`."""
        return self._witness.behaviour

    @property
    def state(self) -> Any:
        """A copy of the state, as a client gets it."""
        return _decode(_encode(self._witness.snapshot()))

    @property
    def seq(self) -> int:
        """The seq of the last op."""
        return len(self.log)

    def submit(
        self,
        *ops: dict[str, Any],
        user: str | None = None,
        role: str = "member",
        base: int | None = None,
    ) -> tuple[int, ...]:
        """Submit ops as one sync; return their seqs.

        Args:
            *ops: JSON objects.
            user: Who submits them.
            role: What the user is.
            base: The last op that the user knew; by default the last one.

        Raises:
            OpRejected: The behaviour refuses them.
            OpConflict: It can't merge them with what came after `base`.
            BrokenRule: It breaks a rule.
            ValueError: One isn't JSON.
        """
        made = tuple(Op.of(op) for op in ops)
        seq = self.seq
        submission = Submission(Identity(user, role), seq if base is None else base, seq, self.time)
        for number, op in enumerate(self._witness.judge(made, submission), start=seq + 1):
            stamp = Stamp(number, self.time, user)
            self._witness.fold(op, stamp)
            self.log.append((op, stamp))
        self._witness.end_rules(RULES)
        return tuple(range(seq + 1, self.seq + 1))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the behaviour do by itself what is due (see `ActsByItself`).

        Args:
            seconds: How long.

        Raises:
            BrokenRule: What it does breaks a rule.
        """
        until = self.time + round(1000 * seconds)
        while (due := due_of(self.behaviour)) is not None and due <= until:
            self.time = max(self.time, due)
            for number, op in enumerate(acts_of(self.behaviour, self.time), start=self.seq + 1):
                stamp = Stamp(number, self.time, None)
                self._witness.fold(op, stamp)
                self.log.append((op, stamp))
            later = due_of(self.behaviour)
            if later is not None and later <= due:
                raise BrokenRule(f"it has acted at {due}, and due_at says {later} next")
        self.time = until

    def sleep(self) -> None:
        """Go on with another object, restored from the snapshot, as after a sleep or a restart.

        Raises:
            BrokenRule: It hasn't the same state.
        """
        state, self._witness = self.state, Witness(self._witness.contract)
        self._witness.restore(state)

    def replay(self) -> None:
        """Fold the whole log with a new object: it must come to the same state.

        Raises:
            BrokenRule: It doesn't.
        """
        behaviour = self._witness.contract.new()
        for op, stamp in self.log:
            behaviour.fold(op, stamp)
        if said := difference(self.state, _decode(_encode(behaviour.snapshot()))):
            raise BrokenRule(f"a new object that folds the log has another state: {said}")
