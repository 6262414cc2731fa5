"""Group commit by itself: which appends go together, what each is told, and how it ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._stores.group_commit import GroupCommitter, Report, Take
from squire_gatherings._values.errors import StoreConflict, StoreUnavailable
from tests.stores.appends import an_append


@define(eq=False)
class Disk:
    """A disk whose commits last until the test lets them end."""

    batches: list[list[str]] = field(factory=list)
    gate: trio.Semaphore = field(factory=lambda: trio.Semaphore(0))
    broken: bool = False

    async def commit(self, take: Take, report: Report) -> None:
        while appends := take():
            self.batches.append([append.gathering for append in appends])
            await self.gate.acquire()
            if self.broken:
                raise StoreUnavailable("disk I/O error")
            report([StoreConflict("no") if one.gathering == "bad" else None for one in appends])


@define(eq=False)
class Asked:
    """Appends as tasks, and the outcome of each."""

    committer: GroupCommitter
    nursery: trio.Nursery
    told: dict[str, str] = field(factory=dict)

    async def ask(self, *gatherings: str) -> None:
        for gathering in gatherings:
            self.nursery.start_soon(self._append, gathering)
            await wait_all_tasks_blocked()

    async def _append(self, gathering: str) -> None:
        try:
            await self.committer.append(an_append(gathering, 1))
        except (StoreConflict, StoreUnavailable) as error:
            self.told[gathering] = str(error)
        else:
            self.told[gathering] = "durable"


@asynccontextmanager
async def committing(disk: Disk, flush_timeout: float = 5) -> AsyncIterator[Asked]:
    committer = GroupCommitter(disk.commit)
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as owner:
            owner.start_soon(committer.run)
            yield Asked(committer, nursery)
            committer.stop(flush_timeout)
        assert not committer._batch
        assert not committer._queue
        assert not committer._under_way


async def test_appends_that_wait_go_together() -> None:
    disk = Disk()
    async with committing(disk) as asked:
        await asked.ask("a", "b", "c", "bad", "d")
        assert disk.batches == [["a"]]
        assert asked.told == {}
        disk.gate.release()
        await wait_all_tasks_blocked()
        assert disk.batches == [["a"], ["b", "c", "bad", "d"]]
        assert asked.told == {"a": "durable"}
        disk.gate.release()
    assert asked.told == dict.fromkeys("abcd", "durable") | {"bad": "no"}
    assert asked.committer.commits == 2


async def test_all_of_a_failed_commit_are_told_and_the_next_goes_on() -> None:
    disk = Disk()
    async with committing(disk) as asked:
        await asked.ask("a", "b", "c")
        disk.gate.release()
        await wait_all_tasks_blocked()
        disk.broken = True
        disk.gate.release()
        await wait_all_tasks_blocked()
        assert asked.told == {"a": "durable", "b": "disk I/O error", "c": "disk I/O error"}
        disk.broken = False
        await asked.ask("d")
        disk.gate.release()
    assert asked.told["d"] == "durable"
    assert asked.committer.commits == 2


async def test_a_session_that_fails_before_it_takes_anything_fails_all_that_waits() -> None:
    async def closed(take: Take, _: Report) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("no such file")

    committer = GroupCommitter(closed)
    async with trio.open_nursery() as nursery, trio.open_nursery() as owner:
        owner.start_soon(committer.run)
        asked = Asked(committer, nursery)
        await asked.ask("a", "b")
        assert asked.told == {"a": "no such file", "b": "no such file"}
        committer.stop(5)


async def test_a_session_may_return_early_and_be_given_the_rest_again() -> None:
    disk = Disk()

    async def once(take: Take, report: Report) -> None:
        appends = take()
        disk.batches.append([append.gathering for append in appends])
        await disk.gate.acquire()
        if len(disk.batches) != 2:
            report([None for _ in appends])

    committer = GroupCommitter(once)
    async with trio.open_nursery() as nursery, trio.open_nursery() as owner:
        owner.start_soon(committer.run)
        asked = Asked(committer, nursery)
        await asked.ask("a", "b")
        for _ in range(3):
            disk.gate.release()
            await wait_all_tasks_blocked()
        committer.stop(5)
    assert disk.batches == [["a"], ["b"], ["b"]]
    assert asked.told == {"a": "durable", "b": "durable"}


async def test_outcomes_must_be_as_many_as_appends() -> None:
    async def careless(take: Take, report: Report) -> None:
        await trio.lowlevel.checkpoint()
        take()
        report([None, None])

    committer = GroupCommitter(careless)
    async with trio.open_nursery() as nursery:
        asked = Asked(committer, nursery)
        await asked.ask("a")
        with pytest.raises(ValueError, match="2 outcomes for 1 appends"):
            await committer.run()
    assert asked.told == {"a": "the store is closed"}


async def test_a_cancelled_append_disturbs_no_other() -> None:
    disk = Disk()
    async with committing(disk) as asked:
        with trio.CancelScope() as running, trio.CancelScope() as queued:
            async with trio.open_nursery() as nursery:
                victims = Asked(asked.committer, nursery)
                await victims.ask("a", "b")
                await asked.ask("c")
                running.cancel()
        assert not queued.cancelled_caught
        disk.gate.release()
        await wait_all_tasks_blocked()
        disk.gate.release()
    assert (victims.told, asked.told) == ({}, {"c": "durable"})
    assert disk.batches == [["a"], ["b", "c"]]


async def test_an_append_under_way_can_be_waited_for() -> None:
    disk = Disk()
    async with committing(disk) as asked:
        settled: list[str] = []

        async def wait(gathering: str) -> None:
            await asked.committer.settled(gathering)
            settled.append(gathering)

        await asked.ask("a", "b")
        for gathering in ("a", "b", "c"):
            asked.nursery.start_soon(wait, gathering)
            await wait_all_tasks_blocked()
        assert settled == ["c"]
        disk.gate.release()
        await wait_all_tasks_blocked()
        assert settled == ["c", "a"]
        disk.gate.release()
    assert settled == ["c", "a", "b"]


async def test_the_end_commits_what_waits_and_takes_no_more() -> None:
    disk = Disk()
    async with committing(disk) as asked:
        await asked.ask("a", "b")
        asked.committer.stop(5)
        await asked.ask("late")
        assert asked.told == {"late": "the store is closed"}
        disk.gate.release()
        disk.gate.release()
    assert asked.told == {"a": "durable", "b": "durable", "late": "the store is closed"}


async def test_the_end_comes_in_time(autojump_clock: MockClock) -> None:
    disk = Disk()
    start = trio.current_time()
    async with committing(disk, flush_timeout=7) as asked:
        await asked.ask("a", "b")
    assert trio.current_time() == start + 7
    assert asked.told == {"a": "the store is closed", "b": "the store is closed"}


async def test_cancellation_around_it_waits_for_the_flush() -> None:
    disk = Disk()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as outside:
            committer = GroupCommitter(disk.commit)
            outside.start_soon(committer.run)
            scope.cancel()
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as shielded:
                    asked = Asked(committer, shielded)
                    await asked.ask("a")
                    disk.gate.release()
            committer.stop(5)
    assert asked.told == {"a": "durable"}


async def test_a_defect_is_raised_and_leaves_nobody_waiting() -> None:
    async def defective(take: Take, _: Report) -> None:
        assert take()
        await trio.lowlevel.checkpoint()
        raise RuntimeError("defect")

    committer = GroupCommitter(defective)
    async with trio.open_nursery() as nursery:
        asked = Asked(committer, nursery)
        await asked.ask("a", "b")
        with pytest.raises(RuntimeError, match="defect"):
            await committer.run()
    assert asked.told == {"a": "the store is closed", "b": "the store is closed"}
