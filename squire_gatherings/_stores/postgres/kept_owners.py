"""What a store of PostgreSQL does as one of several nodes; see `_hall.owner_store`."""

from collections.abc import Iterable, Sequence

import trio
from attrs import define, field

from squire_gatherings._rules.clock_offset import ClockOffset
from squire_gatherings._rules.lease import Lease
from squire_gatherings._stores.postgres import nodes, owners
from squire_gatherings._stores.postgres.calls import Calls
from squire_gatherings._stores.postgres.claiming import Claiming
from squire_gatherings._stores.postgres.link import Connection, Link
from squire_gatherings._stores.postgres.tables import can_be_asked
from squire_gatherings._values.claims import Claim, Estate
from squire_gatherings._values.errors import DeclaredDead, StoreUnavailable
from squire_gatherings._values.nodes import Node

LEASE = 5.0
"""How many seconds a node may be silent until others may declare it dead."""

MARGIN = 0.1
"""So large a part of that before, it shows nothing any more."""

RETRY_INTERVAL = 0.25
"""Every so many seconds we try again to release what has ended."""

CLAIMS = 3
"""How often a gathering is claimed that others claim at the same moment."""


def new_lease(duration: float) -> Lease:
    """Return the lease of a node that has no beat yet."""
    return Lease(duration, duration * MARGIN)


