"""The replica and its changes, against a model of a server: losses and answers in any order."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from squire_gatherings._rules.behaviour import Stamp, encode_state
from squire_gatherings._rules.change_queue import Change, ChangeQueue, Missing
from squire_gatherings._rules.replica import Diverged, Gap, Replica
from squire_gatherings._values.errors import LogReplaced
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.op import Op
from tests.support import Sum, examples


class AllOps(Sum):
    """A state that shows every op, and their order."""

    def __init__(self) -> None:
        self.ops: list[int] = []

    def judge(self, ops: Any, submission: Any) -> Any:
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.ops.append(op.value["n"])

    def snapshot(self) -> Any:
        return self.ops

    def restore(self, snapshot: Any) -> None:
        self.ops = list(snapshot)


class ReplicaMachine(RuleBasedStateMachine):
    """One client of a server that is a list; messages between them may be lost at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[int, str | None]] = []
        """The server's log: each op's number, and the id of our sync, or None."""
        self.epochs: list[str] = []
        """The incarnation that logged each."""
        self.incarnation = 1
        self.replaced_times = 0
        self.told_replaced = 0
        self.applied: dict[str, range] = {}
        self.replica = Replica(ChangeQueue(max_bytes=20), AllOps, optimistic=True)
        self.replica.changes.begin(0, 0)
        self.connected = True
        self.told = 0
        """The last op that the server has told on this connection."""
        self.unsent: list[str] = []
        self.at_server: list[str] = []
        self.seen: list[int] = []
        self.numbers = iter(range(10**9))

    # The server.

    def _apply(self, sync_id: str) -> None:
        if sync_id not in self.applied:
            numbers = [op.value["n"] for op in self.replica.pending[sync_id].sync.ops]
            first = len(self.log) + 1
            # The server may log something else than was sent.
            self._log((-number if number % 3 == 0 else number, sync_id) for number in numbers)
            self.applied[sync_id] = range(first, len(self.log) + 1)

    def _log(self, entries: Any) -> None:
        self.log.extend(entries)
        self.epochs.extend([f"i{self.incarnation}"] * (len(self.log) - len(self.epochs)))

    def _forward(self, up_to: int) -> None:
        if self.told < up_to:
            ops = tuple(Op.of({"n": number}) for number, _ in self.log[self.told : up_to])
            epoch = self.epochs[up_to - 1]
            self.replica.arrived(self.told + 1, ops, (None,) * len(ops), epoch)
            self.told = up_to

    @rule(count=st.integers(1, 3))
    def others_submit(self, count: int) -> None:
        self._log((next(self.numbers), None) for _ in range(count))

    @precondition(lambda self: self.connected)
    @rule(data=st.data())
    def server_forwards(self, data: Any) -> None:
        end = self.told
        # Our own ops of this connection aren't forwarded: they come with their answer.
        while end < len(self.log) and self.log[end][1] not in self.at_server:
            end += 1
        if end > self.told:
            self._forward(data.draw(st.integers(self.told + 1, end)))

    @precondition(lambda self: self.connected and self.at_server)
    @rule(answer=st.booleans())
    def server_processes(self, answer: bool) -> None:
        sync_id = self.at_server.pop(0)
        self._apply(sync_id)
        if answer:
            seqs = self.applied[sync_id]
            self._forward(seqs.start - 1)
            logged = tuple(
                Op.of({"n": number}) for number, _ in self.log[seqs.start - 1 : seqs.stop - 1]
            )
            self.replica.synced(sync_id, tuple(seqs), logged, self.epochs[seqs.stop - 2])
            if self.told == seqs.start - 1:
                self.told = seqs.stop - 1
        else:
            self.lose()

    @precondition(lambda self: self.connected and self.at_server)
    @rule()
    def server_refuses(self) -> None:
        if self.at_server[0] not in self.applied:
            assert self.replica.failed(self.at_server.pop(0))

    # The client.

    @rule(count=st.integers(1, 3))
    def submit(self, count: int) -> None:
        sync_id = f"s{next(self.numbers)}"
        ops = tuple(Op.of({"n": next(self.numbers)}) for _ in range(count))
        self.replica.submit(sync_id, ops)
        self.unsent.append(sync_id)

    @precondition(lambda self: self.connected and self.unsent)
    @rule()
    def send(self) -> None:
        sync_id = self.unsent.pop(0)
        self.replica.pending[sync_id].sent = True
        self.at_server.append(sync_id)

    @rule()
    def lose(self) -> None:
        self.connected = False
        # The server may still apply what it had received.
        self.replica.lost()
        self.at_server.clear()

    @precondition(lambda self: not self.connected and self.replica.pending)
    @rule(data=st.data())
    def server_applies_what_was_sent_before(self, data: Any) -> None:
        doubtful = [p.sync.id for p in self.replica.pending.values() if p.in_doubt]
        if doubtful:
            self._apply(data.draw(st.sampled_from(doubtful)))

    @precondition(lambda self: not self.connected)
    @rule(by_state=st.booleans())
    def reconnect(self, by_state: bool) -> None:
        self.connected = True
        since = self.replica.seq
        if since and (since > len(self.log) or self.epochs[since - 1] != self.replica.epoch):
            self.replica.replaced(LogReplaced("another log"))
            self.replaced_times += 1
            # The client can't know an op of this log as its own if it was answered before.
            self.log = [
                (number, own if own in self.replica.pending else None) for number, own in self.log
            ]
            self.seen.clear()
            assert all(pending.sync.base == 0 for pending in self.replica.pending.values())
        self.unsent = list(self.replica.pending)
        if by_state and len(self.log) > self.replica.seq:
            self.told = len(self.log)
            state = AllOps()
            state.ops = [number for number, _ in self.log]
            self.replica.restored(len(self.log), encode_state(state), self.epochs[-1])
        else:
            self.told = self.replica.seq

    # Only the number of ops tells a client that has just started over that the log is another.
    @precondition(
        lambda self: not self.connected and (self.replica.seq or not self.replica.changes.arrived)
    )
    @rule(data=st.data())
    def server_restores_a_backup(self, data: Any) -> None:
        """The server loses ops without knowing it; later ops have another epoch."""
        kept = data.draw(st.integers(0, len(self.log)))
        while 0 < kept < len(self.log) and self.log[kept][1] is not None:
            # The backup has a sync as a whole, or not at all.
            if self.log[kept - 1][1] != self.log[kept][1]:
                break
            kept -= 1
        del self.log[kept:]
        del self.epochs[kept:]
        self.applied = {one: seqs for one, seqs in self.applied.items() if seqs.stop <= kept + 1}
        self.incarnation += 1

    @rule()
    def read(self) -> None:
        taken = self.replica.changes.take()
        if isinstance(taken, LogReplaced):
            self.told_replaced += 1
            taken = None
        if isinstance(taken, Change):
            self.seen.append(taken.seq)
            if self.connected:
                assert taken.op["n"] == self.log[taken.seq - 1][0]
        elif isinstance(taken, Missing) and self.connected:
            page = self.log[taken.since : taken.since + 2]
            ops = tuple(Op.of({"n": number}) for number, _ in page)
            self.replica.changes.refill(taken.since + 1, ops, (None,) * len(ops))

    @precondition(lambda self: self.connected)
    @rule()
    def forget_and_start_over(self) -> None:
        self.lose()
        self.replica.start_over()

    # What always holds.

    @invariant()
    def each_change_once_in_order_and_none_of_ours(self) -> None:
        if not self.connected:
            # Only reconnecting tells whether the log is another one.
            return
        assert self.seen == sorted(set(self.seen))
        assert all(self.log[seq - 1][1] is None for seq in self.seen)
        passed = self.replica.changes.position
        theirs = [seq for seq, (_, own) in enumerate(self.log, 1) if own is None and seq <= passed]
        assert self.seen == theirs

    @invariant()
    def the_state_is_a_beginning_of_the_log_and_then_what_is_ours(self) -> None:
        if not self.connected:
            return
        shown = self.replica.snapshot()
        numbers = [number for number, _ in self.log]
        pending = [op.value["n"] for p in self.replica.pending.values() for op in p.sync.ops]
        certain = shown[: len(shown) - len(pending)]
        assert certain == numbers[: len(certain)]
        assert shown[len(certain) :] == pending

    def teardown(self) -> None:
        """Let all messages arrive: then the client has the whole log, and no doubts."""
        if not self.connected:
            self.reconnect(by_state=False)
        while self.unsent or self.at_server:
            while self.unsent:
                self.send()
            self.server_processes(answer=True)
        self._forward(len(self.log))
        assert self.replica.snapshot() == [number for number, _ in self.log]
        # Each op is taken once, and each but the last page of two is fetched before.
        for _ in range(2 * len(self.log) + 3):
            self.read()
        self.each_change_once_in_order_and_none_of_ours()
        assert self.replica.changes.position == len(self.log)
        # The program is told each time, unless the log was replaced again before.
        assert (self.told_replaced > 0) == (self.replaced_times > 0)
        assert self.told_replaced <= self.replaced_times
        assert not self.replica.changes._own
        assert not self.replica._own


