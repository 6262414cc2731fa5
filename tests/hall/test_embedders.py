"""Programs, stores and behaviours that pass wrong values: only they are told."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.store import Outcome
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import LogBehaviour
from squire_gatherings._stores import open_store
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import (
    BadBase,
    BadRequest,
    BadSetting,
    GatheringCrashed,
    GatheringDispersed,
    HallClosed,
    OpConflict,
    OpRejected,
    StoreConflict,
    StoreUnavailable,
)
from squire_gatherings._values.events import LifecycleEvent
from squire_gatherings._values.identity import Identity, Role
from squire_gatherings._values.log import Append, Restored
from squire_gatherings._values.messages import (
    Ack,
    Error,
    Fetch,
    Join,
    Joined,
    Leave,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.settings import HallSettings
from squire_gatherings._wire.codecs import CODECS
from tests.support import Fragile, Recorder

ROOM = "friday-night"
TINY: dict[str, Any] = {"tail_bytes": 1, "batch_bytes": 30, "recent_syncs": 1}
OPS = (Op.of({"n": 1}),)


class MyOwn(StoreUnavailable):
    """An error that can't be made from its text alone."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


WRONG: list[Any] = [
    StoreConflict("c"),
    BadBase("b"),
    GatheringDispersed("d"),
    GatheringCrashed("x"),
    MyOwn("a", "way"),
    None,
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("call", ["read", "find_syncs", "sync_ids", "load"])
async def test_whatever_a_store_answers_each_call_returns(
    call: str, wrong: Any, autojump_clock: MockClock
) -> None:
    class Wrong(MemoryStore):
        is_wrong = False

    async def answer(store: Wrong, *args: Any, **how: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if not store.is_wrong:
            return await getattr(MemoryStore, call)(store, *args, **how)
        if wrong is not None:
            raise wrong
        return None

    setattr(Wrong, call, answer)
    store = Wrong()
    async with open_hall(store=store, **TINY) as hall:
        for number in range(40):
            await hall.submit(ROOM, [{"n": number}], sync_id=f"s{number}")
        assert await hall.disperse(ROOM)
        before = hall.snapshot().opened
        store.is_wrong = True
        outcomes: list[str] = []

        async def ask(function: Callable[..., Any], *args: Any, **how: Any) -> None:
            try:
                await function(*args, **how)
            except StoreUnavailable:
                outcomes.append("unavailable")
            else:
                outcomes.append("answered")

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: ask(hall.fetch, ROOM, since=0))
                nursery.start_soon(lambda: ask(hall.submit, ROOM, [{"n": 1}], sync_id="s1"))
                nursery.start_soon(lambda: ask(hall.join, ROOM, Recorder(), since=1))
                nursery.start_soon(lambda: ask(hall.open, "another"))
                nursery.start_soon(lambda: ask(hall.open, "another"))
        assert len(outcomes) == 5
        assert "unavailable" in outcomes
        # The callers didn't open one incarnation after the other.
        assert hall.snapshot().opened <= before + 4


@pytest.mark.parametrize(
    "restored",
    [
        Restored(seq="x"),  # type: ignore[arg-type]
        Restored(recent=(None,)),  # type: ignore[arg-type]
        Restored(seq=1, ops=(None,)),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_be_restored_is_told(
    restored: Restored, autojump_clock: MockClock
) -> None:
    class Odd(MemoryStore):
        async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
            await trio.lowlevel.checkpoint()
            return restored

    async with open_hall(store=Odd()) as hall:
        with pytest.raises(GatheringCrashed):
            await hall.open(ROOM)


@pytest.mark.parametrize("how", ["within", "within, and waits", "twice", "late, and twice"])
async def test_a_store_that_says_twice_how_it_went_says_nothing_of_the_next(
    how: str, autojump_clock: MockClock
) -> None:
    class Talkative(MemoryStore):
        slow = False

        def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
            if self.slow:
                raise trio.WouldBlock
            MemoryStore.append_nowait(self, append, ended)
            if how == "late, and twice":
                trio.lowlevel.spawn_system_task(later, ended)
                return False
            ended(None)
            if how == "twice":
                ended(None)
            return how == "within"

        async def append(self, append: Append) -> None:
            await trio.sleep(10)
            await super().append(append)

    async def later(ended: Callable[[Outcome], None]) -> None:
        ended(None)
        await trio.sleep(1)
        ended(None)

    store = Talkative()
    async with open_hall(store=store) as hall:
        assert await hall.submit(ROOM, [{"n": 1}]) == (1,)
        store.slow = True
        start = trio.current_time()
        assert await hall.submit(ROOM, [{"n": 2}]) == (2,)
        # The op is durable after ten seconds, and wasn't reported durable before.
        assert trio.current_time() == start + 10
        assert (await store.load(ROOM, recent_syncs=1)).seq == 2


async def test_what_can_never_be_stored_crashes_it_once(autojump_clock: MockClock) -> None:
    class Picky(MemoryStore):
        def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
            if any(b"bad" in one.json for one in append.ops):
                raise ValueError("no room for this")
            return MemoryStore.append_nowait(self, append, ended)

    async with open_hall(store=Picky()) as hall:
        for again in range(5):
            author = Recorder()
            membership = await hall.join(ROOM, author, client="c")
            membership.deliver_nowait(Sync("s", 0, (Op.of({"bad": 1}),)))
            await wait_all_tasks_blocked()
            assert [one.code for one in author.of(Error)] == ["rejected"] * (again > 0)
            membership.detach()
        assert hall.snapshot().crashed == 1


# Behaviours.


def cannot_be_made() -> LogBehaviour:
    raise GatheringDispersed("not by me")


class Capricious(LogBehaviour):
    @property
    def serves_snapshots(self) -> bool:  # type: ignore[override]
        raise ZeroDivisionError


@pytest.mark.parametrize("behaviour", [cannot_be_made, Capricious, lambda: None])
async def test_a_behaviour_that_cannot_be_made(behaviour: Any, autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), behaviour=behaviour) as hall:
        for call in (hall.open, hall.fetch):
            with pytest.raises(GatheringCrashed):
                await call(ROOM)
        with pytest.raises(GatheringCrashed):
            await hall.join(ROOM, Recorder())
        assert hall.gatherings() == ()


@pytest.mark.parametrize("kind", [OpRejected, OpConflict])
@pytest.mark.parametrize("text", ["\ud800", "x" * 5_000_000, 5])
async def test_any_reason_can_be_told(kind: Any, text: Any, autojump_clock: MockClock) -> None:
    class Critic(LogBehaviour):
        def judge(self, ops: Any, submission: Any) -> Any:
            raise kind(text)

    async with open_hall(store=MemoryStore(), behaviour=Critic) as hall:
        author = Recorder()
        membership = await hall.join(ROOM, author, client="c")
        membership.deliver_nowait(Sync("s", 0, OPS))
        await wait_all_tasks_blocked()
        said = msgspec.json.encode(author.received[-1][1], enc_hook=lambda op: op.value)
        assert len(said) < 2000


# Calls.


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": -1},
        {"since": "1"},
        {"since": 2**70},
        {"since": True},
        {"since": 1.0},
        {"client": "\ud800x"},
        {"client": ""},
        {"client": 5},
        {"client": "x" * 129},
        {"epoch": 5},
        {"resume": "\ud800"},
    ],
    ids=repr,
)
async def test_a_join_with_impossible_arguments_is_refused(
    wrong: dict[str, Any], autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        with pytest.raises(BadRequest):
            await hall.join(ROOM, Recorder(), **wrong)
        assert hall.snapshot().opened == 0


async def test_join_takes_an_identity(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        with pytest.raises(TypeError, match="Identity"):
            await hall.join(ROOM, Recorder(), identity="bob")  # type: ignore[arg-type]
    assert Identity("bob", "observer").role == Role.OBSERVER
    assert not Identity("bob", Role.OBSERVER).may_submit
    assert Identity("bob", "judge").may_submit
    assert type(Identity("bob", Role.OBSERVER).role) is str


@pytest.mark.parametrize("role", ["", "x" * 65, "\ud800", None, 7, b"member"])
def test_a_role_is_text_that_can_be_said(role: Any) -> None:
    with pytest.raises(ValueError, match="a role"):
        Identity("bob", role)


@pytest.mark.parametrize("instant", [math.inf, -math.inf, math.nan, True, "7", 10**400])
def test_rights_end_at_an_instant_that_a_clock_shows(instant: Any) -> None:
    with pytest.raises(ValueError, match="expires_at"):
        Identity("bob", expires_at=instant)
    assert Identity("bob", expires_at=7).expires_at == 7.0


@pytest.mark.parametrize(
    "message",
    [
        Ack("x"),  # type: ignore[arg-type]
        Ack(-1),
        Sync("\ud800", 0, OPS),
        Sync("", 0, OPS),
        Sync("s", 0, ({"n": 1},)),  # type: ignore[arg-type]
        Sync("s", 0, list(OPS)),  # type: ignore[arg-type]
        Sync("s", 0, ()),
        Sync("s", "0", OPS),  # type: ignore[arg-type]
        Sync("s", -5, OPS),
        Sync("s", 2**80, OPS),
        Fetch("f", "x"),  # type: ignore[arg-type]
        Fetch(None, 0),  # type: ignore[arg-type]
        Join(),
        None,
        "hello",
    ],
    ids=repr,
)
async def test_what_is_no_message_harms_nobody(message: Any, autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        witness = Recorder()
        await hall.join(ROOM, witness)
        membership = await hall.join(ROOM, Recorder())
        with pytest.raises(BadRequest):
            membership.deliver_nowait(message)
        with pytest.raises(BadRequest):
            await membership.deliver(message)
        await wait_all_tasks_blocked()
        assert not witness.closed
        membership.deliver_nowait(Leave())


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b"garbage", b'{"a":NaN}', b'{"a":%d}' % 2**64, b"{}\0", "{}", None]
)
async def test_an_op_of_bytes_of_ones_own_is_an_object(
    text: Any, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        await hall.join(ROOM, witness := Recorder())
        membership = await hall.join(ROOM, Recorder())
        sync = Sync("s", 0, (Op.of({"n": 1}), Op(text)))
        with pytest.raises(BadRequest):
            await membership.deliver(sync)
        with pytest.raises(BadRequest):
            membership.deliver_nowait(sync)
        assert (await hall.fetch(ROOM, since=0)).seq == 0
        assert not witness.closed


@pytest.mark.parametrize("nobody", [None, "bob", 5, Identity])
async def test_calls_take_an_identity(nobody: Any, autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        with pytest.raises(TypeError, match="Identity"):
            await hall.submit(ROOM, [{"n": 1}], identity=nobody)
        with pytest.raises(TypeError, match="Identity"):
            await hall.fetch(ROOM, identity=nobody)
        assert hall.snapshot().opened == 0


async def test_a_reason_is_one_of_ours(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        await hall.join(ROOM, recorder := Recorder())
        for wrong in ("bored", None, 5):
            with pytest.raises(ValueError, match="DispersalReason"):
                await hall.disperse(ROOM, wrong)  # type: ignore[arg-type]
        assert await hall.disperse(ROOM, "admin")  # type: ignore[arg-type]
        assert recorder.closed[0][2] == "admin"


@pytest.mark.parametrize("name", ["idle_timeout", "empty_timeout", "close_grace", "retry_limit"])
def test_a_time_too_large_for_a_clock_is_refused(name: str) -> None:
    with pytest.raises(BadSetting, match=name):
        HallSettings(**{name: 10**400})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "field",
    [field.name for field in attrs.fields(HallSettings) if type(field.default) is int],
)
async def test_a_number_is_one_that_all_can_hold(field: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {field: 2**53 - 1}
    wrongs: list[Any] = [0, -1, 2**53, 2**63, 10**400, 1.5, math.inf, math.nan, True, None]
    if field.startswith("max_") and field != "max_ops":
        # A limit that may be switched off.
        wrongs.remove(None)
    for wrong in wrongs:
        with pytest.raises(BadSetting, match=field):
            HallSettings(**{field: wrong})
    async with (
        open_store(f"sqlite:///{tmp_path}/rooms.sqlite3") as store,
        open_hall(store=store, settings=HallSettings(**changes)) as hall,
    ):
        await hall.join(ROOM, recorder := Recorder())
        for codec in CODECS.values():
            codec.encode(Outgoing(recorder.of(Joined)[0]))
        await hall.submit(ROOM, [{"n": 1}, {"n": 2}], sync_id="s")
        assert await hall.disperse(ROOM)
        assert (await hall.fetch(ROOM, since=0)).seq == 2


@pytest.mark.parametrize("timeout", [1, 10**20, 1e300, 1e-300])
async def test_a_timeout_can_be_told_whatever_it_is(
    timeout: float, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=timeout) as hall:
        await hall.join(ROOM, recorder := Recorder())
        [joined] = recorder.of(Joined)
        assert type(joined.idle_timeout) is type(joined.expires_in) is float
        for codec in CODECS.values():
            codec.encode(Outgoing(joined))


async def test_no_more_is_left_than_the_timeout(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        for number in range(50):
            await trio.sleep(0.1234567)
            await hall.join(ROOM, recorder := Recorder())
            [joined] = recorder.of(Joined)
            assert joined.expires_in == joined.idle_timeout, number


# Ends.


async def test_a_close_that_is_cancelled_goes_on(autojump_clock: MockClock) -> None:
    class Slow(MemoryStore):
        async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
            await trio.sleep(3)
            return await super().load(gathering, recent_syncs=recent_syncs)

    async with open_hall(store=Slow(), close_grace=10.0) as hall, trio.open_nursery() as nursery:

        async def open_late() -> None:
            with pytest.raises(HallClosed):
                await hall.open(ROOM)

        nursery.start_soon(open_late)
        await trio.sleep(1)
        with trio.move_on_after(1):
            await hall.close()
        await trio.sleep(50)
        assert hall.gatherings() == ()


async def test_a_hall_that_is_cancelled_takes_nothing_more(autojump_clock: MockClock) -> None:
    with trio.CancelScope() as outer:
        async with open_hall(store=MemoryStore()) as hall:
            await hall.join(ROOM, Recorder())
            outer.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                for _ in range(2):
                    with pytest.raises(HallClosed):
                        await hall.open(ROOM)
                with pytest.raises(HallClosed):
                    await hall.fetch("another")
                assert not await hall.disperse(ROOM)
                await hall.close()


async def test_a_hall_that_is_being_cancelled_says_so(autojump_clock: MockClock) -> None:
    """For one turn its nursery was closed, and the hall wasn't: a `RuntimeError` came out."""

    async def open_one(hall: Hall, name: str) -> None:
        with suppress(HallClosed):
            await hall.open(name)

    for number in range(20):
        async with trio.open_nursery() as outside:
            with trio.CancelScope() as inside:
                async with open_hall(store=MemoryStore()) as hall:
                    inside.cancel()
                    for turn in range(4):
                        outside.start_soon(open_one, hall, f"room-{number}-{turn}")
                        await trio.lowlevel.cancel_shielded_checkpoint()


@pytest.mark.parametrize("raises", [False, True])
async def test_a_hall_that_is_cancelled_waits_for_no_opening(
    raises: bool, autojump_clock: MockClock
) -> None:
    """Somebody outside opened a gathering, the store never answered, and the hall never ended."""

    class Silent(MemoryStore):
        async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
            await trio.sleep_forever()
            raise AssertionError

    async def open_it() -> None:
        with pytest.raises(HallClosed):
            await hall.open(ROOM)
        seen.append(trio.current_time() - began)

    began = trio.current_time()
    seen: list[float] = []
    with trio.fail_after(100):
        async with trio.open_nursery() as outside:
            try:
                with trio.move_on_after(1) as inside:
                    async with open_hall(store=Silent()) as hall:
                        outside.start_soon(open_it)
                        outside.start_soon(open_it)
                        await wait_all_tasks_blocked()
                        if raises:
                            raise ZeroDivisionError
                        await trio.sleep_forever()
            except ZeroDivisionError:
                assert raises
            assert inside.cancelled_caught != raises
            assert trio.current_time() - began == (0 if raises else 1)
    assert seen == [trio.current_time() - began] * 2


@pytest.mark.parametrize("is_told", [False, True])
async def test_an_opening_that_is_cancelled_as_it_succeeds_ends_nothing(
    is_told: bool, autojump_clock: MockClock
) -> None:
    """It was opened under a scope that was cancelled already, and its end told as `shutdown`."""
    scope = trio.CancelScope()

    class Waiting(MemoryStore):
        """It answers as the caller is cancelled, or some turns of the tasks before that."""

        async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
            await trio.sleep(1)
            restored = await super().load(gathering, recent_syncs=recent_syncs)
            if not turns:
                scope.cancel()
            return restored

    async def take(_: LifecycleEvent) -> None:
        """Events are told, so that the opening waits for one to be written."""

    async def open_it() -> None:
        with scope:
            await hall.open(room)

    on_event = take if is_told else None
    async with open_hall(store=Waiting(), on_event=on_event, idle_timeout=1e6) as hall:
        for number in range(60):
            room, turns, scope = f"room-{number}", number % 12, trio.CancelScope()
            client = Recorder()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_it)
                await wait_all_tasks_blocked()
                nursery.start_soon(hall.join, room, client)
                await trio.sleep(1)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                if turns:
                    scope.cancel()
            await client.wait_for(Joined)
            await wait_all_tasks_blocked()
            assert not client.closed
        numbers = hall.snapshot()
        assert not numbers.dispersed
        assert numbers.opened == len(numbers.gatherings) == 60


async def test_a_message_after_a_crash_overtakes_none_before_it(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), behaviour=Fragile) as hall:
        author = Recorder()
        membership = await hall.join(ROOM, author, client="c")
        other = await hall.join(ROOM, Recorder(), client="d")
        other.deliver_nowait(Sync("boom", 0, (Op.of({"boom": 1}),)))
        # This sync lies behind the one that crashes the gathering, and is lost with it.
        membership.deliver_nowait(Sync("A", 0, (Op.of({"n": "A"}),)))
        await author.wait_closed()
        await membership.deliver(Sync("B", 0, (Op.of({"n": "B"}),)))
        author = Recorder()
        membership = await hall.join(ROOM, author, client="c", since=0)
        for name in "AB":
            membership.deliver_nowait(Sync(name, 0, (Op.of({"n": name}),)))
        assert [one.seqs for one in await author.wait_for(Synced, 2)] == [(1,), (2,)]
        logged = await hall.fetch(ROOM, since=0)
        assert isinstance(logged.ops, tuple)
        assert [op.value for op in logged.ops] == [{"n": "A"}, {"n": "B"}]
