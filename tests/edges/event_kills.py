"""Kills servers that post lifecycle events, one after the other, on one file.

`python -m tests.edges.event_kills 1000` kills a thousand, and prints the figures.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from attrs import define, field

from squire_gatherings._values.events import LOST, EventKind, LifecycleEvent
from tests.edges.killing import kill_under_load
from tests.edges.wire import CLOSE, Wire
from tests.events.telling import check, once
from tests.forked import Forked, serving
from tests.webhook.receiver import SECRET, Receiver, receiving

ROOMS = 6
CLIENTS = 6


@define(eq=False)
class Visitor:
    """Joins one gathering after the other, and leaves it, or waits for its end."""

    choose: random.Random
    joined: list[str] = field(factory=list)
    """The incarnations that let it in."""
    notices: list[str] = field(factory=list)
    """Those of whose end it was told."""
    failures: list[str] = field(factory=list)

    def live(self, url: str) -> None:
        """Go on until the server dies."""
        try:
            while True:
                self._visit(url)
        except (EOFError, OSError):
            return
        except Exception as error:
            self.failures.append(repr(error))

    def _visit(self, url: str) -> None:
        with Wire(url) as wire:
            wire.shake_hands(f"r{self.choose.randrange(ROOMS)}")
            wire.say(type="join")
            while True:
                opcode, payload = wire.next()
                if opcode == CLOSE:
                    return
                message = json.loads(payload)
                if message["type"] == "joined":
                    self.joined.append(message["incarnation"])
                    if self.choose.random() < 0.5:
                        wire.say(type="sync", id=os.urandom(8).hex(), base=0, ops=[{"n": 1}])
                    if self.choose.random() < 0.6:
                        wire.say(type="leave")
                elif message["type"] == "dispersed":
                    self.notices.append(message["incarnation"])


@define
class Figures:
    """What the kills showed."""

    kills: int = 0
    joins: int = 0
    notices: int = 0
    events: int = 0
    repeated: int = 0
    """How many deliveries were of an event that had been taken before."""
    kinds: Counter[str] = field(factory=Counter)
    lost: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.joins} joins, {self.notices} notices of an end:"
            f" {self.events} events, none missing, all in order ({dict(self.kinds)});"
            f" {self.repeated} were delivered again; {self.lost} ends were told by a later start"
        )


def run(kills: int, folder: Path, seed: int) -> Figures:
    """Kill this many servers; check what their webhook was told."""
    choose = random.Random(seed)
    figures = Figures()
    visitors = [Visitor(random.Random(choose.random())) for _ in range(CLIENTS)]
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    with receiving() as receiver:
        options = ["--store", f"sqlite:///{folder}/rooms.sqlite3"]
        options += ["--webhook", receiver.url, "--webhook-secret-file", str(secret)]
        options += ["--idle-timeout", "40ms", "--log-level", "error"]
        for _ in range(kills):
            receiver.answers = [
                (choose.choice((204, 204, 500)), {}) for _ in range(choose.randrange(5))
            ]
            with serving(*options) as (process, url):
                _load(visitors, url, process, choose)
            figures.kills += 1
        receiver.answers = []
        with serving(*options):
            _wait_until_quiet(receiver)
        _check(receiver.taken, visitors, figures)
    return figures


def _load(visitors: list[Visitor], url: str, process: Forked, choose: random.Random) -> None:
    """Have all visit, and kill the server in the middle of it."""
    goal = sum(len(one.joined) for one in visitors) + choose.randint(0, 30)
    kill_under_load(
        visitors,
        url,
        process,
        until=lambda: sum(len(one.joined) for one in visitors) >= goal,
        pause=lambda: choose.random() * 0.03,
    )


def _wait_until_quiet(receiver: Receiver) -> None:
    """Wait until every incarnation that was opened has dispersed, as far as was told."""

    def is_quiet() -> bool:
        events = once(receiver.taken)
        numbers = [event.number for event in events]
        kinds = Counter(event.kind for event in events)
        is_whole = numbers == list(range(1, len(numbers) + 1))
        return is_whole and kinds[EventKind.OPENED] == kinds[EventKind.DISPERSED]

    with receiver.arrived:
        assert receiver.arrived.wait_for(is_quiet, 60), "events are missing"
    # Nothing else is to come.
    time.sleep(0.2)


def _check(taken: list[LifecycleEvent], visitors: list[Visitor], figures: Figures) -> None:
    kinds = check(taken, all_ended=True)
    for one in visitors:
        for incarnation in one.joined:
            assert kinds[incarnation][:2] == [EventKind.OPENED, EventKind.JOINED_FIRST]
        for incarnation in one.notices:
            assert kinds[incarnation][-1] == EventKind.DISPERSED
        figures.joins += len(one.joined)
        figures.notices += len(one.notices)
    events = once(taken)
    figures.events = len(events)
    figures.repeated = len(taken) - len(events)
    figures.kinds = Counter(str(event.kind) for event in events)
    figures.lost = sum(event.data.get("reason") == LOST for event in events)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(run(int(sys.argv[1]), Path(folder), seed=int(time.time())))
