"""Kills servers under load, one after the other, on one file.

`python -m tests.edges.kills 1000` kills a thousand, checks each, and prints the figures.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.edges.killing import kill_under_load
from tests.edges.wire import Wire
from tests.forked import Forked, serving

ROOMS = ("a", "b", "c")
CLIENTS = 6
IN_FLIGHT = 8


@define(eq=False)
class Submitter:
    """Submits numbered ops, several at a time, and repeats what wasn't answered."""

    name: str
    room: str
    submitted: int = 0
    acknowledged: dict[int, int] = field(factory=dict)
    """The seq of each op whose sync was answered."""
    failures: list[str] = field(factory=list)

    def live(self, url: str) -> None:
        """Go on until the server dies."""
        try:
            with Wire(url) as wire:
                wire.join(self.room, client=f"the secret of {self.name}", tail=True)
                waiting = [n for n in range(self.submitted) if n not in self.acknowledged]
                for number in waiting:
                    self._submit(wire, number)
                while True:
                    while len(waiting) < IN_FLIGHT:
                        waiting.append(self.submitted)
                        self.submitted += 1
                        self._submit(wire, waiting[-1])
                    message = wire.hear()
                    if message["type"] == "forward":
                        if message["seq"] % 8 == 0:
                            wire.say(type="ack", seq=message["seq"])
                    elif message["type"] == "synced":
                        number = int(message["id"].partition("-")[2])
                        waiting.remove(number)
                        self.acknowledged[number] = message["seqs"][0]
                    else:
                        self.failures.append(str(message))
        except (EOFError, OSError):
            return
        except Exception as error:
            self.failures.append(repr(error))

    def _submit(self, wire: Wire, number: int) -> None:
        op = {"by": self.name, "n": number}
        wire.say(type="sync", id=f"{self.name}-{number}", base=0, ops=[op])


@define
class Figures:
    """What the kills showed."""

    kills: int = 0
    acknowledged: int = 0
    logged: int = 0
    unanswered_but_logged: int = 0
    """Ops that were durable though the server died before it could answer."""
    starts: list[float] = field(factory=list)
    """The seconds that each start took."""

    def __str__(self) -> str:
        starts = sorted(self.starts)
        return (
            f"{self.kills} kills: {self.acknowledged} ops acknowledged, each there once and in"
            f" order; {self.logged} logged, {self.unanswered_but_logged} of them durable before"
            f" their answer went out; a start took {starts[len(starts) // 2]:.3f} s (median),"
            f" {starts[-1]:.3f} s at most"
        )


@define(eq=False)
class Log:
    """What was read of one room so far; checks what comes next."""

    room: str
    ops: list[dict[str, Any]] = field(factory=list)
    places: dict[tuple[str, int], int] = field(factory=dict)

    def read_on(self, url: str) -> None:
        """Read what is new; check that each op is there once, in its client's order."""
        with Wire(url) as wire:
            last = wire.join(self.room, tail=True)["seq"]
            assert last >= len(self.ops), f"{self.room} had {len(self.ops)} ops, and has {last}"
            while len(self.ops) < last:
                wire.say(type="fetch", id="f", since=len(self.ops))
                for op in wire.hear()["ops"]:
                    self._add(op)

    def _add(self, op: dict[str, Any]) -> None:
        self.ops.append(op)
        key = op["by"], op["n"]
        assert key not in self.places, f"{op} is there twice: {self.places[key]}, {len(self.ops)}"
        self.places[key] = len(self.ops)
        before = op["by"], op["n"] - 1
        assert not op["n"] or before in self.places, f"{op} comes before {before}"

    def check(self, one: Submitter) -> None:
        """Check that each acknowledged op is where its answer said."""
        for number, seq in one.acknowledged.items():
            assert self.places.get((one.name, number)) == seq, f"{one.name} {number}: not at {seq}"


@contextmanager
def timed(store: str, figures: Figures) -> Iterator[tuple[Forked, str]]:
    """As `serving`, and note how long the start took."""
    began = time.monotonic()
    with serving("--store", store, "--log-level", "error") as (process, url):
        figures.starts.append(time.monotonic() - began)
        yield process, url


def run(kills: int, folder: Path, seed: int) -> Figures:
    """Kill this many servers under load, and check the log after each."""
    choose = random.Random(seed)
    figures = Figures()
    submitters = [Submitter(f"c{n}", ROOMS[n % len(ROOMS)]) for n in range(CLIENTS)]
    logs = {room: Log(room) for room in ROOMS}
    store = f"sqlite:///{folder}/rooms.sqlite3"
    for _ in range(kills):
        with timed(store, figures) as (process, url):
            for log in logs.values():
                log.read_on(url)
            for one in submitters:
                logs[one.room].check(one)
            _load(submitters, url, process, choose)
        figures.kills += 1
    with timed(store, figures) as (_, url):
        # Read all of it once more, from the beginning.
        logs = {room: Log(room) for room in ROOMS}
        for log in logs.values():
            log.read_on(url)
    for one in submitters:
        log = logs[one.room]
        log.check(one)
        there = sum(by == one.name for by, _ in log.places)
        figures.acknowledged += len(one.acknowledged)
        figures.logged += there
        figures.unanswered_but_logged += there - len(one.acknowledged)
        assert there <= one.submitted
    return figures


def _load(submitters: list[Submitter], url: str, process: Forked, choose: random.Random) -> None:
    """Have all submit, and kill the server in the middle of it."""
    before = sum(len(one.acknowledged) for one in submitters)
    goal = before + choose.randint(1, 60)
    kill_under_load(
        submitters,
        url,
        process,
        until=lambda: sum(len(one.acknowledged) for one in submitters) >= goal,
        pause=lambda: choose.random() * 0.01,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(run(int(sys.argv[1]), Path(folder), seed=int(time.time())))
