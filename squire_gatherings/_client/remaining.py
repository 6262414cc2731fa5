"""Remaining: how long a client's gathering lives, as far as the client hears."""

import math

from attrs import define

from squire_gatherings._client.endings import FIXED, EndingSoon
from squire_gatherings._values.messages import Ending, Joined


@define(eq=False)
class Remaining:
    """The end of one gathering, as its server tells of it, and as we compute it in between."""

    expires_at: float = math.inf
    """When the gathering disperses unless something happens that we don't hear of."""
    ending: EndingSoon | None = None
    """The end that the server has warned of, while it stands."""
    _ends_at: float = math.inf
    """When it ends whatever is said."""
    _idle_timeout: float = math.inf

    def joined(self, joined: Joined, now: float) -> None:
        """The server let us in. Where an end is near, it says so again."""
        self._idle_timeout = math.inf if joined.idle_timeout is None else joined.idle_timeout
        expires_in = math.inf if joined.expires_in is None else joined.expires_in
        self.expires_at = now + expires_in
        self._ends_at = now + joined.ends_in if isinstance(joined.ends_in, float) else math.inf
        self.ending = None

    def used(self, now: float) -> None:
        """Note that something was done that keeps the gathering alive."""
        self.expires_at = min(now + self._idle_timeout, self._ends_at)

    def told(self, message: Ending, now: float) -> None:
        """The server warns of an end, or says that it's off."""
        if message.expires_in is not None:
            self.expires_at = now + message.expires_in
            self.ending = EndingSoon(message.rule, self.expires_at)
        else:
            if message.rule in FIXED:
                self._ends_at = math.inf
            self.used(now)
            self.ending = None

    def lost(self) -> None:
        """The connection has ended: no warning stands."""
        self.ending = None