ReplicaMachine.TestCase.settings = settings(
    max_examples=examples(200), stateful_step_count=40, deadline=None
)
TestReplica = ReplicaMachine.TestCase


def ops(*numbers: int) -> tuple[Op, ...]:
    return tuple(Op.of({"n": number}) for number in numbers)


def test_a_gap_is_noticed_and_a_repetition_ignored() -> None:
    replica = Replica(ChangeQueue(1000), AllOps)
    replica.changes.begin(0, 0)
    assert replica.arrived(1, ops(1, 2), (None, None))
    assert not replica.arrived(1, ops(1, 2), (None, None))
    assert replica.arrived(2, ops(2, 3), (None, None))
    with pytest.raises(Gap):
        replica.arrived(5, ops(5), (None,))
    assert replica.snapshot() == [1, 2, 3]


def test_another_judgement_is_noticed() -> None:
    class Dropping(AllOps):
        def judge(self, ops: Any, submission: Any) -> Any:
            return ops[1:]

    replica = Replica(ChangeQueue(1000), Dropping)
    replica.changes.begin(0, 0)
    replica.submit("s", ops(1, 2))
    with pytest.raises(Diverged, match="logged 2 ops, we would have 1"):
        replica.synced("s", (1, 2))


def test_an_end_comes_after_what_was_before_it() -> None:
    changes = ChangeQueue(1000)
    changes.begin(0, 0)
    notice = Dispersed("room", "i", "idle", 3, 1.0)
    changes.add(1, "a", Op.of({}))
    changes.pass_over(range(2, 3))
    changes.end(notice)
    changes.add(3, "a", Op.of({}))
    assert [changes.take() for _ in range(4)] == [
        Change(1, "a", {}),
        notice,
        Change(3, "a", {}),
        None,
    ]
