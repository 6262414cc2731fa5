"""Clients of all sorts, and what each must be told whatever the others do."""

from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.forwards import CROWD
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.log import LoggedOp
from squire_gatherings._values.messages import (
    Ack,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Joined,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from tests.support import Recorder, examples

ROOM = "friday-night"
RATE = 250
"""A slow line's speed in bytes a second; each op counts as a hundred bytes."""

FILLED = 40
"""The number of ops before any client joins: more than two pages."""

SORTS = ("polite", "slow", "mute", "ahead", "raising", "fetching", "late")


class SlowReads(MemoryStore):
    """A store that takes its time to read."""

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        await trio.sleep(0.2)
        return await super().read(gathering, after=after, up_to=up_to, max_bytes=max_bytes)


class Watcher(Recorder):
    """One client of some sort, which checks each message as it comes."""

    def __init__(self, sort: str, number: int) -> None:
        super().__init__()
        self.sort = sort
        self.number = number
        self.membership: Membership | None = None
        self.has = 0
        """It was told everything up to this seq, in order."""
        self.ahead = 0
        """The last seq that it fetched, or claims to have."""
        self.owed = 0
        """The last seq that was forwarded to it."""
        self.acked = 0
        self.own: set[int] = set()
        self.synced = 0
        self.sent_bytes = 0
        self.empty_at = 0.0
        self.arrivals: list[tuple[float, int]] = []
        """When each message is over the line, and up to which byte."""
        self.unread: list[Ack] = []
        self.delivered: list[tuple[float, int]] = []
        self.raises = False
        self.is_over = False
        """Whether nobody does anything any more but acknowledge."""
        self.faults: list[AssertionError] = []
        """Failed checks: the guard would take what they raise as the connection's fault."""

    # The gathering calls these.

    def send(self, outgoing: Outgoing) -> None:
        if self.raises:
            raise RuntimeError("on purpose")
        try:
            self._sent(outgoing)
        except AssertionError as fault:
            self.faults.append(fault)

    def close(self, code: CloseCode, reason: str) -> None:
        try:
            self._closed(code, reason)
        except AssertionError as fault:
            self.faults.append(fault)

    def _sent(self, outgoing: Outgoing) -> None:
        assert not self.closed, "nothing comes after the close"
        super().send(outgoing)
        message = outgoing.message
        if self.sort == "slow":
            size = sum(100 for _ in getattr(message, "ops", None) or (1,))
            self.sent_bytes += size
            self.empty_at = max(self.empty_at, trio.current_time()) + size / RATE
        if isinstance(message, Joined):
            assert isinstance(message.ops, tuple)
            self.has += len(message.ops)
        elif isinstance(message, Forward):
            self._forwarded(message.seq, (message.op,))
        elif isinstance(message, ForwardBatch):
            self._forwarded(message.seq, message.ops)
        elif isinstance(message, Fetched):
            self.ahead = message.seq
        elif isinstance(message, Synced):
            self.synced += 1
            assert message.seqs[0] <= self.has + 1, "after everything before"
            self.own |= set(message.seqs)
            self.has = max(self.has, message.seqs[-1])
        self.arrivals.append((self.empty_at, self.has))

    def _forwarded(self, first: int, ops: tuple[Op, ...]) -> None:
        for seq, op in enumerate(ops, start=first):
            assert op.value["by"] != self.number, "not its own"
            assert seq not in self.own
            if seq <= self.has:
                assert seq > self._heard(), "only what it didn't acknowledge comes again"
            else:
                assert seq == self.has + 1, "each in its turn"
                self.has = seq
            self.owed = max(self.owed, seq)

    def _closed(self, code: CloseCode, reason: str) -> None:
        super().close(code, reason)
        if code == CloseCode.UNRESPONSIVE:
            assert self.owed > self.acked, "it had acknowledged everything"
            assert self.sort == "mute"

    @property
    def backlog(self) -> int:
        return max(0, round((self.empty_at - trio.current_time()) * RATE))

    @property
    def progress(self) -> int:
        return self.sent_bytes - self.backlog

    async def flush(self) -> None:
        await trio.sleep_until(self.empty_at)

    def read_arrived(self) -> None:
        with suppress(trio.WouldBlock):
            while self.unread and self.membership is not None:
                self.membership.deliver_nowait(self.unread[0])
                del self.unread[0]

    # The client does these.

    def acknowledge(self, seq: int) -> None:
        self.acked = max(self.acked, seq)
        if self.membership is None:
            return
        if self.sort == "late":
            # The acknowledgement is read only when the gathering asks for it.
            self.unread = [Ack(self.acked)]
            return
        with suppress(trio.WouldBlock):
            self.membership.deliver_nowait(Ack(self.acked))
            self.delivered.append((trio.current_time(), self.acked))

    def _heard(self) -> int:
        """The last seq that the gathering must know to be acknowledged by now."""
        now = trio.current_time()
        return max((seq for at, seq in self.delivered if at < now), default=0)

    async def live(self) -> None:
        """Acknowledge as a client of this sort does."""
        if self.sort == "mute":
            return
        while not self.closed:
            if self.is_over and self.acked >= self.has:
                # Until something comes there's nothing to do, and a minute is long.
                await self._wait()
            await trio.sleep(0.25)
            if self.sort == "ahead":
                if not self.is_over and self.membership is not None and self.ahead <= self.has:
                    with suppress(trio.WouldBlock):
                        self.membership.deliver_nowait(Fetch("ahead", self.has))
                self.acknowledge(max(self.has, self.ahead))
            elif self.sort == "slow":
                now = trio.current_time()
                self.acknowledge(max((has for at, has in self.arrivals if at <= now), default=0))
            else:
                self.acknowledge(self.has)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 3)),
        st.tuples(st.just("submit"), st.integers(1, 5)),
        st.tuples(st.just("sync"), st.integers(0, 3)),
        st.tuples(st.just("fetch"), st.integers(0, 3)),
        st.tuples(st.just("leave"), st.integers(0, 3)),
        st.tuples(st.just("raise"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0, 0.01, 0.1, 0.3, 1, 5, 12])),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=examples(100), deadline=None)
