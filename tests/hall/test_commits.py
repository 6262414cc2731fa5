"""Commits that fail: what is kept, what is told meanwhile, and what the end makes of it."""

from collections.abc import Callable

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.store import Outcome
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append
from squire_gatherings._values.messages import Error, Joined, Sync, Synced
from squire_gatherings._values.op import Op
from squire_gatherings.testing import FailingStore
from tests.support import Recorder

ROOM = "friday-night"


class HeldStore(MemoryStore):
    """A store whose test says what becomes of each append, and may say it again."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Callable[[Outcome], None]] = []
        self.held: list[Append] = []
        self.raises = False

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        self.outcomes.append(ended)
        self.held.append(append)
        if self.raises:
            raise StoreUnavailable("away")
        return False

    def do(self, number: int) -> None:
        """Have one be durable."""
        assert super().append_nowait(self.held[number], lambda _: None)
        self.outcomes[number](None)


def sync(name: str, value: object = 1) -> Sync:
    return Sync(name, 0, (Op.of({name: value}),))


def errors(recorder: Recorder) -> list[tuple[str, object]]:
    return [(one.code, one.id) for one in recorder.of(Error)]


async def test_what_was_kept_is_confirmed_once_it_is_durable(autojump_clock: MockClock) -> None:
    store = FailingStore(MemoryStore())
    async with open_hall(store=store) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        store.trouble("append", "full", calls=3)
        membership.deliver_nowait(sync("s"))
        await wait_all_tasks_blocked()
        assert errors(recorder) == [("store_unavailable", "s")]
        assert recorder.of(Synced) == []
        await trio.sleep(10)
        assert errors(recorder) == [("store_unavailable", "s")]
        [synced] = recorder.of(Synced)
        assert (synced.id, synced.seqs) == ("s", (1,))


async def test_while_the_store_is_away_nothing_is_taken_or_confirmed(
    autojump_clock: MockClock,
) -> None:
    store = FailingStore(MemoryStore())
    async with open_hall(store=store, commit_retry_interval=5.0) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        store.trouble("append", "full", calls=1)
        membership.deliver_nowait(sync("kept"))
        await wait_all_tasks_blocked()
        # The first is repeated; the second comes for the first time.
        membership.deliver_nowait(sync("kept"))
        membership.deliver_nowait(sync("other"))
        await wait_all_tasks_blocked()
        assert recorder.of(Synced) == []
        assert errors(recorder) == [
            ("store_unavailable", "kept"),
            ("store_unavailable", "kept"),
            ("store_unavailable", "other"),
        ]
        await trio.sleep(10)
        assert [one.id for one in recorder.of(Synced)] == ["kept"]
        assert (await hall.fetch(ROOM, since=0)).seq == 1


async def test_a_retry_of_ours_is_no_activity(autojump_clock: MockClock) -> None:
    store = FailingStore(MemoryStore())
    async with open_hall(store=store, idle_timeout=100.0) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        store.trouble("append", "full")
        membership.deliver_nowait(sync("s"))
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await trio.sleep(50)
        store.heal()
        await recorder.wait_for(Synced)
        await recorder.wait_closed()
        assert recorder.closed[0][0] == start + 100


async def test_what_was_kept_keeps_its_gathering_awake(autojump_clock: MockClock) -> None:
    store = FailingStore(MemoryStore())
    async with open_hall(store=store, sleep_after=1.0, commit_retry_interval=60.0) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        store.trouble("append", "full", calls=1)
        membership.deliver_nowait(sync("s"))
        await trio.sleep(59)
        assert recorder.of(Synced) == []
        await trio.sleep(2)
        assert [one.id for one in recorder.of(Synced)] == ["s"]


async def test_an_outcome_counts_for_its_own_append(autojump_clock: MockClock) -> None:
    store = HeldStore()
    async with open_hall(store=store) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        store.raises = True
        membership.deliver_nowait(sync("s"))
        await wait_all_tasks_blocked()
        store.raises = False
        await trio.sleep(10)
        [_, _] = store.outcomes
        # That is said of the first append, which has failed already.
        store.outcomes[0](None)
        await trio.sleep(1)
        assert recorder.of(Synced) == []
        store.do(1)
        await trio.sleep(1)
        assert [one.id for one in recorder.of(Synced)] == ["s"]


async def test_only_the_first_outcome_counts(autojump_clock: MockClock) -> None:
    store = HeldStore()
    async with open_hall(store=store) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        for number, name in enumerate("ab"):
            membership.deliver_nowait(sync(name))
            await wait_all_tasks_blocked()
            store.do(number)
            store.outcomes[number](StoreUnavailable("said too late"))
            await wait_all_tasks_blocked()
        assert [one.id for one in recorder.of(Synced)] == ["a", "b"]
        assert errors(recorder) == []


async def test_an_id_that_is_used_again_for_other_ops_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        for value in (1, 2):
            membership.deliver_nowait(sync("s", value))
            await wait_all_tasks_blocked()
        assert len(recorder.of(Synced)) == 1
        assert errors(recorder) == [("id_reused", "s")]


async def test_syncs_that_the_store_must_be_asked_about_are_answered(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with open_hall(store=store, recent_syncs=1) as hall:
        membership = await hall.join(ROOM, Recorder(), client="anna")
        for number in range(5):
            membership.deliver_nowait(sync(f"s{number}"))
            await wait_all_tasks_blocked()
    async with open_hall(store=store, recent_syncs=1) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, client="anna")
        assert recorder.of(Joined)[0].seq == 5
        for number in (0, 5, 1):
            membership.deliver_nowait(sync(f"s{number}"))
        await wait_all_tasks_blocked()
        told = {one.id: one.seqs for one in recorder.of(Synced)}
        assert told == {"s0": (1,), "s5": (6,), "s1": (2,)}
