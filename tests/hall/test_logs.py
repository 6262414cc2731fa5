"""Whole logs, on a hall that serves them: time travel, deleting, compacting, forking, exporting."""

import json
import random
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import (
    BadBase,
    BadExport,
    BadRequest,
    LogFull,
    LogReplaced,
    StoreConflict,
)
from squire_gatherings._values.messages import (
    Dispersed,
    Error,
    Fetch,
    Fetched,
    Joined,
    ServerMessage,
)
from squire_gatherings._values.messages import Sync as SyncMessage
from squire_gatherings._values.op import Op
from squire_gatherings._values.settings import HallSettings
from squire_gatherings.testing import FailingStore
from tests.support import Recorder, Strict, Sum, examples, slow_store

M = TypeVar("M", bound=ServerMessage)
ROOM = "friday-night"
START = 1_000_000_000
KEPT = ("name", "load", "append_nowait", "append", "read", "find_syncs", "sync_ids")


class Wall:
    """A wall clock that advances by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


async def submit(hall: Hall, *adds: int, room: str = ROOM) -> None:
    for add in adds:
        await hall.submit(room, [{"add": add}])


async def join(hall: Hall, **more: Any) -> tuple[Recorder, Membership, Any]:
    recorder = Recorder()
    membership = await hall.join(ROOM, recorder, **more)
    return recorder, membership, recorder.of(Joined)[-1]


def decoded(snapshot: Any) -> Any:
    return json.loads(bytes(snapshot))


async def come(recorder: Recorder, kind: type[M]) -> M:
    """Return the first message of a kind, once it is there."""
    return (await recorder.wait_for(kind))[0]


# Time travel.


@pytest.mark.parametrize("snapshot_every", [3, 1000])
async def test_the_state_at_any_seq_and_instant(
    autojump_clock: MockClock, snapshot_every: int
) -> None:
    store, wall = MemoryStore(), Wall()
    async with open_hall(
        store=store, behaviour=Sum, wall_clock=wall, snapshot_every=snapshot_every, batch_bytes=40
    ) as hall:
        adds = [random.Random(1).randrange(1, 9) for _ in range(40)]
        await submit(hall, *adds)
        ops = await store.read(ROOM, after=0, up_to=99, max_bytes=10**6)
        for seq in range(41):
            page = await hall.fetch(ROOM, at=seq)
            assert (page.seq, page.snapshot, page.is_snapshot) == (
                seq,
                {"total": sum(adds[:seq])},
                True,
            )
            if seq:
                time = datetime.fromtimestamp(ops[seq - 1].time / 1000, UTC)
                assert await hall.fetch(ROOM, at=time) == page
        page = await hall.fetch(ROOM, since=7, at=9)
        assert (page.seq, [one.value["add"] for one in page.ops]) == (9, adds[7:9])
        assert (await hall.fetch(ROOM, since=9, at=9)).ops == ()
        for wrong in (41, 10**9):
            with pytest.raises(BadBase, match="the last op is 40"):
                await hall.fetch(ROOM, at=wrong)
        with pytest.raises(BadBase, match="after op 3"):
            await hall.fetch(ROOM, since=5, at=3)
        for nothing in (-1, True, "3", datetime(2026, 1, 1)):
            with pytest.raises(ValueError, match="at is"):
                await hall.fetch(ROOM, at=nothing)  # type: ignore[arg-type]
        # The living state was left unchanged.
        assert (await hall.fetch(ROOM)).snapshot == {"total": sum(adds)}


async def test_a_client_asks_for_an_earlier_state(autojump_clock: MockClock) -> None:
    async with open_hall(behaviour=Sum, wall_clock=Wall(), idle_timeout=10) as hall:
        await submit(hall, 1, 2, 3)
        recorder, membership, _ = await join(hall)
        await trio.sleep(6)
        await membership.deliver(Fetch("f1", at=2))
        fetched = await come(recorder, Fetched)
        assert (fetched.id, fetched.seq, decoded(fetched.snapshot), fetched.epoch) == (
            "f1",
            2,
            {"total": 3},
            UNSET,
        )
        await membership.deliver(Fetch("f2", since=0, at_time=0))
        await membership.deliver(Fetch("f3", at=9))
        await membership.deliver(Fetch("f4", at=1, at_time=1))
        await wait_all_tasks_blocked()
        assert recorder.of(Fetched)[-1] == Fetched("f2", 0, ops=(), by=())
        assert {one.id: one.code for one in recorder.of(Error)} == {
            "f3": "bad_base",
            "f4": "bad_message",
        }
        # It counts as activity, as every fetch does.
        await trio.sleep(6)
        assert not recorder.of(Dispersed)


async def test_only_what_is_committed_is_shown(autojump_clock: MockClock) -> None:
    store = FailingStore()
    store.trouble("append", "waits", seconds=1.0, after=1)
    async with open_hall(store=store, behaviour=Sum, wall_clock=Wall()) as hall:
        await submit(hall, 1)
        recorder, membership, _ = await join(hall)
        membership.deliver_nowait(SyncMessage("s", 1, (Op.of({"add": 5}),)))
        membership.deliver_nowait(Fetch("f", at=2))
        error = await come(recorder, Error)
        assert (error.id, error.code) == ("f", "bad_base")


async def test_a_state_that_can_not_be_made_again(autojump_clock: MockClock) -> None:
    class Changed(Sum):
        broken = False

        def fold(self, op: Op, stamp: Any) -> None:
            if Changed.broken:
                raise ValueError("the program has changed")
            super().fold(op, stamp)

    async with open_hall(behaviour=Changed, snapshot_every=1000) as hall:
        await submit(hall, 1, 2)
        Changed.broken = True
        with pytest.raises(BadBase, match="can't be taken back to op 1"):
            await hall.fetch(ROOM, at=1)
        # The gathering lives on.
        assert (await hall.fetch(ROOM)).snapshot == {"total": 3}


async def test_a_client_that_has_gone_needs_no_answer(autojump_clock: MockClock) -> None:
    class Stuck(MemoryStore):
        reads = 0

        async def snapshot_at(self, gathering: str, *, seq: int) -> Any:
            Stuck.reads += 1
            await trio.sleep_forever()

    async with open_hall(store=Stuck(), behaviour=Sum, wall_clock=Wall()) as hall:
        await submit(hall, 1)
        _, membership, _ = await join(hall)
        await membership.deliver(Fetch("f", at=1))
        await wait_all_tasks_blocked()
        assert Stuck.reads == 1
        membership.detach()
        await wait_all_tasks_blocked()
        # Nothing prolongs the gathering's life.
        assert await hall.disperse(ROOM)


# Deleting.


async def test_what_lives_is_dispersed_before_it_is_deleted(autojump_clock: MockClock) -> None:
    wall = Wall()
    async with open_hall(wall_clock=wall) as hall:
        await submit(hall, 1, 2)
        recorder, membership, _ = await join(hall)
        epoch = membership.incarnation
        tombstone = await hall.logs.delete(ROOM)
        assert tombstone is not None
        assert (tombstone.seq, tombstone.time // 1000) == (2, int(wall.now))
        [notice] = recorder.of(Dispersed)
        assert (notice.reason, recorder.closed[0][1]) == ("admin", CloseCode.DISPERSED)
        assert await hall.logs.delete(ROOM) is None
        with pytest.raises(LogReplaced):
            await join(hall, since=2, epoch=epoch)
        _, _, again = await join(hall)
        assert (again.seq, again.ops) == (0, ())
        await submit(hall, 7)
        info = await hall.logs.describe(ROOM)
        assert info is not None
        assert (info.seq, info.before, info.is_deleted) == (1, tombstone.head, False)


async def test_nothing_is_acknowledged_between_the_end_and_the_deletion(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=slow_store("delete", 5.0), wall_clock=Wall()) as hall:
        await submit(hall, 1, 2)
        seqs: list[Any] = []

        async def submit_meanwhile() -> None:
            await trio.sleep(1)
            seqs.append(await hall.submit(ROOM, [{"add": 3}]))
            seqs.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit_meanwhile)
            began = trio.current_time()
            await hall.logs.delete(ROOM)
        # The submit waited, and began the next log.
        assert seqs[0] == (1,)
        assert seqs[1] - began >= 5
        assert [one.value for one in (await hall.fetch(ROOM)).ops] == [{"add": 3}]


async def test_what_another_program_deletes_ends_at_the_next_append(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with open_hall(store=store, wall_clock=Wall()) as hall:
        await submit(hall, 1, 2)
        recorder, membership, _ = await join(hall)
        await store.delete(ROOM, time=5)
        await membership.deliver(SyncMessage("s", 2, (Op.of({"add": 5}),)))
        notice = await come(recorder, Dispersed)
        assert notice.reason == "admin"
        # A task asks again, for the new log.
        assert await hall.submit(ROOM, [{"add": 1}]) == (1,)


async def test_what_another_program_deletes_is_noticed(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with open_hall(store=store, wall_clock=Wall()) as hall:
        for room in ("kept", ROOM):
            await submit(hall, 1, 2, room=room)
        recorder, _, _ = await join(hall)
        await hall.logs.look()
        assert not recorder.of(Dispersed)
        await store.delete(ROOM, time=5)
        await hall.logs.look()
        notice = await come(recorder, Dispersed)
        assert notice.reason == "admin"
        assert hall.gatherings() == ("kept",)
        await store.compact("kept", up_to=2, state=b"2")
        await hall.logs.look()
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()


# Compacting.


async def test_a_client_from_before_a_compaction_is_given_the_state(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(behaviour=Sum, wall_clock=Wall(), tail_bytes=1) as hall:
        await submit(hall, 1, 2, 3, 4)
        _, membership, _ = await join(hall)
        epoch = membership.incarnation
        assert await hall.logs.compact(ROOM, up_to=3) == 4
        for since in (1, 2):
            _, _, joined = await join(hall, since=since, epoch=epoch)
            assert (joined.seq, decoded(joined.snapshot)) == (4, {"total": 10})
        _, _, joined = await join(hall, since=3, epoch=epoch)
        assert joined.snapshot is not UNSET or [one.value for one in joined.ops] == [{"add": 4}]
        with pytest.raises(LogReplaced):
            await join(hall, since=3, epoch="another")
        assert (await hall.fetch(ROOM, at=3)).snapshot == {"total": 6}
        with pytest.raises(BadBase, match="only what came after 3"):
            await hall.fetch(ROOM, at=2)
        await submit(hall, 5)
        assert (await hall.fetch(ROOM)).snapshot == {"total": 15}


async def test_a_client_from_before_a_compaction_is_told_where_the_log_begins(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(wall_clock=Wall(), tail_bytes=1) as hall:
        await submit(hall, 1, 2, 3, 4, 5)
        _, membership, _ = await join(hall)
        epoch = membership.incarnation
        assert await hall.logs.compact(ROOM, up_to=3) == 4
        assert await hall.logs.compact(ROOM, up_to=2) == 4
        for since in (None, 1, 2, 3, 4):
            recorder, _, joined = await join(hall, since=since, epoch=epoch if since else None)
            await wait_all_tasks_blocked()
            told = joined.first_seq
            assert told == (4 if since in (None, 1, 2) else UNSET)
            got = [one.value["add"] for one in joined.ops]
            got += [one[3]["add"] for one in recorder.forwards()]
            assert got == [4, 5][max(0, (since or 0) - 3) :]
        page = await hall.fetch(ROOM, since=1)
        assert (page.first_seq, [one.value for one in page.ops]) == (4, [{"add": 4}, {"add": 5}])
        page = await hall.fetch(ROOM, at=4)
        assert (page.first_seq, [one.value for one in page.ops]) == (4, [{"add": 4}])
        # All that is left can be compacted, too.
        assert await hall.logs.compact(ROOM, up_to=99) == 6
        _, _, joined = await join(hall)
        assert (joined.seq, joined.ops, joined.first_seq) == (5, (), 6)
        assert await hall.submit(ROOM, [{"add": 6}]) == (6,)


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("tail_bytes", [1, 10_000])
async def test_a_conflict_on_a_base_that_was_left_out(
    base: int, tail_bytes: int, autojump_clock: MockClock
) -> None:
    """Whoever submits takes its ops for those after the base: so it has none."""
    async with open_hall(behaviour=Strict, wall_clock=Wall(), tail_bytes=tail_bytes) as hall:
        await submit(hall, 1, 2, 3)
        await hall.logs.compact(ROOM, up_to=2)
        recorder, membership, _ = await join(hall)
        await membership.deliver(SyncMessage("s", base, (Op.of({"add": 5}),)))
        await wait_all_tasks_blocked()
        [message] = [m for _, m in recorder.received if type(m).__name__ == "Conflict"]
        assert (message.seq, message.ops) == (3, ())  # type: ignore[attr-defined]


async def test_a_full_log_has_room_again(autojump_clock: MockClock) -> None:
    async with open_hall(wall_clock=Wall(), max_log_ops=3) as hall:
        await submit(hall, 1, 2, 3)
        with pytest.raises(LogFull, match="has 3 ops"):
            await submit(hall, 4)
        await hall.logs.compact(ROOM, up_to=2)
        await submit(hall, 4, 5)
        with pytest.raises(LogFull):
            await submit(hall, 6)


async def test_syncs_are_remembered_or_not(autojump_clock: MockClock) -> None:
    async with open_hall(wall_clock=Wall(), recent_syncs=1) as hall:
        for number in range(3):
            await hall.submit(ROOM, [{"n": number}], sync_id=f"s{number}")
        await hall.logs.compact(ROOM, up_to=2)
        assert await hall.submit(ROOM, [{"n": 0}], sync_id="s0") == (1,)
        await hall.logs.compact(ROOM, up_to=3, forget_syncs=True)
        assert await hall.submit(ROOM, [{"n": 0}], sync_id="s0") == (4,)


# Forks, exports.


async def test_a_fork_goes_its_own_way(autojump_clock: MockClock) -> None:
    wall = Wall()
    async with open_hall(behaviour=Sum, wall_clock=wall) as hall:
        await submit(hall, 1, 2, 3)
        instant = datetime.fromtimestamp(wall.now, UTC)
        await submit(hall, 4)
        assert await hall.logs.fork(ROOM, "what-if", at=2) == 2
        assert await hall.logs.fork(ROOM, "then", at=instant) == 3
        assert await hall.logs.fork(ROOM, "all") == 4
        await submit(hall, 10, room="what-if")
        totals = {
            room: (await hall.fetch(room)).snapshot["total"]
            for room in (ROOM, "what-if", "then", "all")
        }
        assert totals == {ROOM: 10, "what-if": 13, "then": 6, "all": 10}
        with pytest.raises(StoreConflict, match="already"):
            await hall.logs.fork(ROOM, "all", at=1)
        with pytest.raises(BadBase):
            await hall.logs.fork(ROOM, "new", at=5)
        with pytest.raises(BadBase):
            await hall.logs.fork(ROOM, "new", at=datetime.fromtimestamp(5, UTC))
        with pytest.raises(StoreConflict, match="no gathering"):
            await hall.logs.fork("nothing", "new")


async def test_an_export_is_taken_in_whole(autojump_clock: MockClock) -> None:
    small = HallSettings(snapshot_every=3, batch_bytes=100)
    async with (
        open_hall(behaviour=Sum, wall_clock=Wall(), settings=small) as hall,
        open_hall(behaviour=Sum, wall_clock=Wall(), settings=small) as other,
    ):
        await submit(hall, *range(1, 11))
        await hall.logs.fork(ROOM, "forked", at=7)
        await submit(hall, 1, room="forked")
        await hall.logs.compact("forked", up_to=5)
        for room in (ROOM, "forked"):
            lines = [line async for line in hall.logs.export(room)]
            assert await other.logs.import_log(lines) == (10 if room == ROOM else 8)
            assert await other.logs.describe(room) == await hall.logs.describe(room)
            assert await other.fetch(room) == await hall.fetch(room)
            assert [line async for line in other.logs.export(room)] == lines
            with pytest.raises(StoreConflict, match="already"):
                await other.logs.import_log(lines)
            assert await other.logs.import_log(lines, gathering_id=f"{room}-2") > 0
            for cut in range(len(lines)):
                with pytest.raises(BadExport):
                    await other.logs.import_log(lines[:cut], gathering_id="cut")
                with pytest.raises((BadExport, StoreConflict)):
                    await other.logs.import_log(lines[:cut] + lines[cut + 1 :], gathering_id="cut")
            with pytest.raises(BadExport, match="after the end"):
                await other.logs.import_log([*lines, lines[-1]], gathering_id="cut")
        # As before, a sync with the same id isn't applied twice.
        assert await other.logs.describe("cut") is None
        with pytest.raises(StoreConflict):
            _ = [line async for line in hall.logs.export("nothing")]


@pytest.mark.parametrize("kind", ["memory:", "sqlite"])
async def test_a_log_without_ops_goes_out_and_in(kind: str, tmp_path: Path) -> None:
    """All of them were left out: there is only the state that they led to."""
    url = kind if kind == "memory:" else f"sqlite:///{tmp_path}/rooms.sqlite3"
    async with open_hall(store=url, behaviour=Sum) as hall:
        await submit(hall, 1, 2, 3)
        assert await hall.logs.compact(ROOM, up_to=3) == 4
        exporting = hall.logs.export(ROOM)
        lines = [await anext(exporting)]
        # What is committed meanwhile is no part of it.
        await submit(hall, 4)
        lines += [line async for line in exporting]
        assert await hall.logs.import_log(lines, gathering_id="other") == 3
        assert (await hall.fetch("other")).snapshot == {"total": 6}
        await submit(hall, 5, room="other")
        assert (await hall.fetch("other")).snapshot == {"total": 11}


async def test_any_bit_that_is_changed_is_found(autojump_clock: MockClock) -> None:
    async with open_hall(wall_clock=Wall(), snapshot_every=2) as hall:
        await submit(hall, 1, 2, 3)
        text = b"".join([line async for line in hall.logs.export(ROOM)])
        for at in range(len(text)):
            changed = bytearray(text)
            changed[at] ^= 1 << (at % 7)
            lines = bytes(changed).splitlines(keepends=True)
            with pytest.raises((BadExport, StoreConflict, BadRequest)):
                await hall.logs.import_log(lines, gathering_id="changed")
        assert await hall.logs.describe("changed") is None


async def test_a_store_that_only_keeps_what_is_needed(autojump_clock: MockClock) -> None:
    class Plain:
        def __init__(self) -> None:
            store = MemoryStore()
            for name in (*KEPT, "find_head"):
                if hasattr(store, name):
                    setattr(self, name, getattr(store, name))

    store: Any = Plain()
    async with open_hall(store=store, behaviour=Sum) as hall:
        await submit(hall, 1)
        with pytest.raises(BadRequest, match="keeps no older states"):
            await hall.fetch(ROOM, at=1)
        with pytest.raises(BadRequest, match="keeps no older states"):
            await hall.logs.list_logs()
        assert (await hall.fetch(ROOM)).snapshot == {"total": 1}


async def test_when_a_log_was_used(autojump_clock: MockClock) -> None:
    clock = Wall()
    async with open_hall(store=MemoryStore(), behaviour=Sum, wall_clock=clock) as hall:
        await submit(hall, 1, 2)
        since = datetime.fromtimestamp(1_000_000, UTC)
        until = datetime.fromtimestamp(1_000_100, UTC)
        for slices in (1, 7, 100, 1000):
            ops = await hall.logs.activity(ROOM, since=since, until=until, slices=slices)
            assert (len(ops), sum(ops)) == (slices, 2)
        assert await hall.logs.activity("none", since=since, until=until, slices=3) == (0, 0, 0)
        for wrong in (
            {"until": since},
            {"since": since.replace(tzinfo=None)},
            {"slices": 0},
            {"slices": 1001},
        ):
            asked: Any = {"since": since, "until": until} | wrong
            with pytest.raises(ValueError, match=next(iter(wrong))):
                await hall.logs.activity(ROOM, **asked)


# A hall's whole life beside a plain model of it: each room is a list of numbers.


class Rooms:
    """The numbers in each room, of which the first may be left out."""

    def __init__(self) -> None:
        self.adds: dict[str, list[int]] = {}
        self.left_out: dict[str, int] = {}
        self.times: dict[str, list[int]] = {}
        """When each was committed, in milliseconds."""
        self.now = START

    def wall(self) -> float:
        return self.now / 1000

    def activity(self, room: str, since: int, until: int, slices: int) -> tuple[int, ...]:
        left = self.times.get(room, [])[self.left_out.get(room, 0) :]
        edges = [since + (until - since) * number // slices for number in range(slices + 1)]
        return tuple(sum(first <= time < last for time in left) for first, last in pairwise(edges))

    def total(self, room: str, seq: int) -> int:
        return sum(self.adds.get(room, [])[:seq])


async def live(hall: Hall, rng: random.Random, model: Rooms, steps: int) -> None:
    for _ in range(steps):
        room, other = rng.choice("abc"), rng.choice("abc")
        adds = model.adds.get(room, [])
        least, seq = model.left_out.get(room, 0), rng.randrange(0, 12)
        what = rng.choice(
            ["submit", "submit", "submit", "look", "activity", "delete", "compact", "fork"]
        )
        model.now += rng.choice([0, 1, 7, 1000])
        try:
            match what:
                case "submit":
                    made = [rng.randrange(1, 9) for _ in range(rng.randrange(1, 4))]
                    seqs = await hall.submit(room, [{"add": add} for add in made])
                    assert seqs == tuple(range(len(adds) + 1, len(adds) + len(made) + 1))
                    model.adds[room] = [*adds, *made]
                    model.times.setdefault(room, []).extend([model.now] * len(made))
                case "look":
                    page = await hall.fetch(room, at=seq)
                    assert page.snapshot == {"total": model.total(room, seq)}
                    assert least <= seq <= len(adds)
                case "activity":
                    since, until = sorted(
                        START + rng.randrange(-5, model.now - START + 9) for _ in range(2)
                    )
                    until, slices = max(until, since + 1), rng.randrange(1, 20)
                    assert await hall.logs.activity(
                        room,
                        since=datetime.fromtimestamp(since / 1000, UTC),
                        until=datetime.fromtimestamp(until / 1000, UTC),
                        slices=slices,
                    ) == model.activity(room, since, until, slices)
                case "delete":
                    tombstone = await hall.logs.delete(room)
                    assert (tombstone.seq if tombstone else 0) == len(adds)
                    for kept in (model.adds, model.left_out, model.times):
                        kept.pop(room, None)
                case "compact":
                    first = await hall.logs.compact(room, up_to=seq)
                    # Ops that were committed together are left out together.
                    assert least <= first - 1 <= max(least, seq)
                    model.left_out[room] = first - 1
                case "fork":
                    assert await hall.logs.fork(room, other, at=seq) == seq
                    assert other not in model.adds
                    assert max(least, 1) <= seq <= len(adds)
                    model.adds[other], model.left_out[other] = adds[:seq], least
                    model.times[other] = model.times[room][:seq]
        except BadBase:
            assert not max(least, what == "fork") <= seq <= len(adds)
        except StoreConflict:
            assert room not in model.adds or other in model.adds
        for room, adds in model.adds.items():
            page = await hall.fetch(room)
            assert (page.seq, page.snapshot) == (len(adds), {"total": sum(adds)})
    listed = {one.gathering: one for one in await hall.logs.list_logs() if not one.is_deleted}
    assert {room: (one.first_seq - 1, one.seq) for room, one in listed.items()} == {
        room: (model.left_out.get(room, 0), len(adds)) for room, adds in model.adds.items()
    }


@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(25), deadline=None)
def test_whatever_is_done_to_logs(seed: int) -> None:
    rng, model, store = random.Random(seed), Rooms(), MemoryStore()

    async def main() -> None:
        # Two halls, one after the other.
        for _ in range(2):
            async with open_hall(
                store=store,
                behaviour=Sum,
                snapshot_every=rng.randrange(1, 6),
                tail_bytes=200,
                wall_clock=model.wall,
            ) as hall:
                await live(hall, rng, model, 12)

    trio.run(main, clock=MockClock(autojump_threshold=0))
