"""Rights that the program changes while a client is connected."""

import gc
import weakref
from collections.abc import Callable
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
    OpRejected,
    Unauthorized,
)
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import (
    Error,
    Refresh,
    Refreshed,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings.testing import FailingStore
from tests.hall.rights import (
    DAY_ONE,
    OP,
    ROOM,
    a_hall,
    asked,
    by_token,
    closings,
    joined,
)
from tests.support import Recorder, Sum, slow_store


async def test_a_revoked_user_is_out_at_once_and_stays_out(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        alices = [await joined(hall, "alice:member:") for _ in range(2)]
        other = Recorder()
        await hall.join("elsewhere", other, token="alice:member:")
        bob, bobs = await joined(hall, "bob:member:")
        # The sync is in the inbox already, and the gathering hasn't looked at it.
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
    async with a_hall(store=slow_store()) as (hall, _):
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
    async with a_hall(store=slow_store()) as (hall, _):
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

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        identity = await by_token(token, gathering_id)
        if stage == "authenticating" and identity.user == "alice":
            await pause.wait()
        return identity

    store = FailingStore()
    if stage == "opening":
        store.trouble("load", "hangs")
    async with a_hall(authenticate=authenticate, store=store, tail_bytes=1) as (hall, _):
        if stage == "reading":
            for number in range(5):
                await hall.submit(ROOM, [{"n": number}])
            store.trouble("read", "hangs")
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
            store.heal()
        expected = "player" if change == "change_role" else "refused"
        if (change, stage) == ("kick", "authenticating"):
            # The check asks for its identity only after the kick, as if it joined afterwards.
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


async def test_nothing_is_left_of_clients_that_are_gone(autojump_clock: MockClock) -> None:
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


async def test_a_user_put_out_during_its_check_is_checked_again(
    autojump_clock: MockClock,
) -> None:
    banned: set[str] = set()

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        # It reads the list first; when it returns, the list has changed.
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
async def test_syncs_of_a_client_that_is_gone_have_no_old_rights(
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
