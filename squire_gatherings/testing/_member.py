"""The member: somebody who joined a gathering with the client library, and reads all the time."""

from datetime import datetime
from typing import Any

import trio
from attrs import define, field
from trio.testing import wait_all_tasks_blocked

from squire_gatherings._client.gathering import Gathering
from squire_gatherings._rules.change_queue import Change
from squire_gatherings._values.errors import GatheringsError, LogReplaced
from squire_gatherings._values.log import Page
from squire_gatherings._values.messages import Dispersed
from squire_gatherings.testing._link import Break, Link
from squire_gatherings.testing._network import Network

LOOKS_AGAIN = 0.05
"""The seconds after which a member that waits for ops looks again."""


@define(eq=False)
class Member:
    """One client of the library in a gathering, which keeps what it is told.

    It is made by `HallUnderTest.join`. `gathering` is the library's own object, for whatever isn't
    here. Nobody else may iterate over it: a task of the test's hall does, until the member leaves.
    """

    name: str
    """Its user, and the name of its links."""
    gathering: Gathering
    """What a program sees of the gathering."""
    changes: list[Change] = field(factory=list)
    """What others did, in order."""
    notices: list[Dispersed] = field(factory=list)
    """The notices of the ends that it was told of."""
    replaced: int = 0
    """How often it was told that the log is another one; `changes` begin anew then."""
    error: GatheringsError | None = None
    """What ended its stay for good, if anything did."""
    _network: Network = field(kw_only=True, repr=False)
    _stay: trio.CancelScope = field(kw_only=True, repr=False)
    gone: trio.Event = field(factory=trio.Event, init=False, repr=False)
    """Set when it has left."""
    _news: trio.lowlevel.ParkingLot = field(
        factory=trio.lowlevel.ParkingLot, init=False, repr=False
    )

    # What it does.

    async def submit(self, op: dict[str, Any], *, sync_id: str | None = None) -> int:
        """Submit an op; return its seq once it is durable. As `Gathering.submit`."""
        return await self.gathering.submit(op, sync_id=sync_id)

    async def submit_all(self, *ops: dict[str, Any], sync_id: str | None = None) -> tuple[int, ...]:
        """Submit ops as one sync; return their seqs. As `Gathering.submit_all`."""
        return await self.gathering.submit_all(ops, sync_id=sync_id)

    async def fetch(self, *, at: int | datetime, since: int | None = None) -> Page:
        """Return the gathering as it was. As `Gathering.fetch`."""
        return await self.gathering.fetch(at=at, since=since)

    async def leave(self) -> None:
        """Say goodbye, and return when it has left.

        Cancellation: A checkpoint; it leaves all the same.
        """
        self._stay.cancel()
        await self.gone.wait()

    # What it sees.

    @property
    def state(self) -> Any:
        """A copy of the state that the behaviour has here."""
        return self.gathering.snapshot()

    @property
    def seq(self) -> int:
        """The last op that has arrived."""
        return self.gathering.seq

    @property
    def notice(self) -> Dispersed | None:
        """The last notice; None if there was none."""
        return self.notices[-1] if self.notices else None

    async def wait_seq(self, seq: int) -> None:
        """Return when all ops up to `seq` have arrived, and were read.

        Raises:
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint; nothing changes.
        """
        await wait_all_tasks_blocked()
        while self.seq < seq:
            if self.error is not None:
                raise self.error
            # On a virtual clock that costs nothing.
            await trio.sleep(LOOKS_AGAIN)
            await wait_all_tasks_blocked()

    async def wait_notice(self, count: int = 1) -> Dispersed:
        """Return the notice of an end when it has come.

        Args:
            count: Of which end: by default the first that it is told of.

        Raises:
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint; nothing changes.
        """
        await trio.lowlevel.checkpoint()
        while len(self.notices) < count:
            if self.error is not None:
                raise self.error
            await self._news.park()
        return self.notices[count - 1]

    # Its connection.

    @property
    def links(self) -> list[Link]:
        """Its connections, from first to last."""
        return self._network.of(self.name)

    def cut(self, how: Break = "end") -> None:
        """Break its connection, as a network does. The library connects again by itself."""
        self._network.cut(self.name, how)

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing through in these directions, on its connection as it is now."""
        for link in self.links[-1:]:
            link.stall(up=up, down=down)

    def release(self) -> None:
        """Let everything through again."""
        for link in self.links[-1:]:
            link.stall(up=False, down=False)

    async def read(self) -> None:
        """Read until its stay ends for good. A task of the test's hall does this.

        Cancellation: nothing that was read is lost.
        """
        while self.error is None:
            await self._read_on()
            self._news.unpark_all()

    async def _read_on(self) -> None:
        try:
            async for change in self.gathering:
                self.changes.append(change)
                self._news.unpark_all()
        except LogReplaced:
            self.replaced += 1
            self.changes.clear()
        except GatheringsError as error:
            self.error = error
        else:
            if self.gathering.dispersed is not None:
                self.notices.append(self.gathering.dispersed)
