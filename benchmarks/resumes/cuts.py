"""Cuts: where the connections of a room's listener are cut."""

import random
import re
from typing import Literal

from attrs import define, field, frozen

Way = Literal["up", "down"]
"""To the server, or to the client."""

ROOM = re.compile(rb"(whole|random|first|twice|ending)-\d+")
"""A room's name, which says what is done to it."""

EVENT = b"EVENT-"
"""Every event contains it."""

NOTICE = b"dispersed"
"""The notice of the end contains it."""

WHOLE = "whole-0"
"""The room in which nothing is cut, and whose bytes are counted."""


@frozen
class AtByte:
    """Cut when so many bytes went that way."""

    way: Way
    count: int


@frozen
class AtWord:
    """Cut so many bytes after a word's beginning, on the way to the client."""

    word: bytes
    after: int


Cut = AtByte | AtWord


@define
class Cuts:
    """The cuts of all rooms; the same for the same seed."""

    seed: int
    whole: dict[Way, int] = field(factory=lambda: {"up": 0, "down": 0})
    """How many bytes go each way where nothing is cut."""
    made: dict[str, int] = field(factory=dict)
    """How often each room's connection was cut."""
    _connections: dict[str, int] = field(factory=dict)

    def next(self, room: str) -> Cut | None:
        """Return where a room's next connection is cut; None if it isn't."""
        number = self._connections[room] = self._connections.get(room, 0) + 1
        kind = room.partition("-")[0]
        if kind == "whole" or number > (2 if kind == "twice" else 1):
            return None
        choose = random.Random(f"{self.seed} {room} {number}")
        if kind == "first":
            return AtWord(EVENT, choose.randrange(len(EVENT)))
        if kind == "ending":
            return AtWord(NOTICE, choose.randrange(len(NOTICE)))
        way: Way = choose.choice(("up", "down"))
        return AtByte(way, choose.randrange(1, max(2, self.whole[way])))

    def note(self, room: str) -> None:
        """A connection of this room was cut."""
        self.made[room] = self.made.get(room, 0) + 1
