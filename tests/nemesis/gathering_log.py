"""What a gathering's log may do: the sequential specification for the checker.

A log only grows, by whole syncs. It has one incarnation at a time; one that has been followed by
another, or has ended, is heard of no more.
"""

from attrs import define, field, frozen

from tests.nemesis.history import Append, End, Operation, Read, Sight


@frozen
class State:
    """The log, and who has it."""

    log: int
    """Which of the logs of `GatheringLog` it is."""
    incarnation: str | None = None
    """The one that was heard of last."""
    past: frozenset[str] = frozenset()
    """Those that are over."""

    def lived_by(self, incarnation: str | None) -> "State | None":
        """Return the state once this incarnation was heard of; None if it can't be."""
        if incarnation is None or incarnation == self.incarnation:
            return self
        if incarnation in self.past:
            return None
        past = self.past if self.incarnation is None else self.past | {self.incarnation}
        return State(self.log, incarnation, past)


EMPTY = 0


@define
class GatheringLog:
    """One gathering's log. Logs that begin alike share their beginning, so a state is small."""

    _ops: list[str] = field(factory=lambda: [""], init=False)
    """The last op of each log that was met, by its number."""
    _before: list[int] = field(factory=lambda: [EMPTY], init=False)
    """Each log without its last op."""
    _lengths: list[int] = field(factory=lambda: [0], init=False)
    _longer: dict[tuple[int, str], int] = field(factory=dict, init=False)

    @property
    def initial(self) -> State:
        """Nothing is there."""
        return State(EMPTY)

    def step(self, state: State, operation: Operation) -> State | None:
        """Return the state after an operation; None if it couldn't have returned what it did."""
        match operation:
            case Append():
                if operation.first not in (None, self._lengths[state.log] + 1):
                    return None
                log = state.log
                for op in operation.ops:
                    log = self._with(log, op)
                after = state.lived_by(operation.incarnation)
                return after and State(log, after.incarnation, after.past)
            case Read():
                if operation.seq != self._lengths[state.log]:
                    return None
                if not self._shows(state.log, operation.first, operation.ops):
                    return None
                return state.lived_by(operation.incarnation)
            case Sight():
                return state if self._shows(state.log, operation.first, operation.ops) else None
            case End():
                if operation.seq != self._lengths[state.log]:
                    return None
                after = state.lived_by(operation.incarnation)
                return after and State(after.log, None, after.past | {operation.incarnation})

    def is_read(self, operation: Operation) -> bool:
        """Whether it changes nothing later if it changes nothing now."""
        return isinstance(operation, Read | Sight)

    def _with(self, log: int, op: str) -> int:
        longer = self._longer.get((log, op))
        if longer is None:
            longer = self._longer[log, op] = len(self._ops)
            self._ops.append(op)
            self._before.append(log)
            self._lengths.append(self._lengths[log] + 1)
        return longer

    def _shows(self, log: int, first: int, ops: tuple[str, ...]) -> bool:
        """Return whether a log has these ops, from this seq on."""
        last = first + len(ops) - 1
        if self._lengths[log] < last:
            return False
        while self._lengths[log] > last:
            log = self._before[log]
        for op in reversed(ops):
            if self._ops[log] != op:
                return False
            log = self._before[log]
        return True
