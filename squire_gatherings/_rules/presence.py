"""Presence: who is in one gathering, by user, and what each of those who asked is to be told of it.

It is told who comes, goes and says something, and the time. Nobody is told of each change: when it
is due, `advance` compares what is shown now with what was shown before, and all that happened in
between is one message. Those who were told what was shown before are told the difference; all
others, who have just come or read too slowly, are told all of it. So nothing is kept for anybody
but a number.
"""

import math
from collections.abc import Iterator
from itertools import islice

from attrs import define, field

from squire_gatherings._values.messages import Presence, PresentUser
from squire_gatherings._values.op import Op

SENDS = 4000
"""How many messages a second are sent to the crowd of one gathering, about: with more clients than
`SENDS` times the interval, each of them is told less often."""

Key = str
"""What stands for a connection, also for the one that takes its place after it was lost."""


@define(eq=False)
class _Member:
    """A connection that asked for presence."""

    user: str | None
    state: Op
    told: int = 0
    """The version that it was told last; 0 for none."""
    lost_until: float = math.inf
    """When it is taken to be gone; infinity while it is connected."""
    is_hidden: bool = False
    """Whether it is neither shown nor told: its rights have ended."""

    @property
    def is_told(self) -> bool:
        """Whether it is told who is here."""
        return self.lost_until == math.inf and not self.is_hidden


