"""The idle deadline: exactly on time, moved by what counts and by nothing else."""

import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import BadBase, Forbidden, Unauthorized
from squire_gatherings._values.identity import ANONYMOUS, Identity, Role
from squire_gatherings._values.messages import Ack, Dispersed, Error, Fetch, Joined, Leave, Sync
from squire_gatherings._values.op import Op
from tests.support import Recorder

DAY = 24 * 60 * 60.0
ROOM = "friday-night"


def sync(name: str, base: int = 0) -> Sync:
    return Sync(name, base, (Op.of({"n": name}),))


@pytest.mark.parametrize("messages", [1, 1000])
async def test_disperses_exactly_a_day_after_the_last_message(
    messages: int, autojump_clock: MockClock
) -> None:
    chance = random.Random(messages)
    async with open_hall(store=MemoryStore()) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        last = trio.current_time()
        for number in range(messages - 1):
            await trio.sleep(chance.choice([0, 0.001, 7, 3600, DAY - 0.001, DAY / 3]))
            membership.deliver_nowait(sync(f"s{number}"))
            await wait_all_tasks_blocked()
            last = trio.current_time()
        await client.wait_closed()
        assert trio.current_time() == last + DAY
        assert client.closed == [(last + DAY, CloseCode.DISPERSED, "idle")]
        at, notice = client.received[-1]
        assert at == last + DAY
        assert isinstance(notice, Dispersed)
        assert (notice.reason, notice.seq, notice.idle_for) == ("idle", messages - 1, DAY)
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()


Act = Callable[[Hall, Membership], Awaitable[None]]


async def _fetch(hall: Hall, membership: Membership) -> None:
    membership.deliver_nowait(Fetch("f", 0))


async def _sync(hall: Hall, membership: Membership) -> None:
    membership.deliver_nowait(sync("s"))


async def _ack(hall: Hall, membership: Membership) -> None:
    membership.deliver_nowait(Ack(0))


async def _leave(hall: Hall, membership: Membership) -> None:
    membership.deliver_nowait(Leave())


async def _join(hall: Hall, membership: Membership) -> None:
    await hall.join(ROOM, Recorder())


async def _submit(hall: Hall, membership: Membership) -> None:
    await hall.submit(ROOM, [{"n": 1}])


@pytest.mark.parametrize("act", [_fetch, _sync, _ack, _leave, _join, _submit])
async def test_messages_that_count_move_the_deadline(act: Act, autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        start = trio.current_time()
        await trio.sleep(1000)
        await act(hall, membership)
        await wait_all_tasks_blocked()
        [numbers] = hall.snapshot().gatherings
        assert numbers.last_processed_at == start + 1000
        assert numbers.deadline == start + 1000 + DAY
        await trio.sleep_until(start + 1000 + DAY - 0.001)
        assert hall.gatherings() == (ROOM,)
        await trio.sleep_until(start + 1000 + DAY)
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()


async def _snapshot(hall: Hall, membership: Membership) -> None:
    hall.snapshot()
    hall.gatherings()


async def _close(hall: Hall, membership: Membership) -> None:
    membership.detach()


async def _open_again(hall: Hall, membership: Membership) -> None:
    await hall.open(ROOM)


async def _bad_ack(hall: Hall, membership: Membership) -> None:
    membership.deliver_nowait(Ack(17))


async def _bad_base(hall: Hall, membership: Membership) -> None:
    membership.deliver_nowait(sync("s", base=17))


async def _bad_join(hall: Hall, membership: Membership) -> None:
    with pytest.raises(BadBase):
        await hall.join(ROOM, Recorder(), since=17)


async def _observer_syncs(hall: Hall, membership: Membership) -> None:
    with pytest.raises(Forbidden):
        await hall.submit(ROOM, [{"n": 1}], identity=Identity("olga", Role.OBSERVER))


async def _unauthorized(hall: Hall, membership: Membership) -> None:
    with pytest.raises(Unauthorized):
        await hall.join(ROOM, Recorder(), token="wrong")


@pytest.mark.parametrize(
    "act",
    [
        _snapshot,
        _close,
        _open_again,
        _bad_ack,
        _bad_base,
        _bad_join,
        _observer_syncs,
        _unauthorized,
    ],
)
async def test_messages_that_do_not_count_leave_the_deadline(
    act: Act, autojump_clock: MockClock
) -> None:
    async def authenticate(token: str | None, gathering: str) -> Identity:
        if token == "wrong":
            raise Unauthorized("no")
        return ANONYMOUS

    async with open_hall(store=MemoryStore(), authenticate=authenticate) as hall:
        membership = await hall.join(ROOM, Recorder())
        watcher = Recorder()
        await hall.join(ROOM, watcher)
        start = trio.current_time()
        await trio.sleep(1000)
        await act(hall, membership)
        await wait_all_tasks_blocked()
        [numbers] = hall.snapshot().gatherings
        assert numbers.deadline == start + DAY
        assert numbers.processed == 2
        await watcher.wait_closed()
        assert watcher.closed == [(start + DAY, CloseCode.DISPERSED, "idle")]


async def test_retries_do_not_count(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=9.0) as hall:
        author, mute = Recorder(), Recorder()
        membership = await hall.join(ROOM, author)
        await hall.join(ROOM, mute)
        membership.deliver_nowait(sync("s"))
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await mute.wait_closed()
        assert trio.current_time() == start + 9.0
        assert [at - start for at, *_ in mute.forwards()] == [0, 0.25, 0.75, 1.75, 3.75, 7.75]


async def test_a_gathering_that_nobody_joins_disperses(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        await hall.open(ROOM)
        await trio.sleep(DAY - 0.001)
        assert hall.gatherings() == (ROOM,)
        await trio.sleep(0.001)
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()
        assert hall.snapshot().dispersed == {"idle": 1}


async def test_an_empty_gathering_disperses_after_empty_timeout(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), empty_timeout=60.0) as hall:
        first = await hall.join(ROOM, Recorder())
        second = await hall.join(ROOM, Recorder())
        await trio.sleep(100)
        first.detach()
        await trio.sleep(1000)
        assert hall.gatherings() == (ROOM,)
        second.detach()
        await trio.sleep(59)
        back = await hall.join(ROOM, Recorder())
        await trio.sleep(1000)
        assert hall.gatherings() == (ROOM,)
        back.detach()
        emptied = trio.current_time()
        assert hall.snapshot().gatherings[0].deadline == emptied + 60
        await trio.sleep(59.999)
        assert hall.gatherings() == (ROOM,)
        await trio.sleep(0.001)
        await wait_all_tasks_blocked()
        assert hall.snapshot().dispersed == {"empty": 1}


async def test_the_idle_deadline_comes_first_when_it_is_sooner(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0, empty_timeout=60.0) as hall:
        membership = await hall.join(ROOM, Recorder())
        await trio.sleep(5)
        membership.detach()
        await trio.sleep(5)
        await wait_all_tasks_blocked()
        assert hall.snapshot().dispersed == {"idle": 1}


async def test_errors_are_answered(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        [joined] = client.of(Joined)
        assert (joined.seq, joined.ops, joined.expires_in) == (0, (), DAY)
        membership.deliver_nowait(sync("s", base=3))
        await wait_all_tasks_blocked()
        assert client.of(Error) == [Error("bad_base", "base is 3, but the last op is 0", "s")]
