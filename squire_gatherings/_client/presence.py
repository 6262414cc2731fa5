"""Presence: who else is here, as the server says, and the state with which we are shown.

Of our states only the newest counts. It goes with the join; later ones go out one at a time, and
not too often. The server doesn't answer, unless it refuses one.
"""

import logging
import math
import secrets

from attrs import define, field

from squire_gatherings._client.answers import RATE_LIMITED
from squire_gatherings._client.websocket import Lost
from squire_gatherings._values.messages import Error, Presence, PresenceUpdate
from squire_gatherings._values.op import Op
from squire_gatherings._values.presence import PresenceView, shown

_log = logging.getLogger(__name__)

REFUSED = 8
"""After `rate_limited` the next state waits for so many intervals."""


@define(eq=False)
class PresenceState:
    """What one client knows, and says, of presence."""

    interval: float
    """Seconds between two states that are sent, at least."""
    state: Op | None = None
    """The newest state of ours; None while presence isn't asked for."""
    view: PresenceView | None = None
    """Who is here; None while that isn't known."""
    _version: int = 0
    _said: Op | None = None
    """What the server knows of ours, on this connection."""
    _wished: Op | None = None
    """What the last join said."""
    _may_say_at: float = -math.inf
    _prefix: str = field(factory=lambda: secrets.token_hex(8))
    """How the ids of our messages begin."""
    _count: int = 0

    def wish(self) -> Op | None:
        """Return what a join says of it; None where presence isn't asked for."""
        self._wished = self.state
        return self.state

    def joined(self, now: float) -> None:
        """The server let us in, with the state that the join had."""
        self._said = self._wished
        self._may_say_at = now + self.interval

    def lost(self) -> None:
        """The connection has ended: nobody knows who is here now."""
        self.view, self._version, self._said = None, 0, None

    # What goes out.

    def say(self, state: Op, user: str | None) -> None:
        """Have this state go out, unless we are shown with it as `user` already."""
        self.state = state
        us = None if self.view is None or user is None else self.view.users.get(user)
        if us is not None and us.connections > 1 and us.state != state.value:
            # Another connection of ours has said something else since.
            self._said = None

    @property
    def next_at(self) -> float:
        """When the next state may go out; infinity if there is none."""
        return math.inf if self.state is None or self.state == self._said else self._may_say_at

    def next(self, now: float) -> PresenceUpdate | None:
        """Return the state that is to go out now, if one is."""
        state = self.state
        if state is None or now < self.next_at:
            return None
        self._said, self._may_say_at = state, now + self.interval
        self._count += 1
        return PresenceUpdate(f"{self._prefix}-{self._count}", state)

    def failed(self, error: Error, now: float) -> bool:
        """The server refuses something; return whether it's a state of ours."""
        if error.id is None or not error.id.startswith(self._prefix):
            return False
        if error.code == RATE_LIMITED:
            self._said, self._may_say_at = None, now + REFUSED * self.interval
        else:
            _log.warning("presence refused: %s", error.message)
        return True

    # What comes in.

    def take(self, message: Presence) -> None:
        """Take in what the server says. Raises `Lost`."""
        users = shown(message.users)
        if isinstance(message.since, int):
            if self.view is None or message.since != self._version:
                raise Lost(f"the server told who is here since {message.since}, not since before")
            gone = message.gone if isinstance(message.gone, tuple) else ()
            known = {name: one for name, one in self.view.users.items() if name not in gone}
            users = known | users
        if len(users) > message.count:
            raise Lost(f"the server shows {len(users)} of {message.count} users")
        self._version = message.version
        self.view = PresenceView(users, message.count, message.anonymous)
