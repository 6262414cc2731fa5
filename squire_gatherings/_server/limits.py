"""Limits: what a user, an address and a connection may cost the ways into a hall.

They belong to the hall and not to a connection, so that a new connection is no new beginning.
"""

import heapq
import math
from collections.abc import Callable, Hashable
from typing import Protocol
from weakref import WeakKeyDictionary

import trio
from attrs import define, field

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._rules.budget import CONNECTION_COST, NO_CONNECTIONS
from squire_gatherings._rules.door import Door, Turned, Visitor, never
from squire_gatherings._rules.places import Places, is_full
from squire_gatherings._rules.rate_limit import Allowance, RateLimit, SharedLimits
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.addresses import address_of

NOISE_RATE, NOISE_BURST = 500, 2000
"""How many frames that say nothing (pings, pongs, tiny fragments; what can't be understood counts
twice) a connection may send a second, and at once. Each costs some 10 µs."""

BYTES_OF_NOISE = 128
"""So many bytes that must be decoded cost as much as one such frame."""

ADDRESS_SHARE = 2
"""How much more of them all connections from one address may send together."""

AGAIN_AFTER = 0.1
"""How many seconds pass until clients are closed again, where closing them didn't free enough."""


NO_RATES = (None, None, None)

PATIENCE = 5.0
"""How many seconds newcomers are refused, for want of memory, before others are closed for it."""

FORGOTTEN = 60.0
"""The last refusal doesn't count any more after so many seconds without another one."""

SHORT_OF = {
    Limit.MEMORY: "too slow: the server's memory is used up",
    Limit.OUTBOUND: "too slow: what waits for all slow readers is too much",
}
"""What those are told that are closed for what they hold."""


class Holder(Protocol):
    """A connection that holds memory."""

    @property
    def held(self) -> int:
        """How many bytes wait in it: for a slow reader, or for the rest of a message."""
        ...

    def give_up(self, why: str) -> None:
        """Close it with 4008, and free them."""
        ...