@define(eq=False, slots=False)
class KeptOwners(Calls):
    """Which node has which gathering."""

    lease: Lease = field(kw_only=True)
    """How long what we own stays ours."""
    _node: Node = field(kw_only=True, repr=False)
    _beat_link: Link = field(kw_only=True, repr=False)
    """A connection for beats alone: nothing holds them up."""
    _offset: ClockOffset = field(factory=ClockOffset, init=False, repr=False)
    _estates: owners.Estates = field(factory=owners.Estates, init=False, repr=False)
    _hall_claims: Claiming[Claim] = field(init=False, repr=False)
    _released: dict[str, trio.Event] = field(factory=dict, init=False, repr=False)
    """What is to be released; each event says that it is."""
    _to_release: trio.Event = field(factory=trio.Event, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        Calls.__attrs_post_init__(self)
        self._hall_claims = Claiming(self._claim_for_hall)

    @property
    def node(self) -> Node:
        """The node that we are."""
        return self._node

    def ahead(self) -> float:
        """Return how many seconds the database's clock is ahead of Trio's."""
        return self._offset.seconds

    # Being a node.

    async def enroll(self, node: Node) -> None:
        """Become this node.

        Raises:
            StoreUnavailable: The database can't be asked now.

        Cancellation: it may be one, which is declared dead in time.
        """
        lease = new_lease(self._lease_duration)
        claims, was_alone = self._claims, self._claims.takes

        def enroll(connection: Connection, schema: str) -> None:
            key = nodes.register(connection, schema, node, lease.duration)
            if was_alone:
                nodes.leave(connection, schema, claims.node)
            claims.node, claims.takes = key, False
            claims.forget_all()

        sent_at = trio.current_time()
        await self._write(enroll)
        self._node, self.lease = node, lease
        for released in self._released.values():
            released.set()
        self._released.clear()
        time = await self._beat_link.call(
            lambda connection: nodes.beat(connection, self._schema, claims.node, node)
        )
        if time is not None:
            lease.beaten(sent_at)
            self._offset.heard(sent_at, trio.current_time(), time)

    async def beat(self, node: Node) -> tuple[Node, ...]:
        """Say that we live; return all nodes that aren't declared dead.

        Raises:
            DeclaredDead: We were declared dead.
            StoreUnavailable: The database can't be asked now.

        Cancellation: it may have been said.
        """
        lease, key, sent_at = self.lease, self._claims.node, trio.current_time()
        time, found = await self._beat_link.call(
            lambda connection: (
                nodes.beat(connection, self._schema, key, node),
                tuple(nodes.living(connection, self._schema).values()),
            )
        )
        if time is None:
            raise DeclaredDead(f"node {node.name} was declared dead")
        self._node = node
        lease.beaten(sent_at)
        self._offset.heard(sent_at, trio.current_time(), time)
        return found

    async def resign(self) -> None:
        """Be no node any more. Another one goes on with what is left.

        Raises:
            StoreUnavailable: The database can't be asked now: we are declared dead in time.

        Cancellation: we may be none any more.
        """
        self.lease.lost()
        await self._write(nodes.leave, self._claims.node)

    async def inherit(self, node: Node) -> bool:
        """Declare a node dead that has had no beat since it was as it is here.

        Raises:
            StoreUnavailable: The database can't be asked now.

        Cancellation: it may be dead.
        """
        seen = [(node.id, node.beats)]
        return await self._write(nodes.declare_dead, self._claims.node, seen) > 0

    # Having gatherings.

    async def claim(self, gathering: str) -> Claim:
        """Own a gathering, unless another node has it; with all others that are claimed now.

        Raises:
            StoreUnavailable: The database can't be asked now, or nobody can tell.

        Cancellation: it may be ours.
        """
        released = self._released.get(gathering)
        if released is not None:
            await released.wait()
            if gathering in self._released:
                raise StoreUnavailable(f"{gathering} can't be released now")
        for _ in range(CLAIMS):
            found = await self._hall_claims.claim(gathering)
            if found is not None:
                return found
        raise StoreUnavailable(f"{gathering} can't be taken now")

    async def owner_of(self, gathering: str) -> Claim | None:
        """Return who has a gathering; None if nobody.

        Raises:
            StoreUnavailable: The database can't be asked now.

        Cancellation: nothing is changed.
        """
        return await self._read(owners.owner_of, gathering)

    def release_nowait(self, gathering: str) -> None:
        """Own a gathering no more, soon: with all others that are released then."""
        self._claims.forget(gathering)
        self._released.setdefault(gathering, trio.Event())
        self._to_release.set()

    async def give(self, gatherings: Sequence[str], to: Node) -> tuple[str, ...]:
        """Give gatherings that sleep to another node; return those that aren't ours any more.

        Raises:
            StoreUnavailable: The database can't be asked now.

        Cancellation: they may be given.
        """
        given = await self._write(owners.give, self._claims.node, gatherings, to)
        self._claims.forget(*given)
        return given

    async def arrived(self, limit: int) -> tuple[Estate, ...]:
        """Return what other nodes have left to us, or to nobody.

        Raises:
            StoreUnavailable: The database can't be asked now.

        Cancellation: it may be ours.
        """
        return await self._in_between(
            lambda connection: self._estates.arrived(connection, self._claims, limit)
        )

    async def settle(self, gatherings: Sequence[str]) -> None:
        """Note that what was left was taken up.

        Raises:
            StoreUnavailable: The database can't be asked now.

        Cancellation: it may be noted.
        """
        await self._write(owners.settle, self._claims.node, gatherings)

    async def _claim_for_hall(self, gatherings: Iterable[str]) -> dict[str, Claim | None]:
        wanted = tuple(filter(can_be_asked, gatherings))
        return await self._in_between(
            lambda connection: owners.claim(connection, self._claims, wanted)
        )

    async def _keep_releasing(self) -> None:
        """Release what is to be, many at once, until cancelled."""
        while True:
            await self._to_release.wait()
            self._to_release = trio.Event()
            some = dict(self._released)
            try:
                for one in some:
                    await self._committer.settled(one)
                await self._write(owners.release, self._claims.node, tuple(some))
            except StoreUnavailable:
                for one, released in some.items():
                    if self._released.get(one) is released:
                        self._released[one] = trio.Event()
                    released.set()
                self._to_release.set()
                await trio.sleep(RETRY_INTERVAL)
                continue
            for one, released in some.items():
                if self._released.get(one) is released:
                    del self._released[one]
                released.set()
