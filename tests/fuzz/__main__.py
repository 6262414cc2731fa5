"""`make fuzz`: searches for inputs that break a target, or that reach what none has reached.

    python -m tests.fuzz [TARGET ...] [--seconds N] [--jobs N] [--rounds N] [--keep]
    python -m tests.fuzz --night [TARGET ...]

Each target has the same share of a round's seconds. A night is eight rounds of an hour on all
processors, and keeps what it finds; one that is interrupted after a round has searched all targets
alike. A target that has had ten million inputs in a night leaves its time to those that are slower.

What is found stays in `.fuzz`, so that the next search goes on from there: inputs in
`.fuzz/TARGET`, and what broke a target in `.fuzz/broken`. With `--keep` those that together reach
everything go into `tests/fuzz/corpus`, which `make test` runs.
"""

import os
import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Protocol

from attrs import define, field

from tests.fuzz import corpus
from tests.fuzz.smallest import smallest
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

WORK = Path(".fuzz")
BROKEN = WORK / "broken"
LONGEST_INPUT = 4096
LONGEST_RUN = 30
"""The seconds after which an input has taken too long: each takes milliseconds."""
NIGHT = 8 * 3600
"""The seconds of a night."""
ENOUGH = 10_000_000
"""The inputs that a target has in a night, if there's time for so many."""
TELL_EVERY = 10.0
"""Seconds between reports."""

_STATUS = re.compile(r"#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_UNITS = re.compile(r"stat::number_of_executed_units: (\d+)")


@define(eq=False)
class Search:
    """The search for one target, and how far it is."""

    target: Target
    enough: int | None = None
    """How many inputs it is to have in all rounds."""
    inputs: int = 0
    """How many it has had in this round."""
    before: int = 0
    """How many it had in the rounds before."""
    reached: int = 0
    kept: int = 0
    failed: bool = False
    said: list[str] = field(factory=list)
    """Lines of the process that weren't about its progress."""

    @property
    def in_all(self) -> int:
        """How many inputs it has had."""
        return self.before + self.inputs

    @property
    def is_over(self) -> bool:
        """Whether it needs no other round."""
        return self.failed or (self.enough is not None and self.in_all >= self.enough)

    def run(self, seconds: int, tell: "Progress") -> None:
        """Search for so many seconds, or until it has had enough inputs."""
        self.before, self.inputs = self.in_all, 0
        folder = WORK / self.target.name
        folder.mkdir(parents=True, exist_ok=True)
        for data in (*self.target.seeds, *corpus.read(self.target.name)):
            (folder / sha256(data).hexdigest()[:24]).write_bytes(data)
        with _dictionary(self.target.words) as words:
            command = [
                *(sys.executable, "-m", "tests.fuzz.one", self.target.name, str(folder)),
                f"-max_total_time={seconds}",
                f"-runs={-1 if self.enough is None else self.enough - self.before}",
                f"-max_len={LONGEST_INPUT}",
                f"-timeout={LONGEST_RUN}",
                f"-artifact_prefix={BROKEN / self.target.name}-",
                f"-dict={words}",
                "-print_final_stats=1",
                "-rss_limit_mb=1024",
            ]
            with subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    self._hear(line.rstrip())
                    tell.of(self)
        self.failed = process.returncode != 0
        tell.ended(self)

    def _hear(self, line: str) -> None:
        if (status := _STATUS.search(line)) is not None:
            self.inputs, self.reached, self.kept = int(status[1]), int(status[2]), int(status[4])
        elif (units := _UNITS.search(line)) is not None:
            self.inputs = int(units[1])
        else:
            self.said = [*self.said[-60:], line]

    def __str__(self) -> str:
        return (
            f"{self.target.name:16} {self.in_all:12,} inputs {self.reached:6,} places"
            f" {self.kept:6,} kept"
        )


@define(eq=False)
class Progress:
    """Prints on standard error how far the searches are."""

    _told: float = field(factory=monotonic)
    _lock: Lock = field(factory=Lock)

    def of(self, search: Search) -> None:
        with self._lock:
            now = monotonic()
            if now - self._told >= TELL_EVERY:
                self._told = now
                print(search, "...", file=sys.stderr, flush=True)

    def ended(self, search: Search) -> None:
        with self._lock:
            print(search, "FAILED" if search.failed else "done", file=sys.stderr, flush=True)


@contextmanager
def _dictionary(words: Sequence[bytes]) -> Iterator[str]:
    """Write words in libFuzzer's form; return the file's name."""
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as file:
        for word in words:
            file.write('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n')
        file.flush()
        yield file.name


def keep(target: Target) -> int:
    """Reduce the corpus to the fewest inputs that reach as much; return their number."""
    found = [file.read_bytes() for file in (WORK / target.name).iterdir()]
    kept = smallest(target.run, target.seeds, found)
    corpus.write(target.name, kept)
    return len(kept)


class Searching(Protocol):
    """What is searched in rounds."""

    @property
    def is_over(self) -> bool:
        """Whether it needs no other round."""

    def run(self, seconds: int, tell: "Progress") -> None:
        """Search for so many seconds at most."""


def search_all(
    searches: Sequence[Searching],
    seconds: float,
    rounds: int,
    jobs: int,
    clock: Callable[[], float] = monotonic,
) -> None:
    """Search for all targets in some rounds; those whose search is over leave their time to others.

    Args:
        searches: One for each target.
        seconds: How long all of it may take.
        rounds: How often each target's turn comes.
        jobs: How many targets are searched at a time.
        clock: Tells the time.
    """
    progress, end = Progress(), clock() + seconds
    for left in range(rounds, 0, -1):
        going_on = [one for one in searches if not one.is_over]
        if not going_on or clock() >= end:
            return
        at_once = min(jobs, len(going_on))
        share = max(1, int((end - clock()) * at_once / (len(going_on) * left)))
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda one, share=share: one.run(share, progress), going_on))


