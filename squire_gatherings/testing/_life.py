"""The life: users in a gathering to whom anything may happen, and what must hold in the end."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import trio
from attrs import define, field

from squire_gatherings._rules.behaviour import Behaviour, Stamp
from squire_gatherings._values.errors import (
    CannotConnect,
    GatheringsError,
    OpConflict,
    OpRejected,
)
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.op import Op
from squire_gatherings.testing._hall import ROOM, HallUnderTest, open_test_hall
from squire_gatherings.testing._member import Member
from squire_gatherings.testing._saying import BrokenRule, difference, short
from squire_gatherings.testing._witness import Contract, Witness

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

IDLE_TIMEOUT = 60.0
LONG = 600.0
"""The seconds within which everything must come to rest once all troubles have ended."""

REFUSED = (OpRejected, OpConflict)


@define(eq=False)
class Submit:
    """A sync, and what became of it."""

    who: str
    sync_id: str
    ops: tuple[Op, ...]
    seqs: tuple[int, ...] | None = None
    """Under which seqs it was acknowledged; None if it wasn't."""
    refused: str | None = None
    """Why it was refused for good, if it was."""


@define(eq=False)
class Life:
    """One gathering's life, on a virtual clock."""

    users: Mapping[str, str]
    """The role of each."""
    room: HallUnderTest
    contract: Contract
    nursery: trio.Nursery
    """Has the submits that wait for their answers."""
    faults: list[str]
    """What the behaviour has broken so far."""
    story: list[str] = field(factory=list)
    """What has happened, a sentence each."""
    members: dict[str, Member] = field(factory=dict)
    """Who is there."""
    submits: list[Submit] = field(factory=list)
    direct: list[Submit] = field(factory=list)
    """Those of the program that has the hall."""
    waiting: int = 0
    """How many submits wait for their answers."""

    def tell(self, text: str) -> None:
        """Note what happens."""
        self.story.append(text)

    def check(self, condition: object, text: str) -> None:
        """Raise `BrokenRule` unless the condition holds."""
        self.look()
        if not condition:
            raise BrokenRule(text)

    def look(self) -> None:
        """Raise `BrokenRule` if the behaviour has broken a rule."""
        if self.faults:
            raise BrokenRule(self.faults[0])

    # What may happen.

    async def join(self, who: str, *, optimistic: bool) -> None:
        """Let a user join who isn't there."""
        if who in self.members:
            return
        with suppress(CannotConnect):
            self.members[who] = await self.room.join(
                who, role=self.users[who], optimistic=optimistic, syncs=optimistic
            )

    async def leave(self, who: str) -> None:
        """Let a user leave."""
        member = self.members.pop(who, None)
        if member is not None:
            await member.leave()

    def submit(self, who: str, ops: list[dict[str, Any]]) -> None:
        """Let a user submit, who waits for the answer in a task."""
        member = self.members.get(who)
        if member is not None:
            submit = self._note(who, ops)
            self._start(submit, lambda: member.submit_all(*ops, sync_id=submit.sync_id))

    def submit_directly(self, who: str, ops: list[dict[str, Any]]) -> None:
        """Let the program that has the hall submit for a user."""
        self.direct.append(self._note(who, ops))
        self.again(self.direct[-1])

    def again(self, submit: Submit) -> None:
        """Let the program submit a sync of its own, perhaps once more."""
        identity = Identity(submit.who, self.users[submit.who])
        hall = self.room.hall
        ops = [op.value for op in submit.ops]
        self._start(
            submit, lambda: hall.submit(ROOM, ops, sync_id=submit.sync_id, identity=identity)
        )

    def _note(self, who: str, ops: list[dict[str, Any]]) -> Submit:
        try:
            made = tuple(Op.of(op) for op in ops)
        except ValueError as error:
            raise BrokenRule(f"{short(ops)} was to be submitted: {error}") from None
        submit = Submit(who, f"s{len(self.submits)}", made)
        self.submits.append(submit)
        return submit

    def _start(self, submit: Submit, ask: Callable[[], Any]) -> None:
        self.waiting += 1
        self.nursery.start_soon(self._await, submit, ask)

    async def _await(self, submit: Submit, ask: Callable[[], Any]) -> None:
        seqs, refused = None, None
        try:
            seqs = await ask()
        except REFUSED as error:
            refused = str(error)
        except GatheringsError:
            # Nobody knows what became of it.
            return
        finally:
            self.waiting -= 1
        what = f"{submit.who}'s sync {submit.sync_id}"
        if seqs is not None:
            if submit.seqs not in (None, seqs):
                self.faults.append(f"{what} was answered {submit.seqs}, and then {seqs}")
            submit.seqs = seqs
        else:
            submit.refused = refused

    # What must hold in the end.

    async def come_to_rest(self) -> None:
        """End all troubles, have everybody come back, and check what must hold then."""
        self.tell("all troubles end, and everybody comes back")
        self.room.store.heal()
        for link in self.room.network.links:
            link.stall(up=False, down=False)
        for who in self.users:
            await self.join(who, optimistic=False)
        with trio.move_on_after(LONG) as patience:
            while self.waiting:
                self.look()
                await trio.sleep(1)
            for who, member in self.members.items():
                self.check(member.error is None, f"{who} is put out: {member.error!r}")
                await member.gathering.rejoin()
        self.check(not patience.cancelled_caught, f"{self.waiting} submits were never answered")
        await trio.sleep(10)
        await self.room.settle()
        self.look()
        log = await self._log()
        await self._check_log(log)
        state = self._folded(log)
        await self._check_states(log, state)
        await self._check_nothing_is_left(state)

    async def _log(self) -> list[tuple[Op, Stamp]]:
        """Return what is durable."""
        log: list[tuple[Op, Stamp]] = []
        while True:
            page = await self.room.hall.fetch(ROOM, since=len(log))
            stored = await self.room.store.inner.read(
                ROOM, after=len(log), up_to=len(log) + max(1, len(page.ops)), max_bytes=2**60
            )
            self.check(
                page.ops == tuple(one.op for one in stored),
                f"what is fetched after {len(log)} isn't what is stored: {page.ops}, {stored}",
            )
            for one in stored:
                log.append((one.op, Stamp(len(log) + 1, one.time, one.by)))
            if len(log) >= page.seq:
                return log

    async def _check_log(self, log: list[tuple[Op, Stamp]]) -> None:
        """Check that each sync is there once, where it was said to be, and in order."""
        taken: dict[int, Submit] = {}
        for submit in self.submits:
            if submit.seqs is None:
                continue
            what = f"{submit.who}'s sync {submit.sync_id} was acknowledged as {submit.seqs}"
            there = tuple(op for op, _ in log[submit.seqs[0] - 1 : submit.seqs[-1]])
            expected = {submit.ops} | self.contract.merged.get(submit.ops, set())
            self.check(there in expected, f"{what}, and the log has {there} there")
            by = {stamp.by for _, stamp in log[submit.seqs[0] - 1 : submit.seqs[-1]]}
            self.check(by == {submit.who}, f"{what}, and the log says it's by {by}")
            for seq in submit.seqs:
                self.check(seq not in taken, f"{what}, as was {taken.get(seq)}")
                taken[seq] = submit
        page = await self.room.hall.fetch(ROOM, since=0, syncs=True)
        seen: set[int] = set()
        for run in page.syncs:
            seqs = set(range(run.first_seq, run.first_seq + run.count))
            self.check(not seqs & seen, f"syncs overlap in the log: {page.syncs}")
            seen |= seqs
        refused = {one.sync_id for one in self.submits if one.refused and one.seqs is None}
        both = refused & {run.id for run in page.syncs}
        self.check(not both, f"syncs were refused, and are in the log: {both}")

    def _folded(self, log: list[tuple[Op, Stamp]]) -> Any:
        behaviour = self.contract.new()
        for op, stamp in log:
            behaviour.fold(op, stamp)
        return _decode(_encode(behaviour.snapshot()))

    async def _check_states(self, log: list[tuple[Op, Stamp]], state: Any) -> None:
        for who, member in self.members.items():
            self.check(member.seq == len(log), f"{who} has {member.seq} ops of {len(log)}")
            if said := difference(state, member.state):
                self.check(False, f"{who}'s copy isn't what the log comes to: {said}")
            seqs = [change.seq for change in member.changes]
            self.check(seqs == sorted(set(seqs)), f"{who} was told of changes out of order: {seqs}")
            for change in member.changes:
                op, stamp = log[change.seq - 1]
                is_right = (change.op, change.by) == (op.value, stamp.by)
                self.check(is_right, f"{who} was told {change}, and the log has {op} by {stamp.by}")
            lacks = [
                stamp.seq
                for _, stamp in log[min(seqs, default=len(log) + 1) - 1 :]
                if stamp.seq not in seqs and stamp.by != who
            ]
            self.check(not lacks, f"{who} was never told of ops {lacks}")
        page = await self.room.hall.fetch(ROOM)
        if page.is_snapshot and (said := difference(state, page.snapshot)):
            self.check(False, f"the hall's state isn't what the log comes to: {said}")

    async def _check_nothing_is_left(self, state: Any) -> None:
        for who in tuple(self.members):
            await self.leave(who)
        await trio.sleep(IDLE_TIMEOUT + 1)
        await self.room.settle()
        hall = self.room.hall
        self.check(not hall.gatherings(), "nobody uses the gathering, and it hasn't ended")
        numbers = hall.snapshot()
        self.check(not numbers.clients, f"nobody is there, and {numbers.clients} are counted")
        await self.room.restart()
        page = await self.room.hall.fetch(ROOM)
        if page.is_snapshot and (said := difference(state, page.snapshot)):
            self.check(False, f"restored from the store, the state is another one: {said}")
        self.look()


