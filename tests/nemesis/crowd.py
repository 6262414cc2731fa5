"""What the clients of a run share: where they connect, when they act, and what they note."""

import math
import random
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from squire_gatherings._load.clients.schedule import Schedule
from squire_gatherings._poller import Poller
from tests.nemesis.diary import Diary

if TYPE_CHECKING:
    from tests.nemesis.gathering import Gathering

Address = tuple[str, int]


@define(kw_only=True, eq=False)
class Crowd:
    """All clients of a run."""

    poller: Poller
    schedule: Schedule
    diary: Diary
    choose: random.Random
    addresses: Callable[[], list[Address]]
    """Where the nodes are, those that are down among them."""
    idle_timeout: float
    """Of the nodes, in seconds."""
    patience: float
    """A client that isn't answered for so many seconds tries another node."""
    lateness: float
    """How late a notice may be where nothing is done to the nodes."""
    longest_pause: float = 1.0
    """Seconds between two tries of a client to come back, at most."""
    to_judge: "trio.MemorySendChannel[Gathering]" = field(init=False)
    """Takes gatherings whose history is complete."""
    finished: "trio.MemoryReceiveChannel[Gathering]" = field(init=False)
    """Gives them to who judges them."""
    numbers: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.to_judge, self.finished = trio.open_memory_channel(math.inf)

    @staticmethod
    def now() -> float:
        """Return the instant, on the clock of all clients."""
        return monotonic()

    def number(self) -> int:
        """Return a number that no one else has."""
        self.numbers += 1
        return self.numbers
