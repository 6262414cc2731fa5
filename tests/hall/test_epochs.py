"""Epochs at random: a client is let in with its log only if it is the beginning of the hall's."""

import copy
from typing import Any

import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import LogReplaced
from squire_gatherings._values.log import Page
from squire_gatherings._values.messages import Forward, ForwardBatch, Joined, Proof
from tests.support import Recorder, examples

ROOM = "friday-night"


@define
class Client:
    """A client that keeps what it was given, as docs/protocol.md says."""

    has: list[Any] = field(factory=list)
    epoch: str | None = None
    known: Proof | None = None

    async def visit(self, hall: Hall, *, fetches: bool) -> bool:
        """Join, take what comes, and go; return whether the client's log was accepted."""
        recorder = Recorder()
        since = len(self.has) or None
        try:
            membership = await hall.join(
                ROOM, recorder, since=since, epoch=self.epoch, proof=True, known=self.known
            )
        except LogReplaced:
            return False
        await wait_all_tasks_blocked()
        incarnation = membership.incarnation
        for _, message in recorder.received:
            if isinstance(message, Joined):
                self.take(len(self.has) + 1, message, incarnation)
                self.known = message.proof or None
            elif isinstance(message, Forward | ForwardBatch):
                self.take(message.seq, message, incarnation)
        if fetches:
            page = await hall.fetch(ROOM, since=len(self.has))
            self.take(len(self.has) + 1, page, incarnation)
        membership.detach()
        return True

    def take(self, first: int, message: Joined | Page | Forward | ForwardBatch, at: str) -> None:
        ops = (message.op,) if isinstance(message, Forward) else message.ops
        assert isinstance(ops, tuple)
        assert first == len(self.has) + 1
        self.has += [op.value for op in ops]
        if ops or isinstance(message, Joined):
            self.epoch = at if message.epoch is UNSET else message.epoch or None


async def everything(store: MemoryStore) -> list[Any]:
    return [one.op.value for one in await store.read(ROOM, after=0, up_to=10**6, max_bytes=10**9)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 4)),
        st.tuples(st.just("disperse"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("backup"), st.just(0)),
        st.tuples(st.just("restore"), st.just(0)),
        st.tuples(st.just("visit"), st.integers(0, 1)),
        st.tuples(st.just("visit and fetch"), st.integers(0, 1)),
    ),
    max_size=30,
)


@settings(max_examples=examples(200), deadline=None)
@given(steps, st.sampled_from([1, 500, 10**6]), st.sampled_from([1, 40, 10**6]))
def test_a_client_that_is_let_in_has_what_the_log_has(
    plan: list[tuple[str, int]], tail_bytes: int, batch_bytes: int
) -> None:
    async def live() -> None:
        store = MemoryStore()
        backup = MemoryStore()
        clients = [Client(), Client()]
        number = 0
        rest = list(plan)
        while rest:
            async with open_hall(
                store=store, tail_bytes=tail_bytes, batch_bytes=batch_bytes, snapshot_every=3
            ) as hall:
                while rest:
                    what, value = rest.pop(0)
                    match what:
                        case "submit":
                            ops = [{"n": (number := number + 1)} for _ in range(value)]
                            await hall.submit(ROOM, ops)
                        case "disperse":
                            await hall.disperse(ROOM)
                        case "restart":
                            break
                        case "backup":
                            backup = copy.deepcopy(store)
                        case "restore":
                            await hall.close()
                            store = copy.deepcopy(backup)
                            break
                        case _:
                            client, log = clients[value], await everything(store)
                            same = client.has == log[: len(client.has)]
                            let_in = await client.visit(hall, fetches="fetch" in what)
                            assert let_in == same
                            if not let_in:
                                clients[value] = client = Client()
                                assert await client.visit(hall, fetches=False)
                            # Each op has its own number, so equal ops are the same op.
                            assert client.has == log

    trio.run(live, clock=MockClock(autojump_threshold=0))
