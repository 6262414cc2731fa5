"""A store in trouble: callers are told, nothing is lost, and all goes on by itself."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.store import Outcome, Unstorable
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append
from squire_gatherings._values.messages import Ack, Error, Joined, Sync, Synced
from squire_gatherings._values.op import Op
from squire_gatherings.testing import FailingStore
from tests.support import Recorder

ROOM = "friday-night"


def sync(name: str) -> Sync:
    return Sync(name, 0, (Op.of({"n": name}),))


@pytest.mark.parametrize("says_later", [False, True])
@pytest.mark.parametrize("ambiguous", [False, True])
async def test_clients_are_told_and_their_ops_kept_until_the_store_is_back(
    ambiguous: bool,
    says_later: bool,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FailingStore(MemoryStore(), nursery if says_later else None)
    store.trouble("append", "slow")
    async with open_hall(store=store) as hall:
        author, reader = Recorder(), Recorder()
        membership = await hall.join(ROOM, author)
        reading = await hall.join(ROOM, reader)
        await hall.submit(ROOM, [{"n": "before"}])
        reading.deliver_nowait(Ack(1))
        membership.deliver_nowait(Ack(1))

        locked = StoreUnavailable("database is locked")
        store.trouble("append", "torn" if ambiguous else "busy", error=locked)
        membership.deliver_nowait(sync("kept"))
        await wait_all_tasks_blocked()
        assert author.of(Error) == [Error("store_unavailable", "database is locked", "kept")]
        membership.deliver_nowait(sync("refused"))
        await wait_all_tasks_blocked()
        assert [error.id for error in author.of(Error)] == ["kept", "refused"]
        with pytest.raises(StoreUnavailable):
            await hall.submit(ROOM, [{"n": "refused too"}])
        # All clients see the durable ops, and no client sees the others.
        late = Recorder()
        late_membership = await hall.join(ROOM, late, since=0)
        [joined] = late.of(Joined)
        assert (joined.seq, joined.ops) == (1, (Op.of({"n": "before"}),))
        assert [seq for _, seq, _, _ in reader.forwards()] == [1]
        late_membership.deliver_nowait(Ack(1))

        deadline = hall.snapshot().gatherings[0].deadline
        await trio.sleep(30)
        assert hall.snapshot().gatherings[0].deadline == deadline
        store.heal()
        await trio.sleep(1)
        assert author.of(Synced) == [Synced("kept", (2,))]
        assert reader.forwards()[-1][1:] == (2, None, {"n": "kept"})
        assert late.forwards()[-1][1:] == (2, None, {"n": "kept"})
        membership.deliver_nowait(sync("kept"))
        membership.deliver_nowait(sync("refused"))
        await wait_all_tasks_blocked()
        assert author.of(Synced)[1:] == [Synced("kept", (2,)), Synced("refused", (3,))]


@pytest.mark.parametrize("says_which", [True, False])
async def test_only_the_sync_that_cannot_be_stored_is_refused(
    says_which: bool, autojump_clock: MockClock
) -> None:
    class Picky(MemoryStore):
        def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
            bad = [one for one in append.syncs if one.id == "bad"]
            if not bad:
                return MemoryStore.append_nowait(self, append, ended)
            raise Unstorable("no room", [(one.scope, one.id) for one in bad] if says_which else ())

    syncs = [sync(name) for name in ("before", "bad", "after")]
    async with open_hall(store=Picky()) as hall:
        for again in (False, True):
            author = Recorder()
            membership = await hall.join(ROOM, author, client="c")
            for one in syncs:
                membership.deliver_nowait(one)
            await wait_all_tasks_blocked()
            refused = ["bad"] if says_which else ["before", "bad", "after"]
            assert [one.id for one in author.of(Error)] == (refused if again else [])
        synced = [Synced("before", (1,)), Synced("after", (2,))]
        assert author.of(Synced) == (synced if says_which else [])
        assert hall.snapshot().crashed == 1


async def test_a_join_that_finds_no_store_is_told(autojump_clock: MockClock) -> None:
    class Unreachable(MemoryStore):
        async def load(self, gathering: str, *, recent_syncs: int):  # type: ignore[no-untyped-def]
            await trio.sleep(1)
            raise StoreUnavailable("disk I/O error")

    async with open_hall(store=Unreachable()) as hall:
        refused = 0

        async def join() -> None:
            nonlocal refused
            with pytest.raises(StoreUnavailable, match="disk I/O error"):
                await hall.join(ROOM, Recorder())
            refused += 1

        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(join)
        assert refused == 100
        # One attempt serves all callers that wait for it.
        assert trio.current_time() == start + 1
        assert hall.gatherings() == ()
