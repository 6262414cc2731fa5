"""The diary of a run: what was done to the nodes and when, and what was found wrong."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

MOST = 100
"""So many violations are kept; of the rest, the number."""


@define
class Fault:
    """Something that was done to the nodes. Times are of `time.monotonic`."""

    what: str
    begins: float
    ends: float | None = None


@define
class Diary:
    """Faults, violations, and what was counted."""

    settle: float
    """How many seconds after a fault its consequences may be felt."""
    folder: Path | None = None
    """Where histories are kept with which something was wrong."""
    is_loud: bool = False
    """Whether faults and violations are printed as they come."""
    began: float = field(factory=time.monotonic)
    faults: list[Fault] = field(factory=list)
    violations: list[str] = field(factory=list)
    counts: Counter[str] = field(factory=Counter)
    suspects: set[str] = field(factory=set)
    """The gatherings with which something was wrong."""

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """Note a fault that lasts as long as the block."""
        fault = Fault(what, time.monotonic())
        self.faults.append(fault)
        self._say(what)
        try:
            yield
        finally:
            fault.ends = time.monotonic()
            self._say(f"{what}: over")

    def is_disturbed(self, begin: float, end: float) -> bool:
        """Whether a fault was felt between two instants."""
        return any(
            fault.begins <= end and self._is_felt(fault, begin) for fault in reversed(self.faults)
        )

    def _is_felt(self, fault: Fault, now: float) -> bool:
        return fault.ends is None or fault.ends + self.settle >= now

    def is_calm(self, *, besides: int) -> bool:
        """Whether no more than so many faults are under way or still felt."""
        return sum(self._is_felt(fault, time.monotonic()) for fault in self.faults) <= besides

    def violated(self, what: str, gathering: str = "") -> None:
        """Note something that may never be."""
        self.counts["violations"] += 1
        self.suspects.add(gathering)
        if len(self.violations) < MOST:
            self.violations.append(f"{time.monotonic() - self.began:.3f}: {what}")
        self._say(f"VIOLATION: {what}")

    def keep(self, gathering: str, notes: Iterable[tuple[float, str]]) -> None:
        """Keep what is known of a gathering, a line for each note, if something was wrong."""
        if self.folder is not None and gathering in self.suspects:
            lines = [f"{at - self.began:.6f}  {what}\n" for at, what in sorted(notes)]
            (self.folder / f"{gathering}.txt").write_text("".join(lines))

    def _say(self, what: str) -> None:
        if self.is_loud:
            print(f"{time.monotonic() - self.began:9.3f}  {what}", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        lines = []
        for fault in self.faults:
            ends = "…" if fault.ends is None else f"{fault.ends - self.began:.3f}"
            lines.append(f"{fault.begins - self.began:.3f} to {ends}: {fault.what}")
        return "\n".join([*lines, *self.violations, str(dict(self.counts))])