def report(searches: Sequence[Search]) -> None:
    """Print what broke, and how many inputs each target had."""
    for search in searches:
        if search.failed:
            print("\n".join(["", f"== {search.target.name}", *search.said]), file=sys.stderr)
    for search in searches:
        print(search)
    print(f"{sum(search.in_all for search in searches):,} inputs in all")


def main() -> None:
    parser = ArgumentParser(
        prog="python -m tests.fuzz", description="Search for inputs that break."
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together")
    parser.add_argument("--jobs", type=int, default=1, help="how many targets at a time")
    parser.add_argument("--rounds", type=int, default=1, help="how often each target's turn comes")
    parser.add_argument("--keep", action="store_true", help="keep what was found in the corpus")
    parser.add_argument(
        "--night",
        action="store_true",
        help=f"{NIGHT // 3600} hours on all processors, in rounds of one; keeps what is found",
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="give a target this input")
    given = parser.parse_args()
    if given.night:
        given.seconds, given.rounds, given.keep = NIGHT, NIGHT // 3600, True
        given.jobs = os.cpu_count() or 1
    for name in ("jobs", "rounds"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1")
    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {min(unknown)}; there are {', '.join(TARGETS)}")
    targets = [TARGETS[name] for name in given.targets or TARGETS]
    if given.replay is not None:
        for target in targets:
            target.run(given.replay.read_bytes())
        return
    BROKEN.mkdir(parents=True, exist_ok=True)
    searches = [Search(target, ENOUGH if given.night else None) for target in targets]
    try:
        search_all(searches, given.seconds, given.rounds, given.jobs)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    report(searches)
    if given.keep:
        for target in targets:
            print(f"{target.name}: {keep(target)} inputs are kept")
    if any(search.failed for search in searches):
        print(f"what broke a target is in {BROKEN}; --replay FILE TARGET runs it", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
