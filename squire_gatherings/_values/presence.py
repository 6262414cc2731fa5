"""Presence: who is in a gathering, as programs see it."""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from squire_gatherings._values.messages import PresentUser


@frozen
class Present:
    """A user who is here."""

    connections: int
    """By how many connections."""
    state: dict[str, Any]
    """The state that was set last by one of them: a JSON object."""


@frozen
class PresenceView:
    """Who is in a gathering, of those who asked to be shown."""

    users: Mapping[str, Present] = field(factory=dict)
    """By name; in a large crowd only some of them."""
    count: int = 0
    """How many users there are, shown or not."""
    anonymous: int = 0
    """How many connections there are besides, of nobody known."""


def shown(users: Iterable[PresentUser]) -> dict[str, Present]:
    """Return users by name."""
    return {one.user: Present(one.connections, one.state.value) for one in users}
