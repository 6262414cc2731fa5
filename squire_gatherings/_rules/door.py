"""The door: who has come and isn't in yet, and who gives way when too many stand there.

A visitor is silent while the server waits for it: until its request has come, and after the answer
until its `join` has come. Silent visitors take no client's place. Where there are too many, one
from the most crowded address gives way: the one that was silent longest.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import Enum

from attrs import define, field

from squire_gatherings._rules.places import is_full

TRIES = 8
"""How many visitors are looked at, at most, to find one from which nothing waits to be read."""


def never() -> bool:
    """Whether a visitor has said something that wasn't read yet, where that can't be told."""
    return False


@define(eq=False, weakref_slot=False)
class Visitor:
    """Somebody at the door."""

    address: Hashable
    """Visitors from the same address count together. One without an address (None) counts alone."""
    give_way: Callable[[], None]
    """Ends its connection. Called once at most, when it stands at the door no more."""
    has_spoken: Callable[[], bool] = never
    """Whether something of it waits to be read, so that it isn't its fault that it seems silent."""

    @property
    def crowd(self) -> Hashable:
        """The name under which it is counted."""
        return self if self.address is None else ("address", self.address)


class Turned(Enum):
    """Why a newcomer was turned away."""

    IN_ALL = "handshakes"
    AT_ADDRESS = "handshakes_per_address"


@define(eq=False)
class _Crowds:
    """How many silent visitors each address has, and which has most; each step takes no time."""

    members: dict[Hashable, OrderedDict[Visitor, None]] = field(factory=dict)
    """The one that was silent longest comes first."""
    by_size: dict[int, OrderedDict[Hashable, None]] = field(factory=dict)
    largest: int = 0
    total: int = 0

    def add(self, visitor: Visitor) -> None:
        name = visitor.crowd
        crowd = self.members.setdefault(name, OrderedDict())
        self._resize(name, len(crowd), len(crowd) + 1)
        crowd[visitor] = None
        self.total += 1

    def remove(self, visitor: Visitor) -> bool:
        name = visitor.crowd
        crowd = self.members.get(name)
        if crowd is None or visitor not in crowd:
            return False
        self._resize(name, len(crowd), len(crowd) - 1)
        del crowd[visitor]
        self.total -= 1
        if not crowd:
            del self.members[name]
        return True

    def _resize(self, name: Hashable, old: int, new: int) -> None:
        if old:
            same = self.by_size[old]
            del same[name]
            if not same:
                del self.by_size[old]
        if new:
            self.by_size.setdefault(new, OrderedDict())[name] = None
        if new > self.largest:
            self.largest = new
        elif self.largest not in self.by_size:
            # Sizes change by one, so that the next lower one is there.
            self.largest -= 1

    def size_of(self, name: Hashable) -> int:
        return len(self.members.get(name, ()))

    def most_crowded(self) -> Hashable:
        return next(iter(self.by_size[self.largest]))


@define(eq=False)
class Door:
    """The visitors that stand there. Each leaves once, by `leave` or when it gives way."""

    _all: set[Visitor] = field(factory=set)
    _at_address: dict[Hashable, int] = field(factory=dict)
    """How many stand there, by crowd: silent ones and those who were heard."""
    _silent: _Crowds = field(factory=_Crowds)
    gave_way: int = 0
    """How many have given way so far."""

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, visitor: Visitor) -> bool:
        return visitor in self._all

    @property
    def silent(self) -> int:
        """How many of them are silent."""
        return self._silent.total

    def come(
        self, visitor: Visitor, most: int | None, most_per_address: int | None
    ) -> Turned | None:
        """Let a newcomer stand there, silent. Others may have to give way.

        Args:
            visitor: The newcomer.
            most: How many may stand there in all; None for no limit.
            most_per_address: How many of one address may; None for no limit.

        Returns:
            None, or why it was turned away: there are too many, and all have been heard.
        """
        name = visitor.crowd
        is_crowd = is_full(self._at_address.get(name, 0), most_per_address)
        if is_crowd and not self._make_room(name, must=False):
            return Turned.AT_ADDRESS
        if is_full(len(self._all), most):
            if not self._silent.largest:
                return Turned.IN_ALL
            crowd = self._silent.most_crowded()
            # An innocent newcomer isn't turned away for the sake of a crowd.
            is_crowd = self._silent.largest > self._silent.size_of(name) + 1
            if not self._make_room(crowd, must=is_crowd):
                return Turned.IN_ALL
        self._all.add(visitor)
        self._at_address[name] = self._at_address.get(name, 0) + 1
        self._silent.add(visitor)
        return None

    def heard(self, visitor: Visitor) -> None:
        """It has said all that it was to say; now it waits for the server."""
        self._silent.remove(visitor)

    def answered(self, visitor: Visitor) -> None:
        """The server has answered, and waits for it again."""
        if visitor in self._all:
            self._silent.remove(visitor)
            self._silent.add(visitor)

    def leave(self, visitor: Visitor) -> None:
        """It has come in, or is gone. Later calls do nothing."""
        if visitor not in self._all:
            return
        self._all.discard(visitor)
        visitor.has_spoken = never
        name = visitor.crowd
        self._at_address[name] -= 1
        if not self._at_address[name]:
            del self._at_address[name]
        self._silent.remove(visitor)

    def room(self, most: int | None, wanted: int, coming: int = 0) -> int:
        """Return how many of `wanted` newcomers may come now; somebody gives way if need be.

        0 while most have been heard, or are about to be: there's room as soon as the server has
        done its part, and who is silent at such a time has had none. So many others are `coming`
        already.
        """
        free = wanted if most is None else min(wanted, most - len(self._all) - coming)
        if free > 0:
            return free
        if coming or 2 * self.silent <= len(self._all):
            return 0
        return int(self.give_way(must=False))

    def give_way(self, *, must: bool = True) -> bool:
        """Have somebody give way; return whether somebody has.

        Args:
            must: Whether it may be somebody from whom something waits to be read.
        """
        if not self._silent.largest:
            return False
        return self._make_room(self._silent.most_crowded(), must=must)

    def _make_room(self, name: Hashable, *, must: bool) -> bool:
        """Have the one of a crowd give way that was silent longest; return whether one has."""
        crowd = self._silent.members.get(name)
        if not crowd:
            return False
        for _ in range(min(TRIES, len(crowd))):
            visitor = next(iter(crowd))
            if not visitor.has_spoken():
                break
            crowd.move_to_end(visitor)
        else:
            if not must:
                return False
            visitor = next(iter(crowd))
        self.leave(visitor)
        self.gave_way += 1
        visitor.give_way()
        return True
