"""Retries: late timers, moving bytes, missing ops, and clients that never acknowledge."""

from collections import Counter
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall import retries
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.retries import FEW_BYTES, FEW_OPS, RETRY_BYTES
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import Ack, ClientMessage, Sync
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import JSON
from tests.support import Recorder, slow_store

ROOM = "friday-night"


class Socket(Recorder):
    """A connection whose client's messages lie in its socket until the hall asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.unread: list[ClientMessage] = []
        self.membership: Membership | None = None
        self.looks = 0

    def read_arrived(self) -> None:
        self.looks += 1
        try:
            while self.unread:
                assert self.membership is not None
                self.membership.deliver_nowait(self.unread[0])
                del self.unread[0]
        except trio.WouldBlock:
            pass


async def test_a_late_timer_reads_first_what_has_arrived(mock_clock: MockClock) -> None:
    """After a stop of 24 s, clients that acknowledged stay; the others have their time left."""
    async with open_hall(store=MemoryStore()) as hall:
        healthy = [Socket() for _ in range(80)]
        for one in healthy:
            one.membership = await hall.join(ROOM, one)
        mute = Socket()
        await hall.join(ROOM, mute)
        await hall.submit(ROOM, [{"n": 1}])
        for one in healthy:
            one.unread.append(Ack(1))
        mock_clock.jump(24)
        await wait_all_tasks_blocked()
        assert not [one for one in healthy if one.closed]
        assert all(len(one.forwards()) == 1 for one in healthy), "nothing is sent them again"
        assert not mute.closed
        mock_clock.jump(0.1)
        await wait_all_tasks_blocked()
        assert hall.snapshot().gatherings[0].unacked == 1
        # A quarter of its ten seconds had passed; it gets the rest now.
        for _ in range(96):
            mock_clock.jump(0.1)
            await wait_all_tasks_blocked()
        assert not mute.closed
        for _ in range(2):
            mock_clock.jump(0.1)
            await wait_all_tasks_blocked()
        assert [code for _, code, _ in mute.closed] == [CloseCode.UNRESPONSIVE]


async def test_a_process_that_was_stopped_just_before_the_limit_drops_nobody(
    mock_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        one = Socket()
        one.membership = await hall.join(ROOM, one)
        await hall.submit(ROOM, [{"n": 1}])
        for _ in range(99):
            mock_clock.jump(0.1)
            await wait_all_tasks_blocked()
        assert not one.closed
        # More messages than the inbox takes at once lie before the acknowledgement.
        one.unread += [Sync(f"s{n}", 0, (Op.of({"n": n}),)) for n in range(200)]
        one.unread.append(Ack(1))
        mock_clock.jump(24)
        await wait_all_tasks_blocked()
        for _ in range(20):
            mock_clock.jump(0.1)
            await wait_all_tasks_blocked()
        assert not one.closed
        assert not one.unread


async def test_the_limit_is_exact_where_nothing_has_arrived(autojump_clock: MockClock) -> None:
    """A connection is read before it's judged, and not before each retry."""
    async with open_hall(store=MemoryStore()) as hall:
        mute = Socket()
        await hall.join(ROOM, mute)
        await hall.submit(ROOM, [{"n": 1}])
        start = trio.current_time()
        await mute.wait_closed()
        assert trio.current_time() == start + 10
        assert mute.looks == 1


async def test_an_acknowledgement_that_waits_for_a_commit_counts(
    autojump_clock: MockClock,
) -> None:
    """While the store takes 13 s for a commit, nothing else is processed."""

    store = slow_store(seconds=0.0)
    async with open_hall(store=store) as hall, trio.open_nursery() as nursery:
        one, mute = Recorder(), Recorder()
        membership = await hall.join(ROOM, one)
        other = await hall.join(ROOM, mute)
        await hall.submit(ROOM, [{"n": 1}])
        await trio.sleep(1)
        store.trouble("append", "slow", seconds=13.0)
        nursery.start_soon(hall.submit, ROOM, [{"n": 2}])
        await wait_all_tasks_blocked()
        membership.deliver_nowait(Ack(1))
        # The client talks, but acknowledges nothing.
        other.deliver_nowait(Ack(0))
        await trio.sleep(12.9)
        assert not one.closed
        assert not mute.closed
        await trio.sleep(0.5)
        assert [code for _, code, _ in mute.closed] == [CloseCode.UNRESPONSIVE]
        await trio.sleep(1)
        assert not one.closed
        assert len(one.forwards()) > 1


