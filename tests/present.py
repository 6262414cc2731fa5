"""What a client makes of all that it is told of who is here, as docs/protocol.md says."""

from collections.abc import Iterable
from typing import Any

from attrs import define, field

from squire_gatherings._values.messages import Presence, PresentUser


@define
class Watcher:
    """Who is here, as one client knows it on one connection."""

    version: int = 0
    users: dict[str, PresentUser] = field(factory=dict)
    counted: tuple[int, int] = (0, 0)
    """How many users there are, and how many anonymous connections."""

    @classmethod
    def of(cls, messages: Iterable[Presence]) -> "Watcher":
        """Return one that was told all of these."""
        watcher = cls()
        for message in messages:
            watcher.take(message)
        return watcher

    def take(self, message: Presence) -> None:
        """Take in what is told. It must build on what was told before, or be all of it."""
        if isinstance(message.since, int):
            assert message.since == self.version
        else:
            self.users.clear()
        for user in message.gone if isinstance(message.gone, tuple) else ():
            del self.users[user]
        self.users.update({one.user: one for one in message.users})
        self.version, self.counted = message.version, (message.count, message.anonymous)

    @property
    def states(self) -> dict[str, Any]:
        """The state of each user."""
        return {user: one.state.value for user, one in self.users.items()}