@define(eq=False)
class Limits:
    """The limits of one hall and all ways into it; `limits_of` makes them."""

    quotas: Quotas = field(factory=Quotas)
    door: Door = field(factory=Door)
    clients: Places = field(factory=Places)
    """Those who have said `join`, by address."""
    holders: set[Holder] = field(factory=set)
    _rates: dict[tuple[str, float, int], SharedLimits] = field(factory=dict)
    _noise: SharedLimits = field(
        factory=lambda: SharedLimits(NOISE_RATE * ADDRESS_SHARE, NOISE_BURST * ADDRESS_SHARE)
    )
    _not_before: float = 0.0
    _short_since: float = 0.0
    """When newcomers began to be refused, for want of memory."""
    _short_at: float = -math.inf
    """When a newcomer was refused last."""

    def __attrs_post_init__(self) -> None:
        self.quotas.budget.relieve = self.relieve

    # At the door.

    def come(
        self,
        settings: ServerSettings,
        peer: str | None,
        give_way: Callable[[], None],
        has_spoken: Callable[[], bool] = never,
    ) -> Visitor | None:
        """Let somebody stand at the door, who must `go`; None if it is turned away."""
        visitor = Visitor(address_of(peer), give_way, has_spoken)
        turned = self.door.come(
            visitor, settings.max_handshakes, settings.max_handshakes_per_address
        )
        if turned is not None:
            self._turned(turned, peer)
            return None
        self.quotas.budget.connections += 1
        return visitor

    def found(self, visitor: Visitor, settings: ServerSettings, peer: str | None) -> bool:
        """Note the address from which somebody comes; False if it's turned away for that."""
        self.door.leave(visitor)
        visitor.address = address_of(peer)
        turned = self.door.come(
            visitor, settings.max_handshakes, settings.max_handshakes_per_address
        )
        if turned is not None:
            self._turned(turned, peer)
            return False
        self.door.heard(visitor)
        return True

    def go(self, visitor: Visitor) -> None:
        """Its connection has ended."""
        self.door.leave(visitor)
        self.quotas.budget.connections -= 1

    def _turned(self, turned: Turned, peer: str | None) -> None:
        limit = Limit(turned.value)
        self.quotas.enforced(limit, "too many handshakes under way", peer=peer)

    def check(self, settings: ServerSettings, peer: str | None) -> None:
        """Check whether there's a place for one more client.

        Raises:
            Full: There is none in all, or for its address, or no memory for it.
        """
        quotas = self.quotas
        if is_full(self.clients.total, settings.max_connections):
            why = "the server has all the clients that it takes"
            raise quotas.refuse(Limit.CONNECTIONS, why, peer=peer)
        address = address_of(peer)
        if address is not None and is_full(
            self.clients.of(address), settings.max_connections_per_address
        ):
            why = "the server has all the clients that it takes from your address"
            raise quotas.refuse(Limit.CONNECTIONS_PER_ADDRESS, why, peer=peer)
        if not quotas.budget.takes_connections:
            self._make_room()
        if not quotas.budget.takes_connections:
            why = "the server has no memory for one more client"
            raise quotas.refuse(Limit.MEMORY, why, peer=peer)

    # Inside.

    def enter(
        self,
        settings: ServerSettings,
        peer: str | None,
        now: float,
        visitor: Visitor | None = None,
    ) -> "Meter":
        """Return the meter of a new connection from `peer`; `Meter.leave` comes at its end.

        A connection that was no `visitor` is counted by its meter.
        """
        return Meter(self, settings, peer, now, visitor)

    def rates(self, settings: ServerSettings) -> tuple[SharedLimits | None, ...]:
        """Return the limits of messages, bytes and ops that settings ask for."""
        if settings.rate_limit is settings.rate_bytes is settings.rate_ops is None:
            return NO_RATES
        return (
            self._shared("messages", settings.rate_limit, settings.rate_burst),
            self._shared("bytes", settings.rate_bytes),
            self._shared("ops", settings.rate_ops),
        )

    def _shared(
        self, kind: str, rate: float | None, burst: int | None = None
    ) -> SharedLimits | None:
        if rate is None:
            return None
        # What may come in two seconds may come at once, too.
        key = (kind, rate, max(1, int(2 * rate)) if burst is None else burst)
        shared = self._rates.get(key)
        if shared is None:
            shared = self._rates[key] = SharedLimits(key[1], key[2])
        return shared

    def relieve(self) -> None:
        """Close the clients that hold most, until the budget is kept.

        Where there isn't enough to be freed, it's tried again after a while: looking costs time.
        """
        now = trio.current_time()
        if now < self._not_before:
            return
        budget = self.quotas.budget
        is_outbound = budget.max_outbound is not None and budget.outbound > budget.max_outbound
        limit = Limit.OUTBOUND if is_outbound else Limit.MEMORY
        if not self._free(budget.excess, limit):
            self._not_before = now + AGAIN_AFTER

    def _make_room(self) -> None:
        """Close the clients that hold most, if newcomers were refused for long.

        Otherwise clients that hold just so much that none is closed would keep all others out.
        """
        now = trio.current_time()
        if now - self._short_at > FORGOTTEN:
            self._short_since = now
        self._short_at = now
        if now - self._short_since >= PATIENCE:
            self._short_since = now
            self._free(self.quotas.budget.over(NO_CONNECTIONS) + CONNECTION_COST, Limit.MEMORY)

    def _free(self, excess: int, limit: Limit) -> bool:
        """Close the clients that hold most, until so many bytes are free; say whether they are."""
        sizes = [(holder.held, number, holder) for number, holder in enumerate(self.holders)]
        for size, _, holder in heapq.nlargest(len(sizes), (one for one in sizes if one[0])):
            if excess <= 0:
                break
            why = SHORT_OF[limit]
            self.quotas.enforced(limit, why, bytes=size)
            holder.give_up(why)
            excess -= size
        return excess <= 0


_limits: WeakKeyDictionary[Hall, Limits] = WeakKeyDictionary()


def limits_of(hall: Hall) -> Limits:
    """Return the limits that all ways into a hall share."""
    found = _limits.get(hall)
    if found is None:
        found = _limits[hall] = Limits(quotas_of(hall))
    return found


