"""Rights: who somebody is here and now, as authentication and the program have it.

The program may change its mind at any moment, in every gathering at once. When its call returns,
the new rights hold for a user's connections, its joins under way, and what waits to be judged.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import attrs
import trio
from attrs import define, field

from squire_gatherings._hall.authentication import Authenticator
from squire_gatherings._hall.clients import Caller, Client
from squire_gatherings._hall.terms import Terms
from squire_gatherings._rules.overrides import Overrides
from squire_gatherings._values.checks import check_identity
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import AuthenticationUnavailable, Unauthorized
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import MAX_USER_LENGTH, Identity, check_role
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.text import check_text

CHECKS = 3
"""How often `authenticate` is asked about somebody who is put out meanwhile."""

REMEMBERED = 1024
"""The hall knows of so many users when their rights were changed last. The rights of all others
count as changed at the last of the changes that it has forgotten."""


class Crowd(Protocol):
    """A gathering, as far as rights go."""

    id: str

    def people(self) -> Iterable[Client]:
        """Return its clients, and those that are gone if a message of theirs still waits."""
        ...


@define(eq=False)
class _Check:
    """An authentication that is under way, and what the program says meanwhile."""

    gathering_id: str
    task: trio.lowlevel.Task
    roles: dict[str, str] = field(factory=dict)
    """The roles that users were given."""
    put_out: set[str] = field(factory=set)
    """Users that were put out: what authentication read of them before may have changed."""


@define(eq=False)
class Rights:
    """The rights of one hall's users."""

    terms: Terms
    authenticator: Authenticator
    crowds: Callable[[], Iterable[Crowd]]
    """Returns all that live, those that sleep too."""
    overrides: Overrides
    _asking: dict[Caller, str] = field(factory=dict)
    """All callers that aren't answered yet, and the gathering that they ask. Some wait for it to
    open."""
    _checks: set[_Check] = field(factory=set)
    _count: int = 0
    _changed: OrderedDict[str, int] = field(factory=OrderedDict)
    """The number of the last change of each user's rights."""
    _forgotten: int = 0
    """The highest number that is forgotten."""

    # Who somebody is.

    async def identify(
        self, token: str | None, gathering_id: str, request: HandshakeRequest | None
    ) -> Identity:
        """Ask who somebody is, and return who that is now.

        Raises:
            Unauthorized: It has no rights here, or not any more.
            AuthenticationUnavailable: It was put out again and again while it was being checked.
            Exception: What the check raised.

        Cancellation: the check is cancelled.
        """
        for _ in range(CHECKS):
            check = _Check(gathering_id, trio.lowlevel.current_task())
            self._checks.add(check)
            try:
                identity = await self.authenticator.identify(token, gathering_id, request)
            finally:
                self._checks.discard(check)
            check_identity(identity)
            if identity.user not in check.put_out:
                if identity.user in check.roles:
                    identity = attrs.evolve(identity, role=check.roles[identity.user])
                return self.standing(identity, gathering_id)
        raise AuthenticationUnavailable("its rights are being changed all the time")

    def standing(self, identity: Identity, gathering_id: str) -> Identity:
        """Return who this is now, as the program has it. Raises `Unauthorized`."""
        if self.overrides:
            identity = self.overrides.of(identity, gathering_id, self.terms.wall())
        self.check(identity)
        return identity

    def check(self, identity: Identity) -> None:
        """Raise `Unauthorized` if these rights have ended."""
        if self.terms.are_over(identity):
            raise Unauthorized("its rights have ended")

    # Handing over.

    @property
    def last_change(self) -> int:
        """The number of the last change that the program has made of somebody's rights."""
        return next(reversed(self._changed.values()), 0)

    @property
    def is_busy(self) -> bool:
        """Whether somebody is being checked, or asks for something."""
        return bool(self._checks or self._asking)

    def state(self) -> tuple[int, int, list[tuple[str, int]]]:
        """Return when whose rights were changed last, for another process."""
        return self._count, self._forgotten, list(self._changed.items())

    def resume(self, count: int, forgotten: int, changed: Iterable[tuple[str, int]]) -> None:
        """Go on for another process."""
        self._count, self._forgotten = count, forgotten
        self._changed.update(changed)

    # Who asks.

    def number(self) -> int:
        """Return a number that grows with each join and each change."""
        self._count += 1
        return self._count

    @contextmanager
    def asking(self, caller: Caller, gathering_id: str) -> Iterator[None]:
        """Have the caller's identity follow what the program says meanwhile."""
        self._asking[caller] = gathering_id
        try:
            yield
        finally:
            del self._asking[caller]

    def has_changed(self, client: Client) -> bool:
        """Whether a client's rights were changed since it asked to join."""
        user = client.identity.user
        return user is not None and self._changed.get(user, self._forgotten) > client.asked

    # What the program says: as the methods of `Hall`.

    def revoke(self, user: str, until: float) -> int:
        """Take a user's rights until an instant. As `Hall.revoke`."""
        _check_user(user)
        now = self.terms.wall()
        self.overrides.revoke(user, _check_until(until), now)
        return 0 if until <= now else self._put_out(user, None, "revoked")

    def kick(self, user: str, gathering_id: str | None) -> int:
        """Put a user out. As `Hall.kick`."""
        _check_user(user)
        if gathering_id is not None:
            check_gathering_id(gathering_id)
        return self._put_out(user, gathering_id, "put out")

    def change_role(
        self, user: str, role: str, gathering_id: str | None, until: float | None
    ) -> int:
        """Give a user another role. As `Hall.change_role`."""
        _check_user(user)
        role = check_role(role)
        if gathering_id is not None:
            check_gathering_id(gathering_id)
        if until is not None:
            _check_until(until)
            self.overrides.give_role(user, gathering_id, role, until, self.terms.wall())
        return self._give_role(user, role, gathering_id)

    def _put_out(self, user: str, gathering_id: str | None, why: str) -> int:
        """Close a user's connections, and refuse what it has sent and isn't judged yet."""
        self._note(user)
        for check in self._checks:
            # A check may put out its user's other connections, and means what it says then.
            is_own = check.task is trio.lowlevel.current_task()
            if gathering_id in (None, check.gathering_id) and not is_own:
                check.put_out.add(user)
        for caller in self._asking_of(user, gathering_id):
            caller.identity = caller.identity.ended()
        closed = 0
        for client in self._clients_of(user, gathering_id):
            client.identity = client.identity.ended()
            if client.room is not None:
                closed += 1
                client.room.gone(client)
                client.close(CloseCode.UNAUTHORIZED, why)
        return closed

    def _give_role(self, user: str, role: str, gathering_id: str | None) -> int:
        """Give a role to a user's connections, and to its joins and calls under way."""
        self._note(user)
        for check in self._checks:
            if gathering_id in (None, check.gathering_id):
                check.roles[user] = role
        for caller in self._asking_of(user, gathering_id):
            caller.identity = attrs.evolve(caller.identity, role=role)
        connected = 0
        for client in self._clients_of(user, gathering_id):
            changes = client.identity.role != role
            if changes:
                client.identity = attrs.evolve(client.identity, role=role)
            if client.attached:
                connected += 1
                if changes:
                    client.send(Outgoing(self.terms.told(client)))
        return connected

    def _note(self, user: str) -> None:
        self._changed[user] = self.number()
        self._changed.move_to_end(user)
        if len(self._changed) > REMEMBERED:
            self._forgotten = self._changed.popitem(last=False)[1]

    def _asking_of(self, user: str, gathering_id: str | None) -> list[Caller]:
        return [
            caller
            for caller, asked in self._asking.items()
            if caller.identity.user == user and gathering_id in (None, asked)
        ]

    def _clients_of(self, user: str, gathering_id: str | None) -> list[Client]:
        """Return a user's clients, also those that are gone if a message of theirs still waits."""
        return [
            client
            for crowd in self.crowds()
            if gathering_id in (None, crowd.id)
            for client in crowd.people()
            if client.identity.user == user
        ]


def _check_user(user: object) -> None:
    check_text(user, "a user's name", MAX_USER_LENGTH)


def _check_until(until: object) -> float:
    if isinstance(until, bool) or not isinstance(until, int | float) or math.isnan(until):
        raise ValueError(f"until is a time in seconds, not {until!r:.80}")
    return until
