"""Nodes in one process: right ones pass the checkers, and each kind of broken ones is found out."""

from collections.abc import Callable

import pytest
import trio
from attrs import define
from trio.testing import MockClock

from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.log import Append, Restored
from squire_gatherings.testing import SharedMemory
from squire_gatherings.testing._nodes import NodeStore
from tests.nemesis import linearizability, log_order
from tests.nemesis.gathering_log import GatheringLog
from tests.nemesis.halls import run
from tests.nemesis.history import Operation, resolve
from tests.nodes.broken import BrokenMemory, EndlessLease, TakesTheLiving
from tests.support import examples

RIGHT_SEEDS = examples(4)
MOST_SEEDS = 30
"""After so many right runs, a broken node counts as not found."""


def is_right(history: list[Operation]) -> bool:
    """Ask both checkers, which must agree."""
    verdict = linearizability.check(resolve(history), GatheringLog())
    try:
        log_order.check(history)
    except log_order.Contradiction:
        assert not verdict.is_linearizable
    else:
        assert verdict.is_linearizable, verdict.unexplained
    return verdict.is_linearizable


def put(store: NodeStore, append: Append) -> None:
    """Append in the place of whatever is there."""
    log = store.shared.logs.get(append.gathering)
    before = append.first_seq - 1
    if log is not None and log.seq > before:
        del log.ops[before:]
        log.heads = {seq: head for seq, head in log.heads.items() if seq <= before}
        kept = [one for one in log.unchained if one.first_seq <= before]
        log.unchained.clear()
        log.unchained.extend(kept)
        log.syncs = {key: one for key, one in log.syncs.items() if one.first_seq <= before}
    MemoryStore.append_nowait(store, append, lambda _: None)


@define(eq=False)
class Unfenced(NodeStore):
    """It takes what anybody appends, in the place of what is there.

    One that still compares where the log ends shows clients nothing wrong: that is a fence, too.
    """

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        return await MemoryStore.load(self, gathering, recent_syncs=recent_syncs)

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        put(self, append)
        return True

    async def append(self, append: Append) -> None:
        await trio.lowlevel.checkpoint()
        put(self, append)


@define(eq=False)
class LooksFirst(NodeStore):
    """It looks who has the gathering and where its log ends, and appends a while later."""

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        raise trio.WouldBlock

    async def append(self, append: Append) -> None:
        self._check(append.gathering)
        # Now and then it takes longer than a lease.
        await trio.sleep(0.01 if append.first_seq % 4 else self.shared.lease + 3)
        put(self, append)


@pytest.mark.parametrize("seed", range(RIGHT_SEEDS))
async def test_right_nodes_pass(seed: int, autojump_clock: MockClock) -> None:
    history = await run(seed, SharedMemory())
    assert len(history) > 100
    assert is_right(history)


BROKEN: dict[str, type[NodeStore]] = {
    "no fencing": Unfenced,
    "the epoch is looked at outside of the transaction": LooksFirst,
    "reads past the lease": EndlessLease,
    "what a living node has is taken": TakesTheLiving,
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_nodes_are_found_out(name: str, autojump_clock: MockClock) -> None:
    for seed in range(MOST_SEEDS):
        if not is_right(await run(seed, BrokenMemory(kind=BROKEN[name]))):
            return
    raise AssertionError(f"not found in {MOST_SEEDS} runs: {name}")