class Meter:
    """What one connection costs, on its own account, its address's and its user's."""

    __slots__ = (
        "_address",
        "_has_place",
        "_limits",
        "_name",
        "_noise",
        "_peer",
        "_rates",
        "_settings",
        "_shared_noise",
        "_visitor",
        "allowance",
    )

    def __init__(
        self,
        limits: Limits,
        settings: ServerSettings,
        peer: str | None,
        now: float,
        visitor: Visitor | None = None,
    ) -> None:
        self._limits = limits
        self._settings = settings
        self._peer = peer
        self._address = address_of(peer)
        self._visitor = visitor
        self._has_place = False
        if visitor is None:
            limits.quotas.budget.connections += 1
        limits.quotas.tally.connections += 1
        self._rates = limits.rates(settings)
        self._name: Hashable = None
        """The name under which the limits of what it says are shared, if they are."""
        self.allowance: Allowance | None = None
        """What it may say, if that is limited."""
        if any(one is not None for one in self._rates):
            if self._address is None:
                self.allowance = Allowance(*map(_alone, self._rates))
            else:
                self._name = ("address", self._address)
                self.allowance = self._share(now)
        # Most never make any.
        self._noise: RateLimit | None = None
        self._shared_noise: RateLimit | None = None

    @property
    def quotas(self) -> Quotas:
        """What all of the hall share."""
        return self._limits.quotas

    @property
    def peer(self) -> str | None:
        """The client's address."""
        return self._peer

    def heard(self) -> None:
        """The client has said `join`, and waits for its turn: it isn't silent."""
        if self._visitor is not None:
            self._limits.door.heard(self._visitor)

    def come_in(self) -> None:
        """The client has said `join`: it stands at the door no more, and takes a client's place.

        Raises:
            Full: There is none.
        """
        if self._visitor is not None:
            self._limits.door.leave(self._visitor)
        self._limits.check(self._settings, self._peer)
        self._limits.clients.take(self._address)
        self._has_place = True

    def resume(self, user: str | None, now: float) -> None:
        """Another process let the client in: it has its place, even where there'd be none."""
        self._limits.clients.take(self._address)
        self._has_place = True
        if self.allowance is not None and user is not None:
            before, self._name = self._name, ("user", user)
            self.allowance = self._share(now)
            self._unshare(before, now)

    def identified(self, user: str | None, now: float) -> None:
        """From now on what it says is this user's, and so was the join.

        Those of an anonymous one (None) stay its address's. So does a join of a user over its
        limit: otherwise it could join as often as it likes, and each join costs much.
        """
        before, name = self.allowance, self._name
        if before is None or user is None:
            return
        self._name = ("user", user)
        self.allowance = self._share(now)
        messages = self.allowance.messages
        if messages is not None and not messages.charge(1, now) and before.messages is not None:
            before.messages.refund()
        self._unshare(name, now)

    def noise(self, cost: float, now: float) -> float:
        """Count frames that say nothing; return how many seconds no more are wanted."""
        if self._noise is None:
            self._noise = RateLimit(NOISE_RATE, NOISE_BURST)
            if self._address is not None:
                self._shared_noise = self._limits._noise.enter(self._address, now)
        wait = self._noise.charge(cost, now)
        if self._shared_noise is not None:
            wait = max(wait, self._shared_noise.charge(cost, now))
        if wait:
            why = "a client isn't read for a while: it sends what says nothing"
            self.enforced(Limit.NOISE, why)
        return wait

    def enforced(self, limit: Limit, why: str) -> None:
        """Count that a limit was enforced against this client."""
        self.quotas.enforced(limit, why, peer=self._peer)

    def leave(self, now: float, code: int) -> None:
        """The connection has ended, with this close code."""
        limits = self._limits
        limits.quotas.tally.closes[code] += 1
        if self._has_place:
            limits.clients.leave(self._address)
            self._has_place = False
        if self._visitor is None:
            limits.quotas.budget.connections -= 1
        self._unshare(self._name, now)
        self._name = None
        if self._shared_noise is not None:
            limits._noise.leave(self._address, now)
            self._shared_noise = None

    def _share(self, now: float) -> Allowance:
        messages, size, ops = self._rates
        return Allowance(
            None if messages is None else messages.enter(self._name, now),
            None if size is None else size.enter(self._name, now),
            None if ops is None else ops.enter(self._name, now),
        )

    def _unshare(self, name: Hashable, now: float) -> None:
        if name is not None:
            for one in self._rates:
                if one is not None:
                    one.leave(name, now)


def _alone(shared: SharedLimits | None) -> RateLimit | None:
    return None if shared is None else RateLimit(shared.rate, shared.burst)


def refused(size: int) -> int:
    """Return what a message of so many bytes counts as noise that isn't taken."""
    return 2 + size // BYTES_OF_NOISE
