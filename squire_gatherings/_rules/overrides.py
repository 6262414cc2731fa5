"""Overrides: what a program has said of its users' rights, until when; told the wall clock."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

import attrs
from attrs import define, field

from squire_gatherings._values.errors import CannotRemember
from squire_gatherings._values.identity import Identity

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Held = dict[K, tuple[V, float]]
"""What holds, and until when."""


@define(eq=False)
class Overrides:
    """Revocations of users, and roles that users were given: at most `most`.

    What has passed is dropped when another one needs its place. What holds is never dropped.
    """

    most: int
    _revoked: Held[str, None] = field(factory=dict)
    _roles: Held[tuple[str, str | None], str] = field(factory=dict)
    """By user, and gathering or None for all of them."""

    def __len__(self) -> int:
        """Return how many are remembered, among them some that may have passed."""
        return len(self._revoked) + len(self._roles)

    def revoke(self, user: str, until: float, now: float) -> None:
        """Remember that a user has no rights; one that has passed takes that back.

        Raises `CannotRemember` if there are too many; nothing has changed then.
        """
        self._put(self._revoked, user, None, until, now)

    def give_role(
        self, user: str, gathering_id: str | None, role: str, until: float, now: float
    ) -> None:
        """Remember a user's role, in one gathering or in all; one that has passed takes that back.

        Raises `CannotRemember` if there are too many; nothing has changed then.
        """
        self._put(self._roles, (user, gathering_id), role, until, now)

    def of(self, identity: Identity, gathering_id: str, now: float) -> Identity:
        """Return who this is there now: perhaps with another role, or with rights that have ended.

        The role in this gathering comes before the role in all.
        """
        user = identity.user
        if user is None or not len(self):
            return identity
        if _find(self._revoked, user, now) is not None:
            return identity.ended()
        for key in ((user, gathering_id), (user, None)):
            found = _find(self._roles, key, now)
            if found is not None:
                role = found[0]
                return identity if role == identity.role else attrs.evolve(identity, role=role)
        return identity

    # Handing over.

    def state(self) -> tuple[list[tuple[str, float]], list[tuple[str, str | None, str, float]]]:
        """Return the revocations and the roles, for another process."""
        revoked = [(user, until) for user, (_, until) in self._revoked.items()]
        roles = [(*key, role, until) for key, (role, until) in self._roles.items()]
        return revoked, roles

    def resume(
        self,
        revoked: Iterable[tuple[str, float]],
        roles: Iterable[tuple[str, str | None, str, float]],
    ) -> None:
        """Go on with what another process remembered, even if that is more than `most`."""
        self._revoked.update((user, (None, until)) for user, until in revoked)
        self._roles.update(
            ((user, gathering), (role, until)) for user, gathering, role, until in roles
        )

    def _put(self, held: Held[K, V], key: K, value: V, until: float, now: float) -> None:
        if until <= now:
            held.pop(key, None)
            return
        if key not in held and len(self) >= self.most:
            _drop_passed(self._revoked, now)
            _drop_passed(self._roles, now)
            if len(self) >= self.most:
                text = f"{self.most} revocations and roles are remembered, which is the limit"
                raise CannotRemember(text)
        held[key] = value, until


def _find(held: Held[K, V], key: K, now: float) -> tuple[V, float] | None:
    # What has passed is kept: should the clock be set back, it holds again.
    found = held.get(key)
    return None if found is None or found[1] <= now else found


def _drop_passed(held: Held[K, V], now: float) -> None:
    for key in [key for key, (_, until) in held.items() if until <= now]:
        del held[key]