async def live(
    make: Callable[[], Behaviour],
    users: Mapping[str, str],
    settings: dict[str, Any],
    happen: Callable[[Life], Any],
) -> None:
    """Live a life: `happen` does what happens in it. Raises `BrokenRule` with the story."""
    faults: list[str] = []

    def report(text: str) -> None:
        faults.append(text)
        patience.cancel()

    contract = Contract(make, report)
    patience = trio.CancelScope()
    story: list[str] = []
    # A gathering that crashes is a fault that is told at the end: nobody need read it in a log.
    log, silence = logging.getLogger("squire_gatherings"), logging.NullHandler()
    was, log.propagate = log.propagate, False
    log.addHandler(silence)
    try:
        async with (
            open_test_hall(
                lambda: Witness(contract),
                idle_timeout=IDLE_TIMEOUT,
                client_settings={"max_pause": 5.0, "join_patience": LONG},
                **settings,
            ) as room,
            trio.open_nursery() as nursery,
        ):
            life = Life(users, room, contract, nursery, faults, story)
            room.behaviour = make
            patience.deadline = trio.current_time() + 100 * LONG
            with patience:
                await happen(life)
                await life.come_to_rest()
            life.check(not patience.cancelled_caught, "something is waited for that never comes")
            nursery.cancel_scope.cancel()
    except* BrokenRule as errors:
        raise _told(errors, faults, story) from None
    except* Exception as errors:
        if not faults:
            raise
        raise _told(errors, faults, story) from None
    finally:
        log.propagate = was
        log.removeHandler(silence)


def _told(errors: BaseExceptionGroup[Exception], faults: list[str], story: list[str]) -> Exception:
    """Return the first fault, with what has happened before."""
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(story, start=1))
    return BrokenRule(f"{faults[0] if faults else first}\n\nWhat happened:\n{lines}")
