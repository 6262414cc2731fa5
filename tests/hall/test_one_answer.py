"""Every request gets exactly one answer or error, whatever ends meanwhile."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import attrs
import pytest
import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.store import Outcome
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import Submission
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import (
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    HallClosed,
    OpConflict,
    OpRejected,
    StoreUnavailable,
    Unauthorized,
)
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.log import Append, LoggedOp, Page, Restored
from squire_gatherings._values.messages import (
    ClientMessage,
    Conflict,
    Dispersed,
    Error,
    Fetch,
    Fetched,
    Leave,
    Refresh,
    ServerMessage,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from tests.support import Fragile, Recorder, Strict, examples

ROOM = "friday-night"
TINY: dict[str, Any] = {"tail_bytes": 1, "batch_bytes": 30, "recent_syncs": 1}
"""So little fits into memory that almost everything must be asked of the store."""


class Reluctant(MemoryStore):
    """A store in which every call takes `delay` seconds, and then fails with `trouble`.

    Its reads may return what no store returns, which a `FailingStore` never does.
    """

    delay = 0.0
    trouble: Exception | None = None
    fails_late = False
    """Whether a failing append becomes durable first."""
    nonsense: Any = ()
    """Every read returns this, unless it's `()`."""

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        trio.lowlevel.spawn_system_task(self._append_and_say, append, ended)
        return False

    async def _append_and_say(self, append: Append, ended: Callable[[Outcome], None]) -> None:
        try:
            await self.append(append)
        except Exception as error:
            ended(error)
        else:
            ended(None)

    async def _consider(self) -> None:
        await trio.sleep(self.delay)
        if self.trouble is not None:
            raise self.trouble

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        await self._consider()
        if self.nonsense != ():
            return self.nonsense  # type: ignore[no-any-return]
        return await super().load(gathering, recent_syncs=recent_syncs)

    async def append(self, append: Append) -> None:
        if self.fails_late:
            await super().append(append)
        await self._consider()
        await super().append(append)

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        await self._consider()
        if self.nonsense != ():
            return self.nonsense  # type: ignore[no-any-return]
        return await super().read(gathering, after=after, up_to=up_to, max_bytes=max_bytes)

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], Any]:
        await self._consider()
        if self.nonsense != ():
            return self.nonsense  # type: ignore[no-any-return]
        return await super().find_syncs(gathering, keys)

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        await self._consider()
        if self.nonsense != ():
            return self.nonsense  # type: ignore[no-any-return]
        return await super().sync_ids(gathering, scope, limit=limit)


async def disperse(hall: Hall) -> None:
    assert await hall.disperse(ROOM)


async def crash(hall: Hall) -> None:
    with pytest.raises(GatheringCrashed):
        await hall.submit(ROOM, [{"boom": True}])


async def idle(hall: Hall) -> None:
    await trio.sleep(10)


@pytest.mark.parametrize("end", [disperse, crash, idle])
async def test_a_fetch_is_answered_though_its_gathering_ends(
    end: Callable[[Hall], Awaitable[None]], autojump_clock: MockClock
) -> None:
    store = Reluctant()
    async with open_hall(store=store, behaviour=Fragile, idle_timeout=10.0, **TINY) as hall:
        for number in range(5):
            await hall.submit(ROOM, [{"n": number}])
        fetched: list[Page] = []

        async def fetch() -> None:
            fetched.append(await hall.fetch(ROOM, since=0))

        async with trio.open_nursery() as nursery:
            store.delay = 20.0
            nursery.start_soon(fetch)
            await trio.sleep(1)
            store.delay = 0.0
            nursery.start_soon(end, hall)
        [answer] = fetched
        assert isinstance(answer.ops, tuple)
        assert answer.ops[0].value == {"n": 0}


async def test_a_fetch_that_the_hall_closes_over_is_told(autojump_clock: MockClock) -> None:
    store = Reluctant()
    async with open_hall(store=store, close_grace=0.0, **TINY) as hall:
        await hall.submit(ROOM, [{"n": 1}, {"n": 2}])
        store.delay = 20.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises, GatheringsError, hall.fetch, ROOM)
            await trio.sleep(1)
            await hall.close()
            assert trio.current_time() < 20


async def raises(kind: type[Exception], call: Callable[..., Awaitable[Any]], *args: Any) -> None:
    with pytest.raises(kind):
        await call(*args)