async def test_a_client_that_keeps_saying_other_things_is_given_up_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall, trio.open_nursery() as nursery:
        chatty = Recorder()
        membership = await hall.join(ROOM, chatty)

        async def chat() -> None:
            number = 0
            while not chatty.closed:
                number += 1
                await membership.deliver(Sync(f"s{number}", 0, (Op.of({"n": number}),)))
                await trio.sleep(0.01)

        await hall.submit(ROOM, [{"n": 1}])
        start = trio.current_time()
        nursery.start_soon(chat)
        await chatty.wait_closed()
        assert start + 10 <= trio.current_time() < start + 12


class Line(Recorder):
    """A slow line, on which this many bytes go out each second."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.sent = 0
        self._empty_at = 0.0

    def send(self, outgoing: Outgoing) -> None:
        super().send(outgoing)
        size = len(JSON.encode(outgoing))
        self.sent += size
        self._empty_at = max(self._empty_at, trio.current_time()) + size / self.rate

    @property
    def backlog(self) -> int:
        return max(0, round((self._empty_at - trio.current_time()) * self.rate))

    @property
    def progress(self) -> int:
        return self.sent - self.backlog

    async def flush(self) -> None:
        await trio.sleep_until(self._empty_at)


async def test_a_page_over_a_slow_line_arrives(autojump_clock: MockClock) -> None:
    """256 KiB at 10 KB/s take 26 s; the acknowledgement comes after that."""
    async with open_hall(store=MemoryStore(), tail_bytes=1000) as hall:
        for number in range(600):
            await hall.submit(ROOM, [{"n": number, "pad": "x" * 1000}])
        slow = Line(10_000)
        membership = await hall.join(ROOM, slow, since=0)
        has = 0
        with trio.fail_after(600):
            while has < 600:
                await trio.sleep(0.1)
                assert not slow.closed
                if not slow.backlog:
                    seqs = [seq for _, seq, _, _ in slow.forwards()]
                    if seqs and seqs[-1] > has:
                        has = seqs[-1]
                        membership.deliver_nowait(Ack(has))
        assert max(Counter(seq for _, seq, _, _ in slow.forwards()).values()) == 1
        await trio.sleep(60)
        assert not slow.closed


async def test_the_limit_holds_once_everything_is_out(autojump_clock: MockClock) -> None:
    """The same holds in a lively gathering, where bytes never stop moving."""
    async with open_hall(store=MemoryStore()) as hall, trio.open_nursery() as nursery:
        mute = Line(10_000)
        await hall.join(ROOM, mute)

        async def talk() -> None:
            while not mute.closed:
                await hall.submit(ROOM, [{"pad": "x" * 200}])
                await trio.sleep(0.1)

        await hall.submit(ROOM, [{"pad": "x" * 100_000}])
        nursery.start_soon(talk)
        start = trio.current_time()
        await mute.wait_closed()
        assert start + 20 < trio.current_time() < start + 35


async def test_a_line_that_stands_still_is_given_up(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        stuck = Line(1e-6)
        await hall.join(ROOM, stuck)
        await hall.submit(ROOM, [{"n": 1}])
        start = trio.current_time()
        await stuck.wait_closed()
        assert trio.current_time() == start + 10


class Encoding(Recorder):
    """A connection that encodes what it is sent, and counts."""

    def __init__(self, count: Callable[[int, bool], None]) -> None:
        super().__init__()
        self.count = count

    def send(self, outgoing: Outgoing) -> None:
        super().send(outgoing)
        is_new = not outgoing.encoded
        if is_new:
            outgoing.encoded["test"] = JSON.encode(outgoing)
        self.count(len(outgoing.encoded["test"]), is_new)


async def test_a_client_that_never_acknowledges_gets_few_and_all_get_the_same(
    autojump_clock: MockClock,
) -> None:
    sent = encoded = 0

    def count(size: int, is_new: bool) -> None:
        nonlocal sent, encoded
        sent += size
        encoded += size * is_new

    async with open_hall(store=MemoryStore(), max_ops=100_000) as hall:
        for _ in range(100):
            await hall.join(ROOM, Encoding(count))
        sent = encoded = 0
        await hall.submit(ROOM, [{"n": number} for number in range(5_000)])
        await hall.submit(ROOM, [{"pad": "x" * 100_000}])
        await wait_all_tasks_blocked()
        first = sent
        await trio.sleep(60)
        assert hall.snapshot().clients == 0
        assert encoded <= first / 100 + 5 * 1000
        assert sent - first <= 100 * 5 * (FEW_OPS * 40 + 200)


@pytest.mark.parametrize("tail_bytes", [1, 1_000_000])
async def test_a_large_op_is_sent_once_more_without_an_acknowledgement(
    tail_bytes: int, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=tail_bytes) as hall:
        mute, polite = Recorder(), Recorder()
        await hall.join(ROOM, mute)
        membership = await hall.join(ROOM, polite)
        await hall.submit(ROOM, [{"n": 1}])
        membership.deliver_nowait(Ack(1))
        other = Recorder()
        await hall.join("other", other)
        await hall.submit("other", [{"pad": "x" * FEW_BYTES}])
        if tail_bytes == 1:
            # Reading it from the store makes no difference.
            await hall.submit("other", [{"n": 1}])
        await hall.submit(ROOM, [{"pad": "x" * FEW_BYTES}])
        start = trio.current_time()
        await trio.sleep(60)
        assert [at - start for at, seq, *_ in other.forwards() if seq == 1] == [0, 0.25]
        at = [at - start for at, seq, *_ in polite.forwards() if seq == 2]
        assert at == [0, 0.25, 0.75, 1.75, 3.75, 7.75]


async def test_a_retry_is_bounded_and_doesnt_grow(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        lost = Recorder()
        membership = await hall.join(ROOM, lost)
        await hall.submit(ROOM, [{"n": 1}])
        membership.deliver_nowait(Ack(1))
        await wait_all_tasks_blocked()
        start = trio.current_time()
        for _ in range(20):
            await hall.submit(ROOM, [{"pad": "x" * 10_000} for _ in range(4)])
            await trio.sleep(0.3)
        await trio.sleep(3)
        again: Counter[float] = Counter()
        seen: set[int] = set()
        for at, seq, _, op in lost.forwards():
            if seq in seen:
                again[at - start] += len(op["pad"])
            seen.add(seq)
        assert len(again) >= 3
        assert max(again.values()) <= RETRY_BYTES
        # Each acknowledgement brings on the next ones.
        has = 1
        while has < 81:
            *_, (last_at, *_) = forwards = lost.forwards()
            has = max(seq for at, seq, *_ in forwards if at == last_at)
            membership.deliver_nowait(Ack(has))
            await trio.sleep(0.26)
        await trio.sleep(60)
        assert not lost.closed


async def test_retries_share_their_encoding_across_authors(autojump_clock: MockClock) -> None:
    counts: Counter[bool] = Counter()

    async with open_hall(store=MemoryStore()) as hall:
        memberships = []
        for _ in range(50):
            memberships.append(await hall.join(ROOM, Encoding(lambda _, new: counts.update([new]))))
        for number, membership in enumerate(memberships):
            membership.deliver_nowait(Sync(f"s{number}", 0, (Op.of({"n": number}),)))
        await wait_all_tasks_blocked()
        for membership in memberships:
            membership.deliver_nowait(Ack(50))
        await hall.submit(ROOM, [{"n": 50}])
        await hall.submit(ROOM, [{"n": 51}])
        await wait_all_tasks_blocked()
        counts.clear()
        await trio.sleep(0.26)
        assert counts == {True: 1, False: 49}


async def test_own_ops_are_not_sent_again_from_the_store_either(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=100) as hall:
        lost = Recorder()
        membership = await hall.join(ROOM, lost)
        for number in range(20):
            await hall.submit(ROOM, [{"n": number, "pad": "x" * 50}])
            own = Op.of({"own": number, "pad": "x" * 50})
            membership.deliver_nowait(Sync(f"s{number}", 0, (own,)))
            await wait_all_tasks_blocked()
        await trio.sleep(9)
        assert not [op for *_, op in lost.forwards() if "own" in op]
        often = Counter(seq for _, seq, _, _ in lost.forwards())
        assert often[1] == 6, "the first that lacks is sent again each time"
        membership.deliver_nowait(Ack(2))
        await trio.sleep(9)
        assert not [op for *_, op in lost.forwards() if "own" in op]
        often = Counter(seq for _, seq, _, _ in lost.forwards())
        assert set(often) == set(range(1, 40, 2))
        assert often[3] > 1


async def test_a_large_crowd_of_retries_keeps_nobody_waiting(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tasks get turns in between, and no client is left out."""
    monkeypatch.setattr(retries, "TURN", 40)
    turns = 0
    seen: Counter[int] = Counter()
    began = trio.Event()

    class Turning(Recorder):
        def send(self, outgoing: Outgoing) -> None:
            super().send(outgoing)
            seen[turns] += 1
            began.set()

    async with open_hall(store=MemoryStore()) as hall:
        crowd = [Turning() for _ in range(300)]
        for one in crowd:
            await hall.join(ROOM, one)
        await hall.submit(ROOM, [{"n": 1}])
        await trio.sleep(0.2)
        seen.clear()
        began = trio.Event()
        await began.wait()
        while seen.total() < 300:
            turns += 1
            await trio.lowlevel.checkpoint()
        assert max(seen.values()) <= 10
        await trio.sleep(60)
        assert all(len(one.forwards()) == 6 and one.closed for one in crowd)
        assert hall.snapshot().clients == 0


