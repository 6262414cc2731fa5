"""The store in memory makes its chain when it is asked, and it is the same as any other's."""

import pytest
import trio
from msgspec.structs import replace

from squire_gatherings._stores import MemoryStore
from squire_gatherings._stores.memory_log import (
    CHAINED_AT_ONCE,
    CHAINED_IN_PASSING,
    MOST_UNCHAINED,
    Log,
)
from squire_gatherings._values.errors import LogDeleted
from squire_gatherings._values.log import Append
from tests.stores.chained import Chain


def unchained(append: Append) -> Append:
    """Return an append as a gathering makes it that knows no head."""
    snapshot = append.snapshot
    if snapshot is not None:
        snapshot = type(snapshot)(snapshot.seq, snapshot.state)
    return replace(append, snapshot=snapshot, head=None)


async def two_logs(count: int) -> tuple[MemoryStore, MemoryStore, Chain]:
    """Make a log of so many appends in two stores: only one of them is told the heads."""
    told, untold, chain = MemoryStore(), MemoryStore(), Chain("a")
    for n in range(count):
        append = chain.append(1 + n % 3, snapshot=n % 50 == 7)
        plain = unchained(append)
        await told.append(append)
        await untold.append(plain)
        assert plain.head is None
    return told, untold, chain


@pytest.mark.parametrize("count", [1, 2 * CHAINED_AT_ONCE + 1])
async def test_the_chain_is_the_same_as_if_it_were_made_at_once(count: int) -> None:
    for what in ("load", "links", "heads", "fork", "delete", "has", "end", "list"):
        if count > 1 and what not in ("load", "heads"):
            continue
        told, untold, chain = await two_logs(count)
        for store in (told, untold):
            match what:
                case "load":
                    assert (await store.load("a", recent_syncs=1)).head == chain.head
                case "heads":
                    assert await store.find_head("a", seq=chain.seq) == chain.head
                case "fork":
                    assert await store.fork("a", "b", seq=1) == 1
                case "delete":
                    tombstone = await store.delete("a", time=1)
                    assert tombstone is not None
                    assert tombstone.head == chain.head
                case "has":
                    assert await store.has_log("a", first_seq=1, seq=chain.seq, head=chain.head)
                case "end":
                    assert await store.end_of_append("a", seq=chain.seq) == chain.seq
                case "list":
                    assert [one.head for one in await store.list_logs()] == [chain.head]
        links = [
            await store.read_links("a", after=0, up_to=chain.seq, max_bytes=10**9)
            for store in (told, untold)
        ]
        assert links[0] == links[1]
        assert await told.describe("a") == await untold.describe("a")
        assert await told.load("a", recent_syncs=9) == await untold.load("a", recent_syncs=9)


def test_only_so_many_appends_lack_their_heads() -> None:
    log, chain = Log(), Chain("a")
    most, at_once, known = 0, 0, 0
    for _ in range(MOST_UNCHAINED + 3 * CHAINED_IN_PASSING):
        log.add(unchained(chain.append()))
        most = max(most, len(log.unchained))
        at_once, known = max(at_once, len(log.heads) - known), len(log.heads)
    assert most == MOST_UNCHAINED
    assert at_once == CHAINED_IN_PASSING
    while log.chain_some():
        pass
    assert log.head == chain.head


async def test_others_get_their_turn_while_a_long_chain_is_made() -> None:
    _, store, chain = await two_logs(3 * CHAINED_AT_ONCE)
    found: list[bytes | None] = []

    async def look() -> None:
        found.append(await store.find_head("a", seq=chain.seq + 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        # It is appended while the chain is made.
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        assert not found
        await store.append(unchained(chain.append()))
    assert found == [chain.head]


async def test_who_knows_no_head_cannot_append_after_a_deletion() -> None:
    _, store, chain = await two_logs(2)
    deleted = await store.delete("a", time=1)
    assert deleted is not None
    # Others have begun a new log, which has as many ops as the old one.
    new = Chain("a", head=deleted.head)
    for count in (1, 2):
        append = replace(unchained(new.append(count)), before=deleted.head)
        await store.append(append)
        assert append.head == new.head
        deleted = type(deleted)("a", new.seq, new.head, 1)
    assert new.seq == chain.seq
    with pytest.raises(LogDeleted):
        await store.append(unchained(chain.append()))
    await store.append(replace(unchained(new.append()), before=deleted.head))
