"""Joins: their order, names, the log that is joined, and how a join moves the deadline."""

import gc
import weakref
from collections.abc import Sequence

import msgspec
import pytest
import trio
from msgspec import UNSET
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import Stamp, Submission
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import (
    BadBase,
    BadGatheringId,
    GatheringCrashed,
    GatheringDispersed,
    LogReplaced,
    Replaced,
    TooBig,
    Unauthorized,
)
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.log import Append, LoggedOp, Page
from squire_gatherings._values.messages import (
    Dispersed,
    Error,
    Join,
    Joined,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import JSON
from tests.support import Fragile, Recorder, Sum, slow_store

ROOM = "friday-night"


def sync(name: str, **value: object) -> Sync:
    return Sync(name, 0, (Op.of({"n": name, **value}),))


async def joined(hall: Hall, **how: object) -> tuple[Recorder, Membership, Joined]:
    recorder = Recorder()
    membership = await hall.join(ROOM, recorder, **how)  # type: ignore[arg-type]
    return recorder, membership, recorder.of(Joined)[0]


# The order of joins.


async def test_who_gives_up_while_its_join_waits_for_a_commit_is_not_let_in(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        store = slow_store(nursery=nursery)
        async with open_hall(store=store) as hall:
            _, membership, _ = await joined(hall)
            membership.deliver_nowait(sync("s1"))
            await wait_all_tasks_blocked()
            # The next commit has this one, and the join waits for it.
            membership.deliver_nowait(sync("s2"))
            late = Recorder()
            with trio.move_on_after(1.5):
                await hall.join(ROOM, late)
            await trio.sleep(10)
            assert late.received == []
            [numbers] = hall.snapshot().gatherings
            assert numbers.clients == 1


async def test_the_latest_join_of_a_client_is_let_in(autojump_clock: MockClock) -> None:
    """A page is reloaded while the first token check takes two seconds."""
    pauses = iter([2.0, 0.0])

    async def authenticate(token: str | None, gathering: str) -> Identity:
        await trio.sleep(next(pauses))
        return Identity("alice")

    async with open_hall(store=MemoryStore(), authenticate=authenticate) as hall:
        first, second = Recorder(), Recorder()

        async def join_first() -> None:
            with pytest.raises(Replaced):
                await hall.join(ROOM, first, client="page")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join_first)
            await wait_all_tasks_blocked()
            membership = await hall.join(ROOM, second, client="page")
        assert not first.received
        assert not second.closed
        membership.deliver_nowait(sync("s"))
        await second.wait_for(Synced)
        # A client that asks later takes its place, as always.
        third = Recorder()
        pauses = iter([0.0])
        await hall.join(ROOM, third, client="page")
        assert second.closed[0][1] == CloseCode.REPLACED
        assert not third.closed


# The log that is joined.


async def test_a_log_that_was_lost_and_grew_again_is_told_from_the_one_it_was(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        await hall.submit(ROOM, [{"n": 1}, {"n": 2}])
        _, _, here = await joined(hall)
        assert here.epoch is UNSET
        epoch = here.incarnation
    async with open_hall(store=MemoryStore()) as hall:
        await hall.submit(ROOM, [{"m": 1}])
        # The log ends before what the client has.
        with pytest.raises(LogReplaced):
            await hall.join(ROOM, Recorder(), since=2, epoch=epoch)
        with pytest.raises(BadBase):
            await hall.join(ROOM, Recorder(), since=2)
        await hall.submit(ROOM, [{"m": 2}, {"m": 3}])
        for since in (1, 2, 3):
            with pytest.raises(LogReplaced):
                await hall.join(ROOM, Recorder(), since=since, epoch=epoch)
        # A client without ops can't have another log's.
        await hall.join(ROOM, Recorder(), since=0, epoch=epoch)


@pytest.mark.parametrize("tail_bytes", [1, 10**6])
@pytest.mark.parametrize("behaviour", [Fragile, Sum])
async def test_each_op_keeps_its_epoch_through_incarnations(
    behaviour: type, tail_bytes: int, autojump_clock: MockClock
) -> None:
    store = MemoryStore()
    epochs: list[str] = []
    async with open_hall(store=store, behaviour=behaviour, tail_bytes=tail_bytes) as hall:
        for _ in range(4):
            await hall.submit(ROOM, [{"add": 1}, {"add": 1}])
            _, _, answer = await joined(hall, since=0)
            epochs += [answer.incarnation] * 2
            assert await hall.disperse(ROOM)
    async with open_hall(
        store=store, behaviour=behaviour, tail_bytes=tail_bytes, batch_bytes=20
    ) as hall:
        for since, epoch in enumerate(epochs, start=1):
            _, _, answer = await joined(hall, since=since, epoch=epoch)
            has = since + (len(answer.ops) if isinstance(answer.ops, tuple) else 0)
            if isinstance(answer.snapshot, msgspec.Raw):
                has = answer.seq
            assert answer.epoch == epochs[has - 1]
            page = await hall.fetch(ROOM, since=since)
            if page.ops:
                assert isinstance(page.ops, tuple)
                assert page.epoch == epochs[since + len(page.ops) - 1]
            for other in {*epochs, "e" * 20} - {epoch}:
                with pytest.raises(LogReplaced):
                    await hall.join(ROOM, Recorder(), since=since, epoch=other)


@pytest.mark.parametrize("tail_bytes", [1, 10**6])
async def test_ops_from_before_there_were_epochs_have_an_empty_one(
    tail_bytes: int, autojump_clock: MockClock
) -> None:
    """A client may send back what it is told."""
    store = MemoryStore()
    old = LoggedOp(Op.of({"n": 1}).json, None, "")
    await store.append(Append(ROOM, 1, (old, old), ()))
    async with open_hall(store=store, tail_bytes=tail_bytes) as hall:
        _, _, answer = await joined(hall, client="c")
        assert answer.epoch == ""
        text = b'{"type":"join","since":2,"epoch":"","client":"c"}'
        join = JSON.decode(text)
        assert isinstance(join, Join)
        await joined(hall, client="c", since=2, epoch=join.epoch)
        with pytest.raises(LogReplaced):
            await joined(hall, client="c", since=2, epoch=answer.incarnation)
        await hall.submit(ROOM, [{"n": 3}])
        with pytest.raises(LogReplaced):
            await joined(hall, client="c", since=3, epoch="")


async def test_an_older_backup_is_noticed_wherever_the_client_is(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with open_hall(store=store) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        _, _, first = await joined(hall)
    backup = await store.read(ROOM, after=0, up_to=9, max_bytes=10**6)
    async with open_hall(store=store) as hall:
        await hall.submit(ROOM, [{"n": 2}, {"n": 3}])
        _, _, second = await joined(hall)
    restored = await a_store_with(backup)
    async with open_hall(store=restored) as hall:
        # The log still has the ops from before the backup.
        await joined(hall, since=1, epoch=first.incarnation)
        await hall.submit(ROOM, [{"m": 2}, {"m": 3}, {"m": 4}])
        await joined(hall, since=1, epoch=first.incarnation)
        for since in (2, 3):
            with pytest.raises(LogReplaced):
                await hall.join(ROOM, Recorder(), since=since, epoch=second.incarnation)


async def a_store_with(ops: tuple[LoggedOp, ...]) -> MemoryStore:
    store = MemoryStore()
    await store.append(Append(ROOM, 1, ops, ()))
    return store


# The names of clients and users.


async def test_two_clients_without_a_name_are_two(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        a, in_a, joined_a = await joined(hall)
        b, in_b, joined_b = await joined(hall)
        assert isinstance(joined_a.client, str)
        assert isinstance(joined_b.client, str)
        assert joined_a.client != joined_b.client
        assert len(joined_a.client) >= 20
        in_a.deliver_nowait(sync("vote"))
        in_b.deliver_nowait(sync("vote"))
        assert [one.seqs for one in await a.wait_for(Synced)] == [(1,)]
        assert [one.seqs for one in await b.wait_for(Synced)] == [(2,)]
        # With the name that it was given, it's the same client again.
        again, in_again, once_more = await joined(hall, client=joined_a.client)
        assert once_more.client is UNSET
        in_again.deliver_nowait(sync("vote"))
        assert [one.seqs for one in await again.wait_for(Synced)] == [(1,)]
        # No other client hears of it.
        for recorder in (a, b, again):
            for _, message in recorder.received:
                if not isinstance(message, Joined):
                    text = msgspec.json.encode(message, enc_hook=str)
                    assert joined_a.client.encode() not in text


@pytest.mark.parametrize("user", ["", "\ud800x", "x" * 1025, 7, b"alice"])
def test_a_user_has_a_name_that_can_be_said(user: object) -> None:
    with pytest.raises(ValueError, match="user's name"):
        Identity(user)  # type: ignore[arg-type]


@pytest.mark.parametrize("gathering_id", [".", "..", "", "a/b", "é", "x" * 129, 7, None, b"a"])
async def test_a_gathering_id_that_no_url_can_have_is_refused(
    gathering_id: object, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        for call in (hall.open, hall.fetch, hall.disperse):
            with pytest.raises(BadGatheringId):
                await call(gathering_id)  # type: ignore[arg-type]
        with pytest.raises(BadGatheringId):
            await hall.submit(gathering_id, [{}])  # type: ignore[arg-type]
        for fine in ("...", ".a", "-", "~", "x" * 128):
            await hall.open(fine)


@pytest.mark.parametrize("sync_id", ["", "\ud800", "x" * 129, 7])
async def test_a_sync_id_or_seq_that_no_message_can_have_is_refused(
    sync_id: object, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        with pytest.raises(ValueError, match="sync id"):
            await hall.submit(ROOM, [{"n": 1}], sync_id=sync_id)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="base"):
            await hall.submit(ROOM, [{"n": 1}], base=-1)
        with pytest.raises(ValueError, match="since"):
            await hall.fetch(ROOM, since=-1)
        assert hall.gatherings() == ()


# Timeouts.


async def test_a_gathering_that_never_ends_can_be_joined(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=float("inf")) as hall:
        _, _, answer = await joined(hall)
        assert (answer.idle_timeout, answer.expires_in) == (None, None)


async def refuse(token: str | None, gathering: str) -> Identity:
    raise Unauthorized("no")


async def test_a_refused_join_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        for number in range(100):
            with pytest.raises(BadBase):
                await hall.join(f"room{number}", Recorder(), since=7)
            with pytest.raises(BadBase):
                await hall.submit(f"room{number}", [{"n": 1}], base=7)
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()
        assert trio.current_time() < 1
        # A gathering that a program opened stays, though no client has come.
        await hall.open(ROOM)
        with pytest.raises(BadBase):
            await hall.join(ROOM, Recorder(), since=7)
        await wait_all_tasks_blocked()
        assert hall.gatherings() == (ROOM,)
    async with open_hall(store=MemoryStore(), authenticate=refuse) as hall:
        with pytest.raises(Unauthorized):
            await hall.join(ROOM, Recorder())
        assert hall.snapshot().opened == 0


@pytest.mark.parametrize("how", ["open", "submit", "fetch", "refused"])
async def test_a_gathering_that_nobody_joins_is_empty_from_the_start(
    how: str, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore(), empty_timeout=60.0) as hall:
        await trio.sleep(5)
        start = trio.current_time()
        match how:
            case "open":
                await hall.open(ROOM)
            case "submit":
                await hall.submit(ROOM, [{"n": 1}])
            case "fetch":
                await hall.fetch(ROOM)
            case "refused":
                await hall.open(ROOM)
                with pytest.raises(BadBase):
                    await hall.join(ROOM, Recorder(), since=7)
        [numbers] = hall.snapshot().gatherings
        assert numbers.deadline == start + 60
        await trio.sleep(59.999)
        assert hall.gatherings() == (ROOM,)
        await trio.sleep(0.002)
        assert hall.gatherings() == ()
        assert hall.snapshot().dispersed == {"empty": 1}


async def test_an_empty_timeout_of_nothing_lets_people_in(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), empty_timeout=0.0) as hall:
        recorder, membership, _ = await joined(hall)
        await trio.sleep(100)
        assert not recorder.closed
        assert await hall.submit(ROOM, [{"n": 1}]) == (1,)
        membership.detach()
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()
        assert await hall.submit(ROOM, [{"n": 2}]) == (2,)
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()


async def test_a_late_visitor_is_a_visitor(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), empty_timeout=60.0) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        await trio.sleep(50)
        await hall.submit(ROOM, [{"n": 1}])
        await trio.sleep(50)
        with pytest.raises(BadBase):
            await hall.join(ROOM, Recorder(), since=7)
        await trio.sleep(9.999)
        assert hall.gatherings() == (ROOM,)
        await trio.sleep(0.002)
        assert hall.gatherings() == ()


# Clients that reconnect by themselves.


async def test_coming_back_by_itself_is_no_activity(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=100.0) as hall:
        recorder, membership, answer = await joined(hall, client="c")
        start = trio.current_time()
        for _ in range(9):
            await trio.sleep(10)
            membership.detach()
            recorder, membership, answer = await joined(
                hall, client="c", since=0, resume=answer.incarnation
            )
            assert answer.expires_in == start + 100 - trio.current_time()
        await recorder.wait_closed()
        assert trio.current_time() == start + 100
        # The client is told of the end that it missed, and no gathering is woken.
        with pytest.raises(GatheringDispersed):
            await hall.join(ROOM, recorder := Recorder(), since=0, resume=answer.incarnation)
        [notice] = recorder.of(Dispersed)
        assert notice == Dispersed(ROOM, answer.incarnation, "idle", 0, 100.0)
        assert recorder.closed[0][1] == CloseCode.DISPERSED
        assert hall.gatherings() == ()
        # A client with something to do joins as always.
        await joined(hall, since=0)
        assert hall.gatherings() == (ROOM,)
        # A client that comes back to an older incarnation is let into this one.
        _, _, now = await joined(hall, since=0, resume=answer.incarnation)
        assert now.incarnation != answer.incarnation


async def test_coming_back_after_a_crash_or_to_another_process_opens_it(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with open_hall(store=store, behaviour=Fragile) as hall:
        _, _, answer = await joined(hall)
        with pytest.raises(GatheringCrashed):
            await hall.submit(ROOM, [{"boom": 1}])
        await joined(hall, resume=answer.incarnation)
    async with open_hall(store=store) as hall:
        await joined(hall, resume=answer.incarnation)


async def test_a_client_that_returns_to_another_gathering_is_told_nothing_of_it(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        elsewhere = await hall.join("secret", Recorder())
        await hall.disperse("secret")
        recorder = Recorder()
        await hall.join(ROOM, recorder, resume=elsewhere.incarnation)
        assert [message.gathering for message in recorder.of(Joined)] == [ROOM]
        assert not recorder.of(Dispersed)


async def test_a_client_is_told_of_an_ending_long_ago(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        _, _, answer = await joined(hall)
        assert await hall.disperse(ROOM)
        for number in range(2000):
            await hall.open(f"room{number}")
            assert await hall.disperse(f"room{number}")
        with pytest.raises(GatheringDispersed):
            await hall.join(ROOM, recorder := Recorder(), since=0, resume=answer.incarnation)
        assert recorder.of(Dispersed)[0].incarnation == answer.incarnation
        assert hall.gatherings() == ()


# Joins that ask for too much.


async def test_a_sync_has_so_many_ops_at_most(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), max_ops=3) as hall:
        recorder, membership, answer = await joined(hall)
        assert answer.max_ops == 3
        ops = [{"n": number} for number in range(4)]
        with pytest.raises(TooBig):
            await hall.submit(ROOM, ops)
        membership.deliver_nowait(Sync("s", 0, tuple(map(Op.of, ops))))
        [error] = await recorder.wait_for(Error)
        assert (error.code, error.id) == ("too_big", "s")
        assert await hall.submit(ROOM, ops[:3]) == (1, 2, 3)


async def test_a_membership_keeps_no_gathering_alive(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        _, membership, _ = await joined(hall)
        gathering = weakref.ref(hall._registry.living[ROOM].room)
        assert gathering() is not None
        await trio.sleep(11)
        gc.disable()
        try:
            await wait_all_tasks_blocked()
            assert gathering() is None
        finally:
            gc.enable()
        # A sync that comes too late is still served.
        await membership.deliver(sync("late"))
        assert (await hall.fetch(ROOM)).seq == 1


async def test_answers_are_bounded_as_they_are_encoded(autojump_clock: MockClock) -> None:
    """Long names and many tiny ops: the messages are about as large as they may be."""
    limit = 10_000
    async with open_hall(store=MemoryStore(), batch_bytes=limit, tail_bytes=10**7) as hall:
        who = Identity("\x01" * 250)
        for _ in range(20):
            await hall.submit(ROOM, [{}] * 100, identity=who)
        recorder, _, _ = await joined(hall, since=0)
        await hall.fetch(ROOM, since=0)
        for _, message in recorder.received:
            assert len(msgspec.json.encode(message, enc_hook=lambda op: op.value)) < limit + 500
        fetched = await hall.fetch(ROOM, since=0)
        assert isinstance(fetched, Page)
        assert fetched.ops


@pytest.mark.parametrize("behaviour", [Fragile, Sum])
async def test_a_client_that_wants_no_past_is_sent_none(
    behaviour: type, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore(), behaviour=behaviour, tail_bytes=1) as hall:
        for _ in range(5):
            await hall.submit(ROOM, [{"add": 1}])
        recorder, _, answer = await joined(hall, tail=True)
        assert (answer.seq, answer.ops, answer.by, answer.snapshot) == (5, (), (), UNSET)
        await hall.submit(ROOM, [{"add": 1}])
        await wait_all_tasks_blocked()
        assert [seq for _, seq, *_ in recorder.forwards()] == [6]
        # With `since`, a join is answered as always.
        _, _, answer = await joined(hall, tail=True, since=5)
        assert isinstance(answer.ops, tuple) or isinstance(answer.snapshot, msgspec.Raw)


class Broken(Recorder):
    """A connection of an embedder whose every method raises."""

    def send(self, outgoing: Outgoing) -> None:
        raise OSError("broken")

    def close(self, code: CloseCode, reason: str) -> None:
        raise OSError("broken")


async def test_a_client_that_comes_back_on_a_broken_connection_is_told_too(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        _, _, answer = await joined(hall)
        assert await hall.disperse(ROOM)
        with pytest.raises(GatheringDispersed):
            await hall.join(ROOM, Broken(), since=0, resume=answer.incarnation)
        assert hall.gatherings() == ()


@pytest.mark.parametrize("behaviour", [Fragile, Sum])
async def test_a_log_that_grows_while_a_client_of_another_log_joins_is_told_from_it(
    behaviour: type[Sum], autojump_clock: MockClock
) -> None:
    """The op with the client's last seq is submitted just before its join."""

    async def join(hall: Hall) -> None:
        with pytest.raises(LogReplaced):
            await hall.join(ROOM, Recorder(), since=2, epoch="of another log")

    # Which of two tasks that are started together runs first is random.
    for _ in range(20):
        async with open_hall(store=MemoryStore(), behaviour=behaviour) as hall:
            await hall.submit(ROOM, [{"add": 1}])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hall.submit, ROOM, [{"add": 2}])
                nursery.start_soon(join, hall)


class Stamping(Fragile):
    """A behaviour that logs another op than was sent."""

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return [Op.of({**op.value, "stamped": True}) for op in ops]

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.folded += 1


async def test_a_repeated_sync_whose_ops_are_no_longer_in_memory_stands_for_none(
    autojump_clock: MockClock,
) -> None:
    """Cut off while the store was away, a client catches up while its op becomes durable."""
    store = slow_store("read")
    store.trouble("append", "waits")
    async with open_hall(store=store, behaviour=Stamping, tail_bytes=1, batch_bytes=1) as hall:
        for number in range(3):
            await hall.submit(ROOM, [{"n": number}])
        store.trouble("append", "busy")
        first, membership, _ = await joined(hall, client="c" * 16, since=3)
        await membership.deliver(sync("s1"))
        await first.wait_for(Error)
        membership.detach()
        second, membership, answer = await joined(hall, client="c" * 16)
        assert answer.seq == 3
        store.trouble("append", "waits")
        await trio.sleep(1)
        await membership.deliver(sync("s1"))
        [synced] = await second.wait_for(Synced)
        assert synced.seqs == (4,)
        stamped = {"n": "s1", "stamped": True}
        shown = [op for _, seq, _, op in second.forwards() if seq == 4]
        if isinstance(synced.ops, tuple):
            shown += [op.value for op in synced.ops]
        assert shown == [stamped]