async def test_many_clients_with_their_own_due_times_are_not_looked_at_one_by_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One round serves all of them: a round for each client would be quadratic."""
    monkeypatch.setattr(retries, "SPACING", 1e-4)
    async with open_hall(store=MemoryStore()) as hall:
        crowd = [Recorder() for _ in range(300)]
        memberships = [await hall.join(ROOM, one) for one in crowd]
        for number in range(2):
            await hall.submit(ROOM, [{"n": number}])
        start = trio.current_time()
        for membership in memberships:
            membership.deliver_nowait(Ack(1))
            await trio.sleep(0.0005)
        await trio.sleep(60)
        instants = {at for one in crowd for at, seq, *_ in one.forwards() if seq == 2}
        assert len(instants) <= 1 + 5 * 7
        for number, one in enumerate(crowd):
            at = [at - start - number * 0.0005 for at, seq, *_ in one.forwards() if seq == 2][1:]
            expected = [0.25, 0.75, 1.75, 3.75, 7.75]
            assert all(0 <= x - y < 0.2 for x, y in zip(at, expected, strict=True))


async def test_an_acknowledgement_brings_the_next_retry_forward(
    autojump_clock: MockClock,
) -> None:
    """After backing off to 4 s, progress starts again with a quarter of a second."""
    async with open_hall(store=MemoryStore()) as hall:
        one = Recorder()
        membership = await hall.join(ROOM, one)
        await hall.submit(ROOM, [{"n": 1}])
        await hall.submit(ROOM, [{"n": 2}])
        start = trio.current_time()
        await trio.sleep(4)
        membership.deliver_nowait(Ack(1))
        await trio.sleep(1)
        assert [at - start for at, seq, *_ in one.forwards() if seq == 2][-2:] == [4.25, 4.75]


class Sending(Recorder):
    """A client whose large message comes slowly; its acknowledgements lie behind it."""

    size = 0

    @property
    def receiving(self) -> int:
        return self.size


@pytest.mark.parametrize("rate", [5000, 0])
async def test_a_client_whose_own_message_still_arrives_is_not_given_up(
    rate: int, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        connection = Sending()
        membership = await hall.join(ROOM, connection)
        connection.size = 100
        await hall.submit(ROOM, [{"n": 1}])
        start = trio.current_time()
        for _ in range(50):
            await trio.sleep(1)
            connection.size += rate
        if not rate:
            # Bytes that don't move excuse a client once.
            assert connection.closed[0][:2] == (start + 20, CloseCode.UNRESPONSIVE)
            return
        assert not connection.closed
        connection.size = 0
        membership.deliver_nowait(Ack(1))
        # Much later, the rule is the same.
        await trio.sleep(1000)
        await hall.submit(ROOM, [{"n": 2}])
        connection.size = 100
        await trio.sleep(15)
        assert not connection.closed
