"""Rights that end, are renewed, and are changed by the program, while a client is connected."""

import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec import UNSET
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    AuthenticationUnavailable,
    CannotRemember,
    Hall,
    Identity,
    Membership,
    OpRejected,
    Unauthorized,
    open_hall,
)
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.log import Append
from squire_gatherings._values.messages import (
    Ack,
    Dispersed,
    Error,
    Fetch,
    Joined,
    Leave,
    Refresh,
    Refreshed,
    Renew,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from tests.support import Recorder, Sum, WaitingStore

ROOM = "friday-night"
DAY_ONE = 1_700_000_000.0
OP = (Op.of({"n": 1}),)


class WallClock:
    """Shows the virtual time as a date, unless somebody sets it."""

    def __init__(self) -> None:
        self.set_by = 0.0

    def __call__(self) -> float:
        return DAY_ONE + trio.current_time() + self.set_by


async def by_token(token: str | None, gathering_id: str) -> Identity:
    """`alice:judge:60`: alice is a judge for 60 seconds from the start of the test on."""
    if token is None:
        raise Unauthorized("show a token")
    user, role, seconds = token.split(":")
    return Identity(user, role, DAY_ONE + float(seconds) if seconds else None)


@asynccontextmanager
async def a_hall(**options: Any) -> AsyncIterator[tuple[Hall, WallClock]]:
    wall = WallClock()
    options.setdefault("authenticate", by_token)
    async with open_hall(wall_clock=wall, **options) as hall:
        yield hall, wall


async def joined(hall: Hall, token: str, **more: Any) -> tuple[Membership, Recorder]:
    recorder = Recorder()
    return await hall.join(ROOM, recorder, token=token, **more), recorder


async def asked(membership: Membership, message: Any) -> None:
    """Deliver a message, and let it be processed."""
    await membership.deliver(message)
    await wait_all_tasks_blocked()


def closings(recorder: Recorder) -> list[tuple[float, CloseCode]]:
    return [(at, code) for at, code, _ in recorder.closed]


# Rights that end.


async def test_rights_end_on_time_and_then_the_connection(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=1000.0) as (hall, _):
        start = trio.current_time()
        membership, alice = await joined(hall, "alice:member:600")
        bob, other = await joined(hall, "bob:member:")
        [told] = alice.of(Joined)
        assert told.rights_expire_in == pytest.approx(600)
        await trio.sleep_until(start + 599.5)
        await asked(membership, Sync("in time", 0, OP))
        assert [one.id for one in alice.of(Synced)] == ["in time"]
        [(asked_at, renew)] = [one for one in alice.received if isinstance(one[1], Renew)]
        assert asked_at - start == pytest.approx(540)
        assert isinstance(renew, Renew)
        assert renew.rights_expire_in == pytest.approx(60)
        await trio.sleep_until(start + 600)
        await wait_all_tasks_blocked()
        deadline = hall.snapshot().gatherings[0].deadline
        await trio.sleep(1)
        for message in (Sync("late", 0, OP), Fetch("late too", 0), Ack(0)):
            await asked(membership, message)
        assert [(one.code, one.id) for one in alice.of(Error)] == [
            ("unauthorized", "late"),
            ("unauthorized", "late too"),
        ]
        assert hall.snapshot().gatherings[0].deadline == deadline, "it's no activity"
        await hall.submit(ROOM, [{"n": 2}])
        await wait_all_tasks_blocked()
        assert {seq for _, seq, _, _ in other.forwards()} == {1, 2}
        await asked(bob, Ack(2))
        assert alice.forwards() == [], "it may not read, either"
        await trio.sleep_until(start + 620)
        [(at, code)] = closings(alice)
        assert at - start == pytest.approx(610)
        assert code == CloseCode.UNAUTHORIZED
        assert hall.snapshot().clients == 1
        assert not other.closed


async def test_who_has_no_rights_any_more_may_leave(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        membership, alice = await joined(hall, "alice:member:5")
        await trio.sleep(5.1)
        await asked(membership, Leave())
        assert [code for _, code in closings(alice)] == [CloseCode.LEFT]
        await trio.sleep(20)
        assert len(alice.closed) == 1
        with pytest.raises(Unauthorized):
            await joined(hall, "alice:member:5")


@pytest.mark.parametrize("how", ["judged", "committed"])
async def test_a_clock_that_is_set_leaves_no_rights_open(
    how: str, autojump_clock: MockClock
) -> None:
    async with a_hall() as (hall, wall):
        membership, alice = await joined(hall, "alice:member:600")
        await wait_all_tasks_blocked()
        wall.set_by = 3600.0
        if how == "judged":
            await asked(membership, Sync("late", 0, OP))
            assert [one.code for one in alice.of(Error)] == ["unauthorized"]
        else:
            await hall.submit(ROOM, [{"n": 1}])
            await wait_all_tasks_blocked()
            assert alice.forwards() == []
        # Nor does setting it back give them again.
        wall.set_by = -3600.0
        await asked(membership, Sync("too late", 0, OP))
        assert alice.of(Error)[-1].id == "too late"
        assert (await hall.fetch(ROOM)).seq == (how == "committed")


async def test_a_clock_that_is_set_is_seen_soon(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, wall):
        _, alice = await joined(hall, "alice:member:86400")
        await trio.sleep(1)
        wall.set_by = 86400.0
        await trio.sleep(60)
        assert [code for _, code in closings(alice)] == [CloseCode.UNAUTHORIZED]


# Renewal.


async def test_a_refresh_renews_and_brings_what_was_missed(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        membership, alice = await joined(hall, "alice:member:5")
        await trio.sleep(6)
        await hall.submit(ROOM, [{"n": 1}])
        await hall.submit(ROOM, [{"n": 2}])
        before = hall.snapshot().gatherings[0].deadline
        await trio.sleep(1)
        await asked(membership, Refresh("r", "alice:judge:100"))
        assert [(one.id, one.role) for one in alice.of(Refreshed)] == [("r", "judge")]
        assert alice.of(Refreshed)[0].rights_expire_in == pytest.approx(93)
        assert hall.snapshot().gatherings[0].deadline == before, "it's no activity"
        assert [seq for _, seq, _, _ in alice.forwards()] == [1, 2]
        assert membership.identity.role == "judge"
        await asked(membership, Ack(2))
        await asked(membership, Sync("s", 2, OP))
        assert [one.seqs for one in alice.of(Synced)] == [(3,)]
        await trio.sleep(80)
        assert not alice.closed
        await asked(membership, Refresh("for ever", "alice:judge:"))
        assert alice.of(Refreshed)[-1] == Refreshed("judge", "for ever")
        await trio.sleep(3600)
        assert not alice.closed


async def test_what_was_judged_before_the_end_is_answered(autojump_clock: MockClock) -> None:
    async with a_hall(store=Slow()) as (hall, _):
        membership, alice = await joined(hall, "alice:member:5")
        await trio.sleep(4.5)
        await asked(membership, Sync("s", 0, OP))
        await trio.sleep(1.1)
        assert [one.seqs for one in alice.of(Synced)] == [(1,)]
        # Behind what it may not read, its answer waits until it may.
        await asked(membership, Refresh("r", "alice:member:20"))
        await trio.sleep_until(19.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hall.submit, ROOM, [{"n": 2}])
            await wait_all_tasks_blocked()
            await membership.deliver(Sync("t", 1, OP))
        await trio.sleep(2)
        assert alice.forwards() == []
        assert len(alice.of(Synced)) + len(alice.of(Error)) == 2
        await asked(membership, Refresh("q", "alice:member:"))
        assert [seq for _, seq, _, _ in alice.forwards()] == [2]


async def test_an_answer_that_is_held_back_holds_off_no_closing(
    autojump_clock: MockClock,
) -> None:
    async with a_hall(store=Slow()) as (hall, _):
        membership, alice = await joined(hall, "alice:member:5")
        await trio.sleep_until(4.5)
        async with trio.open_nursery() as nursery:
            # Its op comes after one that it may not read any more when both are durable.
            nursery.start_soon(hall.submit, ROOM, [{"n": 1}])
            await wait_all_tasks_blocked()
            await membership.deliver(Sync("s", 0, OP))
            await trio.sleep_until(4.9)
            assert (await hall.fetch(ROOM)).seq == 1
        await trio.sleep_until(30)
        assert [at for at, _ in closings(alice)] == [pytest.approx(15)]


class Slow(WaitingStore):
    """Each append takes a second."""

    async def append(self, append: Append) -> None:
        await trio.sleep(1)
        await super().append(append)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("bob:member:", "forbidden"),
        ("alice:member:1", "unauthorized"),
        ("nonsense", "internal"),
        ("refused", "unauthorized"),
        ("later", "authentication_unavailable"),
        ("slow", "authentication_unavailable"),
    ],
)
async def test_a_refresh_that_fails_changes_nothing(
    token: str, code: str, autojump_clock: MockClock
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        if token == "refused":
            raise Unauthorized("no")
        if token == "later":
            raise AuthenticationUnavailable("later")
        if token == "slow":
            await trio.sleep_forever()
        return await by_token(token, gathering_id)

    async with a_hall(authenticate=authenticate, authenticate_timeout=3.0) as (hall, _):
        membership, alice = await joined(hall, "alice:judge:60")
        await trio.sleep(2)
        await membership.deliver(Refresh("r", token))
        await trio.sleep(4)
        assert [(one.code, one.id) for one in alice.of(Error)] == [(code, "r")]
        assert alice.of(Refreshed) == []
        assert membership.identity == Identity("alice", "judge", DAY_ONE + 60)
        await asked(membership, Sync("s", 0, OP))
        assert [one.id for one in alice.of(Synced)] == ["s"]


async def test_no_token_changes_whom_the_program_vouches_for(autojump_clock: MockClock) -> None:
    """The default check takes everybody for an anonymous member."""
    async with open_hall() as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, identity=Identity(None, "observer"))
        await asked(membership, Refresh("r", "please"))
        assert [(one.code, one.id) for one in recorder.of(Error)] == [("forbidden", "r")]
        assert membership.identity.role == "observer"


async def test_one_token_at_a_time_is_checked(autojump_clock: MockClock) -> None:
    checks = 0

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        nonlocal checks
        checks += 1
        await trio.sleep(1)
        return Identity("alice")

    async with a_hall(authenticate=authenticate) as (hall, _):
        membership, alice = await joined(hall, "")
        for number in range(5):
            await membership.deliver(Refresh(f"r{number}", ""))
        await trio.sleep(2)
        assert checks == 2
        assert [one.id for one in alice.of(Refreshed)] == ["r0"]
        assert [(one.code, one.id) for one in alice.of(Error)] == [
            ("rate_limited", f"r{number}") for number in range(1, 5)
        ]


@pytest.mark.parametrize("what", ["disperse", "detach", "leave", "kick", "nothing"])
async def test_a_refresh_is_answered_once_whatever_ends_meanwhile(
    what: str, autojump_clock: MockClock
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        await trio.sleep(1)
        return Identity("alice")

    async with a_hall(authenticate=authenticate) as (hall, _):
        membership, alice = await joined(hall, "")
        await asked(membership, Refresh("r", ""))
        match what:
            case "disperse":
                await hall.disperse(ROOM)
                assert len(alice.of(Dispersed)) == 1
            case "detach":
                membership.detach()
            case "leave":
                # What it asked before is answered before.
                await asked(membership, Leave())
                assert not alice.closed
            case "kick":
                assert hall.kick("alice") == 1
        await trio.sleep(5)
        answered = what in ("leave", "nothing")
        assert [one.id for one in alice.of(Refreshed)] == ["r"] * answered
        assert alice.of(Error) == []
        assert bool(alice.closed) == (what in ("disperse", "leave", "kick"))


async def test_a_token_that_is_being_checked_holds_off_the_closing(
    autojump_clock: MockClock,
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        await trio.sleep(20)
        return Identity("alice", expires_at=DAY_ONE + trio.current_time() + 30)

    async with a_hall(authenticate=authenticate, idle_timeout=1000.0) as (hall, _):
        membership, alice = await joined(hall, "")
        await trio.sleep(39)
        await asked(membership, Refresh("r", ""))
        await trio.sleep(20.5)
        assert [one.id for one in alice.of(Refreshed)] == ["r"]
        assert not alice.closed


# What the program says.


async def test_a_revoked_user_is_out_at_once_and_stays_out(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        alices = [await joined(hall, "alice:member:") for _ in range(2)]
        other = Recorder()
        await hall.join("elsewhere", other, token="alice:member:")
        bob, bobs = await joined(hall, "bob:member:")
        # It waits in the inbox already, and the gathering hasn't looked at it.
        for number, (membership, _) in enumerate(alices):
            membership.deliver_nowait(Sync(f"s{number}", 0, OP))
        assert hall.revoke("alice", until=DAY_ONE + 100) == 3
        for recorder in (*(one for _, one in alices), other):
            assert [code for _, code in closings(recorder)] == [CloseCode.UNAUTHORIZED]
        await asked(bob, Sync("b", 0, OP))
        assert bobs.forwards() == []
        assert (await hall.fetch(ROOM)).seq == 1
        for again in (
            hall.join(ROOM, Recorder(), token="alice:member:"),
            hall.join(ROOM, Recorder(), identity=Identity("alice")),
            hall.submit(ROOM, [{"n": 1}], identity=Identity("alice")),
            hall.fetch(ROOM, identity=Identity("alice")),
        ):
            with pytest.raises(Unauthorized):
                await again
        await trio.sleep_until(100)
        await joined(hall, "alice:member:")


async def test_a_revocation_is_taken_back(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        assert hall.revoke("alice", until=float("inf")) == 0
        hall.change_role("alice", "judge", until=float("inf"))
        with pytest.raises(Unauthorized):
            await joined(hall, "alice:member:")
        assert hall.revoke("alice", until=0) == 0
        membership, _ = await joined(hall, "alice:member:")
        assert membership.identity.role == "judge"


async def test_what_was_judged_before_stays(autojump_clock: MockClock) -> None:
    async with a_hall(store=Slow()) as (hall, _):
        membership, alice = await joined(hall, "alice:member:")
        await asked(membership, Sync("judged", 0, OP))
        await asked(membership, Sync("waits", 0, OP))
        hall.revoke("alice", until=DAY_ONE + 100)
        await trio.sleep(3)
        assert alice.of(Synced) == []
        fetched = await hall.fetch(ROOM)
        assert (fetched.seq, fetched.by) == (1, ("alice",))


async def test_calls_that_wait_are_refused_when_the_rights_are_gone(
    autojump_clock: MockClock,
) -> None:
    async with a_hall(store=Slow()) as (hall, _):
        refused = []

        async def submit() -> None:
            try:
                await hall.submit(ROOM, [{"n": 1}], identity=Identity("alice"))
            except Unauthorized:
                refused.append("submit")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hall.submit, ROOM, [{"n": 0}])
            await wait_all_tasks_blocked()
            nursery.start_soon(submit)
            await wait_all_tasks_blocked()
            hall.revoke("alice", until=DAY_ONE + 100)
        assert refused == ["submit"]
        assert (await hall.fetch(ROOM)).seq == 1


class Judged(Sum):
    """Only a judge does anything."""

    serves_snapshots = False

    def judge(self, ops: Any, submission: Any) -> Any:
        if submission.identity.role != "judge":
            raise OpRejected("only a judge")
        return ops


async def test_what_waits_is_judged_by_the_new_role(autojump_clock: MockClock) -> None:
    async with a_hall(behaviour=Judged) as (hall, _):
        membership, alice = await joined(hall, "alice:judge:60")
        membership.deliver_nowait(Sync("demoted", 0, (Op.of({"add": 1}),)))
        assert hall.change_role("alice", "player") == 1
        await wait_all_tasks_blocked()
        assert [(one.code, one.id) for one in alice.of(Error)] == [("rejected", "demoted")]
        [told] = alice.of(Refreshed)
        assert told.role == "player"
        assert told.rights_expire_in == pytest.approx(60)
        assert told.id is UNSET, "nobody has asked for it"
        membership.deliver_nowait(Sync("promoted", 0, (Op.of({"add": 1}),)))
        hall.change_role("alice", "judge", gathering_id=ROOM)
        await wait_all_tasks_blocked()
        assert [one.id for one in alice.of(Synced)] == ["promoted"]
        assert hall.change_role("alice", "player", gathering_id="elsewhere") == 0
        assert hall.change_role("bob", "player") == 0
        assert membership.identity.role == "judge"


async def test_what_an_observer_submitted_before_is_answered_again(
    autojump_clock: MockClock,
) -> None:
    async with a_hall() as (hall, _):
        membership, alice = await joined(hall, "alice:member:")
        await asked(membership, Sync("s", 0, OP))
        hall.change_role("alice", "observer")
        await asked(membership, Sync("s", 0, OP))
        await asked(membership, Sync("t", 0, OP))
        assert [one.id for one in alice.of(Synced)] == ["s", "s"]
        assert [(one.code, one.id) for one in alice.of(Error)] == [("forbidden", "t")]


async def test_a_role_is_remembered_until(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        hall.change_role("alice", "player", until=DAY_ONE + 50)
        hall.change_role("alice", "judge", gathering_id=ROOM, until=DAY_ONE + 100)
        roles = []
        for instant in (0, 60, 100):
            await trio.sleep_until(instant)
            roles.append((await joined(hall, "alice:member:"))[0].identity.role)
            there = await hall.join("elsewhere", Recorder(), token="alice:member:")
            roles.append(there.identity.role)
        assert roles == ["judge", "player", "judge", "member", "member", "member"]
        membership, alice = await joined(hall, "alice:member:")
        hall.change_role("alice", "player", until=DAY_ONE + 200)
        await asked(membership, Refresh("r", "alice:member:"))
        assert [one.role for one in alice.of(Refreshed)] == ["player", "player"]


Change = Callable[[Hall], object]


@pytest.mark.parametrize("change", ["revoke", "kick", "change_role"])
@pytest.mark.parametrize("stage", ["authenticating", "opening", "reading"])
async def test_a_join_under_way_is_changed_too(
    change: str, stage: str, autojump_clock: MockClock
) -> None:
    pause = trio.Event()

    class Hesitant(WaitingStore):
        async def load(self, *args: Any, **more: Any) -> Any:
            if stage == "opening":
                await pause.wait()
            return await super().load(*args, **more)

        async def read(self, *args: Any, **more: Any) -> Any:
            if stage == "reading":
                await pause.wait()
            return await super().read(*args, **more)

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        identity = await by_token(token, gathering_id)
        if stage == "authenticating" and identity.user == "alice":
            await pause.wait()
        return identity

    store = Hesitant()
    async with a_hall(authenticate=authenticate, store=store, tail_bytes=1) as (hall, _):
        if stage == "reading":
            for number in range(5):
                await hall.submit(ROOM, [{"n": number}])
        outcome: list[object] = []

        async def join() -> None:
            try:
                membership, _ = await joined(hall, "alice:member:")
                outcome.append(membership.identity.role)
            except Unauthorized:
                outcome.append("refused")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            await wait_all_tasks_blocked()
            assert outcome == []
            match change:
                case "revoke":
                    hall.revoke("alice", until=DAY_ONE + 100)
                case "kick":
                    hall.kick("alice")
                case "change_role":
                    hall.change_role("alice", "player")
            pause.set()
        expected = "player" if change == "change_role" else "refused"
        if (change, stage) == ("kick", "authenticating"):
            # It's asked who it is only then: as if it came afterwards.
            expected = "member"
        assert outcome == [expected]
        assert hall.snapshot().clients == (expected != "refused")


async def test_a_refresh_under_way_brings_no_old_rights(autojump_clock: MockClock) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        identity = await by_token(token, gathering_id)
        await trio.sleep(1)
        return identity

    async with a_hall(authenticate=authenticate) as (hall, _):
        membership, alice = await joined(hall, "alice:judge:")
        await asked(membership, Refresh("r", "alice:judge:50"))
        hall.change_role("alice", "player")
        await trio.sleep(2)
        assert [one.role for one in alice.of(Refreshed)] == ["player", "player"]
        assert membership.identity == Identity("alice", "player", DAY_ONE + 50)


@pytest.mark.parametrize("change", [False, True])
async def test_a_late_sync_isnt_passed_on_with_old_rights(
    change: bool, autojump_clock: MockClock
) -> None:
    async with a_hall() as (hall, _):
        membership, _ = await joined(hall, "alice:member:")
        await hall.disperse(ROOM)
        if change:
            hall.kick("alice")
        await membership.deliver(Sync("late", 0, OP))
        assert (await hall.fetch(ROOM)).seq == (not change)


async def test_a_late_sync_isnt_passed_on_when_the_rights_have_ended(
    autojump_clock: MockClock,
) -> None:
    async with a_hall() as (hall, _):
        membership, _ = await joined(hall, "alice:member:5")
        await hall.disperse(ROOM)
        await trio.sleep(6)
        await membership.deliver(Sync("late", 0, OP))
        assert (await hall.fetch(ROOM)).seq == 0


async def test_kick_is_for_now(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        _, here = await joined(hall, "alice:member:")
        there = Recorder()
        await hall.join("elsewhere", there, token="alice:member:")
        assert hall.kick("alice", gathering_id=ROOM) == 1
        assert [code for _, code in closings(here)] == [CloseCode.UNAUTHORIZED]
        assert not there.closed
        await joined(hall, "alice:member:")
        assert hall.kick("alice") == 2
        assert hall.snapshot().clients == 0


async def test_only_so_many_are_remembered(autojump_clock: MockClock) -> None:
    async with a_hall(max_remembered=2) as (hall, _):
        hall.revoke("a", until=DAY_ONE + 10)
        hall.change_role("b", "judge", until=DAY_ONE + 20)
        _, recorder = await joined(hall, "c:member:")
        with pytest.raises(CannotRemember):
            hall.revoke("c", until=DAY_ONE + 10)
        assert not recorder.closed
        hall.revoke("a", until=DAY_ONE + 15)
        await trio.sleep(15)
        assert hall.revoke("c", until=DAY_ONE + 30) == 1
        with pytest.raises(Unauthorized):
            await joined(hall, "c:member:")
        membership, _ = await joined(hall, "b:member:")
        assert membership.identity.role == "judge"


@pytest.mark.parametrize(
    "call",
    [
        lambda hall: hall.revoke("", until=1),
        lambda hall: hall.revoke(None, until=1),
        lambda hall: hall.revoke("a", until=float("nan")),
        lambda hall: hall.revoke("a", until="1"),
        lambda hall: hall.kick(7),
        lambda hall: hall.kick("a", gathering_id="a b"),
        lambda hall: hall.change_role("a", ""),
        lambda hall: hall.change_role("a", "judge", until=True),
        lambda hall: hall.change_role("a", "judge", gathering_id=""),
    ],
)
async def test_what_makes_no_sense_is_refused(
    call: Callable[[Any], object], autojump_clock: MockClock
) -> None:
    async with a_hall() as (hall, _):
        _, recorder = await joined(hall, "a:member:")
        with pytest.raises(ValueError, match=r"user|until|role|gathering"):
            call(hall)
        assert not recorder.closed


async def test_nothing_is_left_of_who_is_gone(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=10_000.0) as (hall, _):
        stay, _ = await joined(hall, "zoe:member:90000")
        gone = []
        for number in range(50):
            membership, recorder = await joined(hall, f"u{number}:member:{1000 + number}")
            gone.append(weakref.ref(recorder))
            membership.detach()
            del membership, recorder
        await wait_all_tasks_blocked()
        gc.collect()
        assert [one for one in gone if one() is not None] == []
        assert stay.identity.user == "zoe"


async def test_a_behaviour_may_put_out_whom_it_judges(autojump_clock: MockClock) -> None:
    halls: list[Hall] = []

    class Strict(Judged):
        def judge(self, ops: Any, submission: Any) -> Any:
            if submission.identity.user == "alice":
                halls[0].kick("alice")
                raise OpRejected("go away")
            return ops

    async with a_hall(behaviour=Strict) as (hall, _):
        halls.append(hall)
        membership, alice = await joined(hall, "alice:member:")
        for name in ("a", "b"):
            membership.deliver_nowait(Sync(name, 0, (Op.of({"add": 1}),)))
        await wait_all_tasks_blocked()
        assert [code for _, code in closings(alice)] == [CloseCode.UNAUTHORIZED]
        await hall.submit(ROOM, [{"add": 1}])
        assert (await hall.fetch(ROOM)).seq == 1


async def test_rights_that_end_together_with_others_end_on_time(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=10_000.0) as (hall, _):
        many = [(await joined(hall, f"u{number}:member:100"))[1] for number in range(100)]
        for number in range(60):
            membership, _ = await joined(hall, f"gone{number}:member:5000")
            membership.detach()
        await trio.sleep(50)
        # Hers end when the others' connections are closed, of whom fewer and fewer are left.
        _, zoe = await joined(hall, "zoe:member:110")
        await trio.sleep(100)
        for recorder in many:
            assert len(recorder.of(Renew)) == 1
            [(at, _)] = closings(recorder)
            assert at == pytest.approx(110)
        [(at, _)] = closings(zoe)
        assert at == pytest.approx(120)
        assert len(hall._rights.terms) == 0


async def test_who_is_put_out_while_being_checked_is_checked_again(
    autojump_clock: MockClock,
) -> None:
    banned: set[str] = set()

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        # It reads, and what it has read isn't so any more when it returns.
        is_banned = token in banned
        await trio.sleep(1)
        if is_banned:
            raise Unauthorized("banned")
        return Identity(token)

    async with a_hall(authenticate=authenticate) as (hall, _), trio.open_nursery() as nursery:
        staying, recorder = await joined(hall, "alice")

        async def join() -> None:
            with pytest.raises(Unauthorized, match="banned"):
                await joined(hall, "alice")

        nursery.start_soon(join)
        await asked(staying, Refresh("r", "alice"))
        banned.add("alice")
        assert hall.kick("alice") == 1
        await trio.sleep(5)
        assert recorder.of(Refreshed) == []
        assert hall.snapshot().clients == 0


async def test_a_check_may_put_out_its_users_other_connections(autojump_clock: MockClock) -> None:
    halls: list[Hall] = []

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        halls[0].kick("alice")
        await trio.sleep(1)
        return Identity("alice")

    async with a_hall(authenticate=authenticate) as (hall, _):
        halls.append(hall)
        _, first = await joined(hall, "")
        _, second = await joined(hall, "")
        assert (len(first.closed), len(second.closed)) == (1, 0)


async def test_a_user_that_is_put_out_all_the_time_is_told_to_come_later(
    autojump_clock: MockClock,
) -> None:
    checks = 0

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        nonlocal checks
        checks += 1
        await trio.sleep(2)
        return Identity("alice")

    async with a_hall(authenticate=authenticate) as (hall, _), trio.open_nursery() as nursery:

        async def kick() -> None:
            while True:
                hall.kick("alice")
                await trio.sleep(1)

        nursery.start_soon(kick)
        with pytest.raises(AuthenticationUnavailable):
            await joined(hall, "")
        assert checks == 3
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("change", ["revoke", "kick", "change_role"])
async def test_what_waits_of_who_is_gone_has_no_old_rights_either(
    change: str, autojump_clock: MockClock
) -> None:
    async with a_hall(behaviour=Judged) as (hall, _):
        membership, _ = await joined(hall, "alice:judge:")
        membership.deliver_nowait(Sync("s", 0, (Op.of({"add": 1}),)))
        membership.detach()
        match change:
            case "revoke":
                hall.revoke("alice", until=DAY_ONE + 100)
            case "kick":
                assert hall.kick("alice") == 0
            case "change_role":
                assert hall.change_role("alice", "player") == 0
        await wait_all_tasks_blocked()
        assert (await hall.fetch(ROOM)).seq == 0
