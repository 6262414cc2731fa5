"""Limits: what a user, an address and a connection may cost a server.

They belong to the server and not to a connection, so that a new connection is no new beginning.
"""

import ipaddress
from collections.abc import Hashable

from attrs import define, field

from squire_gatherings._rules.rate_limit import RateLimit, SharedLimits
from squire_gatherings._server.settings import ServerSettings

NOISE_RATE, NOISE_BURST = 500, 2000
"""How many frames that say nothing (pings, pongs, tiny fragments; what can't be understood counts
twice) a connection may send a second, and at once. Each costs some 10 µs."""

BYTES_OF_NOISE = 128
"""So many bytes that must be decoded cost as much as one such frame."""

ADDRESS_SHARE = 2
"""How much more of them all connections from one address may send together."""


@define(eq=False)
class Limits:
    """Those of one server."""

    _messages: dict[tuple[float, int], SharedLimits] = field(factory=dict)
    _noise: SharedLimits = field(
        factory=lambda: SharedLimits(NOISE_RATE * ADDRESS_SHARE, NOISE_BURST * ADDRESS_SHARE)
    )

    def enter(self, settings: ServerSettings, peer: str | None, now: float) -> "Meter":
        """Return the meter of a new connection from `peer`; `Meter.leave` comes at its end."""
        messages = None
        if settings.rate_limit is not None:
            key = settings.rate_limit, settings.rate_burst
            messages = self._messages.get(key)
            if messages is None:
                messages = self._messages[key] = SharedLimits(*key)
        return Meter(messages, self._noise, address_of(peer), now)


class Meter:
    """What one connection costs, on its own account, its address's and its user's."""

    __slots__ = (
        "_address",
        "_messages",
        "_name",
        "_noise",
        "_shared_noise",
        "_shared_noises",
        "limit",
    )

    def __init__(
        self, messages: SharedLimits | None, noise: SharedLimits, address: str | None, now: float
    ) -> None:
        self._messages = messages
        self._name: Hashable = None
        """Under which name the limit of the messages is shared, if it is."""
        self.limit: RateLimit | None = None
        """Of its messages, if they have one."""
        if messages is not None and address is not None:
            self._name = ("address", address)
            self.limit = messages.enter(self._name, now)
        elif messages is not None:
            self.limit = RateLimit(messages.rate, messages.burst)
        self._address = address
        self._shared_noises = noise
        # Most never make any.
        self._noise: RateLimit | None = None
        self._shared_noise: RateLimit | None = None

    def identified(self, user: str | None, now: float) -> None:
        """From now on the messages are this user's, and so was the join.

        Those of an anonymous one (None) stay its address's. So does a join of a user over its
        limit: otherwise it could join as often as it likes, and each join costs much.
        """
        if self._messages is None or self.limit is None or user is None:
            return
        address, name = self.limit, self._name
        self._name = ("user", user)
        self.limit = self._messages.enter(self._name, now)
        if not self.limit.charge(1, now):
            address.refund()
        if name is not None:
            self._messages.leave(name, now)

    def noise(self, cost: float, now: float) -> float:
        """Count frames that say nothing; return for how many seconds no more are wanted."""
        if self._noise is None:
            self._noise = RateLimit(NOISE_RATE, NOISE_BURST)
            if self._address is not None:
                self._shared_noise = self._shared_noises.enter(self._address, now)
        wait = self._noise.charge(cost, now)
        if self._shared_noise is not None:
            wait = max(wait, self._shared_noise.charge(cost, now))
        return wait

    def leave(self, now: float) -> None:
        """The connection has ended."""
        self._leave_messages(now)
        if self._shared_noise is not None:
            self._shared_noises.leave(self._address, now)
            self._shared_noise = None

    def _leave_messages(self, now: float) -> None:
        if self._messages is not None and self._name is not None:
            self._messages.leave(self._name, now)
            self._name = None


def refused(size: int) -> int:
    """Return what a message of so many bytes counts as noise that isn't taken."""
    return 2 + size // BYTES_OF_NOISE


def address_of(peer: str | None) -> str | None:
    """Return whose address it is: of IPv6, anybody has as many as 64 bits can tell apart."""
    if peer is None or ":" not in peer:
        return peer
    try:
        address = ipaddress.IPv6Address(peer)
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
