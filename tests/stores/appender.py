"""A program that appends to a store until it is killed, and says what was acknowledged."""

import os
import sys

import trio

from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores import SqliteStore, open_sqlite_store
from squire_gatherings._values.log import Append
from tests.stores.appends import an_append

GATHERINGS = "abcde"


def count_of(first: int) -> int:
    """Return the number of ops in the append that begins at `first`: the same in each life."""
    return 1 + first % 3


async def go_on(store: SqliteStore, gathering: str) -> None:
    """Append one after the other, as a gathering does."""
    head = (await store.load(gathering, recent_syncs=1)).seq
    while True:
        count = count_of(head + 1)
        await appended(store, an_append(gathering, head + 1, count, snapshot=not head % 5))
        head += count
        # The pipe takes so few bytes whole, or not at all.
        os.write(1, f"{gathering} {head}\n".encode())


async def appended(store: SqliteStore, append: Append) -> None:
    outcomes: list[Outcome] = []
    told = trio.Event()

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        told.set()

    store.append_nowait(append, ended)
    await told.wait()
    assert outcomes == [None], outcomes


async def main(path: str, journal_bytes: int) -> None:
    async with (
        open_sqlite_store(path, journal_bytes=journal_bytes) as store,
        trio.open_nursery() as nursery,
    ):
        for gathering in GATHERINGS:
            nursery.start_soon(go_on, store, gathering)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