@pytest.mark.parametrize("trouble", [StoreUnavailable("away"), RuntimeError("a bug"), OSError(5)])
async def test_a_store_that_cannot_read_is_told_of(
    trouble: Exception, autojump_clock: MockClock
) -> None:
    store = Reluctant()
    async with open_hall(store=store, **TINY) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, client="c")
        for number in range(5):
            membership.deliver_nowait(Sync(f"s{number}", 0, (Op.of({"n": number}),)))
        await recorder.wait_for(Synced, 5)
        store.trouble = trouble
        with pytest.raises(StoreUnavailable):
            await hall.fetch(ROOM, since=0)
        with pytest.raises(StoreUnavailable):
            await hall.join(ROOM, Recorder(), since=0)
        with pytest.raises(StoreUnavailable):
            await hall.open("another")
        membership.deliver_nowait(Fetch("f", 0))
        [error] = await recorder.wait_for(Error)
        assert (error.code, error.id) == ("store_unavailable", "f")
        # Every request is over.
        store.trouble = None
        assert (await hall.fetch(ROOM, since=0)).seq == 5
        assert not recorder.closed


@pytest.mark.parametrize("is_stale", [False, True])
async def test_an_answer_that_the_store_is_read_for_speaks_of_durable_ops_alone(
    is_stale: bool, autojump_clock: MockClock
) -> None:
    store = Reluctant()
    async with open_hall(behaviour=Strict, store=store, **TINY) as hall:
        for _ in range(5):
            await hall.submit(ROOM, [{"add": 1}])
        one = await hall.join(ROOM, Recorder(), since=5)
        other = await hall.join(ROOM, recorder := Recorder(), since=5)
        start, store.delay = trio.current_time(), 2.0
        ops = (Op.of({"add": 1}),)
        one.deliver_nowait(Sync("s", 5, ops))
        other.deliver_nowait(Sync("f", 0, ops) if is_stale else Fetch("f", 0))
        # The commit, and then the read.
        await recorder.wait_for(Conflict if is_stale else Fetched)
        answers: list[Conflict | Fetched] = [*recorder.of(Conflict), *recorder.of(Fetched)]
        assert [one.seq for one in answers] == [6]
        assert trio.current_time() == start + 4.0


async def test_an_answer_that_the_store_is_to_be_read_for_fails_with_the_commit(
    autojump_clock: MockClock,
) -> None:
    store = Reluctant()
    async with open_hall(store=store, commit_retry_interval=10.0, **TINY) as hall:
        for number in range(5):
            await hall.submit(ROOM, [{"n": number}])
        membership = await hall.join(ROOM, recorder := Recorder(), since=5)
        store.delay, store.trouble = 2.0, StoreUnavailable("away")
        membership.deliver_nowait(Sync("s", 5, (Op.of({"n": 5}),)))
        membership.deliver_nowait(Fetch("f", 0))
        errors = await recorder.wait_for(Error, 2)
        assert [(one.id, one.code) for one in errors] == [
            ("s", "store_unavailable"), ("f", "store_unavailable")
        ]  # fmt: skip
        # What isn't durable isn't told of meanwhile.
        store.delay, store.trouble = 0.0, None
        membership.deliver_nowait(Fetch("g", 0))
        [answer] = await recorder.wait_for(Fetched)
        assert answer.seq == 5


async def test_nothing_is_read_for_a_client_that_hung_up(autojump_clock: MockClock) -> None:
    class Counting(Reluctant):
        reads = 0

        async def read(self, *args: Any, **how: Any) -> tuple[LoggedOp, ...]:
            Counting.reads += 1
            return await super().read(*args, **how)

    store = Counting()
    async with open_hall(store=store, **TINY) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        await hall.submit(ROOM, [{"n": 2}])
        membership = await hall.join(ROOM, Recorder(), since=2)
        store.delay = 1.0
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(deliver_many, membership, 10_000)
                await trio.sleep(0.5)
                membership.detach()
                await trio.sleep(100)
                scope.cancel()
        # Only the fetches under way when the client left were read, not ten thousand.
        assert 1 <= Counting.reads <= 4


async def deliver_many(membership: Membership, count: int) -> None:
    for number in range(count):
        await membership.deliver(Fetch(f"f{number}", 0))


# At random.


class Moody(Fragile):
    """A behaviour that judges as an op says, and fails as often as the plan says."""

    fails: ClassVar[str] = ""

    def __init__(self) -> None:
        if Moody.fails == "make":
            raise ValueError("can't be made")
        super().__init__()

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        match ops[0].value.get("judge"):
            case "raise":
                raise KeyError("judge")
            case "lie":
                raise GatheringDispersed("no, it hasn't")
            case "refuse":
                raise OpRejected("no")
            case "conflict":
                raise OpConflict("not now")
            case "merge":
                return [Op.of({**op.value, "merged": True}) for op in ops]
            case "nonsense":
                return [Op(b"[]") for _ in ops]
        return ops

    def snapshot(self) -> Any:
        if Moody.fails == "snapshot":
            raise ValueError("no paper")
        return super().snapshot()

    def restore(self, snapshot: Any) -> None:
        if Moody.fails == "restore":
            raise ValueError("can't read it")
        super().restore(snapshot)

    def end_rules(self, rules: EndRules) -> EndRules | None:
        if Moody.fails == "rules":
            raise GatheringDispersed("no rules")
        return attrs.evolve(rules, max_age=60.0) if Moody.fails == "age" else None