@define(eq=False)
class WhoIsHere:
    """Who is here, and who is told."""

    interval: float
    """Seconds between two versions, at least."""
    most: int
    """How many users are shown: those who came first."""
    grace: float
    """Seconds for which a lost connection is shown."""
    version: int = 0
    changes: int = 0
    """How many changes there were so far, at least."""
    size: int = 0
    """How many bytes the states of all connections have."""
    _members: dict[Key, _Member] = field(factory=dict)
    _users: dict[str, dict[Key, _Member]] = field(factory=dict)
    """The connections that are shown, by user: the user who came first is the first one, and the
    connection that said something last is its user's last one."""
    _anonymous: set[Key] = field(factory=set)
    _lost: dict[Key, _Member] = field(factory=dict)
    """Those that are lost; the one that was lost first comes first."""
    _shown: dict[str, PresentUser] = field(factory=dict)
    """What the last version shows."""
    _counted: tuple[int, int] = (0, 0)
    _flush_at: float = math.inf
    """When there may be a new version."""
    _flushed_at: float = -math.inf
    _whole: Presence | None = None
    _difference: Presence | None = None

    def __len__(self) -> int:
        """Return how many connections it knows."""
        return len(self._members)

    def __contains__(self, key: Key) -> bool:
        """Return whether it knows a connection."""
        return key in self._members

    # What happens.

    def came(self, key: Key, user: str | None, state: Op, now: float) -> None:
        """A connection asks for presence. It may take the place of one that was lost."""
        member = self._members.get(key)
        if member is None:
            member = self._members[key] = _Member(user, state)
            self.size += len(state.json)
            self._show(key, member)
        else:
            self._lost.pop(key, None)
            member.lost_until, member.told = math.inf, 0
            if member.is_hidden:
                member.is_hidden = False
                self._show(key, member)
            self._set(key, member, state)
        self._due_by(now)

    def said(self, key: Key, state: Op, now: float) -> bool:
        """A connection has another state. Return whether that is a change."""
        member = self._members[key]
        if member.state == state and next(reversed(self._connections(member)), key) == key:
            return False
        self._set(key, member, state)
        self._due_by(now)
        return True

    def lost(self, key: Key, now: float) -> None:
        """A connection has broken off. It is shown for a while, since it may come back."""
        member = self._members[key]
        if member.is_hidden or not self.grace:
            self.left(key, now)
        elif member.lost_until == math.inf:
            member.lost_until = now + self.grace
            self._lost[key] = member
            self.changes += 1

    def left(self, key: Key, now: float) -> None:
        """A connection is gone for good."""
        member = self._members.pop(key)
        self.size -= len(member.state.json)
        self._lost.pop(key, None)
        if not member.is_hidden:
            self._hide(key, member)
        self._due_by(now)

    def hide(self, key: Key, now: float) -> None:
        """Neither show nor tell a connection, until it is shown again."""
        member = self._members[key]
        if not member.is_hidden:
            member.is_hidden = True
            self._hide(key, member)
            self._due_by(now)

    def show(self, key: Key, now: float) -> None:
        """Show and tell a connection again that was hidden."""
        member = self._members[key]
        if member.is_hidden:
            member.is_hidden, member.told = False, 0
            self._show(key, member)
            self._due_by(now)

    def _connections(self, member: _Member) -> dict[Key, _Member]:
        return {} if member.user is None else self._users.get(member.user, {})

    def _set(self, key: Key, member: _Member, state: Op) -> None:
        self.size += len(state.json) - len(member.state.json)
        member.state = state
        connections = self._connections(member)
        if connections.pop(key, None) is not None:
            connections[key] = member

    def _show(self, key: Key, member: _Member) -> None:
        if member.user is None:
            self._anonymous.add(key)
        else:
            self._users.setdefault(member.user, {})[key] = member

    def _hide(self, key: Key, member: _Member) -> None:
        if member.user is None:
            self._anonymous.discard(key)
            return
        connections = self._users[member.user]
        del connections[key]
        if not connections:
            del self._users[member.user]

    def _due_by(self, now: float) -> None:
        self.changes += 1
        spacing = max(self.interval, len(self._members) / SENDS)
        self._flush_at = min(self._flush_at, max(now, self._flushed_at + spacing))

    # Telling.

    @property
    def due(self) -> float:
        """When `advance` has something to do next; infinity for never."""
        soonest = next(iter(self._lost.values()), None)
        return self._flush_at if soonest is None else min(self._flush_at, soonest.lost_until)

    def advance(self, now: float) -> bool:
        """Do what is due. Return whether those who are `to_tell` are to be told now."""
        while self._lost:
            key, member = next(iter(self._lost.items()))
            if member.lost_until > now:
                break
            self.left(key, now)
        if now < self._flush_at:
            return False
        self._flush_at, self._flushed_at = math.inf, now
        shown = {one.user: one for one in self.users()}
        counted = len(self._users), len(self._anonymous)
        if shown == self._shown and counted == self._counted:
            return True
        changed = tuple(one for user, one in shown.items() if self._shown.get(user) != one)
        gone = tuple(user for user in self._shown if user not in shown)
        self.version += 1
        self._difference = Presence(self.version, *counted, changed, gone, self.version - 1)
        self._whole = Presence(self.version, *counted, tuple(shown.values()))
        self._shown, self._counted = shown, counted
        return True

    def to_tell(self) -> list[Key]:
        """Return the connections that weren't told the last version."""
        version = self.version
        return [key for key, one in self._members.items() if one.told != version and one.is_told]

    def message(self, key: Key) -> Presence | None:
        """Return what a connection is to be told; None for nothing. It is taken to know it then."""
        member = self._members.get(key)
        if member is None or not member.is_told or member.told == self.version:
            return None
        builds_on = member.told and member.told == self.version - 1
        member.told = self.version
        return self._difference if builds_on else self._whole

    def put_off(self, now: float) -> None:
        """Somebody reads too slowly to be told now: have it due again."""
        self._due_by(now)

    # What there is.

    def users(self) -> Iterator[PresentUser]:
        """Return the users that are shown, as they are now."""
        for user, connections in islice(self._users.items(), self.most):
            newest = next(reversed(connections.values()))
            yield PresentUser(user, len(connections), newest.state)

    @property
    def count(self) -> int:
        """How many users are here."""
        return len(self._users)

    @property
    def anonymous(self) -> int:
        """How many connections of nobody known are here."""
        return len(self._anonymous)

    def states(self) -> Iterator[tuple[Key, Op]]:
        """Return the connections that aren't lost, also those that are hidden, with their states.

        `came`, called with each of them in this order, makes the same of nothing.
        """
        for connections in self._users.values():
            yield from ((key, one.state) for key, one in connections.items() if one.is_told)
        for key, one in self._members.items():
            if one.is_hidden or (one.user is None and one.is_told):
                yield key, one.state
