"""Proofs: a client recognises the log that it was in, and no other."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace
from trio.testing import wait_all_tasks_blocked

from squire_gatherings import (
    Append,
    BadRequest,
    Error,
    Fetch,
    Fetched,
    Hall,
    Joined,
    LogReplaced,
    Proof,
    Restored,
    StoreUnavailable,
    open_hall,
)
from squire_gatherings._rules.chain import HEAD_SIZE, head_of
from squire_gatherings._stores import MemoryStore
from tests.support import Recorder, Sum

ROOM = "friday-night"


async def proof_of(hall: Hall, **how: Any) -> Proof:
    """Join; return the proof that the client is told."""
    recorder = Recorder()
    membership = await hall.join(ROOM, recorder, proof=True, **how)
    membership.detach()
    proof = recorder.of(Joined)[0].proof
    assert isinstance(proof, Proof)
    return proof


class Heads(MemoryStore):
    """A store that counts how often it was asked for a head."""

    asked = 0
    fails = False
    left_out = False

    async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
        self.asked += 1
        if self.fails:
            raise StoreUnavailable("no")
        return None if self.left_out else await super().find_head(gathering, seq=seq)


async def test_a_client_that_asks_is_told_the_durable_head() -> None:
    store = MemoryStore()
    async with open_hall(store=store, behaviour=Sum) as hall:
        recorder, plain = Recorder(), Recorder()
        membership = await hall.join(ROOM, recorder, proof=True)
        without = await hall.join(ROOM, plain)
        # The log is still empty, so there is no proof.
        assert recorder.of(Joined)[0].proof is UNSET
        await hall.submit(ROOM, [{"add": 1}, {"add": 2}])
        for one in (membership, without):
            for since in (None, 0):
                await one.deliver(Fetch("f", since))
        await wait_all_tasks_blocked()
        head = await store.find_head(ROOM, seq=2)
        assert head is not None
        assert len(head) == HEAD_SIZE
        told = Proof(2, head.hex())
        assert [one.proof for one in recorder.of(Fetched)] == [told, told]
        assert [one.proof for one in plain.of(Fetched)] == [UNSET, UNSET]
        assert plain.of(Joined)[0].proof is UNSET
        assert await proof_of(hall) == told
        assert await store.find_head(ROOM, seq=1) == b""


async def test_a_proof_is_known_again_also_after_a_restart() -> None:
    store = Heads()
    proofs: list[Proof] = []
    for _ in range(3):
        async with open_hall(store=store, tail_bytes=1) as hall:
            for n in range(3):
                await hall.submit(ROOM, [{"n": n}, {"n": n}])
                proofs.append(await proof_of(hall, since=0))
            # It computes heads only when it is asked.
            assert store.asked == 3
            store.asked = 0
            for _ in range(2):
                for proof in proofs:
                    await proof_of(hall, since=0, known=proof)
                    await proof_of(hall, tail=True, known=proof)
            # The store isn't asked for the head of the log's end, nor for another head twice.
            assert store.asked == len(proofs) - 1
            store.asked = 0
    assert [proof.seq for proof in proofs] == list(range(2, 20, 2))
    assert len({proof.head for proof in proofs}) == len(proofs)


async def test_a_store_that_computes_each_head_is_not_asked_for_the_last() -> None:
    class Eager(Heads):
        def append_nowait(self, append: Append, ended: Callable[[Any], None]) -> bool:
            assert len(head_of(append)) == HEAD_SIZE
            return super().append_nowait(append, ended)

    store = Eager()
    async with open_hall(store=store) as hall:
        proofs = []
        for n in range(3):
            await hall.submit(ROOM, [{"n": n}])
            proofs.append(await proof_of(hall))
        assert store.asked == 0
    for proof in proofs:
        head = await store.find_head(ROOM, seq=proof.seq)
        assert head is not None
        assert head.hex() == proof.head


async def test_a_proof_is_of_what_was_durable_when_it_was_read() -> None:
    store = Heads()
    async with open_hall(store=store, behaviour=Sum) as hall:
        recorder = Recorder()
        member = await hall.join(ROOM, recorder, proof=True)
        await hall.submit(ROOM, [{"add": 1}])
        # The log goes on while the store is asked.
        await member.deliver(Fetch("f", 0))
        await hall.submit(ROOM, [{"add": 2}])
        await wait_all_tasks_blocked()
        [fetched] = recorder.of(Fetched)
        proof = fetched.proof
        assert isinstance(proof, Proof)
        assert proof.seq <= fetched.seq
        head = await store.find_head(ROOM, seq=proof.seq)
        assert head is not None
        assert head.hex() == proof.head
        # One who fails to read it is told, and not let in.
        store.fails = True
        await hall.submit(ROOM, [{"add": 3}])
        await member.deliver(Fetch("g"))
        await wait_all_tasks_blocked()
        assert [(one.id, one.code) for one in recorder.of(Error)] == [("g", "store_unavailable")]
        with pytest.raises(StoreUnavailable):
            await proof_of(hall)


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: replace(proof, head="0" * 64),
        lambda proof: replace(proof, head=proof.head.upper()),
        lambda proof: replace(proof, head="x"),
        # An op that was durable is gone.
        lambda proof: replace(proof, seq=9),
        # No append ended there.
        lambda proof: replace(proof, seq=1),
        lambda proof: replace(proof, seq=0),
        lambda proof: replace(proof, seq=2**63 - 1),
    ],
    ids=["head", "upper case", "short", "beyond", "within", "before", "far beyond"],
)
async def test_another_proof_is_that_of_another_log(change: Callable[[Proof], Proof]) -> None:
    async with open_hall(store=MemoryStore(), tail_bytes=1) as hall:
        await hall.submit(ROOM, [{"n": 1}, {"n": 2}])
        proof = await proof_of(hall)
        for _ in range(2):
            assert proof.head != change(proof).head or proof.seq != change(proof).seq
            with pytest.raises(LogReplaced):
                await proof_of(hall, since=0, known=change(proof))
            # The result is the same at the log's end and before it.
            await hall.submit(ROOM, [{"n": 3}])
        await proof_of(hall, since=0, known=proof)


async def test_a_log_with_the_same_epochs_and_other_ops_is_another_log() -> None:
    store, changed = MemoryStore(), MemoryStore()
    async with open_hall(store=store) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        proof = await proof_of(hall)
        epoch = (await hall.fetch(ROOM, since=0)).epoch
    restored = await store.load(ROOM, recent_syncs=9)
    # Another program has written the store anew, with another `by`, and made a chain of it.
    ops = tuple(replace(one, by="eve") for one in restored.ops)
    await changed.append(Append(ROOM, 1, ops, restored.recent, head=b"\1" * HEAD_SIZE))
    async with open_hall(store=changed) as hall:
        await hall.join(ROOM, Recorder(), since=1, epoch=epoch)
        with pytest.raises(LogReplaced, match="up to op 1 the log isn't the one"):
            await hall.join(ROOM, Recorder(), since=1, epoch=epoch, known=proof)


async def test_where_the_store_cannot_tell_nobody_is_sent_away() -> None:
    store = Heads()
    async with open_hall(store=store, tail_bytes=1) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        proof = await proof_of(hall)
        await hall.submit(ROOM, [{"n": 2}])
        await proof_of(hall)
        store.fails = True
        with pytest.raises(StoreUnavailable):
            await proof_of(hall, known=proof)
        store.fails, store.left_out = False, True
        await proof_of(hall, known=replace(proof, head="0"))


async def test_a_store_without_heads_proves_nothing() -> None:
    class Headless(Heads):
        async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
            restored = await super().load(gathering, recent_syncs=recent_syncs)
            return Restored(*[getattr(restored, name) for name in RESTORED[:-1]])

    store = Headless()
    async with open_hall(store=store) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        proof = await proof_of(hall)
    store.asked = 0
    async with open_hall(store=store) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder, proof=True)
        assert recorder.of(Joined)[0].proof is UNSET
        with pytest.raises(LogReplaced):
            await hall.join(ROOM, Recorder(), known=proof)
    assert store.asked == 0


RESTORED = ("seq", "snapshot", "ops", "recent", "has_older", "epoch", "time", "head")


@pytest.mark.parametrize("head", [b"short", "text", None])
async def test_a_head_that_can_be_none_is_noticed(head: Any) -> None:
    class Odd(MemoryStore):
        async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
            return Restored(head=head)

    async with open_hall(store=Odd()) as hall:
        with pytest.raises(StoreUnavailable):
            await hall.open(ROOM)


@pytest.mark.parametrize("known", ["x", Proof(-1, "0"), Proof(1, ""), Proof(1, "0" * 129)])
async def test_a_malformed_proof_is_refused(known: Any) -> None:
    async with open_hall() as hall:
        with pytest.raises(BadRequest):
            await hall.join(ROOM, Recorder(), known=known)