class Odd(Recorder):
    """A connection with one method that raises every other time."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.times = 0
        self.failed = False

    def _do(self, what: str) -> None:
        self.times += what == self.what
        if what == self.what and self.times % 2:
            self.failed = True
            raise GatheringCrashed("a connection") if self.times % 4 == 1 else OSError("gone")

    def send(self, outgoing: Outgoing) -> None:
        self._do("send")
        super().send(outgoing)

    def close(self, code: CloseCode, reason: str) -> None:
        self._do("close")
        super().close(code, reason)

    @property
    def backlog(self) -> int:
        self._do("backlog")
        return super().backlog

    @property
    def progress(self) -> int:
        self._do("progress")
        return super().progress

    async def flush(self) -> None:
        self._do("flush")
        await super().flush()

    def abort(self) -> None:
        super().abort()
        self._do("abort")

    def read_arrived(self) -> None:
        self._do("read_arrived")


JUDGED = ("", "", "", "raise", "lie", "refuse", "conflict", "merge", "nonsense")
TOKENS = ("alice", "alice", "bob", "refused", "later", "a bug")
FAILS = ("", "", "make", "snapshot", "restore", "rules", "age")
RULES: tuple[Callable[[Hall], Any], ...] = (
    lambda hall: hall.extend(ROOM, 2.0),
    lambda hall: hall.hold(ROOM, until=wall() + 12.0),
    lambda hall: hall.hold(ROOM, until=0.0),
    lambda hall: hall.change_rules(ROOM, max_age=15.0, warn_before=3.0),
    lambda hall: hall.change_rules(ROOM, idle_timeout=5.0, alone_timeout=4.0, alone_clients=2),
    lambda hall: hall.change_rules(ROOM, ends_at=wall() + 8.0),
    lambda hall: hall.warn(ROOM),
    lambda hall: hall.explain(ROOM),
)
METHODS = ("", "", "", "send", "close", "backlog", "progress", "flush", "abort", "read_arrived")

calls = st.one_of(
    st.tuples(st.just("fetch"), st.integers(0, 3)),
    st.tuples(st.just("submit"), st.integers(0, 9)),
    st.tuples(st.just("boom"), st.integers(0, 2)),
    st.tuples(st.just("join"), st.integers(0, 3)),
    st.tuples(st.just("come"), st.tuples(st.integers(0, 3), st.integers(0, 4))),
    st.tuples(st.just("open"), st.just(0)),
    st.tuples(st.just("disperse"), st.just(0)),
    st.tuples(st.just("deliver"), st.integers(0, 3)),
    st.tuples(st.just("sync"), st.tuples(st.integers(0, 3), st.sampled_from(JUDGED))),
    st.tuples(st.just("farewell"), st.integers(0, 3)),
    st.tuples(st.just("judged"), st.sampled_from(JUDGED)),
    st.tuples(st.just("odd"), st.sampled_from(METHODS)),
    st.tuples(
        st.just("fails"), st.sampled_from(["", "", "make", "snapshot", "restore", "rules", "age"])
    ),
    st.tuples(st.just("nonsense"), st.sampled_from([(), (), None, 5, [], (None,), {}])),
    st.tuples(st.just("late"), st.booleans()),
    st.tuples(st.just("leave"), st.integers(0, 3)),
    st.tuples(st.just("refresh"), st.tuples(st.integers(0, 3), st.sampled_from(TOKENS))),
    st.tuples(st.just("kick"), st.just(0)),
    st.tuples(st.just("role"), st.sampled_from(["member", "observer", "judge"])),
    st.tuples(st.just("revoke"), st.sampled_from([0.0, 5.0])),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("rules"), st.sampled_from(RULES)),
    st.tuples(st.just("open with"), st.sampled_from([0.5, 20.0])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.4, 1.0, 5.0, 10.0, 11.0])),
    st.tuples(st.just("delay"), st.sampled_from([0.0, 0.0, 1.0, 15.0])),
    st.tuples(
        st.just("trouble"),
        st.sampled_from(
            [
                None,
                None,
                StoreUnavailable("away"),
                RuntimeError("a bug"),
                GatheringDispersed("no, it hasn't"),
                ExceptionGroup("many", [OSError(5)]),
            ]
        ),
    ),
)


@define(eq=False)
class Calls:
    """The calls that are under way, and the outcomes of the others."""

    hall: Hall
    nursery: trio.Nursery
    under_way: dict[int, trio.CancelScope] = field(factory=dict)
    begun: int = 0
    outcomes: Counter[str] = field(factory=Counter)

    def begin(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self.begun += 1
        self.nursery.start_soon(self._run, self.begun, call, *args)

    async def _run(self, number: int, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        with trio.CancelScope() as scope:
            self.under_way[number] = scope
            try:
                await call(*args)
            except GatheringsError as error:
                self.outcomes[error.code] += 1
            else:
                self.outcomes["answered"] += 1
        if scope.cancelled_caught:
            self.outcomes["cancelled"] += 1
        del self.under_way[number]

    def cancel(self, one: int) -> None:
        scopes = list(self.under_way.values())
        if scopes:
            scopes[one % len(scopes)].cancel()


async def authenticate(token: str | None, gathering_id: str) -> Identity:
    """Give Alice rights for six seconds, and take a client without a token as anonymous."""
    await trio.sleep(0.1)
    match token:
        case None:
            return Identity()
        case "refused":
            raise Unauthorized("no")
        case "later":
            raise StoreUnavailable("later")
        case "a bug":
            raise KeyError("a bug")
    return Identity(token, expires_at=wall() + 6)


def wall() -> float:
    return 1_700_000_000.0 + trio.current_time()


async def live(plan: list[tuple[str, Any]], **limits: Any) -> None:
    store = Reluctant()
    limits = {"idle_timeout": 10.0, "empty_timeout": 7.0, "close_grace": 1.0, **TINY, **limits}
    recorders: list[Recorder | None] = [None] * 4
    memberships: list[Membership | None] = [None] * 4
    asked: list[tuple[Recorder, str]] = []
    odd = ""
    Moody.fails = ""
    async with trio.open_nursery() as nursery:
        async with open_hall(
            store=store, behaviour=Moody, authenticate=authenticate, wall_clock=wall, **limits
        ) as hall:
            calls = Calls(hall, nursery)

            async def join(which: int, **how: Any) -> None:
                recorder = Odd(odd)
                how = how or {"since": 0}
                token = "alice" if which % 2 else None
                membership = await hall.join(ROOM, recorder, client=f"c{which}", token=token, **how)
                recorders[which], memberships[which] = recorder, membership

            def coming(which: int, how: int) -> dict[str, Any]:
                membership = memberships[which]
                incarnation = "another's" if membership is None else membership.incarnation
                match how:
                    case 0:
                        return {"tail": True}
                    case 1:
                        return {"since": 1, "epoch": incarnation}
                    case 2:
                        return {"since": 0, "resume": incarnation}
                    case 3:
                        return {"since": 99, "epoch": incarnation}
                return {"resume": incarnation, "tail": True}

            async def deliver(which: int, message: ClientMessage) -> None:
                membership, recorder = memberships[which], recorders[which]
                if membership is not None and recorder is not None:
                    if isinstance(message, Fetch | Sync | Refresh):
                        asked.append((recorder, message.id))
                    await membership.deliver(message)

            for number, (what, value) in enumerate(plan):
                match what:
                    case "fetch":
                        calls.begin(lambda since: hall.fetch(ROOM, since=since), value)
                    case "submit":
                        sync_id = f"s{value}"
                        calls.begin(
                            lambda one: hall.submit(ROOM, [{"of": one}], sync_id=one), sync_id
                        )
                    case "boom":
                        sync_id = f"b{value}"
                        calls.begin(
                            lambda one: hall.submit(ROOM, [{"boom": 1}], sync_id=one), sync_id
                        )
                    case "join":
                        calls.begin(join, value)
                    case "open":
                        calls.begin(hall.open, ROOM)
                    case "disperse":
                        calls.begin(hall.disperse, ROOM)
                    case "deliver":
                        calls.begin(deliver, value, Fetch(f"f{number}", 0))
                    case "sync":
                        which, judged = value
                        op = Op.of({"of": f"m{number}", "judge": judged})
                        calls.begin(deliver, which, Sync(f"m{number}", 0, (op,)))
                    case "farewell":
                        calls.begin(deliver, value, Leave())
                    case "judged":
                        calls.begin(
                            lambda ops, one: hall.submit(ROOM, ops, sync_id=one),
                            [{"of": f"j{number}", "judge": value}],
                            f"j{number}",
                        )
                    case "come":
                        which, how = value
                        calls.begin(partial(join, which, **coming(which, how)))
                    case "odd":
                        odd = value
                    case "fails":
                        Moody.fails = value
                    case "nonsense":
                        store.nonsense = value
                    case "late":
                        store.fails_late = value
                    case "leave":
                        membership, memberships[value] = memberships[value], None
                        if membership is not None:
                            membership.detach()
                    case "refresh":
                        which, token = value
                        calls.begin(deliver, which, Refresh(f"r{number}", token))
                    case "kick":
                        hall.kick("alice")
                    case "role":
                        hall.change_role("alice", value)
                    case "revoke":
                        hall.revoke("alice", until=wall() + value)
                    case "cancel":
                        calls.cancel(value)
                    case "rules":
                        with suppress(GatheringDispersed):
                            value(hall)
                    case "open with":
                        rules = attrs.evolve(hall.end_rules, max_age=value, warn_before=0.25)
                        calls.begin(hall.open, ROOM, rules)
                    case "wait":
                        await trio.sleep(value)
                    case "delay":
                        store.delay = value
                    case "trouble":
                        store.trouble = value
            store.delay, store.trouble, store.nonsense, Moody.fails = 0.0, None, (), ""
            # Nothing here may take longer than this.
            await trio.sleep(200)
            assert not calls.under_way, "every call has returned"
            assert calls.outcomes.total() == calls.begun
            assert "internal" not in calls.outcomes
            for recorder, request in asked:
                answers = [one for _, one in recorder.received if is_answer(one, request)]
                # A sync that isn't durable yet gets two messages: that it isn't, and its outcome.
                final = [one for one in answers if getattr(one, "code", "") != "store_unavailable"]
                assert len(final) <= 1
                assert len(answers) <= 1 + request.startswith("m")
            assert hall.gatherings() == ()
            numbers = hall.snapshot()
            ended = numbers.dispersed
            assert sum(ended.values()) >= numbers.opened
            log = [op.value for op in await everything(hall)]
            submitted = [one["of"] for one in log if "of" in one]
            assert len(set(submitted)) == len(submitted), "each sync is applied once"
            assert all("boom" not in one for one in log)
            assert {one["judge"] for one in log if "judge" in one} <= {"", "merge"}
            assert all(one.get("merged", False) is (one.get("judge") == "merge") for one in log)
            for recorder in filter(None, recorders):
                notices = [at for at, (_, one) in enumerate(recorder.received) if is_notice(one)]
                assert notices in ([], [len(recorder.received) - 1]), "the notice is the last"
            assert hall.snapshot().clients == 0
        nursery.cancel_scope.cancel()


def is_answer(message: ServerMessage, request: str) -> bool:
    return getattr(message, "id", None) == request


def is_notice(message: ServerMessage) -> bool:
    return isinstance(message, Dispersed)


async def everything(hall: Hall) -> list[Op]:
    ops: list[Op] = []
    while True:
        page = await hall.fetch(ROOM, since=len(ops))
        assert isinstance(page.ops, tuple)
        ops.extend(page.ops)
        if len(ops) == page.seq:
            return ops


@settings(max_examples=examples(250), deadline=None)
@given(st.lists(calls, max_size=25))
def test_every_call_returns(plan: list[tuple[str, Any]]) -> None:
    trio.run(live, plan, clock=MockClock(autojump_threshold=0))


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(calls, max_size=25))
def test_every_call_returns_with_the_log_in_memory(plan: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        await live(plan, tail_bytes=10**6, batch_bytes=10**6, recent_syncs=1000)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_a_call_that_hangs_in_the_store_returns_when_the_hall_closes(
    autojump_clock: MockClock,
) -> None:
    """A store that never answers: the hall still closes, and all clients are told."""
    store = Reluctant()
    async with open_hall(store=store, **TINY) as hall, trio.open_nursery() as nursery:
        await hall.submit(ROOM, [{"n": 1}])
        await hall.submit(ROOM, [{"n": 2}])
        store.delay = 10**9
        nursery.start_soon(raises, GatheringsError, hall.fetch, ROOM)
        nursery.start_soon(raises, GatheringsError, hall.submit, ROOM, [{"n": 3}])
        nursery.start_soon(raises, GatheringsError, hall.open, "another")
        # This join needs what only the store has.
        nursery.start_soon(raises, HallClosed, lambda: hall.join(ROOM, Recorder(), since=0))
        await trio.sleep(1)
        await hall.close()
        assert trio.current_time() < 100
    assert isinstance(store, MemoryStore)
    assert DispersalReason.SHUTDOWN in hall.snapshot().dispersed
