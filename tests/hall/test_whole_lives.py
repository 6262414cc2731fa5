"""Whole life cycles at random, and what must hold whatever happens."""

from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings._hall.forwards import CROWD
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import GatheringCrashed, StoreUnavailable
from squire_gatherings._values.messages import Ack, Dispersed, Joined, Sync, Synced
from squire_gatherings._values.op import Op
from squire_gatherings.testing import FailingStore
from tests.support import Fragile, Recorder, examples

ROOMS = ("a", "b")


class Client:
    """One client: joins, submits, acknowledges or doesn't, and repeats what wasn't answered."""

    def __init__(self, name: str, room: str) -> None:
        self.name = name
        self.room = room
        self.seen: dict[int, Any] = {}
        self.answered: dict[str, tuple[int, ...]] = {}
        self.unanswered: dict[str, Sync] = {}
        self.recorder = Recorder()
        self.membership: Membership | None = None
        self.read = 0
        self.since = 0
        self.notices = 0
        self.incarnations: list[str] = []

    async def join(self, hall: Hall) -> None:
        self.digest()
        self.recorder, self.read, self.notices = Recorder(), 0, 0
        self.since = 0
        while self.since + 1 in self.seen:
            self.since += 1
        try:
            membership = await hall.join(
                self.room, self.recorder, since=self.since, client=self.name
            )
        except (StoreUnavailable, GatheringCrashed):
            self.membership = None
            return
        self.membership = membership
        self.digest()
        for sync in tuple(self.unanswered.values()):
            await membership.deliver(sync)

    async def submit(self, name: str) -> None:
        sync = Sync(name, 0, (Op.of({"by": name}),))
        self.unanswered[name] = sync
        if self.membership is not None:
            await self.membership.deliver(sync)

    def ack(self) -> None:
        self.digest()
        if self.membership is not None and self.seen:
            with suppress(trio.WouldBlock):
                self.membership.deliver_nowait(Ack(max(self.seen)))

    def digest(self) -> None:
        """Take in a message, and check what must hold."""
        for _, message in self.recorder.received[self.read :]:
            assert self.notices == 0, "the notice is the last message"
            if isinstance(message, Joined):
                self.incarnations.append(message.incarnation)
                assert isinstance(message.ops, tuple)
                # The ops may end before `seq`: those that were logged since they were read are
                # forwarded.
                for seq, op in enumerate(message.ops, start=self.since + 1):
                    self.see(seq, op.value)
            elif isinstance(message, Synced):
                assert self.answered.setdefault(message.id, message.seqs) == message.seqs
                self.unanswered.pop(message.id, None)
                for seq in message.seqs:
                    self.see(seq, {"by": message.id})
            elif isinstance(message, Dispersed):
                self.notices += 1
        for _, seq, _, value in self.recorder.forwards():
            self.see(seq, value)
        self.read = len(self.recorder.received)
        if self.recorder.closed:
            self.membership = None

    def see(self, seq: int, op: Any) -> None:
        assert self.seen.setdefault(seq, op) == op, "a seq means one op for ever"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 3)),
        st.tuples(st.just("submit"), st.integers(0, 3)),
        st.tuples(st.just("ack"), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0, 0.2, 1, 9.9, 10, 10.1, 30])),
        st.tuples(st.just("crash"), st.integers(0, 1)),
        st.tuples(st.just("disperse"), st.integers(0, 1)),
        st.tuples(st.just("evict"), st.sampled_from(["keep", "keep", "close"])),
        st.tuples(st.just("store"), st.sampled_from(["none", "slow", "waits", "busy", "torn"])),
    ),
    max_size=40,
)


@settings(max_examples=examples(300), deadline=None)
@given(steps, st.sampled_from([1, CROWD]), st.sampled_from([None, None, 0.3, 3.0]))
def test_nothing_acknowledged_is_lost_whatever_happens(
    plan: list[tuple[str, Any]], crowd: int, sleep_after: float | None
) -> None:
    async def live() -> None:
        inner = MemoryStore()
        store = FailingStore(inner)
        clients = [Client(f"c{n}", ROOMS[n % 2]) for n in range(4)]
        number = 0
        async with (
            open_hall(
                store=store,
                behaviour=Fragile,
                idle_timeout=10.0,
                empty_timeout=5.0,
                sleep_after=sleep_after,
                recent_syncs=2,
                tail_bytes=60,
                batch_bytes=10_000,
                snapshot_every=3,
            ) as hall,
            trio.open_nursery() as nursery,
        ):
            store.nursery = nursery
            for what, value in plan:
                for client in clients:
                    client.digest()
                names = [one.gathering for one in hall.snapshot().gatherings]
                assert len(names) == len(set(names))
                match what:
                    case "join":
                        await clients[value].join(hall)
                    case "submit":
                        number += 1
                        await clients[value].submit(f"s{number}")
                    case "ack":
                        clients[value].ack()
                    case "drop":
                        membership, clients[value].membership = clients[value].membership, None
                        if membership is not None:
                            membership.detach()
                    case "wait":
                        await trio.sleep(value)
                    case "crash":
                        nursery.start_soon(crash, hall, ROOMS[value])
                    case "disperse":
                        nursery.start_soon(hall.disperse, ROOMS[value])
                    case "evict":
                        for room in ROOMS:
                            nursery.start_soon(hall.evict, room, value)
                    case "store":
                        store.trouble("append", value, seconds=0.3)

            # At the end the store is well again, and every client comes back for the rest.
            store.heal()
            await trio.sleep(100)
            assert hall.gatherings() == (), "all of them ended on time"
            assert not inner._asleep
            assert not hall._registry.turnstile.knows_anybody
            for client in clients:
                await client.join(hall)
                await trio.sleep(1)
                client.ack()
                assert not client.unanswered
            for client in clients:
                client.digest()
                client.ack()
            for room in ROOMS:
                fetched = await hall.fetch(room, since=0)
                ops: list[Any] = []
                while len(ops) < fetched.seq:
                    page = await hall.fetch(room, since=len(ops))
                    assert isinstance(page.ops, tuple)
                    ops.extend(op.value for op in page.ops)
                log = dict(enumerate(ops, start=1))
                assert len({op["by"] for op in ops}) == len(ops), "each op once"
                for client in clients:
                    if client.room == room:
                        assert client.seen.items() <= log.items()
                        for sync_id, [seq] in client.answered.items():
                            assert log[seq] == {"by": sync_id}, "acknowledged is durable"
            nursery.cancel_scope.cancel()

    async def crash(hall: Hall, room: str) -> None:
        try:
            await hall.submit(room, [{"boom": True}])
        except (GatheringCrashed, StoreUnavailable):
            return

    with pytest.MonkeyPatch.context() as patch:
        # With a low `CROWD`, two clients are a crowd, which the hall serves one after the other.
        patch.setattr("squire_gatherings._hall.delivery.CROWD", crowd)
        trio.run(live, clock=MockClock(autojump_threshold=0))
