"""The calls: how a store uses its connections, each on a worker thread."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import Concatenate, ParamSpec, TypeVar

import trio
from attrs import define, field

from squire_gatherings._rules.silence import Silences
from squire_gatherings._stores.group_commit import GroupCommitter, Report, Take
from squire_gatherings._stores.postgres import nodes
from squire_gatherings._stores.postgres.claiming import Claimed, Claiming
from squire_gatherings._stores.postgres.claims import Claims
from squire_gatherings._stores.postgres.link import Call, Connection, Link
from squire_gatherings._stores.postgres.lost_commits import LostCommits
from squire_gatherings._stores.postgres.writer import Writer

T = TypeVar("T")
P = ParamSpec("P")

LONG = 600.0
"""How many seconds a call about a whole log may hear nothing from the database."""


@define(eq=False)
class Pool:
    """Connections that are used one at a time by whoever comes."""

    links: list[Link]
    _free: list[Link] = field(init=False)
    _tokens: trio.Semaphore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._free = list(self.links)
        self._tokens = trio.Semaphore(len(self.links))

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[Link]:
        """Have one of them.

        Cancellation: while all are in use, it takes none.
        """
        async with self._tokens:
            # The one that was used last: the others may rest.
            link = self._free.pop()
            try:
                yield link
            finally:
                self._free.append(link)


@define(eq=False)
class Calls:
    """A database, and the connections to it."""

    name: str
    _schema: str = field(kw_only=True, repr=False)
    _write_link: Link = field(kw_only=True, repr=False)
    _readers: Pool = field(kw_only=True, repr=False)
    _look_link: Link = field(kw_only=True, repr=False)
    """The connection for what reads whole logs, which may take long."""
    _claims: Claims = field(kw_only=True, repr=False)
    _lost: LostCommits = field(kw_only=True, repr=False)
    _lease_duration: float = field(kw_only=True, repr=False)
    """How many seconds a node may be silent until others may declare it dead."""
    _silences: Silences = field(factory=Silences, init=False, repr=False)
    """Of those whose gatherings we claim by ourselves. Used on the writer's thread."""
    _writer: Writer = field(init=False, repr=False)
    _committer: GroupCommitter = field(init=False, repr=False)
    _claiming: Claiming[int] = field(init=False, repr=False)
    _tells_events: bool = field(default=False, init=False, repr=False)
    """Whether a hall has the outbox of lifecycle events."""

    def __attrs_post_init__(self) -> None:
        self._writer = Writer(self._claims, self._write_link)
        self._committer = GroupCommitter(self._commit)
        self._claiming = Claiming(self._claim)

    @property
    def commits(self) -> int:
        """How many group commits there were."""
        return self._committer.commits

    @property
    def lost_commits(self) -> int:
        """In how many logs the database was found to have lost what was acknowledged."""
        return self._lost.count

    async def _read(
        self,
        function: Callable[Concatenate[Connection, str, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read with one of the readers' connections."""
        call = partial(_with, function, self._schema, args, kwargs)
        async with self._readers.taken() as link:
            return await link.call(call)

    async def _look(
        self,
        function: Callable[Concatenate[Connection, str, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read whole logs."""
        call = partial(_with, function, self._schema, args, kwargs)
        return await self._look_link.call(call, LONG)

    async def _write(
        self,
        function: Callable[Concatenate[Connection, str, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a function on the writer's thread, as soon as the commit under way is over."""
        call = partial(_with, function, self._schema, args, kwargs)
        return await self._in_between(call)

    async def _in_between(
        self, call: Call[T], timeout: float | None = None, *, repeats: bool = True
    ) -> T:
        # Several may do so at once.
        self._writer.wanted += 1
        try:
            return await self._write_link.call(call, timeout, repeats=repeats)
        finally:
            self._writer.wanted -= 1

    async def _claim(self, gatherings: Iterable[str]) -> Claimed:
        """Make gatherings ours that have no owner; see `claiming.Claiming`."""

        def claim(connection: Connection) -> Claimed:
            owners = self._claims.claim(connection, gatherings)
            if {*owners.values()} <= {self._claims.node} or not self._claims.takes:
                return owners
            if self._declare_dead(connection, {*owners.values()}):
                owners = self._claims.claim(connection, gatherings)
            return owners

        return await self._in_between(claim)

    def _declare_dead(self, connection: Connection, owners: set[int | None]) -> int:
        """Declare those of these dead that are silent for a lease, by our own clock."""
        now, silences = monotonic(), self._silences
        found = nodes.living(connection, self._schema, [one for one in owners if one is not None])
        silent: list[tuple[str, int]] = []
        for node in found.values():
            silences.saw(node.id, node.beats, now)
            if silences.seconds(node.id, node.beats, now) >= self._lease_duration:
                silent.append((node.id, node.beats))
        return (
            nodes.declare_dead(connection, self._schema, self._claims.node, silent) if silent else 0
        )

    async def _commit(self, take: Take, report: Report) -> None:
        """Commit batch after batch in one call; see `group_commit.Session`."""
        await self._write_link.call(partial(self._writer.append_batches, take, report))


def _with(
    function: Callable[..., T],
    schema: str,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    connection: Connection,
) -> T:
    return function(connection, schema, *args, **kwargs)
