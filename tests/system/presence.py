"""Presence as one connection is told it, and what all must be told when everything is at rest."""

from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from tests.system.tap import Tap
    from tests.system.world import World

GRACE = 4.0
"""The seconds for which a lost connection is shown."""


@define(eq=False)
class Seen:
    """Who is here, as the client on one connection knows it."""

    asks: bool = False
    """Whether the client has asked."""
    version: int = 0
    users: dict[str, Any] = field(factory=dict)
    count: int = 0

    def take(self, message: dict[str, Any]) -> str | None:
        """Take in what the server says; return what is wrong with it."""
        if not self.asks:
            return "nobody asked"
        since, gone = message.get("since"), message.get("gone", [])
        if since is None:
            self.users.clear()
        elif since != self.version:
            return f"it knows {self.version}"
        if unknown := set(gone) - self.users.keys():
            return f"{unknown} aren't here"
        for user in gone:
            del self.users[user]
        for one in message["users"]:
            self.users[one["user"]] = one["connections"], one["state"]
        self.version, self.count = message["version"], message["count"]
        return None if self.count == len(self.users) else f"it knows {self.users}"


def check_presence(world: "World") -> None:
    """Check that all who asked know who is here, and that this is who is connected and asked."""
    hall = world.hall
    assert hall is not None
    for room in filter(None, {tap.gathering for tap in world.taps}):
        there = [tap for tap in world.taps if tap.gathering == room and _is_told(tap)]
        view = hall.presence(room)
        shown = {user: (one.connections, one.state) for user, one in view.users.items()}
        truth = world.truth
        # Of some connections we don't know whether they're there; others were lost just now.
        may_be = [tap for tap in world.taps if tap.gathering == room and _may_be_shown(tap)]
        must, may = _users(there), _users([*there, *may_be])
        doubtful = any(tap.is_doubtful for tap in may_be)
        fits = doubtful or must <= shown.keys() <= may
        truth.check(fits, f"{room}: {shown} are shown, and there are {must}, perhaps {may}")
        for tap in there:
            knows = tap.is_doubtful or tap.link.down.stalled or tap.seen.users == shown
            truth.check(knows, f"{tap}: knows {tap.seen.users}, and there are {shown}")


def _is_told(tap: "Tap") -> bool:
    return tap.is_in and tap.seen.asks and not tap.is_gone


def _may_be_shown(tap: "Tap") -> bool:
    return tap.is_doubtful or tap.over_at > tap.truth.now() - GRACE - 1


def _users(taps: "list[Tap]") -> set[str]:
    return {tap.joined["user"] for tap in taps if tap.joined is not None} - {None}