@given(
    steps,
    st.lists(st.sampled_from(SORTS), min_size=4, max_size=4),
    st.sampled_from([1, CROWD]),
    st.sampled_from([1, 400]),
)
def test_all_sorts_of_clients_get_each_op_once_and_in_order(
    plan: list[tuple[str, float]], sorts: list[str], crowd: int, tail_bytes: int
) -> None:
    async def live() -> None:
        watchers: dict[int, Watcher] = {}
        joined: list[Watcher] = []
        syncs: dict[Watcher, int] = {}
        async with (
            open_hall(store=SlowReads(), tail_bytes=tail_bytes, batch_bytes=300) as hall,
            trio.open_nursery() as nursery,
        ):
            await hall.submit(ROOM, [{"by": 0, "n": n} for n in range(FILLED)])
            for number, (what, value) in enumerate(plan):
                watcher = watchers.get(int(value))
                match what:
                    case "join":
                        new = Watcher(sorts[int(value)], len(joined) + 1)
                        joined.append(new)
                        watchers[int(value)] = new
                        new.membership = await hall.join(ROOM, new, since=0)
                        nursery.start_soon(new.live)
                    case "submit":
                        await hall.submit(ROOM, [{"by": 0, "n": n} for n in range(int(value))])
                    case "sync" if watcher is not None:
                        if deliver(watcher, Sync(f"s{number}", 0, ops(watcher.number))):
                            syncs[watcher] = syncs.get(watcher, 0) + 1
                    case "fetch" if watcher is not None:
                        deliver(watcher, Fetch(f"f{number}", watcher.has))
                    case "leave" if watcher is not None and watcher.membership is not None:
                        watcher.membership.detach()
                        watcher.close(CloseCode.LEFT, "left")
                    case "raise" if watcher is not None and watcher.sort == "raising":
                        watcher.raises = True
                    case "wait":
                        await trio.sleep(value)
            await check_the_end(hall, joined, syncs)
            nursery.cancel_scope.cancel()

    def ops(number: int) -> tuple[Op, ...]:
        return tuple(Op.of({"by": number, "n": n}) for n in range(number % 3 + 1))

    def deliver(watcher: Watcher, message: Any) -> bool:
        if watcher.closed or watcher.membership is None:
            return False
        try:
            watcher.membership.deliver_nowait(message)
        except trio.WouldBlock:
            return False
        return True

    async def check_the_end(hall: Hall, joined: list[Watcher], syncs: dict[Watcher, int]) -> None:
        for watcher in joined:
            watcher.is_over = True
        await trio.sleep(60)
        await wait_all_tasks_blocked()
        last = (await hall.fetch(ROOM, since=0)).seq
        for watcher in joined:
            for fault in watcher.faults:
                raise fault
            if watcher.closed or watcher.raises:
                continue
            if watcher.sort != "mute" or watcher.owed == 0:
                assert watcher.has == last, "it was told everything"
                assert watcher.synced == syncs.get(watcher, 0), "each sync was answered"
            assert watcher.sort != "mute" or watcher.owed == 0, "it was given up"
        [numbers] = hall.snapshot().gatherings
        assert numbers.unacked == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("squire_gatherings._hall.delivery.CROWD", crowd)
        trio.run(live, clock=MockClock(autojump_threshold=0))
